//! A private `stepcast serve` for a test: its own folder, its own port, ended by its own process id.
#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Nothing here takes longer unless it never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const STEPCAST: &str = env!("CARGO_BIN_EXE_stepcast");

/// A running server and its folder.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) token: String,
    program: PathBuf,
    data_dir: PathBuf,
    arguments: Vec<String>,
    agent: ureq::Agent,
    _folder: Option<tempfile::TempDir>,
}

/// Status, headers of interest and body of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) location: String,
    pub(crate) etag: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text))
    }
}

impl Server {
    /// Starts a server in a folder of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let mut server = Self::start_in(&data_dir, arguments);
        server._folder = Some(folder);
        server
    }

    /// Starts a server on an existing folder.
    pub(crate) fn start_in(data_dir: &Path, arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", data_dir, arguments)
    }

    /// The same at an address of its own.
    pub(crate) fn start_at(listen: &str, data_dir: &Path, arguments: &[&str]) -> Self {
        Self::start_program(Path::new(STEPCAST), listen, data_dir, arguments)
    }

    /// The same with another program than the one under test.
    pub(crate) fn start_program(program: &Path, listen: &str, data_dir: &Path, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (child, url) = spawn(program, data_dir, listen, &arguments);
        let mut create = Command::new(program);
        create.args(["token", "create", "--name", "test", "--data-dir"]).arg(data_dir);
        if let Some(at) = arguments.iter().position(|argument| argument == "--store") {
            create.args(&arguments[at..at + 2]);
        }
        let created = create.output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        let token = String::from_utf8(created.stdout).unwrap().trim().to_owned();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let (program, data_dir) = (program.to_owned(), data_dir.to_owned());
        Self { child, url, token, program, data_dir, arguments, agent, _folder: None }
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself, and gives its exit status.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not end");
            std::thread::yield_now();
        }
    }

    /// Starts again on the same folder and the same port.
    pub(crate) fn restart(&mut self) {
        let listen = self.url.trim_start_matches("http://").to_owned();
        let (child, url) = spawn(&self.program, &self.data_dir, &listen, &self.arguments);
        assert_eq!(url, self.url);
        self.child = child;
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let request = self.agent.get(format!("{}{path}", self.url));
        read(request.header("authorization", format!("Bearer {}", self.token)).call())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        let request = self.agent.delete(format!("{}{path}", self.url));
        read(request.header("authorization", format!("Bearer {}", self.token)).call())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &body.to_string(), &[])
    }

    pub(crate) fn post_with(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        request = request.header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send(body))
    }

    /// Without the token.
    pub(crate) fn post_as_nobody(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send(body))
    }

    pub(crate) fn put(&self, path: &str, body: &str) -> Answer {
        self.put_with(path, body, &[])
    }

    pub(crate) fn put_with(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.put(format!("{}{path}", self.url));
        request = request.header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send(body))
    }

    /// Writes a pipeline whose name stands in its text.
    pub(crate) fn apply(&self, name: &str, yaml: &str) {
        let answer = self.put(&format!("/api/v1/pipelines/{name}"), yaml);
        assert!(matches!(answer.status, 200 | 201), "{} {}", answer.status, answer.text);
    }

    /// Starts a build and gives its id.
    pub(crate) fn trigger(&self, name: &str) -> String {
        let answer = self.post(&format!("/api/v1/pipelines/{name}/builds"), &json!({}));
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn build(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/builds/{id}")).json()
    }

    /// The live events of a build and its jobs, from the record on.
    pub(crate) fn events(&self, id: &str) -> Events {
        let request = self.agent.get(format!("{}/api/v1/builds/{id}/events?jobs=true", self.url));
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let answer = request.header("accept", "text/event-stream").call().unwrap();
        assert_eq!(answer.status(), 200);
        Events { lines: Box::new(BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok)) }
    }

    /// Waits until the build has finished, and gives it.
    pub(crate) fn finished(&self, id: &str) -> Value {
        let mut events = self.events(id);
        loop {
            let build = self.build(id);
            if build["state"] == "finished" {
                return build;
            }
            // A build that was retried has finished before: look again.
            events = events.until(|frame| frame["event"]["kind"] == "build_finished").1;
        }
    }

    /// The same without live events: where the broker is away, or too many of them come.
    pub(crate) fn finished_by_the_record(&self, id: &str) -> Value {
        let begun = Instant::now();
        loop {
            let build = self.build(id);
            if build["state"] == "finished" {
                return build;
            }
            assert!(begun.elapsed() < PATIENCE, "the build does not finish: {build}");
            std::thread::yield_now();
        }
    }

    /// The same for a build of one job that prints much, once its record is sealed: it may take long, as long as more and more
    /// is recorded.
    pub(crate) fn finished_while_it_grows(&self, id: &str) -> Value {
        let (mut begun, mut lines) = (Instant::now(), 0);
        loop {
            let build = self.build(id);
            let job = &build["jobs"][0];
            if build["state"] == "finished" && job["sealed"] == true {
                return build;
            }
            if job["lines"].as_u64() > Some(lines) {
                (begun, lines) = (Instant::now(), job["lines"].as_u64().unwrap());
            }
            assert!(begun.elapsed() < PATIENCE, "nothing more is recorded: {build}");
            std::thread::yield_now();
        }
    }

    /// Asks an executor, by the path of its `now`, until it answers: on a busy machine it may be too late for a gateway.
    pub(crate) fn until_it_answers(&self, path: &str) -> Value {
        let begun = Instant::now();
        loop {
            let answer = self.get(path);
            if answer.status == 200 {
                return answer.json();
            }
            assert!(begun.elapsed() < PATIENCE, "still {}: {}", answer.status, answer.text);
            std::thread::yield_now();
        }
    }

    /// Waits until `/readyz` answers with this status, and gives its text.
    pub(crate) fn until_ready_is(&self, status: u16) -> String {
        let begun = Instant::now();
        loop {
            let answer = self.get("/readyz");
            if answer.status == status {
                return answer.text;
            }
            assert!(begun.elapsed() < PATIENCE, "still {}: {}", answer.status, answer.text);
            std::thread::yield_now();
        }
    }

    /// Waits until a job of the build has printed `text`, by the record: the live events of lines that came before somebody
    /// listened do not come again.
    pub(crate) fn until_line(&self, id: &str, text: &str) {
        let jobs: Vec<String> = self.build(id)["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["id"].as_str().unwrap().to_owned())
            .collect();
        let begun = Instant::now();
        while !jobs.iter().any(|job| self.get(&format!("/api/v1/jobs/{job}/log")).text.contains(text)) {
            assert!(begun.elapsed() < PATIENCE, "{text:?} was never printed");
            std::thread::yield_now();
        }
    }

    /// Waits until a line of a job's attempt is recorded: what came on a socket may not be on the disk yet.
    pub(crate) fn until_recorded(&self, job: &str, attempt: u64, line: &str) {
        let begun = Instant::now();
        while !self.get(&format!("/api/v1/jobs/{job}/log?attempt={attempt}")).text.contains(line) {
            assert!(begun.elapsed() < PATIENCE, "{line:?} was never recorded");
            std::thread::yield_now();
        }
    }

    /// Waits until the record has all of a finished build: its own events to the last one, and its jobs' last attempts.
    pub(crate) fn until_whole(&self, id: &str) {
        let begun = Instant::now();
        loop {
            let build = self.build(id);
            let events = self.get(&format!("/api/v1/builds/{id}/events")).json();
            let last = events.as_array().unwrap().last();
            let is_told = last.is_some_and(|last| last["offset"] == build["position"]["offset"]);
            let is_sealed = |job: &Value| job["attempt"] == 0 || job["sealed"] == true;
            if is_told && build["state"] == "finished" && build["jobs"].as_array().unwrap().iter().all(is_sealed) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the record of {id} does not become whole: {build}");
            std::thread::yield_now();
        }
    }

    /// Waits until the record of a job's last attempt is sealed: nothing more comes.
    pub(crate) fn until_sealed(&self, job: &str) {
        let begun = Instant::now();
        loop {
            let path = format!("{}/api/v1/jobs/{job}/log?limit=1", self.url);
            let answer = self.agent.get(path).header("authorization", format!("Bearer {}", self.token)).call().unwrap();
            if answer.headers().get("x-log-sealed").is_some_and(|value| value == "true") {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the record of {job} was never sealed");
            std::thread::yield_now();
        }
    }

    /// The recorded lines of a job's attempt, once its record is sealed.
    pub(crate) fn log(&self, job: &str, attempt: u64) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let path = format!("{}/api/v1/jobs/{job}/log?attempt={attempt}&limit=10000", self.url);
            let request = self.agent.get(path).header("authorization", format!("Bearer {}", self.token));
            let mut answer = request.call().unwrap();
            let sealed = answer.headers().get("x-log-sealed").is_some_and(|value| value == "true");
            let text = answer.body_mut().with_config().limit(u64::MAX).read_to_string().unwrap();
            if sealed || begun.elapsed() > PATIENCE {
                assert!(sealed, "the record of {job} was never sealed");
                let line =
                    |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
                return text.lines().map(line).collect();
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(self.pid(), Signal::CONT);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `stepcast serve` says to options that it refuses.
pub(crate) fn refused(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = Command::new(STEPCAST);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.path()).args(arguments);
    let output = serve.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn spawn(program: &Path, data_dir: &Path, listen: &str, arguments: &[String]) -> (Child, String) {
    let mut child = Command::new(program)
        .args(["serve", "--listen", listen, "--data-dir"])
        .arg(data_dir)
        .args(arguments)
        // Steps of these tests talk to them by files under /tmp, which no sandbox shows; isolation.rs asks for sandboxes by
        // the option. A variable, because programs of former versions are started so too.
        .env("STEPCAST_ISOLATION", "plain")
        // What this machine has is no business of theirs either; containers.rs asks by the option.
        .env("STEPCAST_CONTAINERS", "off")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listening = lines.find_map(|line| line.unwrap().strip_prefix("Listening on ").map(str::to_owned));
    // The rest is read too: a full pipe must not stop the server.
    std::thread::spawn(move || lines.for_each(drop));
    let url = listening.unwrap_or_else(|| panic!("the server ended before it listened: {:?}", child.wait()));
    (child, url)
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut answer = answer.unwrap();
    let header =
        |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (content_type, location, etag) = (header("content-type"), header("location"), header("etag"));
    let text = answer.body_mut().with_config().limit(u64::MAX).read_to_string().unwrap();
    Answer { status: answer.status().as_u16(), content_type, location, etag, text }
}

/// A live stream of events.
pub(crate) struct Events {
    lines: Box<dyn Iterator<Item = String> + Send>,
}

impl Events {
    /// Reads until a frame is the one; gives it. Fails when none comes in [`PATIENCE`].
    pub(crate) fn until(self, wanted: impl Fn(&Value) -> bool + Send + 'static) -> (Value, Events) {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = self.lines;
            while let Some(line) = lines.next() {
                let Some(data) = line.strip_prefix("data:") else { continue };
                let frame: Value = serde_json::from_str(data.trim()).unwrap();
                if wanted(&frame) {
                    let _ = sender.send((frame, Events { lines }));
                    return;
                }
            }
        });
        receiver.recv_timeout(PATIENCE).expect("the event did not come")
    }
}

/// Writes a program of these words. Another process does: one that a test of ours begins at that moment would have the file
/// open to write, and the system then runs it for nobody ("text file busy").
pub(crate) fn write_program(path: &Path, text: &str) {
    let mut write = Command::new("sh");
    write.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut child = write.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Blocks until nobody holds the lock on `path` any more: how a test waits for the end of a process that holds it.
pub(crate) fn wait_for_lock(path: &Path) {
    let path = path.to_owned();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let file = std::fs::File::open(&path).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let _ = sender.send(());
    });
    receiver.recv_timeout(PATIENCE).expect("the lock was never given back");
}
