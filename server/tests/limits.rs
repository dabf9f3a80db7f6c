//! Every limit at once, against the real program: many triggers, many watchers, sockets that do not read, a log without an end;
//! and the memory that the program says it keeps to. With `STEPCAST_TEST_ALL=1` in the numbers that people fear.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
mod support;

use std::{
    collections::HashSet,
    net::Ipv4Addr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use client::{As, Client, connect, connect_from, lines};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use support::{PATIENCE, Server};
use tungstenite::Message;

/// So often those who do not read say that they are there: the server takes one for gone that is silent for 50 s.
const STILL_THERE_EVERY: Duration = Duration::from_secs(10);

/// The number that people fear, or a part of it that every test run can bear.
fn number(feared: usize, part: usize) -> usize {
    if std::env::var_os("STEPCAST_TEST_ALL").is_some_and(|all| all == "1") { feared } else { part }
}

/// So many files may be open here too.
fn allow_files(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(wanted, |hard| hard.min(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).unwrap();
}

/// A field of `/proc/<pid>/status`, in bytes.
fn memory(server: &Server, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.pid().as_raw_nonzero())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_else(|| panic!("no {field}: {text}"));
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().unwrap() * 1024
}

/// The most memory that the program ever had, without the pages of its own file.
fn peak(server: &Server) -> u64 {
    memory(server, "VmHWM").saturating_sub(memory(server, "RssFile"))
}

/// What the program says it keeps to, with the sockets that it has now.
fn stated(server: &Server) -> u64 {
    let text = server.get("/metrics").text;
    let line = text.lines().find_map(|line| line.strip_prefix("stepcast_memory_bound_bytes "));
    line.unwrap_or_else(|| panic!("no bound: {text}")).parse().unwrap()
}

fn keeps_to_its_word(server: &Server, what: &str, bound: u64) {
    let peak = peak(server);
    eprintln!("{what}: {} MiB at most, {} MiB were stated", peak >> 20, bound >> 20);
    assert!(peak < bound, "{what}: {peak} bytes, and {bound} were stated");
}

#[test]
fn p1_ten_thousand_builds_at_once_are_all_taken() {
    let (builds, at_once) = (number(10_000, 500), 200);
    allow_files(4096);
    let server = Server::start(&["--slots", "4"]);
    server.apply("many", "name: many\njobs: {a: {steps: [{run: 'true'}]}}\n");
    let (left, ids) = (AtomicUsize::new(builds), Mutex::new(HashSet::new()));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                // Each has a connection of its own and keeps it.
                let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
                let take = |left: usize| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    let request = agent.post(format!("{}/api/v1/pipelines/many/builds", server.url));
                    let request = request.header("authorization", format!("Bearer {}", server.token));
                    let mut answer = request.send("{}").unwrap();
                    let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
                    assert_eq!(answer.status().as_u16(), 202, "{body}");
                    ids.lock().unwrap().insert(body["id"].as_str().unwrap().to_owned());
                }
            });
        }
    });
    assert_eq!(ids.lock().unwrap().len(), builds, "each trigger has a build of its own");
    eprintln!("{builds} builds by {at_once} connections were taken in {:?}", begun.elapsed());
    // Numbers have no gaps: all of them are there.
    let last = server.get(&format!("/api/v1/builds?pipeline=many&number={builds}")).json();
    assert_eq!(last.as_array().map(Vec::len), Some(1), "{last}");
    keeps_to_its_word(&server, "many builds", stated(&server));
    // They run in their order; so many of them take longer than a test may.
    if builds <= 500 {
        let last = server.trigger("many");
        // As long as fewer and fewer wait.
        let (mut since, mut fewest) = (Instant::now(), usize::MAX);
        while fewest > 0 {
            let queued = server.get("/api/v1/builds?state=queued&limit=500").json().as_array().unwrap().len();
            if queued < fewest {
                (since, fewest) = (Instant::now(), queued);
            }
            assert!(since.elapsed() < PATIENCE, "{queued} builds wait, and none of them begins");
            std::thread::yield_now();
        }
        assert_eq!(server.finished(&last)["outcome"], "succeeded");
        let left = server.get("/api/v1/builds?state=queued").json();
        assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
        eprintln!("and had run after {:?}", begun.elapsed());
    }
}

/// A program that starts with few files, as many systems give them.
fn with_few_files(folder: &std::path::Path) -> std::path::PathBuf {
    let program = folder.join("stepcast.sh");
    support::write_program(&program, &format!("#!/bin/sh\nulimit -Sn 256\nexec '{}' \"$@\"\n", support::STEPCAST));
    program
}

fn subscribe(client: &mut Client, topics: &[String]) {
    for topic in topics {
        client.send(&json!({"type": "subscribe", "topic": topic}));
        client.until(|frame| frame["type"] == "resumed" && frame["topic"] == *topic);
    }
}

/// Reads to the end of the build; gives the lines that came.
fn watch_to_the_end(client: &mut Client) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let frame = client.frame();
        match frame["event"]["kind"].as_str() {
            Some("log") => seen.extend(lines(&frame)),
            Some("build_finished") => return seen,
            _ => assert_ne!(frame["outcome"], "gap", "{frame}"),
        }
    }
}

#[test]
fn p6_five_thousand_watchers_of_one_build_see_it_whole() {
    let (watchers, readers) = (number(5_000, 600), 20);
    allow_files(watchers as u64 * 2 + 1024);
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let program = with_few_files(folder.path());
    let server = Server::start_program(&program, "127.0.0.1:0", &data_dir, &["--slots", "1"]);
    let (gate, files) = (folder.path().join("gate"), folder.path().join("files"));
    let wait = format!("until [ -e {} ]; do read -r -t 0.05 <> <(:) || :; done", gate.display());
    let run = format!("ulimit -Sn > {}; echo ready; {wait}; seq 1 300", files.display());
    server.apply("watched", &format!("name: watched\njobs: {{a: {{steps: [{{run: {}}}]}}}}\n", json!(run)));
    let id = server.trigger("watched");
    server.until_line(&id, "ready");
    assert_eq!(
        std::fs::read_to_string(&files).unwrap().trim(),
        "256",
        "steps have the files that the program was given"
    );
    let job = server.build(&id)["jobs"][0]["id"].as_str().unwrap().to_owned();
    let topics = [format!("build.{id}"), format!("job.{job}")];
    let before = peak(&server);
    let mut all: Vec<Vec<Client>> = std::thread::scope(|scope| {
        let connecting: Vec<_> = (0..readers)
            .map(|reader: u8| {
                let (server, topics) = (&server, &topics);
                scope.spawn(move || {
                    let watch = |_| {
                        // They sit at several addresses: each worker has its part of them.
                        let mut client = connect_from(server, Ipv4Addr::new(127, 0, 0, 2 + reader));
                        subscribe(&mut client, topics);
                        client
                    };
                    (0..watchers / usize::from(readers)).map(watch).collect()
                })
            })
            .collect();
        connecting.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // The first ones have not read for as long as the others have taken to come.
    all.iter_mut().flatten().for_each(Client::pong);
    std::fs::write(&gate, "").unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for clients in &mut all {
            scope.spawn(|| {
                for client in clients {
                    let seen = watch_to_the_end(client);
                    assert!(seen.iter().filter(|line| *line != "ready").cloned().eq((1..=300).map(|n| n.to_string())));
                }
            });
        }
    });
    let each = peak(&server).saturating_sub(before) / watchers as u64;
    eprintln!("{watchers} watchers have seen the end after {:?}, {} KiB each", begun.elapsed(), each >> 10);
    keeps_to_its_word(&server, "many watchers", stated(&server));
}

/// What a socket that did not read finds when it reads at last.
fn finds_a_gap_or_its_end(mut client: Client) -> bool {
    loop {
        match client.socket.read() {
            Ok(Message::Text(text)) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                if frame["type"] == "resumed" && frame["outcome"] == "gap" {
                    return true;
                }
            }
            Ok(Message::Close(frame)) => return frame.is_some_and(|frame| u16::from(frame.code) == 4000),
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

#[test]
fn p6_everything_at_once_stays_within_the_memory_that_is_stated() {
    let (slow, waiting) = (number(400, 100), number(2_000, 200));
    allow_files(4096);
    let server = Server::start(&["--slots", "2", "--log-limit", "40MB"]);
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let wait = format!("until [ -e {} ]; do read -r -t 0.05 <> <(:) || :; done", gate.display());
    // 1 GB as fast as it goes, of which 40 MB are kept.
    let flood = "head -c 1000000000 <(yes 'the quick brown fox jumps over the lazy dog, again and again')";
    let run = json!(format!("echo ready; {wait}; {flood}"));
    server.apply(
        "flood",
        &format!("name: flood\njobs:\n  a: {{steps: [{{run: {run}}}]}}\n  b: {{steps: [{{run: {run}}}]}}\n"),
    );
    server.apply("many", "name: many\njobs: {a: {steps: [{run: 'true'}]}}\n");
    let id = server.trigger("flood");
    server.until_line(&id, "ready");
    let build = server.build(&id);
    let jobs: Vec<String> =
        build["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
    let topics: Vec<String> = jobs.iter().map(|job| format!("job.{job}")).collect();
    let mut watched: Vec<Client> = (0..slow)
        .map(|_| {
            let mut client =
                connect(&server, As::Token(&server.token), None).unwrap_or_else(|status| panic!("{status}"));
            subscribe(&mut client, &topics);
            client
        })
        .collect();
    let mut quick = connect(&server, As::Token(&server.token), None).unwrap_or_else(|status| panic!("{status}"));
    subscribe(&mut quick, &[format!("build.{id}")]);
    for _ in 0..waiting {
        server.trigger("many");
    }
    let bound = stated(&server);
    std::fs::write(&gate, "").unwrap();
    // Nobody waits for those who do not read.
    let (begun, mut told) = (Instant::now(), Instant::now());
    let is_sealed = |job: &Value| job["sealed"] == true;
    let mut build = server.build(&id);
    while build["state"] != "finished" || !build["jobs"].as_array().unwrap().iter().all(is_sealed) {
        assert!(begun.elapsed() < PATIENCE * 5, "2 GB do not come to their end: {build}");
        if told.elapsed() > STILL_THERE_EVERY {
            told = Instant::now();
            watched.iter_mut().chain([&mut quick]).for_each(Client::pong);
        }
        std::thread::yield_now();
        build = server.build(&id);
    }
    let end = quick.until(|frame| frame["event"]["kind"] == "build_finished");
    assert_eq!(end["event"]["outcome"], "succeeded");
    for job in &jobs {
        watched.iter_mut().for_each(Client::pong);
        let tail = server.get(&format!("/api/v1/jobs/{job}/log.txt")).text;
        let last: Vec<&str> = tail.lines().rev().take(2).collect();
        assert!(last[0].ends_with("bytes of this step's output were not kept."), "{last:?}");
        assert_eq!(last[1], "Log limit of 40 MB reached: what follows is not kept.");
        let first_note = tail.lines().count() - 2;
        let told = server.get(&format!("/api/v1/jobs/{job}/log?from={first_note}")).text;
        assert!(told.lines().count() == 2 && told.lines().all(|line| line.contains(r#""note":true"#)), "{told}");
        assert!((30_000_000..41_000_000).contains(&tail.len()), "{} bytes are kept", tail.len());
    }
    keeps_to_its_word(&server, "everything at once", bound);
    while let Some(client) = watched.pop() {
        if told.elapsed() > STILL_THERE_EVERY {
            told = Instant::now();
            watched.iter_mut().for_each(Client::pong);
        }
        assert!(finds_a_gap_or_its_end(client), "a socket that did not read was told nothing");
    }
    let begun = Instant::now();
    while server.get("/healthz").status != 200 {
        assert!(begun.elapsed() < PATIENCE);
    }
}
