//! What steps print: terminals' habits, volume, and a broker that confirms late.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::time::{Duration, Instant};

use stage::{Stage, job, lines, texts};
use wire::{Outcome, log::LINE_BYTES_MAX, task::ExecutorNotice};

#[tokio::test]
async fn progress_bars_and_broken_bytes_look_as_on_a_terminal() {
    let mut stage = Stage::start().await;
    let (events, _) =
        stage.run(job(&[r"printf '10%%\r55%%\r100%%\n'; printf 'caf\xe9\n\xc3'; printf '\xa9 \e[1mbold\e[0m'"])).await;
    assert_eq!(texts(&events), ["100%", "caf\u{FFFD}", "é \u{1b}[1mbold\u{1b}[0m"]);
}

#[tokio::test]
async fn a_line_without_an_end_is_shown_while_the_step_still_waits() {
    let mut stage = Stage::start().await;
    let go = stage.dir.path().join("go");
    let ask = format!("printf 'Password: '; until [ -e {} ]; do sleep 0.01; done; echo given", go.display());
    stage.trigger(job(&[&ask])).await;
    let open = stage.line(|line| line.open).await;
    assert_eq!((open.n, &open.text[..]), (0, "Password: "));
    std::fs::write(go, "").unwrap();
    let (events, _) = stage.rest().await;
    let closed = lines(&events).remove(0);
    assert_eq!((closed.n, &closed.text[..], closed.open), (0, "Password: given", false));
}

#[tokio::test]
async fn a_line_above_the_limit_is_split_and_marked() {
    let mut stage = Stage::start().await;
    let (events, _) = stage.run(job(&[r"head -c 150000 /dev/zero | tr '\0' x; echo; echo end"])).await;
    let lines = lines(&events);
    assert_eq!(lines.iter().map(|line| line.split).collect::<Vec<_>>(), [true, true, false, false]);
    assert!(lines.iter().all(|line| line.text.len() <= LINE_BYTES_MAX));
    assert_eq!(lines[..3].iter().map(|line| line.text.len()).sum::<usize>(), 150_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_hundred_thousand_lines_arrive_complete_and_in_order() {
    let mut stage = Stage::start().await;
    let began = Instant::now();
    stage
        .trigger(job(&["seq -f 'line %06.0f: the quick brown fox jumps over the lazy dog, again and again' 100000"]))
        .await;
    let finished = stage.end().await;
    let took = began.elapsed();
    let mut all = Vec::new();
    let mut events = 0;
    loop {
        let (message, event) = stage.event().await;
        events += 1;
        all.extend(lines(&[event]));
        if Some(message.offset) == finished.last_offset {
            break;
        }
    }
    assert_eq!(all.len(), 100_000);
    for (at, line) in (0..).zip(&all) {
        let text = format!("line {:06}: the quick brown fox jumps over the lazy dog, again and again", at + 1);
        assert_eq!((line.n, &line.text), (at, &text));
    }
    eprintln!("100,000 lines from the hint to the finish: {took:?}, in {events} events");
}

#[tokio::test]
async fn p3_a_broker_that_does_not_confirm_holds_the_step_back_and_nothing_is_lost() {
    let mut stage = Stage::start().await;
    let done = stage.dir.path().join("done");
    let print = format!("seq -f '%.0f {}' 100000; touch {}", "x".repeat(200), done.display());
    stage.journal.hold();
    stage.script.lock().unwrap().grants.push_back(job(&[&print]));
    let label_set = wire::LabelSet::default();
    let hint = wire::task::to_bytes(wire::task::Hint { label_set: label_set.clone() });
    stage.broker.declare(&broker::topology::tasks(&label_set)).await.unwrap();
    let hint = broker::Outgoing::new(broker::topology::Exchange::Tasks, label_set.to_string(), hint);
    drop(stage.broker.publish(hint)); // Its confirm is held back, too.
    let (mut events, mut bytes) = (Vec::new(), 0);
    let mut read = |event| {
        bytes += lines(std::slice::from_ref(&event)).iter().map(|line| line.text.len()).sum::<usize>();
        events.push(event);
        bytes
    };
    while read(stage.event().await.1) < 3_000_000 {}
    // The window is full when nothing comes any more.
    while let Some(event) = stage.event_within(Duration::from_millis(500)).await {
        read(event);
    }
    assert!(bytes < 6_000_000, "{bytes} bytes were read without a confirm");
    assert!(!done.exists(), "the step was not held back");
    stage.journal.release();
    let (rest, finished) = stage.rest().await;
    events.extend(rest);
    assert_eq!(finished.outcome, Outcome::Succeeded);
    assert!(lines(&events).iter().map(|line| line.n).eq(0..100_000));
}

#[tokio::test]
async fn p3_what_was_not_confirmed_is_published_again_and_nothing_is_missing() {
    let mut stage = Stage::with(10_000, |n| matches!(n, 0 | 3 | 4 | 9)).await;
    stage.trigger(job(&["for i in $(seq 1 20); do echo $i; sleep 0.03; done"])).await;
    let finished = stage.end().await;
    // As a reader does: what it has it drops, and what comes too early comes again.
    let mut applied = Vec::new();
    while applied.len() as u64 <= finished.last_offset.unwrap() {
        let (message, event) = stage.event().await;
        if message.offset == applied.len() as u64 {
            applied.push(event);
        }
    }
    assert!(texts(&applied).into_iter().eq((1..=20).map(|i| i.to_string())));
    assert!(stage.published() > applied.len(), "nothing was published twice, so nothing was lost either");
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_log_beyond_its_limit_is_read_and_not_kept_and_the_job_goes_on() {
    let mut stage = Stage::start().await;
    let mut grant = job(&["head -c 400000000 <(yes 'a line of a flood'); echo ok >&2", "echo second; exit 3"]);
    grant.log_limit = Some(1_000_000);
    let (events, finished) = stage.run(grant).await;
    let lines = lines(&events);
    assert!(lines.iter().map(|line| line.n).eq(0..lines.len() as u64));
    let kept: usize = lines.iter().filter(|line| !line.note).map(|line| line.text.len() + 8).sum();
    assert!((1_000_000..1_000_100).contains(&kept), "{kept} bytes are kept");
    let notes: Vec<&str> = lines.iter().filter(|line| line.note).map(|line| &line.text[..]).collect();
    let printed: usize = lines.iter().filter(|line| !line.note).map(|line| line.text.len() + 1).sum();
    let left_out: String = notes[1].chars().filter(char::is_ascii_digit).collect();
    assert_eq!(notes[0], "Log limit of 1 MB reached: what follows is not kept.");
    assert_eq!(left_out.parse::<usize>().unwrap(), 400_000_003 - printed, "{notes:?}");
    assert_eq!(notes[2], "7 bytes of this step's output were not kept.");
    // Neither step was held back or ended by it, and the outcome is the second one's own.
    let ends: Vec<_> = events
        .iter()
        .filter_map(
            |event| if let wire::Event::StepFinished { exit_code, .. } = event { Some(*exit_code) } else { None },
        )
        .collect();
    assert_eq!((ends, finished.outcome), (vec![Some(0), Some(3)], Outcome::Failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_step_waits_while_control_says_hold_and_goes_on_afterwards() {
    let mut stage = Stage::start().await;
    let (go, done) = (stage.dir.path().join("go"), stage.dir.path().join("done"));
    let wait = format!("until [ -e {} ]; do read -r -t 0.02 <> <(:) || :; done", go.display());
    let grant = job(&[&format!("echo first; {wait}; seq 1 200000; touch {}", done.display())]);
    let lease = grant.lease;
    stage.trigger(grant).await;
    stage.line(|line| line.text == "first").await;
    stage.script.lock().unwrap().hold = true;
    for _ in 0..2 {
        // Asked for at once. Polled in this order: the wait begins before the notice.
        tokio::join!(stage.renewed(1), stage.notify(ExecutorNotice::Cancel { lease }));
    }
    std::fs::write(go, "").unwrap();
    // The next regular one: by then a step that is not held back is long over.
    stage.renewed(1).await;
    assert!(!done.exists(), "the step was not held back");
    stage.script.lock().unwrap().hold = false;
    stage.notify(ExecutorNotice::Cancel { lease }).await;
    let (events, finished) = stage.rest().await;
    assert_eq!((finished.outcome, done.exists()), (Outcome::Succeeded, true));
    assert!(texts(&events).into_iter().eq((1..=200_000).map(|n| n.to_string())), "a line is missing");
}
