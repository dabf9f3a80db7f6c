//! Where there is no browser.

/// Milliseconds since the Unix epoch by the machine's clock.
#[must_use]
pub fn now_millis() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64() * 1_000.0)
}

/// Minutes that the person's zone is ahead of UTC at a time: none is known.
#[must_use]
pub fn zone_minutes(_millis: f64) -> i32 {
    0
}

/// Calls `f` before the next frame is painted: never.
pub fn next_frame(f: impl FnOnce() + 'static) {
    drop(f);
}

/// Calls `f` once, after so many milliseconds: never.
pub fn after(_millis: u64, f: impl FnOnce() + 'static) {
    drop(f);
}

/// Calls `f` every so many milliseconds: never.
pub fn every(_millis: i32, f: impl Fn() + 'static) {
    drop(f);
}

/// Calls `f` when the element's size changes: never.
pub fn on_resize(_element: &leptos::web_sys::Element, f: impl Fn() + 'static) {
    drop(f);
}

/// The chosen theme: none.
#[must_use]
pub fn theme() -> Option<String> {
    None
}

/// Chooses a theme: nothing to do.
pub fn set_theme(_theme: Option<&str>) {}

/// Shows another icon in the tab: there is none.
pub fn set_icon(_url: &str) {}

/// Scrolls the list that holds a row: nothing to do.
pub fn reveal_in_list(_row: &leptos::web_sys::HtmlElement) {}

/// Scrolls a view sideways: nothing to do.
pub fn reveal_sideways(_view: &leptos::web_sys::Element, _selector: &str) {}

/// Puts the cursor on a line of a text area: nothing to do.
pub fn select_line(_area: &leptos::web_sys::HtmlTextAreaElement, _line: u32) {}

/// Text as it may stand in an address: nothing is asked where there is no browser.
#[must_use]
pub fn encoded(_text: &str) -> String {
    String::new()
}

/// Text in small letters.
#[must_use]
pub fn lowercase(text: &str) -> String {
    text.to_lowercase()
}

/// Reads an answer line by line: there is none.
///
/// # Errors
/// Always.
#[allow(clippy::unused_async, clippy::result_unit_err, reason = "as in a browser")]
pub async fn stream_lines(_url: &str, take: impl FnMut(&str) -> bool) -> Result<(), ()> {
    drop(take);
    Err(())
}

/// The page's address: none.
#[must_use]
pub fn address() -> String {
    String::new()
}

/// Changes the address: nothing to do.
pub fn set_place(_place: &str) {}

/// Puts text where it can be pasted from: nowhere.
#[allow(clippy::unused_async, reason = "as in a browser")]
pub async fn copy(_text: &str) -> bool {
    false
}

/// Whether the person types into a field: nobody does.
#[must_use]
pub fn is_typing() -> bool {
    false
}

/// Whether anything has the focus: nothing.
#[must_use]
pub fn has_focus() -> bool {
    false
}

/// The number of what was pressed: none.
#[must_use]
pub fn number_at(_event: &leptos::ev::MouseEvent, _selector: &str) -> Option<u64> {
    None
}

/// The number of the place where the selection ends: none.
#[must_use]
pub fn selected_number(_selector: &str) -> Option<u64> {
    None
}

/// Whether the selection begins in an element: there is none.
#[must_use]
pub fn selection_begins_in(_selector: &str) -> bool {
    false
}

/// Takes the selection away: there is none.
pub fn select_nothing() {}

/// Numbers and heights of elements: none.
#[must_use]
pub fn heights(_block: &leptos::web_sys::Element, _selector: &str) -> Vec<(u64, f64)> {
    Vec::new()
}

/// Whether the person turned on what has this name: nobody did.
#[must_use]
pub fn is_preferred(_name: &str) -> bool {
    false
}

/// Remembers whether the person turned it on: nowhere.
pub fn prefer(_name: &str, _on: bool) {}

/// Gives the focus away: to nothing.
pub fn focus(_selector: &str) {}

/// Presses the first element that a selector finds: nothing to press.
pub fn press(_selector: &str) {}

/// A question before the person leaves: nobody does.
pub struct AskBeforeLeaving;

impl AskBeforeLeaving {
    /// Asks nothing.
    #[must_use]
    pub fn new(_question: &'static str, _is_changed: impl Fn() -> bool + Clone + 'static) -> Self {
        Self
    }
}

/// A file on its way: there is none.
pub struct Upload;

impl Upload {
    /// Sends nothing.
    #[must_use]
    pub fn of_chosen(
        _event: &leptos::ev::Event,
        _sent: impl FnMut(u32) + 'static,
        _done: impl FnMut(Result<String, wire::Problem>) + 'static,
    ) -> Option<Self> {
        None
    }
}
