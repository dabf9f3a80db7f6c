//! `/welcome`: who has the link of the first start (`?link=`) or an invitation (`?invitation=`) chooses a name and a password.
//! Looking at the page uses nothing up; making the account does. It works without scripts and needs no session.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use wire::account::{NAME_CHARS_MAX, PASSWORD_CHARS_MIN};

/// What was wrong with the former try, by the word that the server gives.
fn sentence(word: &str) -> &'static str {
    match word {
        "name" => "This is no name: take letters that can be seen, 60 at most.",
        "taken" => "Another account has this name: choose another one.",
        "password" => {
            "This password cannot be taken: it needs 12 characters at least, must not be made of the name, and must not be \
             among the first that anybody would try. A few words of your own do."
        }
        _ => "This link was used, taken back, or has expired. Sign in if you have an account, or ask for another link.",
    }
}

/// The route.
#[component]
pub fn WelcomeRoute() -> impl IntoView {
    let query = use_query_map();
    let of = |name: &str| query.with_untracked(|query| query.get(name)).filter(|value| !value.is_empty());
    let wrong = of("wrong").map(|word| view! { <p class="problem" role="alert">{sentence(&word)}</p> });
    let secret = |name: &'static str| of(name).map(|value| view! { <input type="hidden" name=name value=value/> });
    let (link, invitation, name) = (secret("link"), secret("invitation"), of("name").unwrap_or_default());
    view! {
        <Title text="Welcome"/>
        <section class="plain">
            <h1>"Welcome to Stepcast"</h1>
            {wrong}
            <p>"Choose the name and the password that you will sign in by. The link works once."</p>
            <form class="sign-in" method="post" action="/welcome">
                {link}
                {invitation}
                <label for="name">"Name"</label>
                <input id="name" name="name" value=name maxlength=NAME_CHARS_MAX autocomplete="username" required/>
                <label for="password">{format!("Password, {PASSWORD_CHARS_MIN} characters at least")}</label>
                <input
                    id="password"
                    name="password"
                    type="password"
                    minlength=PASSWORD_CHARS_MIN
                    autocomplete="new-password"
                    required
                />
                <button class="primary large" type="submit">"Sign in"</button>
            </form>
        </section>
    }
}
