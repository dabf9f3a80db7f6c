//! What is thrown at one process: kill -9, SIGSTOP, a full disk. Steps write under a fence, so that attempts that overlap
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
    server.events(&id).until_line("ready 1");
    server.until_recorded(job(&server.build(&id))["id"].as_str().unwrap(), 1, "ready 1");
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
    server.events(&running).until_line("ready");
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
    let server = Server::start(&["--slots", "1", "--lease-seconds", "2"]);
    server.apply("fenced", &fenced(folder.path()));
    let id = server.trigger("fenced");
    server.events(&id).until_line("ready 1");
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
    server.events(&id).until_line("ready 1");
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

#[test]
fn a_full_disk_is_told_and_nothing_accepted_is_lost() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: mounting a small disk needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&folder.path().join("disk"), "24m");
    let mut server = Server::start_in(&disk.path.join("data"), &["--slots", "1"]);
    server.apply("quick", "name: quick\njobs: {a: {steps: [{run: echo hi}]}}\n");
    let before = server.trigger("quick");
    assert_eq!(server.finished(&before)["outcome"], "succeeded");
    let filler = disk.path.join("filler");
    fill(&filler);
    let mut accepted = Vec::new();
    let refused = loop {
        let answer = server.post("/api/v1/pipelines/quick/builds", &serde_json::json!({}));
        match answer.status {
            202 => accepted.push(answer.json()["id"].as_str().unwrap().to_owned()),
            _ => break answer,
        }
        assert!(accepted.len() < 10_000, "the disk is full and triggers are accepted for ever");
        fill(&filler);
    };
    assert_eq!((refused.status, refused.content_type.as_str()), (507, "application/problem+json"), "{}", refused.text);
    assert!(refused.json()["detail"].as_str().unwrap().contains("full"), "{}", refused.text);
    fs::remove_file(&filler).unwrap();
    for id in &accepted {
        assert_eq!(server.finished(id)["outcome"], "succeeded");
    }
    let after = server.trigger("quick");
    assert_eq!(server.finished(&after)["outcome"], "succeeded");
    server.kill();
}

#[test]
fn p7_a_disk_that_fills_while_a_job_prints_loses_no_line() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: mounting a small disk needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let disk = SmallDisk::mount(&folder.path().join("disk"), "32m");
    let mut server = Server::start_in(&disk.path.join("data"), &["--slots", "1", "--lease-seconds", "4"]);
    let run = format!("seq 1 100; echo ready; until [ -e {} ]; do sleep 0.05; done; seq 101 50000", gate.display());
    server.apply("print", &format!("name: print\njobs: {{a: {{steps: [{{run: {}}}]}}}}\n", serde_json::json!(run)));
    let id = server.trigger("print");
    server.events(&id).until_line("ready");
    let filler = disk.path.join("filler");
    fill(&filler);
    fs::write(&gate, "").unwrap();
    while server.post("/api/v1/pipelines/print/builds", &serde_json::json!({})).status == 202 {
        fill(&filler);
    }
    fs::remove_file(&filler).unwrap();
    let build = server.finished(&id);
    assert_eq!(build["outcome"], "succeeded", "{build}");
    let (job, attempt) = (job(&build)["id"].as_str().unwrap(), job(&build)["attempt"].as_u64().unwrap());
    let expected =
        (1..=100).map(|n| n.to_string()).chain(["ready".to_owned()]).chain((101..=50_000).map(|n| n.to_string()));
    server.log(job, attempt);
    let text = server.get(&format!("/api/v1/jobs/{job}/log.txt?attempt={attempt}")).text;
    assert!(text.lines().eq(expected), "the log of attempt {attempt} is not whole: {} lines", text.lines().count());
    server.kill();
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    let block = [0_u8; 4096];
    while file.write_all(&block).is_ok() {}
}

/// A file system of its own, gone with the value.
struct SmallDisk {
    path: std::path::PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path, size: &str) -> Self {
        fs::create_dir_all(path).unwrap();
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .status()
            .unwrap();
        assert!(status.success());
        Self { path: path.to_owned() }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
