//! How long builds are kept where their pipeline does not say so itself.

use std::time::Duration;

use clap::{Args, value_parser};
use control::pipeline::retention::{BUILDS_MAX, DAYS_MAX, size_bytes};
use wire::pipeline::RetentionSpec;

/// Options of `stepcast serve`. Without any, builds are kept for good.
#[derive(Clone, Debug, Args)]
pub(crate) struct RetentionOptions {
    /// Builds that finished more days ago are deleted, 1 to 3660 [default: kept].
    #[arg(long, env = "STEPCAST_RETENTION_DAYS", value_parser = value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    pub(crate) retention_days: Option<u32>,
    /// So many builds of each pipeline are kept, 1 to 1000000 [default: all].
    #[arg(long, env = "STEPCAST_RETENTION_BUILDS", value_parser = value_parser!(u32).range(1..=i64::from(BUILDS_MAX)))]
    pub(crate) retention_builds: Option<u32>,
    /// Artifacts of builds that finished more days ago are deleted, 1 to 3660 [default: kept with their build].
    #[arg(long, env = "STEPCAST_RETENTION_ARTIFACTS_DAYS", value_parser = value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    pub(crate) retention_artifacts_days: Option<u32>,
    /// Logs and artifacts of each pipeline may take so much, such as 5GB: its oldest builds are deleted first [default: no limit].
    #[arg(long, env = "STEPCAST_RETENTION_SIZE", value_parser = size_bytes)]
    pub(crate) retention_size: Option<u64>,
    /// Entries of the audit log are kept so many days, 1 to 3660.
    #[arg(long, env = "STEPCAST_AUDIT_DAYS", default_value_t = 365, value_parser = value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    pub(crate) audit_days: u32,
    /// Seconds between two looks at what has outlived its time.
    #[arg(long, env = "STEPCAST_RETENTION_LOOK_SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..=86_400))]
    pub(crate) retention_look_seconds: u64,
}

impl RetentionOptions {
    /// For every pipeline, as far as it says nothing itself.
    pub(crate) fn default_rules(&self) -> RetentionSpec {
        RetentionSpec {
            days: self.retention_days,
            builds: self.retention_builds,
            artifacts_days: self.retention_artifacts_days,
            size_bytes: self.retention_size,
        }
    }

    /// See [`RetentionOptions::retention_look_seconds`].
    pub(crate) fn look(&self) -> Duration {
        Duration::from_secs(self.retention_look_seconds)
    }
}
