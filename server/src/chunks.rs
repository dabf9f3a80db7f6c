//! Takes artifacts of executors that reach nothing but the broker: streams of chunks ([`wire::chunks`]) become objects, written
//! while they come. Every process with the objects at hand takes some; each stream has a queue and a task of its own, which go
//! together. Of a stream at most a window of chunks and the parts of one upload are held in memory.

use std::{sync::Arc, time::Duration};

use broker::{ConsumeOptions, Consumer, Delivery, Incoming, rpc, topology};
use object_store::{ObjectStore as _, WriteMultipart};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;
use wire::{
    ArtifactId, Problem,
    artifact::check_name,
    chunks::{Answer, Assembly, Chunk, Open, Step, WINDOW},
};

use crate::{
    allowance::Share,
    core::Core,
    http::artifacts::{object_path, runs},
    http::objects::{PART_BYTES, PARTS_AT_ONCE, failed},
};

/// Streams that a process takes at once; more are asked to come again later. Each holds two parts of 8 MiB at most.
pub(crate) const STREAMS_MAX: usize = 16;
/// Streams whose file is kept and that are still listened to, in case that word is lost. Of more it is not said twice: their sender
/// finds no queue, and sends the file again.
const LINGERING_MAX: usize = 256;
/// Requests looked at before the first of them is settled.
const PREFETCH: u16 = 16;
/// Without a chunk for so long, what is missing is asked for.
const CHUNK_PATIENCE: Duration = Duration::from_secs(10);
/// So often in a row; then the stream is over.
const SILENCES_MAX: u32 = 6;
/// The pause before a queue that cannot be consumed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Takes streams until `shutdown`.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) {
    let (room, lingering) = (Arc::new(Semaphore::new(STREAMS_MAX)), Arc::new(Semaphore::new(LINGERING_MAX)));
    let mut streams = JoinSet::new();
    let mut has_failed = false;
    loop {
        match requests(&core).await {
            Ok(mut consumer) => {
                has_failed = false;
                loop {
                    let delivery = tokio::select! {
                        () = shutdown.cancelled() => return,
                        Some(_) = streams.join_next() => continue,
                        delivery = consumer.next() => delivery,
                    };
                    let Some(delivery) = delivery else { break };
                    let (core, room, lingering) = (Arc::clone(&core), Arc::clone(&room), Arc::clone(&lingering));
                    streams.spawn(async move { take(&core, delivery, room, lingering).await });
                }
            }
            Err(failure) if !has_failed => {
                warn!(%failure, "the queue of chunks cannot be consumed: trying until it can");
                has_failed = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(RETRY_PAUSE) => {}
        }
    }
}

async fn requests(core: &Core) -> Result<Consumer, broker::BrokerError> {
    core.broker.declare(&topology::chunks()).await?;
    core.broker.consume(topology::CHUNKS, ConsumeOptions { prefetch: PREFETCH, exclusive: false }).await
}

/// One stream from its opening to its end.
async fn take(core: &Core, delivery: Delivery, room: Arc<Semaphore>, lingering: Arc<Semaphore>) {
    let request = delivery.message.clone();
    let open = match Open::decode(&request.body) {
        Ok(open) => open,
        Err(error) => return delivery.reject(format!("it opens no stream of chunks: {error}")),
    };
    // Whoever asked asks again when no answer comes.
    delivery.ack();
    match begin(core, &open, room).await {
        Ok((consumer, permit, share)) => {
            let queue = topology::chunk_stream(open.stream_id).name;
            say(core, &request, &Answer::Opened { queue: queue.clone() });
            let (job, attempt, name) = (open.lease.job, open.lease.attempt, open.name.clone());
            match receive(core, open, consumer, (permit, share), &lingering).await {
                Ok(size) => info!(%job, attempt, name, size, "an artifact came over the broker"),
                Err(reason) => warn!(%job, attempt, name, reason, "an artifact over the broker came to nothing"),
            }
            let _ = core.broker.delete(&queue).await; // It goes with its consumer.
        }
        Err(answer) => say(core, &request, &answer),
    }
}

/// A queue for the stream, if it may come.
async fn begin(
    core: &Core,
    open: &Open,
    room: Arc<Semaphore>,
) -> Result<(Consumer, OwnedSemaphorePermit, Share), Answer> {
    let refused = |reason: String| Answer::Refused { stream_id: open.stream_id, reason, again: false };
    let later = |reason: String| Answer::Later { reason };
    if !open.is_genuine(&core.key.event_key(open.lease.job, open.lease.attempt)) {
        return Err(refused("it was not written by the holder of the job's lease".to_owned()));
    }
    check_name(&open.name).map_err(refused)?;
    still_runs(core, open).await?;
    let mut share = core.allowance.begin(open.lease.job, open.lease.attempt).map_err(|full| refused(full.detail))?;
    share.take(open.size).map_err(|full| refused(full.detail))?;
    core.room.check().map_err(|full| later(full.detail))?;
    let permit = room.try_acquire_owned().map_err(|_| later("other files are being taken: come again".to_owned()))?;
    let queue = topology::chunk_stream(open.stream_id);
    let consumer = async {
        core.broker.declare(&queue).await?;
        let prefetch = u16::try_from(4 * WINDOW).unwrap_or(u16::MAX);
        core.broker.consume(&queue.name, ConsumeOptions { prefetch, exclusive: true }).await
    };
    let consumer = consumer.await.map_err(|failure| later(failure.to_string()))?;
    Ok((consumer, permit, share))
}

async fn still_runs(core: &Core, open: &Open) -> Result<(), Answer> {
    let (stream_id, job, attempt) = (open.stream_id, open.lease.job, open.lease.attempt);
    match runs(core, job, attempt).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let reason = format!("attempt {attempt} of job {job} is not running any more");
            Err(Answer::Refused { stream_id, reason, again: false })
        }
        Err(rejection) if rejection.0.status == 404 => {
            Err(Answer::Refused { stream_id, reason: rejection.0.detail, again: false })
        }
        Err(rejection) => Err(Answer::Later { reason: rejection.0.detail }),
    }
}

/// Writes what comes, and answers. Gives the size of a file that is kept, or why there is none.
async fn receive(
    core: &Core,
    open: Open,
    mut chunks: Consumer,
    (permit, share): (OwnedSemaphorePermit, Share),
    lingering: &Semaphore,
) -> Result<u64, String> {
    let (artifact, stream_id, size) = (ArtifactId(Uuid::now_v7()), open.stream_id, open.size);
    let path = object_path(open.lease.job, artifact);
    let key = core.key.event_key(open.lease.job, open.lease.attempt);
    let upload = core.artifacts.put_multipart(&path).await.map_err(|failure| failed(&failure).detail)?;
    let mut writer = Some(WriteMultipart::new_with_chunk_size(upload, PART_BYTES));
    let mut assembly = Assembly::new(stream_id, key, size);
    let mut kept: Option<(Answer, SemaphorePermit<'_>)> = None;
    let (mut permit, mut share) = (Some(permit), Some(share));
    let (mut silences, mut asked_from) = (0, None);
    let mut last_request: Option<Incoming> = None;
    let failure = loop {
        let delivery = match timeout(CHUNK_PATIENCE, chunks.next()).await {
            Ok(Some(delivery)) => delivery,
            Ok(None) if kept.is_some() => return Ok(size),
            Ok(None) => break "the broker ended its queue".to_owned(),
            // Nobody asks any more: the word that it is kept has arrived.
            Err(_) if kept.is_some() => return Ok(size),
            // A request that was old already: its sender has gone elsewhere.
            Err(_) if last_request.is_none() => break "nobody sends its chunks".to_owned(),
            Err(_) if silences < SILENCES_MAX => {
                silences += 1;
                if let Some(request) = &last_request {
                    say(core, request, &Answer::Repeat { stream_id, from: assembly.next() });
                }
                continue;
            }
            Err(_) => break format!("nothing came any more behind chunk {}", assembly.next()),
        };
        let request = Incoming { body: Vec::new().into(), ..delivery.message.clone() };
        let chunk = Chunk::decode(&delivery.message.body);
        delivery.ack();
        silences = 0;
        if let Some((answer, _)) = &kept {
            say(core, &request, answer);
            continue;
        }
        let step = match chunk {
            Ok(chunk) => assembly.push(chunk).map_err(|spoiled| spoiled.to_string()),
            Err(error) => Err(format!("a chunk cannot be read: {error}")),
        };
        match step {
            Ok(Step::Pieces(pieces)) => {
                asked_from = None;
                if let Err(full) = core.room.check() {
                    say(core, &request, &Answer::Later { reason: full.detail.clone() });
                    break full.detail;
                }
                if let Err(problem) = write(&mut writer, pieces, assembly.sha256().is_some()).await {
                    say(core, &request, &Answer::Later { reason: problem.detail.clone() });
                    break problem.detail;
                }
                if let Some(sha256) = assembly.sha256() {
                    if let Err(answer) = still_runs(core, &open).await {
                        say(core, &request, &answer);
                        let _ = core.artifacts.delete(&path).await; // What stays is an orphan.
                        return Err("its attempt has ended meanwhile".to_owned());
                    }
                    if let Some(share) = share.take() {
                        share.keep();
                    }
                    let answer = Answer::Kept { stream_id, artifact, size, sha256: sha256.to_owned() };
                    say(core, &request, &answer);
                    // Nothing large is held any more.
                    permit.take();
                    let Ok(lingers) = lingering.try_acquire() else { return Ok(size) };
                    kept = Some((answer, lingers));
                } else {
                    say(core, &request, &Answer::Taken { stream_id, next: assembly.next() });
                }
            }
            Ok(Step::Doubled) => say(core, &request, &Answer::Taken { stream_id, next: assembly.next() }),
            Ok(Step::Early { from } | Step::TooEarly { from }) => {
                // Once for each gap: all that follow it come early. If the word is lost, silence asks again.
                if asked_from.replace(from) != Some(from) {
                    say(core, &request, &Answer::Repeat { stream_id, from });
                }
            }
            Err(reason) => {
                say(core, &request, &Answer::Refused { stream_id, reason: reason.clone(), again: true });
                break reason;
            }
        }
        last_request = Some(request);
    };
    if let Some(writer) = writer {
        let _ = writer.abort().await; // What cannot be removed now is an orphan.
    }
    Err(failure)
}

async fn write(writer: &mut Option<WriteMultipart>, pieces: Vec<Vec<u8>>, is_whole: bool) -> Result<(), Problem> {
    if let Some(writer) = writer {
        for piece in pieces {
            writer.wait_for_capacity(PARTS_AT_ONCE).await.map_err(|failure| failed(&failure))?;
            writer.put(piece.into());
        }
    }
    if is_whole && let Some(writer) = writer.take() {
        writer.finish().await.map_err(|failure| failed(&failure))?;
    }
    Ok(())
}

fn say(core: &Core, request: &Incoming, answer: &Answer) {
    // Text and numbers only: it cannot fail.
    rpc::answer(&*core.broker, request, serde_json::to_vec(answer).unwrap_or_default());
}
