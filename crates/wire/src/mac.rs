//! Keys that are derived, never stored: the installation key gives each attempt a key for its events and a token for
//! its uploads, so that gateways and the recorder can verify them without asking anyone.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::{ClientId, EventMessage, HookId, JobId, Position, Topic};

/// The secret of an installation: 32 bytes from the system's random source, kept in the data directory.
#[derive(Clone)]
pub struct InstallationKey(pub [u8; 32]);

impl std::fmt::Debug for InstallationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstallationKey(..)")
    }
}

/// What an executor signs the events of one attempt with. It comes with the claim's answer.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct EventKey(String);

impl std::fmt::Debug for EventKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventKey(..)")
    }
}

impl InstallationKey {
    /// The key for the events of one attempt.
    #[must_use]
    pub fn event_key(&self, job: JobId, attempt: u32) -> EventKey {
        EventKey(sign(&self.0, &[b"event-key", job.0.as_bytes(), &attempt.to_be_bytes()]))
    }

    /// The bearer token with which an executor uploads for one attempt: `<job>.<attempt>.<mac>`.
    #[must_use]
    pub fn job_token(&self, job: JobId, attempt: u32) -> String {
        let mac = sign(&self.0, &[b"job-token", job.0.as_bytes(), &attempt.to_be_bytes()]);
        format!("{job}.{attempt}.{mac}")
    }

    /// What deliveries to a hook are signed with, in this generation: text that people paste into a form.
    #[must_use]
    pub fn hook_secret(&self, hook: HookId, generation: u32) -> String {
        sign(&self.0, &[b"hook-secret", hook.0.as_bytes(), &generation.to_be_bytes()])
    }

    /// Whether the signature is the HMAC-SHA256 of the body under the hook's secret of this generation. In constant time.
    #[must_use]
    pub fn verify_hook(&self, hook: HookId, generation: u32, body: &[u8], signature: &[u8; 32]) -> bool {
        let secret = self.hook_secret(hook, generation);
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
        mac.update(body);
        mac.verify_slice(signature).is_ok()
    }

    /// The job and attempt that a job token speaks for; none if it is not genuine.
    #[must_use]
    pub fn verify_job_token(&self, token: &str) -> Option<(JobId, u32)> {
        let mut parts = token.split('.');
        let job: JobId = parts.next()?.parse().ok()?;
        let attempt: u32 = parts.next()?.parse().ok()?;
        same(self.job_token(job, attempt).as_bytes(), token.as_bytes()).then_some((job, attempt))
    }

    /// The resume token of a client: good for the session that it was given to, at any instance (P8).
    #[must_use]
    pub fn resume_token(&self, client: ClientId, server_id: &str, session: &str) -> String {
        let mac = sign(&self.0, &[b"resume", client.0.as_bytes(), server_id.as_bytes(), session.as_bytes()]);
        format!("{client}.{server_id}.{mac}")
    }

    /// The client id and the former server id that a resume token names; none if it is not genuine or was given to
    /// another session.
    #[must_use]
    pub fn verify_resume_token(&self, token: &str, session: &str) -> Option<(ClientId, String)> {
        let mut parts = token.split('.');
        let client: ClientId = parts.next()?.parse().ok()?;
        let server_id = parts.next()?;
        let genuine = same(self.resume_token(client, server_id, session).as_bytes(), token.as_bytes());
        genuine.then(|| (client, server_id.to_owned()))
    }

    /// The key for what control says of builds: executors, which publish to the same exchange, do not have it.
    #[must_use]
    pub fn control_key(&self) -> EventKey {
        EventKey(sign(&self.0, &[b"control-key"]))
    }

    /// Whether an event was written by who may write its topic: of a job by the holder of its attempt's lease, of a build by
    /// control.
    #[must_use]
    pub fn verify_event(&self, message: &EventMessage) -> bool {
        let Some(mac) = &message.mac else { return false };
        let key = match message.topic {
            Topic::Job(job) => self.event_key(job, message.epoch),
            Topic::Build(build) if build == message.build => self.control_key(),
            Topic::Build(_) => return false,
        };
        same(key.sealed(message).as_bytes(), mac.as_bytes())
    }
}

impl EventKey {
    /// The MAC over where an event stands and what it says.
    #[must_use]
    pub fn seal(&self, topic: Topic, position: Position, event: &str) -> String {
        let topic = topic.to_string();
        let (epoch, offset) = (position.epoch.to_be_bytes(), position.offset.to_be_bytes());
        sign(self.0.as_bytes(), &[topic.as_bytes(), &epoch, &offset, event.as_bytes()])
    }

    /// The MAC over a message as it is.
    #[must_use]
    pub fn sealed(&self, message: &EventMessage) -> String {
        self.seal(message.topic, message.position(), message.event.get())
    }

    /// The MAC over parts of another kind of message; the first of them says of which.
    pub(crate) fn seal_bytes(&self, parts: &[&[u8]]) -> String {
        sign(self.0.as_bytes(), parts)
    }

    /// Whether a MAC is the one over these parts.
    pub(crate) fn is_sealed(&self, parts: &[&[u8]], mac: &str) -> bool {
        same(sign(self.0.as_bytes(), parts).as_bytes(), mac.as_bytes())
    }
}

/// HMAC-SHA256 over the parts, each preceded by its length so that no two lists of parts read the same.
fn sign(key: &[u8], parts: &[&[u8]]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

/// Compares without telling by its time where two texts differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BuildId, Event, Outcome, Timestamp, VERSION, event::raw};
    use uuid::Uuid;

    #[test]
    fn p8_a_resume_token_is_good_for_its_session_only() {
        let key = InstallationKey([7; 32]);
        let client = ClientId(Uuid::from_u128(5));
        let token = key.resume_token(client, "gw-1", "session-a");
        assert_eq!(key.verify_resume_token(&token, "session-a"), Some((client, "gw-1".to_owned())));
        assert_eq!(key.verify_resume_token(&token, "session-b"), None);
        assert_eq!(InstallationKey([8; 32]).verify_resume_token(&token, "session-a"), None);
    }

    #[test]
    fn an_event_signed_for_one_attempt_is_refused_for_another() {
        let key = InstallationKey([7; 32]);
        let job = JobId(Uuid::from_u128(1));
        let topic = Topic::Job(job);
        let event = raw(&Event::StepFinished { step: 0, outcome: Outcome::Failed, exit_code: Some(1), reason: None });
        let position = Position { epoch: 2, offset: 3 };
        let mac = key.event_key(job, 2).seal(topic, position, event.get());
        let build = BuildId(Uuid::from_u128(2));
        let (at, client_id) = (Timestamp(1), None);
        let mut message =
            EventMessage { version: VERSION, topic, build, epoch: 2, offset: 3, at, client_id, mac: Some(mac), event };
        assert!(key.verify_event(&message));
        message.epoch = 3;
        assert!(!key.verify_event(&message));
    }

    #[test]
    fn an_event_of_a_build_is_controls_and_no_executors() {
        let (key, job) = (InstallationKey([7; 32]), JobId(Uuid::from_u128(1)));
        let build = BuildId(Uuid::from_u128(2));
        let event = raw(&Event::BuildStarted {});
        let (topic, at, client_id) = (Topic::Build(build), Timestamp(1), None);
        let mut message =
            EventMessage { version: VERSION, topic, build, epoch: 1, offset: 3, at, client_id, mac: None, event };
        assert!(!key.verify_event(&message), "without a MAC");
        message.mac = Some(key.event_key(job, 1).sealed(&message));
        assert!(!key.verify_event(&message), "with that of a claim");
        message.mac = Some(key.control_key().sealed(&message));
        assert!(key.verify_event(&message));
        message.build = BuildId(Uuid::from_u128(3));
        assert!(!key.verify_event(&message), "of one build in the name of another");
    }

    #[test]
    fn a_job_token_speaks_for_its_job_and_attempt_only() {
        let key = InstallationKey([7; 32]);
        let job = JobId(Uuid::from_u128(1));
        let token = key.job_token(job, 2);
        assert_eq!(key.verify_job_token(&token), Some((job, 2)));
        assert_eq!(key.verify_job_token(&token.replace(".2.", ".3.")), None);
        assert_eq!(key.verify_job_token("nonsense"), None);
    }
}
