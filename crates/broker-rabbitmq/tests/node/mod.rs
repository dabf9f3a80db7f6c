//! A private RabbitMQ node for the tests of one binary: its own data, ports, name and cookie. It ends with the test process,
//! however that ends: a shell that waits for the end of its input sweeps up. Several can be a cluster.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod authority;

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use broker_rabbitmq::RabbitBroker;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Where Debian and Ubuntu put the scripts that need no system user; [`SCRIPTS_VARIABLE`] names those of another version.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
/// A folder with `rabbitmq-server` and `rabbitmqctl`.
const SCRIPTS_VARIABLE: &str = "STEPCAST_TEST_RABBITMQ_SCRIPTS";
/// How long anything about the node may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);
/// How often is looked at what nobody announces.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The limit of a message is far below RabbitMQ's own, so that a test can pass it.
const CONFIGURATION: &str = "disk_free_limit.absolute = 50MB\nmax_message_size = 1048576\n";

/// What nodes of a cluster know each other by.
const COOKIE: &str = ".erlang.cookie";

/// Ends the node and removes its data at the end of the input. The last line says which process group the node is.
const SWEEPER: &str = r#"
while read -r line; do node=$line; done
kill -s KILL -- "-$node"; [ -z "$1" ] || kill -s KILL -- "-$1"; rm -rf "$2""#;

pub(crate) struct Node {
    folder: PathBuf,
    name: String,
    port: u16,
    ports: [u16; 2],
    running: Mutex<Running>,
}

struct Running {
    server: Child,
    /// epmd, which the nodes of a cluster share, and the sweeper: they end after this process.
    others: (Option<Child>, Child),
    sweeper: ChildStdin,
}

impl Node {
    /// The one of this test binary, started by whoever asks first.
    pub(crate) fn shared() -> &'static Node {
        static NODE: OnceLock<Node> = OnceLock::new();
        NODE.get_or_init(Node::start)
    }

    /// Another one, for a test that ends its node.
    pub(crate) fn start() -> Node {
        Node::start_in(new_folder(), "", None)
    }

    /// The same in a folder that is made already, with further lines of configuration.
    pub(crate) fn start_in(folder: PathBuf, configuration: &str, beside: Option<&Node>) -> Node {
        assert!(
            script("rabbitmq-server").exists(),
            "these tests need RabbitMQ: run `sudo apt-get install --no-install-recommends rabbitmq-server`"
        );
        fs::write(folder.join("plugins"), "[].").unwrap();
        fs::write(folder.join("environment"), "").unwrap();
        fs::write(folder.join("rabbitmq.conf"), format!("{CONFIGURATION}{configuration}")).unwrap();
        let [port, distribution, free] = free_ports();
        // Started here and not by the node: then it is known which process to end.
        let (mapper, mapper_process) = match beside {
            Some(other) => (other.ports[1], None),
            None => (free, Some(start_mapper(free))),
        };
        let cookie = folder.join(COOKIE);
        match beside {
            Some(other) => drop(fs::copy(other.folder.join(COOKIE), &cookie).unwrap()),
            None => fs::write(&cookie, folder.file_name().unwrap().as_encoded_bytes()).unwrap(),
        }
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400)).unwrap();
        let mut sweeper = Command::new("sh")
            .args(["-c", SWEEPER, "sweeper"])
            .arg(mapper_process.as_ref().map_or(String::new(), |mapper| mapper.id().to_string()))
            .arg(&folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = sweeper.stdin.take().unwrap();
        let (name, ports) = (format!("stepcast-{port}@localhost"), [distribution, mapper]);
        let server = spawn(&folder, &name, port, ports, &mut input);
        let running = Running { server, others: (mapper_process, sweeper), sweeper: input };
        Node { name, port, ports, running: Mutex::new(running), folder }
    }

    /// Where it keeps what it was sent.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Three nodes that are one cluster.
    pub(crate) async fn cluster() -> [Node; 3] {
        let first = Node::start();
        let others = [(); 2].map(|()| Node::start_in(new_folder(), "", Some(&first)));
        // Nothing is declared before they are three: what is made then has a replica on each.
        first.started().await;
        for other in &others {
            other.started().await;
            for words in [&["stop_app"][..], &["join_cluster", &first.name], &["start_app"]] {
                other.control(words).await;
            }
        }
        let [second, third] = others;
        [first, second, third]
    }

    /// Waits until it has started.
    async fn started(&self) {
        self.control(&["wait", "--timeout", "230", self.folder.join("pid").to_str().unwrap()]).await;
    }

    /// As Erlang calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Host and port.
    pub(crate) fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port)
    }

    /// Writes down which quorum queues and streams there are. RabbitMQ does that by itself within seconds; killed before, it
    /// starts with empty ones. What they hold is on the disk at once.
    pub(crate) async fn keep_what_was_declared(&self) {
        self.control(&["eval", "[ok = dets:sync(Table) || Table <- dets:all()]."]).await;
    }

    /// kill -9.
    pub(crate) fn kill(&self) {
        let mut running = self.running.lock().unwrap();
        kill_process_group(Pid::from_child(&running.server), Signal::KILL).unwrap();
        running.server.wait().unwrap();
    }

    /// Starts what was killed, on the same data; it takes some seconds.
    pub(crate) fn revive(&self) {
        let mut running = self.running.lock().unwrap();
        running.server = spawn(&self.folder, &self.name, self.port, self.ports, &mut running.sweeper);
    }

    /// A broker on this node, when that has started.
    pub(crate) async fn broker(&self) -> Arc<RabbitBroker> {
        let mut look = tokio::time::interval(LOOK_AGAIN);
        let mut told = String::new();
        let started = tokio::time::timeout(PATIENCE, async {
            loop {
                match RabbitBroker::start(&self.url(), CancellationToken::new()).await {
                    Ok(broker) => break broker,
                    Err(error) => told = error.to_string(),
                }
                look.tick().await;
            }
        });
        let Ok(broker) = started.await else {
            let log = fs::read_to_string(self.folder.join("out")).unwrap_or_default();
            panic!("the node does not start: {told}\n{log}");
        };
        broker
    }

    /// The same with other credentials or another virtual host.
    pub(crate) fn url_of(&self, user: &str, password: &str, vhost: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}/{vhost}", self.port)
    }

    /// Runs `rabbitmqctl` with these arguments.
    pub(crate) async fn control(&self, arguments: &[&str]) -> String {
        let mut command = tokio::process::Command::from(self.command("rabbitmqctl"));
        let output = tokio::time::timeout(PATIENCE, command.arg("--quiet").args(arguments).output()).await;
        let output = output.expect("rabbitmqctl takes too long").unwrap();
        assert!(
            output.status.success(),
            "rabbitmqctl {arguments:?} failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, name_of_script: &str) -> Command {
        command(name_of_script, &self.folder, &self.name, self.port, self.ports)
    }
}

/// Made before its node, for what the configuration names.
pub(crate) fn new_folder() -> PathBuf {
    tempfile::Builder::new().prefix("stepcast-rabbitmq-").tempdir().unwrap().keep()
}

fn start_mapper(port: u16) -> Child {
    Command::new("epmd")
        .args(["-port", &port.to_string(), "-address", "127.0.0.1"])
        .process_group(0)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("epmd comes with Erlang")
}

fn spawn(folder: &Path, name: &str, port: u16, ports: [u16; 2], sweeper: &mut ChildStdin) -> Child {
    let out = fs::File::create(folder.join("out")).unwrap();
    let server = command("rabbitmq-server", folder, name, port, ports)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    writeln!(sweeper, "{}", server.id()).unwrap();
    server
}

fn script(name: &str) -> PathBuf {
    Path::new(&std::env::var_os(SCRIPTS_VARIABLE).unwrap_or_else(|| SCRIPTS.into())).join(name)
}

fn command(name_of_script: &str, folder: &Path, name: &str, port: u16, [distribution, mapper]: [u16; 2]) -> Command {
    let mut command = Command::new(script(name_of_script));
    command
        // Where a crash leaves its dump.
        .current_dir(folder)
        .env("HOME", folder)
        .env("RABBITMQ_NODENAME", name)
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_DIST_PORT", distribution.to_string())
        .env("ERL_EPMD_PORT", mapper.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_PID_FILE", folder.join("pid"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("environment"))
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"));
    command
}

/// Ports on which nothing listens, below those that the system gives to connections: one of these could be taken before its
/// node has started.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    // Held until all are found, so that they differ.
    let sockets = [(); N].map(|()| {
        let any = || 20_000 + Uuid::new_v4().as_fields().1 % 12_000;
        std::iter::repeat_with(any).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).unwrap()
    });
    sockets.map(|socket| socket.local_addr().unwrap().port())
}
