//! What a job that does not run yet waits for, in words. The store knows the jobs; who could run them is known here.

use std::collections::HashSet;

use store::concurrency::HeldUp;
use wire::{
    LabelSet, PipelineName,
    image::CONTAINERS_LABEL,
    secret::MASKS_LABEL,
    view::{BuildView, ExecutorView, State},
};

/// Names in one sentence; a matrix may have hundreds.
const NAMES_SHOWN_MAX: usize = 3;

/// Fills [`wire::view::JobView::waiting_for`] of every job that waits. `held_up` are those that wait for their group; of its
/// holders those alone are named whose pipeline the reader `sees`.
pub fn waiting_for(
    build: &mut BuildView,
    executors: &[ExecutorView],
    held_up: &[HeldUp],
    sees: impl Fn(&PipelineName) -> bool,
) {
    let open: HashSet<String> =
        build.jobs.iter().filter(|job| job.state != State::Finished).map(|job| job.name.clone()).collect();
    for job in build.jobs.iter_mut().filter(|job| job.state == State::Queued) {
        if let Some(held_up) = held_up.iter().find(|held_up| held_up.job == job.id) {
            let group = group(held_up, &sees);
            // Who waits for its turn should know as well that it will be in vain.
            job.waiting_for = Some(if is_served(&job.labels, executors) {
                group
            } else {
                format!("{group}; {}", executor_for(&job.labels, executors))
            });
            continue;
        }
        let needs: Vec<&str> = job.needs.iter().map(String::as_str).filter(|need| open.contains(*need)).collect();
        job.waiting_for = Some(if needs.is_empty() { executor_for(&job.labels, executors) } else { jobs(&needs) });
    }
}

fn jobs(needs: &[&str]) -> String {
    let shown = if needs.len() > NAMES_SHOWN_MAX { &needs[..NAMES_SHOWN_MAX - 1] } else { needs };
    let others = needs.len() - shown.len();
    match (shown, others) {
        ([one], _) => format!("waits for {one}"),
        (many, 0) => format!("waits for {} and {}", many[..many.len() - 1].join(", "), many[many.len() - 1]),
        (some, others) => format!("waits for {} and {others} other jobs", some.join(", ")),
    }
}

fn group(HeldUp { group, holders, .. }: &HeldUp, sees: &impl Fn(&PipelineName) -> bool) -> String {
    let named = |(pipeline, number): &(PipelineName, u64)| format!("build #{number} of {pipeline}");
    let seen: Vec<_> = holders.iter().filter(|(pipeline, _)| sees(pipeline)).collect();
    let by = match (seen.as_slice(), holders.len()) {
        (_, 0) => return format!("waits for concurrency group {group}"),
        ([], 1) => "a build of another pipeline".to_owned(),
        ([], all) => format!("{all} builds of other pipelines"),
        ([one], 1) => named(one),
        ([one, other], 2) => format!("{} and {}", named(one), named(other)),
        ([one, ..], 2) => format!("{} and 1 other", named(one)),
        ([one, ..], all) => format!("{} and {} others", named(one), all - 1),
    };
    format!("waits for concurrency group {group}, held by {by}")
}

fn is_served(labels: &LabelSet, executors: &[ExecutorView]) -> bool {
    executors.iter().any(|executor| executor.alive && labels.is_served_by(&executor.labels))
}

fn executor_for(labels: &LabelSet, executors: &[ExecutorView]) -> String {
    match (is_served(labels, executors), labels.labels()) {
        (true, []) => "waits for a free executor".to_owned(),
        (true, _) => format!("waits for a free executor with {labels}"),
        (false, _) if lacks(CONTAINERS_LABEL, labels, executors) => {
            let who = match without(CONTAINERS_LABEL, labels) {
                others if others.labels().is_empty() => "no executor has containers".to_owned(),
                others => format!("no executor that offers {others} has containers"),
            };
            format!("{who}: install Podman or Docker on one's machine, and let it use that by `--containers`")
        }
        (false, _) if lacks(MASKS_LABEL, labels, executors) => {
            let others = without(MASKS_LABEL, labels);
            format!("no executor that offers {others} masks secrets: update one to this version of Stepcast")
        }
        (false, []) => "no executor is running: start one".to_owned(),
        (false, list) => {
            let (word, list) = (if list.len() == 1 { "label" } else { "labels" }, list.join(","));
            format!("no executor offers the {word} {labels}: start one with `--labels {list}`")
        }
    }
}

/// Whether somebody would run the job, were it not for a label that it asks for by itself.
fn lacks(label: &str, labels: &LabelSet, executors: &[ExecutorView]) -> bool {
    labels.labels().iter().any(|asked| asked == label) && is_served(&without(label, labels), executors)
}

/// What is asked besides a label.
fn without(label: &str, labels: &LabelSet) -> LabelSet {
    let others = labels.labels().iter().filter(|other| *other != label).cloned();
    LabelSet::new(others).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_jobs_and_labels() {
        assert_eq!(jobs(&["build"]), "waits for build");
        assert_eq!(jobs(&["build", "check"]), "waits for build and check");
        assert_eq!(jobs(&["a", "b", "c", "d", "e"]), "waits for a, b and 3 other jobs");
        let set = |labels: &[&str]| LabelSet::new(labels.iter().map(|l| (*l).to_owned())).unwrap();
        let executor = |labels: &[&str], alive| ExecutorView {
            id: wire::ExecutorId(uuid::Uuid::nil()),
            name: "one".to_owned(),
            labels: set(labels),
            slots: 1,
            isolation: wire::Isolation::Plain,
            heard_at: wire::Timestamp(0),
            alive,
            running: Vec::new(),
            jobs: Vec::new(),
        };
        let here = [executor(&["linux"], true), executor(&["linux", "gpu"], false)];
        assert_eq!(executor_for(&set(&["linux"]), &here), "waits for a free executor with linux");
        assert_eq!(
            executor_for(&set(&["linux", "gpu"]), &here),
            "no executor offers the labels gpu+linux: start one with `--labels gpu,linux`"
        );
        assert_eq!(executor_for(&set(&[]), &here), "waits for a free executor");
        let lacking =
            "has containers: install Podman or Docker on one's machine, and let it use that by `--containers`";
        assert_eq!(executor_for(&set(&["has-containers"]), &here), format!("no executor {lacking}"));
        let of_linux = executor_for(&set(&["linux", "has-containers"]), &here);
        assert_eq!(of_linux, format!("no executor that offers linux {lacking}"));
        assert!(executor_for(&set(&["gpu", "has-containers"]), &here).contains("offers the labels gpu+has-containers"));
        assert_eq!(executor_for(&set(&[]), &[]), "no executor is running: start one");
    }

    #[test]
    fn the_sentence_names_the_group_and_who_holds_it() {
        let held_by = |numbers: &[u64]| {
            let holders = numbers.iter().map(|number| ("site".parse().unwrap(), *number)).collect();
            let job = wire::JobId(uuid::Uuid::nil());
            group(&HeldUp { job, group: "deploy-prod".to_owned(), holders }, &|_| true)
        };
        assert_eq!(held_by(&[]), "waits for concurrency group deploy-prod");
        assert_eq!(held_by(&[11]), "waits for concurrency group deploy-prod, held by build #11 of site");
        let two = "waits for concurrency group deploy-prod, held by build #9 of site and build #11 of site";
        assert_eq!(held_by(&[9, 11]), two);
        assert_eq!(
            held_by(&[9, 11, 12]),
            "waits for concurrency group deploy-prod, held by build #9 of site and 2 others"
        );
    }

    #[test]
    fn who_holds_a_group_is_named_to_those_alone_who_see_its_pipeline() {
        let held_by = |pipelines: &[&str]| {
            let holders = pipelines.iter().map(|name| (name.parse().unwrap(), 9)).collect();
            let held_up = HeldUp { job: wire::JobId(uuid::Uuid::nil()), group: "prod".to_owned(), holders };
            let sentence = group(&held_up, &|pipeline| pipeline.as_str() == "site");
            sentence.strip_prefix("waits for concurrency group prod, held by ").unwrap().to_owned()
        };
        assert_eq!(held_by(&["secret"]), "a build of another pipeline");
        assert_eq!(held_by(&["secret", "other"]), "2 builds of other pipelines");
        assert_eq!(held_by(&["secret", "site"]), "build #9 of site and 1 other");
        assert_eq!(held_by(&["secret", "site", "site"]), "build #9 of site and 2 others");
    }
}
