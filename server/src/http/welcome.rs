//! `POST /welcome`: who has the link of the first start or an invitation chooses a name and a password. The page itself is
//! the app's. Looking at it uses nothing up.

use std::sync::Arc;

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    http::HeaderMap,
    response::{IntoResponse as _, Redirect, Response},
};
use serde::Deserialize;
use tower_sessions::Session;
use wire::Problem;

use crate::{
    core::Core,
    entry::{self, NotMade},
    http::{
        problem::Rejection,
        sessions,
        sign_in::{encoded, for_people, invalid_form, limited},
        who::{self, Address, Shown},
    },
};

/// The form of the page.
#[derive(Deserialize)]
pub(crate) struct Welcome {
    /// The secret of the first start's link.
    #[serde(default)]
    link: String,
    /// Or of an invitation's.
    #[serde(default)]
    invitation: String,
    name: String,
    password: String,
}

/// Makes the account and signs it in. A person is sent back to the form with what is wrong, a program is told.
pub(crate) async fn welcome(
    State(core): State<Arc<Core>>,
    Address(from): Address,
    former: Option<Shown>,
    session: Session,
    headers: HeaderMap,
    form: Result<Form<Welcome>, FormRejection>,
) -> Response {
    let form = match form {
        Ok(Form(form)) => form,
        Err(refused) => return invalid_form(&refused, "`link` or `invitation`, `name` and `password`"),
    };
    let (kind, secret) =
        if form.invitation.is_empty() { ("link", &form.link) } else { ("invitation", &form.invitation) };
    let (why, problem) = match entry::welcome(&core, secret.trim(), &form.name, form.password, from).await {
        Ok(signed_in) => {
            if let Err(problem) = who::begin(&session, &signed_in).await {
                return Rejection(problem).into_response();
            }
            let former = former.as_ref().and_then(Shown::signed_in);
            if let Some((former, id)) = former.zip(session.id()) {
                entry::session_replaced(&core, former, signed_in, sessions::key(&id));
            }
            return Redirect::to("/").into_response();
        }
        Err(NotMade::Wait(wait)) => return limited(wait),
        Err(NotMade::Problem(problem)) => return Rejection(problem).into_response(),
        Err(NotMade::Name(sentence)) => ("name", Problem::new(422, "Invalid name", sentence)),
        Err(NotMade::Password(sentence)) => ("password", Problem::new(422, "Invalid password", sentence)),
        Err(NotMade::Taken) => {
            ("taken", Problem::new(409, "Name taken", "Another account has this name: choose another one."))
        }
        Err(NotMade::NoLink) => {
            let sentence = "The link was used, taken back, or has expired: ask for another one.";
            ("gone", Problem::new(403, "Link not valid", sentence))
        }
    };
    if !for_people(&headers) {
        return Rejection(problem).into_response();
    }
    let name = encoded(&form.name);
    Redirect::to(&format!("/welcome?{kind}={}&wrong={why}&name={name}", encoded(secret))).into_response()
}
