//! Where the page stands in one topic: what may be applied now, what waits, and whether the record must be read.
//! Pure: it knows neither sockets nor requests nor what an event means.
//!
//! Offsets count from 0 without gaps within an epoch. A frame that continues the position is applied, one that is
//! known is ignored, one beyond is set aside until the record has filled the hole (P3).

use std::collections::BTreeMap;

use wire::{
    Position,
    frame::{EventFrame, Resumed},
};

/// At most so many frames are set aside for one topic while a hole is read; with more, all are dropped and read instead.
pub const ASIDE_FRAMES_MAX: usize = 2_000;

/// Whether the record must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Read {
    /// Nothing is missing.
    No,
    /// An end is known that was not reached; its frames may still be on their way.
    Soon,
    /// Something is missing.
    Now,
}

/// The place in one topic.
#[derive(Clone, Debug)]
pub struct Track {
    epoch: u32,
    next: u64,
    aside: BTreeMap<u64, EventFrame>,
    target: Option<u64>,
    /// The record is complete: its last offset, or none if nothing was recorded.
    end: Option<Option<u64>>,
    need: Read,
}

impl Track {
    /// At what a page's data includes: the topic's present epoch and, if any was included, its last event.
    #[must_use]
    pub fn at(epoch: u32, position: Option<Position>) -> Self {
        let mut track = Self { epoch, next: 0, aside: BTreeMap::new(), target: None, end: None, need: Read::No };
        if let Some(position) = position
            && position.epoch >= epoch
        {
            (track.epoch, track.next) = (position.epoch, position.offset + 1);
        }
        track
    }

    /// The epoch that is followed.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The offset that would continue.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The last event applied.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.next.checked_sub(1).map(|offset| Position { epoch: self.epoch, offset })
    }

    /// Takes up a newer epoch at its beginning. False when `epoch` is not newer.
    pub fn begin(&mut self, epoch: u32) -> bool {
        let newer = epoch > self.epoch;
        if newer {
            *self = Self::at(epoch, None);
        }
        newer
    }

    /// Takes a frame; gives back what is to be applied now, in order.
    pub fn offer(&mut self, frame: EventFrame) -> Vec<EventFrame> {
        self.begin(frame.epoch);
        if frame.epoch < self.epoch || frame.offset < self.next {
            return Vec::new();
        }
        if frame.offset > self.next {
            if self.aside.len() >= ASIDE_FRAMES_MAX {
                let last = self.aside.keys().next_back().copied().unwrap_or(frame.offset);
                self.aside.clear();
                self.reach_for(last.max(frame.offset), Read::Now);
            } else {
                self.aside.insert(frame.offset, frame);
                self.need = Read::Now;
            }
            return Vec::new();
        }
        self.next += 1;
        let mut ready = vec![frame];
        self.drain(&mut ready);
        ready
    }

    /// The gateway cannot continue the position: the record is to be read up to `to`, or to its end.
    pub fn gap(&mut self, resumed: &Resumed) {
        if resumed.epoch < self.epoch {
            return;
        }
        self.begin(resumed.epoch);
        match resumed.to {
            Some(to) => self.reach_for(to, Read::Now),
            None => self.need = Read::Now,
        }
    }

    /// The epoch is known to end with `last`, whose frames may still be on their way.
    pub fn ends_with(&mut self, epoch: u32, last: u64) {
        if epoch == self.epoch {
            self.reach_for(last, Read::Soon);
        }
    }

    /// Asks for a reading whatever the position says.
    pub fn force(&mut self) {
        self.need = Read::Now;
    }

    /// A reading begins: what it answers settles the need, unless a hole or an unreached end remains.
    pub fn reading(&mut self) {
        self.need = Read::No;
    }

    /// The record includes `position`; gives back the frames set aside that continue it.
    pub fn reached(&mut self, position: Position) -> Vec<EventFrame> {
        self.begin(position.epoch);
        if position.epoch == self.epoch && position.offset >= self.next {
            self.next = position.offset + 1;
        }
        let mut ready = Vec::new();
        self.drain(&mut ready);
        ready
    }

    /// The record of `epoch` reaches `offset`. What of it is not here is read, unless it comes at once.
    pub fn recorded(&mut self, epoch: u32, offset: Option<u64>) {
        if self.begin(epoch) {
            self.need = Read::Soon;
        }
        if epoch == self.epoch
            && let Some(offset) = offset
        {
            self.reach_for(offset, Read::Soon);
        }
    }

    /// The record of `epoch` ends with `last`, or is empty: nothing beyond is waited for, now or later. Gives back what
    /// was set aside beyond it and can never be continued.
    pub fn seal(&mut self, epoch: u32, last: Option<u64>) -> Vec<EventFrame> {
        if epoch != self.epoch {
            return Vec::new();
        }
        self.end = Some(last);
        let gone = self.aside.split_off(&last.map_or(0, |last| last.saturating_add(1)));
        self.target = last.filter(|last| *last >= self.next);
        if self.target.is_none() {
            self.need = Read::No;
        }
        gone.into_values().collect()
    }

    /// The end of the record, once it is sealed: its last offset, or none if nothing was recorded.
    #[must_use]
    pub fn end(&self) -> Option<Option<u64>> {
        self.end
    }

    /// Whether the record must be read now.
    #[must_use]
    pub fn need(&self) -> Read {
        let hole = if self.aside.is_empty() { Read::No } else { Read::Now };
        let end = if self.target.is_some() { self.need.max(Read::Soon) } else { self.need };
        hole.max(end)
    }

    fn reach_for(&mut self, offset: u64, need: Read) {
        let offset = match self.end {
            None => offset,
            Some(Some(last)) => offset.min(last),
            Some(None) => return,
        };
        if offset >= self.next {
            self.target = Some(self.target.map_or(offset, |target| target.max(offset)));
            self.need = self.need.max(need);
        }
    }

    fn drain(&mut self, ready: &mut Vec<EventFrame>) {
        self.aside = self.aside.split_off(&self.next);
        while let Some(frame) = self.aside.remove(&self.next) {
            self.next += 1;
            ready.push(frame);
        }
        if self.target.is_some_and(|target| target < self.next) {
            self.target = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Event, JobId, Timestamp, Topic, frame::ResumeOutcome};

    fn frame(epoch: u32, offset: u64) -> EventFrame {
        let topic = Topic::Job(JobId(uuid::Uuid::nil()));
        EventFrame { topic, epoch, offset, at: Timestamp(0), event: Event::BuildStarted {} }
    }

    fn offsets(frames: &[EventFrame]) -> Vec<u64> {
        frames.iter().map(|frame| frame.offset).collect()
    }

    fn gap(epoch: u32, to: Option<u64>) -> Resumed {
        let topic = Topic::Job(JobId(uuid::Uuid::nil()));
        Resumed { topic, outcome: ResumeOutcome::Gap, epoch, from: 0, to }
    }

    #[test]
    fn p3_each_frame_is_applied_once_and_in_order_however_it_comes() {
        let mut track = Track::at(1, Some(Position { epoch: 1, offset: 4 }));
        assert_eq!(offsets(&track.offer(frame(1, 4))), [] as [u64; 0]);
        assert_eq!(offsets(&track.offer(frame(1, 7))), [] as [u64; 0]);
        assert_eq!(track.need(), Read::Now);
        assert_eq!(offsets(&track.offer(frame(1, 6))), [] as [u64; 0]);
        assert_eq!(offsets(&track.offer(frame(1, 5))), [5, 6, 7]);
        assert_eq!(offsets(&track.offer(frame(1, 6))), [] as [u64; 0]);
        track.reading();
        assert_eq!(track.need(), Read::No);
    }

    #[test]
    fn p3_a_hole_is_filled_by_the_record_and_what_was_set_aside_follows() {
        let mut track = Track::at(1, None);
        track.offer(frame(1, 3));
        track.offer(frame(1, 5));
        assert_eq!(offsets(&track.reached(Position { epoch: 1, offset: 2 })), [3]);
        assert_eq!(track.need(), Read::Now);
        assert_eq!(offsets(&track.reached(Position { epoch: 1, offset: 5 })), [] as [u64; 0]);
        track.reading();
        assert_eq!((track.need(), track.next()), (Read::No, 6));
    }

    #[test]
    fn p3_the_end_of_a_gap_is_binding_until_the_record_reaches_it() {
        let mut track = Track::at(1, Some(Position { epoch: 1, offset: 1 }));
        track.gap(&gap(1, Some(9)));
        track.reading();
        track.reached(Position { epoch: 1, offset: 6 });
        assert!(track.need() > Read::No, "the record lags: read again");
        track.reading();
        track.reached(Position { epoch: 1, offset: 9 });
        assert_eq!(track.need(), Read::No);
    }

    #[test]
    fn a_gap_without_an_end_asks_for_one_reading() {
        let mut track = Track::at(1, None);
        track.gap(&gap(1, None));
        assert_eq!(track.need(), Read::Now);
        track.reading();
        assert_eq!(track.need(), Read::No);
    }

    #[test]
    fn a_new_epoch_begins_at_its_first_frame_and_late_frames_of_the_old_one_are_ignored() {
        let mut track = Track::at(1, Some(Position { epoch: 1, offset: 8 }));
        assert_eq!(offsets(&track.offer(frame(2, 0))), [0]);
        assert_eq!(offsets(&track.offer(frame(1, 9))), [] as [u64; 0]);
        assert_eq!(track.position(), Some(Position { epoch: 2, offset: 0 }));
    }

    #[test]
    fn too_many_frames_aside_are_dropped_and_read_instead() {
        let mut track = Track::at(1, None);
        let last = ASIDE_FRAMES_MAX as u64 + 1;
        for offset in 1..=last {
            track.offer(frame(1, offset));
        }
        track.reading();
        assert_eq!(track.need(), Read::Soon, "the last one is still to be reached");
        assert_eq!(offsets(&track.reached(Position { epoch: 1, offset: last })), [] as [u64; 0]);
        track.reading();
        assert_eq!(track.need(), Read::No);
    }

    #[test]
    fn a_known_end_whose_frames_may_be_on_their_way_is_not_urgent() {
        let mut track = Track::at(1, None);
        track.ends_with(1, 1);
        assert_eq!(track.need(), Read::Soon);
        track.offer(frame(1, 0));
        track.offer(frame(1, 1));
        track.reading();
        assert_eq!(track.need(), Read::No);
    }
    #[test]
    fn p3_a_hint_beyond_the_place_is_read_for_until_it_is_reached() {
        let mut track = Track::at(1, Some(Position { epoch: 1, offset: 4 }));
        track.recorded(1, Some(4));
        assert_eq!(track.need(), Read::No, "it is here");
        track.recorded(1, Some(7));
        track.reading();
        track.reached(Position { epoch: 1, offset: 6 });
        assert_eq!(track.need(), Read::Soon, "that reading was too early");
        track.reading();
        track.reached(Position { epoch: 1, offset: 7 });
        assert_eq!(track.need(), Read::No);
        track.recorded(2, None);
        assert_eq!((track.need(), track.epoch()), (Read::Soon, 2), "a newer epoch is recorded");
    }

    #[test]
    fn p3_a_sealed_end_is_read_up_to_and_nothing_beyond_it_is_waited_for() {
        let mut track = Track::at(1, Some(Position { epoch: 1, offset: 4 }));
        track.offer(frame(1, 7));
        track.offer(frame(1, 9));
        assert_eq!(offsets(&track.seal(1, Some(7))), [9]);
        track.reading();
        assert_eq!(track.need(), Read::Now, "5 and 6 are recorded and not here");
        assert_eq!(offsets(&track.reached(Position { epoch: 1, offset: 6 })), [7]);
        track.gap(&gap(1, Some(9)));
        track.ends_with(1, 9);
        track.reading();
        assert_eq!((track.need(), track.next()), (Read::No, 8));
    }
}
