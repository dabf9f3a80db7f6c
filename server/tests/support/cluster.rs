//! A cluster for a test: a virtual host on a private RabbitMQ, a database on a private PostgreSQL, and processes over them.
#![allow(dead_code, reason = "each test binary uses its part of this")]

#[path = "../../../crates/store/tests/instance/mod.rs"]
pub(crate) mod instance;
#[path = "../../../crates/broker-rabbitmq/tests/node/mod.rs"]
pub(crate) mod node;

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use node::Node;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{STEPCAST, Server};

/// A virtual host and a database that no other test uses, and a folder.
pub(crate) struct Cluster {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) broker: String,
    pub(crate) store: String,
    folder: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn on(node: &Node) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (vhost, database) = runtime.block_on(async {
            drop(node.broker().await); // It has started.
            let vhost = uuid::Uuid::new_v4().simple().to_string();
            node.control(&["add_vhost", &vhost]).await;
            node.control(&["set_permissions", "--vhost", &vhost, "guest", ".*", ".*", ".*"]).await;
            (vhost, instance::shared().make_database().await)
        });
        let (broker, store) = (node.url_of("guest", "guest", &vhost), instance::shared().url(&database));
        Self { runtime, broker, store, folder }
    }

    pub(crate) fn data_dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A process with these roles that listens.
    pub(crate) fn server(&self, name: &str, roles: &str) -> Server {
        self.server_with("127.0.0.1:0", name, &["--roles", roles])
    }

    /// A process that listens there, with further options.
    pub(crate) fn server_with(&self, listen: &str, name: &str, options: &[&str]) -> Server {
        self.server_of(Path::new(STEPCAST), listen, name, options)
    }

    /// The same with another program than the one under test.
    pub(crate) fn server_of(&self, program: &Path, listen: &str, name: &str, options: &[&str]) -> Server {
        let artifacts = self.data_dir("artifacts").display().to_string();
        let words = ["--broker", &self.broker, "--store", &self.store, "--instance", name, "--artifacts", &artifacts];
        Server::start_program(program, listen, &self.data_dir(name), &[&words[..], options].concat())
    }

    /// A gate, and the pipeline `talk` that prints 200 lines, waits for the gate, and prints 200 more.
    pub(crate) fn talk(&self) -> (PathBuf, String) {
        let gate = self.data_dir("gate");
        let text = format!(
            "name: talk\njobs:\n  a:\n    steps:\n      - run: |\n          for n in $(seq 1 200); do echo \"line $n\"; done\n          \
             until [ -e '{}' ]; do read -r -t 0.05 <> <(:) || :; done\n          \
             for n in $(seq 201 400); do echo \"line $n\"; done\n",
            gate.display()
        );
        (gate, text)
    }

    /// The virtual host on the broker.
    pub(crate) fn vhost(&self) -> &str {
        self.broker.rsplit('/').next().unwrap()
    }

    /// A process that runs jobs and nothing else.
    pub(crate) fn executor(&self, name: &str, slots: &str) -> Executor {
        self.executor_with(name, &["--slots", slots])
    }

    /// A process that records and nothing else.
    pub(crate) fn recorder(&self, name: &str) -> Executor {
        let mut command = Command::new(STEPCAST);
        command.args(["serve", "--roles", "projections", "--broker", &self.broker, "--store", &self.store]);
        Executor::start(command.arg("--data-dir").arg(self.data_dir(name)))
    }

    /// An executor with other options.
    pub(crate) fn executor_with(&self, name: &str, options: &[&str]) -> Executor {
        self.executor_of(Path::new(STEPCAST), name, options)
    }

    /// The same with another program than the one under test.
    pub(crate) fn executor_of(&self, program: &Path, name: &str, options: &[&str]) -> Executor {
        let mut command = Command::new(program);
        command.args(["serve", "--roles", "executor", "--broker", &self.broker, "--data-dir"]).arg(self.data_dir(name));
        // As in support/mod.rs.
        command.env("STEPCAST_ISOLATION", "plain");
        Executor::start(command.args(options))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let database = self.store.split(['?']).next().unwrap().rsplit('/').next().unwrap().to_owned();
        self.runtime.block_on(instance::shared().forget_database(&database));
    }
}

/// A process without a listener.
pub(crate) struct Executor(Child);

impl Executor {
    /// Starts it, and waits until it says that it runs.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut told = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut told).unwrap();
        assert!(told.starts_with("Running "), "{told:?}");
        Self(child)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// SIGTERM, and its exit status.
    pub(crate) fn stopped(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
