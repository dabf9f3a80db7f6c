//! Where a reader stands in one epoch of one topic, and whether what it gets is what was printed: each line once and in
//! order. Pure; `watcher.rs` and `verify.rs` feed it.

use std::collections::BTreeMap;

use wire::{LogLine, frame::EventFrame};

/// At most so many events wait for the record; with more, all are read from there.
const ASIDE_MAX: usize = 2_000;

/// The lines of an attempt, as far as a reader has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    /// The number of the next line.
    pub(crate) next: u64,
    /// The last one has no end yet: it may come again.
    open: bool,
    /// How many lines each step has printed.
    pub(crate) steps: BTreeMap<u32, u64>,
}

impl Lines {
    /// Takes the next line; a sentence if it is not the one that must come.
    pub(crate) fn take(&mut self, step: u32, line: &LogLine) -> Result<(), String> {
        let again = self.open && line.n + 1 == self.next;
        if !again {
            if line.n != self.next {
                return Err(format!("line {} came where line {} must", line.n, self.next));
            }
            if self.open {
                return Err(format!("line {} came, and the one before it has no end", line.n));
            }
            self.next += 1;
        }
        self.open = line.open;
        if line.open {
            return Ok(());
        }
        let printed = self.steps.entry(step).or_default();
        let must = format!("line {step} {printed}");
        if line.text != must {
            return Err(format!("line {} is {:?} and must be {must:?}", line.n, line.text));
        }
        *printed += 1;
        Ok(())
    }

    /// The line to read on from: a last one without an end is read again.
    pub(crate) fn from(&self) -> u64 {
        self.next - u64::from(self.open)
    }

    /// Whether this line is known already.
    pub(crate) fn has(&self, line: &LogLine) -> bool {
        line.n < self.next && !(self.open && line.n + 1 == self.next)
    }
}

/// What became of an event that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It was the next one, perhaps with others that had waited.
    Taken,
    /// It is known.
    Known,
    /// Events are missing before it: it waits.
    Waits,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Track {
    /// The next offset.
    pub(crate) next: u64,
    pub(crate) lines: Lines,
    /// The last offset that is known to be there.
    pub(crate) must: Option<u64>,
    /// The record is to be read to its end, wherever that is.
    pub(crate) to_the_end: bool,
    /// It is being read.
    pub(crate) reading: bool,
    aside: BTreeMap<u64, EventFrame>,
}

impl Track {
    /// Takes an event in; gives those to be applied now, in order.
    pub(crate) fn offer(&mut self, event: EventFrame) -> (Offer, Vec<EventFrame>) {
        if event.offset < self.next {
            return (Offer::Known, Vec::new());
        }
        if event.offset > self.next {
            self.must = self.must.max(Some(event.offset - 1));
            if self.aside.len() < ASIDE_MAX {
                self.aside.insert(event.offset, event);
            } else {
                self.must = self.must.max(Some(event.offset));
            }
            return (Offer::Waits, Vec::new());
        }
        self.next += 1;
        let mut ready = vec![event];
        ready.extend(self.ready());
        (Offer::Taken, ready)
    }

    /// The record has been applied up to `offset`; gives those events that had waited and follow.
    pub(crate) fn reached(&mut self, offset: u64) -> Vec<EventFrame> {
        self.next = self.next.max(offset + 1);
        self.ready()
    }

    fn ready(&mut self) -> Vec<EventFrame> {
        let mut ready = Vec::new();
        while let Some(first) = self.aside.first_entry() {
            if *first.key() > self.next {
                break;
            }
            let event = first.remove();
            if event.offset == self.next {
                self.next += 1;
                ready.push(event);
            }
        }
        ready
    }

    /// Whether the record must be read.
    pub(crate) fn wants(&self) -> bool {
        self.to_the_end || self.must.is_some_and(|must| must >= self.next)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use wire::{BuildId, Event, Timestamp, Topic};

    use super::*;

    fn line(n: u64, text: &str, open: bool) -> LogLine {
        LogLine { n, t: Timestamp(0), text: text.to_owned(), open, split: false, err: false, note: false }
    }

    fn event(offset: u64) -> EventFrame {
        let topic = Topic::Build(BuildId(Uuid::nil()));
        EventFrame { topic, epoch: 1, offset, at: Timestamp(0), event: Event::BuildStarted {} }
    }

    #[test]
    fn lines_come_once_and_in_order_and_an_open_one_comes_again() {
        let mut lines = Lines::default();
        lines.take(0, &line(0, "line 0 0", false)).unwrap();
        lines.take(0, &line(1, "line 0", true)).unwrap();
        assert_eq!((lines.next, lines.from()), (2, 1));
        lines.take(0, &line(1, "line 0 1", false)).unwrap();
        lines.take(1, &line(2, "line 1 0", false)).unwrap();
        assert_eq!(lines.steps, BTreeMap::from([(0, 2), (1, 1)]));
        assert!(lines.clone().take(1, &line(2, "line 1 0", false)).is_err(), "a line twice");
        assert!(lines.clone().take(1, &line(4, "line 1 1", false)).is_err(), "a line is missing");
        assert!(lines.clone().take(1, &line(3, "line 1 2", false)).is_err(), "a text is missing");
    }

    #[test]
    fn events_beyond_a_hole_wait_for_the_record() {
        let mut track = Track::default();
        assert_eq!(track.offer(event(0)).0, Offer::Taken);
        assert_eq!(track.offer(event(0)).0, Offer::Known);
        assert_eq!(track.offer(event(3)).0, Offer::Waits);
        assert!(track.wants() && track.must == Some(2));
        let ready = track.reached(2);
        assert_eq!((ready.len(), track.next, track.wants()), (1, 4, false));
    }
}
