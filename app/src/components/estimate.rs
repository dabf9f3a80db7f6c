//! How long builds of a pipeline usually take, and how far one that runs has come by that.

use leptos::prelude::*;
use wire::{
    Outcome, PipelineName, Timestamp,
    view::{BuildSummary, PipelineSummary},
};

use super::{clock::Clock, derived::derived, duration};

/// So many of the last builds that succeeded say what is usual.
const BUILDS_MAX: usize = 10;
/// A build takes longer than usual when it has run for a quarter more and half a second, in microseconds: what is usual is
/// never exact.
const LONGER_MICROS: u64 = 500_000;

/// How long a build took, in microseconds; none while it runs or when it never ran.
#[must_use]
pub fn length(build: &BuildSummary) -> Option<u64> {
    Some(build.finished_at?.since(build.started_at?))
}

/// The middle one of the lengths of the last builds that succeeded, in microseconds. `builds` are newest first.
#[must_use]
pub fn usual(builds: &[BuildSummary]) -> Option<u64> {
    let succeeded = builds.iter().filter(|build| build.outcome == Some(Outcome::Succeeded));
    let mut lengths: Vec<u64> = succeeded.filter_map(length).take(BUILDS_MAX).collect();
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied()
}

/// What is usual, in microseconds, for each of some pipelines.
pub type Usual = Vec<(PipelineName, u64)>;

/// What is usual for each pipeline that has succeeded.
#[must_use]
pub fn usual_of(pipelines: &[PipelineSummary]) -> Usual {
    pipelines.iter().filter_map(|pipeline| Some((pipeline.name.clone(), usual(&pipeline.builds)?))).collect()
}

/// How far something has come after so long, in thousandths of what is usual, and whether it takes longer than that.
fn progress(elapsed: u64, usual: u64) -> (u64, bool) {
    let share = (elapsed.saturating_mul(1_000) / usual.max(1)).min(1_000);
    (share, elapsed > usual + usual / 4 + LONGER_MICROS)
}

/// What is usual, and a thin bar while the time counts. Both sentences have their room from the start, so that nothing
/// moves when one takes the other's place. Nothing where nothing is known to be usual.
#[component]
pub fn Estimate(
    /// When it began.
    #[prop(into)]
    from: Signal<Option<Timestamp>>,
    /// When it ended.
    #[prop(into)]
    until: Signal<Option<Timestamp>>,
    /// What is usual, in microseconds.
    #[prop(into)]
    usual: Signal<Option<u64>>,
) -> impl IntoView {
    let clock = Clock::get();
    let counted = derived(move || match (from.get(), until.get(), usual.get()) {
        (Some(from), None, Some(usual)) => Some(progress(clock.now().since(from), usual)),
        _ => None,
    });
    let is_longer = derived(move || counted.get().is_some_and(|(_, is_longer)| is_longer));
    let bar = move || {
        counted.get().map_or_else(|| "width:0".to_owned(), |(share, _)| format!("width:{}.{}%", share / 10, share % 10))
    };
    let known = derived(move || usual.get().map(|usual| duration::text(usual, false)));
    move || {
        let known = known.get()?;
        Some(view! {
            <span class=move || if is_longer.get() { "estimate longer" } else { "estimate" }>
                <span class="as-usual">{format!("usually {known}")}</span>
                <span class="than-usual">"longer than usual" <span class="as-known">{format!(" ({known})")}</span></span>
                <span class="estimate-track" aria-hidden="true" hidden=move || counted.get().is_none()>
                    <span class="estimate-bar" style=bar></span>
                </span>
            </span>
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample;

    fn built(micros: i64, outcome: Outcome) -> BuildSummary {
        let times = (Some(Timestamp(1)), Some(Timestamp(1 + micros)));
        BuildSummary { outcome: Some(outcome), started_at: times.0, finished_at: times.1, ..sample::build(1).summary }
    }

    #[test]
    fn usual_is_the_middle_of_the_last_builds_that_succeeded() {
        assert_eq!(usual(&[]), None);
        assert_eq!(usual(&[built(9, Outcome::Failed)]), None);
        let some = [(3, Outcome::Succeeded), (900, Outcome::Succeeded), (1, Outcome::Failed), (5, Outcome::Succeeded)];
        let some = some.map(|(micros, outcome)| built(micros, outcome));
        assert_eq!(usual(&some), Some(5), "one that was slow says nothing, one that failed neither");
        let old = (0..20).map(|n| built(if n < 10 { 7 } else { 800 }, Outcome::Succeeded)).collect::<Vec<_>>();
        assert_eq!(usual(&old), Some(7), "what was long ago is not usual now");
    }

    #[test]
    fn a_bar_is_never_more_than_full_and_longer_is_not_a_little_longer() {
        assert_eq!(progress(0, 4_000_000), (0, false));
        assert_eq!(progress(1_000_000, 4_000_000), (250, false));
        assert_eq!(progress(5_000_000, 4_000_000), (1_000, false));
        assert_eq!(progress(5_500_001, 4_000_000), (1_000, true));
        assert_eq!(progress(400_000, 0), (1_000, false));
    }
}
