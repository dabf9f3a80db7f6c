//! A worker's bounded memory of recent frames, topic by topic, and what it can tell a reader that comes with a position.
//! Pure: no I/O, no clock, no sockets.
//!
//! Of each topic it holds an unbroken run of frames of the newest epoch that ends with the newest event. The oldest frame
//! of all topics goes first when a limit is passed; what goes leaves a gap that the reader fills from the record.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use wire::{
    BuildId, Position, Topic,
    frame::{ResumeOutcome, Resumed},
};

use crate::Limits;

/// What a frame costs beside its text, in bytes: its places in two queues.
const FRAME_OVERHEAD_BYTES: usize = 96;

/// A remembered event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) position: Position,
    /// It holds log lines: what a slow reader is spared first.
    pub(crate) log: bool,
    pub(crate) text: Arc<str>,
}

struct Run {
    build: BuildId,
    newest: Position,
    /// The epoch before the newest one and the last offset seen of it: its writer may still be heard.
    previous: Option<Position>,
    /// Ends with `newest`, offsets without gaps.
    frames: VecDeque<Frame>,
    touched: u64,
    /// Its events are addressed to this worker: they come without a binding.
    addressed: bool,
}

/// See the module.
pub(crate) struct Replay {
    topics: HashMap<Topic, Run>,
    /// Every frame in the order of arrival; those of runs that were dropped meanwhile are skipped.
    order: VecDeque<(Topic, Position)>,
    bytes: usize,
    bytes_max: usize,
    frames_max: usize,
    topics_max: usize,
    resume_frames_max: usize,
    resume_bytes_max: usize,
    pushes: u64,
}

impl Replay {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            topics: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max: limits.replay_bytes_max,
            frames_max: limits.replay_frames_max,
            topics_max: limits.replay_topics_max.max(1),
            // Half of a send queue: what follows an answer must not be what fills it.
            resume_frames_max: limits.send_queue_frames_max / 2,
            resume_bytes_max: limits.send_queue_bytes_max / 2,
            pushes: 0,
        }
    }

    /// Takes an event in. False if it was seen before: then it is to be sent to nobody.
    pub(crate) fn push(&mut self, topic: Topic, build: BuildId, addressed: bool, frame: Frame) -> bool {
        self.pushes += 1;
        let position = frame.position;
        let cost = cost(&frame);
        let run = self.topics.entry(topic).or_insert_with(|| Run {
            build,
            newest: position,
            previous: None,
            frames: VecDeque::new(),
            touched: 0,
            addressed,
        });
        let is_new = run.touched == 0;
        run.touched = self.pushes;
        run.addressed = addressed;
        if !is_new {
            if position.epoch < run.newest.epoch {
                return late(&mut run.previous, position);
            }
            if position.epoch == run.newest.epoch && position.offset <= run.newest.offset {
                return false;
            }
            let follows = position.epoch == run.newest.epoch && position.offset == run.newest.offset.saturating_add(1);
            if position.epoch > run.newest.epoch {
                run.previous = Some(run.newest);
            }
            if !follows {
                self.bytes -= run.frames.drain(..).map(|old| self::cost(&old)).sum::<usize>();
            }
        }
        run.newest = position;
        run.frames.push_back(frame);
        self.bytes += cost;
        self.order.push_back((topic, position));
        self.shrink();
        true
    }

    /// What a reader of `topic` is told who has everything up to `position`, and the frames that follow the answer.
    /// `epoch` is the one that it counts in where nothing is known.
    pub(crate) fn resume(&self, topic: Topic, position: Option<Position>, epoch: u32) -> (Resumed, Vec<Frame>) {
        let own = position.map_or(epoch, |position| position.epoch);
        let from = position.map_or(0, |position| position.offset.saturating_add(1));
        let unknown = Resumed { topic, outcome: ResumeOutcome::Gap, epoch: own, from, to: None };
        let Some(run) = self.topics.get(&topic) else { return (unknown, Vec::new()) };
        let newest = run.newest;
        let from = match position {
            Some(position) if position.epoch > newest.epoch => return (unknown, Vec::new()),
            Some(position) if position.epoch == newest.epoch => from,
            // An older epoch: the reader misses its end as well, so only the record can tell it all.
            Some(_) => {
                let to = Some(newest.offset);
                let gap = Resumed { topic, outcome: ResumeOutcome::Gap, epoch: newest.epoch, from: 0, to };
                return (gap, Vec::new());
            }
            None => 0,
        };
        let answer = |outcome, to| Resumed { topic, outcome, epoch: newest.epoch, from, to };
        if from > newest.offset {
            return (answer(ResumeOutcome::Complete, None), Vec::new());
        }
        match self.following(run, from) {
            Some(frames) => (answer(ResumeOutcome::Complete, Some(newest.offset)), frames),
            None => (answer(ResumeOutcome::Gap, Some(newest.offset)), Vec::new()),
        }
    }

    /// The frames of a run from an offset on; none if they are not all here, or too many for one answer: a client that asks
    /// again and again must not keep the worker busy, and reads much at once better from the record.
    fn following(&self, run: &Run, from: u64) -> Option<Vec<Frame>> {
        let skipped = from.checked_sub(run.frames.front()?.position.offset)?;
        let skipped = usize::try_from(skipped).ok().filter(|skipped| *skipped < run.frames.len())?;
        if run.frames.len() - skipped > self.resume_frames_max {
            return None;
        }
        let frames = run.frames.range(skipped..);
        (frames.clone().map(cost).sum::<usize>() <= self.resume_bytes_max).then(|| frames.cloned().collect())
    }

    /// The job topics of builds that are known here.
    pub(crate) fn jobs_of(&self, builds: &HashSet<BuildId>) -> Vec<Topic> {
        let of_builds = |(topic, run): (&Topic, &Run)| {
            (matches!(topic, Topic::Job(_)) && builds.contains(&run.build)).then_some(*topic)
        };
        let mut jobs: Vec<Topic> = self.topics.iter().filter_map(of_builds).collect();
        jobs.sort();
        jobs
    }

    /// The worker does not listen to the topic any more: what it remembers could no longer be called complete.
    /// Topics whose events are addressed to this worker are kept.
    pub(crate) fn stopped_listening(&mut self, topic: Topic) {
        if self.topics.get(&topic).is_some_and(|run| !run.addressed) {
            self.forget(topic);
        }
    }

    fn forget(&mut self, topic: Topic) {
        if let Some(run) = self.topics.remove(&topic) {
            self.bytes -= run.frames.iter().map(cost).sum::<usize>();
        }
    }

    fn shrink(&mut self) {
        while self.bytes > self.bytes_max || self.order.len() > self.frames_max {
            let Some((topic, position)) = self.order.pop_front() else { break };
            let Some(run) = self.topics.get_mut(&topic) else { continue };
            if run.frames.front().is_some_and(|frame| frame.position == position)
                && let Some(frame) = run.frames.pop_front()
            {
                self.bytes -= cost(&frame);
            }
        }
        if self.topics.len() > self.topics_max {
            // A quarter at once, so that the search for the oldest is rare.
            let mut by_age: Vec<(u64, Topic)> = self.topics.iter().map(|(topic, run)| (run.touched, *topic)).collect();
            by_age.sort_unstable();
            let surplus = self.topics.len() - self.topics_max + self.topics_max / 4;
            for (_, topic) in by_age.into_iter().take(surplus) {
                self.forget(topic);
            }
        }
    }
}

/// Whether an event of an older epoch is new; epochs before the previous one are left to the reader to judge.
pub(crate) fn late(previous: &mut Option<Position>, position: Position) -> bool {
    match previous {
        Some(last) if last.epoch == position.epoch => {
            let is_new = position.offset > last.offset;
            last.offset = last.offset.max(position.offset);
            is_new
        }
        Some(last) if last.epoch > position.epoch => true,
        _ => {
            *previous = Some(position);
            true
        }
    }
}

fn cost(frame: &Frame) -> usize {
    frame.text.len() + FRAME_OVERHEAD_BYTES
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
