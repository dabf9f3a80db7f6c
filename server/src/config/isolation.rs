//! What stands between the steps of jobs and the machine of their executor, and what a job may use of it.

use std::path::{Path, PathBuf};

use clap::Args;
use executor::{ContainersChoice, IsolationChoice, SandboxOptions};
use wire::{Limits, size};

/// See [`Limits`]; a job in a sandbox has this many processes unless it is told otherwise.
const _: () = assert!(executor::SANDBOX_PROCESSES == 2048, "the help below says so");

/// Options of an executor.
#[derive(Clone, Debug, Args)]
pub(crate) struct IsolationOptions {
    /// How steps are kept from this machine: in a `sandbox` for each job (it needs bubblewrap, and the server does not start
    /// where it does not work), `plain`, or `auto`: in a sandbox where that works.
    #[arg(long, env = "STEPCAST_ISOLATION", default_value = "auto")]
    pub(crate) isolation: Choice,
    /// Where jobs that name an `image` get their containers from: the socket of Podman or Docker (the server does not start
    /// where none answers), `off`, or `auto`: the first that answers of /run/podman/podman.sock, /var/run/docker.sock and
    /// $XDG_RUNTIME_DIR/podman/podman.sock, if any does.
    #[arg(long, env = "STEPCAST_CONTAINERS", value_name = "SOCKET", default_value = "auto", value_parser = containers)]
    pub(crate) containers: ContainersChoice,
    /// A path that all jobs can read in their sandboxes; can be given more than once (the variable: with `:` between).
    #[arg(long, env = "STEPCAST_SANDBOX_READ", value_name = "PATH", value_delimiter = ':', value_parser = inside)]
    pub(crate) sandbox_read: Vec<PathBuf>,
    /// A path that all jobs can write in their sandboxes, for caches: what one job writes there, every other one reads.
    #[arg(long, env = "STEPCAST_SANDBOX_WRITE", value_name = "PATH", value_delimiter = ':', value_parser = inside)]
    pub(crate) sandbox_write: Vec<PathBuf>,
    /// Memory that a job may use at most, such as 2GiB; jobs may ask for less by `limits` [default: no limit].
    #[arg(long, env = "STEPCAST_JOB_MEMORY", value_name = "SIZE", value_parser = memory)]
    pub(crate) job_memory: Option<u64>,
    /// Processes and threads that a job may have at one time [default: 2048 in a sandbox or a container, else no limit].
    #[arg(long, env = "STEPCAST_JOB_PROCESSES", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(8..=1_000_000))]
    pub(crate) job_processes: Option<u64>,
    /// Size of a file that a job may write, such as 5GiB [default: no limit].
    #[arg(long, env = "STEPCAST_JOB_FILE_SIZE", value_name = "SIZE", value_parser = file_size)]
    pub(crate) job_file_size: Option<u64>,
}

/// See [`IsolationChoice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Choice {
    /// A sandbox where one works.
    Auto,
    /// A sandbox.
    Sandbox,
    /// None.
    Plain,
}

impl From<Choice> for IsolationChoice {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Auto => Self::Auto,
            Choice::Sandbox => Self::Sandbox,
            Choice::Plain => Self::Plain,
        }
    }
}

impl IsolationOptions {
    /// `--isolation sandbox` where none works, or an engine that is named and does not answer: the server does not start, and
    /// nothing of it is touched. The executor tries once more with its own folders.
    ///
    /// # Errors
    /// Why none works, and what to do about it.
    pub(crate) async fn check(&self, runs_jobs: bool) -> Result<(), String> {
        if let (ContainersChoice::Socket(socket), true) = (&self.containers, runs_jobs) {
            let works = executor::containers_work(&self.containers).await;
            works.map_err(|reason| format!("`--containers {}` is wanted, but {reason}", socket.display()))?;
        }
        if self.isolation != Choice::Sandbox || !runs_jobs {
            return Ok(());
        }
        let works = executor::sandbox_works(self.sandbox([]), &guard_program()?).await;
        works.map_err(|reason| format!("`--isolation sandbox` is wanted, but no sandbox works here: {reason}"))
    }

    /// What a sandbox shows, and never the server's `own` folders.
    pub(crate) fn sandbox<'a>(&self, own: impl IntoIterator<Item = Option<&'a Path>>) -> SandboxOptions {
        // As the kernel names them, links resolved.
        let hidden =
            own.into_iter().flatten().map(|folder| folder.canonicalize().unwrap_or_else(|_| folder.to_owned()));
        SandboxOptions {
            read: self.sandbox_read.clone(),
            write: self.sandbox_write.clone(),
            hidden: hidden.collect(),
            credentials: Vec::new(),
        }
    }

    /// What a job may use at most.
    pub(crate) fn limits(&self) -> Limits {
        let (memory, processes, file_size) = (self.job_memory, self.job_processes, self.job_file_size);
        Limits { memory, processes, file_size, open_files: None }
    }
}

/// This program, which is its executor's guard as well.
///
/// # Errors
/// When it cannot find itself.
pub(crate) fn guard_program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|failure| format!("this program cannot find itself: {failure}"))
}

fn inside(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if !path.is_absolute() || path.parent().is_none() {
        return Err("it must be a whole path, such as /srv/cache, and not `/` itself".to_owned());
    }
    if !path.exists() {
        return Err("there is nothing at this path: make it first, or leave the option out".to_owned());
    }
    Ok(path)
}

fn containers(text: &str) -> Result<ContainersChoice, String> {
    match text {
        "auto" => Ok(ContainersChoice::Auto),
        "off" => Ok(ContainersChoice::Off),
        _ => {
            let path = PathBuf::from(text.strip_prefix("unix://").unwrap_or(text));
            let right = "it must be `auto`, `off` or the whole path of a socket, such as /run/podman/podman.sock";
            path.is_absolute().then_some(ContainersChoice::Socket(path)).ok_or_else(|| right.to_owned())
        }
    }
}

fn memory(text: &str) -> Result<u64, String> {
    let right = || "it must be a size of 16MiB at least, such as 500MB or 2GiB".to_owned();
    size::parse(text).filter(|bytes| *bytes >= 16 << 20).ok_or_else(right)
}

fn file_size(text: &str) -> Result<u64, String> {
    let right = || "it must be a size of 1KB at least, such as 500MB or 5GiB".to_owned();
    size::parse(text).filter(|bytes| *bytes >= 1000).ok_or_else(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_come_from_a_socket_by_its_whole_path() {
        let socket = Ok(ContainersChoice::Socket("/run/x.sock".into()));
        assert_eq!((containers("/run/x.sock"), containers("unix:///run/x.sock")), (socket.clone(), socket));
        assert_eq!((containers("auto"), containers("off")), (Ok(ContainersChoice::Auto), Ok(ContainersChoice::Off)));
        for bad in ["", "podman", "tcp://127.0.0.1:2375", "http://host"] {
            assert!(containers(bad).unwrap_err().contains("whole path of a socket"), "{bad}");
        }
    }

    #[test]
    fn a_path_for_sandboxes_is_whole_and_there() {
        assert!(inside("/tmp").is_ok());
        for (bad, right) in [("cache", "whole path"), ("/", "not `/`"), ("/nothing/here", "make it first")] {
            assert!(inside(bad).unwrap_err().contains(right), "{bad}");
        }
        assert!(memory("1MB").is_err() && memory("64MiB").is_ok() && file_size("5").is_err());
    }
}
