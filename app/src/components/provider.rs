//! The provider of OpenID Connect on the pages of signing in, of welcome and of one's account: the way to it, which is plain
//! links and forms, and what became of it.

use leptos::{either::Either, prelude::*};
use leptos_router::hooks::use_query_map;
use serde::{Deserialize, Serialize};
use wire::account::SignsIn;

use crate::json::Json;

/// Name of the provider that people can sign in by; the server provides it with the document where there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider(pub String);

fn told() -> Option<Provider> {
    use_context()
}

/// The provider, as the document was told of it.
pub(crate) fn provider() -> Option<String> {
    let provider = SharedValue::<Option<Provider>, Json>::new_with_encoding(told).into_inner();
    provider.map(|Provider(name)| name)
}

/// What became of a way to the provider, by the word that the server gives; none for a word that it does not.
#[must_use]
pub fn sentence(word: &str, name: &str) -> Option<String> {
    Some(match word {
        "late" => format!(
            "This answer of {name} was used already, or this browser has not asked for it within the last 10 minutes. Sign in again."
        ),
        "unreachable" => format!("{name} cannot be reached now. Try again in a moment, or sign in by a password."),
        "refused" => format!("{name} does not confirm who you are. Try again; if it stays so, tell an admin."),
        "untrusted" => {
            format!(
                "What {name} says of you cannot be trusted, so nobody was signed in. Tell an admin: the server's log has the reason."
            )
        }
        "denied" => format!("You were not signed in: it was denied at {name}."),
        "not_now" => format!("{name} could not sign you in. Try again in a moment."),
        "stranger" => {
            format!("{name} knows you, but you have no account here: ask an admin for an invitation.")
        }
        "disabled" => "Your account is disabled: ask an admin.".to_owned(),
        "gone" => "The invitation was used, taken back, or has expired: ask for another one.".to_owned(),
        "taken" => format!("Another account here belongs to you at {name}: it cannot belong to two."),
        "another" => format!("Your account belongs to somebody else at {name}: unlink it first."),
        "elsewhere" => {
            format!(
                "Another site has sent you here to sign in with {name}. If that is what you want, begin it on this page."
            )
        }
        "password" => "The password is not right.".to_owned(),
        "wait" => "Too many tries were wrong. What you entered was not looked at: try again later.".to_owned(),
        "linked" => format!("You can sign in by {name} from now on."),
        "unlinked" => format!("You cannot sign in by {name} any more."),
        "only" => format!("You have no password: without {name} you could not sign in."),
        _ => return None,
    })
}

/// Why a provider could not do it, in the words of OAuth 2.0 (RFC 6749, 4.1.2.1) and OpenID Connect Core 1.0 (3.1.2.6); what
/// it says in others is told to nobody.
pub const REASONS: [&str; 10] = [
    "server_error",
    "temporarily_unavailable",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_response_type",
    "login_required",
    "interaction_required",
    "consent_required",
    "account_selection_required",
];

/// The sentence of an address's `openid` and `reason`.
fn of_address(word: &str, reason: Option<&str>, name: &str) -> Option<String> {
    let sentence = sentence(word, name)?;
    let reason = reason.and_then(|reason| REASONS.iter().find(|known| **known == reason));
    Some(reason.map_or_else(|| sentence.clone(), |reason| format!("{sentence} Its reason: {reason}.")))
}

/// What the address of this page says became of the way to the provider.
#[component]
pub fn ProviderNote(
    /// What people call the provider.
    name: String,
) -> impl IntoView {
    let query = use_query_map();
    let of = |name: &str| query.with_untracked(|query| query.get(name)).filter(|value| !value.is_empty());
    let word = of("openid");
    let told = word.as_deref().and_then(|word| of_address(word, of("reason").as_deref(), &name));
    let is_well = word.is_some_and(|word| matches!(word.as_str(), "linked" | "unlinked"));
    told.map(|told| {
        if is_well {
            Either::Left(view! { <p class="about" role="status">{told}</p> })
        } else {
            Either::Right(view! { <p class="problem" role="alert">{told}</p> })
        }
    })
}

/// The way to the provider. It leads out of this site, so the router has nothing to do with it.
#[component]
pub fn ProviderLink(
    /// What it says.
    words: String,
    /// A parameter of the way there, and its value.
    #[prop(optional_no_strip)]
    with: Option<(&'static str, String)>,
) -> impl IntoView {
    let more = with.map(|(name, value)| format!("?{name}={}", encoded(&value))).unwrap_or_default();
    view! {
        <p class="provider">
            <a class="button primary large" rel="external" href=format!("/sign-in/openid{more}")>{words}</a>
        </p>
    }
}

/// As a parameter's value.
fn encoded(value: &str) -> String {
    use std::fmt::Write as _;
    value.bytes().fold(String::with_capacity(value.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}"); // Writing to a String does not fail.
        }
        text
    })
}

/// On the page of one's account: whether one signs in by the provider, and the way to change that.
#[component]
pub fn ProviderSection(
    /// What people call the provider.
    name: String,
    /// By what one signs in.
    signs_in: SignsIn,
) -> impl IntoView {
    let (link, unlink) = (format!("Link {name}"), format!("Unlink {name}"));
    let password = signs_in.password.then(|| {
        view! {
            <div class="field">
                <label for="link-password">"Your password"</label>
                <input id="link-password" name="password" type="password" autocomplete="current-password" required/>
            </div>
        }
    });
    let body = match (signs_in.provider, signs_in.password) {
        (true, true) => Either::Left(Either::Left(view! {
            <p class="about">{format!("You sign in by {name}, or by your password.")}</p>
            <form class="trigger" method="post" action="/account/openid/unlink">
                <button type="submit">{unlink}</button>
            </form>
        })),
        (true, false) => Either::Left(Either::Right(view! {
            <p class="about">{format!("You sign in by {name} alone: you have no password here.")}</p>
        })),
        (false, _) => Either::Right(view! {
            <p class="about">{format!("Link it, and you can sign in by {name}, too.")}</p>
            <form class="trigger" method="post" action="/account/openid">
                {password}
                <button class="primary" type="submit">{link}</button>
            </form>
        }),
    };
    view! {
        <section aria-labelledby="provider-heading">
            <h2 id="provider-heading">{name.clone()}</h2>
            <ProviderNote name/>
            {body}
        </section>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_stands_in_the_address_is_told_unless_it_is_known() {
        assert_eq!(of_address("<b>pay here</b>", None, "Team"), None);
        let told = of_address("not_now", Some("call 555"), "Team").unwrap();
        assert!(told.starts_with("Team could not") && !told.contains("555"), "{told}");
        assert!(of_address("not_now", Some("server_error"), "Team").unwrap().ends_with("Its reason: server_error."));
    }
}
