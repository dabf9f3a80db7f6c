//! The switch between the system's theme, light and dark.

use leptos::prelude::*;

use crate::browser;

/// Turns through system, light and dark. What was chosen is applied before the first paint by the document's head.
#[component]
pub fn ThemeSwitch() -> impl IntoView {
    let theme = RwSignal::new(None::<String>);
    Effect::new(move |_| theme.set(browser::theme()));
    let turn = move |_| {
        let next = match theme.get_untracked().as_deref() {
            None => Some("light"),
            Some("light") => Some("dark"),
            Some(_) => None,
        };
        browser::set_theme(next);
        theme.set(next.map(str::to_owned));
    };
    let name = move || theme.get().unwrap_or_else(|| "system".to_owned());
    let shape = move || match theme.get().as_deref() {
        None => "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 1 1 0-13zM8 3v10a5 5 0 0 0 0-10z",
        Some("light") => {
            "M8 4.5a3.5 3.5 0 1 1 0 7a3.5 3.5 0 1 1 0-7zM7.3 0h1.4v2.6H7.3zM7.3 13.4h1.4V16H7.3zM0 7.3h2.6v1.4H0zM13.4 7.3H16v1.4h-2.6zM2.8 1.8l1.9 1.9-1 1-1.9-1.9zM12.3 11.3l1.9 1.9-1 1-1.9-1.9zM13.2 1.8l1 1-1.9 1.9-1-1zM3.7 11.3l1 1-1.9 1.9-1-1z"
        }
        Some(_) => "M6.2 1.2a7 7 0 1 0 8.6 8.6A6 6 0 0 1 6.2 1.2z",
    };
    view! {
        <button class="icon theme needs-js" type="button" on:click=turn title=move || format!("Theme: {}", name())
            aria-label=move || format!("Theme: {}. Change", name())>
            <svg viewBox="0 0 16 16" aria-hidden="true"><path d=shape></path></svg>
        </button>
    }
}
