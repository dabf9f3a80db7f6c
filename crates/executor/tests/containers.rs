//! Jobs in real containers of a private engine, Podman or Docker: what a step sees, how it ends, what is left, and that the
//! guard keeps its word (P2) there too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod engine;
mod stage;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use engine::{Engine, IMAGE};
use executor::{ContainersChoice, ExecutorConfig};
use rustix::process::{Pid, Signal, kill_process};
use stage::{PATIENCE, Stage, job, texts};
use wire::{
    Event, Limits, Outcome,
    pipeline::{SourceSpec, Stderr},
    task::{ExecutorNotice, Grant},
};

async fn stage(engine: &Engine) -> Stage {
    with(engine, |_| {}).await
}

async fn with(engine: &Engine, change: impl FnOnce(&mut ExecutorConfig)) -> Stage {
    Stage::configured(|config| {
        config.containers = ContainersChoice::Socket(engine.socket());
        change(config);
    })
    .await
}

/// A job with these steps in a container. Without a network: a bridge cannot be made on every machine.
fn contained(steps: &[&str]) -> Grant {
    Grant { image: Some(IMAGE.parse().unwrap()), network: false, ..job(steps) }
}

/// Whose containers the stage's are.
fn label(stage: &Stage) -> String {
    format!("stepcast.executor={}", stage.id)
}

/// Runs steps that must succeed, and tells what they printed after the line about the container.
async fn said(stage: &mut Stage, grant: Grant) -> Vec<String> {
    let (events, finished) = stage.run(grant).await;
    assert_eq!((finished.outcome, finished.reason), (Outcome::Succeeded, None), "{events:?}");
    let mut texts = texts(&events);
    let first = texts.iter().position(|text| text.starts_with("Runs in a container of ")).expect("it is said");
    texts.drain(..=first);
    texts
}

async fn until_none_is_left(engine: &Engine, label: &str) {
    let wait = async {
        while !engine.containers(label).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the containers go");
}

/// The process ids of the stage's guards that have an engine.
fn guards(stage: &Stage) -> Vec<Pid> {
    let lock = format!("STEPCAST_GUARD_LOCK={}", stage.dir.path().display());
    let has_engine = |pid: &u32| {
        let told = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let told = String::from_utf8_lossy(&told).into_owned();
        told.contains(&lock) && told.contains("STEPCAST_GUARD_ENGINE=")
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(has_engine);
    pids.filter_map(|pid| Pid::from_raw(pid.cast_signed())).collect()
}

#[tokio::test]
async fn the_steps_of_a_job_share_one_container_that_sees_the_image_and_the_workspace() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    let mut grant = contained(&[
        "of-the-image; echo $PATH $OF_THE_IMAGE $CI $STEPCAST_NUMBER $GREETING; pwd; echo of-step-1 >/tmp/kept; echo here >file",
        "cat /tmp/kept file; sleep 1000 & echo $! >/tmp/background",
        "kill -0 $(cat /tmp/background) && echo 'still runs'",
    ]);
    grant.env = [("GREETING".to_owned(), "hello".to_owned())].into();
    let texts = said(&mut stage, grant).await;
    let (workspace, expected) = (texts[2].clone(), ["of-step-1", "here", "still runs"]);
    assert_eq!(texts[..2], ["a program of the image", "/opt/own:/bin yes true 7 hello"]);
    assert!(workspace.starts_with(stage.dir.path().to_str().unwrap()) && workspace.ends_with("/workspace"));
    assert_eq!(texts[3..], expected);
    assert_eq!(engine.containers(&label(&stage)), [""; 0], "the container goes before the end is told");
}

#[tokio::test]
async fn a_container_reaches_nothing_of_the_machine_and_has_no_rights() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "of the machine").unwrap();
    let attack = format!(
        "cat {0}/secret {1} 2>/dev/null || true; ls {2} 2>/dev/null || true
         env | grep -icE 'broker|amqp|token|CARGO|HOME=/root/' || true
         grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status
         for socket in /run/podman/podman.sock /var/run/docker.sock {3}; do ! test -e $socket || echo open $socket; done
         (echo x >../private/step-0.sh) 2>/dev/null && echo written || true
         ls /tmp; mount | grep -c ' {4}' ",
        folder.path().display(),
        "/proc/1/root/etc/shadow",
        stage.dir.path().join("work").display(),
        engine.socket().display(),
        stage.dir.path().display(),
    );
    let texts = said(&mut stage, contained(&[&attack])).await;
    assert_eq!(
        texts,
        ["jobs", "0", "CapEff:\t00000000800004fb", "CapBnd:\t00000000800004fb", "NoNewPrivs:\t1", "3"],
        "the way to the workspace, no variable, no right, no socket; and workspace, scripts and inputs are mounted"
    );
}

#[tokio::test]
async fn output_is_live_and_in_order_and_standard_error_is_told_apart_where_it_is_wanted() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    let mut grant = contained(&[
        "until test -e go; do :; done; i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done",
        "echo plain; echo marked >&2",
    ]);
    grant.steps[1].stderr = Stderr::Marked;
    // The workspace is found by what the step prints.
    grant.steps[0].run.insert_str(0, "pwd\n");
    stage.trigger(grant).await;
    let workspace = stage.line(|line| line.text.ends_with("/workspace")).await.text;
    fs::write(format!("{workspace}/go"), "").unwrap();
    let mut lines = Vec::new();
    let finished = loop {
        match stage.event().await.1 {
            Event::Log { lines: more, .. } => lines.extend(more.into_iter().filter(|line| !line.open)),
            Event::StepFinished { step: 2, outcome, .. } => break outcome,
            _ => {}
        }
    };
    assert_eq!(finished, Outcome::Succeeded);
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).filter(|text| text.contains(' ')).collect();
    let expected: Vec<String> = (0..200).flat_map(|n| [format!("out {n}"), format!("err {n}")]).collect();
    assert_eq!(texts, expected);
    let marked = |text: &str| lines.iter().find(|line| line.text == text).unwrap().err;
    assert!(!marked("plain") && marked("marked"));
}

#[tokio::test]
async fn a_step_fails_as_its_script_does_and_the_next_one_is_not_begun() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    let (events, finished) = stage.run(contained(&["false | cat; echo not here", "echo never"])).await;
    let code = events.iter().find_map(|event| match event {
        Event::StepFinished { step: 1, exit_code, .. } => Some(*exit_code),
        _ => None,
    });
    assert_eq!((finished.outcome, code), (Outcome::Failed, Some(Some(1))), "{events:?}");
    assert!(!texts(&events).iter().any(|text| text.contains("here") || text.contains("never")), "{events:?}");
    let (events, finished) = stage.run(contained(&["exit 42"])).await;
    assert!(events.iter().any(|event| matches!(event, Event::StepFinished { exit_code: Some(42), .. })), "{events:?}");
    assert_eq!(finished.outcome, Outcome::Failed);
}

#[tokio::test]
async fn a_job_whose_time_is_up_is_asked_and_then_killed() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    let began = Instant::now();
    said(&mut stage, contained(&["true"])).await;
    let mut grant = contained(&["trap 'echo asked' TERM; echo begun; while :; do sleep 1000 & wait; done"]);
    // A container needs some of it, here and now about as much as the one before.
    grant.timeout_seconds = 5 + 3 * began.elapsed().as_secs();
    let (events, finished) = stage.run(grant).await;
    assert_eq!(finished.outcome, Outcome::TimedOut, "{events:?}");
    assert!(texts(&events).contains(&"asked".to_owned()), "{events:?}");
    assert_eq!(engine.containers(&label(&stage)), [""; 0]);
}

#[tokio::test]
async fn a_job_that_is_cancelled_ends_with_all_its_processes() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    let grant = contained(&["(trap '' TERM; sleep 1000) & echo begun; sleep 1000"]);
    let lease = grant.lease;
    stage.trigger(grant).await;
    stage.line(|line| line.text == "begun").await;
    stage.script.lock().unwrap().cancelled.push(lease);
    stage.notify(ExecutorNotice::Cancel { lease }).await;
    let finished = stage.end().await;
    assert_eq!(finished.outcome, Outcome::Cancelled);
    assert_eq!(engine.containers(&label(&stage)), [""; 0]);
}

#[tokio::test]
async fn a_job_without_the_network_has_none_and_its_limits_hold() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    let devices = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '";
    assert_eq!(said(&mut stage, contained(&[devices])).await, ["lo"]);
    if engine.has_bridge() {
        let connected = Grant { network: true, ..contained(&[devices]) };
        assert_eq!(said(&mut stage, connected).await, ["lo", "eth0"], "an own one, not the machine's");
    }
    let limits = Limits { memory: Some(64 << 20), processes: Some(20), file_size: Some(1 << 20), ..Limits::default() };
    let mut large = contained(&["head -c 2000000 /dev/zero >large"]);
    large.limits = limits;
    let (events, finished) = stage.run(large).await;
    assert_eq!(finished.outcome, Outcome::Failed, "{events:?}");
    assert!(finished.reason.unwrap().contains("a file had reached the job's limit of 1 MiB"), "{events:?}");
    let mut crowd = contained(&["i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done; echo all"]);
    crowd.limits = limits;
    let (events, finished) = stage.run(crowd).await;
    assert_eq!(finished.outcome, Outcome::Failed, "{events:?}");
    let mut hungry = contained(&["head -c 200000000 /dev/zero | tail -c 150000000 | wc -c"]);
    hungry.limits = limits;
    let (events, finished) = stage.run(hungry).await;
    assert_eq!(finished.outcome, Outcome::Failed, "{events:?}");
}

#[tokio::test]
async fn an_image_that_is_not_to_be_had_is_one_sentence() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    // Nobody listens on port 1.
    let mut grant = contained(&["echo never"]);
    grant.image = Some("localhost:1/nothing/here:2".parse().unwrap());
    let (events, finished) = stage.run(grant).await;
    let reason = finished.reason.unwrap();
    assert_eq!(finished.outcome, Outcome::Failed);
    let expected = "step \"container\": the image localhost:1/nothing/here:2 could not be pulled: ";
    assert!(reason.starts_with(expected), "{reason}");
    assert_eq!(texts(&events), ["Pulling localhost:1/nothing/here:2"]);
}

#[tokio::test]
async fn an_executor_without_containers_refuses_the_job() {
    let mut stage = Stage::start().await;
    let (_, finished) = stage.run(contained(&["echo never"])).await;
    assert_eq!(finished.outcome, Outcome::Failed);
    assert!(finished.reason.unwrap().contains("its executor has none"));
}

#[tokio::test]
async fn the_source_is_checked_out_beside_the_container_and_its_steps_may_change_it() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    // Where sandboxes see it too.
    let origin = stage.dir.path().join("origin");
    fs::create_dir(&origin).unwrap();
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(&origin).args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(words);
        assert!(git.status().unwrap().success());
    };
    git(&["init", "--quiet", "-b", "main", "."]);
    fs::create_dir(origin.join("deep")).unwrap();
    fs::write(origin.join("deep/file"), "from the repository\n").unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "first"]);
    let mut grant = contained(&[
        "cat deep/file; echo more >>deep/file; echo new >deep/new; rm -r .git; cat deep/file deep/new; command -v git || echo no git",
    ]);
    // The checkout is no business of the container, and goes over the network where it may.
    grant.network = engine.has_bridge();
    grant.source = Some(SourceSpec { git: origin.display().to_string(), reference: None });
    let texts = said(&mut stage, grant).await;
    assert_eq!(texts, ["from the repository", "from the repository", "more", "new", "no git"]);
}

#[tokio::test]
async fn p2_a_container_ends_with_its_lease_whatever_happened_to_the_executor() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = Stage::with_engine(15_000, engine.socket()).await;
    stage.trigger(contained(&["echo begun; sleep 1000"])).await;
    stage.line(|line| line.text == "begun").await;
    let label = label(&stage);
    assert_eq!(engine.containers(&label).len(), 1);
    stage.script.lock().unwrap().silent = true;
    until_none_is_left(&engine, &label).await;
}

#[tokio::test]
async fn p2_a_guard_that_is_killed_takes_its_container_with_it_and_the_job_fails() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    stage.trigger(contained(&["echo begun; sleep 1000"])).await;
    stage.line(|line| line.text == "begun").await;
    for guard in guards(&stage) {
        kill_process(guard, Signal::KILL).unwrap();
    }
    let finished = stage.end().await;
    assert_eq!(finished.outcome, Outcome::Failed);
    assert!(finished.reason.unwrap().contains("the guard process of the job was killed"));
    assert_eq!(engine.containers(&label(&stage)), [""; 0]);
}

#[tokio::test]
async fn an_executor_that_stops_leaves_no_container() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    stage.trigger(contained(&["echo begun; sleep 1000"])).await;
    stage.line(|line| line.text == "begun").await;
    stage.shutdown.cancel();
    tokio::time::timeout(PATIENCE, &mut stage.executor).await.expect("it ends").unwrap();
    assert_eq!(engine.containers(&label(&stage)), [""; 0]);
}

#[tokio::test]
async fn what_a_former_start_left_is_removed_at_the_next_one_and_what_is_anothers_is_not() {
    let Some(engine) = Engine::start() else { return };
    let id = wire::ExecutorId(uuid::Uuid::new_v4());
    let left = format!("stepcast.executor={id}");
    for label in [left.as_str(), "stepcast.executor=another"] {
        engine.run(&["run", "--detach", "--network", "none", "--label", label, IMAGE, "sleep", "1000"]);
    }
    let mut stage = with(&engine, |config| config.id = id).await;
    tokio::time::timeout(PATIENCE, stage.registered.recv()).await.expect("a registration").unwrap();
    assert_eq!(engine.containers(&left), [""; 0]);
    assert_eq!(engine.containers("stepcast.executor=another").len(), 1);
}

#[tokio::test]
async fn what_a_step_leaves_in_the_background_does_not_keep_the_step() {
    let Some(engine) = Engine::start() else { return };
    let mut stage = stage(&engine).await;
    let steps = [
        "(until test -e go; do :; done; echo from behind; echo >gone) & echo one",
        "echo >go; until test -e gone; do :; done; echo two",
    ];
    let mut texts = said(&mut stage, contained(&steps)).await;
    texts.retain(|text| text != "from behind");
    assert_eq!(texts, ["one", "two"]);
}

#[tokio::test]
async fn an_engine_that_is_named_and_does_not_answer_is_an_error_of_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sock");
    let reason = executor::containers_work(&ContainersChoice::Socket(socket.clone())).await.unwrap_err();
    assert!(reason.contains("cannot be reached"), "{reason}");
    assert_eq!(executor::containers_work(&ContainersChoice::Off).await, Ok(None));
}

/// A guard alone that is to make a container, and where its steps print.
struct Alone {
    process: Child,
    folder: tempfile::TempDir,
    label: String,
}

impl Alone {
    fn start(engine: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["workspace", "private"] {
            fs::create_dir(at(name)).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o777)).unwrap();
        }
        File::create(at("lock")).unwrap();
        assert!(Command::new("mkfifo").arg(at("private/output")).status().unwrap().success());
        let mut guard = Command::new(env!("CARGO_BIN_EXE_executor-guard"));
        guard.arg("guard").env("STEPCAST_GUARD_LOCK", at("lock")).env("STEPCAST_GUARD_ENGINE", engine);
        let process = guard.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { process, folder, label: uuid::Uuid::new_v4().to_string() }
    }

    fn tell(&mut self, command: &serde_json::Value) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    /// Tells it to make the container.
    fn contain(&mut self, limits: Limits) {
        let (workspace, private) = (self.folder.path().join("workspace"), self.folder.path().join("private"));
        self.tell(&serde_json::json!({"do": "extend", "until_ms": u64::MAX}));
        self.tell(&serde_json::json!({"do": "contain", "container": {
            "name": format!("stepcast-{}", self.label), "image": IMAGE, "labels": {"stepcast.executor": self.label},
            "workspace": workspace, "read": [private], "output": private.join("output"), "network": false,
            "limits": limits,
        }}));
    }
}

#[tokio::test]
async fn p2_a_container_ends_with_its_guard_though_a_step_stopped_all_that_it_could_and_no_executor_is_left() {
    let Some(engine) = Engine::start() else { return };
    let mut guard = Alone::start(&engine.socket());
    let private = guard.folder.path().join("private");
    // Both ends, so that nobody waits for the other one.
    let output = File::options().read(true).write(true).open(private.join("output")).unwrap();
    guard.contain(Limits::default());
    let heard = BufReader::new(guard.process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut heard = heard.inspect(|line| assert!(!line.contains("not_started"), "{line}"));
    heard.find(|line| line.contains("exited")).unwrap();
    fs::write(private.join("step.sh"), "kill -STOP -1 || true; echo stopped; sleep 1000").unwrap();
    let env = serde_json::json!({"PATH": "/bin"});
    let cwd = guard.folder.path().join("workspace");
    guard.tell(&serde_json::json!({"do": "start", "script": private.join("step.sh"), "cwd": cwd, "env": env}));
    BufReader::new(output).lines().map(Result::unwrap).find(|line| line == "stopped").unwrap();
    let label = format!("stepcast.executor={}", guard.label);
    assert_eq!(engine.containers(&label).len(), 1);
    // Its executor says nothing, as a stopped one does, and is gone without having heard of this.
    guard.process.kill().unwrap();
    guard.process.wait().unwrap();
    until_none_is_left(&engine, &label).await;
}

/// Listens as an engine that answers the heads of requests so, or goes away.
fn pretended(folder: &Path, answer: fn(&str) -> Option<(&'static str, &'static str)>) -> PathBuf {
    let socket = folder.join("sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            let mut head = String::new();
            let mut reader = BufReader::new(&connection);
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
            if let Some((status, body)) = answer(&head) {
                let _ = write!(connection, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        }
    });
    socket
}

#[test]
fn a_container_whose_making_was_not_answered_is_told_as_left() {
    let folder = tempfile::tempdir().unwrap();
    // It has every image, and goes away when it is to make a container.
    let socket = pretended(folder.path(), |head| match head {
        head if head.contains("/containers/create") => None,
        head if head.contains("/images/") => Some(("200 OK", r#"{"Id":"1234"}"#)),
        _ => Some(("404 Not Found", "{}")),
    });
    let mut guard = Alone::start(&socket);
    let _output = File::options().read(true).write(true).open(guard.folder.path().join("private/output")).unwrap();
    guard.contain(Limits::default());
    let mut heard = BufReader::new(guard.process.stdout.take().unwrap()).lines().map(Result::unwrap);
    heard.find(|line| line.contains("not_started")).unwrap();
    guard.tell(&serde_json::json!({"do": "end"}));
    let ended = heard.find(|line| line.contains("\"is\":\"ended\"")).unwrap();
    assert!(ended.contains("may be made yet"), "{ended}");
    guard.process.wait().unwrap();
}

#[test]
fn a_container_whose_engine_left_a_limit_out_without_a_word_or_does_not_tell_is_not_started() {
    /// Until it is asked what it has made.
    fn makes(head: &str) -> Option<(&'static str, &'static str)> {
        match head {
            head if head.contains("/containers/create") => Some(("201 Created", r#"{"Id":"1","Warnings":[]}"#)),
            head if head.contains("/images/") => Some(("200 OK", r#"{"Id":"1234"}"#)),
            head => panic!("nothing else is asked: {head}"),
        }
    }
    let tells: fn(&str) -> Option<(&'static str, &'static str)> = |head| match head {
        head if head.starts_with("GET /containers/") => Some(("200 OK", r#"{"HostConfig":{"Memory":0,"Ulimits":[]}}"#)),
        head => makes(head),
    };
    let is_broken: fn(&str) -> Option<(&'static str, &'static str)> = |head| match head {
        head if head.starts_with("GET /containers/") => {
            Some(("500 Internal Server Error", r#"{"message":"the storage is gone"}"#))
        }
        head => makes(head),
    };
    for (answer, reason) in [(tells, "the job's limit `memory` would not hold"), (is_broken, "the storage is gone")] {
        let folder = tempfile::tempdir().unwrap();
        let mut guard = Alone::start(&pretended(folder.path(), answer));
        let _output = File::options().read(true).write(true).open(guard.folder.path().join("private/output")).unwrap();
        guard.contain(Limits { memory: Some(64 << 20), ..Limits::default() });
        let mut heard = BufReader::new(guard.process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let told = heard.find(|line| line.contains("not_started")).unwrap();
        assert!(told.contains(reason), "{told}");
        guard.process.kill().unwrap();
        guard.process.wait().unwrap();
    }
}
