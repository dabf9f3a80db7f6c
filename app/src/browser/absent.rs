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

/// Puts the cursor on a line of a text area: nothing to do.
pub fn select_line(_area: &leptos::web_sys::HtmlTextAreaElement, _line: u32) {}
