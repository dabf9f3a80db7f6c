//! Which events the record takes: last + 1 of a topic's epoch, until the epoch is sealed (P3, P5). Pure; the recorder's
//! transaction reads a standing, moves it by this rule and writes it back with the effect.

use wire::{Event, JobId};

/// How far one epoch of a topic is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The last offset recorded.
    pub last: Option<u64>,
    /// The offset with which its writer said that it ends, until that is reached.
    pub until: Option<u64>,
    /// Nothing will ever be recorded behind `last`.
    pub sealed: bool,
    /// The group has lost its place in the stream: what comes next is taken though others before it are missing.
    pub may_skip: bool,
    /// Events that will never be recorded.
    pub skipped: u64,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the next one: its effect is written.
    Next,
    /// It is recorded already.
    Repeat,
    /// The record of its attempt is sealed.
    Sealed,
    /// Others before it are missing.
    Hole {
        /// The one that comes next.
        next: u64,
    },
}

/// What an event of a build says of the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Its holder is gone: what is recorded so far is all.
    Closed,
    /// It is complete with this offset, or said nothing.
    Finished(Option<u64>),
}

/// The end that an event of a build tells of, if it does.
#[must_use]
pub fn end(event: &Event) -> Option<End> {
    match event {
        Event::AttemptClosed { job, attempt } => Some(End { job: *job, attempt: *attempt, how: How::Closed }),
        Event::JobFinished { job, attempt, last_offset, .. } if *attempt > 0 => {
            Some(End { job: *job, attempt: *attempt, how: How::Finished(*last_offset) })
        }
        _ => None,
    }
}

impl Standing {
    /// An event at `offset` comes.
    pub fn take(&mut self, offset: u64) -> Taken {
        if self.last.is_some_and(|last| offset <= last) {
            return Taken::Repeat;
        }
        if self.sealed {
            return Taken::Sealed;
        }
        let next = self.last.map_or(0, |last| last.saturating_add(1));
        if offset > next && !self.may_skip {
            return Taken::Hole { next };
        }
        self.skip(offset - next);
        self.last = Some(offset);
        self.sealed = self.until.is_some_and(|until| offset >= until);
        Taken::Next
    }

    /// The end of the epoch is told. Whether that changed anything.
    pub fn end(&mut self, end: &End) -> bool {
        if self.sealed {
            return false;
        }
        match (end.how, self.until) {
            // A job that waited for its next attempt was cancelled: nothing is new of this one, which is complete at the
            // offset that its holder gave.
            (How::Finished(None), Some(_)) => return false,
            (How::Finished(Some(until)), _) if self.last.is_none_or(|last| last < until) => {
                self.until = Some(until);
                // Its writer had told of all before it told of its end, so what is missing now does not come any more.
                if self.may_skip {
                    self.skip(until - self.last.map_or(0, |last| last.saturating_add(1)) + 1);
                    self.sealed = true;
                }
            }
            _ => self.sealed = true,
        }
        true
    }

    fn skip(&mut self, events: u64) {
        self.skipped += events;
        self.may_skip = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use wire::Outcome;

    const JOB: JobId = JobId(Uuid::from_u128(1));

    fn finished(last_offset: Option<u64>) -> End {
        let event = Event::JobFinished { job: JOB, attempt: 1, outcome: Outcome::Succeeded, last_offset, reason: None };
        end(&event).unwrap()
    }

    #[test]
    fn p5_only_the_next_event_of_an_epoch_is_taken() {
        let mut standing = Standing::default();
        assert_eq!(standing.take(1), Taken::Hole { next: 0 });
        assert_eq!([standing.take(0), standing.take(0), standing.take(1)], [Taken::Next, Taken::Repeat, Taken::Next]);
        assert_eq!(standing.take(3), Taken::Hole { next: 2 });
    }

    #[test]
    fn p3_where_the_stream_has_lost_events_the_next_one_is_taken_once_and_the_loss_is_counted() {
        let lost = Standing { last: Some(2), may_skip: true, ..Standing::default() };
        let mut standing = lost;
        assert_eq!(
            [standing.take(2), standing.take(7), standing.take(9)],
            [Taken::Repeat, Taken::Next, Taken::Hole { next: 8 }]
        );
        assert_eq!((standing.skipped, standing.may_skip), (4, false));
        let mut whole = lost;
        assert_eq!([whole.take(3), whole.take(5)], [Taken::Next, Taken::Hole { next: 4 }]);
        assert_eq!(whole.skipped, 0);
        let (mut tail, mut all) = (lost, Standing { last: None, ..lost });
        assert!(tail.end(&finished(Some(9))) && tail.sealed);
        assert!(all.end(&finished(Some(9))) && all.sealed);
        assert_eq!((tail.skipped, all.skipped), (7, 10));
        assert_eq!((tail.take(3), tail.last), (Taken::Sealed, Some(2)));
    }

    #[test]
    fn p3_a_closed_attempt_takes_nothing_more_and_a_finished_one_takes_what_it_has_promised() {
        let mut closed = Standing::default();
        closed.take(0);
        assert!(closed.end(&end(&Event::AttemptClosed { job: JOB, attempt: 1 }).unwrap()));
        assert_eq!([closed.take(1), closed.take(0)], [Taken::Sealed, Taken::Repeat]);
        let mut standing = Standing::default();
        assert!(standing.end(&finished(Some(1))) && !standing.sealed);
        assert!(!standing.end(&finished(None)), "it was cancelled while it waited for its next attempt");
        assert_eq!([standing.take(0), standing.take(1), standing.take(2)], [Taken::Next, Taken::Next, Taken::Sealed]);
        let never_ran =
            Event::JobFinished { job: JOB, attempt: 0, outcome: Outcome::Cancelled, last_offset: None, reason: None };
        assert_eq!(end(&never_ran), None);
    }
}
