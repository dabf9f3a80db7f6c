//! Trying again what moves files: how often, and for how long, by what went wrong.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

/// How often something is tried with a server that answers and fails, before the job does.
const TRIES: u32 = 5;
/// For so long a server that cannot be reached is tried again: it is started anew, or another takes its place.
pub(crate) const UNREACHED_MAX: Duration = Duration::from_secs(600);
/// The pause before the second try; it doubles with each.
const BACK_OFF: Duration = Duration::from_millis(250);
/// It doubles up to this.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// For the connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// For each piece to leave or to come, and for the answer: the server may have to write all of it to a slow disk.
const ANSWER_PATIENCE: Duration = Duration::from_secs(300);
/// Of an answer that is not what was asked for, this much is read, in bytes.
const PROBLEM_BYTES_MAX: u64 = 4096;

/// Why a try failed. One sentence each.
pub(crate) enum Failure {
    /// The server cannot take or give anything now, such as with a full disk: it is asked again for as long as the job may
    /// take.
    Later(String),
    /// The server is not there, or went away in the middle.
    Unreached(String),
    /// Another try may help.
    Passing(String),
    /// It would not.
    Lasting(String),
}

/// Why all tries failed.
#[derive(Debug)]
pub(crate) enum GivenUp {
    /// Nobody was there to the end.
    Unreached(String),
    /// Somebody was, and it came to nothing.
    Failed(String),
}

impl GivenUp {
    /// The sentence.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Unreached(reason) | Self::Failed(reason) => reason,
        }
    }
}

/// What has been tried.
pub(crate) struct Tries<'a> {
    what: &'a str,
    unreached_max: Duration,
    stop: &'a CancellationToken,
    count: u32,
    pause: Duration,
    unreached: Option<Instant>,
}

impl<'a> Tries<'a> {
    /// A server that is not reached is tried for `unreached_max`, and a few times at least.
    pub(crate) fn of(what: &'a str, unreached_max: Duration, stop: &'a CancellationToken) -> Self {
        Self { what, unreached_max, stop, count: 1, pause: BACK_OFF, unreached: None }
    }

    /// The pause before another try, or that none makes sense.
    pub(crate) fn after(&mut self, failure: Failure) -> Result<Duration, GivenUp> {
        let goes_on = !self.stop.is_cancelled();
        let reason = match failure {
            Failure::Later(reason) if goes_on => {
                self.unreached = None;
                self.count -= 1;
                reason
            }
            Failure::Unreached(reason)
                if goes_on
                    && (self.unreached.get_or_insert_with(Instant::now).elapsed() < self.unreached_max
                        || self.count < TRIES) =>
            {
                reason
            }
            Failure::Passing(reason) if self.count < TRIES && goes_on => {
                self.unreached = None;
                reason
            }
            Failure::Unreached(reason) => return Err(GivenUp::Unreached(reason)),
            Failure::Later(reason) | Failure::Passing(reason) | Failure::Lasting(reason) => {
                return Err(GivenUp::Failed(reason));
            }
        };
        tracing::warn!(what = self.what, reason, tries = self.count, "a file could not be moved; it is tried again");
        let pause = self.pause;
        self.pause = (pause * 2).min(BACK_OFF_MAX);
        self.count += 1;
        Ok(pause)
    }
}

/// Tries until it works, or until no other try makes sense; ends soon after the `stop` of `tries`. Blocking.
pub(crate) fn until<T>(mut tries: Tries<'_>, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, GivenUp> {
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(failure) => std::thread::sleep(tries.after(failure)?),
        }
    }
}

/// A client that waits as long as a slow disk takes, and no longer.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_PATIENCE))
        .timeout_per_write(Some(ANSWER_PATIENCE))
        .timeout_per_read(Some(ANSWER_PATIENCE))
        .timeout_recv_response(Some(ANSWER_PATIENCE))
        .build()
        .into()
}

/// What an answer that is not the one that was asked for means.
pub(crate) fn refusal(mut answer: ureq::http::Response<ureq::Body>) -> Failure {
    let status = answer.status();
    let problem = answer.body_mut().with_config().limit(PROBLEM_BYTES_MAX).read_to_string().unwrap_or_default();
    let reason = format!("the server answered {status}{}", detail(&problem));
    if status == 503 {
        Failure::Later(reason)
    } else if status.is_server_error() || status == 429 {
        Failure::Passing(reason)
    } else {
        Failure::Lasting(reason)
    }
}

/// The sentence of a problem document, if it is one.
fn detail(problem: &str) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    serde_json::from_str(problem).map_or_else(|_| String::new(), |Problem { detail }| format!(": {detail}"))
}
