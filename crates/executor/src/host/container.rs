//! The executor's side of containers: which engine it has, what it leaves of a former start (nothing), and which container a
//! job gets. Making and ending one is the business of [`crate::guard`], as it is for every tree of a job.

use std::path::{Path, PathBuf};

use uuid::Uuid;
use wire::{ExecutorId, ImageName, Limits, task::Grant};

use super::{Guard, Guards, Output};
use crate::{ExecutorError, SANDBOX_PROCESSES, engine::Engine, guard::protocol::Container, workspace::Workspace};

/// The label that says whose a container is.
const EXECUTOR_LABEL: &str = "stepcast.executor";
/// Where engines usually listen.
const SOCKETS: [&str; 2] = ["/run/podman/podman.sock", "/var/run/docker.sock"];

/// Where jobs that name an image get their containers from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainersChoice {
    /// From the first engine that answers at a usual place, if any does.
    #[default]
    Auto,
    /// From nowhere: such jobs are not taken.
    Off,
    /// From the engine at this socket; the executor refuses to start where none answers.
    Socket(PathBuf),
}

/// The engine, and how its containers are known for this executor's.
#[derive(Clone, Debug)]
pub(crate) struct Containers {
    engine: Engine,
    executor: ExecutorId,
}

impl Containers {
    /// The engine that is wanted, without any container that a former start of this executor left. No guard of it may be left.
    ///
    /// # Errors
    /// When one is named that does not serve.
    pub(crate) async fn found(choice: &ContainersChoice, executor: ExecutorId) -> Result<Option<Self>, ExecutorError> {
        let (sockets, is_named) = match choice {
            ContainersChoice::Off => return Ok(None),
            ContainersChoice::Socket(socket) => (vec![socket.clone()], true),
            ContainersChoice::Auto => (usual(), false),
        };
        for socket in sockets {
            let containers = Self { engine: Engine::new(socket.clone()), executor };
            match containers.swept().await {
                Ok(()) => {
                    tracing::info!(engine = %socket.display(), "jobs that name an image run in containers");
                    return Ok(Some(containers));
                }
                Err(reason) if is_named => return Err(ExecutorError::NoContainers(socket, reason)),
                Err(reason) => tracing::info!(reason, "no containers are taken from this engine"),
            }
        }
        Ok(None)
    }

    async fn swept(&self) -> Result<(), String> {
        self.engine.ping().await?;
        self.engine.remove_labelled(&format!("{EXECUTOR_LABEL}={}", self.executor)).await
    }

    /// The container that a job is to get over its directories.
    pub(crate) fn of_job(&self, grant: &Grant, image: &ImageName, limits: Limits, workspace: &Workspace) -> Container {
        let label = |name: &str, value: String| (format!("stepcast.{name}"), value);
        Container {
            name: format!("stepcast-{}", Uuid::new_v4()),
            image: image.clone(),
            labels: [
                (EXECUTOR_LABEL.to_owned(), self.executor.to_string()),
                label("job", grant.lease.job.to_string()),
                label("attempt", grant.lease.attempt.to_string()),
            ]
            .into(),
            workspace: workspace.path.clone(),
            read: vec![workspace.private(), workspace.inputs()],
            output: workspace.private().join("output"),
            network: grant.network,
            limits: Limits { processes: limits.processes.or(Some(SANDBOX_PROCESSES)), ..limits },
        }
    }

    /// A guard that is to make this container.
    ///
    /// # Errors
    /// When none can be started, or the workspace cannot be shared; one sentence.
    pub(crate) async fn guard(
        &self,
        guards: &Guards,
        workspace: &Workspace,
        container: &Container,
    ) -> Result<Guard, String> {
        if workspace.path.as_os_str().to_string_lossy().contains(':') {
            let path = workspace.path.display();
            return Err(format!("no engine mounts {path}, whose name has a `:`: choose another `--data-dir`"));
        }
        let opened = tokio::task::spawn_blocking({
            let workspace = workspace.clone();
            move || workspace.open()
        });
        opened.await.unwrap_or_else(|panic| Err(format!("the workspace could not be shared: {panic}")))?;
        let mut guard = guards.of_container(self.engine.socket(), workspace.clone()).await?;
        guard.output = Output::named(&container.output).map_err(|error| {
            format!("the pipe {} for the job's output could not be made: {error}", container.output.display())
        })?;
        guard.container = Some((self.engine.clone(), container.name.clone()));
        Ok(guard)
    }
}

/// Usual places, the caller's own last.
fn places() -> impl Iterator<Item = PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("podman/podman.sock"));
    SOCKETS.iter().map(PathBuf::from).chain(own).filter(|socket| socket.is_absolute())
}

/// Those that are there.
fn usual() -> Vec<PathBuf> {
    places().filter(|socket| socket.exists()).collect()
}

/// Where engines listen or may listen one day, used or not. Who reaches one is root on its machine, so sandboxes hide them.
#[must_use]
pub fn engine_sockets(choice: &ContainersChoice) -> Vec<PathBuf> {
    let named = if let ContainersChoice::Socket(socket) = choice { Some(socket.clone()) } else { None };
    places().chain(named).collect()
}

/// Which engine would be used, for who asks without running an executor; none where there is none.
///
/// # Errors
/// Why one that is there does not serve; one sentence.
pub async fn containers_work(choice: &ContainersChoice) -> Result<Option<PathBuf>, String> {
    let sockets = match choice {
        ContainersChoice::Off => return Ok(None),
        ContainersChoice::Socket(socket) => vec![socket.clone()],
        ContainersChoice::Auto => usual(),
    };
    let mut failed = None;
    for socket in sockets {
        match Engine::new(socket.clone()).ping().await {
            Ok(()) => return Ok(Some(socket)),
            Err(reason) => failed = Some(reason),
        }
    }
    failed.map_or(Ok(None), Err)
}
