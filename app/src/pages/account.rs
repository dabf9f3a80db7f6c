//! `/account`: what one may do, another password, and the end of all one's sessions.

use leptos::{either::Either, prelude::*};
use leptos_meta::Title;
use wire::account::{ChangePassword, PASSWORD_CHARS_MIN};

use crate::{
    components::{deed::Deed, grants_field::in_words, own::Own, provider::ProviderSection, text_field::TextField},
    live::Live,
    rest::people,
};

/// The route.
#[component]
pub fn AccountRoute() -> impl IntoView {
    let own = Own::get();
    let may = move || own.view().map(|own| in_words(&own.grants)).unwrap_or_default();
    let is_person = Memo::new(move |_| own.is_person());
    let has_password =
        Memo::new(move |_| own.view().and_then(|own| own.signs_in).is_some_and(|signs_in| signs_in.password));
    let by_provider = move || {
        let (name, signs_in) = own.view().and_then(|own| own.provider.zip(own.signs_in))?;
        Some(view! { <ProviderSection name signs_in/> })
    };
    let parts = move || {
        if is_person.get() {
            Either::Left(view! {
                {move || has_password.get().then(|| view! { <PasswordForm/> })}
                {by_provider}
                <Sessions/>
            })
        } else {
            Either::Right(view! {
                <p class="about">"You are signed in by a token. A password and sessions belong to people, who sign in by their names."</p>
            })
        }
    };
    view! {
        <Title text="Account"/>
        <div class="heading">
            <h1>{move || own.name()}</h1>
        </div>
        <p class="about">"You are " {may} "."</p>
        {parts}
    }
}

#[component]
fn PasswordForm() -> impl IntoView {
    let deed = Deed::new();
    let (old, new) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let is_done = RwSignal::new(false);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        is_done.set(false);
        let change = ChangePassword { old: old.get_untracked(), new: new.get_untracked() };
        deed.ask(people::change_password(change), move |()| {
            old.set(String::new());
            new.set(String::new());
            is_done.set(true);
        });
    };
    // Each beside the field that it is about.
    let wrong = move |of_new: bool| {
        Signal::derive(move || deed.problem.get().filter(|problem| (problem.status == 422) == of_new))
    };
    let told = move || {
        is_done.get().then_some("It is changed, and your other sessions have ended. Those that a token began go on.")
    };
    view! {
        <section aria-labelledby="password-heading">
            <h2 id="password-heading">"Password"</h2>
            <form class="trigger needs-js" on:submit=submit>
                <TextField
                    id="old"
                    label="The present one"
                    value=old
                    kind="password"
                    autocomplete="current-password"
                    required=true
                    wrong=wrong(false)
                />
                <TextField
                    id="new"
                    label="The new one"
                    value=new
                    kind="password"
                    autocomplete="new-password"
                    required=true
                    about=format!("{PASSWORD_CHARS_MIN} characters at least: a few words of your own do.")
                    wrong=wrong(true)
                />
                <button class="primary" type="submit" disabled=move || deed.busy.get()>"Change the password"</button>
                <p class="hint" role="status">{told}</p>
            </form>
        </section>
    }
}

#[component]
fn Sessions() -> impl IntoView {
    let live = use_context::<Live>();
    let leave = move |_| {
        if let Some(live) = live {
            live.leaves();
        }
    };
    view! {
        <section aria-labelledby="sessions">
            <h2 id="sessions">"Sessions"</h2>
            <p class="about">"Ends all of them, here and in every other browser. Tokens stay, and so do the sessions that they began."</p>
            <form class="trigger" method="post" action="/sign-out-everywhere" on:submit=leave>
                <button class="danger" type="submit">"Sign out everywhere"</button>
            </form>
        </section>
    }
}
