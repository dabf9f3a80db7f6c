//! The rows of a log that are in view, and nothing else of it: where they stand, what they show, how they follow the
//! scroll bar, the end, and what the person presses.

use leptos::{ev, html, prelude::*, task::spawn_local};
use leptos_router::hooks::use_location;
use wire::JobId;

use super::{
    heights::Heights,
    log_fetch::{Fetches, Shown},
    log_marks::copy_lines,
    log_range::LineRange,
    log_row::{Marks, Row, log_row},
    log_view::{Goal, LogHandle},
    scroll::Scroll,
};
use crate::{
    api::opens_at_end,
    browser,
    live::{follow::Followed, log::JobLog},
    rest,
};

/// Line numbers have room for so many digits from the first line on.
const DIGITS_MIN: u32 = 4;
/// The width of a line's time, as the style sheet has it.
const TIME_COLUMNS: usize = 13;

/// The virtual rows' state, in one copyable place.
#[derive(Clone, Copy)]
struct Rows {
    handle: LogHandle,
    followed: Followed,
    active: Signal<bool>,
    scroll: StoredValue<Scroll>,
    heights: StoredValue<Heights>,
    fetches: Fetches,
    /// Whose log was last laid out; another one is shown from its own start.
    shown: StoredValue<Option<(JobId, u32)>>,
    /// Where the view was sent, until the person moves it: rows that are measured then move what it was sent to.
    sent_to: StoredValue<Option<Goal>>,
    /// The width that rows were measured at.
    width: StoredValue<i32>,
    /// The row in which the person began to select.
    selecting_from: StoredValue<Option<u64>>,
    rows: RwSignal<Vec<Row>>,
    /// Of the address that led here.
    fragment: Memo<String>,
    outer: NodeRef<html::Div>,
    spacer: NodeRef<html::Div>,
    block: NodeRef<html::Div>,
}

/// The log in a browser.
#[component]
pub(super) fn LiveRows(
    handle: LogHandle,
    job: Signal<Option<JobId>>,
    active: Signal<bool>,
    empty: Signal<String>,
) -> impl IntoView {
    let followed = handle.followed;
    handle.recall();
    let rows = Rows {
        handle,
        followed,
        active,
        scroll: StoredValue::new(Scroll::default()),
        heights: StoredValue::new(Heights::default()),
        fetches: Fetches::new(followed),
        shown: StoredValue::new(None),
        sent_to: StoredValue::new(None),
        width: StoredValue::new(0),
        selecting_from: StoredValue::new(None),
        rows: RwSignal::new(Vec::new()),
        fragment: use_location().hash,
        outer: NodeRef::new(),
        spacer: NodeRef::new(),
        block: NodeRef::new(),
    };
    Effect::new(move |_| {
        followed.log_changes.track();
        job.track();
        // The bar may have been moved since the browser last said so.
        rows.heed();
        rows.lay_out();
    });
    Effect::new(move |_| {
        handle.marked.track();
        handle.search.track();
        rows.draw();
    });
    Effect::new(move |_| {
        handle.timed.track();
        handle.wrapped.track();
        rows.measure_anew();
    });
    Effect::new(move |before: Option<bool>| {
        let following = handle.following.get();
        if before == Some(true) && !following {
            // The person let the end go.
            rows.sent_to.set_value(None);
        }
        following
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
            browser::on_resize(&outer, move || rows.resized());
            rows.resized();
        }
        true
    });
    let is_empty = Memo::new(move |_| rows.rows.with(Vec::is_empty));
    let key = move |row: &Row| {
        let shown = rows.shown.get_value();
        (shown, row.n, row.line.as_ref().map(|line| line.version), row.marks)
    };
    view! {
        <div
            class=move || if handle.wrapped.get() { "log wrapped" } else { "log" }
            node_ref=rows.outer
            on:scroll=move |_| rows.scrolled()
            on:click=move |event| rows.pressed(&event)
            on:mousedown=move |event| rows.selecting_from.set_value(browser::number_at(&event, ".row"))
            on:copy=move |event| rows.copied(&event)
            on:keydown=move |event| rows.typed(&event)
            tabindex="0"
            role="region"
            aria-label="Log"
        >
            {move || is_empty.get().then(|| view! { <p class="note">{move || empty.get()}</p> })}
            <div class="spacer" node_ref=rows.spacer>
                <div class="block" node_ref=rows.block>
                    <For each=move || rows.rows.get() key=key children=move |row| handle.search.with_wanted(|wanted| log_row(row, wanted))/>
                </div>
            </div>
        </div>
    }
}

impl Rows {
    fn total(self) -> u64 {
        self.followed.model.with_value(|model| model.log().map_or(0, JobLog::total))
    }

    fn content(self) -> f64 {
        let total = self.total();
        self.heights.with_value(|heights| heights.content(total))
    }

    /// The view has another size.
    fn resized(self) {
        let Some(outer) = self.outer.try_get_untracked().flatten() else { return };
        let width = outer.client_width();
        if self.handle.wrapped.get_untracked() && width != self.width.get_value() {
            self.width.set_value(width);
            self.measure_anew();
        } else {
            self.lay_out();
        }
    }

    /// Lines are wrapped otherwise than before, or not at all: what is in view stays there.
    fn measure_anew(self) {
        self.hold(|heights| {
            heights.forget();
            true
        });
        self.lay_out();
    }

    /// Changes heights, and keeps the row at the upper edge where it is. `change` says whether it did anything.
    fn hold(self, change: impl FnOnce(&mut Heights) -> bool) -> bool {
        let (Some(outer), Some(spacer)) = (self.outer.get_untracked(), self.spacer.get_untracked()) else {
            return false;
        };
        let total = self.total();
        let anchor = self.scroll.with_value(|scroll| self.heights.with_value(|heights| scroll.anchor(heights, total)));
        if self.heights.try_update_value(change) != Some(true) {
            return false;
        }
        let content = self.content();
        set_style(&spacer, "height", &format!("{}px", Scroll::spacer(content)));
        self.scroll.update_value(|scroll| {
            let top = self.heights.with_value(|heights| scroll.hold(anchor, heights, total));
            outer.set_scroll_top(top.round() as i32);
            scroll.settled(f64::from(outer.scroll_top()), content);
        });
        true
    }

    /// The log has changed, or the view's size: gives the spacer its height, keeps the end in view, draws.
    fn lay_out(self) {
        let (Some(outer), Some(spacer)) = (self.outer.try_get_untracked().flatten(), self.spacer.get_untracked())
        else {
            return;
        };
        let total = self.total();
        let shown = self.followed.model.with_value(|model| Some((model.chosen()?, model.log()?.attempt())));
        let is_other = shown.is_some() && self.shown.get_value() != shown;
        if is_other {
            self.selecting_from.set_value(None);
            self.heights.set_value(Heights::default());
        }
        let content = self.content();
        let widest = self.followed.model.with_value(|model| model.log().map_or(0, JobLog::widest));
        let times = if self.handle.timed.get_untracked() { TIME_COLUMNS } else { 0 };
        let widest = widest.min(super::log_row::SHOWN_BYTES_MAX + 64) + times;
        set_style(&spacer, "height", &format!("{}px", Scroll::spacer(content)));
        set_style(&spacer, "--digits", &total.max(1).ilog10().max(DIGITS_MIN - 1).saturating_add(1).to_string());
        let width =
            if self.handle.wrapped.get_untracked() { "100%".to_owned() } else { format!("calc({widest}ch + 6rem)") };
        set_style(&spacer, "min-width", &width);
        self.scroll.update_value(|scroll| {
            scroll.resize(f64::from(outer.client_height()));
            scroll.settled(f64::from(outer.scroll_top()), content);
        });
        if is_other {
            // Marks and hits are lines of the log that was shown before; the job itself before its first attempt has none.
            let begins = |before: (JobId, u32)| before.1 == 0 && shown.is_some_and(|now| now.0 == before.0);
            if self.shown.get_value().is_some_and(|before| !begins(before)) {
                // What the address that led here names, going back too.
                self.handle.marked.set(LineRange::parse(&self.fragment.get_untracked()));
                self.handle.search.begin(String::new());
            }
            self.shown.set_value(shown);
            let active = self.active.get_untracked();
            let marked = self.handle.marked.get_untracked();
            self.handle.following.set(active && marked.is_none());
            self.handle.hold_if(marked.is_some());
            let goal = match marked {
                Some(range) => Goal::Line(range.first),
                None if active || self.opens_at_end() => Goal::End,
                None => Goal::Line(0),
            };
            self.go(goal);
        } else if self.handle.following.get_untracked() {
            self.go(Goal::End);
        } else if let Some(goal @ Goal::Line(_)) = self.sent_to.get_value() {
            // The log may not have reached that line before.
            self.go(goal);
        } else {
            self.draw();
        }
    }

    /// As the page that the server rendered was opened.
    fn opens_at_end(self) -> bool {
        self.followed.model.with_value(|model| {
            model.view().jobs.iter().find(|job| Some(job.id) == model.chosen()).is_some_and(opens_at_end)
        })
    }

    fn go(self, goal: Goal) {
        let (Some(outer), Some(spacer)) = (self.outer.get_untracked(), self.spacer.get_untracked()) else { return };
        let total = self.total();
        self.sent_to.set_value(Some(goal));
        if let Goal::Line(n) = goal {
            // What is gone to is to be seen.
            self.heights.update_value(|heights| while heights.is_folded(n) && heights.unfold(n) {});
        }
        let content = self.content();
        set_style(&spacer, "height", &format!("{}px", Scroll::spacer(content)));
        self.scroll.update_value(|scroll| {
            let top = match goal {
                Goal::Line(n) => self.heights.with_value(|heights| scroll.go_to(n, heights, total)),
                Goal::End => scroll.go_to_end(content),
            };
            outer.set_scroll_top(top.ceil() as i32);
            scroll.settled(f64::from(outer.scroll_top()), content);
        });
        self.draw();
    }

    /// The person, or we, moved the scroll bar.
    fn scrolled(self) {
        self.heed();
        self.draw();
    }

    /// Takes note of where the person moved the scroll bar.
    fn heed(self) {
        let Some(outer) = self.outer.try_get_untracked().flatten() else { return };
        let (top, content) = (f64::from(outer.scroll_top()), self.content());
        let Some((before, is_at_end)) = self.scroll.try_update_value(|scroll| {
            let before = scroll.top();
            if (top - before).abs() > 0.5 {
                scroll.moved(top, content);
                self.sent_to.set_value(None);
            }
            (before, scroll.is_at_end(content))
        }) else {
            return;
        };
        let is_following = self.handle.following.get_untracked();
        if top < before - 0.5 {
            self.handle.let_go();
        } else if top > before + 0.5 && is_at_end && self.active.get_untracked() && !is_following {
            self.handle.follow();
        }
    }

    /// A line's number was pressed: it is marked, with Shift all lines from the marked one on. Or the head of a group: it
    /// is folded, or unfolded.
    fn pressed(self, event: &ev::MouseEvent) {
        if let Some(n) = browser::number_at(event, "button.fold") {
            self.fold(n);
        }
        let Some(n) = browser::number_at(event, "a.n").and_then(|n| n.checked_sub(1)) else { return };
        event.prevent_default();
        let from = self.handle.marked.get_untracked().filter(|_| event.shift_key());
        self.handle.mark(LineRange::between(from.map_or(n, |range| range.first), n));
    }

    fn fold(self, n: u64) {
        self.sent_to.set_value(None);
        if self.hold(|heights| heights.hides(n) > 0 && heights.unfold(n)) {
            self.draw();
            return;
        }
        let Some((job, attempt)) = self.shown.get_value() else { return };
        spawn_local(async move {
            // Without an answer it stays open, which loses nothing.
            let Ok(group) = rest::log_group(job, attempt, n).await else { return };
            let is_shown = self.shown.try_get_value().flatten() == Some((job, attempt));
            if is_shown
                && self.hold(|heights| {
                    heights.fold(n + 1..group.last + 1);
                    true
                })
            {
                self.draw();
            }
        });
    }

    /// What is to be copied began in a row that is not in the document any more, or is marked and not selected: then it is
    /// read from the log.
    fn copied(self, event: &ev::ClipboardEvent) {
        let drawn = |n: u64| self.rows.with_untracked(|rows| rows.iter().any(|row| row.n == n));
        let range = match (browser::selected_number(".row"), self.selecting_from.get_value()) {
            (Some(end), Some(start)) if !drawn(start) && browser::selection_begins_in(".log") => {
                let range = LineRange::between(start, end);
                self.handle.mark_only(range);
                range
            }
            (Some(_), _) => return,
            (None, _) => match self.handle.marked.get_untracked() {
                Some(range) => range,
                None => return,
            },
        };
        event.prevent_default();
        copy_lines(self.handle, range);
    }

    /// Ctrl+A means the log, all of it. End means its end, which the browser's own way there misses while lines come.
    fn typed(self, event: &ev::KeyboardEvent) {
        let total = self.total();
        if event.key() == "End" && !event.shift_key() {
            event.prevent_default();
            self.handle.show_end();
        }
        if (event.ctrl_key() || event.meta_key()) && event.key() == "a" && total > 0 {
            event.prevent_default();
            browser::select_nothing();
            self.handle.mark_only(LineRange::between(0, total - 1));
        }
    }

    /// Draws the rows in view, and asks for the lines that are not held.
    fn draw(self) {
        let total = self.total();
        let (shown, offset) = self.scroll.with_value(|scroll| {
            self.heights.with_value(|heights| {
                let rows = scroll.rows(heights, total);
                let offset = rows.first().map_or(0.0, |first| scroll.offset(*first, heights));
                (rows, offset)
            })
        });
        let range = shown.first().copied().unwrap_or(0)..shown.last().map_or(0, |last| last + 1);
        if let Some(block) = self.block.get_untracked() {
            set_style(&block, "transform", &format!("translateY({offset}px)"));
        }
        let (marked, timed) = (self.handle.marked.get_untracked(), self.handle.timed.get_untracked());
        let search = self.handle.search;
        let (hits, turn, current) = (search.hits_in(&range), search.turn(), search.current());
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
                hit: hits.binary_search(&n).is_ok().then_some(turn),
                current: current == Some(n),
                timed,
                hides: Some(self.heights.with_value(|heights| heights.hides(n))),
            };
            let row = |n: &u64| Row { n: *n, line: log.get(*n).cloned(), marks: marks(*n) };
            Some((shown.iter().map(row).collect::<Vec<_>>(), log.missing_of(shown.iter().copied())))
        });
        let Some(Some((drawn, missing))) = drawn else { return };
        let drawn_count = drawn.len() as u64;
        if drawn.iter().any(|row| row.marks.current && row.line.is_some()) && search.is_to_be_seen() {
            browser::next_frame(move || {
                if let Some(outer) = self.outer.try_get_untracked().flatten() {
                    browser::reveal_sideways(&outer, ".row.current .wanted");
                }
            });
        }
        if self.rows.with_untracked(|rows| *rows != drawn) {
            self.rows.set(drawn);
        }
        if self.handle.wrapped.get_untracked() {
            browser::next_frame(move || self.measure());
        }
        if let Some(shown) = self.shown.get_value() {
            let rows = Shown { first: range.start, last: range.end.saturating_sub(1), count: drawn_count };
            self.fetches.want(shown, missing, rows, total);
        }
    }

    /// Rows are in the document and not yet painted: notes how high they are, and puts right what stands elsewhere then.
    fn measure(self) {
        let Some(block) = self.block.try_get_untracked().flatten() else { return };
        let heights = browser::heights(&block, ".row:not(.unread)");
        if !self.hold(|known| known.measure(heights)) {
            return;
        }
        match self.sent_to.get_value() {
            Some(goal) => self.go(goal),
            None => self.draw(),
        }
    }
}

fn set_style(element: &leptos::web_sys::HtmlElement, name: &str, value: &str) {
    // Refused only for names that no style has.
    let _ = leptos::web_sys::HtmlElement::style(element).set_property(name, value);
}
