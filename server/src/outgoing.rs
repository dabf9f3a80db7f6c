//! How others are asked over HTTP, whoever they are.

use std::time::Duration;

use ureq::{Agent, config::ConfigBuilder, typestate::AgentScope};

/// The head of an answer may be so long; more is not read.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// For requests that take so long at most. Redirects are not followed: who was named answers, or nobody.
pub(crate) fn config(patience: Duration) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(patience))
        .max_idle_connections(0)
        .max_response_header_size(HEAD_BYTES_MAX)
        .user_agent(concat!("Stepcast/", env!("CARGO_PKG_VERSION")))
}
