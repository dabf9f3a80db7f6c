//! What the replay promises: never a frame that was not asked for, never a hole that is called complete.

use uuid::Uuid;
use wire::JobId;

use super::*;

const BUILD: BuildId = BuildId(Uuid::nil());

fn topic(n: u128) -> Topic {
    Topic::Job(JobId(Uuid::from_u128(n)))
}

fn frame(epoch: u32, offset: u64) -> Frame {
    Frame { position: Position { epoch, offset }, log: true, text: format!("{epoch}.{offset}").into() }
}

fn replay(bytes_max: usize, frames_max: usize, topics_max: usize) -> Replay {
    Replay::new(&Limits {
        replay_bytes_max: bytes_max,
        replay_frames_max: frames_max,
        replay_topics_max: topics_max,
        ..Limits::default()
    })
}

impl Replay {
    fn newest(&self, topic: Topic) -> Option<Position> {
        self.topics.get(&topic).map(|run| run.newest)
    }
}

fn at(epoch: u32, offset: u64) -> Option<Position> {
    Some(Position { epoch, offset })
}

#[test]
fn a_position_within_the_run_is_completed_and_one_before_it_is_a_gap() {
    let mut replay = replay(1 << 20, 3, 10);
    for offset in 0..5 {
        assert!(replay.push(topic(1), BUILD, true, frame(1, offset)));
    }
    let (complete, frames) = replay.resume(topic(1), at(1, 1), 1);
    assert_eq!((complete.outcome, complete.from, complete.to), (ResumeOutcome::Complete, 2, Some(4)));
    assert_eq!(frames, [frame(1, 2), frame(1, 3), frame(1, 4)]);
    let (gap, frames) = replay.resume(topic(1), at(1, 0), 1);
    assert_eq!((gap.outcome, gap.from, gap.to), (ResumeOutcome::Gap, 1, Some(4)));
    assert!(frames.is_empty());
    let (nothing_new, frames) = replay.resume(topic(1), at(1, 4), 1);
    assert_eq!((nothing_new.outcome, nothing_new.from, nothing_new.to), (ResumeOutcome::Complete, 5, None));
    assert!(frames.is_empty());
}

#[test]
fn an_unknown_topic_and_an_epoch_not_seen_yet_are_read_to_the_end_of_the_record() {
    let mut replay = replay(1 << 20, 10, 10);
    let (gap, _) = replay.resume(topic(1), at(2, 16), 1);
    assert_eq!((gap.outcome, gap.epoch, gap.from, gap.to), (ResumeOutcome::Gap, 2, 17, None));
    let (gap, _) = replay.resume(topic(1), None, 3);
    assert_eq!((gap.outcome, gap.epoch, gap.from, gap.to), (ResumeOutcome::Gap, 3, 0, None));
    replay.push(topic(1), BUILD, true, frame(1, 0));
    let (gap, _) = replay.resume(topic(1), at(2, 5), 1);
    assert_eq!((gap.outcome, gap.epoch, gap.from, gap.to), (ResumeOutcome::Gap, 2, 6, None));
    let (last, _) = replay.resume(topic(1), at(1, u64::MAX), 1);
    assert_eq!((last.outcome, last.to), (ResumeOutcome::Complete, None));
}

#[test]
fn a_new_epoch_is_a_gap_from_its_beginning_for_a_reader_of_the_old_one() {
    let mut replay = replay(1 << 20, 10, 10);
    replay.push(topic(1), BUILD, true, frame(1, 7));
    replay.push(topic(1), BUILD, true, frame(2, 0));
    replay.push(topic(1), BUILD, true, frame(2, 1));
    let (gap, frames) = replay.resume(topic(1), at(1, 7), 1);
    assert_eq!((gap.outcome, gap.epoch, gap.from, gap.to), (ResumeOutcome::Gap, 2, 0, Some(1)));
    assert!(frames.is_empty());
    let (all, frames) = replay.resume(topic(1), None, 1);
    assert_eq!((all.outcome, all.epoch, all.from, all.to, frames.len()), (ResumeOutcome::Complete, 2, 0, Some(1), 2));
}

#[test]
fn publishing_twice_is_noticed_within_an_epoch_and_the_one_before() {
    let mut replay = replay(1 << 20, 10, 10);
    assert!(replay.push(topic(1), BUILD, true, frame(1, 0)));
    assert!(!replay.push(topic(1), BUILD, true, frame(1, 0)));
    assert!(replay.push(topic(1), BUILD, true, frame(2, 0)));
    assert!(!replay.push(topic(1), BUILD, true, frame(1, 0)));
    assert!(replay.push(topic(1), BUILD, true, frame(1, 1)), "the last words of a lost attempt are new");
    assert!(!replay.push(topic(1), BUILD, true, frame(1, 1)));
    assert_eq!(replay.newest(topic(1)), at(2, 0));
}

#[test]
fn what_is_no_longer_listened_to_is_not_called_complete() {
    let mut replay = replay(1 << 20, 10, 10);
    replay.push(topic(1), BUILD, false, frame(1, 0));
    replay.push(topic(2), BUILD, true, frame(1, 0));
    replay.stopped_listening(topic(1));
    replay.stopped_listening(topic(2));
    assert_eq!(replay.resume(topic(1), at(1, 0), 1).0.outcome, ResumeOutcome::Gap);
    assert_eq!(replay.resume(topic(2), at(1, 0), 1).0.outcome, ResumeOutcome::Complete);
    assert_eq!(replay.jobs_of(&HashSet::from([BUILD])), [topic(2)]);
}

#[test]
fn p6_more_than_half_a_send_queue_is_read_from_the_record() {
    let limits = Limits { send_queue_frames_max: 8, send_queue_bytes_max: 800, ..Limits::default() };
    let mut replay = Replay::new(&limits);
    for offset in 0..10 {
        replay.push(topic(1), BUILD, true, frame(1, offset));
    }
    assert_eq!(replay.resume(topic(1), at(1, 5), 1).0.outcome, ResumeOutcome::Complete);
    let (gap, frames) = replay.resume(topic(1), at(1, 4), 1);
    assert_eq!((gap.outcome, gap.from, gap.to, frames.len()), (ResumeOutcome::Gap, 5, Some(9), 0));
    replay.push(topic(1), BUILD, true, Frame { text: "x".repeat(400).into(), ..frame(1, 10) });
    assert_eq!(replay.resume(topic(1), at(1, 9), 1).0.outcome, ResumeOutcome::Gap);
}

#[test]
fn topics_beyond_the_limit_are_forgotten_oldest_first() {
    let mut replay = replay(1 << 20, 100, 4);
    for n in 0..20 {
        replay.push(topic(n), BUILD, true, frame(1, 0));
    }
    assert!(replay.topics.len() <= 4);
    assert_eq!(replay.newest(topic(19)), at(1, 0));
    assert_eq!(replay.newest(topic(0)), None);
}

/// Random streams with jumps, repeats and new epochs, against a model that remembers everything.
#[test]
fn p3_whatever_arrives_an_answer_is_without_holes_and_the_limits_hold() {
    let mut seed = 0x5eed_u64;
    let mut random = move |below: u64| {
        // xorshift64: the same numbers in every run.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (bytes_max, frames_max) = (4000, 60);
    let mut replay = replay(bytes_max, frames_max, 8);
    let mut next: HashMap<Topic, Position> = HashMap::new();
    let (mut complete, mut gaps) = (0, 0);
    for _ in 0..20_000 {
        let topic = topic(u128::from(random(5)));
        let place = next.entry(topic).or_insert(Position { epoch: 1, offset: 0 });
        match random(40) {
            0 => *place = Position { epoch: place.epoch + 1, offset: 0 },
            1 => place.offset += 1 + random(3),
            2 => place.offset = place.offset.saturating_sub(random(4)),
            _ => {}
        }
        let before = replay.newest(topic);
        let is_new = replay.push(topic, BUILD, true, frame(place.epoch, place.offset));
        assert_eq!(is_new, before.is_none_or(|before| *place > before));
        place.offset += 1;
        assert!(replay.bytes <= bytes_max && replay.order.len() <= frames_max);
        let held: usize = replay.topics.values().flat_map(|run| &run.frames).map(cost).sum();
        assert_eq!(held, replay.bytes);

        let newest = replay.newest(topic).unwrap();
        let asked = Position { epoch: newest.epoch, offset: random(newest.offset + 2) };
        let (answer, frames) = replay.resume(topic, Some(asked), 1);
        assert_eq!((answer.epoch, answer.from), (newest.epoch, asked.offset + 1));
        match answer.outcome {
            ResumeOutcome::Complete => {
                complete += 1;
                let expected: Vec<Frame> = (answer.from..=newest.offset).map(|n| frame(newest.epoch, n)).collect();
                assert_eq!(frames, expected);
                assert_eq!(answer.to, frames.last().map(|frame| frame.position.offset));
            }
            ResumeOutcome::Gap => {
                gaps += 1;
                assert_eq!((answer.to, frames.len()), (Some(newest.offset), 0));
            }
        }
    }
    assert!(complete > 1000 && gaps > 1000, "{complete} complete, {gaps} gaps: both must be exercised");
}
