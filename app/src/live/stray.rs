//! Frames of topics that no page watches yet: a build that this tab asked for may speak before its page has read it.
//! Pure. Bounded: the oldest frames go first, which their reader sees as a hole and reads from the record.

use std::collections::VecDeque;

use wire::Topic;

use super::Unread;

/// At most so many topics have frames kept; the one that spoke first is forgotten first.
pub const TOPICS_MAX: usize = 64;
/// At most so many frames are kept of one topic.
pub const FRAMES_MAX: usize = 256;

/// What is kept.
#[derive(Debug, Default)]
pub struct Stray {
    topics: VecDeque<(Topic, VecDeque<Unread>)>,
}

impl Stray {
    /// Keeps a frame.
    pub fn keep(&mut self, frame: Unread) {
        let topic = frame.topic;
        let place = self.topics.iter().position(|(known, _)| *known == topic).unwrap_or_else(|| {
            if self.topics.len() >= TOPICS_MAX {
                self.topics.pop_front();
            }
            self.topics.push_back((topic, VecDeque::new()));
            self.topics.len() - 1
        });
        let frames = &mut self.topics[place].1;
        if frames.len() >= FRAMES_MAX {
            frames.pop_front();
        }
        frames.push_back(frame);
    }

    /// Takes what was kept of a topic, in the order in which it came.
    pub fn take(&mut self, topic: Topic) -> VecDeque<Unread> {
        let place = self.topics.iter().position(|(known, _)| *known == topic);
        place.and_then(|place| self.topics.remove(place)).map(|(_, frames)| frames).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{JobId, Timestamp};

    fn job(n: usize) -> JobId {
        JobId(uuid::Uuid::from_u128(n as u128))
    }

    fn frame(job: JobId, offset: u64) -> Unread {
        Unread { topic: Topic::Job(job), epoch: 1, offset, at: Timestamp(6), event: serde_json::Value::Null }
    }

    #[test]
    fn frames_wait_for_their_reader_once_and_within_bounds() {
        let mut stray = Stray::default();
        for offset in 0..=FRAMES_MAX as u64 {
            stray.keep(frame(job(0), offset));
        }
        let kept = stray.take(Topic::Job(job(0)));
        assert_eq!((kept.len(), kept[0].offset), (FRAMES_MAX, 1), "the oldest went first: its reader sees a hole");
        assert!(stray.take(Topic::Job(job(0))).is_empty());
        for n in 0..=TOPICS_MAX {
            stray.keep(frame(job(n), 0));
        }
        assert!(stray.take(Topic::Job(job(0))).is_empty() && stray.take(Topic::Job(job(1))).len() == 1);
    }
}
