//! The log of the chosen job: only the rows in view are in the document, lines are fetched by number where they are
//! shown, live lines are there already. The server, and the first render in the browser, show the last lines at once.

use std::sync::Arc;

use leptos::{either::Either, prelude::*};
use wire::JobId;

use super::{
    clock::Clock,
    connection::grouped,
    log_range::LineRange,
    log_row::{Marks, Row, log_row},
    log_rows::LiveRows,
    log_search::Search,
};
use crate::{
    api::{PAGE_LOG_LINES, first_page_line},
    browser,
    live::{build::LiveBuild, follow::Followed, log::JobLog},
};

/// Under these names the browser remembers what the person prefers.
const WRAPPED: &str = "log-wrap";
const TIMED: &str = "log-times";

/// What the toolbar and the view share.
#[derive(Clone, Copy)]
pub struct LogHandle {
    pub(super) followed: Followed,
    /// The end is kept in view.
    pub following: RwSignal<bool>,
    /// The person looks at something in this log: it is not left for another job's.
    pub held: RwSignal<bool>,
    /// Lines that a link, or the person, points at.
    pub marked: RwSignal<Option<LineRange>>,
    /// The time of each line is shown.
    pub timed: RwSignal<bool>,
    /// Long lines go on in the next row.
    pub wrapped: RwSignal<bool>,
    /// The search in the whole log.
    pub search: Search,
    /// What came of copying, for the person.
    pub said: RwSignal<String>,
    pub(super) go: RwSignal<Option<Goal>>,
    /// The address was made to name the job that is shown.
    named: StoredValue<bool>,
}

/// Where the view is to go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
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
            held: RwSignal::new(false),
            marked: RwSignal::new(None),
            timed: RwSignal::new(false),
            wrapped: RwSignal::new(false),
            said: RwSignal::new(String::new()),
            search: Search::new(),
            go: RwSignal::new(None),
            named: StoredValue::new(false),
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
        self.mark_only(range);
        self.name_in_address(&range.fragment());
    }

    /// Names in the address what is looked at: the job, and the lines of a fragment where there is one. From then on the
    /// page shows the job that its address says.
    pub(super) fn name_in_address(self, fragment: &str) {
        if let Some((job, ..)) = self.log() {
            browser::set_place(&format!("?job={job}{fragment}"));
            self.named.set_value(true);
        }
    }

    /// Marks lines, for copying.
    pub fn mark_only(self, range: LineRange) {
        self.held.set(true);
        self.said.set(String::new());
        self.marked.set(Some(range));
    }

    /// Shows the times of lines, or no longer; remembered for later visits.
    pub fn turn_times(self) {
        self.timed.update(|timed| *timed = !*timed);
        browser::prefer(TIMED, self.timed.get_untracked());
    }

    /// Wraps long lines, or no longer; remembered for later visits.
    pub fn turn_wrapping(self) {
        self.wrapped.update(|wrapped| *wrapped = !*wrapped);
        browser::prefer(WRAPPED, self.wrapped.get_untracked());
    }

    /// As the person left it at a former visit.
    pub(super) fn recall(self) {
        self.timed.set(browser::is_preferred(TIMED));
        self.wrapped.set(browser::is_preferred(WRAPPED));
    }

    /// Shows a line, and lets the end go.
    pub fn show_line(self, n: u64) {
        self.let_go();
        self.go.set(Some(Goal::Line(n)));
    }

    /// The end is not kept in view any more.
    pub(super) fn let_go(self) {
        self.following.set(false);
        self.held.set(true);
    }

    /// The end is kept in view, whichever job's it is.
    pub(super) fn follow(self) {
        self.following.set(true);
        self.hold_if(false);
    }

    /// Whether the person looks at something in this log.
    pub(super) fn hold_if(self, held: bool) {
        self.held.set(held || self.named.get_value());
    }

    /// Shows the end, and keeps it in view.
    pub fn show_end(self) {
        self.follow();
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

/// The lines that the page carries, for readers without scripts and until the browser package has taken over.
fn still_rows(handle: LogHandle, empty: Signal<String>) -> impl IntoView {
    let (total, from, rows) = handle.followed.model.with_value(|model| {
        let log = model.log();
        let total = log.map_or(0, JobLog::total);
        let job = model.view().jobs.iter().find(|job| Some(job.id) == model.chosen());
        // As the server counted when it read the lines: more may have been recorded since.
        let from = job.map_or(0, |job| first_page_line(job, job.lines));
        let line = |n| log.and_then(|log| log.get(n)).cloned();
        let end = total.min(from + u64::from(PAGE_LOG_LINES));
        (total, from, (from..end).map(|n| (n, line(n))).collect::<Vec<_>>())
    });
    let left_out = |from: u64, to: u64| {
        (from <= to).then(|| view! { <p class="note">{format!("Lines {} to {} are in the raw log.", grouped(from), grouped(to))}</p> })
    };
    let earlier = left_out(1, from);
    let later = left_out(from + rows.len() as u64 + 1, total);
    let nothing = rows.is_empty().then(|| view! { <p class="note">{empty.get_untracked()}</p> });
    let rows = rows.into_iter().map(|(n, line)| log_row(Row { n, line, marks: Marks::default() }, "")).collect_view();
    view! {
        <div class="log still" tabindex="0">
            {earlier}
            {nothing}
            <div class="rows">{rows}</div>
            {later}
        </div>
    }
}
