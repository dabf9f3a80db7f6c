//! `/account`: what one may do, another password, and the end of all one's sessions.

use leptos::{either::Either, prelude::*};
use leptos_meta::Title;
use wire::account::{ChangePassword, OwnView, PASSWORD_CHARS_MIN};

use crate::{
    components::{deed::Deed, grants_field::in_words, own::Own, problem_note::ProblemNote, provider::ProviderSection},
    live::Live,
    rest::people,
};

/// The route.
#[component]
pub fn AccountRoute() -> impl IntoView {
    let own = Own::get();
    let may =
        move || serde_json::from_value::<OwnView>(own.whole()).map(|own| in_words(&own.grants)).unwrap_or_default();
    let is_person = Memo::new(move |_| own.is_person());
    let view = move || serde_json::from_value::<OwnView>(own.whole()).ok();
    let has_password =
        Memo::new(move |_| view().and_then(|own| own.signs_in).is_some_and(|signs_in| signs_in.password));
    let by_provider = move || {
        let (name, signs_in) = view().and_then(|own| own.provider.zip(own.signs_in))?;
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
    let problem = move |of_new: bool| {
        let problem = deed.problem.get().filter(|problem| (problem.status == 422) == of_new);
        problem.map(|problem| view! { <ProblemNote problem/> })
    };
    let told = move || is_done.get().then_some("It is changed, and your other sessions have ended.");
    view! {
        <section aria-labelledby="password-heading">
            <h2 id="password-heading">"Password"</h2>
            <form class="trigger needs-js" on:submit=submit>
                <div class="field">
                    <label for="old">"The present one"</label>
                    <input
                        id="old"
                        type="password"
                        autocomplete="current-password"
                        required
                        prop:value=move || old.get()
                        on:input=move |event| old.set(event_target_value(&event))
                    />
                    {move || problem(false)}
                </div>
                <div class="field">
                    <label for="new">"The new one"</label>
                    <input
                        id="new"
                        type="password"
                        autocomplete="new-password"
                        required
                        prop:value=move || new.get()
                        on:input=move |event| new.set(event_target_value(&event))
                    />
                    <p class="about">{format!("{PASSWORD_CHARS_MIN} characters at least: a few words of your own do.")}</p>
                    {move || problem(true)}
                </div>
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
            <p class="about">"Ends all of them, here and in every other browser. Tokens stay."</p>
            <form class="trigger" method="post" action="/sign-out-everywhere" on:submit=leave>
                <button class="danger" type="submit">"Sign out everywhere"</button>
            </form>
        </section>
    }
}
