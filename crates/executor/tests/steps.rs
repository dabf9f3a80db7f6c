//! Steps under real bash: order, ends, environment, cancel, timeout.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::time::Instant;

use broker::{Outgoing, topology};
use stage::{Stage, gone, job, lines, runs, texts};
use wire::{
    Event, Outcome,
    pipeline::Stderr,
    task::{ExecutorNotice, to_bytes},
};

#[tokio::test]
async fn p3_stdout_and_stderr_come_in_the_order_they_were_written() {
    let mut stage = Stage::start().await;
    let (events, finished) = stage.run(job(&["for i in $(seq 1 300); do echo out $i; echo err $i >&2; done"])).await;
    let expected: Vec<String> = (1..=300).flat_map(|i| [format!("out {i}"), format!("err {i}")]).collect();
    assert_eq!(texts(&events), expected);
    assert!(lines(&events).iter().map(|line| line.n).eq(0..600));
    assert_eq!((finished.outcome, finished.reason), (Outcome::Succeeded, None));
    assert!(matches!(&events[0], Event::StepStarted { step: 0, .. }));
    let last = Event::StepFinished { step: 0, outcome: Outcome::Succeeded, exit_code: Some(0), reason: None };
    assert_eq!(events.last(), Some(&last));
}

#[tokio::test]
async fn standard_error_is_marked_where_a_step_asks_for_it_and_no_line_of_either_stream_is_lost() {
    let mut stage = Stage::start().await;
    // Also by its name, and through a step that does not ask.
    let each = "for i in $(seq 1 3000); do echo out $i; echo err $i >&2; done; echo named > /dev/stderr";
    let mut job = job(&[each, "echo merged >&2", "echo again >&2; echo last"]);
    for step in [0, 2] {
        job.steps[step].stderr = Stderr::Marked;
    }
    let (events, finished) = stage.run(job).await;
    assert_eq!((finished.outcome, finished.reason), (Outcome::Succeeded, None));
    let lines = lines(&events);
    assert!(lines.iter().map(|line| line.n).eq(0..6_004));
    let of = |err: bool| lines.iter().filter(move |line| line.err == err).map(|line| line.text.clone());
    let out: Vec<_> = (1..=3_000).map(|i| format!("out {i}")).chain(["merged".into(), "last".into()]).collect();
    let err: Vec<_> = (1..=3_000).map(|i| format!("err {i}")).chain(["named".into(), "again".into()]).collect();
    assert_eq!(of(false).collect::<Vec<_>>(), out);
    assert_eq!(of(true).collect::<Vec<_>>(), err);
}

#[tokio::test]
async fn where_memory_runs_out_a_step_goes_before_its_guard() {
    let mut stage = Stage::start().await;
    let score = "/proc/self/oom_score_adj";
    let (events, finished) = stage.run(job(&[&format!("cat {score}; bash -c 'cat {score}'")])).await;
    assert_eq!((finished.outcome, finished.reason), (Outcome::Succeeded, None));
    let told: Vec<i32> = lines(&events).iter().map(|line| line.text.parse().unwrap()).collect();
    // What started the guard hands its own on.
    let own: i32 = std::fs::read_to_string(score).unwrap().trim().parse().unwrap();
    assert!(told.len() == 2 && told.iter().all(|step| *step > own), "{told:?}, {own}");
}

#[tokio::test]
async fn a_step_that_fails_is_the_last_and_tells_its_status() {
    let mut stage = Stage::start().await;
    let (events, finished) = stage.run(job(&["echo one", "exit 3", "echo never"])).await;
    let failed = Event::StepFinished { step: 1, outcome: Outcome::Failed, exit_code: Some(3), reason: None };
    assert_eq!(events.last(), Some(&failed));
    assert_eq!((finished.outcome, texts(&events)), (Outcome::Failed, vec!["one".to_owned()]));
    let (events, _) = stage.run(job(&["false | true; echo never"])).await;
    assert!(texts(&events).is_empty(), "a failure in a pipe went unnoticed");
    let (events, _) = stage.run(job(&["kill -9 $$"])).await;
    let Some(Event::StepFinished { reason: Some(reason), exit_code: None, .. }) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(reason, "ended by signal 9");
}

#[tokio::test]
async fn a_step_that_leaves_children_ends_at_once_and_they_end_with_the_job() {
    let mut stage = Stage::start().await;
    let fork = r#"setsid bash -c 'trap "" TERM HUP; echo $$ > pid; while :; do sleep 1000; done' &
        until [ -s pid ]; do :; done; cat pid"#;
    let (events, finished) = stage.run(job(&[fork, r#"kill -0 "$(cat pid)" && echo alive"#])).await;
    let texts = texts(&events);
    assert_eq!((finished.outcome, texts[1].as_str()), (Outcome::Succeeded, "alive"));
    assert!(!runs(&texts[0]), "what the step left still runs");
}

#[tokio::test]
async fn a_notice_that_control_does_not_stand_by_cancels_nothing() {
    // The next regular renewal is twenty minutes away.
    let mut stage = Stage::with_lease(3_600_000).await;
    let go = stage.dir.path().join("go");
    let grant = job(&[&format!("echo begun; until [ -e '{}' ]; do sleep 0.01; done", go.display())]);
    let lease = grant.lease;
    stage.trigger(grant).await;
    stage.line(|line| line.text == "begun").await;
    let before = stage.script.lock().unwrap().renewals;
    let notice = Outgoing::new(
        topology::Exchange::Direct,
        topology::executor(stage.id).name,
        to_bytes(ExecutorNotice::Cancel { lease }),
    );
    stage.broker.publish(notice).await.unwrap();
    // It asks, and is told that the attempt goes on.
    while stage.script.lock().unwrap().renewals == before {
        tokio::task::yield_now().await;
    }
    std::fs::write(go, "").unwrap();
    let (_, finished) = stage.rest().await;
    assert_eq!(finished.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn cancel_asks_every_process_of_the_tree_and_then_kills_it() {
    let mut stage = Stage::start().await;
    let deaf = r#"set +e; trap 'echo asked' TERM; (trap '' TERM; echo $BASHPID; while :; do sleep 1000; done) & while :; do sleep 0.01; done"#;
    let grant = job(&[deaf, "echo never"]);
    let lease = grant.lease;
    stage.trigger(grant).await;
    let pid = stage.line(|_| true).await.text;
    stage.script.lock().unwrap().cancelled.push(lease);
    let notice = Outgoing::new(
        topology::Exchange::Direct,
        topology::executor(stage.id).name,
        to_bytes(ExecutorNotice::Cancel { lease }),
    );
    stage.broker.publish(notice).await.unwrap();
    let (events, finished) = stage.rest().await;
    assert_eq!(finished.outcome, Outcome::Cancelled);
    assert!(texts(&events).contains(&"asked".to_owned()), "{events:?}");
    let Some(Event::StepFinished { step: 0, outcome: Outcome::Cancelled, .. }) = events.last() else {
        panic!("{events:?}")
    };
    gone(&pid).await;
}

#[tokio::test]
async fn a_job_whose_time_is_up_ends_as_timed_out() {
    let mut stage = Stage::start().await;
    let mut grant = job(&["sleep 1000"]);
    grant.timeout_seconds = 1;
    let (_, finished) = stage.run(grant).await;
    assert_eq!(finished.outcome, Outcome::TimedOut);
    assert_eq!(finished.reason.unwrap(), r#"step "sleep 1000": the job's time of 1 s was up"#);
}

#[tokio::test]
async fn a_step_sees_nothing_of_the_incarnation_that_ends_and_renews_its_job() {
    let mut stage = Stage::start().await;
    let seen = r#"pwd; echo "$0"; env; tr '\0' '\n' < /proc/$PPID/cmdline; ls -d ../*; cat /proc/self/mountinfo"#;
    let (events, finished) = stage.run(job(&[seen])).await;
    assert_eq!((finished.outcome, finished.reason), (Outcome::Succeeded, None));
    let incarnation = stage.registered.recv().await.unwrap();
    let texts = texts(&events);
    assert!(texts[0].contains("/jobs/"), "{texts:?}");
    for form in [incarnation.to_string(), incarnation.simple().to_string()] {
        assert!(!texts.iter().any(|text| text.contains(&form)), "{form} stands in {texts:?}");
    }
}

#[tokio::test]
async fn environment_is_never_read_as_a_command_and_holds_nothing_of_the_server() {
    let mut stage = Stage::start().await;
    let mut grant = job(&[
        r#"echo "$INPUT_REF"; echo "${CARGO_MANIFEST_DIR-unset} $CI $STEP $STEPCAST_NUMBER""#,
        r#"env | grep ^STEPCAST_ | cut -d= -f1 | sort | tr '\n' ' '"#,
    ]);
    let nasty = "$(touch spliced) `id`; '\"\\ \u{1F980}";
    grant.env.insert("INPUT_REF".to_owned(), nasty.to_owned());
    grant.steps[0].env.insert("STEP".to_owned(), "mine".to_owned());
    assert!(
        std::env::var_os("CARGO_MANIFEST_DIR").is_some(),
        "cargo sets it, so that its absence below says something"
    );
    let (events, _) = stage.run(grant).await;
    let stepcast = "STEPCAST_ATTEMPT STEPCAST_BUILD STEPCAST_JOB STEPCAST_JOB_NAME STEPCAST_NUMBER STEPCAST_PIPELINE ";
    assert_eq!(texts(&events), [nasty, "unset true mine 7", stepcast]);
}

#[tokio::test]
async fn a_job_whose_guard_is_killed_fails_with_a_reason_and_leaves_nothing_behind() {
    if stage::in_sandbox() {
        return; // No step can kill it there: sandbox.rs says so.
    }
    let mut stage = Stage::start().await;
    let (events, finished) = stage.run(job(&["sleep 1000 & echo $!; kill -9 $PPID; sleep 1000"])).await;
    assert_eq!(finished.outcome, Outcome::Failed);
    assert!(finished.reason.unwrap().contains("the guard process of the job was killed"));
    gone(&texts(&events)[0]).await;
    assert_eq!(stage.run(job(&["true"])).await.1.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_job_that_leaves_a_process_which_cannot_be_killed_fails_and_names_it() {
    let left = "process 1 of user root was left behind: it may not be killed by the executor's user";
    let say = r#"line="${line%\}},\"left\":\"LEFT\"}""#.replace("LEFT", left);
    let mut stage = Stage::with_guards_that(10_000, &say).await;
    let (events, finished) = stage.run(job(&["true"])).await;
    let succeeded = Event::StepFinished { step: 0, outcome: Outcome::Succeeded, exit_code: Some(0), reason: None };
    assert_eq!(events.last(), Some(&succeeded));
    assert_eq!((finished.outcome, finished.reason.as_deref()), (Outcome::Failed, Some(left)));
    let (_, finished) = stage.run(job(&["kill -9 $$"])).await;
    let reason = format!(r#"step "kill -9 $$": ended by signal 9; {left}"#);
    assert_eq!((finished.outcome, finished.reason), (Outcome::Failed, Some(reason)));
}

#[tokio::test]
async fn a_workspace_that_cannot_be_made_fails_the_job_with_a_reason() {
    let mut stage = Stage::start().await;
    stage.registered.recv().await.unwrap();
    // The first job takes the guard that was warm, and its directories with it.
    assert_eq!(stage.run(job(&["true"])).await.1.outcome, Outcome::Succeeded);
    let jobs = stage.dir.path().join("work/jobs");
    let put_in_the_way = || std::fs::remove_dir_all(&jobs).is_ok() && std::fs::write(&jobs, "in the way").is_ok();
    while !put_in_the_way() {
        std::thread::yield_now();
    }
    let (events, finished) = stage.run(job(&["true"])).await;
    assert_eq!((events.len(), finished.outcome), (0, Outcome::Failed));
    assert!(finished.reason.unwrap().contains("could not be made"));
}

#[tokio::test]
async fn two_jobs_run_side_by_side_and_a_third_takes_the_first_free_slot() {
    let mut stage = Stage::start().await;
    let began = Instant::now();
    let meet = |mine: &str, other: &str| {
        format!("touch {dir}/{mine}; until [ -e {dir}/{other} ]; do sleep 0.01; done", dir = stage.dir.path().display())
    };
    let (one, two) = (meet("one", "two"), meet("two", "one"));
    for steps in [&one[..], &two[..], "true"] {
        stage.trigger(job(&[steps])).await;
    }
    for _ in 0..3 {
        assert_eq!(stage.end().await.outcome, Outcome::Succeeded);
    }
    eprintln!("three jobs on two slots: {:?}", began.elapsed());
}
