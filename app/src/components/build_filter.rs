//! Which builds of a pipeline are listed: part of the address (`?state=failed`), chosen by links, so that it works without
//! scripts, can be shared, and is left by the way back.

use leptos::prelude::*;
use wire::{
    Outcome, PipelineName,
    command::BuildsQuery,
    view::{BuildSummary, State},
};

/// A choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Every build.
    #[default]
    All,
    /// Those that failed, or whose time was up.
    Failed,
    /// Those that run now.
    Running,
}

impl Filter {
    const ALL: [Filter; 3] = [Filter::All, Filter::Failed, Filter::Running];

    /// From the address; what is not known there means all.
    #[must_use]
    pub fn of(state: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|filter| state == Some(filter.as_str())).unwrap_or_default()
    }

    /// As in the address.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Filter::All => "all",
            Filter::Failed => "failed",
            Filter::Running => "running",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Filter::All => "All",
            Filter::Failed => "Failed",
            Filter::Running => "Running",
        }
    }

    /// What a list of no builds says.
    #[must_use]
    pub fn nothing(self) -> &'static str {
        match self {
            Filter::All => "It has never been built. Press Build to start the first one.",
            Filter::Failed => "No build of it has failed.",
            Filter::Running => "No build of it runs at the moment.",
        }
    }

    /// The question for the builds that it leaves of `query`.
    #[must_use]
    pub fn narrow(self, query: BuildsQuery) -> BuildsQuery {
        match self {
            Filter::All => query,
            Filter::Failed => BuildsQuery { outcome: Some(Outcome::Failed), ..query },
            Filter::Running => BuildsQuery { state: Some(State::Running), ..query },
        }
    }

    /// Whether it leaves a build.
    #[must_use]
    pub fn leaves(self, build: &BuildSummary) -> bool {
        match self {
            Filter::All => true,
            Filter::Failed => matches!(build.outcome, Some(Outcome::Failed | Outcome::TimedOut)),
            Filter::Running => build.state == State::Running,
        }
    }
}

/// The links.
#[component]
pub fn BuildFilter(
    /// The pipeline.
    pipeline: PipelineName,
    /// The one that is chosen.
    #[prop(into)]
    chosen: Signal<Filter>,
) -> impl IntoView {
    let link = |filter: Filter| {
        let address = match filter {
            Filter::All => format!("/pipelines/{pipeline}"),
            other => format!("/pipelines/{pipeline}?state={}", other.as_str()),
        };
        view! {
            <a href=address data-noscroll aria-current=move || (chosen.get() == filter).then_some("true")>
                {filter.label()}
            </a>
        }
    };
    view! { <nav class="build-filter" aria-label="Which builds">{Filter::ALL.map(link).to_vec()}</nav> }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample;

    #[test]
    fn an_address_that_says_nothing_known_means_all() {
        assert_eq!(Filter::of(Some("failed")), Filter::Failed);
        assert_eq!((Filter::of(None), Filter::of(Some("odd"))), (Filter::All, Filter::All));
    }

    #[test]
    fn a_build_whose_time_was_up_has_failed() {
        let mut build = sample::build(1).summary;
        assert!(Filter::All.leaves(&build) && !Filter::Failed.leaves(&build) && !Filter::Running.leaves(&build));
        (build.state, build.outcome) = (State::Finished, Some(Outcome::TimedOut));
        assert!(Filter::Failed.leaves(&build) && !Filter::Running.leaves(&build));
    }
}
