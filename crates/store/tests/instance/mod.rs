//! A private PostgreSQL for tests: on a free port of this machine, with its data in a folder of its own, gone with the
//! process that started it. `STEPCAST_TEST_POSTGRES_URL` names a server to be used in its place.

pub(crate) mod proxy;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, OnceLock},
};

use sqlx::{ConnectOptions, Connection, postgres::PgConnectOptions};
use uuid::Uuid;

/// Runs the server and obeys.
const RUN: &str = include_str!("run.sh");

/// What it lets in.
pub(crate) const PASSWORD: &str = "for-tests-alone";

/// A server, until this process ends.
pub(crate) struct Instance {
    /// The address of a database of it in which others can be made.
    url: String,
    /// Nothing if it was not started here.
    running: Option<Mutex<Running>>,
}

/// What runs the server: it is told words, answers each, and ends when there will be no more.
struct Running {
    run: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The server that the tests of this program share.
pub(crate) fn shared() -> &'static Instance {
    static SHARED: OnceLock<Instance> = OnceLock::new();
    SHARED.get_or_init(|| match std::env::var("STEPCAST_TEST_POSTGRES_URL") {
        Ok(url) => Instance { url, running: None },
        Err(_) => Instance::start(),
    })
}

impl Instance {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let programs = programs();
        let folder = tempfile::TempDir::new().unwrap().keep();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nmax_connections = 300\n\
             shared_buffers = '64MB'\n",
            folder.display()
        );
        fs::write(folder.join("settings"), settings).unwrap();
        fs::write(folder.join("password"), PASSWORD).unwrap();
        let mut run = Command::new("sh");
        run.args(["-c", RUN, "run.sh"]).arg(programs).arg(&folder);
        if rustix::process::geteuid().is_root() {
            // PostgreSQL refuses to run as root; its package has made a user for it.
            let (user, group) = user("postgres").expect("there is no user postgres, as whom PostgreSQL could be run");
            for path in [folder.clone(), folder.join("settings"), folder.join("password")] {
                chown(path, Some(user), Some(group)).unwrap();
            }
            run.uid(user).gid(group);
        }
        let mut run = run.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (words, answers) = (run.stdin.take(), BufReader::new(run.stdout.take().unwrap()));
        let url = format!("postgres://stepcast:{PASSWORD}@127.0.0.1:{port}/postgres");
        let instance = Self { url, running: Some(Mutex::new(Running { run, words, answers })) };
        instance.hear("ready");
        instance
    }

    /// The address of a database of this name.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_at(&self.server(), database)
    }

    /// `host:port`, without the user.
    pub(crate) fn server(&self) -> String {
        let (_, rest) = self.url.split_once("://").expect("an address has a scheme");
        let server = rest.split(['/', '?']).next().unwrap_or_default();
        server.rsplit('@').next().unwrap_or_default().to_owned()
    }

    /// The same address at another place.
    pub(crate) fn url_at(&self, server: &str, database: &str) -> String {
        let (address, options) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (scheme, rest) = address.split_once("://").expect("an address has a scheme");
        let user = rest.split('/').next().unwrap_or_default().rsplit_once('@').map_or("", |(user, _)| user);
        format!("{scheme}://{user}@{server}/{database}?{options}")
    }

    /// Makes an empty database, and gives its name.
    pub(crate) async fn make_database(&self) -> String {
        self.make_database_as("ENCODING UTF8").await
    }

    /// Makes an empty database with these options.
    pub(crate) async fn make_database_as(&self, options: &str) -> String {
        let name = format!("stepcast_test_{}", Uuid::new_v4().simple());
        // The template to which nobody connects: several tests copy it at once.
        self.admin(&format!("CREATE DATABASE {name} TEMPLATE template0 {options}")).await;
        name
    }

    /// Ends a database on a server that will outlive this process; a private one takes all of its own with it.
    pub(crate) async fn forget_database(&self, name: &str) {
        if self.running.is_none() {
            self.admin(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        }
    }

    async fn admin(&self, sql: &str) {
        let options: PgConnectOptions = self.url.parse().expect("the address of the test's server cannot be read");
        let mut connection = options.connect().await.expect("the test's server cannot be reached");
        sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Ends it as a loss of power would.
    pub(crate) fn crash(&self) {
        self.tell("crash");
    }

    /// Starts it again after a crash.
    pub(crate) fn start_again(&self) {
        self.tell("start");
    }

    fn tell(&self, word: &str) {
        let running = self.running.as_ref().expect("a server that was not started here is not ended here");
        writeln!(running.lock().unwrap().words.as_ref().unwrap(), "{word}").unwrap();
        self.hear("done");
    }

    fn hear(&self, expected: &str) {
        let mut line = String::new();
        self.running.as_ref().unwrap().lock().unwrap().answers.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), expected, "PostgreSQL cannot be run: its log is above");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let mut running = running.into_inner().unwrap();
            drop(running.words.take());
            running.run.wait().unwrap();
        }
    }
}

/// Where PostgreSQL's programs are: the newest of those that Debian keeps beside each other, else on the `PATH`.
fn programs() -> PathBuf {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(|path| version(path));
    let on_path = || {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).find(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
    };
    newest.map(|path| path.join("bin")).or_else(on_path).expect(
        "PostgreSQL is missing (no initdb under /usr/lib/postgresql or on the PATH): run `cargo xtask test`, which \
         installs it, or install the package postgresql",
    )
}

/// The ids of a user and its group.
fn user(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut ids = line.split(':').skip(2);
    Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
}
