//! Signing in by name and password or by a token, and signing out. The page itself is the app's (`/sign-in`).

use std::{sync::Arc, time::Duration};

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use serde::Deserialize;
use tower_sessions::Session;
use wire::Problem;

use crate::{
    accounts,
    core::Core,
    entry::{self, NotIn, wait_problem, wait_seconds},
    http::{
        problem::{Answer, Rejection},
        sessions,
        who::{self, Address, Shown, Who},
    },
    secret,
};

/// The forms of the sign-in page.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    /// A token, in one of the forms.
    #[serde(default)]
    token: String,
    /// A name, in the other one.
    #[serde(default)]
    name: String,
    /// Its password.
    #[serde(default)]
    password: String,
    /// Where the person wanted to go.
    #[serde(default)]
    next: String,
}

/// The address of the sign-in page from which `next` goes on; `flags` are parameters of it, with their values.
pub(crate) fn address(next: &str, flags: &[&str]) -> String {
    let mut parameters: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    if next != "/" && is_here(next) {
        parameters.push(format!("next={}", encoded(next)));
    }
    if parameters.is_empty() { "/sign-in".to_owned() } else { format!("/sign-in?{}", parameters.join("&")) }
}

/// As a parameter's value.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&secret::hex(&[byte]));
        }
    }
    encoded
}

/// Whether a browser asks on behalf of a person, who is shown a page.
pub(crate) fn for_people(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// 429 with `Retry-After`.
pub(crate) fn limited(wait: Duration) -> Response {
    let after = [(header::RETRY_AFTER, wait_seconds(wait).to_string())];
    (after, Rejection(wait_problem(wait))).into_response()
}

/// A form that cannot be read.
pub(crate) fn invalid_form(refused: &FormRejection, fields: &str) -> Response {
    let sentence = format!("The body must be a form with {fields}, of application/x-www-form-urlencoded.");
    Rejection(Problem::new(refused.status().as_u16(), "Invalid form", sentence)).into_response()
}

/// Whether it is a path of this site. Browsers take `//x` and `/\x` for another one, and leave out tabs and line ends.
pub(crate) fn is_here(next: &str) -> bool {
    next.starts_with('/') && !next.starts_with("//") && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
}

/// `POST /sign-in`
pub(crate) async fn sign_in(
    State(core): State<Arc<Core>>,
    Address(from): Address,
    former: Option<Shown>,
    session: Session,
    headers: HeaderMap,
    form: Result<Form<SignIn>, FormRejection>,
) -> Response {
    let form = match form {
        Ok(Form(form)) => form,
        Err(refused) => return invalid_form(&refused, "`name` and `password`, or `token`"),
    };
    let token = form.token.trim();
    if token.is_empty() && form.name.trim().is_empty() {
        let sentence = "The form needs `name` and `password`, or `token`.";
        return Rejection(Problem::new(422, "Invalid form", sentence)).into_response();
    }
    let former = former.as_ref().and_then(Shown::signed_in);
    let judged = if token.is_empty() {
        entry::by_password(&core, &form.name, &form.password, from, former).await
    } else {
        entry::by_token(&core, token, from, former).await
    };
    let signed_in = match judged {
        Ok(signed_in) => signed_in,
        Err(NotIn::Wrong) => return Redirect::to(&address(&form.next, &["wrong=1"])).into_response(),
        // A person is told by the page itself.
        Err(NotIn::Wait(wait)) if for_people(&headers) => {
            let address = address(&form.next, &[&format!("wait={}", wait_seconds(wait))]);
            return Redirect::to(&address).into_response();
        }
        Err(NotIn::Wait(wait)) => return limited(wait),
        Err(NotIn::Problem(problem)) => return Rejection(problem).into_response(),
    };
    let goes_on = former.filter(|former| former.id == signed_in.id);
    let _moves = goes_on.map(|former| core.access.moves(&former.subject()));
    if let Err(problem) = who::begin(&session, &signed_in).await {
        return Rejection(problem).into_response();
    }
    if let Some((former, id)) = former.zip(session.id()) {
        entry::session_replaced(&core, former, signed_in, sessions::key(&id));
    }
    Redirect::to(if is_here(&form.next) { &form.next } else { "/" }).into_response()
}

/// `POST /sign-out`: ends the session and its sockets. One that has ended already is no error: there is nothing to end, and
/// the person is where they wanted to be.
pub(crate) async fn sign_out(
    State(core): State<Arc<Core>>,
    who: Option<Who>,
    shown: Option<Shown>,
    session: Session,
) -> Answer<Response> {
    if session.flush().await.is_err() {
        let problem = Problem::new(503, "Store unavailable", "The session cannot be ended now; try again in a moment.");
        return Err(problem.into());
    }
    if let Some((Who(who), shown)) = who.zip(shown) {
        accounts::signed_out(&core, &who, shown.credential()).await?;
    }
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, "/sign-in")]).into_response())
}

/// `POST /sign-out-everywhere`: ends all sessions of the person who asks.
pub(crate) async fn sign_out_everywhere(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    shown: Shown,
    session: Session,
) -> Answer<Response> {
    accounts::sign_out_everywhere(&core, &who, shown.credential()).await?;
    // It has ended already, whether its row goes now or later.
    let _ = session.flush().await;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, "/sign-in")]).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_to_a_path_of_this_site_only() {
        assert_eq!(address("/builds/1?job=2&x=%20", &[]), "/sign-in?next=/builds/1%3fjob%3d2%26x%3d%2520");
        assert_eq!(address("/a", &["wrong=1"]), "/sign-in?wrong=1&next=/a");
        assert_eq!(address("/", &[]), "/sign-in");
        for elsewhere in ["", "//evil", "/\\evil", "/\t/evil", "/a\\b", "https://evil", "javascript:x", "evil", "/a b"]
        {
            assert!(!is_here(elsewhere), "{elsewhere:?}");
            assert_eq!(address(elsewhere, &["wrong=1"]), "/sign-in?wrong=1");
        }
    }
}
