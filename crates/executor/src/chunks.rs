//! Sends a file over the broker, where HTTP reaches nobody: as a stream of chunks ([`wire::chunks`]). At most
//! [`wire::chunks::WINDOW`] of them are on their way and held here; what is not taken is sent again.

use std::{collections::VecDeque, io, time::Duration};

use broker::{Broker, BrokerError, ConsumeOptions, Consumer, Outgoing, topology};
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::AsyncReadExt as _,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{
    Event,
    chunks::{Answer, CHUNK_BYTES, Chunk, Open, WINDOW, hex},
    task::Grant,
};

use crate::{
    again::{Failure, GivenUp, Tries},
    artifact::Kept,
};

/// For the answer to an opening.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// Without a word for so long, what is not taken is sent again.
const WORD_PATIENCE: Duration = Duration::from_secs(5);
/// So often in a row; then the reader is taken for gone. The last of its waits is for its disk.
const SILENCES_MAX: u32 = 12;
/// Answers taken before the first of them is settled.
const PREFETCH: u16 = 64;

/// Sends a file, again if need be, and tells the event that says so. Readers that are not there are tried for
/// `unreached_max`.
pub(crate) async fn send(
    broker: &dyn Broker,
    grant: &Grant,
    kept: &Kept,
    unreached_max: Duration,
    stop: &CancellationToken,
) -> Result<Event, GivenUp> {
    let mut tries = Tries::of(&kept.name, unreached_max, stop);
    loop {
        match send_once(broker, grant, kept).await {
            Ok(event) => return Ok(event),
            Err(failure) => sleep(tries.after(failure)?).await,
        }
    }
}

async fn send_once(broker: &dyn Broker, grant: &Grant, kept: &Kept) -> Result<Event, Failure> {
    let file = kept.open().map(File::from_std).map_err(|error| unreadable(&error))?;
    let size = file.metadata().await.map_err(|error| unreadable(&error))?.len();
    let mut talk = Talk::begin(broker).await.map_err(|error| unreached(&error))?;
    let open = Open::sealed(&grant.event_key, talk.stream_id, grant.lease, kept.name.clone(), size);
    talk.hand_over(topology::CHUNKS, open.encode()).await.map_err(|error| unreached(&error))?;
    let queue = match talk.word(OPEN_PATIENCE).await? {
        Some(Answer::Opened { queue }) => queue,
        Some(answer) => return Err(refusal(answer)),
        None => return Err(Failure::Unreached("nobody at the broker takes files".to_owned())),
    };
    let mut source = Source { file, left: size, digest: Sha256::new(), next: 0, ended: false };
    let mut window: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
    let mut silences = 0;
    loop {
        while !source.ended && (window.len() as u64) < WINDOW {
            let chunk = source.read(grant, talk.stream_id).await.map_err(|error| unreadable(&error))?;
            let (index, body) = (chunk.index, chunk.encode());
            drop(talk.hand_over(&queue, body.clone())); // What is lost is asked for, or sent again.
            window.push_back((index, body));
        }
        let from = match talk.word(WORD_PATIENCE).await? {
            Some(Answer::Kept { artifact, size, sha256, .. }) => {
                return Ok(Event::Artifact { artifact, name: kept.name.clone(), size, sha256 });
            }
            Some(Answer::Taken { next, .. }) => {
                silences = 0;
                while window.front().is_some_and(|(index, _)| *index < next) {
                    window.pop_front();
                }
                continue;
            }
            Some(Answer::Repeat { from, .. }) => {
                silences = 0;
                from
            }
            Some(answer) => return Err(refusal(answer)),
            None => {
                silences += 1;
                if silences > SILENCES_MAX {
                    return Err(Failure::Unreached("the reader of the chunks says nothing any more".to_owned()));
                }
                0
            }
        };
        // All were taken and the word that the file is kept was lost, or is late: the last one asks for it.
        let mut again: Vec<Vec<u8>> =
            window.iter().filter(|(index, _)| *index >= from).map(|(_, body)| body.clone()).collect();
        if again.is_empty() {
            again.extend(source.last(grant, talk.stream_id).map(|chunk| chunk.encode()));
        }
        // Where the reader is gone its queue is gone too.
        for body in again {
            talk.hand_over(&queue, body).await.map_err(|error| unreached(&error))?;
        }
    }
}

/// The file as it is read.
struct Source {
    file: File,
    left: u64,
    digest: Sha256,
    next: u64,
    ended: bool,
}

impl Source {
    async fn read(&mut self, grant: &Grant, stream_id: Uuid) -> io::Result<Chunk> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let mut data = vec![0; length];
        self.file.read_exact(&mut data).await?;
        self.left -= length as u64;
        self.digest.update(&data);
        self.ended = self.left == 0;
        let sha256 = self.ended.then(|| hex(&self.digest.clone().finalize()));
        let chunk = Chunk::sealed(&grant.event_key, stream_id, self.next, data, sha256);
        self.next += 1;
        Ok(chunk)
    }

    /// A chunk with the last one's place and nothing in it: taken for a repeat.
    fn last(&self, grant: &Grant, stream_id: Uuid) -> Option<Chunk> {
        let index = self.next.checked_sub(1)?;
        let sha256 = self.ended.then(|| hex(&self.digest.clone().finalize()));
        Some(Chunk::sealed(&grant.event_key, stream_id, index, Vec::new(), sha256))
    }
}

/// One stream's conversation, with a queue of its own for the answers.
struct Talk<'a> {
    broker: &'a dyn Broker,
    stream_id: Uuid,
    reply_to: String,
    answers: Consumer,
}

impl<'a> Talk<'a> {
    async fn begin(broker: &'a dyn Broker) -> Result<Self, BrokerError> {
        let queue = topology::reply();
        broker.declare(&queue).await?;
        let answers = broker.consume(&queue.name, ConsumeOptions { prefetch: PREFETCH, exclusive: true }).await?;
        Ok(Self { broker, stream_id: Uuid::new_v4(), reply_to: queue.name, answers })
    }

    /// The confirm fails where there is no such queue.
    fn hand_over(&self, queue: &str, body: Vec<u8>) -> broker::Confirm {
        let mut message = Outgoing::new(topology::Exchange::Direct, queue, body);
        message.correlation_id = Some(self.stream_id.to_string());
        message.reply_to = Some(self.reply_to.clone());
        message.mandatory = true;
        self.broker.publish(message)
    }

    /// The next answer; none when there was none in time.
    async fn word(&mut self, patience: Duration) -> Result<Option<Answer>, Failure> {
        let Ok(delivery) = timeout(patience, self.answers.next()).await else { return Ok(None) };
        let Some(delivery) = delivery else {
            return Err(Failure::Unreached("the broker ended the queue of the answers".to_owned()));
        };
        let answer = serde_json::from_slice(&delivery.message.body);
        delivery.ack();
        answer.map(Some).map_err(|error| Failure::Passing(format!("the reader's answer cannot be read: {error}")))
    }
}

fn refusal(answer: Answer) -> Failure {
    match answer {
        Answer::Later { reason } => Failure::Later(reason),
        Answer::Refused { reason, again: false, .. } => Failure::Lasting(reason),
        Answer::Refused { reason, .. } => Failure::Passing(reason),
        other => Failure::Passing(format!("the reader answered with something else: {other:?}")),
    }
}

fn unreached(error: &BrokerError) -> Failure {
    match error {
        BrokerError::Unroutable(_) | BrokerError::NoQueue(_) => {
            Failure::Unreached("nobody at the broker takes files".to_owned())
        }
        other => Failure::Unreached(other.to_string()),
    }
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::Lasting(format!("it cannot be read: {error}"))
}
