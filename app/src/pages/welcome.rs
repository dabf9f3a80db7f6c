//! `/welcome`: who has the link of the first start (`?link=`) or an invitation (`?invitation=`) chooses a name and a password.
//! Looking at the page uses nothing up; making the account does. It works without scripts and needs no session.

use leptos::{either::Either, prelude::*};
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use wire::account::{NAME_CHARS_MAX, PASSWORD_CHARS_MIN};

use crate::{
    api::people::{Gives, Invited},
    components::{
        grants_field::in_words,
        provider::{ProviderLink, ProviderNote, provider},
        time::Time,
    },
    json::Json,
};

const GONE: &str =
    "This link was used, taken back, or has expired. Sign in if you have an account, or ask for another link.";

/// What was wrong with the former try, by the word that the server gives; whether it was with the name or the password, and
/// the sentence.
fn sentence(word: &str) -> (&'static str, String) {
    match word {
        "name" => ("name", format!("This is no name: take letters that can be seen, {NAME_CHARS_MAX} at most.")),
        "taken" => ("name", "Another account has this name: choose another one.".to_owned()),
        "password" => (
            "password",
            format!(
                "This password cannot be taken: it needs {PASSWORD_CHARS_MIN} characters at least, must not be made of the \
                 name, and must not be among the first that anybody would try. A few words of your own do."
            ),
        ),
        _ => ("link", GONE.to_owned()),
    }
}

/// What the link gives, as the server provides it with the document.
fn told() -> Option<Invited> {
    use_context()
}

/// The route.
#[component]
pub fn WelcomeRoute() -> impl IntoView {
    let query = use_query_map();
    let of = |name: &str| query.with_untracked(|query| query.get(name)).filter(|value| !value.is_empty());
    let wrong = of("wrong").map(|word| sentence(&word));
    let beside = |place: &str| {
        let here = wrong.clone().filter(|(of, _)| *of == place);
        here.map(|(_, text)| view! { <p class="problem" role="alert">{text}</p> })
    };
    let secret = |name: &'static str| of(name).map(|value| view! { <input type="hidden" name=name value=value/> });
    let (link, invitation, name) = (secret("link"), secret("invitation"), of("name").unwrap_or_default());
    let accept = of("invitation").zip(provider()).map(|(secret, name)| {
        let words = format!("Accept with {name}");
        view! {
            <ProviderNote name/>
            <ProviderLink words with=Some(("invitation", secret))/>
        }
    });
    let invited = SharedValue::<Option<Invited>, Json>::new_with_encoding(told).into_inner();
    let is_gone = matches!(invited, Some(Invited(None)));
    let gives = invited.and_then(|Invited(invitation)| invitation).map(gives);
    let form = view! {
        <p>"Choose the name and the password that you will sign in by. The link works once."</p>
        <form class="sign-in" method="post" action="/welcome">
            {link}
            {invitation}
            <label for="name">"Name"</label>
            <input
                id="name"
                type="text"
                name="name"
                value=name
                maxlength=NAME_CHARS_MAX
                autocomplete="username"
                spellcheck="false"
                required
            />
            {beside("name")}
            <label for="password">{format!("Password, {PASSWORD_CHARS_MIN} characters at least")}</label>
            <input
                id="password"
                name="password"
                type="password"
                minlength=PASSWORD_CHARS_MIN
                autocomplete="new-password"
                required
            />
            {beside("password")}
            <button class="primary large" type="submit">"Sign in"</button>
        </form>
    };
    let body = if is_gone {
        Either::Left(view! {
            <p class="problem" role="alert">{GONE}</p>
            <p><a href="/sign-in">"Sign in"</a></p>
        })
    } else {
        Either::Right(view! { {beside("link")} {gives} {accept} {form} })
    };
    view! {
        <Title text="Welcome"/>
        <section class="plain">
            <h1>"Welcome to Stepcast"</h1>
            {body}
        </section>
    }
}

/// What an invitation gives, and who gives it.
fn gives(Gives { grants, invited_by, expires_at }: Gives) -> impl IntoView {
    view! {
        <p>
            <b>{invited_by}</b> " invites you. You will be " <b>{in_words(&grants)}</b> ". The invitation is good until "
            <Time at=expires_at/> "."
        </p>
    }
}
