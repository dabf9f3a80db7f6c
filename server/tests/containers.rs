//! Jobs in containers of a running server: what they give, what they cannot reach, and that nothing is left of them. The
//! engine is a private one, Podman or Docker; what a container is, is the business of the executor's own tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../crates/executor/tests/engine/mod.rs"]
mod engine;
mod support;

use std::{process::Command, time::Instant};

use engine::{Engine, IMAGE};
use rustix::process::Signal;
use serde_json::Value;
use support::{PATIENCE, STEPCAST, Server, refused};

const SECRET: &str = "Tr0ub4dor&3-of-a-job1";

/// A server whose jobs have containers.
fn server(engine: &Engine, options: &[&str]) -> Server {
    let socket = engine.socket();
    Server::start(&[&["--containers", socket.to_str().unwrap(), "--slots", "2"][..], options].concat())
}

/// A pipeline of one job in a container: further keys of it, and its only step.
fn pipeline(name: &str, keys: &str, script: &str) -> String {
    let script: String = script.lines().map(|line| format!("          {}\n", line.trim())).collect();
    format!(
        "name: {name}\nimage: {IMAGE}\njobs:\n  contained:\n    network: false\n{keys}    steps:\n      - name: work\n        run: |\n{script}"
    )
}

/// Waits until none of the executor's containers is there.
fn until_none_is_left(engine: &Engine) {
    let begun = Instant::now();
    while !engine.containers("stepcast.executor").is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", engine.containers("stepcast.executor"));
    }
}

/// Starts a build whose step says `begun` and sleeps; gives its id once that was said.
fn begun(server: &Server) -> String {
    server.apply("sleep", &pipeline("sleep", "", "echo begun\nsleep 1000"));
    let id = server.trigger("sleep");
    server.until_line(&id, "begun");
    id
}

#[test]
fn a_job_in_a_container_has_its_secrets_masked_and_its_artifacts_kept_and_sees_nothing_of_the_server() {
    let Some(engine) = Engine::start() else { return };
    let server = server(&engine, &[]);
    assert_eq!(server.put("/api/v1/secrets/TOKEN", SECRET).status, 201);
    let data = server.data_dir().canonicalize().unwrap();
    let script = format!(
        "echo \"the token is $TOKEN\"; printf %s \"$TOKEN\" | base64
         find '{0}' -path '*/jobs/*' -prune -o -type f -print
         ls '{0}'
         env | grep -iE 'broker|store=|postgres|amqp|STEPCAST_TOKEN' || true
         mkdir deep; echo kept >deep/kept; chmod 600 deep/kept; chmod 700 deep",
        data.display()
    );
    server.apply("give", &pipeline("give", "    secrets: [TOKEN]\n    artifacts: [deep/kept]\n", &script));
    let id = server.trigger("give");
    let build = server.finished(&id);
    let log = server.log(build["jobs"][0]["id"].as_str().unwrap(), 1);
    let job = &server.build(&id)["jobs"][0];
    assert_eq!(job["outcome"], "succeeded", "{job} {log:?}");
    assert_eq!((&job["image"], &job["steps"][0]["name"]), (&Value::from(IMAGE), &Value::from("container")));
    assert!(log[0].starts_with(&format!("Runs in a container of {IMAGE} (sha256:")), "{log:?}");
    assert_eq!(log[1..], ["the token is ***", "***", "work"]);
    let artifact = job["artifacts"][0]["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/api/v1/artifacts/{artifact}")).text, "kept\n");
    assert_eq!(engine.containers("stepcast.executor"), [""; 0]);
}

#[test]
fn p2_nothing_is_left_of_a_container_whose_server_was_killed_and_the_job_runs_again() {
    let Some(engine) = Engine::start() else { return };
    let mut server = server(&engine, &[]);
    let id = begun(&server);
    assert_eq!(engine.containers("stepcast.executor").len(), 1);
    server.kill();
    until_none_is_left(&engine);
    server.restart();
    server.events(&id).until(|frame| frame["event"]["kind"] == "job_started" && frame["event"]["attempt"] == 2);
    assert_eq!(server.post(&format!("/api/v1/builds/{id}/cancel"), &Value::Null).status, 202);
    assert_eq!(server.finished(&id)["outcome"], "cancelled");
    until_none_is_left(&engine);
}

#[test]
fn nothing_is_left_of_a_container_when_its_server_stops() {
    let Some(engine) = Engine::start() else { return };
    let mut server = server(&engine, &["--drain-seconds", "0"]);
    begun(&server);
    server.signal(Signal::TERM);
    server.ended();
    // Where the engine is slow, the guard removes it after its server.
    until_none_is_left(&engine);
}

#[test]
fn a_step_in_a_sandbox_reaches_the_engine_not_even_where_its_folder_is_let_in() {
    let Some(engine) = Engine::start() else { return };
    let socket = engine.socket();
    let folder = socket.parent().unwrap();
    let beside = folder.join("beside");
    std::fs::create_dir(&beside).unwrap();
    std::fs::write(beside.join("file"), "let in\n").unwrap();
    // Nothing but its being hidden keeps steps from it.
    for (rights, path) in [("a+rx", folder), ("a+rw", &socket)] {
        assert!(Command::new("chmod").arg(rights).arg(path).status().unwrap().success());
    }
    let named = [beside.to_str().unwrap(), folder.to_str().unwrap(), socket.to_str().unwrap()];
    let attack = format!(
        "cat '{0}/file'
         perl -MIO::Socket::UNIX -e 'print IO::Socket::UNIX->new(Peer => \"{1}\") ? \"reached\" : \"none\", \"\\n\"'",
        named[0], named[2]
    );
    let script: String = attack.lines().map(|line| format!("          {}\n", line.trim())).collect();
    let of = |isolation: &str| {
        let server =
            server(&engine, &["--isolation", isolation, "--sandbox-read", named[1], "--sandbox-read", named[0]]);
        server.apply("reach", &format!("name: reach\njobs:\n  a:\n    steps:\n      - run: |\n{script}"));
        let build = server.finished(&server.trigger("reach"));
        server.log(build["jobs"][0]["id"].as_str().unwrap(), 1)
    };
    assert_eq!(of("plain"), ["let in", "reached"], "what is tried is right");
    assert_eq!(of("sandbox"), ["let in", "none"]);
}

#[test]
fn a_job_that_wants_a_container_waits_for_an_executor_that_has_some() {
    let server = Server::start(&["--containers", "off"]);
    server.apply("wait", &pipeline("wait", "", "echo never"));
    let id = server.trigger("wait");
    // Before the executor is known, there is none at all.
    let begun = Instant::now();
    loop {
        let told = server.build(&id)["jobs"][0]["waiting_for"].clone();
        if told.as_str().is_some_and(|told| told.starts_with("no executor has containers: ")) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{told}");
        std::thread::yield_now();
    }
}

#[test]
fn a_server_does_not_start_with_an_engine_that_does_not_answer_and_the_doctor_tells_of_them() {
    let told = refused(&["--containers", "podman"]);
    assert!(told.contains("whole path of a socket"), "{told}");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut serve = Command::new(STEPCAST);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--containers", "/nonexistent/sock", "--data-dir"]).arg(&data);
    let output = serve.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && !data.exists(), "it made its folder all the same");
    let expected =
        "`--containers /nonexistent/sock` is wanted, but the container engine at /nonexistent/sock cannot be reached";
    assert!(told.contains(expected), "{told}");
    let doctor = Command::new(STEPCAST).args(["doctor", "--data-dir"]).arg(&data).output().unwrap();
    let told = String::from_utf8(doctor.stdout).unwrap();
    assert!(told.contains("containers: "), "{told}");
}
