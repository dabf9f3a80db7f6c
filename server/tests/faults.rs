//! What is thrown at one process: kill -9, SIGSTOP. Steps write under a fence, so that attempts that overlap
//! are seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{fs, path::Path};

use rustix::process::Signal;
use serde_json::Value;
use support::{Server, wait_for_lock};

/// A pipeline whose first attempt waits for ever behind a fence and whose later attempts end at once.
fn fenced(folder: &Path) -> String {
    let (fence, notes) = (folder.join("fence").display().to_string(), folder.join("notes").display().to_string());
    format!(
        r#"
name: fenced
jobs:
  work:
    steps:
      - name: under the fence
        run: |
          exec 9>"{fence}"
          flock -n 9 || {{ echo overlap >> "{notes}"; exit 1; }}
          echo "begin $STEPCAST_ATTEMPT" >> "{notes}"
          echo "ready $STEPCAST_ATTEMPT"
          # A child that leaves its process group and ignores SIGTERM holds the fence too.
          if [ "$STEPCAST_ATTEMPT" = 1 ]; then
            setsid bash -c 'trap "" TERM; while :; do read -r -t 3600 <> <(:) || :; done' &
            while :; do read -r -t 3600 <> <(:) || :; done
          fi
          echo "end $STEPCAST_ATTEMPT" >> "{notes}"
      - name: after it
        run: echo done
"#
    )
}

fn job(build: &Value) -> &Value {
    &build["jobs"][0]
}

#[test]
fn p2_p7_a_build_goes_on_as_attempt_2_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(&["--slots", "1"]);
    server.apply("fenced", &fenced(folder.path()));
    let id = server.trigger("fenced");
    server.apply("quick", "name: quick\njobs: {a: {steps: [{run: echo hi}]}}\n");
    let waiting = server.trigger("quick");
    server.until_line(&id, "ready 1");
    server.kill();
    server.restart();
    let build = server.finished(&id);
    assert_eq!(build["outcome"], "succeeded", "{build}");
    assert_eq!(job(&build)["attempt"], 2);
    assert_eq!(
        fs::read_to_string(folder.path().join("notes")).unwrap().lines().take(3).collect::<Vec<_>>(),
        ["begin 1", "begin 2", "end 2"]
    );
    // The line that attempt 1 had printed is still there, under its own epoch.
    let id = job(&build)["id"].as_str().unwrap();
    assert_eq!(server.log(id, 1), ["ready 1"]);
    assert_eq!(server.log(id, 2), ["ready 2", "done"]);
    // What was only queued has run as well.
    assert_eq!(server.finished(&waiting)["outcome"], "succeeded");
}

#[test]
fn p1_what_was_answered_202_runs_after_kill_9() {
    let mut server = Server::start(&["--slots", "2"]);
    server.apply("quick", "name: quick\njobs: {a: {steps: [{run: echo hi}]}}\n");
    let ids: Vec<String> = (0..20).map(|_| server.trigger("quick")).collect();
    server.kill();
    server.restart();
    for id in &ids {
        let build = server.finished(id);
        assert_eq!(build["outcome"], "succeeded", "{build}");
    }
}

#[test]
fn sigterm_lets_what_runs_end_and_begins_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let mut server = Server::start(&["--slots", "1", "--drain-seconds", "60"]);
    let wait = format!("until [ -e '{}' ]; do read -r -t 0.05 <> <(:) || :; done", gate.display());
    server
        .apply("slow", &format!("name: slow\njobs: {{a: {{steps: [{{run: \"echo ready; {wait}; echo over\"}}]}}}}\n"));
    let (running, waiting) = (server.trigger("slow"), server.trigger("slow"));
    server.until_line(&running, "ready");
    server.signal(Signal::TERM);
    // Read while it drains: the pages of who watches stay.
    assert_eq!(server.build(&running)["state"], "running");
    fs::write(&gate, "").unwrap();
    assert_eq!(server.ended(), Some(0));
    server.restart();
    for id in [&running, &waiting] {
        let build = server.finished(id);
        assert_eq!((&build["outcome"], &job(&build)["attempt"]), (&"succeeded".into(), &1.into()), "{build}");
    }
}

#[test]
fn p2_a_stopped_server_loses_its_steps_at_the_lease_and_attempts_never_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&["--slots", "1", "--lease-seconds", "6"]);
    server.apply("fenced", &fenced(folder.path()));
    let id = server.trigger("fenced");
    server.until_line(&id, "ready 1");
    server.signal(Signal::STOP);
    // Nobody but the guard is awake to end the tree; the fence is free once the last of it is gone.
    wait_for_lock(&folder.path().join("fence"));
    server.signal(Signal::CONT);
    let build = server.finished(&id);
    assert_eq!((build["outcome"].as_str(), job(&build)["attempt"].as_u64()), (Some("succeeded"), Some(2)), "{build}");
    let notes = fs::read_to_string(folder.path().join("notes")).unwrap();
    assert_eq!(notes, "begin 1\nbegin 2\nend 2\n");
}

#[test]
fn a_job_that_is_lost_too_often_fails_with_the_reason_and_can_be_retried() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(&["--slots", "1"]);
    server.apply("fenced", &fenced(folder.path()).replace("    steps:", "    lost_attempts: 1\n    steps:"));
    let id = server.trigger("fenced");
    server.until_line(&id, "ready 1");
    server.kill();
    server.restart();
    let build = server.finished(&id);
    assert_eq!(build["outcome"], "failed", "{build}");
    assert!(job(&build)["reason"].as_str().unwrap().contains("lost"), "{build}");
    let again = server.post(&format!("/api/v1/builds/{id}/retry"), &serde_json::json!({"failed_only": true}));
    assert_eq!(again.status, 202, "{}", again.text);
    let build = server.finished(&id);
    assert_eq!((build["outcome"].as_str(), job(&build)["attempt"].as_u64()), (Some("succeeded"), Some(2)), "{build}");
}
