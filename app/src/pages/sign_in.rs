//! `/sign-in`: how to get in, by name and password or by a token. It works without scripts and needs no session.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

use crate::components::provider::{ProviderLink, ProviderNote, provider};

/// How long one is to wait, in words.
fn wait(seconds: u64) -> String {
    match seconds {
        ..=1 => "a second".to_owned(),
        2..=90 => format!("{seconds} seconds"),
        more => format!("{} minutes", more.div_ceil(60)),
    }
}

/// The route.
#[component]
pub fn SignInRoute() -> impl IntoView {
    let query = use_query_map();
    let of = |name: &str| query.with_untracked(|query| query.get(name)).filter(|value| !value.is_empty());
    // Where the person wanted to go; the server judges it.
    let next = of("next");
    let provider = provider().map(|name| {
        let words = format!("Sign in with {name}");
        view! {
            <ProviderNote name/>
            <ProviderLink words with=next.clone().map(|next| ("next", next))/>
        }
    });
    let next = || next.clone().map(|next| view! { <input type="hidden" name="next" value=next/> });
    let wrong = if let Some(seconds) = of("wait").and_then(|seconds| seconds.parse().ok()) {
        Some(format!("Too many tries were wrong. What you entered was not looked at: try again in {}.", wait(seconds)))
    } else if of("wrong").is_some() {
        Some("The name and the password do not belong together, or the token is not known here.".to_owned())
    } else {
        None
    };
    let ended = (wrong.is_none() && of("ended").is_some())
        .then_some("Your session has ended. Sign in again to go on where you were.");
    view! {
        <Title text="Sign in"/>
        <section class="plain">
            <h1>"Sign in"</h1>
            {ended.map(|text| view! { <p class="about" role="status">{text}</p> })}
            {wrong.map(|text| view! { <p class="problem" role="alert">{text}</p> })}
            {provider}
            <form class="sign-in" method="post" action="/sign-in">
                <label for="name">"Name"</label>
                <input id="name" type="text" name="name" autocomplete="username" autocapitalize="none" spellcheck="false" required/>
                <label for="password">"Password"</label>
                <input id="password" name="password" type="password" autocomplete="current-password" required/>
                {next()}
                <button class="primary" type="submit">"Sign in"</button>
            </form>
            <details>
                <summary>"Sign in with a token"</summary>
                <form class="sign-in" method="post" action="/sign-in">
                    <label for="token">"Token"</label>
                    <input id="token" name="token" type="password" autocomplete="off" required/>
                    {next()}
                    <button type="submit">"Use the token"</button>
                </form>
            </details>
            <details>
                <summary>"No account yet?"</summary>
                <p>
                    "Ask an admin for a link. The first start of " <code>"stepcast serve"</code>
                    " prints one for the first admin. On the machine that runs Stepcast, with the " <code>"--data-dir"</code>
                    " or " <code>"--store"</code> " of the server where it has its own:"
                </p>
                <pre class="code">"stepcast account create --name me"</pre>
            </details>
        </section>
    }
}

#[cfg(test)]
mod tests {
    use super::wait;

    #[test]
    fn a_wait_is_told_so_that_who_keeps_it_is_not_too_early() {
        assert_eq!([wait(1), wait(12), wait(91), wait(900)], ["a second", "12 seconds", "2 minutes", "15 minutes"]);
    }
}
