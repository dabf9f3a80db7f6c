//! A private `stepcast serve`: its own folder below the scratch folder, its own port, ended by its own process id. What is
//! asked of it over a socket is in `socket.rs`.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use wire::{
    BuildId, JobId, SocketMeta,
    command::Trigger,
    group::{GroupState, GroupView},
    view::{BuildSummary, ExecutorView},
};

use crate::{
    Setting,
    failure::{Explain, Failure, Result},
};

/// A running server. Dropping it is kill -9.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    pub(crate) token: String,
    /// From the start of the process to its line `Listening on`.
    pub(crate) listening_after: Duration,
    program: PathBuf,
    folder: PathBuf,
    agent: ureq::Agent,
}

/// Where a consumer group stands.
pub(crate) struct Group {
    pub(crate) offset: u64,
    pub(crate) lag: u64,
    pub(crate) is_paused: bool,
}

/// How far the record of a log reaches.
pub(crate) struct Record {
    pub(crate) lines: u64,
    pub(crate) sealed: bool,
    /// The first lines, as NDJSON.
    pub(crate) text: String,
}

impl Server {
    /// Starts a server in a folder named `name`, which is emptied before, with a token for this program.
    pub(crate) fn start(setting: &Setting, name: &str) -> Result<Self> {
        let folder = setting.scratch.join(name);
        let _ = fs::remove_dir_all(&folder); // It is not there, unless a run broke off.
        fs::create_dir_all(&folder).explain(|| format!("{} cannot be made", folder.display()))?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let (child, listening_after) = spawn(&setting.program, &folder, &address)?;
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let (program, token) = (setting.program.clone(), String::new());
        let mut server = Self { child, address, token, listening_after, program, folder, agent };
        server.token = server.create_token()?;
        Ok(server)
    }

    fn create_token(&self) -> Result<String> {
        let mut create = Command::new(&self.program);
        create.args(["token", "create", "--name", "bench", "--data-dir"]).arg(self.data_dir());
        let created = create.output().explain(|| format!("{} cannot be started", self.program.display()))?;
        if !created.status.success() {
            return Err(Failure(format!("no token was made: {}", String::from_utf8_lossy(&created.stderr).trim())));
        }
        Ok(String::from_utf8_lossy(&created.stdout).trim().to_owned())
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill().explain(|| "the server cannot be killed".to_owned())?;
        self.ended()
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .explain(|| "the server cannot be stopped".to_owned())?;
        self.ended()
    }

    fn ended(&mut self) -> Result<()> {
        self.child.wait().explain(|| "the server's end cannot be awaited".to_owned()).map(drop)
    }

    /// Starts again on the same folder and the same port.
    pub(crate) fn restart(&mut self) -> Result<()> {
        (self.child, self.listening_after) = spawn(&self.program, &self.folder, &self.address)?;
        Ok(())
    }

    /// Bytes of the database's files.
    pub(crate) fn database_bytes(&self) -> u64 {
        let files = fs::read_dir(self.data_dir()).into_iter().flatten().flatten();
        let database = files.filter(|file| file.file_name().to_string_lossy().starts_with("stepcast.db"));
        database.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
    }

    /// Writes a pipeline whose name stands in its text.
    pub(crate) fn apply(&self, name: &str, yaml: &str) -> Result<()> {
        let request = self.agent.put(self.url(&format!("/api/v1/pipelines/{name}")));
        let (status, text) = read(request.header("authorization", self.bearer()).send(yaml))?;
        expect(matches!(status, 200 | 201), &format!("the pipeline {name}"), status, &text)
    }

    /// Starts a build, on a connection that is kept.
    pub(crate) fn trigger(&self, pipeline: &str, socket: Option<&SocketMeta>) -> Result<BuildSummary> {
        let trigger = Trigger { socket: socket.cloned(), ..Trigger::default() };
        let body = serde_json::to_string(&trigger).explain(|| "a trigger cannot be written".to_owned())?;
        let request = self.agent.post(self.url(&format!("/api/v1/pipelines/{pipeline}/builds")));
        let (status, text) = read(request.header("authorization", self.bearer()).send(body))?;
        expect(status == 202, "a trigger", status, &text)?;
        serde_json::from_str(&text).explain(|| "the answer to a trigger cannot be read".to_owned())
    }

    /// Starts a build and waits for its end in the same request: how long that took.
    pub(crate) fn wait_for(&self, pipeline: &str) -> Result<Duration> {
        let begun = Instant::now();
        let request = self.agent.post(self.url(&format!("/api/v1/pipelines/{pipeline}/builds")));
        let request = request.header("authorization", self.bearer()).header("prefer", "wait=60");
        let (status, text) = read(request.send("{}"))?;
        expect(status == 200, "a trigger that waits", status, &text).map(|()| begun.elapsed())
    }

    /// Pauses or resumes a consumer group.
    pub(crate) fn change_group(&self, name: &str, what: &str) -> Result<()> {
        let request = self.agent.post(self.url(&format!("/api/v1/groups/{name}/{what}")));
        let (status, text) = read(request.header("authorization", self.bearer()).send(""))?;
        expect(status == 202, "a wish for a group", status, &text)
    }

    /// Where a consumer group stands.
    pub(crate) fn group(&self, name: &str) -> Result<Group> {
        let groups: Vec<GroupView> = self.get("/api/v1/groups")?;
        let group = groups.into_iter().find(|group| group.name == name);
        let group = group.ok_or_else(|| Failure(format!("there is no group {name}")))?;
        let (offset, is_paused) = (group.offset.unwrap_or(0), group.state == GroupState::Paused);
        Ok(Group { offset, lag: group.lag, is_paused })
    }

    /// The id of an executor, once there is one.
    pub(crate) fn executor(&self) -> Result<String> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let executors: Vec<ExecutorView> = self.get("/api/v1/executors")?;
            match executors.first() {
                Some(executor) => return Ok(executor.id.to_string()),
                None if Instant::now() > until => return Err(Failure("no executor came".to_owned())),
                None => std::thread::yield_now(),
            }
        }
    }

    /// Asks an executor what it runs: how long that took.
    pub(crate) fn executor_now(&self, id: &str) -> Result<Duration> {
        let begun = Instant::now();
        let request = self.agent.get(self.url(&format!("/api/v1/executors/{id}/now")));
        let (status, text) = read(request.header("authorization", self.bearer()).call())?;
        expect(status == 200, "a question to an executor", status, &text).map(|()| begun.elapsed())
    }

    /// Ends a build.
    pub(crate) fn cancel(&self, build: BuildId) -> Result<()> {
        let request = self.agent.post(self.url(&format!("/api/v1/builds/{build}/cancel")));
        let (status, text) = read(request.header("authorization", self.bearer()).send(""))?;
        expect(status == 202, "a cancel", status, &text)
    }

    /// The first line of an attempt's record and how far the record reaches; none if there is no such attempt yet.
    pub(crate) fn record(&self, job: JobId, attempt: u32) -> Result<Option<Record>> {
        let request = self.agent.get(self.url(&format!("/api/v1/jobs/{job}/log?attempt={attempt}&limit=1")));
        let answer = request.header("authorization", self.bearer()).call();
        let mut answer = answer.explain(|| "a log cannot be asked for".to_owned())?;
        if answer.status() != 200 {
            return Ok(None);
        }
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (lines, sealed) = (header("x-log-total").parse().unwrap_or(0), header("x-log-sealed") == "true");
        let text = answer.body_mut().read_to_string().explain(|| "a log cannot be read".to_owned())?;
        Ok(Some(Record { lines, sealed, text }))
    }

    /// `GET` of JSON.
    pub(crate) fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let (status, text) = read(self.agent.get(self.url(path)).header("authorization", self.bearer()).call())?;
        expect(status == 200, path, status, &text)?;
        serde_json::from_str(&text).explain(|| format!("the answer to {path} cannot be read"))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended already.
        let _ = self.child.wait();
    }
}

/// Whether `GET /healthz` is answered 200 on a new connection.
pub(crate) fn is_healthy(address: &str) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// Starts `stepcast serve` and returns once it has said that it listens; what it logs goes to `serve.log`.
fn spawn(program: &Path, folder: &Path, address: &str) -> Result<(Child, Duration)> {
    let log = folder.join("serve.log");
    let log_file = File::options().create(true).append(true).open(&log);
    let log_file = log_file.explain(|| format!("{} cannot be written", log.display()))?;
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(["serve", "--slots", "2", "--listen", address, "--data-dir"])
        .arg(folder.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .spawn()
        .explain(|| format!("{} cannot be started", program.display()))?;
    let mut lines = child
        .stdout
        .take()
        .into_iter()
        .flat_map(|stdout| BufReader::new(stdout).lines().map_while(std::io::Result::ok));
    let listens = lines.any(|line| line.starts_with("Listening on "));
    let listening_after = begun.elapsed();
    if !listens {
        let _ = child.wait(); // Its output has ended: so has it, or it is about to.
        return Err(Failure(format!("the server ended before it listened; {} says why", log.display())));
    }
    // The rest is read too: a full pipe must not stop the server.
    std::thread::spawn(move || lines.for_each(drop));
    Ok((child, listening_after))
}

fn free_port() -> Result<u16> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).explain(|| "no port is free".to_owned())
}

fn read(answer: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(u16, String)> {
    let mut answer = answer.explain(|| "the server does not answer".to_owned())?;
    let text = answer.body_mut().read_to_string().explain(|| "an answer cannot be read".to_owned())?;
    Ok((answer.status().as_u16(), text))
}

fn expect(is_right: bool, what: &str, status: u16, text: &str) -> Result<()> {
    if is_right { Ok(()) } else { Err(Failure(format!("{what} was answered {status}: {text}"))) }
}
