//! Log events that this page has shown and that the record has not confirmed yet, of every attempt and job that it had
//! open. Pure. Once the record of an attempt is sealed, what lies beyond its end was seen but never recorded (P3).

use std::collections::VecDeque;

use wire::{JobId, Position};

/// At most so many log events of an attempt are remembered as not yet recorded; older ones are taken for recorded.
pub const UNRECORDED_MAX: usize = 4_096;
/// At most so many attempts are remembered; the one that was opened first is forgotten first.
pub const ATTEMPTS_MAX: usize = 16;

/// A log event that the record has not confirmed yet.
#[derive(Clone, Copy, Debug)]
struct Shown {
    offset: u64,
    first: u64,
    last: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Unrecorded {
    /// By job and attempt, in the order in which they were opened; their events in the order of their offsets.
    attempts: Vec<((JobId, u32), VecDeque<Shown>)>,
}

impl Unrecorded {
    /// Lines `first` to `last` were shown by the event at `position` of the job's topic.
    pub fn shown(&mut self, job: JobId, position: Position, first: u64, last: u64) {
        let attempt = (job, position.epoch);
        let place = self.place(attempt).unwrap_or_else(|| {
            if self.attempts.len() >= ATTEMPTS_MAX {
                self.attempts.remove(0);
            }
            self.attempts.push((attempt, VecDeque::new()));
            self.attempts.len() - 1
        });
        let shown = &mut self.attempts[place].1;
        shown.push_back(Shown { offset: position.offset, first, last });
        if shown.len() > UNRECORDED_MAX {
            shown.pop_front();
        }
    }

    /// The record of an attempt reaches `offset`.
    pub fn recorded(&mut self, job: JobId, attempt: u32, offset: u64) {
        let Some(place) = self.place((job, attempt)) else { return };
        let shown = &mut self.attempts[place].1;
        shown.drain(..shown.partition_point(|shown| shown.offset <= offset));
        if shown.is_empty() {
            self.attempts.remove(place);
        }
    }

    /// The record of an attempt ends with `last`, or is empty. Gives back the first and the last line that it lacks.
    pub fn seal(&mut self, job: JobId, attempt: u32, last: Option<u64>) -> Option<(u64, u64)> {
        if let Some(last) = last {
            self.recorded(job, attempt, last);
        }
        let (_, shown) = self.attempts.remove(self.place((job, attempt))?);
        shown.into_iter().map(|shown| (shown.first, shown.last)).reduce(widen)
    }

    /// An attempt of which something is not settled, other than the one that is `followed`.
    #[must_use]
    pub fn unsettled(&self, followed: Option<(JobId, u32)>) -> Option<(JobId, u32)> {
        self.attempts.iter().map(|(attempt, _)| *attempt).find(|attempt| Some(*attempt) != followed)
    }

    fn place(&self, attempt: (JobId, u32)) -> Option<usize> {
        self.attempts.iter().position(|(known, _)| *known == attempt)
    }
}

/// The range that holds both.
#[must_use]
pub fn widen((first, last): (u64, u64), (n, m): (u64, u64)) -> (u64, u64) {
    (first.min(n), last.max(m))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(n: u128) -> JobId {
        JobId(uuid::Uuid::from_u128(n))
    }

    fn at(epoch: u32, offset: u64) -> Position {
        Position { epoch, offset }
    }

    #[test]
    fn p3_only_what_lies_beyond_the_sealed_end_of_its_own_attempt_is_missing() {
        let mut unrecorded = Unrecorded::default();
        for offset in 0..4 {
            unrecorded.shown(job(1), at(1, offset), offset * 10, offset * 10 + 9);
        }
        unrecorded.shown(job(1), at(2, 0), 0, 0);
        unrecorded.shown(job(2), at(1, 3), 0, 0);
        unrecorded.recorded(job(1), 1, 0);
        assert_eq!(unrecorded.seal(job(1), 1, Some(1)), Some((20, 39)));
        assert_eq!(unrecorded.seal(job(1), 1, Some(1)), None, "told once");
        assert_eq!(unrecorded.unsettled(Some((job(1), 2))), Some((job(2), 1)));
        assert_eq!(unrecorded.seal(job(2), 1, None), Some((0, 0)), "nothing of it was recorded");
        assert_eq!(unrecorded.unsettled(Some((job(1), 2))), None);
        assert_eq!(unrecorded.unsettled(None), Some((job(1), 2)));
    }

    #[test]
    fn a_page_that_hears_of_no_record_remembers_a_bounded_number_of_events() {
        let mut unrecorded = Unrecorded::default();
        for offset in 0..=UNRECORDED_MAX as u64 {
            unrecorded.shown(job(1), at(1, offset), offset, offset);
        }
        assert_eq!(unrecorded.seal(job(1), 1, None), Some((1, UNRECORDED_MAX as u64)));
        for n in 0..=ATTEMPTS_MAX as u128 {
            unrecorded.shown(job(n), at(1, 0), 0, 0);
        }
        assert_eq!(unrecorded.unsettled(None), Some((job(1), 1)), "the first was forgotten");
    }
}
