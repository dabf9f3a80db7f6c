//! Those that are measured side by side, each a process of its own. What they are measured by is in `figures`.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    failure::{Explain as _, Failure, Result},
    gateway::member::Door,
};

/// A gateway that listens.
pub(crate) struct Contender {
    /// As the table calls it.
    pub(crate) name: &'static str,
    pub(crate) door: Door,
    pub(crate) pid: u32,
    /// Of those that this program started.
    child: Option<Child>,
}

impl Contender {
    /// A gateway of Stepcast that runs already.
    pub(crate) fn stepcast(address: SocketAddr, pid: u32, token: String) -> Self {
        Self { name: "Stepcast", door: Door { address, token: Some(token) }, pid, child: None }
    }

    /// See [`crate::gateway::bare`].
    pub(crate) fn bare(broker: &str) -> Result<Self> {
        let own = std::env::current_exe().explain(|| "this program cannot find itself".to_owned())?;
        Self::start("bare loop", Command::new(own).args(["bare-loop", broker]))
    }

    /// See `bench/peer/gateway.js`.
    pub(crate) fn peer(folder: &Path, broker: &str) -> Result<Self> {
        Self::start("Node ws + amqplib", Command::new("node").arg("gateway.js").arg(broker).current_dir(folder))
    }

    /// Starts one that says `Listening on ADDRESS`.
    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = started.explain(|| format!("{name} cannot be started"))?;
        let mut lines = child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines());
        let line = lines.next().and_then(std::result::Result::ok).unwrap_or_default();
        let address = line.strip_prefix("Listening on ").and_then(|address| address.parse().ok());
        let pid = child.id();
        let Some(address) = address else {
            let _ = child.kill(); // It may have ended already.
            let _ = child.wait();
            return Err(Failure(format!("{name} does not listen; it said `{line}`")));
        };
        Ok(Self { name, door: Door { address, token: None }, pid, child: Some(child) })
    }

    /// Whether its clients acknowledge what they get.
    pub(crate) fn has_receipts(&self) -> bool {
        self.door.token.is_some()
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill(); // It may have ended already.
            let _ = child.wait();
        }
    }
}
