//! A question before the person leaves what they have not saved: by closing or reloading the tab, by a link, by starting a
//! build. Going back in the history is not asked about: it has happened when a page hears of it.

use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{Element, Event, EventTarget, HtmlAnchorElement, MouseEvent, window};

/// What leads away from a page when it is pressed.
const WAYS: &str = "a[href], #build button";

/// Asks for as long as it is kept.
pub struct AskBeforeLeaving(Vec<Listener>);

struct Listener {
    at: EventTarget,
    event: &'static str,
    call: Closure<dyn Fn(Event)>,
}

impl AskBeforeLeaving {
    /// Asks while `is_changed`. The browser has its own sentence for the end of the tab.
    #[must_use]
    pub fn new(question: &'static str, is_changed: impl Fn() -> bool + Clone + 'static) -> Self {
        let Some((window, document)) = window().and_then(|window| Some((window.clone(), window.document()?))) else {
            return Self(Vec::new());
        };
        let at_end = is_changed.clone();
        let end = move |event: Event| {
            if at_end() {
                event.prevent_default();
            }
        };
        let pressed = move |event: Event| {
            if leads_away(&event) && is_changed() && !confirm(question) {
                event.prevent_default();
                event.stop_immediate_propagation();
            }
        };
        Self(vec![
            Listener::new(window.into(), "beforeunload", Closure::new(end)),
            Listener::new(document.into(), "click", Closure::new(pressed)),
        ])
    }
}

impl Listener {
    /// Heard before anything on the page hears of it.
    fn new(at: EventTarget, event: &'static str, call: Closure<dyn Fn(Event)>) -> Self {
        // Refused only when no callback is given.
        let _ = at.add_event_listener_with_callback_and_bool(event, call.as_ref().unchecked_ref(), true);
        Self { at, event, call }
    }
}

impl Drop for AskBeforeLeaving {
    fn drop(&mut self) {
        for Listener { at, event, call } in &self.0 {
            // Refused only when no callback is given.
            let _ = at.remove_event_listener_with_callback_and_bool(event, call.as_ref().unchecked_ref(), true);
        }
    }
}

/// Whether a click takes this tab to another page of the site. Where it takes the tab elsewhere, the browser asks.
fn leads_away(event: &Event) -> bool {
    let Some(event) = event.dyn_ref::<MouseEvent>() else { return false };
    let way = || event.target()?.dyn_into::<Element>().ok()?.closest(WAYS).ok()?;
    let Some(way) = way().filter(|_| !event.ctrl_key() && !event.meta_key() && !event.shift_key()) else {
        return false;
    };
    let Some(link) = way.dyn_ref::<HtmlAnchorElement>() else { return true };
    let here = window().map(|window| window.location());
    let is_own = here.as_ref().is_some_and(|here| here.origin().is_ok_and(|origin| origin == link.origin()));
    // Another list of builds on the same page leaves the text as it is.
    let is_here = here.is_some_and(|here| here.pathname().is_ok_and(|path| path == link.pathname()));
    is_own && !is_here && link.rel() != "external" && link.target().is_empty()
}

fn confirm(question: &str) -> bool {
    window().is_some_and(|window| window.confirm_with_message(question).unwrap_or(true))
}
