//! The jobs of a build as a graph: columns by what they need, lines from a job to those that need it. For the eye and the
//! mouse; the list beside it says the same to keyboards and screen readers. Where everything stands is decided once, by
//! the needs alone, so nothing moves while jobs run.

use leptos::prelude::*;
use wire::{
    BuildId, JobId,
    view::{BuildView, JobView, State},
};

use super::{
    duration::Duration,
    status::{Shape, Status},
};

/// A larger graph tells less than the list.
const JOBS_MAX: usize = 60;
// Measures of a node and the room between two, in pixels.
const WIDTH: u32 = 208;
const HEIGHT: u32 = 28;
const ACROSS: u32 = 44;
const DOWN: u32 = 8;

/// Where each job stands: column and row, in the order of the jobs; none where a graph would tell nothing.
#[must_use]
pub fn layout(jobs: &[JobView]) -> Option<Vec<(u32, u32)>> {
    if jobs.len() > JOBS_MAX || jobs.iter().all(|job| job.needs.is_empty()) {
        return None;
    }
    let needed = |job: &JobView| -> Vec<usize> {
        job.needs.iter().filter_map(|name| jobs.iter().position(|other| other.name == *name)).collect()
    };
    let mut columns = vec![0_u32; jobs.len()];
    // The longest way to a job has fewer steps than there are jobs; needs have no circle.
    for _ in 0..jobs.len() {
        for (at, job) in jobs.iter().enumerate() {
            columns[at] = needed(job).into_iter().map(|need| columns[need] + 1).max().unwrap_or(0);
        }
    }
    let mut rows = vec![0_u32; jobs.len()];
    for column in 0..=columns.iter().copied().max().unwrap_or(0) {
        let mut here: Vec<usize> = (0..jobs.len()).filter(|at| columns[*at] == column).collect();
        // Beside the middle of what it needs, so that few lines cross.
        here.sort_by_key(|at| {
            let needs = needed(&jobs[*at]);
            let sum: u32 = needs.iter().map(|need| rows[*need]).sum();
            sum * 100 / u32::try_from(needs.len()).unwrap_or(1).max(1)
        });
        for (row, at) in (0..).zip(here) {
            rows[at] = row;
        }
    }
    Some(columns.into_iter().zip(rows).collect())
}

fn place((column, row): (u32, u32)) -> (u32, u32) {
    (column * (WIDTH + ACROSS), row * (HEIGHT + DOWN))
}

/// The lines from what is needed to what needs it, as one path.
fn lines(jobs: &[JobView], places: &[(u32, u32)]) -> String {
    let mut path = String::new();
    for (job, to) in jobs.iter().zip(places) {
        for (other, from) in jobs.iter().zip(places) {
            if job.needs.contains(&other.name) {
                let ((x1, y1), (x2, y2)) = (place(*from), place(*to));
                let (x1, y1, y2) = (x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2);
                let bend = x2 - ACROSS / 2;
                path += &format!("M{x1} {y1}C{bend} {y1} {bend} {y2} {x2} {y2}");
            }
        }
    }
    path
}

/// The graph; nothing where no job needs another.
#[component]
pub fn JobGraph(
    /// The build.
    view: RwSignal<BuildView>,
    /// The chosen job.
    #[prop(into)]
    chosen: Signal<Option<JobId>>,
) -> impl IntoView {
    view.with_untracked(|build| {
        let places = layout(&build.jobs)?;
        let end = |of: fn(&(u32, u32)) -> u32| places.iter().map(of).max().unwrap_or(0) + 1;
        let (width, height) = place((end(|place| place.0), end(|place| place.1)));
        let (width, height) = (width - ACROSS, height - DOWN);
        let nodes = build.jobs.iter().zip(&places).map(|(job, at)| {
            let (x, y) = place(*at);
            view! { <Node view chosen of=build.summary.id id=job.id name=job.name.clone() style=format!("left:{x}px;top:{y}px")/> }
        });
        Some(view! {
            <div class="graph" aria-hidden="true">
                <div class="graph-room" style=format!("width:{width}px;height:{height}px")>
                    <svg width=width height=height><path d=lines(&build.jobs, &places)></path></svg>
                    {nodes.collect_view()}
                </div>
            </div>
        })
    })
}

#[component]
fn Node(
    view: RwSignal<BuildView>,
    chosen: Signal<Option<JobId>>,
    of: BuildId,
    id: JobId,
    name: String,
    style: String,
) -> impl IntoView {
    let job = Memo::new(move |_| {
        let facts = |job: &JobView| (job.state, job.outcome, job.started_at, job.finished_at);
        view.with(|build| build.jobs.iter().find(|job| job.id == id).map(facts))
    });
    let status =
        Signal::derive(move || job.get().map_or(Status::of(State::Queued, None), |job| Status::of(job.0, job.1)));
    let from = Signal::derive(move || job.get().and_then(|job| job.2.filter(|_| job.0 != State::Queued)));
    let until = Signal::derive(move || job.get().and_then(|job| job.3));
    view! {
        <a
            class=move || format!("node {}{}", status.get().class, if chosen.get() == Some(id) { " chosen" } else { "" })
            style=style
            href=format!("/builds/{of}?job={id}")
            data-noscroll
            tabindex="-1"
            title=name.clone()
        >
            <Shape status/>
            <span class="name">{name.clone()}</span>
            <Duration from until/>
        </a>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample;

    fn jobs(needs: &[(&str, &[&str])]) -> Vec<JobView> {
        let model = sample::build(1).jobs.remove(0);
        let named = |(name, needs): &(&str, &[&str])| JobView {
            name: (*name).to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            ..model.clone()
        };
        needs.iter().map(named).collect()
    }

    #[test]
    fn a_job_stands_behind_the_longest_way_to_it() {
        let jobs = jobs(&[("pack", &["test", "fetch"]), ("test", &["fetch"]), ("fetch", &[]), ("lint", &["fetch"])]);
        assert_eq!(layout(&jobs), Some(vec![(2, 0), (1, 0), (0, 0), (1, 1)]));
    }

    #[test]
    fn a_job_stands_beside_what_it_needs() {
        let jobs = jobs(&[("a", &[]), ("b", &[]), ("of b", &["b"]), ("of a", &["a"])]);
        assert_eq!(layout(&jobs), Some(vec![(0, 0), (0, 1), (1, 1), (1, 0)]));
    }

    #[test]
    fn no_graph_is_drawn_where_none_needs_another_or_there_are_too_many() {
        assert_eq!(layout(&jobs(&[("a", &[]), ("b", &[])])), None);
        assert_eq!(layout(&jobs(&vec![("a", &["b"] as &[&str]); JOBS_MAX + 1])), None);
    }
}
