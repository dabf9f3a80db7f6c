//! What `stepcast serve` is told: options, their variables, units and defaults. What is kept in the data directory stands
//! in [`data_dir`].

pub(crate) mod backend;
pub(crate) mod data_dir;
pub(crate) mod isolation;
pub(crate) mod key_file;
pub(crate) mod openid;
pub(crate) mod retention;
pub(crate) mod roles;
pub(crate) mod secrets_key;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use executor::{GitAllowed, SandboxOptions};
use wire::{LabelSet, size};

use self::{
    backend::{BrokerChoice, StoreChoice},
    isolation::IsolationOptions,
    openid::OpenidOptions,
    retention::RetentionOptions,
    roles::{Role, Roles},
    secrets_key::SecretsKeyOptions,
};
use crate::{
    objects::ObjectsChoice,
    replies::destination::{Allowed, Destinations},
    tend,
};

/// Options of `stepcast serve`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeOptions {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "STEPCAST_LISTEN", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,
    /// Folder for the database, artifacts, workspaces and keys; made if it is not there.
    #[arg(long, env = "STEPCAST_DATA_DIR", default_value = "./stepcast-data")]
    pub(crate) data_dir: PathBuf,
    /// Name of this gateway instance: letters, digits, `_`. Made once and kept in the data folder unless given.
    #[arg(long, env = "STEPCAST_INSTANCE", value_parser = instance)]
    pub(crate) instance: Option<String>,
    /// Workers of the gateway, 1 to 256.
    #[arg(long, env = "STEPCAST_WORKERS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,
    /// Parts that this process runs: gateway, control, executor, projections, separated by commas, or `all`.
    #[arg(long, env = "STEPCAST_ROLES", default_value = "all")]
    pub(crate) roles: Roles,
    /// The broker: `embedded`, a URL (amqp://user:password@host:port/virtual-host, amqps://…; nodes of a cluster as
    /// host:port,host:port), or @FILE that holds one.
    #[arg(long, env = "STEPCAST_BROKER", default_value = "embedded", hide_env_values = true, value_parser = backend::parse::<BrokerChoice>)]
    pub(crate) broker: BrokerChoice,
    /// The store: `sqlite` (a file in the data folder), a URL (postgres://user:password@host:port/database), or @FILE that
    /// holds one.
    #[arg(long, env = "STEPCAST_STORE", default_value = "sqlite", hide_env_values = true, value_parser = backend::parse::<StoreChoice>)]
    pub(crate) store: StoreChoice,
    /// Folder for the files that jobs leave behind; gateways on several hosts share one [default: in the data folder].
    #[arg(long, env = "STEPCAST_ARTIFACTS")]
    pub(crate) artifacts: Option<PathBuf>,
    /// Where those files and payloads are kept: `file` (that folder), or s3://BUCKET/PREFIX with the AWS_* variables
    /// (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT, AWS_ALLOW_HTTP).
    #[arg(long, env = "STEPCAST_OBJECTS", default_value = "file")]
    pub(crate) objects: ObjectsChoice,
    /// A file that a job leaves behind may be so large.
    #[arg(long, env = "STEPCAST_ARTIFACT_LIMIT", default_value = "5GiB", value_parser = bytes_limit)]
    pub(crate) artifact_limit: u64,
    /// All files that one attempt of a job leaves behind may together be so large.
    #[arg(long, env = "STEPCAST_JOB_ARTIFACTS_LIMIT", default_value = "20GiB", value_parser = bytes_limit)]
    pub(crate) job_artifacts_limit: u64,
    /// A payload, such as a file that is an input of a build, may be so large.
    #[arg(long, env = "STEPCAST_PAYLOAD_LIMIT", default_value = "2GiB", value_parser = bytes_limit)]
    pub(crate) payload_limit: u64,
    /// Seconds that a payload is kept which no build and no callback refers to.
    #[arg(long, env = "STEPCAST_PAYLOAD_KEEP_SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) payload_keep_seconds: u64,
    /// Room that is to stay free on the disks of the data folder and of the artifacts, such as 1GiB; with less no build is taken.
    /// 0 turns that off [default: 256 MiB, on a small disk a twentieth of it].
    #[arg(long, env = "STEPCAST_DISK_FLOOR", value_parser = disk_floor)]
    pub(crate) disk_floor: Option<u64>,
    /// Jobs that the executor runs at once, 1 to 1024 [default: number of cores].
    #[arg(long, env = "STEPCAST_SLOTS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) slots: Option<u32>,
    /// Log that one attempt of a job keeps at most, such as 500MB or 2GiB; jobs may ask for less by `log_limit`.
    #[arg(long, env = "STEPCAST_LOG_LIMIT", default_value = "1GiB", value_parser = bytes_limit)]
    pub(crate) log_limit: u64,
    /// How the executor sends artifacts: by `http`, over the `broker` where it reaches nothing else, or `auto`: by HTTP, and over
    /// the broker where nobody is reached so.
    #[arg(long, env = "STEPCAST_UPLOAD", default_value = "auto")]
    pub(crate) upload: UploadChoice,
    /// Where the executor takes Git sources from besides https and ssh: folders of its host (/srv/git), and hosts over http
    /// (http://host:port), separated by commas [default: nothing].
    #[arg(long, env = "STEPCAST_GIT_ALLOW", value_delimiter = ',')]
    pub(crate) git_allow: Vec<GitAllowed>,
    /// Labels that the executor offers, separated by commas [default: the operating system and the architecture].
    #[arg(long, env = "STEPCAST_LABELS", value_parser = labels)]
    pub(crate) labels: Option<LabelSet>,
    /// Proxies whose `Forwarded` and `X-Forwarded-For` headers count: addresses separated by commas [default: none].
    #[arg(long, env = "STEPCAST_TRUSTED_PROXIES", value_delimiter = ',')]
    pub(crate) trusted_proxies: Vec<std::net::IpAddr>,
    /// Seconds within which a returning tab gets its former worker.
    #[arg(long, env = "STEPCAST_AFFINITY_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) affinity_seconds: u64,
    /// Seconds that a job's lease lasts: a job whose executor is not heard for so long runs again.
    #[arg(long, env = "STEPCAST_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) lease_seconds: u64,
    /// Events that the recorder may be behind, 1 at least: above, no job is begun and what runs waits with its output.
    #[arg(long, env = "STEPCAST_RECORDER_LAG_MAX", default_value_t = tend::LAG_MAX, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) recorder_lag_max: u64,
    /// Seconds that a process may take after SIGTERM to end the jobs that it runs and to send its sockets elsewhere.
    #[arg(long, env = "STEPCAST_DRAIN_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) drain_seconds: u64,
    /// URL under which people and executors reach the gateways [default: from --listen].
    #[arg(long, env = "STEPCAST_PUBLIC_URL", value_parser = public_url)]
    pub(crate) public_url: Option<String>,
    /// What webhooks may reach besides the public internet: networks (10.1.0.0/16), addresses and names of hosts, separated by
    /// commas [default: nothing].
    #[arg(long, env = "STEPCAST_WEBHOOK_ALLOW", value_delimiter = ',')]
    pub(crate) webhook_allow: Vec<Allowed>,
    /// Who signs people in besides their passwords.
    #[command(flatten)]
    pub(crate) openid: OpenidOptions,
    /// What stands between steps and machine.
    #[command(flatten)]
    pub(crate) isolation: IsolationOptions,
    /// What secrets are encrypted with.
    #[command(flatten)]
    pub(crate) secrets_key: SecretsKeyOptions,
    /// How long builds are kept.
    #[command(flatten)]
    pub(crate) retention: RetentionOptions,
}

/// How the executor sends artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum UploadChoice {
    /// By HTTP, and over the broker where nobody is reached so.
    Auto,
    /// By HTTP alone.
    Http,
    /// Over the broker alone.
    Broker,
}

impl From<UploadChoice> for executor::UploadBy {
    fn from(choice: UploadChoice) -> Self {
        match choice {
            UploadChoice::Auto => Self::Auto,
            UploadChoice::Http => Self::Http,
            UploadChoice::Broker => Self::Broker,
        }
    }
}

impl ServeOptions {
    /// Says in one sentence what does not go together.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.broker == BrokerChoice::Embedded && !self.roles.is_all() {
            return Err(format!(
                "the embedded broker lives in one process, which has all roles; for `--roles {}` name a RabbitMQ by --broker amqp://…",
                self.roles
            ));
        }
        if self.broker == BrokerChoice::Embedded && self.store != StoreChoice::Sqlite {
            return Err("the embedded broker keeps its messages in SQLite: for PostgreSQL name a RabbitMQ too, by --broker amqp://…".to_owned());
        }
        self.openid.settings()?;
        if self.roles.has(Role::Control) && !self.roles.has(Role::Gateway) && self.public_url.is_none() {
            return Err(
                "control tells executors where artifacts go: name the gateways' address by --public-url".to_owned()
            );
        }
        Ok(())
    }

    /// What a sandbox shows, and never the server's `own` folders. Where sources may be is shown too: whoever may name one of
    /// them may name each.
    pub(crate) fn sandbox<'a>(&self, own: impl IntoIterator<Item = Option<&'a Path>>) -> SandboxOptions {
        let mut sandbox = self.isolation.sandbox(own);
        let folders = self.git_allow.iter().filter_map(|allowed| match allowed {
            GitAllowed::Folder(folder) => folder.canonicalize().ok(),
            GitAllowed::Http(_) => None,
        });
        sandbox.read.extend(folders);
        sandbox.credentials.extend(self.credentials());
        sandbox.credentials.extend(executor::engine_sockets(&self.isolation.containers));
        sandbox
    }

    /// The files by which this process comes in elsewhere, and decrypts; steps must not read them.
    fn credentials(&self) -> impl Iterator<Item = PathBuf> {
        let broker = if let BrokerChoice::Rabbit(url) = &self.broker { url.files() } else { Vec::new() };
        let store = if let StoreChoice::Postgres(url) = &self.store { url.files() } else { Vec::new() };
        broker
            .into_iter()
            .chain(store)
            .chain(self.secrets_key.secrets_key_file.clone())
            .chain(self.openid.secret_file())
    }

    /// See [`ServeOptions::webhook_allow`].
    pub(crate) fn webhook_destinations(&self) -> Destinations {
        Destinations::new(self.webhook_allow.clone())
    }

    /// See [`ServeOptions::affinity_seconds`].
    pub(crate) fn affinity(&self) -> Duration {
        Duration::from_secs(self.affinity_seconds)
    }

    /// See [`ServeOptions::lease_seconds`].
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }

    /// See [`ServeOptions::drain_seconds`].
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// See [`ServeOptions::slots`].
    pub(crate) fn slots(&self) -> u32 {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.slots.unwrap_or_else(|| u32::try_from(cores()).unwrap_or(1))
    }

    /// See [`ServeOptions::labels`].
    pub(crate) fn labels(&self) -> LabelSet {
        let own = [std::env::consts::OS, std::env::consts::ARCH].map(str::to_owned);
        self.labels.clone().unwrap_or_else(|| LabelSet::new(own).unwrap_or_default())
    }
}

fn instance(text: &str) -> Result<String, String> {
    if wire::id::is_instance(text) {
        Ok(text.to_owned())
    } else {
        Err("it may hold letters, digits and `_` only, at most 64 of them".to_owned())
    }
}

fn labels(text: &str) -> Result<LabelSet, String> {
    LabelSet::new(text.split(',').map(|label| label.trim().to_owned()))
}

fn bytes_limit(text: &str) -> Result<u64, String> {
    size::parse(text)
        .filter(|bytes| *bytes >= 1000)
        .ok_or_else(|| "it must be a size of 1KB at least, such as 500MB or 2GiB".to_owned())
}

fn disk_floor(text: &str) -> Result<u64, String> {
    size::parse(text).ok_or_else(|| "it must be a size, such as 500MB or 1GiB, or 0".to_owned())
}

fn public_url(text: &str) -> Result<String, String> {
    let trimmed = text.trim_end_matches('/');
    let rest = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://"));
    match rest {
        Some(host) if !host.is_empty() && !host.contains(['/', ' ', '?', '#']) => Ok(trimmed.to_owned()),
        _ => Err("it must be http://host or https://host, with a port if need be and without a path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: ServeOptions,
    }

    fn checked(words: &[&str]) -> Result<(), String> {
        let words = ["stepcast"].iter().chain(words);
        <Line as clap::Parser>::try_parse_from(words).map_err(|wrong| wrong.to_string())?.options.check()
    }

    #[test]
    fn parts_that_cannot_go_together_are_told_with_what_would() {
        assert_eq!(checked(&[]), Ok(()));
        assert!(checked(&["--roles", "executor"]).unwrap_err().contains("--broker amqp://"));
        assert!(checked(&["--store", "postgres://a@b/c"]).unwrap_err().contains("--broker amqp://"));
        let rabbit = ["--broker", "amqp://a:b@c"];
        assert_eq!(checked(&[&["--roles", "executor"][..], &rabbit].concat()), Ok(()));
        let control = [&["--roles", "control,projections"][..], &rabbit].concat();
        assert!(checked(&control).unwrap_err().contains("--public-url"));
        assert_eq!(checked(&[&control[..], &["--public-url", "http://ci.example.org"]].concat()), Ok(()));
    }

    #[test]
    fn a_wrong_option_is_answered_with_what_would_be_right() {
        assert!(instance("a-b").is_err());
        assert!(labels("linux, gpu").is_ok());
        assert!(labels("linux,,gpu").is_err());
        assert_eq!(public_url("https://ci.example.org/").as_deref(), Ok("https://ci.example.org"));
        assert!(public_url("ci.example.org").is_err());
        assert!(public_url("http://ci.example.org/path").is_err());
    }
}
