//! Sends the files that a job keeps, by HTTP with the job's token, straight from the disk. Which files those are is
//! [`crate::artifact`]'s business.

use std::{
    fs::File,
    io::{self, Read},
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use wire::{ArtifactId, Event, task::Grant};

use crate::artifact::Kept;

/// How often one file is sent to a receiver that takes it and fails, before the job does.
const TRIES: u32 = 5;
/// For so long a receiver that cannot be reached is tried again: it is started anew, or another takes its place.
const UNREACHED_MAX: Duration = Duration::from_secs(600);
/// The pause before the second try; it doubles with each.
const BACK_OFF: Duration = Duration::from_millis(250);
/// It doubles up to this.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// For the connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// For each piece of a file to leave, and for the answer: the receiver may have to write all of it to a slow disk.
const ANSWER_PATIENCE: Duration = Duration::from_secs(300);
/// A larger file, in bytes, is sent only when the receiver says that it wants it (RFC 9110, `Expect: 100-continue`): while it is
/// still being sent, a refusal is not heard.
const ASKED_FIRST_BYTES: u64 = 64 * 1024;
/// Of an answer that is no file's receipt, this much is read, in bytes.
const PROBLEM_BYTES_MAX: u64 = 4096;

/// Where the files of one attempt go.
pub(crate) struct Uploads {
    base: String,
    token: String,
    agent: ureq::Agent,
}

/// The receiver's answer.
#[derive(Deserialize)]
struct Receipt {
    id: ArtifactId,
    size: u64,
    sha256: String,
}

enum Failure {
    /// The receiver cannot take anything now, such as with a full disk: it is asked again for as long as the job may take.
    Later(String),
    /// The receiver is not there, or went away in the middle.
    Unreached(String),
    /// Another try may help.
    Passing(String),
    /// It would not.
    Lasting(String),
}

impl Uploads {
    pub(crate) fn new(grant: &Grant) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_PATIENCE))
            .timeout_per_write(Some(ANSWER_PATIENCE))
            .timeout_recv_response(Some(ANSWER_PATIENCE))
            .build();
        let base = format!("{}/api/v1/jobs/{}/artifacts", grant.upload_url.trim_end_matches('/'), grant.lease.job);
        Self { base, token: grant.job_token.clone(), agent: config.into() }
    }

    /// Sends a file, again if need be, and tells the event that says so. Blocking; ends soon after `stop`.
    ///
    /// # Errors
    /// One sentence, when the receiver refuses it or cannot be reached.
    pub(crate) fn send(&self, kept: &Kept, stop: &CancellationToken) -> Result<Event, String> {
        let mut pause = BACK_OFF;
        let mut tries = 1;
        let mut unreached: Option<Instant> = None;
        loop {
            let reason = match self.put(kept, stop) {
                Ok(receipt) => {
                    let Receipt { id: artifact, size, sha256 } = receipt;
                    return Ok(Event::Artifact { artifact, name: kept.name.clone(), size, sha256 });
                }
                Err(Failure::Later(reason)) if !stop.is_cancelled() => {
                    unreached = None;
                    tries -= 1;
                    reason
                }
                Err(Failure::Unreached(reason))
                    if !stop.is_cancelled()
                        && (unreached.get_or_insert_with(Instant::now).elapsed() < UNREACHED_MAX || tries < TRIES) =>
                {
                    reason
                }
                Err(Failure::Passing(reason)) if tries < TRIES && !stop.is_cancelled() => {
                    unreached = None;
                    reason
                }
                Err(
                    Failure::Later(reason)
                    | Failure::Unreached(reason)
                    | Failure::Passing(reason)
                    | Failure::Lasting(reason),
                ) => {
                    return Err(format!("artifact {:?} could not be kept: {reason}", kept.name));
                }
            };
            tracing::warn!(artifact = kept.name, reason, tries, "an artifact could not be sent; it is tried again");
            std::thread::sleep(pause);
            pause = (pause * 2).min(BACK_OFF_MAX);
            tries += 1;
        }
    }

    fn put(&self, kept: &Kept, stop: &CancellationToken) -> Result<Receipt, Failure> {
        let unreadable = |error: io::Error| Failure::Lasting(format!("it cannot be read: {error}"));
        let file = File::open(&kept.path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut body = Stoppable { file: file.take(size), stop, unreadable: None };
        let mut request = self
            .agent
            .put(format!("{}/{}", self.base, percent_encoded(&kept.name)))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Content-Type", "application/octet-stream")
            .header("Content-Length", size.to_string());
        if size > ASKED_FIRST_BYTES {
            request = request.header("Expect", "100-continue");
        }
        let answer = request.send(ureq::SendBody::from_reader(&mut body));
        if let Some(error) = body.unreadable {
            return Err(Failure::Lasting(format!("it cannot be read: {error}")));
        }
        let mut answer = answer.map_err(|error| Failure::Unreached(error.to_string()))?;
        let status = answer.status();
        if status == 201 || status == 200 {
            let receipt: Receipt = answer
                .body_mut()
                .read_json()
                .map_err(|error| Failure::Passing(format!("the receiver's answer cannot be read: {error}")))?;
            if receipt.size == size {
                return Ok(receipt);
            }
            return Err(Failure::Passing(format!("{} of {size} bytes arrived", receipt.size)));
        }
        let problem = answer.body_mut().with_config().limit(PROBLEM_BYTES_MAX).read_to_string().unwrap_or_default();
        let reason = format!("the receiver answered {status}{}", detail(&problem));
        if status == 503 {
            Err(Failure::Later(reason))
        } else if status.is_server_error() || status == 429 {
            Err(Failure::Passing(reason))
        } else {
            Err(Failure::Lasting(reason))
        }
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

/// The bytes of a file, until the attempt is stopped.
struct Stoppable<'a> {
    file: io::Take<File>,
    stop: &'a CancellationToken,
    /// Why it could not be read to its end.
    unreadable: Option<String>,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("the job was stopped"));
        }
        self.file.read(buffer).inspect_err(|error| self.unreadable = Some(error.to_string()))
    }
}

/// As one segment of a path: `/` too is encoded (RFC 3986: only unreserved characters stand for themselves).
fn percent_encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_the_path_whatever_it_holds() {
        assert_eq!(percent_encoded("a/b c?é.txt"), "a%2Fb%20c%3F%C3%A9.txt");
    }
}
