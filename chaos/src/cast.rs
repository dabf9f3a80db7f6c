//! Which processes a run has, and the ways between them: one process with the embedded broker, or a cluster beside the
//! servers that `xtask/cluster/servers.sh` has made. How one is looked after is in `process.rs`.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    Setting,
    failure::{Explain as _, Failure, Result},
    ledger::Ledger,
    link::Link,
    process::{Launch, Process, Sign},
    schedule::{Kind, Links, OF_EACH, PARTS},
};

/// Nothing takes longer to be there at the beginning, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(120);
/// Jobs that an executor runs at once.
const SLOTS: &str = "3";

/// How often it is looked whether a server has ended, every 100 ms.
const TAKE_OVER_TRIES: u32 = 300;

/// Everybody who plays.
pub(crate) struct Cast {
    pub(crate) processes: Vec<Arc<Process>>,
    links: Vec<(Links, Arc<Link>)>,
    /// Where clients come in.
    pub(crate) address: String,
    pub(crate) token: String,
    vhost: Option<String>,
    end: CancellationToken,
    kept: TaskTracker,
}

impl Cast {
    /// Starts all of them and makes a token.
    pub(crate) async fn start(setting: &Setting, ledger: &Arc<Ledger>) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut cast = Self {
            processes: Vec::new(),
            links: Vec::new(),
            address,
            token: String::new(),
            vhost: None,
            end: CancellationToken::new(),
            kept: TaskTracker::new(),
        };
        let data = setting.folder.join("data");
        std::fs::create_dir_all(&data).explain(|| format!("{} cannot be made", data.display()))?;
        if setting.embedded {
            cast.one_process(setting, &data, ledger).await?;
            cast.token = create_token(setting, &data.join("stepcast"), None).await?;
        } else {
            let store = cast.cluster(setting, &data, ledger).await?;
            cast.token = create_token(setting, &data.join("gateway-1"), Some(&store)).await?;
        }
        Ok(cast)
    }

    async fn add(
        &mut self,
        name: &str,
        kind: Kind,
        setting: &Setting,
        launch: Launch,
        ledger: &Arc<Ledger>,
    ) -> Result<()> {
        let process = Process::new(name, kind, &setting.folder, launch, Arc::clone(ledger));
        self.kept.spawn(Arc::clone(&process).keep(self.end.clone()));
        process.until_there(PATIENCE).await?;
        self.processes.push(process);
        Ok(())
    }

    async fn one_process(&mut self, setting: &Setting, data: &Path, ledger: &Arc<Ledger>) -> Result<()> {
        let lease = setting.lease.as_secs().to_string();
        let arguments = ["serve", "--slots", SLOTS, "--lease-seconds", &lease, "--listen", &self.address, "--data-dir"];
        let data = [text(&data.join("stepcast"))];
        let arguments = arguments.map(str::to_owned).into_iter().chain(data).chain(for_steps(setting)).collect();
        let launch = Launch {
            program: setting.program.clone(),
            arguments,
            environment: Vec::new(),
            sign: Sign::Line("Listening on"),
            is_tree: false,
        };
        self.add("stepcast", Kind::Stepcast, setting, launch, ledger).await
    }

    /// All processes of a cluster; gives the file with the database's URL.
    async fn cluster(&mut self, setting: &Setting, data: &Path, ledger: &Arc<Ledger>) -> Result<PathBuf> {
        let (amqp, postgres) = (variable("CLUSTER_AMQP")?, variable("CLUSTER_POSTGRES")?);
        for (kind, address, serve, pid) in [
            (Kind::Postgres, &postgres, variable("CLUSTER_POSTGRES_SERVE")?, variable("CLUSTER_POSTGRES_PID")?),
            (Kind::RabbitMq, &amqp, variable("CLUSTER_RABBITMQ_SERVE")?, variable("CLUSTER_RABBITMQ_PID")?),
        ] {
            take_over(&pid, address).await?;
            let launch = Launch {
                program: serve.into(),
                arguments: Vec::new(),
                environment: Vec::new(),
                sign: Sign::Port(address.clone()),
                is_tree: true,
            };
            self.add(kind.name(), kind, setting, launch, ledger).await?;
        }
        let vhost = Uuid::new_v4().simple().to_string();
        self.vhost = Some(vhost.clone());
        let rabbitmqctl = variable("CLUSTER_RABBITMQCTL")?;
        run(&rabbitmqctl, &["await_startup", "--timeout", "90"]).await?;
        run(&rabbitmqctl, &["add_vhost", &vhost]).await?;
        run(&rabbitmqctl, &["set_permissions", "--vhost", &vhost, "guest", ".*", ".*", ".*"]).await?;
        let (host, port) = postgres.split_once(':').unwrap_or(("127.0.0.1", "5432"));
        let database = format!("stepcast_{vhost}");
        let createdb = format!("{}/createdb", variable("CLUSTER_POSTGRES_BIN")?);
        run(&createdb, &["-h", host, "-p", port, "-U", "stepcast", "-T", "template0", &database]).await?;
        let password = variable("PGPASSWORD")?;
        let url = |port: u16| format!("postgres://stepcast:{password}@127.0.0.1:{port}/{database}");
        let direct = data.join("store");
        write(&direct, &url(port.parse().explain(|| "the port of PostgreSQL is no number".to_owned())?))?;

        let mut gateways = Vec::new();
        for kind in PARTS {
            for n in 0..OF_EACH {
                let name = format!("{}-{}", kind.name(), n + 1);
                let to_broker = Link::open(amqp.clone()).await?;
                let broker = data.join(format!("{name}.broker"));
                write(&broker, &format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", to_broker.port))?;
                self.links.push((Links::Of(kind, n, Kind::RabbitMq), to_broker));
                let lease = setting.lease.as_secs().to_string();
                let mut arguments =
                    ["serve", "--roles", kind.name(), "--lease-seconds", &lease].map(str::to_owned).to_vec();
                arguments.extend(["--broker".to_owned(), format!("@{}", broker.display())]);
                arguments.extend(["--data-dir".to_owned(), text(&data.join(&name))]);
                if kind == Kind::Executor {
                    arguments.extend(["--slots", SLOTS].map(str::to_owned));
                    arguments.extend(for_steps(setting));
                } else {
                    let to_store = Link::open(postgres.clone()).await?;
                    let store = data.join(format!("{name}.store"));
                    write(&store, &url(to_store.port))?;
                    self.links.push((Links::Of(kind, n, Kind::Postgres), to_store));
                    arguments.extend(["--store".to_owned(), format!("@{}", store.display())]);
                    arguments.extend(["--public-url".to_owned(), format!("http://{}", self.address)]);
                }
                if kind == Kind::Gateway {
                    let own = format!("127.0.0.1:{}", free_port()?);
                    arguments.extend(["--listen", &own, "--instance", &name.replace('-', "_")].map(str::to_owned));
                    arguments.extend(["--trusted-proxies", "127.0.0.1", "--artifacts"].map(str::to_owned));
                    arguments.push(text(&data.join("artifacts")));
                    gateways.push(own);
                }
                let sign = Sign::Line(if kind == Kind::Gateway { "Listening on" } else { "Running" });
                let program = setting.program.clone();
                let launch = Launch { program, arguments, environment: Vec::new(), sign, is_tree: false };
                self.add(&name, kind, setting, launch, ledger).await?;
            }
        }
        let [north, south] = gateways.as_slice() else { return Err(Failure("there must be two gateways".to_owned())) };
        let launch = Launch {
            program: "haproxy".into(),
            arguments: vec!["-db".to_owned(), "-f".to_owned(), text(&setting.haproxy)],
            environment: vec![
                ("STEPCAST_FRONT", self.address.clone()),
                ("STEPCAST_NORTH", north.clone()),
                ("STEPCAST_SOUTH", south.clone()),
            ],
            sign: Sign::Port(self.address.clone()),
            is_tree: false,
        };
        self.add("haproxy", Kind::HaProxy, setting, launch, ledger).await?;
        Ok(direct)
    }

    /// The `n`th process of a kind.
    pub(crate) fn process(&self, kind: Kind, n: usize) -> Option<&Arc<Process>> {
        self.processes.iter().filter(|process| process.kind == kind).nth(n)
    }

    /// The ways that are meant.
    pub(crate) fn links(&self, wanted: Links) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter().filter_map(move |(links, link)| {
            let (Links::Of(_, _, server) | Links::To(server)) = *links;
            (*links == wanted || Links::To(server) == wanted).then_some(link)
        })
    }

    /// Queues of the broker that hold messages, as `name: number`.
    pub(crate) async fn queues_with_messages(&self) -> Result<Vec<String>> {
        let Some(vhost) = &self.vhost else { return Ok(Vec::new()) };
        let rabbitmqctl = variable("CLUSTER_RABBITMQCTL")?;
        let list =
            run(&rabbitmqctl, &["list_queues", "--no-table-headers", "--vhost", vhost, "name", "messages"]).await?;
        let rows = list.lines().filter_map(|line| line.split_once('\t'));
        Ok(rows
            .filter(|(name, number)| *number != "0" && *name != "events")
            .map(|(name, number)| format!("{name}: {number}"))
            .collect())
    }

    /// Ends all of them.
    pub(crate) async fn end(self) {
        self.end.cancel();
        self.kept.close();
        self.kept.wait().await;
    }
}

/// Ends a server that others have started, so that one takes its place which is a child of this program.
async fn take_over(pid_file: &str, address: &str) -> Result<()> {
    let text = std::fs::read_to_string(pid_file).explain(|| format!("{pid_file} cannot be read"))?;
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure(format!("{pid_file} holds no process id")))?;
    // At this PostgreSQL ends its children too, and at once.
    kill_process(pid, Signal::QUIT).explain(|| "a server cannot be ended".to_owned())?;
    for tried in 0..TAKE_OVER_TRIES {
        if tokio::net::TcpStream::connect(address).await.is_err() {
            return Ok(());
        }
        if tried == TAKE_OVER_TRIES / 10 {
            let _ = kill_process(pid, Signal::KILL); // It may be gone by now.
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Failure(format!("{address} is still served")))
}

async fn create_token(setting: &Setting, data: &Path, store: Option<&Path>) -> Result<String> {
    let data = text(data);
    let mut arguments = vec!["token", "create", "--name", "chaos", "--data-dir", &data];
    let store = store.map(|store| format!("@{}", store.display()));
    if let Some(store) = &store {
        arguments.extend(["--store", store]);
    }
    Ok(run(&text(&setting.program), &arguments).await?.trim().to_owned())
}

/// Runs to the end and gives its standard output.
async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().await.explain(|| format!("{program} cannot be started"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure(format!("{program} {}: {said}", arguments.first().unwrap_or(&""))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).explain(|| format!("{name} (set by xtask/cluster/servers.sh)"))
}

fn write(path: &Path, content: &str) -> Result<()> {
    std::fs::write(path, content).explain(|| format!("{} cannot be written", path.display()))
}

/// What an executor is told so that its steps can write their notes, in a sandbox too.
fn for_steps(setting: &Setting) -> [String; 2] {
    ["--sandbox-write".to_owned(), text(&setting.notes())]
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn free_port() -> Result<u16> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).explain(|| "no port is free".to_owned())
}
