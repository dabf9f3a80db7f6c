//! A container's making: its image is brought if it is not there, and its first process is tied to this one.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use wire::{ImageName, Limits};

use super::{limits, output::Printer};
use crate::{
    engine::{Engine, Stream, encoded, on_one_line},
    guard::protocol::Container,
};

/// The first process. It reads by itself, since the kernel keeps every signal of the steps from it, and ends when the
/// stream does. With each line it collects what the steps left behind: `jobs` does so in every shell, and starts no process,
/// which could fail for want of one. It needs nothing of its image but a shell.
const KEEPER: &str = "while read -r x; do jobs; done";
/// Between two such lines.
const BEAT: Duration = Duration::from_millis(500);
/// Bytes of one message of a pull.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A container that runs for as long as this is kept.
pub(super) struct Held {
    pub(super) container: Container,
    pub(super) printer: Printer,
    standard_input: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.standard_input.abort();
    }
}

/// Why there is no container.
#[derive(Debug)]
pub(super) struct NotMade {
    /// One sentence.
    pub(super) reason: String,
    /// The engine was asked and did not answer: it may make the container yet, and nobody knows when.
    pub(super) may_come: bool,
}

impl From<String> for NotMade {
    fn from(reason: String) -> Self {
        Self { reason, may_come: false }
    }
}

/// Makes a container and starts it. Once `stop` is cancelled it is not started.
///
/// # Errors
/// Why there is none.
pub(super) async fn make(
    engine: &Engine,
    container: Container,
    printer: Printer,
    stop: &CancellationToken,
) -> Result<Held, NotMade> {
    let unwanted = || NotMade::from("it is not wanted any more".to_owned());
    let image = &container.image;
    let brought = tokio::select! {
        brought = bring(engine, image, &printer) => brought?,
        () = stop.cancelled() => return Err(unwanted()),
    };
    let failed = |reason: String| format!("a container of {image} could not be started: {reason}");
    let name = &container.name;
    let made = engine.ask(Method::POST, &format!("/containers/create?name={name}"), Some(asked(&container))).await;
    let made = made.map_err(|reason| NotMade { reason: failed(reason), may_come: true })?;
    if made.status != StatusCode::CREATED {
        return Err(failed(made.said()).into());
    }
    if stop.is_cancelled() {
        return Err(unwanted());
    }
    let described = engine.ask(Method::GET, &format!("/containers/{name}/json"), None).await.map_err(failed)?;
    if !described.status.is_success() {
        return Err(failed(described.said()).into());
    }
    let host = &described.body["HostConfig"];
    if let Some(reason) = limits::not_held(&made.body["Warnings"], host, container.limits) {
        return Err(failed(reason).into());
    }
    // Before it starts: from its first moment it ends with this process.
    let input = engine.stream(&format!("/containers/{name}/attach?stream=1&stdin=1"), None).await.map_err(failed)?;
    if stop.is_cancelled() {
        return Err(unwanted());
    }
    let started = engine.ask(Method::POST, &format!("/containers/{name}/start"), None).await.map_err(failed)?;
    if !started.status.is_success() {
        let hint = if started.said().contains("/bin/sh") { " (its image needs a shell at /bin/sh)" } else { "" };
        return Err(failed(format!("{}{hint}", started.said())).into());
    }
    printer.line(&format!("Runs in a container of {image} ({brought})")).await;
    if !limits::usual_holds(host, container.limits) {
        printer.line("No limit of processes holds in it: its engine has left it out").await;
    }
    Ok(Held { container, printer, standard_input: tokio::spawn(beat(input)) })
}

/// Writes a line to the first process now and then, and keeps the stream for as long as this runs.
async fn beat(mut input: Stream) {
    while input.write_all(b"\n").await.is_ok() && input.flush().await.is_ok() {
        tokio::time::sleep(BEAT).await;
    }
}

/// What root of an image needs to install packages and to become another user within its container, and no more: no raw
/// sockets, no devices, no other root.
const RIGHTS: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETUID"];

/// What the engine is asked for.
fn asked(container: &Container) -> Value {
    let Limits { memory, processes, file_size, open_files } = container.limits;
    let ulimit =
        |name: &str, value: Option<u64>| value.map(|value| json!({"Name": name, "Soft": value, "Hard": value}));
    let ulimits = [ulimit("fsize", file_size), ulimit("nofile", open_files), ulimit("core", Some(0))];
    // With a label for machines that have SELinux: private to this container.
    let bind = |path: &std::path::Path, how: &str| format!("{0}:{0}:{how},Z", path.display());
    let read = container.read.iter().map(|path| bind(path, "ro"));
    let binds: Vec<String> = std::iter::once(bind(&container.workspace, "rw")).chain(read).collect();
    let mut host = json!({
        "AutoRemove": true,
        "Binds": binds,
        "CapDrop": ["ALL"],
        "CapAdd": RIGHTS,
        // What the steps print goes past the engine.
        "LogConfig": {"Type": "none"},
        "SecurityOpt": ["no-new-privileges"],
        "Ulimits": ulimits.into_iter().flatten().collect::<Vec<_>>(),
    });
    if !container.network {
        host["NetworkMode"] = "none".into();
    }
    if let Some(memory) = memory {
        // Nothing of it is swapped.
        (host["Memory"], host["MemorySwap"]) = (memory.into(), memory.into());
    }
    if let Some(processes) = processes {
        // The first process is one, and what starts a step may be another.
        host["PidsLimit"] = processes.saturating_add(2).into();
    }
    json!({
        "Image": container.image.with_tag(),
        "Entrypoint": ["/bin/sh", "-c", KEEPER],
        "Cmd": [],
        "OpenStdin": true,
        "StdinOnce": true,
        "AttachStdin": true,
        "Tty": false,
        "StopSignal": "SIGKILL",
        "Hostname": "stepcast",
        "WorkingDir": container.workspace,
        "Labels": container.labels,
        "HostConfig": host,
    })
}

/// Makes sure that the image is there. Tells which it is.
async fn bring(engine: &Engine, image: &ImageName, printer: &Printer) -> Result<String, String> {
    if let Some(id) = look(engine, image).await? {
        return Ok(id);
    }
    printer.line(&format!("Pulling {image}")).await;
    let began = Instant::now();
    let failed = |reason: String| format!("the image {image} could not be pulled: {reason}");
    let path = format!("/images/create?fromImage={}", encoded(&image.with_tag()));
    let mut messages = engine.listen(&path).await.map_err(failed)?;
    let mut unread = Vec::new();
    while let Some(frame) = messages.frame().await {
        let frame = frame.map_err(|error| failed(format!("the engine broke off: {error}")))?;
        unread.extend_from_slice(&frame.into_data().unwrap_or_default());
        while let Some(end) = memchr::memchr(b'\n', &unread) {
            let line: Vec<u8> = unread.drain(..=end).collect();
            failure(&line).map_or(Ok(()), |reason| Err(failed(reason)))?;
        }
        if unread.len() > MESSAGE_BYTES_MAX {
            return Err(failed("the engine's answer cannot be read".to_owned()));
        }
    }
    failure(&unread).map_or(Ok(()), |reason| Err(failed(reason)))?;
    let id = look(engine, image).await?.ok_or_else(|| failed("it is not there afterwards".to_owned()))?;
    printer.line(&format!("Pulled {image} in {} s", began.elapsed().as_secs())).await;
    Ok(id)
}

/// What a message of a pull says that went wrong.
fn failure(message: &[u8]) -> Option<String> {
    let message: Value = serde_json::from_slice(message).ok()?;
    let said = message["error"].as_str().or(message["errorDetail"]["message"].as_str())?;
    Some(on_one_line(said))
}

/// Which image a name stands for here, if any: the beginning of its digest.
async fn look(engine: &Engine, image: &ImageName) -> Result<Option<String>, String> {
    let found = engine.ask(Method::GET, &format!("/images/{}/json", image.with_tag()), None).await?;
    match found.status {
        StatusCode::OK => {
            let id = found.body["Id"].as_str().unwrap_or_default();
            let mut shown = String::new();
            let _ =
                write!(shown, "{:.19}", if id.starts_with("sha256:") { id.to_owned() } else { format!("sha256:{id}") });
            Ok(Some(shown))
        }
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(format!("whether the image {image} is there cannot be told: {}", found.said())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(limits: Limits, network: bool) -> Container {
        Container {
            name: "stepcast-1".to_owned(),
            image: "alpine".parse().unwrap(),
            labels: [("stepcast.executor".to_owned(), "x".to_owned())].into(),
            workspace: "/w".into(),
            read: vec!["/r".into()],
            output: "/r/output".into(),
            network,
            limits,
        }
    }

    #[test]
    fn a_container_has_few_rights_and_nothing_of_the_machine_but_its_workspace() {
        let asked = asked(&container(Limits::default(), false));
        let host = &asked["HostConfig"];
        assert_eq!(host["Binds"], json!(["/w:/w:rw,Z", "/r:/r:ro,Z"]));
        assert_eq!((&host["CapDrop"], &host["NetworkMode"]), (&json!(["ALL"]), &json!("none")));
        assert_eq!(host["CapAdd"].as_array().unwrap().len(), RIGHTS.len());
        assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
        assert!(host.get("Memory").is_none() && host.get("PidsLimit").is_none());
        assert_eq!(asked["Image"], "alpine:latest");
    }

    #[test]
    fn limits_are_the_containers() {
        let limits = Limits { memory: Some(64 << 20), processes: Some(50), file_size: Some(9), open_files: Some(64) };
        let asked = asked(&container(limits, true));
        let host = &asked["HostConfig"];
        assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(64 << 20), &json!(64 << 20)));
        assert_eq!((&host["PidsLimit"], host.get("NetworkMode")), (&json!(52), None));
        assert_eq!(host["Ulimits"][0], json!({"Name": "fsize", "Soft": 9, "Hard": 9}));
    }

    #[test]
    fn a_pull_tells_of_its_failure_in_its_messages() {
        assert_eq!(failure(br#"{"status":"Pulling"}"#), None);
        assert_eq!(failure(br#"{"error":"manifest\nunknown"}"#), Some("manifest unknown".to_owned()));
        assert_eq!(failure(b""), None);
    }
}
