//! The log of the chosen job: only the rows in view are in the document, lines are fetched by number where they are
//! shown, live lines are there already. The server, and the first render in the browser, show the last lines at once.

use std::{collections::HashSet, sync::Arc};

use leptos::{either::Either, html, prelude::*, task::spawn_local};
use wire::JobId;

use super::{
    clock::Clock,
    log_range::LineRange,
    log_row::{Marks, Row, log_row},
    log_search::Search,
    scroll::Scroll,
};
use crate::{
    api::PAGE_LOG_LINES,
    browser,
    live::{
        build::LiveBuild,
        follow::Followed,
        log::{JobLog, PAGE_LINES},
    },
    rest,
};

/// At most so many pages are asked for at one time.
const FETCHES_MAX: usize = 4;
/// Line numbers have room for so many digits from the first line on.
const DIGITS_MIN: u32 = 4;
/// How long to wait before a page is asked for again that the record did not give, in milliseconds.
const FETCH_AGAIN_MILLIS: u64 = 500;

/// What the toolbar and the view share.
#[derive(Clone, Copy)]
pub struct LogHandle {
    followed: Followed,
    /// The end is kept in view.
    pub following: RwSignal<bool>,
    /// Lines that a link, or the person, points at.
    pub marked: RwSignal<Option<LineRange>>,
    /// The time of each line is shown.
    pub timed: RwSignal<bool>,
    /// The search in the whole log.
    pub search: Search,
    go: RwSignal<Option<Goal>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    Line(u64),
    End,
}

impl LogHandle {
    /// For one open build.
    #[must_use]
    pub fn new(followed: Followed) -> Self {
        Self {
            followed,
            following: RwSignal::new(false),
            marked: RwSignal::new(None),
            timed: RwSignal::new(false),
            search: Search::new(),
            go: RwSignal::new(None),
        }
    }

    /// The chosen job and attempt, and how many lines its log has.
    #[must_use]
    pub fn log(self) -> Option<(JobId, u32, u64)> {
        let of = |model: &LiveBuild| Some((model.chosen()?, model.log()?.attempt(), model.log()?.total()));
        self.followed.model.try_with_value(of).flatten()
    }

    /// The text of a line that is held.
    #[must_use]
    pub fn held(self, n: u64) -> Option<Arc<str>> {
        self.followed.model.try_with_value(|model| Some(model.log()?.get(n)?.text.clone())).flatten()
    }

    /// Marks lines, names them in the address, and lets the end go.
    pub fn mark(self, range: LineRange) {
        self.following.set(false);
        self.marked.set(Some(range));
        browser::set_fragment(&range.fragment());
    }

    /// Shows a line, and lets the end go.
    pub fn show_line(self, n: u64) {
        self.following.set(false);
        self.go.set(Some(Goal::Line(n)));
    }

    /// Shows the end; keeps it in view when asked to.
    pub fn show_end(self, follow: bool) {
        self.following.set(follow);
        self.go.set(Some(Goal::End));
    }
}

/// The log itself, without its toolbar.
#[component]
pub fn LogView(
    /// Shared with the toolbar.
    handle: LogHandle,
    /// Whose log it is.
    #[prop(into)]
    job: Signal<Option<JobId>>,
    /// Whether more may come.
    #[prop(into)]
    active: Signal<bool>,
    /// What stands in the place of a log without lines.
    #[prop(into)]
    empty: Signal<String>,
) -> impl IntoView {
    let clock = Clock::get();
    move || {
        if clock.is_hydrated() {
            Either::Left(view! { <LiveRows handle job active empty/> })
        } else {
            Either::Right(still_rows(handle, empty))
        }
    }
}

/// The last lines, whole, for readers without scripts.
fn still_rows(handle: LogHandle, empty: Signal<String>) -> impl IntoView {
    let (from, rows) = handle.followed.model.with_value(|model| {
        let log = model.log();
        let total = log.map_or(0, JobLog::total);
        let from = total.saturating_sub(u64::from(PAGE_LOG_LINES));
        let line = |n| log.and_then(|log| log.get(n)).cloned();
        (from, (from..total).map(|n| (n, line(n))).collect::<Vec<_>>())
    });
    let earlier = (from > 0).then(|| view! { <p class="note">{format!("Lines 1 to {from} are in the raw log.")}</p> });
    let nothing = rows.is_empty().then(|| view! { <p class="note">{empty.get_untracked()}</p> });
    let rows = rows.into_iter().map(|(n, line)| log_row(Row { n, line, marks: Marks::default() })).collect_view();
    view! {
        <div class="log still" tabindex="0">
            {earlier}
            {nothing}
            <div class="rows">{rows}</div>
        </div>
    }
}

/// The virtual rows' state, in one copyable place.
#[derive(Clone, Copy)]
struct Rows {
    handle: LogHandle,
    followed: Followed,
    active: Signal<bool>,
    scroll: StoredValue<Scroll>,
    fetching: StoredValue<HashSet<(JobId, u32, u64)>>,
    /// Whose log was last laid out; another one is shown from its own start.
    shown: StoredValue<Option<(JobId, u32)>>,
    rows: RwSignal<Vec<Row>>,
    outer: NodeRef<html::Div>,
    spacer: NodeRef<html::Div>,
    block: NodeRef<html::Div>,
}

#[component]
fn LiveRows(
    handle: LogHandle,
    job: Signal<Option<JobId>>,
    active: Signal<bool>,
    empty: Signal<String>,
) -> impl IntoView {
    let followed = handle.followed;
    let rows = Rows {
        handle,
        followed,
        active,
        scroll: StoredValue::new(Scroll::default()),
        fetching: StoredValue::default(),
        shown: StoredValue::new(None),
        rows: RwSignal::new(Vec::new()),
        outer: NodeRef::new(),
        spacer: NodeRef::new(),
        block: NodeRef::new(),
    };
    Effect::new(move |_| {
        followed.log_changes.track();
        job.track();
        rows.lay_out();
    });
    Effect::new(move |_| {
        handle.marked.track();
        handle.timed.track();
        handle.search.track();
        rows.draw();
    });
    Effect::new(move |_| {
        if let Some(goal) = handle.go.get() {
            handle.go.set(None);
            rows.go(goal);
        }
    });
    Effect::new(move |watched: Option<bool>| {
        let Some(outer) = rows.outer.get() else { return false };
        if watched != Some(true) {
            browser::on_resize(&outer, move || rows.lay_out());
            rows.lay_out();
        }
        true
    });
    let is_empty = Memo::new(move |_| rows.rows.with(Vec::is_empty));
    let key = move |row: &Row| {
        let shown = rows.shown.get_value();
        (shown, row.n, row.line.as_ref().map(|line| line.version), row.marks)
    };
    view! {
        <div class="log" node_ref=rows.outer on:scroll=move |_| rows.scrolled() on:click=move |event| rows.pressed(&event) tabindex="0" role="region" aria-label="Log">
            {move || is_empty.get().then(|| view! { <p class="note">{move || empty.get()}</p> })}
            <div class="spacer" node_ref=rows.spacer>
                <div class="block" node_ref=rows.block>
                    <For each=move || rows.rows.get() key=key children=log_row/>
                </div>
            </div>
        </div>
    }
}

impl Rows {
    fn total(self) -> u64 {
        self.followed.model.with_value(|model| model.log().map_or(0, JobLog::total))
    }

    /// The log has changed, or the view's size: gives the spacer its height, keeps the end in view, draws.
    fn lay_out(self) {
        let (Some(outer), Some(spacer)) = (self.outer.try_get_untracked().flatten(), self.spacer.get_untracked())
        else {
            return;
        };
        let total = self.total();
        let shown = self.followed.model.with_value(|model| Some((model.chosen()?, model.log()?.attempt())));
        let is_other = self.shown.with_value(|known| *known != shown);
        let widest = self.followed.model.with_value(|model| model.log().map_or(0, JobLog::widest));
        let widest = widest.min(super::log_row::SHOWN_BYTES_MAX + 64);
        set_style(&spacer, "height", &format!("{}px", Scroll::spacer(total)));
        set_style(&spacer, "--digits", &total.max(1).ilog10().max(DIGITS_MIN - 1).saturating_add(1).to_string());
        set_style(&spacer, "min-width", &format!("calc({widest}ch + 6rem)"));
        self.scroll.update_value(|scroll| {
            scroll.resize(f64::from(outer.client_height()));
            scroll.settled(f64::from(outer.scroll_top()), total);
        });
        if is_other {
            // Marks and hits are lines of the log that was shown before.
            if self.shown.with_value(Option::is_some) {
                self.handle.marked.set(None);
                self.handle.search.begin(String::new());
            }
            self.shown.set_value(shown);
            let active = self.active.get_untracked();
            let marked = self.handle.marked.get_untracked();
            self.handle.following.set(active && marked.is_none());
            let goal = match marked {
                Some(range) => Goal::Line(range.first),
                None if active || self.has_failed() => Goal::End,
                None => Goal::Line(0),
            };
            self.go(goal);
        } else if self.handle.following.get_untracked() {
            self.go(Goal::End);
        } else {
            self.draw();
        }
    }

    /// A failed job is opened at its end, where the reason stands.
    fn has_failed(self) -> bool {
        self.followed.model.with_value(|model| {
            let job = model.view().jobs.iter().find(|job| Some(job.id) == model.chosen());
            job.and_then(|job| job.outcome).is_some_and(|outcome| outcome != wire::Outcome::Succeeded)
        })
    }

    fn go(self, goal: Goal) {
        let Some(outer) = self.outer.get_untracked() else { return };
        let total = self.total();
        self.scroll.update_value(|scroll| {
            let top = match goal {
                Goal::Line(n) => scroll.go_to(n, total),
                Goal::End => scroll.go_to_end(total),
            };
            outer.set_scroll_top(top.ceil() as i32);
            scroll.settled(f64::from(outer.scroll_top()), total);
        });
        self.draw();
    }

    /// The person, or we, moved the scroll bar.
    fn scrolled(self) {
        let Some(outer) = self.outer.get_untracked() else { return };
        let (top, total) = (f64::from(outer.scroll_top()), self.total());
        let Some((before, is_at_end)) = self.scroll.try_update_value(|scroll| {
            let before = scroll.top();
            if (top - before).abs() > 0.5 {
                scroll.moved(top, total);
            }
            (before, scroll.is_at_end(total))
        }) else {
            return;
        };
        let following = self.handle.following;
        if top < before - 0.5 && following.get_untracked() {
            following.set(false);
        } else if top > before + 0.5 && is_at_end && self.active.get_untracked() && !following.get_untracked() {
            following.set(true);
        }
        self.draw();
    }

    /// A line's number was pressed: it is marked, with Shift all lines from the marked one on.
    fn pressed(self, event: &leptos::ev::MouseEvent) {
        let Some(n) = browser::line_pressed(event) else { return };
        event.prevent_default();
        let from = self.handle.marked.get_untracked().filter(|_| event.shift_key());
        self.handle.mark(LineRange::between(from.map_or(n, |range| range.first), n));
    }

    /// Draws the rows in view, and asks for the lines that are not held.
    fn draw(self) {
        let total = self.total();
        let (range, offset) = self.scroll.with_value(|scroll| {
            let range = scroll.rows(total);
            let offset = scroll.offset(range.start);
            (range, offset)
        });
        if let Some(block) = self.block.get_untracked() {
            set_style(&block, "transform", &format!("translateY({offset}px)"));
        }
        let (marked, timed) = (self.handle.marked.get_untracked(), self.handle.timed.get_untracked());
        let (hits, current) = (self.handle.search.hits_in(&range), self.handle.search.current());
        let drawn = self.followed.model.try_update_value(|model| {
            let lost: Vec<_> = model.lost().to_vec();
            let (job, attempt) = (model.chosen(), model.log().map(JobLog::attempt));
            let is_lost = |n: u64| {
                lost.iter().any(|lost| {
                    Some(lost.job) == job && Some(lost.attempt) == attempt && (lost.first..=lost.last).contains(&n)
                })
            };
            let log = model.log_mut()?;
            log.touch(range.clone());
            let marks = |n: u64| Marks {
                lost: is_lost(n),
                marked: marked.is_some_and(|range| range.contains(n)),
                hit: hits.binary_search(&n).is_ok(),
                current: current == Some(n),
                timed,
            };
            let row = |n| Row { n, line: log.get(n).cloned(), marks: marks(n) };
            Some((range.clone().map(row).collect::<Vec<_>>(), log.missing(range.clone())))
        });
        let Some(Some((drawn, missing))) = drawn else { return };
        if self.rows.with_untracked(|rows| *rows != drawn) {
            self.rows.set(drawn);
        }
        for page in missing {
            self.fetch(page);
        }
    }

    fn fetch(self, page: u64) {
        let Some((job, attempt)) = self.shown.get_value() else { return };
        let key = (job, attempt, page);
        let is_new = self.fetching.try_update_value(|fetching| fetching.len() < FETCHES_MAX && fetching.insert(key));
        if is_new != Some(true) || attempt == 0 {
            return;
        }
        let first = self.followed.model.try_update_value(|model| model.log_mut()?.first_missing(page)).flatten();
        let from = first.unwrap_or(page * PAGE_LINES);
        spawn_local(async move {
            let answer = rest::log_lines(job, attempt, from, (page + 1) * PAGE_LINES - from).await;
            let is_whole = self.followed.model.try_update_value(|model| {
                let is_shown = model.chosen() == Some(job);
                let Some(log) = model.log_mut().filter(|log| is_shown && log.attempt() == attempt) else { return true };
                match answer {
                    Ok((lines, total)) => {
                        if let Some(total) = total {
                            log.reach(total);
                        }
                        log.put_recorded(&lines);
                        log.missing(page * PAGE_LINES..(page + 1) * PAGE_LINES).is_empty()
                    }
                    Err(_) => false,
                }
            });
            let again = move || {
                if self.fetching.try_update_value(|fetching| fetching.remove(&key)).is_some() {
                    self.followed.log_fetched();
                }
            };
            // The record lags behind what the page has heard, or cannot be reached: placeholders stay meanwhile.
            match is_whole {
                Some(true) => again(),
                Some(false) => browser::after(FETCH_AGAIN_MILLIS, again),
                None => {}
            }
        });
    }
}

fn set_style(element: &leptos::web_sys::HtmlElement, name: &str, value: &str) {
    // Refused only for names that no style has.
    let _ = leptos::web_sys::HtmlElement::style(element).set_property(name, value);
}
