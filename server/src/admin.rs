//! `stepcast doctor`: what is looked at on the machine of the data folder, without the server.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use broker::Broker as _;
use broker_rabbitmq::{RabbitBroker, rights};
use clap::Args;
use store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::{
    backend::open_store_beside,
    config::{
        backend::{self, BrokerChoice, StoreChoice},
        data_dir::DataDir,
    },
};

/// With less than this the disk is soon full: a large log alone takes more.
const FREE_MIB_MIN: u64 = 512;

/// Options of `stepcast doctor`.
#[derive(Args)]
pub(crate) struct DoctorOptions {
    /// The data folder of the server.
    #[arg(long, env = "STEPCAST_DATA_DIR", default_value = "./stepcast-data")]
    data_dir: PathBuf,
    /// The broker, as `stepcast serve` is told it.
    #[arg(long, env = "STEPCAST_BROKER", default_value = "embedded", hide_env_values = true, value_parser = backend::parse::<BrokerChoice>)]
    broker: BrokerChoice,
    /// The store, as `stepcast serve` is told it.
    #[arg(long, env = "STEPCAST_STORE", default_value = "sqlite", hide_env_values = true, value_parser = backend::parse::<StoreChoice>)]
    store: StoreChoice,
    /// Address and port that the server listens on.
    #[arg(long, env = "STEPCAST_LISTEN", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Checks nothing, and prints the `rabbitmqctl` lines that make a RabbitMQ user who can do an executor's work and no more: of the
    /// executor whose data folder this is, or of all executors where the folder has none.
    #[arg(long)]
    permissions: bool,
    /// The name of that user.
    #[arg(long, default_value = "stepcast-executor", requires = "permissions")]
    executor_user: String,
}

/// `stepcast doctor`: each check is one line; the exit status tells whether all are well.
pub(crate) async fn doctor(options: DoctorOptions) -> Result<(), String> {
    if options.permissions {
        print!("{}", permissions(&options)?);
        return Ok(());
    }
    let mut ill = 0;
    let mut tell = |what: &str, result: Result<String, String>| match result {
        Ok(good) => println!("ok       {what}: {good}"),
        Err(bad) => {
            ill += 1;
            println!("problem  {what}: {bad}");
        }
    };
    tell("data folder", folder(&options.data_dir));
    let store = match (&options.store, DataDir::existing(&options.data_dir)) {
        (StoreChoice::Sqlite, Err(_)) => Ok(None),
        (choice, Ok(data_dir)) => open_store_beside(choice, &data_dir).await.map(Some),
        (choice, Err(_)) => open_store_beside(choice, &DataDir::named(&options.data_dir)).await.map(Some),
    };
    match store {
        Ok(None) => tell("store", Ok("no database yet; the first `stepcast serve` makes it".to_owned())),
        Ok(Some(store)) => {
            tell("store", store.check().await.map(|()| "it reads and writes".to_owned()).map_err(advice));
            tell("clock", clock(store.now().await.map_err(advice)));
        }
        Err(failure) => tell("store", Err(failure)),
    }
    tell("broker", broker(&options.broker).await);
    tell("port", port(options.listen));
    for (program, need) in [("bash", "steps run under it"), ("git", "`source` is cloned by it")] {
        tell(program, which(program).ok_or_else(|| format!("not found in PATH, and {need}: install it")));
    }
    tell("sandbox", sandbox().await);
    tell("containers", containers().await);
    if ill == 0 { Ok(()) } else { Err(format!("{ill} of the checks found a problem")) }
}

/// Makes one, as an executor does at its start. That none works is no fault: jobs run plain then, and people are told.
async fn sandbox() -> Result<String, String> {
    let program = crate::config::isolation::guard_program()?;
    Ok(match executor::sandbox_works(executor::SandboxOptions::default(), &program).await {
        Ok(()) => "works: each job runs in one of its own (bubblewrap)".to_owned(),
        Err(reason) => format!("none works here, so steps run plain and can read what this user can read: {reason}"),
    })
}

/// Asks the engine that `serve` would take. Jobs that name no image need none.
async fn containers() -> Result<String, String> {
    Ok(match executor::containers_work(&executor::ContainersChoice::Auto).await {
        Ok(Some(socket)) => format!("work: jobs that name an image run in those of {}", socket.display()),
        Ok(None) => {
            "no engine is here, so no jobs run that name an image: install Podman or Docker for those".to_owned()
        }
        Err(reason) => format!("none, so no jobs run here that name an image: {reason}"),
    })
}

/// The lines of `stepcast doctor --permissions`.
fn permissions(options: &DoctorOptions) -> Result<String, String> {
    let BrokerChoice::Rabbit(url) = &options.broker else {
        return Err("only RabbitMQ has users: name the broker by --broker amqp://…".to_owned());
    };
    let vhost = rights::virtual_host(url.reveal()).map_err(|failure| failure.to_string())?;
    let kept = DataDir::existing(&options.data_dir).ok().filter(DataDir::has_executor);
    let id = kept.map(|data_dir| data_dir.executor_id()).transpose()?;
    let rights::Permissions { configure, write, read, keys } = rights::of_executor(id);
    let whose = id.map_or_else(|| "executors, which share it".to_owned(), |id| format!("executor {id}"));
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let (vhost, user) = (quoted(&vhost), quoted(&options.executor_user));
    Ok(format!(
        "# The RabbitMQ user of {whose}. The first line asks for a password.\n\
         rabbitmqctl add_user {user}\n\
         rabbitmqctl set_permissions --vhost {vhost} {user} {} {} {}\n\
         rabbitmqctl set_topic_permissions --vhost {vhost} {user} utils {} '^$'\n",
        quoted(&configure),
        quoted(&write),
        quoted(&read),
        quoted(&keys)
    ))
}

/// Connects, which declares what is not there yet, and asks whether messages are taken.
async fn broker(choice: &BrokerChoice) -> Result<String, String> {
    let BrokerChoice::Rabbit(url) = choice else {
        return Ok("embedded: it needs nothing beside the store".to_owned());
    };
    let rabbit =
        RabbitBroker::start(url.reveal(), CancellationToken::new()).await.map_err(|failure| failure.to_string())?;
    rabbit.health().await.map_err(|failure| failure.to_string())?;
    Ok("RabbitMQ takes messages".to_owned())
}

/// Looks without making anything.
fn folder(path: &Path) -> Result<String, String> {
    let shown = path.display();
    if !path.exists() {
        return Ok(format!("{shown} is not there yet; the first `stepcast serve` makes it"));
    }
    DataDir::open(path)?;
    let room = rustix::fs::statvfs(path).map_err(|failure| format!("{shown} cannot be looked at: {failure}"))?;
    let free_mib = room.f_bavail.saturating_mul(room.f_frsize) / (1024 * 1024);
    if free_mib < FREE_MIB_MIN {
        return Err(format!("{shown} has {free_mib} MiB free: make room, below that builds are soon refused"));
    }
    Ok(format!("{shown} can be used, {free_mib} MiB free"))
}

fn advice(failure: StoreError) -> String {
    failure.to_string()
}

/// The database's clock beside the system's: they are the same one for SQLite, so what shows is a clock that was never set.
fn clock(database: Result<wire::Timestamp, String>) -> Result<String, String> {
    let database = database?;
    let system = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let apart = i128::from(database.millis()) - i128::try_from(system).unwrap_or(0);
    if system < 1_700_000_000_000 {
        return Err("the system's clock says a time before 2023: set it, leases and sessions go by it".to_owned());
    }
    if apart.abs() > 5_000 {
        return Err(format!("the database's clock is {apart} ms off the system's: let both follow one time server"));
    }
    Ok(format!("the database's clock is {apart} ms off the system's"))
}

fn port(listen: SocketAddr) -> Result<String, String> {
    match TcpListener::bind(listen) {
        Ok(_) => Ok(format!("{listen} is free")),
        Err(failure) if failure.kind() == std::io::ErrorKind::AddrInUse => {
            let answers = ureq::get(format!("http://{listen}/healthz")).call().is_ok();
            if answers {
                Ok(format!("a Stepcast (or another web server) answers on {listen}"))
            } else {
                Err(format!("{listen} is taken by another program: name another address by --listen"))
            }
        }
        Err(failure) => Err(format!("{listen} cannot be listened on: {failure}")),
    }
}

fn which(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())?;
    Some(found.display().to_string())
}
