//! Requests that wait for their build (`Prefer: wait`): many at once, and those whose clients hang up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Instant,
};

use rustix::process::{Resource, getrlimit, setrlimit};
use support::{PATIENCE, Server};

/// No executor has this label: the build waits until it is cancelled.
const WAITS: &str = "name: waits\njobs: {a: {labels: [nobody], steps: [{run: echo}]}}\n";
const MANY: usize = 10_000;

/// A request that waits, on a connection of its own. All have one key, and so one build.
fn wait(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    let request = format!(
        "POST /api/v1/pipelines/waits/builds HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\nidempotency-key: one\r\n\
         prefer: wait=300\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
        server.token
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Waits until so many wait.
fn waiting(server: &Server, wanted: usize) {
    let (mut begun, mut last) = (Instant::now(), String::new());
    loop {
        let metrics = server.get("/metrics").text;
        let line = metrics.lines().find_map(|line| line.strip_prefix("stepcast_build_waiters ")).unwrap();
        if line.parse() == Ok(wanted) {
            return;
        }
        if line != last {
            // So many take their time; as long as they come or go it is no standstill.
            (begun, last) = (Instant::now(), line.to_owned());
        }
        assert!(begun.elapsed() < PATIENCE, "{line} wait, {wanted} should");
    }
}

fn threads(server: &Server) -> usize {
    let pid = server.pid().as_raw_nonzero();
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// The status line of the answer.
fn answered(stream: TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn prefer_wait_of_ten_thousand_costs_no_threads_and_who_hangs_up_frees_its_place() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
    let server = Server::start(&[]);
    server.apply("waits", WAITS);
    let mut gone = vec![wait(&server)];
    waiting(&server, 1);
    let before = threads(&server);
    gone.extend((1..MANY / 2).map(|_| wait(&server)));
    let stay: Vec<TcpStream> = (0..MANY / 2).map(|_| wait(&server)).collect();
    waiting(&server, MANY);
    // Threads for blocking calls come and go; they do not grow with those who wait.
    assert!(threads(&server) < before + 50, "{} threads, {before} before", threads(&server));
    drop(gone);
    waiting(&server, stay.len());
    let builds = server.get("/api/v1/builds").json();
    assert_eq!(builds.as_array().unwrap().len(), 1);
    let id = builds[0]["id"].as_str().unwrap();
    assert_eq!(server.post(&format!("/api/v1/builds/{id}/cancel"), &serde_json::json!({})).status, 202);
    for stream in stay {
        assert_eq!(answered(stream), "HTTP/1.1 200 OK\r\n");
    }
    waiting(&server, 0);
}

#[test]
fn prefer_wait_is_answered_202_by_a_server_that_stops_because_the_build_is_accepted() {
    let mut server = Server::start(&[]);
    server.apply("waits", WAITS);
    let stream = wait(&server);
    waiting(&server, 1);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(answered(stream), "HTTP/1.1 202 Accepted\r\n");
    assert_eq!(server.ended(), Some(0));
}
