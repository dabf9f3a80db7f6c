//! `GET /api/v1/builds/{id}/events`: a build's own topic as JSON, or live by Server-Sent Events. With `jobs=true` the live
//! answer carries the topics of its jobs too (from now on: what was before stands in `GET /jobs/{id}/log`). What came before
//! somebody listened and is recorded only now would be in neither: a `recorded` frame tells of it.

use std::{cmp::Ordering, collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, header},
    response::{
        IntoResponse as _, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use broker::{ConsumeOptions, Consumer, topology};
use futures_util::{Stream, StreamExt as _, stream};
use tracing::error;
use wire::{BuildId, EventMessage, GatewayMessage, Position, Problem, ServerFrame, Topic, event::Recorded};

use crate::{
    core::Core,
    http::{
        builds::pairs,
        parameters::Path,
        problem::{Answer, header_text, parse},
        who::{Shown, Who},
    },
    queries::{self, store_problem},
};

/// Events in one JSON answer, and in one read of the record.
const EVENTS_MAX: u32 = 1000;
/// A comment keeps a silent connection open, and tells a client that it is.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /builds/{id}/events?after=<offset>`; `Accept: text/event-stream` makes it live, `Last-Event-ID` resumes either.
pub(crate) async fn list(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    shown: Shown,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer<Response> {
    let id: BuildId = parse("The build's id", &id)?;
    let view = queries::build(&core, &who, id).await?;
    let (mut after, mut jobs) = (None, false);
    for (name, value) in pairs(query.as_deref().unwrap_or_default()) {
        match name {
            "after" if value.is_empty() => {}
            "after" => after = Some(parse("`after`", value)?),
            "jobs" => jobs = parse("`jobs`", value)?,
            other => {
                let sentence = format!("`{other}` is not known here: use after, jobs.");
                return Err(Problem::new(400, "Invalid parameter", sentence).into());
            }
        }
    }
    if let Some(last) = header_text(&headers, "last-event-id")? {
        after = resumes(last, view.position.epoch)?;
    }
    let wants = |name, text: &str| {
        headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok()).is_some_and(|v| v.contains(text))
    };
    if !wants(header::ACCEPT, "text/event-stream") {
        let events = core.store.build_events(id, after, EVENTS_MAX).await.map_err(store_problem)?;
        return Ok(Json(events).into_response());
    }
    let mut topics = vec![Topic::Build(id)];
    if jobs {
        topics.extend(view.jobs.iter().map(|job| Topic::Job(job.id)));
    }
    let consumer = bind(&core, &topics).await?;
    // They end with the authority of who asked.
    let held = shown.hold(&core, &who);
    let ended = held.ended.clone();
    let reading = Reading { core, id, topics, last: after, begun: Begun::default(), consumer };
    let stream = events(reading).take_until(ended.cancelled_owned()).inspect(move |_| {
        let _ = &held; // It is held as long as the stream is there.
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// The id of an event of the build's own topic: its offset, and behind a restore its epoch before that.
fn id_of(position: wire::Position) -> String {
    match position.epoch {
        ..=1 => position.offset.to_string(),
        epoch => format!("{epoch}-{}", position.offset),
    }
}

/// Where a reader goes on who has had the event of this id: from the beginning if that was of another epoch, for the
/// offsets of one say nothing in another.
fn resumes(last: &str, present: u32) -> Answer<Option<u64>> {
    let (epoch, offset) = last.split_once('-').unwrap_or(("1", last));
    let (epoch, offset): (u32, u64) = (parse("`Last-Event-ID`", epoch)?, parse("`Last-Event-ID`", offset)?);
    Ok((epoch == present).then_some(offset))
}

/// A queue of this request's own, bound before the record is read: nothing falls between.
async fn bind(core: &Core, topics: &[Topic]) -> Answer<Consumer> {
    let mut queue = topology::watch(&core.instance);
    queue.bindings = topics.iter().map(Topic::to_string).collect();
    let bound = async {
        core.broker.declare(&queue).await?;
        core.broker.consume(&queue.name, ConsumeOptions { prefetch: 1000, exclusive: true }).await
    };
    bound.await.map_err(|failure: broker::BrokerError| {
        error!(%failure, "a watch queue cannot be had");
        Problem::new(503, "Broker unavailable", "Live events cannot be had now; try again in a moment.").into()
    })
}

/// Where jobs' topics began for who listens: the first event of the present attempt that was passed on, and whether it is told
/// that all before it is recorded.
#[derive(Default)]
struct Begun(HashMap<Topic, (Position, bool)>);

impl Begun {
    fn event(&mut self, topic: Topic, at: Position) {
        // Before the first one of an attempt there is none.
        let begun = (at, at.offset == 0);
        let known = self.0.entry(topic).or_insert(begun);
        if known.0.epoch < at.epoch {
            *known = begun;
        }
    }

    /// Whether the record may hold now what was published before somebody listened.
    fn lacks(&mut self, recorded: &Recorded) -> bool {
        let Some(offset) = recorded.offset else { return false };
        match self.0.get_mut(&recorded.topic) {
            None => true,
            Some((first, is_told)) if first.epoch == recorded.epoch && !*is_told => {
                *is_told = offset + 1 >= first.offset;
                true
            }
            Some(_) => false,
        }
    }
}

/// A place in a build's topic that moves on.
struct Reading {
    core: Arc<Core>,
    id: BuildId,
    /// What was asked for: whoever may publish chooses the key by which it comes here.
    topics: Vec<Topic>,
    last: Option<u64>,
    begun: Begun,
    consumer: Consumer,
}

impl Reading {
    /// What the record holds behind the last event given.
    async fn catch_up(&mut self) -> Vec<sse::Event> {
        let read = self.core.store.build_events(self.id, self.last, EVENTS_MAX).await;
        let events = read.unwrap_or_else(|failure| {
            error!(%failure, "the record of a build cannot be read; its watcher reads again at the next event");
            Vec::new()
        });
        self.last = events.last().map_or(self.last, |event| Some(event.offset));
        events.iter().map(frame).collect()
    }

    /// What comes next; none when the queue is gone: the client comes back with `Last-Event-ID`.
    async fn next(&mut self) -> Option<Vec<sse::Event>> {
        loop {
            let delivery = self.consumer.next().await?;
            let decoded = GatewayMessage::decode(&delivery.message.body);
            delivery.ack();
            let frames = match decoded {
                // The recorder tells people of those that are forged.
                Ok(GatewayMessage::Event(message))
                    if !self.topics.contains(&message.topic) || !self.core.key.verify_event(&message) =>
                {
                    Vec::new()
                }
                Ok(GatewayMessage::Event(message)) => match message.topic {
                    Topic::Job(_) => {
                        self.begun.event(message.topic, message.position());
                        vec![frame(&message)]
                    }
                    Topic::Build(_) => match message.offset.cmp(&self.last.map_or(0, |last| last + 1)) {
                        Ordering::Less => Vec::new(),
                        Ordering::Equal => {
                            self.last = Some(message.offset);
                            vec![frame(&message)]
                        }
                        // What is missing was published before we bound: the record has it, or tells when it has.
                        Ordering::Greater => self.catch_up().await,
                    },
                },
                Ok(GatewayMessage::Recorded(recorded)) if recorded.topic == Topic::Build(self.id) => {
                    self.catch_up().await
                }
                Ok(GatewayMessage::Recorded(recorded))
                    if self.topics.contains(&recorded.topic) && self.begun.lacks(&recorded) =>
                {
                    let text = serde_json::to_string(&ServerFrame::Recorded(recorded)).unwrap_or_default();
                    vec![sse::Event::default().data(text)]
                }
                _ => Vec::new(),
            };
            if !frames.is_empty() {
                return Some(frames);
            }
        }
    }
}

/// The record first, then what comes; of the build's own topic each event once, without a hole.
fn events(reading: Reading) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let ready = stream::once(async { Ok(sse::Event::default().comment("bound")) });
    let batches = stream::unfold((reading, true), |(mut reading, mut from_record)| async move {
        if from_record {
            let frames = reading.catch_up().await;
            from_record = frames.len() == EVENTS_MAX as usize;
            return Some((frames, (reading, from_record)));
        }
        let frames = reading.next().await?;
        Some((frames, (reading, false)))
    });
    ready.chain(batches.flat_map(|frames| stream::iter(frames.into_iter().map(Ok))))
}

/// The frame of the socket, as an event of the stream; only the build's own topic has ids to resume by.
fn frame(message: &EventMessage) -> sse::Event {
    let text = wire::frame::event_frame(message.topic, message.position(), message.at, &message.event);
    let event = sse::Event::default().data(text);
    match message.topic {
        Topic::Build(_) => event.id(id_of(message.position())),
        Topic::Job(_) => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Position;

    #[test]
    fn p3_who_listens_is_told_until_all_that_came_before_is_recorded() {
        let topic = Topic::Job(wire::JobId(uuid::Uuid::nil()));
        let hint = |epoch, offset| Recorded { topic, epoch, offset: Some(offset), sealed: false };
        let mut begun = Begun::default();
        assert!(begun.lacks(&hint(1, 3)), "nothing came yet");
        begun.event(topic, Position { epoch: 1, offset: 100 });
        begun.event(topic, Position { epoch: 1, offset: 101 });
        assert!(begun.lacks(&hint(1, 10)), "though a later one was passed on");
        assert!(begun.lacks(&hint(1, 99)));
        assert!(!begun.lacks(&hint(1, 105)), "what is live is told by itself");
        begun.event(topic, Position { epoch: 2, offset: 0 });
        assert!(!begun.lacks(&hint(1, 110)) && !begun.lacks(&hint(2, 0)));
        assert!(!Begun::default().lacks(&Recorded { offset: None, ..hint(1, 0) }));
    }

    #[test]
    fn p3_an_id_resumes_in_its_own_epoch_only() {
        assert_eq!(id_of(Position { epoch: 1, offset: 7 }), "7");
        assert_eq!(id_of(Position { epoch: 900, offset: 7 }), "900-7");
        assert!(matches!(resumes("7", 1), Ok(Some(7))));
        assert!(matches!(resumes("900-7", 900), Ok(Some(7))));
        assert!(matches!(resumes("7", 900), Ok(None)) && matches!(resumes("900-7", 901), Ok(None)));
        assert!(resumes("x", 1).is_err() && resumes("1-", 1).is_err());
    }
}
