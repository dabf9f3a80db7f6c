//! What consumer groups build from the event stream: the record, statistics, the search index. Each group is independent, at its own pace,
//! and keeps its place beside its effect (P5). It publishes nothing but hints.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod analytics;
pub mod group;
pub mod recorder;
pub mod restate;
pub mod search;

/// The groups that there are.
pub const GROUPS: [&str; 3] = [store::analytics::GROUP, recorder::GROUP, search::GROUP];
