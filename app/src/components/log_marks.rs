//! What can be done with marked lines: copying them, or a link to them. A link in the address marks them when the page
//! opens.

use leptos::{prelude::*, task::spawn_local};
use leptos_router::hooks::use_location;
use wire::log::plain;

use super::{connection::grouped, log_range::LineRange, log_view::LogHandle};
use crate::{browser, rest};

/// So many lines are copied at most; more are in the raw log.
const COPY_LINES_MAX: u64 = 200_000;
/// Lines that are read from the record at once.
const READ_LINES: u64 = 5_000;

/// The bar; absent while no line is marked.
#[component]
pub fn MarkBar(
    /// The log.
    handle: LogHandle,
) -> impl IntoView {
    let fragment = use_location().hash;
    Effect::new(move |_| {
        if let Some(range) = LineRange::parse(&fragment.get()) {
            handle.mark_only(range);
            handle.show_line(range.first);
        }
    });
    let copy_marked = move |_| {
        if let Some(range) = handle.marked.get_untracked() {
            copy_lines(handle, range);
        }
    };
    let copy_link = move |_| {
        if let Some(range) = handle.marked.get_untracked() {
            handle.name_in_address(&range.fragment());
        }
        spawn_local(async move { copied(handle, browser::copy(&browser::address()).await, "Link") });
    };
    let forget = move |_| {
        handle.marked.set(None);
        handle.name_in_address("");
    };
    let name = |range: LineRange| match range.lines() {
        1 => format!("Line {}", grouped(range.first + 1)),
        _ => format!("Lines {} to {}", grouped(range.first + 1), grouped(range.last + 1)),
    };
    view! {
        <Show when=move || handle.marked.get().is_some()>
            <div class="mark-bar">
                <span>{move || handle.marked.get().map(name)}</span>
                <button class="small" type="button" on:click=copy_marked>"Copy lines"</button>
                <button class="small" type="button" on:click=copy_link>"Copy link"</button>
                <span class="muted" role="status">{move || handle.said.get()}</span>
                <span class="space"></span>
                <button class="small" type="button" on:click=forget>"Unmark"</button>
            </div>
        </Show>
    }
}

/// Copies lines, and says that it did or why not.
pub(super) fn copy_lines(handle: LogHandle, range: LineRange) {
    spawn_local(async move {
        match text_of(handle, range).await {
            Ok((text, lines)) => copied(handle, browser::copy(&text).await, &counted(lines)),
            Err(reason) => tell(handle, reason),
        }
    });
}

fn copied(handle: LogHandle, done: bool, what: &str) {
    let text = if done { format!("{what} copied") } else { "The browser does not allow copying here".to_owned() };
    tell(handle, text);
}

fn tell(handle: LogHandle, text: String) {
    // The page may be gone when the answer is there.
    let _ = handle.said.try_set(text);
}

fn counted(lines: u64) -> String {
    if lines == 1 { "1 line".to_owned() } else { format!("{} lines", grouped(lines)) }
}

/// The lines as a person would paste them: without numbers and colours; those that are not here are read from the record.
async fn text_of(handle: LogHandle, range: LineRange) -> Result<(String, u64), String> {
    let (job, attempt, total) = handle.log().ok_or_else(|| "There is no log here".to_owned())?;
    let end = range.last.saturating_add(1).min(total);
    if end.saturating_sub(range.first) > COPY_LINES_MAX {
        return Err(format!("More than {} lines: take the raw log", grouped(COPY_LINES_MAX)));
    }
    let (mut text, mut line, mut n) = (String::new(), String::new(), range.first);
    while n < end {
        // Another log may be shown by now.
        let is_shown = handle.log().is_some_and(|now| (now.0, now.1) == (job, attempt));
        if let Some(held) = handle.held(n).filter(|_| is_shown) {
            plain(&held, &mut line);
            text.push_str(&line);
            text.push('\n');
            n += 1;
            continue;
        }
        let fetched = rest::log_lines(job, attempt, n, READ_LINES.min(end - n)).await;
        let recorded = fetched.map_err(|problem| problem.detail)?.lines;
        if recorded.is_empty() {
            return Err(format!("Line {} is not recorded yet: try again in a moment", grouped(n + 1)));
        }
        for of in recorded {
            plain(&of.line.text, &mut line);
            text.push_str(&line);
            text.push('\n');
            n = of.line.n + 1;
        }
    }
    Ok((text, end.saturating_sub(range.first)))
}
