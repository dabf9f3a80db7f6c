//! The search in the whole of a log: the server looks, hits come as they are found, the view goes from one to the next.

use std::ops::Range;

use leptos::{ev, html, prelude::*, task::spawn_local};
use serde::Deserialize;

use super::{connection::grouped, log_found::is_out_of_sight, log_view::LogHandle};
use crate::{browser, rest};

/// One line of the server's answer.
#[derive(Deserialize)]
struct Part {
    n: Option<u64>,
    hits: Option<u64>,
}

/// What was found so far. Pure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    /// Lines with a hit, in order; at most as many as the server lists.
    lines: Vec<u64>,
    /// Where the person is among them.
    at: Option<usize>,
    /// How many there are, once the whole log was looked through.
    all: Option<u64>,
    /// Why it broke off.
    problem: Option<String>,
}

impl Found {
    /// Goes on to the next hit, or back to the one before; around at the ends. None without hits.
    fn step(&mut self, back: bool) -> Option<u64> {
        let count = self.lines.len();
        let at = match (self.at, back) {
            _ if count == 0 => return None,
            (None, false) => 0,
            (None, true) => count - 1,
            (Some(at), false) => (at + 1) % count,
            (Some(at), true) => (at + count - 1) % count,
        };
        self.at = Some(at);
        self.lines.get(at).copied()
    }

    fn say(&self) -> String {
        let count = self.all.unwrap_or(self.lines.len() as u64);
        match (&self.problem, self.all) {
            (Some(problem), _) => problem.clone(),
            (None, Some(0)) => "nothing found".to_owned(),
            (None, None) if count == 0 => "searching".to_owned(),
            (None, all) => {
                let more = if all.is_none() { " and more" } else { "" };
                format!("{} of {}{more}", self.at.map_or(0, |at| at + 1), grouped(count))
            }
        }
    }
}

/// The search of one log view.
#[derive(Clone, Copy)]
pub struct Search {
    is_open: RwSignal<bool>,
    found: RwSignal<Found>,
    /// What is looked for now; empty when nothing is.
    wanted: RwSignal<String>,
    /// Counts the searches: answers to a former one are not wanted any more.
    turn: StoredValue<u64>,
    /// The person was led to a hit, which may not be in the document yet.
    leads: StoredValue<bool>,
    field: NodeRef<html::Input>,
}

impl Search {
    /// Closed.
    pub(super) fn new() -> Self {
        Self {
            is_open: RwSignal::new(false),
            found: RwSignal::default(),
            wanted: RwSignal::default(),
            turn: StoredValue::new(0),
            leads: StoredValue::new(false),
            field: NodeRef::new(),
        }
    }

    /// Opens the field, and puts the cursor into it.
    pub fn open(self) {
        self.is_open.set(true);
        browser::next_frame(move || {
            if let Some(field) = self.field.try_get_untracked().flatten() {
                // Refused only for elements that are not in the document.
                let _ = field.focus();
                field.select();
            }
        });
    }

    pub(super) fn track(self) {
        self.found.track();
    }

    /// The hits among these lines.
    pub(super) fn hits_in(self, rows: &Range<u64>) -> Vec<u64> {
        self.found.with_untracked(|found| {
            let from = found.lines.partition_point(|n| *n < rows.start);
            found.lines[from..].iter().take_while(|n| **n < rows.end).copied().collect()
        })
    }

    /// The line that the search stands at.
    pub(super) fn current(self) -> Option<u64> {
        self.found.with_untracked(|found| found.lines.get(found.at?).copied())
    }

    /// The number of the search.
    pub(super) fn turn(self) -> u64 {
        self.turn.get_value()
    }

    pub(super) fn with_wanted<T>(self, read: impl FnOnce(&str) -> T) -> T {
        self.wanted.with_untracked(|wanted| read(wanted))
    }

    /// Whether the person was led to the current hit and has not seen it yet; noted as seen.
    pub(super) fn is_to_be_seen(self) -> bool {
        self.leads.try_update_value(std::mem::take) == Some(true)
    }

    fn lead(self, handle: LogHandle, n: u64) {
        self.leads.set_value(true);
        handle.show_line(n);
    }

    /// Forgets what was found, and looks for something else. The number of the search that begins now.
    pub(super) fn begin(self, wanted: String) -> u64 {
        self.wanted.set(wanted);
        self.found.set(Found::default());
        let next = self.turn.with_value(|turn| turn + 1);
        self.turn.set_value(next);
        next
    }

    /// Who goes on with the keyboard is in the log then.
    fn close(self) {
        self.begin(String::new());
        self.is_open.set(false);
        browser::focus(".log");
    }

    fn is_now(self, turn: u64) -> bool {
        self.turn.try_get_value() == Some(turn)
    }

    /// Looks through the log; the first hit is shown at once.
    fn look(self, handle: LogHandle, wanted: String) {
        if self.wanted.with_untracked(|known| *known == wanted) {
            return;
        }
        let turn = self.begin(wanted.clone());
        let Some((job, attempt, _)) = handle.log().filter(|_| !wanted.is_empty()) else { return };
        let take = move |line: &str| {
            if !self.is_now(turn) {
                return false;
            }
            let Ok(part) = crate::json::read::<Part>(line) else { return true };
            let first = self.found.try_update(|found| {
                found.lines.extend(part.n);
                found.all = part.hits;
                if found.at.is_none() { found.step(false) } else { None }
            });
            if let Some(Some(n)) = first {
                self.lead(handle, n);
            }
            true
        };
        spawn_local(async move {
            if let Err(problem) = rest::search_log(job, attempt, &wanted, take).await
                && self.is_now(turn)
            {
                self.found.update(|found| found.problem = Some(problem.detail));
            }
        });
    }
}

/// The field, what was found, and the way to close it.
#[component]
pub fn SearchBar(
    /// The log.
    handle: LogHandle,
) -> impl IntoView {
    let search = handle.search;
    let step = move |back: bool| {
        if let Some(Some(n)) = search.found.try_update(|found| found.step(back)) {
            search.lead(handle, n);
        }
    };
    let pressed = move |event: ev::KeyboardEvent| match event.key().as_str() {
        "Enter" => {
            event.prevent_default();
            step(event.shift_key());
        }
        "Escape" => search.close(),
        _ => {}
    };
    Effect::new(move |_| {
        let listener = window_event_listener(ev::keydown, move |event| {
            let with_control = event.ctrl_key() || event.meta_key();
            let is_ours = if with_control { event.key() == "f" } else { event.key() == "/" };
            // A second Ctrl+F, in the field, is the browser's own.
            if is_ours && !browser::is_typing() && handle.log().is_some() {
                event.prevent_default();
                search.open();
            }
        });
        on_cleanup(move || listener.remove());
    });
    let said = move || search.wanted.with(|wanted| !wanted.is_empty()).then(|| search.found.with(Found::say));
    // The line may be fetched later than it was found.
    let out_of_sight = Memo::new(move |_| {
        search.track();
        handle.followed.log_changes.track();
        let line = handle.held(search.current()?)?;
        let (job, attempt, _) = handle.log()?;
        search.with_wanted(|wanted| is_out_of_sight(&line, wanted)).then_some((job, attempt))
    });
    let elsewhere = move || {
        let (job, attempt) = out_of_sight.get()?;
        let raw = format!("/api/v1/jobs/{job}/log.txt?attempt={attempt}");
        Some(view! { " in the part that is not shown: " <a href=raw rel="external">"Raw"</a> })
    };
    view! {
        <Show when=move || search.is_open.get()>
            <div class="search-bar" role="search">
                <input
                    node_ref=search.field
                    type="search"
                    aria-label="Search the whole log"
                    placeholder="Search the whole log"
                    maxlength="200"
                    spellcheck="false"
                    on:input=move |event| search.look(handle, event_target_value(&event))
                    on:keydown=pressed
                />
                <span class="found" role="status">{said} {elsewhere}</span>
                <button class="small" type="button" aria-label="Previous hit" title="Shift+Enter" on:click=move |_| step(true)>"↑"</button>
                <button class="small" type="button" aria-label="Next hit" title="Enter" on:click=move |_| step(false)>"↓"</button>
                <span class="muted hint">"Ctrl+F again: the browser’s own"</span>
                <span class="space"></span>
                <button class="small" type="button" on:click=move |_| search.close()>"Close"</button>
            </div>
        </Show>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_gone_through_in_both_directions_and_around() {
        let mut found = Found { lines: vec![3, 8, 9], ..Found::default() };
        let forth: Vec<_> = (0..4).map(|_| found.step(false)).collect();
        assert_eq!(forth, [Some(3), Some(8), Some(9), Some(3)]);
        assert_eq!((found.step(true), found.step(true)), (Some(9), Some(8)));
        assert_eq!(Found::default().step(false), None);
    }

    #[test]
    fn what_is_said_tells_a_search_that_goes_on_from_one_that_is_over() {
        let mut found = Found::default();
        assert_eq!(found.say(), "searching");
        found.lines = vec![1, 2];
        found.step(false);
        assert_eq!(found.say(), "1 of 2 and more");
        found.all = Some(12_000);
        assert_eq!(found.say(), "1 of 12,000");
        assert_eq!(Found { all: Some(0), ..Found::default() }.say(), "nothing found");
    }
}
