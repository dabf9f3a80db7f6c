//! The browser's window: clocks, timers, frames, theme, network.

use std::{cell::RefCell, rc::Rc};

use js_sys::{Array, Function};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Element, HtmlElement, HtmlTextAreaElement, ResizeObserver, Storage, VisibilityState, Window};

type OnResize = Closure<dyn Fn(Array)>;

const THEME_KEY: &str = "theme";

fn window() -> Option<Window> {
    web_sys::window()
}

/// Milliseconds since the Unix epoch by the person's clock.
#[must_use]
pub fn now_millis() -> f64 {
    js_sys::Date::now()
}

/// From 0 to 1.
#[must_use]
pub fn random() -> f64 {
    js_sys::Math::random()
}

/// Minutes that the person's zone is ahead of UTC at a time.
#[must_use]
pub fn zone_minutes(millis: f64) -> i32 {
    -(js_sys::Date::new(&JsValue::from_f64(millis)).get_timezone_offset() as i32)
}

/// Calls `f` before the next frame is painted.
pub fn next_frame(f: impl FnOnce() + 'static) {
    if let Some(window) = window() {
        // Refused only where nothing is painted.
        let _ = window.request_animation_frame(Closure::once_into_js(f).unchecked_ref());
    }
}

/// Calls `f` once, after so many milliseconds.
pub fn after(millis: u64, f: impl FnOnce() + 'static) {
    if let Some(window) = window() {
        let millis = i32::try_from(millis).unwrap_or(i32::MAX);
        let f = Closure::once_into_js(f);
        // Refused only when no callback is given.
        let _ = window.set_timeout_with_callback_and_timeout_and_arguments_0(f.unchecked_ref(), millis);
    }
}

/// Calls `f` every so many milliseconds, as long as the page lives.
pub fn every(millis: i32, f: impl Fn() + 'static) {
    if let Some(window) = window() {
        let f = Closure::<dyn Fn()>::new(f).into_js_value();
        // Refused only when no callback is given.
        let _ = window.set_interval_with_callback_and_timeout_and_arguments_0(f.unchecked_ref(), millis);
    }
}

/// Calls `f` at each event of that name, at the window or the document, as long as the page lives.
pub fn on_window(name: &str, f: impl Fn() + 'static) {
    let f: Function = Closure::<dyn Fn()>::new(f).into_js_value().unchecked_into();
    let Some(window) = window() else { return };
    let target: Option<web_sys::EventTarget> =
        if name == "visibilitychange" { window.document().map(Into::into) } else { Some(window.into()) };
    if let Some(target) = target {
        // Refused only when no callback is given.
        let _ = target.add_event_listener_with_callback(name, &f);
    }
}

/// Whether the tab is in front.
#[must_use]
pub fn is_visible() -> bool {
    window()
        .and_then(|window| window.document())
        .is_some_and(|document| document.visibility_state() == VisibilityState::Visible)
}

/// Whether the browser thinks that it has a network.
#[must_use]
pub fn is_online() -> bool {
    window().is_some_and(|window| window.navigator().on_line())
}

/// Where the socket is.
#[must_use]
pub fn socket_url() -> String {
    let Some(location) = window().map(|window| window.location()) else { return String::new() };
    let secure = location.protocol().is_ok_and(|protocol| protocol == "https:");
    format!("{}://{}/ws", if secure { "wss" } else { "ws" }, location.host().unwrap_or_default())
}

/// Calls `f` when the element's size changes, until the element is gone.
pub fn on_resize(element: &Element, f: impl Fn() + 'static) {
    let kept: Rc<RefCell<Option<OnResize>>> = Rc::default();
    let keep = kept.clone();
    let watched = element.clone();
    let callback = OnResize::new(move |_: Array| {
        if watched.is_connected() {
            f();
        } else {
            let gone = keep.borrow_mut().take();
            after(0, move || drop(gone));
        }
    });
    if let Ok(observer) = ResizeObserver::new(callback.as_ref().unchecked_ref()) {
        observer.observe(element);
    }
    kept.replace(Some(callback));
}

fn storage() -> Option<Storage> {
    window()?.local_storage().ok()?
}

/// The theme that the person chose: `light`, `dark`, or none to follow the system.
#[must_use]
pub fn theme() -> Option<String> {
    storage()?.get_item(THEME_KEY).ok()?
}

/// Chooses a theme, here and for later visits.
pub fn set_theme(theme: Option<&str>) {
    // Storage may be forbidden: then the choice holds for this page only.
    if let Some(storage) = storage() {
        let _ = match theme {
            Some(theme) => storage.set_item(THEME_KEY, theme),
            None => storage.remove_item(THEME_KEY),
        };
    }
    if let Some(root) = window().and_then(|window| window.document()).and_then(|document| document.document_element()) {
        let _ = match theme {
            Some(theme) => root.set_attribute("data-theme", theme),
            None => root.remove_attribute("data-theme"),
        };
    }
}

/// Shows another icon in the tab: a file of the site.
pub fn set_icon(url: &str) {
    let link = window().and_then(|window| window.document()?.query_selector("link[rel=icon]").ok()?);
    if let Some(link) = link {
        // Refused only for names that no attribute has.
        let _ = link.set_attribute("href", url);
    }
}

/// Scrolls the list that holds a row, and nothing else, so that the row is in view.
pub fn reveal_in_list(row: &HtmlElement) {
    let Some(list) = row.parent_element() else { return };
    let (top, height) = (row.offset_top(), row.offset_height());
    let (seen, view) = (list.scroll_top(), list.client_height());
    if top < seen || top + height > seen + view {
        list.set_scroll_top(top - (view - height) / 2);
    }
}

/// Scrolls a view sideways, where that is needed, so that the first element in it that a selector finds is seen: back to
/// the edge if it is seen from there.
pub fn reveal_sideways(view: &Element, selector: &str) {
    let Ok(Some(element)) = view.query_selector(selector) else { return };
    let (place, seen) = (element.get_bounding_client_rect(), view.get_bounding_client_rect());
    let width = f64::from(view.client_width());
    // Line numbers stand above the left of the view.
    let margin = width / 8.0;
    let (from, to) = (place.left() - seen.left(), place.right() - seen.left());
    if from >= margin && to <= width {
        return;
    }
    let scrolled = f64::from(view.scroll_left());
    let left = if to + scrolled <= width { 0.0 } else { from + scrolled - width / 2.0 };
    view.set_scroll_left(left.round() as i32);
}

/// Puts the cursor on a line of a text area, counted from 1, and selects it.
pub fn select_line(area: &HtmlTextAreaElement, line: u32) {
    let text = area.value();
    let units = |line: &str| u32::try_from(line.encode_utf16().count()).unwrap_or(u32::MAX);
    let before = usize::try_from(line.saturating_sub(1)).unwrap_or(0);
    let start: u32 = text.split('\n').take(before).map(|line| units(line) + 1).sum();
    let end = start + text.split('\n').nth(before).map_or(0, units);
    // Both are refused only for inputs that hold no text.
    let _ = area.focus();
    let _ = area.set_selection_range(start, end);
}

/// Text as it may stand in an address.
#[must_use]
pub fn encoded(text: &str) -> String {
    js_sys::encode_uri_component(text).into()
}

/// What works only with scripts is not shown any more.
pub fn is_without_scripts() {
    if let Some(root) = window().and_then(|window| window.document()).and_then(|document| document.document_element()) {
        root.set_class_name("");
    }
}

/// Text in small letters. The browser has the tables for it; ours would be loaded with the package.
#[must_use]
pub fn lowercase(text: &str) -> String {
    js_sys::JsString::from(text).to_lower_case().into()
}

/// Reads an answer line by line as it comes, until `take` wants no more.
///
/// # Errors
/// When the server cannot be reached, refuses, or breaks off.
#[allow(clippy::result_unit_err, reason = "there is one sentence for all of it, and the caller has it")]
pub async fn stream_lines(url: &str, mut take: impl FnMut(&str) -> bool) -> Result<(), ()> {
    let asked = window().ok_or(())?.fetch_with_str(url);
    let response: web_sys::Response = JsFuture::from(asked).await.map_err(drop)?.unchecked_into();
    let body = response.body().filter(|_| response.ok()).ok_or(())?;
    let reader: web_sys::ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    let mut held: Vec<u8> = Vec::new();
    loop {
        let part = JsFuture::from(reader.read()).await.map_err(drop)?;
        let get = |name: &str| js_sys::Reflect::get(&part, &JsValue::from_str(name)).map_err(drop);
        if get("done")?.is_truthy() {
            return Ok(());
        }
        held.extend(js_sys::Uint8Array::new(&get("value")?).to_vec());
        let whole = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = held.split_off(whole);
        let lines = std::mem::replace(&mut held, rest);
        for line in String::from_utf8_lossy(&lines).lines() {
            if !take(line) {
                // The server stops when nobody reads any more.
                let _ = reader.cancel();
                return Ok(());
            }
        }
    }
}

/// The page's address with its fragment.
#[must_use]
pub fn address() -> String {
    window().and_then(|window| window.location().href().ok()).unwrap_or_default()
}

/// Goes to the page where one signs in, from which this one is come back to.
pub fn sign_in_again() {
    let Some(location) = window().map(|window| window.location()) else { return };
    let part = |part: Result<String, JsValue>| part.unwrap_or_default();
    let here = part(location.pathname()) + &part(location.search()) + &part(location.hash());
    // Refused only for addresses that are none.
    let _ = location.assign(&format!("{}?ended=1&next={}", crate::SIGN_IN, encoded(&here)));
}

/// Changes the address in place: what stands behind its path, from the `?` on.
pub fn set_place(place: &str) {
    if let Some(Ok(history)) = window().map(|window| window.history()) {
        let state = history.state().unwrap_or(JsValue::NULL);
        // Refused only for addresses of another site.
        let _ = history.replace_state_with_url(&state, "", Some(place));
    }
}

/// Puts text where it can be pasted from. False where the browser forbids it: it wants https, or this machine.
pub async fn copy(text: &str) -> bool {
    let Some(navigator) = window().map(|window| window.navigator()) else { return false };
    // Absent where the page is not trusted.
    let clipboard = js_sys::Reflect::get(&navigator, &JsValue::from_str("clipboard"));
    if clipboard.is_ok_and(|clipboard| clipboard.is_undefined()) {
        return false;
    }
    JsFuture::from(navigator.clipboard().write_text(text)).await.is_ok()
}

/// Whether the person types into a field, where letters are no shortcuts.
#[must_use]
pub fn is_typing() -> bool {
    let focused = window().and_then(|window| window.document()?.active_element());
    focused.is_some_and(|element| matches!(element.tag_name().as_str(), "INPUT" | "TEXTAREA" | "SELECT"))
}

/// Whether anything on the page has the focus: the page itself has it when nothing else does.
#[must_use]
pub fn has_focus() -> bool {
    let focused = window().and_then(|window| window.document()?.active_element());
    focused.is_some_and(|element| element.tag_name() != "BODY")
}

/// The number (`data-n`) of the element around what was pressed that a selector fits.
#[must_use]
pub fn number_at(event: &leptos::ev::MouseEvent, selector: &str) -> Option<u64> {
    number_around(event.target()?.dyn_into::<Element>().ok()?, selector)
}

/// The same for the place where the selection ends, when something is selected.
#[must_use]
pub fn selected_number(selector: &str) -> Option<u64> {
    let selection = window()?.get_selection().ok()??;
    let node = selection.focus_node().filter(|_| !selection.is_collapsed())?;
    number_around(node.dyn_into::<Element>().or_else(|node| node.parent_element().ok_or(node)).ok()?, selector)
}

/// Whether the selection begins inside an element that a selector fits.
#[must_use]
pub fn selection_begins_in(selector: &str) -> bool {
    let begins_in = || {
        let node = window()?.get_selection().ok()??.anchor_node()?;
        node.dyn_into::<Element>().or_else(|node| node.parent_element().ok_or(node)).ok()?.closest(selector).ok()?
    };
    begins_in().is_some()
}

fn number_around(element: Element, selector: &str) -> Option<u64> {
    element.closest(selector).ok()??.get_attribute("data-n")?.parse().ok()
}

/// Takes the selection away.
pub fn select_nothing() {
    if let Some(Ok(Some(selection))) = window().map(|window| window.get_selection()) {
        // Refused only where there is no document.
        let _ = selection.remove_all_ranges();
    }
}

/// Numbers (`data-n`) and heights in pixels of the elements inside that a selector fits.
#[must_use]
pub fn heights(block: &Element, selector: &str) -> Vec<(u64, f64)> {
    let Ok(list) = block.query_selector_all(selector) else { return Vec::new() };
    let of = |index| {
        let element = list.item(index)?.dyn_into::<Element>().ok()?;
        let number = element.get_attribute("data-n")?.parse().ok()?;
        Some((number, element.get_bounding_client_rect().height()))
    };
    (0..list.length()).filter_map(of).collect()
}

/// Whether the person turned on what has this name, here at a former visit.
#[must_use]
pub fn is_preferred(name: &str) -> bool {
    storage().and_then(|storage| storage.get_item(name).ok()?).is_some()
}

/// Remembers for later visits whether the person turned it on.
pub fn prefer(name: &str, on: bool) {
    // Storage may be forbidden: then the choice holds for this page only.
    if let Some(storage) = storage() {
        let _ = if on { storage.set_item(name, "on") } else { storage.remove_item(name) };
    }
}

fn found(selector: &str) -> Option<HtmlElement> {
    window()?.document()?.query_selector(selector).ok()??.dyn_into().ok()
}

/// Gives the focus to the first element that a selector finds.
pub fn focus(selector: &str) {
    if let Some(element) = found(selector) {
        // Refused only for elements that are not in the document.
        let _ = element.focus();
    }
}

/// Presses the first element that a selector finds, as a click does.
pub fn press(selector: &str) {
    if let Some(element) = found(selector) {
        element.click();
    }
}
