//! Signing in by the one-time link or a token, and signing out. The page itself is the app's (`/sign-in`).

use std::sync::Arc;

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    http::{StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use gateway::Gateway;
use serde::Deserialize;
use tower_sessions::Session;
use wire::Problem;

use crate::{
    core::Core,
    http::{
        problem::Rejection,
        who::{self, Who},
    },
    queries::store_problem,
    secret,
};

/// The form of the sign-in page.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    /// The secret of a sign-in link, or a token.
    token: String,
    /// Where the person wanted to go.
    #[serde(default)]
    next: String,
}

/// The address of the sign-in page from which `next` goes on; `flags` are parameters of it.
pub(crate) fn address(next: &str, flags: &[&str]) -> String {
    let mut parameters: Vec<String> = flags.iter().map(|flag| format!("{flag}=1")).collect();
    if next != "/" && is_here(next) {
        let mut encoded = String::from("next=");
        for byte in next.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                encoded.push('%');
                encoded.push_str(&secret::hex(&[byte]));
            }
        }
        parameters.push(encoded);
    }
    if parameters.is_empty() { "/sign-in".to_owned() } else { format!("/sign-in?{}", parameters.join("&")) }
}

/// Whether it is a path of this site. Browsers take `//x` and `/\x` for another one, and leave out tabs and line ends.
fn is_here(next: &str) -> bool {
    next.starts_with('/') && !next.starts_with("//") && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
}

/// `POST /sign-in`: a link is used up by it, never by a GET, so that nothing that merely looks at the link spends it.
pub(crate) async fn sign_in(
    State(core): State<Arc<Core>>,
    session: Session,
    form: Result<Form<SignIn>, FormRejection>,
) -> Response {
    let form = match form {
        Ok(Form(form)) => form,
        Err(refused) => {
            let sentence = "The body must be a form with the field `token`, of application/x-www-form-urlencoded.";
            return Rejection(Problem::new(refused.status().as_u16(), "Invalid form", sentence)).into_response();
        }
    };
    match begin(&core, &session, form.token.trim()).await {
        Ok(true) => Redirect::to(if is_here(&form.next) { &form.next } else { "/" }).into_response(),
        Ok(false) => Redirect::to(&address(&form.next, &["wrong"])).into_response(),
        Err(problem) => Rejection(problem).into_response(),
    }
}

async fn begin(core: &Core, session: &Session, token: &str) -> Result<bool, Problem> {
    let hash = secret::sha256(token);
    let link = core.store.use_sign_in_link(&hash).await.map_err(store_problem)?;
    if !link && who::by_token(core, token).await?.is_none() {
        return Ok(false);
    }
    let kept = async {
        // Who is signed in already stays the same subject: the sockets of other tabs end with this session.
        let former = session.get::<who::SignedIn>(who::AUTHORITY).await?;
        // A new id: whoever planted the former one gains nothing.
        session.cycle_id().await?;
        session.insert(who::AUTHORITY, former.unwrap_or_else(who::signed_in)).await?;
        session.save().await
    };
    kept.await.map(|()| true).map_err(|failure| {
        tracing::error!(%failure, "a session cannot be kept");
        Problem::new(503, "Store unavailable", "The session cannot be kept now; try again in a moment.")
    })
}

/// `POST /sign-out`: ends the session and its sockets. One that has ended already is no error: there is nothing to end, and
/// the person is where they wanted to be.
pub(crate) async fn sign_out(State(gateway): State<Arc<Gateway>>, who: Option<Who>, session: Session) -> Response {
    if session.flush().await.is_err() {
        let problem = Problem::new(503, "Store unavailable", "The session cannot be ended now; try again in a moment.");
        return Rejection(problem).into_response();
    }
    if let Some(Who(who)) = who {
        gateway.sign_out(&who.subject);
    }
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/sign-in")]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_to_a_path_of_this_site_only() {
        assert_eq!(address("/builds/1?job=2&x=%20", &[]), "/sign-in?next=/builds/1%3fjob%3d2%26x%3d%2520");
        assert_eq!(address("/a", &["wrong"]), "/sign-in?wrong=1&next=/a");
        assert_eq!(address("/", &[]), "/sign-in");
        for elsewhere in ["", "//evil", "/\\evil", "/\t/evil", "/a\\b", "https://evil", "javascript:x", "evil", "/a b"]
        {
            assert!(!is_here(elsewhere), "{elsewhere:?}");
            assert_eq!(address(elsewhere, &["wrong"]), "/sign-in?wrong=1");
        }
    }
}
