//! `/sign-in`: how to get in. It works without scripts and needs no session. A one-time link (`?link=`) is used up by
//! pressing the button, not by looking at the page.

use leptos::{either::Either, prelude::*};
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

/// The route.
#[component]
pub fn SignInRoute() -> impl IntoView {
    let query = use_query_map();
    let of = |name: &str| query.with_untracked(|query| query.get(name)).filter(|value| !value.is_empty());
    let (link, was_wrong) = (of("link"), of("wrong").is_some());
    // Where the person wanted to go; the server judges it.
    let next = of("next").map(|next| view! { <input type="hidden" name="next" value=next/> });
    let wrong = was_wrong.then(|| {
        let text = "This is no token that is known here, and no link that can still be used.";
        view! { <p class="problem" role="alert">{text}</p> }
    });
    let form = match link {
        Some(link) => Either::Left(view! {
            <p>"This link signs this browser in as the owner. It works once."</p>
            <form class="sign-in" method="post" action="/sign-in">
                <input type="hidden" name="token" value=link/>
                {next}
                <button class="primary large" type="submit">"Sign in"</button>
            </form>
        }),
        None => Either::Right(view! {
            <p>
                "Open the link that " <code>"stepcast serve"</code>
                " printed at its first start. Or make a token on the machine that runs Stepcast, and enter it here:"
            </p>
            <pre class="code">"stepcast token create --name me --role owner"</pre>
            <p>
                "Where the server was started with a " <code>"--data-dir"</code> " or " <code>"--store"</code>
                " of its own, give the same one."
            </p>
            <form class="sign-in" method="post" action="/sign-in">
                <label for="token">"Token"</label>
                <input id="token" name="token" type="password" autocomplete="current-password" required/>
                {next}
                <button class="primary" type="submit">"Sign in"</button>
            </form>
        }),
    };
    view! {
        <Title text="Sign in"/>
        <section class="plain">
            <h1>"Sign in"</h1>
            {wrong}
            {form}
        </section>
    }
}
