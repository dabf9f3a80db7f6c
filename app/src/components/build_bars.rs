//! The last builds of a pipeline as small bars: how high tells how long each took, shape and colour how it ended.

use leptos::prelude::*;
use wire::view::BuildSummary;

use super::{
    duration, estimate,
    status::{Shape, Status},
};

/// The highest bar, in pixels.
const HEIGHT: u64 = 22;
/// A bar is never too low to be seen, in pixels.
const SEEN: u64 = 3;

/// How high a bar is beside the longest build of its row.
fn height(length: Option<u64>, longest: u64) -> u64 {
    length.map_or(SEEN, |length| (length.saturating_mul(HEIGHT) / longest.max(1)).clamp(SEEN, HEIGHT))
}

/// The bars, oldest first, as one reads; each leads to its build.
#[component]
pub fn BuildBars(
    /// The builds, newest first.
    builds: Vec<BuildSummary>,
) -> impl IntoView {
    let longest = builds.iter().filter_map(estimate::length).max().unwrap_or(0);
    let bar = move |build: BuildSummary| {
        let status = Status::of(build.state, build.outcome);
        let length = estimate::length(&build);
        let took = length.map(|length| format!(", {}", duration::text(length, false))).unwrap_or_default();
        let title = format!("#{} {}{took}", build.number, status.word);
        let style = format!("height:{}px", height(length, longest));
        view! {
            <a class=format!("bar-link {}", status.class) href=format!("/builds/{}", build.id) title=title.clone() aria-label=title>
                <span class="bar" style=style></span>
                <Shape status/>
            </a>
        }
    };
    view! { <span class="bars">{builds.into_iter().rev().map(bar).collect_view()}</span> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_build_was_long_and_can_always_be_seen() {
        assert_eq!(height(Some(500), 1_000), HEIGHT / 2);
        assert_eq!(height(Some(1_000), 1_000), HEIGHT);
        assert_eq!((height(Some(1), 1_000), height(None, 1_000), height(Some(0), 0)), (SEEN, SEEN, SEEN));
    }
}
