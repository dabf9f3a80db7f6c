//! The keys of the whole site, and the dialog that tells them (`?`). Those of a log are in `log_search`.

use leptos::{ev, html, prelude::*};

use crate::browser;

/// Each key, and what it does.
const KEYS: [(&str, &str); 13] = [
    ("?", "This help"),
    ("g h", "All pipelines"),
    ("j", "Next job of the build"),
    ("k", "Job before"),
    ("[", "Build before, of the same pipeline"),
    ("]", "Next build"),
    ("/", "Search all logs and builds"),
    ("/ or Ctrl+F", "On the page of a build: search the whole log"),
    ("Enter, Shift+Enter", "In the search: next hit, hit before"),
    ("Ctrl+A, Ctrl+C", "In the log: mark all of it, copy what is marked"),
    ("f", "Follow the end of the log, or let it go"),
    ("t", "System theme, light, dark"),
    ("Esc", "Close a search, a question, this help"),
];

/// What a key presses, as the style sheet would name it.
fn pressed_by(key: &str, after_g: bool) -> Option<&'static str> {
    match (key, after_g) {
        ("h", true) => Some("a.brand"),
        ("j", false) => Some(".jobs li:has([aria-current]) + li a"),
        ("k", false) => Some(".jobs li:has(+ li [aria-current]) a"),
        ("[", false) => Some(".neighbours a.before"),
        ("]", false) => Some(".neighbours a.after"),
        ("f", false) => Some(".log-bar .follow"),
        // A log has a search of its own.
        ("/", false) => Some("body:not(:has(.log-bar, form.search)) .places a[href='/search'], form.search label"),
        ("t", false) => Some(".theme"),
        _ => None,
    }
}

/// The button, the keys and the dialog.
#[component]
pub fn Shortcuts() -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    let show = move || {
        if let Some(dialog) = dialog.get_untracked().filter(|dialog| !dialog.open()) {
            // Refused only while it is open.
            let _ = dialog.show_modal();
            // The browser goes to the button at the end; where there is little room, that hides the beginning.
            let _ = dialog.focus();
            dialog.set_scroll_top(0);
        }
    };
    Effect::new(move |_| {
        let after_g = StoredValue::new(false);
        let listener = window_event_listener(ev::keydown, move |event| {
            // What is behind the open dialog is out of reach.
            let is_open = dialog.get_untracked().is_some_and(|dialog| dialog.open());
            // Where a key needs AltGr, the two that it is made of are no command.
            let is_command =
                (event.ctrl_key() || event.meta_key() || event.alt_key()) && !event.get_modifier_state("AltGraph");
            if is_open || is_command || browser::is_typing() {
                return;
            }
            let key = event.key();
            if key == "?" {
                show();
            } else if let Some(place) = pressed_by(&key, after_g.get_value()) {
                browser::press(place);
                if key == "/" {
                    event.prevent_default(); // It is not the first letter of what is looked for.
                }
            }
            after_g.set_value(key == "g");
        });
        on_cleanup(move || listener.remove());
    });
    let keys = KEYS.map(|(key, does)| view! { <div><dt><kbd>{key}</kbd></dt><dd>{does}</dd></div> });
    view! {
        <button class="icon needs-js" type="button" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" on:click=move |_| show()>
            "?"
        </button>
        <dialog node_ref=dialog class="keys" tabindex="-1" aria-label="Keyboard shortcuts">
            <h2>"Keyboard shortcuts"</h2>
            <dl>{keys.to_vec()}</dl>
            <form method="dialog"><button>"Close"</button></form>
        </dialog>
    }
}

#[cfg(test)]
mod tests {
    use super::pressed_by;

    #[test]
    fn h_means_home_behind_g_only() {
        assert_eq!(pressed_by("h", true), Some("a.brand"));
        assert_eq!(pressed_by("[", false), Some(".neighbours a.before"));
        assert_eq!((pressed_by("h", false), pressed_by("j", true), pressed_by("x", false)), (None, None, None));
    }
}
