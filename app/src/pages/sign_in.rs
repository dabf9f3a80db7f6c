//! `/sign-in`: how to get in, by name and password or by a token. It works without scripts and needs no session.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

/// The route.
#[component]
pub fn SignInRoute() -> impl IntoView {
    let query = use_query_map();
    let of = |name: &str| query.with_untracked(|query| query.get(name)).filter(|value| !value.is_empty());
    let was_wrong = of("wrong").is_some();
    // Where the person wanted to go; the server judges it.
    let next = of("next");
    let next = || next.clone().map(|next| view! { <input type="hidden" name="next" value=next/> });
    let wrong = was_wrong.then(|| {
        let text = "The name and the password do not belong together, or the token is not known here.";
        view! { <p class="problem" role="alert">{text}</p> }
    });
    view! {
        <Title text="Sign in"/>
        <section class="plain">
            <h1>"Sign in"</h1>
            {wrong}
            <form class="sign-in" method="post" action="/sign-in">
                <label for="name">"Name"</label>
                <input id="name" name="name" autocomplete="username" autocapitalize="none" required/>
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
            <p>
                "No account yet? The first start of " <code>"stepcast serve"</code>
                " prints a link that makes one; later an admin invites you. On the machine that runs Stepcast:"
            </p>
            <pre class="code">"stepcast account create --name me"</pre>
            <p>
                "Where the server was started with a " <code>"--data-dir"</code> " or " <code>"--store"</code>
                " of its own, give the same one."
            </p>
        </section>
    }
}
