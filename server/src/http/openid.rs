//! Signing in by the provider of OpenID Connect: the way there, its answer, and the account that it is linked to. A person is
//! told by the pages what went wrong, in their words; nothing that the provider sends becomes a part of a page.

use std::sync::Arc;

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use serde::Deserialize;
use store::people::Unlinked;
use tower_sessions::Session;
use wire::Problem;

use crate::{
    access::SignedIn,
    core::Core,
    entry::{self, NotIn, wait_seconds},
    http::{
        parameters::Query,
        problem::{Answer as Answered, Rejection},
        sessions,
        sign_in::{address, encoded, for_people, invalid_form, is_here, limited},
        who::{self, Address, Shown, Who},
    },
    openid::{
        Failed, Openid,
        arrival::{self, Answer, Arrived, NotArrived, Refused},
        ticket::{Purpose, TICKET_SECONDS},
    },
};

/// Holds the ticket between the way there and the answer.
const COOKIE: &str = "stepcast_openid";
/// Where it is shown.
const COOKIE_PATH: &str = "/sign-in/openid";

/// What the way there is asked for.
#[derive(Deserialize)]
pub(crate) struct Begin {
    /// Where the person wanted to go.
    #[serde(default)]
    next: String,
    /// The secret of an invitation that they have.
    #[serde(default)]
    invitation: String,
}

/// What a provider sends along. It may send more.
#[derive(Deserialize)]
pub(crate) struct Brought {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
    /// The provider itself (RFC 9207).
    iss: Option<String>,
}

/// The form of the page of one's account.
#[derive(Deserialize)]
pub(crate) struct Link {
    /// Of the account, if it has one.
    #[serde(default)]
    password: String,
}

fn of(core: &Core) -> Result<&Openid, Problem> {
    core.openid.as_ref().ok_or_else(|| {
        let sentence =
            "People sign in here by name and password: no provider of OpenID Connect is named by --openid-issuer.";
        Problem::new(409, "No provider", sentence)
    })
}

/// `GET /sign-in/openid`: sends the browser to the provider, unless another site has sent it here. It writes nothing.
pub(crate) async fn begin(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Query(asked): Query<Begin>,
) -> Answered<Response> {
    let openid = of(&core)?;
    let next = if is_here(&asked.next) { asked.next.as_str() } else { "/" };
    let invitation = Some(asked.invitation).filter(|secret| !secret.is_empty());
    // Who is signed in would be somebody else afterwards, without having asked for it.
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return Ok(tell(&headers, openid, Refused::Elsewhere, &Back::of(invitation.as_deref(), next)));
    }
    let purpose = invitation.clone().map_or(Purpose::SignIn, Purpose::Invitation);
    Ok(match openid.begin(purpose, next).await {
        Ok((address, ticket)) => {
            let cookie = cookie(&core, &ticket, TICKET_SECONDS);
            (StatusCode::SEE_OTHER, [(header::LOCATION, address), (header::SET_COOKIE, cookie)]).into_response()
        }
        Err(failed) => tell(&headers, openid, Refused::Failed(failed), &Back::of(invitation.as_deref(), next)),
    })
}

/// `GET /sign-in/openid/answer`: what the provider sends the browser back with.
pub(crate) async fn answer(
    State(core): State<Arc<Core>>,
    Address(from): Address,
    former: Option<Shown>,
    session: Session,
    headers: HeaderMap,
    Query(brought): Query<Brought>,
) -> Answered<Response> {
    let openid = of(&core)?;
    let is_its_own = brought.iss.as_deref().is_none_or(|issuer| issuer == openid.issuer());
    let answer = match (brought.code, brought.error) {
        (Some(code), None) if is_its_own => Some(Answer::Code(code)),
        (None, Some(word)) if is_its_own => Some(Answer::No(word)),
        _ => None,
    };
    let ticket = kept(&headers).and_then(|sealed| openid.ticket(sealed, &brought.state));
    let (ticket, answer) = match (ticket, answer) {
        (Some(ticket), Some(answer)) => (Some(ticket), answer),
        _ => (None, Answer::No(String::new())),
    };
    let back = match ticket.as_ref().map(|ticket| (&ticket.purpose, ticket.next.as_str())) {
        Some((Purpose::Link { .. }, _)) => Back::Account,
        Some((Purpose::Invitation(secret), next)) => Back::of(Some(secret), next),
        Some((Purpose::SignIn, next)) => Back::of(None, next),
        None => Back::of(None, "/"),
    };
    let former = former.as_ref().and_then(Shown::signed_in);
    let response = match arrival::answered(&core, openid, ticket.as_ref(), answer, from, former).await {
        Ok(Arrived::In(signed_in)) => {
            go_in(&core, &session, former, signed_in).await?;
            let next = ticket.as_ref().map(|ticket| ticket.next.as_str()).filter(|next| is_here(next));
            Redirect::to(next.unwrap_or("/")).into_response()
        }
        Ok(Arrived::Linked) => Redirect::to("/account?openid=linked").into_response(),
        Err(NotArrived::Refused(refused)) => tell(&headers, openid, refused, &back),
        Err(NotArrived::Wait(wait)) if for_people(&headers) => {
            let next = ticket.as_ref().map_or("/", |ticket| ticket.next.as_str());
            Redirect::to(&address(next, &[&format!("wait={}", wait_seconds(wait))])).into_response()
        }
        Err(NotArrived::Wait(wait)) => limited(wait),
        // It may not have been looked at: the same answer is good a moment later.
        Err(NotArrived::Problem(problem)) => return Err(problem.into()),
    };
    // Any site can have a browser come by: what was begun is forgotten by its own answer alone.
    Ok(if ticket.is_some() { forget(&core, response) } else { response })
}

/// The session of who came in begins, under a new id.
async fn go_in(core: &Core, session: &Session, former: Option<&SignedIn>, signed_in: SignedIn) -> Result<(), Problem> {
    let goes_on = former.filter(|former| former.id == signed_in.id);
    let _moves = goes_on.map(|former| core.access.moves(&former.subject()));
    who::begin(session, &signed_in).await?;
    if let Some((former, id)) = former.zip(session.id()) {
        entry::session_replaced(core, former, signed_in, sessions::key(&id));
    }
    Ok(())
}

/// `POST /account/openid`: the way to the provider, to have one's account belong to who it says one is. The page goes on by
/// itself: browsers take no redirect to another site for the answer to a form of this one.
pub(crate) async fn link(
    State(core): State<Arc<Core>>,
    Address(from): Address,
    Who(who): Who,
    shown: Shown,
    headers: HeaderMap,
    form: Result<Form<Link>, FormRejection>,
) -> Answered<Response> {
    let openid = of(&core)?;
    let form = match form {
        Ok(Form(form)) => form,
        Err(refused) => return Ok(invalid_form(&refused, "`password`")),
    };
    let begun = arrival::begin_link(&core, openid, &who, shown.credential(), form.password, from).await;
    Ok(match begun {
        Ok(Ok((address, ticket))) => {
            let cookie = cookie(&core, &ticket, TICKET_SECONDS);
            let page = going_on(openid.name(), &address);
            let refresh = format!("0; url={address}");
            let page = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page);
            ([(header::REFRESH, refresh), (header::SET_COOKIE, cookie)], page).into_response()
        }
        Ok(Err(failed)) => tell(&headers, openid, Refused::Failed(failed), &Back::Account),
        Err(NotIn::Wrong) if for_people(&headers) => Redirect::to("/account?openid=password").into_response(),
        Err(NotIn::Wrong) => {
            Rejection(Problem::new(403, "Wrong password", "The password is not right.")).into_response()
        }
        Err(NotIn::Wait(_)) if for_people(&headers) => Redirect::to("/account?openid=wait").into_response(),
        Err(NotIn::Wait(wait)) => limited(wait),
        Err(NotIn::Problem(problem)) => Rejection(problem).into_response(),
    })
}

/// `POST /account/openid/unlink`
pub(crate) async fn unlink(State(core): State<Arc<Core>>, Who(who): Who, shown: Shown) -> Answered<Response> {
    let openid = of(&core)?;
    let word = match arrival::unlink(&core, openid, &who, shown.credential()).await? {
        Unlinked::Done | Unlinked::Nothing => "unlinked",
        Unlinked::OnlyWay => "only",
    };
    Ok(Redirect::to(&format!("/account?openid={word}")).into_response())
}

/// Which page tells a person what went wrong.
enum Back {
    SignIn(String),
    Welcome(String),
    Account,
}

impl Back {
    fn of(invitation: Option<&str>, next: &str) -> Self {
        invitation.map_or_else(|| Self::SignIn(next.to_owned()), |secret| Self::Welcome(secret.to_owned()))
    }
}

/// A person is told by the page that they came from, a program by a problem.
fn tell(headers: &HeaderMap, openid: &Openid, refused: Refused, back: &Back) -> Response {
    let (word, status) = match refused {
        Refused::NotBegun => ("late", 400),
        Refused::Failed(Failed::Unreachable) => ("unreachable", 503),
        Refused::Failed(Failed::Refused) => ("refused", 502),
        Refused::Failed(Failed::Untrusted) => ("untrusted", 502),
        Refused::Denied => ("denied", 403),
        Refused::AtProvider(_) => ("not_now", 502),
        Refused::Stranger => ("stranger", 403),
        Refused::Disabled => ("disabled", 403),
        Refused::Gone => ("gone", 403),
        Refused::Taken => ("taken", 409),
        Refused::Another => ("another", 409),
        Refused::Elsewhere => ("elsewhere", 403),
    };
    if !for_people(headers) {
        let name = openid.name();
        let sentence = app::components::provider::sentence(word, name).unwrap_or_default();
        return Rejection(Problem::new(status, "Not signed in", sentence)).into_response();
    }
    let reason = match refused {
        Refused::AtProvider(reason) if !reason.is_empty() => format!("&reason={reason}"),
        _ => String::new(),
    };
    let flag = format!("openid={word}{reason}");
    let there = match back {
        Back::SignIn(next) => address(next, &[&flag]),
        Back::Welcome(secret) if word == "gone" => format!("/welcome?invitation={}", encoded(secret)),
        Back::Welcome(secret) => format!("/welcome?invitation={}&{flag}", encoded(secret)),
        Back::Account => format!("/account?{flag}"),
    };
    Redirect::to(&there).into_response()
}

/// The sealed ticket that the browser has.
fn kept(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

fn cookie(core: &Core, value: &str, seconds: i64) -> String {
    let secure = if core.public_url.starts_with("https://") { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path={COOKIE_PATH}; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}")
}

/// The ticket has done its work, or never will.
fn forget(core: &Core, mut response: Response) -> Response {
    if let Ok(value) = HeaderValue::try_from(cookie(core, "", 0)) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

/// A page that goes on by itself, with a link for browsers that do not.
fn going_on(name: &str, address: &str) -> String {
    let (name, address) = (escaped(name), escaped(address));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Stepcast</title></head>\
         <body><p><a href=\"{address}\">Go on to {name}</a></p></body></html>\n"
    )
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, letter| {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticket_is_found_among_other_cookies() {
        let headers = |text: &'static str| HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(text))]);
        assert_eq!(kept(&headers("a=b; stepcast_openid=xyz; c=d")), Some("xyz"));
        assert_eq!(kept(&headers("xstepcast_openid=xyz; stepcast_openid2=a")), None);
        assert_eq!(kept(&HeaderMap::new()), None);
    }

    #[test]
    fn an_address_is_no_markup_on_the_page_that_goes_on() {
        let page = going_on("<b>'", "https://id.example/?a=1&b=\"><script>");
        assert!(page.contains("href=\"https://id.example/?a=1&amp;b=&quot;&gt;&lt;script&gt;\""), "{page}");
        assert!(page.contains("Go on to &lt;b&gt;&#39;"), "{page}");
    }
}
