//! What a person has typed before the page is taken over, which writes into each field what the server knew.

use gloo_timers::future::TimeoutFuture;
use leptos::prelude::document;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, Event, EventInit, HtmlInputElement, HtmlTextAreaElement};

/// The fields in which something was typed.
pub struct Typed(Vec<(Element, String)>);

impl Typed {
    /// What stands in the document now, and is not what the server sent.
    #[must_use]
    pub fn of_document() -> Self {
        let Ok(fields) = document().query_selector_all("input, textarea") else { return Self(Vec::new()) };
        let fields = (0..fields.length()).filter_map(|n| fields.get(n)?.dyn_into::<Element>().ok());
        Self(fields.filter_map(|field| typed(&field).map(|text| (field, text))).collect())
    }

    /// Writes again what is erased, and tells the page as if it were typed now: at once, and when what waits for the page's data
    /// is taken over too.
    pub async fn restore(self) {
        self.write();
        TimeoutFuture::new(0).await;
        self.write();
    }

    fn write(&self) {
        let told = EventInit::new();
        told.set_bubbles(true);
        for (field, text) in self.0.iter().filter(|(field, _)| typed(field).is_none()) {
            if let Some(input) = field.dyn_ref::<HtmlInputElement>() {
                input.set_value(text);
            } else if let Some(area) = field.dyn_ref::<HtmlTextAreaElement>() {
                area.set_value(text);
            }
            if let Ok(event) = Event::new_with_event_init_dict("input", &told) {
                let _ = field.dispatch_event(&event);
            }
        }
    }
}

/// What stands in a field, where it is not what the server sent.
fn typed(field: &Element) -> Option<String> {
    let (text, sent) = match field.dyn_ref::<HtmlInputElement>() {
        // A file can be chosen only by a person.
        Some(input) if input.type_() == "file" => return None,
        Some(input) => (input.value(), input.default_value()),
        None => {
            let area = field.dyn_ref::<HtmlTextAreaElement>()?;
            (area.value(), area.default_value().ok()?)
        }
    };
    (text != sent).then_some(text)
}
