//! What a full send queue gives up, and in which order.

use uuid::Uuid;
use wire::JobId;

use super::*;

fn topic(n: u128) -> Topic {
    Topic::Job(JobId(Uuid::from_u128(n)))
}

fn room(bytes_max: usize) -> Arc<SendRoom> {
    Arc::new(SendRoom::new(bytes_max))
}

fn queue(frames_max: usize) -> SendQueue {
    SendQueue::new(&Limits { send_queue_frames_max: frames_max, ..Limits::default() }, room(usize::MAX))
}

fn event(queue: &SendQueue, n: u128, offset: u64, log: bool) {
    let tag = Tag::Event { topic: topic(n), position: Position { epoch: 1, offset }, log };
    queue.push(format!("{n}:{offset}").into(), tag);
}

fn drain(queue: &SendQueue) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(next) = queue.try_next() {
        match next {
            Next::Text(text) => texts.push(text.to_string()),
            Next::Close(code, _) => {
                texts.push(format!("close {}", code.number()));
                break;
            }
        }
    }
    texts
}

fn gap(n: u128, from: u64, to: u64) -> String {
    let resumed = Resumed { topic: topic(n), outcome: ResumeOutcome::Gap, epoch: 1, from, to: Some(to) };
    frames::resumed(resumed).to_string()
}

#[test]
fn p6_a_full_queue_turns_its_busiest_log_into_one_gap_at_its_place() {
    let queue = queue(8);
    event(&queue, 1, 0, false);
    for offset in 1..6 {
        event(&queue, 1, offset, offset != 4);
    }
    event(&queue, 2, 0, true);
    event(&queue, 2, 1, false);
    event(&queue, 1, 6, true);
    assert_eq!(drain(&queue), ["1:0", &gap(1, 1, 5), "2:0", "2:1", "1:6"]);
}

#[test]
fn p6_a_gap_that_still_waits_grows_and_the_next_busiest_log_follows() {
    let queue = queue(4);
    for offset in 0..20 {
        event(&queue, 1, offset, true);
    }
    event(&queue, 2, 0, true);
    queue.push_plain("a".into());
    queue.push_plain("b".into());
    queue.push_plain("c".into());
    let texts = drain(&queue);
    assert!(texts.len() <= 4, "{texts:?}");
    assert_eq!(texts.last().map(String::as_str), Some("close 4000"));
}

#[test]
fn p6_a_gap_covers_everything_that_was_given_up() {
    let queue = queue(4);
    for offset in 0..21 {
        event(&queue, 1, offset, true);
    }
    let texts = drain(&queue);
    let Ok(wire::frame::Incoming::Resumed(gap)) = serde_json::from_str(&texts[0]) else { panic!("{texts:?}") };
    assert_eq!(gap.from, 0);
    let follows: Vec<String> = (gap.to.unwrap() + 1..21).map(|offset| format!("1:{offset}")).collect();
    assert_eq!(texts[1..], follows);
}

#[test]
fn p6_a_queue_without_logs_to_give_up_closes_with_come_back() {
    let queue = queue(2);
    for offset in 0..3 {
        event(&queue, 1, offset, false);
    }
    assert!(queue.closing().is_cancelled());
    assert_eq!(drain(&queue), ["close 4000"]);
}

#[test]
fn bytes_are_bounded_but_one_large_frame_passes_alone() {
    let queue = SendQueue::new(&Limits { send_queue_bytes_max: 100, ..Limits::default() }, room(usize::MAX));
    queue.push_plain("x".repeat(500).into());
    assert!(!queue.closing().is_cancelled());
    queue.push_plain("y".into());
    assert!(queue.closing().is_cancelled());
}

#[test]
fn what_waits_for_all_sockets_is_bounded_and_the_slow_one_gives_way() {
    let room = room(100_000);
    room.share_among(2);
    let of = || SendQueue::new(&Limits::default(), Arc::clone(&room));
    let (slow, quick) = (of(), of());
    let line = |queue: &SendQueue, offset| {
        let tag = Tag::Event { topic: topic(1), position: Position { epoch: 1, offset }, log: true };
        queue.push("x".repeat(10_000).into(), tag);
    };
    for offset in 0..20 {
        line(&slow, offset);
        line(&quick, offset);
        assert_eq!(drain(&quick).len(), 1, "the one that reads has every frame");
    }
    let texts = drain(&slow);
    assert!(texts.len() < 8 && texts[0].contains("gap"), "{} frames waited", texts.len());
    // What was read, or went with its socket, counts no more.
    drop((slow, quick));
    assert_eq!(room.of_one(), usize::MAX);
}

#[test]
fn a_gap_over_two_epochs_begins_at_the_newer_ones_first_event() {
    let queue = queue(2);
    for (epoch, offset) in [(1, 8), (2, 1), (2, 2)] {
        let tag = Tag::Event { topic: topic(1), position: Position { epoch, offset }, log: true };
        queue.push(format!("{epoch}:{offset}").into(), tag);
    }
    let texts = drain(&queue);
    let Ok(wire::frame::Incoming::Resumed(gap)) = serde_json::from_str(&texts[0]) else { panic!("{texts:?}") };
    assert_eq!((gap.epoch, gap.from, gap.to), (2, 0, Some(1)));
    assert_eq!(texts[1], "2:2");
}

#[test]
fn later_hints_and_results_take_the_place_of_those_that_wait() {
    let queue = queue(10);
    for n in 0..5 {
        queue.push(format!("hint {n}").into(), Tag::Hint(topic(1), 1));
        queue.push_result("q1", None, || format!("result {n}").into());
    }
    queue.push_result("q2", Some("change".into()), || unreachable!());
    assert_eq!(drain(&queue), ["hint 4", "result 4", "change"]);
}

#[test]
fn a_change_whose_former_result_was_not_written_gives_way_to_the_whole_result() {
    let queue = queue(10);
    for n in 0..3 {
        queue.push_result("q1", Some(format!("change {n}").into()), || format!("result {n}").into());
    }
    assert_eq!(drain(&queue), ["result 2"]);
    queue.push_result("q1", Some("change 3".into()), || unreachable!());
    assert_eq!(drain(&queue), ["change 3"]);
}

#[test]
fn closing_drops_what_waits_and_finishing_lets_it_pass() {
    let (closed, finished) = (queue(10), queue(10));
    closed.push_plain("lost".into());
    closed.close(CloseCode::Restart, "a");
    closed.close(CloseCode::Slow, "b");
    closed.push_plain("late".into());
    assert_eq!(drain(&closed), ["close 1012"]);
    finished.push_plain("said".into());
    finished.finish(CloseCode::Policy, "a");
    assert_eq!(drain(&finished), ["said", "close 1008"]);
}
