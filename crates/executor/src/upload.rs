//! Sends the files that a job keeps, by HTTP with the job's token, straight from the disk. Which files those are is
//! [`crate::artifact`]'s business.

use std::{
    fs::File,
    io::{self, Read},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use wire::{ArtifactId, Event, task::Grant};

use crate::{
    again::{self, Failure, GivenUp, Tries},
    artifact::Kept,
};

/// A larger file, in bytes, is sent only when the receiver says that it wants it (RFC 9110, `Expect: 100-continue`): while it is
/// still being sent, a refusal is not heard.
const ASKED_FIRST_BYTES: u64 = 64 * 1024;
/// Where the files of one attempt go.
pub(crate) struct Uploads {
    base: String,
    token: String,
    agent: ureq::Agent,
    over_broker: AtomicBool,
}

/// The receiver's answer.
#[derive(Deserialize)]
struct Receipt {
    id: ArtifactId,
    size: u64,
    sha256: String,
}

impl Uploads {
    pub(crate) fn new(grant: &Grant) -> Self {
        let base = format!("{}/api/v1/jobs/{}/artifacts", grant.upload_url.trim_end_matches('/'), grant.lease.job);
        Self { base, token: grant.job_token.clone(), agent: again::agent(), over_broker: AtomicBool::new(false) }
    }

    /// Whether the next file goes over the broker rather than here.
    pub(crate) fn over_broker(&self) -> bool {
        self.over_broker.load(Ordering::Relaxed)
    }

    /// Says so.
    pub(crate) fn go_over_broker(&self, over_broker: bool) {
        self.over_broker.store(over_broker, Ordering::Relaxed);
    }

    /// Sends a file, again if need be, and tells the event that says so. Blocking; ends soon after `stop`. A receiver that is not
    /// reached is tried for `unreached_max`.
    ///
    /// # Errors
    /// One sentence, when the receiver refuses it or cannot be reached.
    pub(crate) fn send(
        &self,
        kept: &Kept,
        unreached_max: Duration,
        stop: &CancellationToken,
    ) -> Result<Event, GivenUp> {
        let receipt = again::until(Tries::of(&kept.name, unreached_max, stop), || self.put(kept, stop))?;
        let Receipt { id: artifact, size, sha256 } = receipt;
        Ok(Event::Artifact { artifact, name: kept.name.clone(), size, sha256 })
    }

    fn put(&self, kept: &Kept, stop: &CancellationToken) -> Result<Receipt, Failure> {
        let unreadable = |error: io::Error| Failure::Lasting(format!("it cannot be read: {error}"));
        let file = kept.open().map_err(unreadable)?;
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
        Err(again::refusal(answer))
    }
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
