//! `cargo xtask test --only api`: schemathesis asks a private server what `docs/openapi.yaml` says can be asked, and what it says
//! is refused, and holds every answer against it. The same requests each time: one seed, so many examples.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::failure::{Explain, Failure, Result};
use crate::process::{answers, command, output, root, run};
use crate::release::target_dir;

/// What is installed, and from where: PyPI.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// Requests that are made up for each operation, beside those at the limits of each parameter.
const EXAMPLES_MAX: &str = "10";
/// What is looked at in each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,ignored_auth,\
    use_after_free";
/// A pipeline and a build of it, so that there is something to ask for.
const PIPELINE: &str = "name: site\ninputs: {ref: {default: main}}\njobs:\n  build:\n    steps: [{run: 'echo ::group::all; echo built | \
    tee out.txt'}]\n    artifacts: [out.txt]\n";
/// How often an id that exists is asked for, instead of one that is made up.
const KNOWN_SHARE: &str = "0.6";

/// The folder of the virtual environment.
fn folder() -> PathBuf {
    root().join("target/tools/schemathesis")
}

fn schemathesis() -> PathBuf {
    folder().join("bin/schemathesis")
}

/// The version that is installed stands in a file that is written last.
fn stamp() -> PathBuf {
    folder().join("installed")
}

/// Whether schemathesis of the right version is there.
pub(crate) fn is_installed() -> bool {
    fs::read_to_string(stamp()).is_ok_and(|version| version == SCHEMATHESIS) && answers(schemathesis(), "--version")
}

/// Installs it into a folder of its own.
pub(crate) fn install() -> Result<()> {
    let advice = |failure| {
        Failure(format!(
            "{failure}; the part `api` needs {SCHEMATHESIS} from PyPI in {}: make PyPI reachable (PIP_INDEX_URL names \
             another index), then run this again",
            folder().display()
        ))
    };
    run(command("python3").args(["-m", "venv", "--clear"]).arg(folder())).map_err(advice)?;
    let mut pip = command(folder().join("bin/pip"));
    run(pip.args(["install", "--quiet", "--disable-pip-version-check", SCHEMATHESIS])).map_err(advice)?;
    fs::write(stamp(), SCHEMATHESIS).explain(|| format!("{} cannot be written", stamp().display()))
}

/// A private server, ended with this.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(program: &Path, data: &Path, path: Option<&str>) -> Result<Self> {
        let mut serve = Command::new(program);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--slots", "1", "--data-dir"]).arg(data);
        if let Some(path) = path {
            serve.env("PATH", path);
        }
        let log =
            fs::File::create(data.with_extension("log")).explain(|| "the server's log cannot be made".to_owned())?;
        serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = serve.spawn().explain(|| format!("{} cannot be started", program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().into_iter().next().ok_or_else(no_output)?).lines();
        let url = lines.by_ref().map_while(|line| line.ok());
        let url = url.filter_map(|line| line.strip_prefix("Listening on ").map(str::to_owned)).next();
        // The rest is read too: a full pipe must not stop the server.
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self { child, url: url.unwrap_or_default() };
        if server.url.is_empty() { Err(no_output()) } else { Ok(server) }
    }

    /// What is answered to a GET.
    fn get(&self, token: &str, path: &str) -> Result<Value> {
        let host = self.url.trim_start_matches("http://");
        let wrong = || format!("{}{path} does not answer", self.url);
        let mut stream = TcpStream::connect(host).explain(wrong)?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).explain(wrong)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).explain(wrong)?;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        serde_json::from_str(body).map_err(|_| Failure(format!("{path} was answered with {answer}")))
    }
}

/// Which ids exist, for schemathesis: it takes them in the place of some that it makes up.
fn known(server: &Server, token: &str) -> Result<String> {
    let builds = server.get(token, "/api/v1/builds")?;
    let build = builds[0]["id"].as_str().unwrap_or_default();
    let view = server.get(token, &format!("/api/v1/builds/{build}"))?;
    let executors = server.get(token, "/api/v1/executors")?;
    let job = &view["jobs"][0];
    let ids = [
        ("builds", Some(build)),
        ("jobs", job["id"].as_str()),
        ("artifacts", job["artifacts"][0]["id"].as_str()),
        ("executors", executors[0]["id"].as_str()),
    ];
    let mut config = String::new();
    for (what, id) in ids {
        let id = id.ok_or_else(|| Failure(format!("the build has no {what}: {view}")))?;
        // A String takes all.
        let _ = write!(
            config,
            "[dictionaries.{what}]\nvalues = [\"{id}\"]\n\
             [[operations]]\ninclude-path-regex = \"^/{what}/\"\ninclude-method = [\"GET\", \"POST\"]\n\
             parameters = {{ \"path.id\" = {{ dictionary = \"{what}\", probability = {KNOWN_SHARE} }} }}\n"
        );
    }
    Ok(config)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended by itself.
        let _ = self.child.wait();
    }
}

fn no_output() -> Failure {
    Failure("the server ended before it listened; its log stands in target/api".to_owned())
}

/// Starts a server that has a build, and lets schemathesis ask.
pub(crate) fn ask(program: &Path) -> Result<()> {
    let folder = target_dir().join("api");
    let _ = fs::remove_dir_all(&folder); // There may be none.
    fs::create_dir_all(&folder).explain(|| format!("{} cannot be made", folder.display()))?;
    let data = folder.join("data");
    let file = folder.join("site.yaml");
    fs::write(&file, PIPELINE).explain(|| format!("{} cannot be written", file.display()))?;
    let server = Server::start(program, &data, None)?;
    let mut create = command(program);
    let token = output(create.args(["token", "create", "--name", "api", "--data-dir"]).arg(&data))?;
    let token = token.trim().to_owned();
    let stepcast = |url: &str, words: &[&str]| {
        let mut client = command(program);
        client.args(words).env("STEPCAST_URL", url).env("STEPCAST_TOKEN", &token);
        run(&mut client)
    };
    stepcast(&server.url, &["apply", &file.to_string_lossy()])?;
    stepcast(&server.url, &["trigger", "site", "--follow"])?;
    let config = folder.join("schemathesis.toml");
    fs::write(&config, known(&server, &token)?).explain(|| format!("{} cannot be written", config.display()))?;
    drop(server);
    // Made-up pipelines may be started, too: without a shell their steps fail, and nothing of them runs on this machine.
    let server = Server::start(program, &data, Some("/nonexistent"))?;
    let mut ask = command(schemathesis());
    ask.arg("--config-file").arg(&config).arg("run").arg(root().join("docs/openapi.yaml"));
    ask.args(["--url", &format!("{}/api/v1", server.url), "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"]);
    ask.args(["--header", &format!("Authorization: Bearer {token}"), "--header", "Accept: application/json"]);
    ask.args(["--max-examples", EXAMPLES_MAX, "--seed", "1", "--generation-deterministic", "--workers", "1"]);
    ask.args(["--suppress-health-check", "all", "--request-timeout", "20"]);
    // It would delete the build whose log and files are asked for.
    ask.args(["--exclude-operation-id", "deleteBuild"]);
    // These are not below `/api/v1`; the tests of the server ask for them.
    ask.args([
        "--exclude-path-regex",
        "^/(healthz|readyz|metrics|ws|welcome|sign-in(/.*)?|sign-out|sign-out-everywhere|account/openid(/.*)?)$",
        "--no-color",
    ]);
    run(ask.current_dir(&folder).env("HYPOTHESIS_STORAGE_DIRECTORY", folder.join("hypothesis")))
}
