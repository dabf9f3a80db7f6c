//! One POST to a webhook. `ureq` is what executors upload with, so it is compiled anyhow; it blocks, so each try has a
//! thread of its own, which the server does not wait for when it ends.

use std::{io::ErrorKind, time::Duration};

use store::model::reply::DueReply;
use tokio::sync::oneshot;
use ureq::{Agent, unversioned::transport::DefaultConnector};
use wire::{
    Timestamp,
    mac::InstallationKey,
    webhook::{self, WebhookSecret},
};

use crate::outgoing;

use super::{
    Failure,
    destination::{Destinations, JudgedResolver, NotAllowed},
};

/// A try may take so long, from the lookup of the name to the head of the answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The receiver wants to hear no more of it.
const GONE: u16 = 410;

/// A signed message goes to who was named, and nowhere else. Of an answer the head alone is read.
/// No proxy of the environment is asked: it would look names up itself, and connect to what was never judged.
pub(super) fn agent(destinations: Destinations) -> Agent {
    let config = outgoing::config(PATIENCE).proxy(None);
    Agent::with_parts(config.build(), DefaultConnector::default(), JudgedResolver::new(destinations))
}

/// Posts the end of a build.
pub(super) async fn post(agent: &Agent, key: &InstallationKey, due: &DueReply) -> Result<(), Failure> {
    let secret = WebhookSecret::of(key, &due.reply.address).map_err(Failure::ForGood)?;
    let body = webhook::body(&due.build);
    let seconds = now().0 / 1_000_000;
    let signature = secret.sign(due.message_id, seconds, &body);
    let request = agent
        .post(&due.reply.address)
        .header("content-type", "application/json")
        .header("webhook-id", due.message_id.to_string())
        .header("webhook-timestamp", seconds.to_string())
        .header("webhook-signature", signature);
    let (answer, answered) = oneshot::channel();
    let started = std::thread::Builder::new().name("webhook".to_owned()).spawn(move || {
        // Who asked may have lost its turn meanwhile: then another one tells it again.
        let _ = answer.send(request.send(body).map(|response| response.status().as_u16()));
    });
    started.map_err(|failure| Failure::ForNow(format!("no thread could be started: {failure}")))?;
    match answered.await {
        Ok(Ok(200..=299)) => Ok(()),
        Ok(Ok(GONE)) => Err(Failure::ForGood("it answered 410: it wants to hear no more".to_owned())),
        Ok(Ok(status @ 300..=399)) => {
            Err(Failure::ForNow(format!("it answered {status}, and redirects are not followed")))
        }
        Ok(Ok(status)) => Err(Failure::ForNow(format!("it answered {status}"))),
        // Only a person can change that, and can have it tried again then.
        Ok(Err(ureq::Error::Other(why))) if why.is::<NotAllowed>() => Err(Failure::ForGood(why.to_string())),
        Ok(Err(failure)) => Err(Failure::ForNow(reason(&failure))),
        Err(_) => Err(Failure::ForNow("the try broke off".to_owned())),
    }
}

/// For the page, without what only a programmer reads.
fn reason(failure: &ureq::Error) -> String {
    match failure {
        ureq::Error::Timeout(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        ureq::Error::HostNotFound => "its host is not known".to_owned(),
        ureq::Error::ConnectionFailed => "connection refused".to_owned(),
        ureq::Error::Io(failure) => match failure.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                "it closed the connection without an answer".to_owned()
            }
            ErrorKind::TimedOut => format!("no answer within {} s", PATIENCE.as_secs()),
            _ => failure.to_string(),
        },
        // It would repeat the address, which may hold a secret.
        ureq::Error::BadUri(_) => "its address is none".to_owned(),
        other => other.to_string(),
    }
}

/// This host's clock: receivers compare it with theirs.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
