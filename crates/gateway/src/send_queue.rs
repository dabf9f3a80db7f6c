//! The bounded way to one client. Whoever has something for it puts it here and goes on; one writer takes it out, as
//! fast as the client reads (P6).
//!
//! When a frame does not fit, the topic with the most log bytes in the queue is turned into a gap: its frames, from its
//! first log frame on, give way to one `resumed` frame that names what must be read from the record instead. That is
//! repeated for the next topic while it helps. Only then the socket is closed with a code that means come back.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wire::{
    CloseCode, Position, Topic,
    frame::{ResumeOutcome, Resumed},
};

use crate::{Limits, frames, send_room::SendRoom};

/// What a waiting frame costs beside its text, in bytes.
const ITEM_OVERHEAD_BYTES: usize = 64;

/// What a frame is, as far as the queue must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Never taken away.
    Plain,
    /// An event of a topic.
    Event {
        topic: Topic,
        position: Position,
        log: bool,
    },
    Resumed(Resumed),
    /// The record of a topic moved on: a later hint of the same epoch takes its place.
    Hint(Topic, u32),
    /// What is new of a live query: the whole result takes the place of what still waits.
    Result(String),
}

/// What the writer does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Text(Arc<str>),
    Close(CloseCode, String),
}

struct Item {
    text: Arc<str>,
    tag: Tag,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    /// Of these, what the room knows.
    told: usize,
    close: Option<(CloseCode, String)>,
}

/// See the module.
pub(crate) struct SendQueue {
    // A std mutex: held for a queue operation, never across an await.
    state: Mutex<State>,
    ready: Notify,
    closing: CancellationToken,
    frames_max: usize,
    bytes_max: usize,
    /// What all sockets of the worker share.
    room: Arc<SendRoom>,
}

impl SendQueue {
    /// Of a socket among others: what waits for it is counted in `room`.
    pub(crate) fn new(limits: &Limits, room: Arc<SendRoom>) -> Self {
        Self {
            state: Mutex::default(),
            ready: Notify::new(),
            closing: CancellationToken::new(),
            frames_max: limits.send_queue_frames_max.max(1),
            bytes_max: limits.send_queue_bytes_max,
            room,
        }
    }

    /// Puts a frame at the end. On a socket that is being closed nothing happens.
    pub(crate) fn push(&self, text: Arc<str>, tag: Tag) {
        let mut state = self.lock();
        if matches!(tag, Tag::Hint(..)) {
            state.remove(&tag);
        }
        self.put(state, Item { text, tag });
    }

    /// Puts what is new of a live query at the end: the `change`, or the whole result where there is none, or where what the
    /// change continues was not written yet and gives way.
    pub(crate) fn push_result(&self, id: &str, change: Option<Arc<str>>, whole: impl FnOnce() -> Arc<str>) {
        let tag = Tag::Result(id.to_owned());
        let mut state = self.lock();
        let gave_way = state.remove(&tag);
        let text = change.filter(|_| !gave_way).unwrap_or_else(whole);
        self.put(state, Item { text, tag });
    }

    fn put(&self, mut state: MutexGuard<'_, State>, item: Item) {
        if state.close.is_some() {
            return;
        }
        let bytes_max = self.bytes_max.min(self.room.of_one());
        if !state.make_room(&item, self.frames_max, bytes_max) {
            drop(state);
            self.close(CloseCode::Slow, "this client reads too slowly: come back and resume");
            return;
        }
        state.put(item);
        self.tell_room(&mut state);
        drop(state);
        self.ready.notify_one();
    }

    /// A frame that is not about a topic.
    pub(crate) fn push_plain(&self, text: Arc<str>) {
        self.push(text, Tag::Plain);
    }

    /// Closes the socket; what waits is dropped, the client gets it when it comes back. The first reason stands.
    pub(crate) fn close(&self, code: CloseCode, reason: impl Into<String>) {
        self.end(code, reason.into(), true);
    }

    /// Closes the socket after what waits.
    pub(crate) fn finish(&self, code: CloseCode, reason: impl Into<String>) {
        self.end(code, reason.into(), false);
    }

    fn end(&self, code: CloseCode, reason: String, drop_waiting: bool) {
        let mut state = self.lock();
        if state.close.is_none() {
            state.close = Some((code, reason));
        }
        if drop_waiting {
            state.items.clear();
            state.bytes = 0;
            self.tell_room(&mut state);
        }
        drop(state);
        self.closing.cancel();
        self.ready.notify_one();
    }

    /// Cancelled when the socket is to be closed.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// What is there to be written now.
    pub(crate) fn try_next(&self) -> Option<Next> {
        let mut state = self.lock();
        if let Some(item) = state.items.pop_front() {
            state.bytes -= cost(&item);
            self.tell_room(&mut state);
            return Some(Next::Text(item.text));
        }
        state.close.clone().map(|(code, reason)| Next::Close(code, reason))
    }

    /// Resolves when there may be something to write. For one waiter.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// After every change of what waits.
    fn tell_room(&self, state: &mut State) {
        self.room.changed(state.told, state.bytes);
        state.told = state.bytes;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        let told = self.lock().told;
        self.room.changed(told, 0);
    }
}

impl State {
    fn put(&mut self, item: Item) {
        self.bytes += cost(&item);
        self.items.push_back(item);
    }

    /// Takes what is tagged so out. Whether there was any.
    fn remove(&mut self, tag: &Tag) -> bool {
        let found = self.items.iter().position(|item| item.tag == *tag);
        let removed = found.and_then(|place| self.items.remove(place));
        self.bytes -= removed.as_ref().map_or(0, cost);
        removed.is_some()
    }

    /// Whether `item` fits, after as many topics were turned into gaps as it takes.
    fn make_room(&mut self, item: &Item, frames_max: usize, bytes_max: usize) -> bool {
        let is_full = |state: &Self| {
            let too_many = state.items.len() >= frames_max;
            too_many || (!state.items.is_empty() && state.bytes + cost(item) > bytes_max)
        };
        while is_full(self) {
            // Each round leaves one topic without log frames, so this ends.
            let Some(topic) = self.busiest_log() else { return false };
            self.collapse(topic);
        }
        true
    }

    fn busiest_log(&self) -> Option<Topic> {
        let mut bytes: HashMap<Topic, usize> = HashMap::new();
        for item in &self.items {
            if let Tag::Event { topic, log: true, .. } = item.tag {
                *bytes.entry(topic).or_default() += cost(item);
            }
        }
        bytes.into_iter().max_by_key(|(topic, bytes)| (*bytes, *topic)).map(|(topic, _)| topic)
    }

    /// Replaces what waits of a topic, from its first log frame or gap on, by one gap. Hints stay: they do no harm.
    fn collapse(&mut self, topic: Topic) {
        let begins = |item: &Item| match &item.tag {
            Tag::Event { topic: of, log, .. } => *of == topic && *log,
            Tag::Resumed(resumed) => resumed.topic == topic && resumed.outcome == ResumeOutcome::Gap,
            _ => false,
        };
        let Some(place) = self.items.iter().position(begins) else { return };
        let mut gap: Option<Resumed> = None;
        let mut later = self.items.split_off(place);
        later.retain(|item| {
            let (epoch, from, to) = match &item.tag {
                Tag::Event { topic: of, position, .. } if *of == topic => {
                    (position.epoch, position.offset, Some(position.offset))
                }
                Tag::Resumed(resumed) if resumed.topic == topic => (resumed.epoch, resumed.from, resumed.to),
                _ => return true,
            };
            gap = Some(widen(gap, Resumed { topic, outcome: ResumeOutcome::Gap, epoch, from, to }));
            false
        });
        if let Some(gap) = gap {
            later.push_front(Item { text: frames::resumed(gap), tag: Tag::Resumed(gap) });
        }
        self.items.append(&mut later);
        self.bytes = self.items.iter().map(cost).sum();
    }
}

/// The gap that covers both. In a newer epoch it begins at 0: nothing tells that the reader has any of it.
fn widen(gap: Option<Resumed>, more: Resumed) -> Resumed {
    match gap {
        None => more,
        Some(gap) if more.epoch > gap.epoch => Resumed { from: 0, ..more },
        Some(gap) if more.epoch < gap.epoch => gap,
        Some(gap) => Resumed { from: gap.from.min(more.from), to: gap.to.max(more.to), ..gap },
    }
}

fn cost(item: &Item) -> usize {
    item.text.len() + ITEM_OVERHEAD_BYTES
}

#[cfg(test)]
#[path = "send_queue_tests.rs"]
mod tests;
