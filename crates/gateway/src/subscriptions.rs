//! Who reads which topic at one worker: those who watch it, and clients that its events are addressed to. One entry for
//! each socket, so that nobody gets an event twice for two reasons. Bindings are counted in [`crate::bindings`].

use std::collections::{HashMap, HashSet};

use wire::{Position, Topic};

use crate::{replay::late, socket::SocketId};

/// How one socket reads one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reader {
    /// It watches: it holds the topic's key.
    pub(crate) watches: bool,
    /// Its subscription is not answered yet; what comes meanwhile follows the answer, from the replay.
    pub(crate) pending: bool,
    /// Nothing is to reach it: it unsubscribed, or may not see the topic.
    pub(crate) muted: bool,
    /// The newest event that it was sent or told of.
    pub(crate) seen: Option<Position>,
    /// The last one of the epoch before. The queue may give its events again when the replay knows nothing of them any more.
    pub(crate) former: Option<Position>,
}

impl Reader {
    /// Whether an event at `position` is to be sent; if so it counts as seen.
    pub(crate) fn takes(&mut self, position: Position) -> bool {
        if self.pending || self.muted {
            return false;
        }
        match self.seen {
            Some(seen) if seen.epoch > position.epoch => late(&mut self.former, position),
            Some(seen) if seen.epoch == position.epoch && position.offset <= seen.offset => false,
            _ => {
                self.has_seen(position);
                true
            }
        }
    }

    /// It was sent or told of everything up to here, and nothing beyond.
    pub(crate) fn has_seen(&mut self, position: Position) {
        if let Some(seen) = self.seen.filter(|seen| seen.epoch < position.epoch) {
            self.former = Some(seen);
        }
        self.seen = Some(position);
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Subscriptions {
    topics: HashMap<Topic, HashMap<SocketId, Reader>>,
    sockets: HashMap<SocketId, HashSet<Topic>>,
}

impl Subscriptions {
    /// The entry of a socket, if it has one.
    pub(crate) fn get(&mut self, topic: Topic, socket: SocketId) -> Option<&mut Reader> {
        self.topics.get_mut(&topic)?.get_mut(&socket)
    }

    /// Makes or replaces the entry of a socket.
    pub(crate) fn put(&mut self, topic: Topic, socket: SocketId, reader: Reader) {
        self.topics.entry(topic).or_default().insert(socket, reader);
        self.sockets.entry(socket).or_default().insert(topic);
    }

    /// Takes the entry of a socket away.
    pub(crate) fn remove(&mut self, topic: Topic, socket: SocketId) -> Option<Reader> {
        let readers = self.topics.get_mut(&topic)?;
        let reader = readers.remove(&socket);
        if readers.is_empty() {
            self.topics.remove(&topic);
        }
        if let Some(topics) = self.sockets.get_mut(&socket) {
            topics.remove(&topic);
            if topics.is_empty() {
                self.sockets.remove(&socket);
            }
        }
        reader
    }

    /// Takes a socket away; the topics that it watched.
    pub(crate) fn remove_socket(&mut self, socket: SocketId) -> Vec<Topic> {
        let topics: Vec<Topic> = self.sockets.get(&socket).into_iter().flatten().copied().collect();
        let watched = |topic: &Topic| self.remove(*topic, socket).is_some_and(|reader| reader.watches);
        topics.into_iter().filter(watched).collect()
    }

    /// Everybody who reads a topic.
    pub(crate) fn readers(&mut self, topic: Topic) -> impl Iterator<Item = (SocketId, &mut Reader)> {
        self.topics.get_mut(&topic).into_iter().flatten().map(|(socket, reader)| (*socket, reader))
    }

    /// How many topics a socket watches.
    pub(crate) fn watched_by(&self, socket: SocketId) -> usize {
        let topics = self.sockets.get(&socket).into_iter().flatten();
        topics.filter(|topic| self.topics.get(topic).and_then(|r| r.get(&socket)).is_some_and(|r| r.watches)).count()
    }

    /// All topics that somebody reads.
    pub(crate) fn topics(&self) -> impl Iterator<Item = Topic> {
        self.topics.keys().copied()
    }

    /// How many topics somebody reads.
    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use wire::JobId;

    #[test]
    fn a_reader_takes_each_event_once_and_the_last_words_of_an_older_epoch() {
        let mut reader = Reader::default();
        assert!(reader.takes(Position { epoch: 1, offset: 0 }));
        assert!(!reader.takes(Position { epoch: 1, offset: 0 }));
        assert!(reader.takes(Position { epoch: 2, offset: 0 }));
        assert!(reader.takes(Position { epoch: 1, offset: 1 }));
        assert!(!reader.takes(Position { epoch: 1, offset: 1 }), "its queue gave it again");
        assert!(!reader.takes(Position { epoch: 1, offset: 0 }));
        assert_eq!(reader.seen, Some(Position { epoch: 2, offset: 0 }));
        reader.has_seen(Position { epoch: 3, offset: 4 });
        assert!(!reader.takes(Position { epoch: 2, offset: 0 }) && !reader.takes(Position { epoch: 3, offset: 4 }));
        assert!(reader.takes(Position { epoch: 2, offset: 1 }) && reader.takes(Position { epoch: 3, offset: 5 }));
        reader.muted = true;
        assert!(!reader.takes(Position { epoch: 3, offset: 6 }));
    }

    #[test]
    fn a_socket_that_goes_leaves_nothing_and_names_what_it_watched() {
        let (watched, addressed) = (Topic::Job(JobId(Uuid::from_u128(1))), Topic::Job(JobId(Uuid::from_u128(2))));
        let mut subscriptions = Subscriptions::default();
        subscriptions.put(watched, SocketId(1), Reader { watches: true, ..Reader::default() });
        subscriptions.put(addressed, SocketId(1), Reader::default());
        assert_eq!(subscriptions.watched_by(SocketId(1)), 1);
        assert_eq!(subscriptions.remove_socket(SocketId(1)), [watched]);
        assert_eq!((subscriptions.len(), subscriptions.sockets.len()), (0, 0));
    }
}
