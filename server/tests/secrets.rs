//! Secrets end to end: a job has them, and nobody finds them anywhere but there. On one process with nothing beside it, and
//! on several over RabbitMQ and PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
mod cluster;
#[path = "secrets/rotation.rs"]
mod rotation;
mod support;

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use client::{As, connect};
use cluster::{Cluster, Executor, node::Node};
use serde_json::{Value, json};
use support::{STEPCAST, Server};

/// What a job must be able to use and nobody may find: with all that needs escaping.
const PASSWORD: &str = "Tr0ub4dor&3/\"plus+\\Σ";
/// Of several lines that end as Windows ends them.
const KEY: &str = "-----BEGIN KEY-----\r\nMIIEpAIBAAKCAQEA7bq0\r\nq8RZ2yWcLwTTq8RZ2yWc\r\n-----END KEY-----\r\n";

/// What would tell them: as they are, line by line, and as programs write them.
fn telltales() -> Vec<String> {
    let json = |text: &str| serde_json::to_string(text).unwrap().trim_matches('"').to_owned();
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut all = vec!["MIIEpAIBAAKCAQEA7bq0".to_owned(), "q8RZ2yWcLwTTq8RZ2yWc".to_owned()];
    for value in [PASSWORD, KEY] {
        let base64 = STANDARD_NO_PAD.encode(value.trim());
        all.extend([value.trim().to_owned(), json(value.trim()), percent(value.trim()), hex(value.trim())]);
        all.push(base64[..base64.len() - 1].to_owned());
    }
    // What the record's JSON and its words for the search would keep of it.
    all.extend(["Tr0ub4dor".to_owned(), "tr0ub4dor".to_owned()]);
    all
}

fn assert_clean(what: &str, bytes: &[u8]) {
    for telltale in telltales() {
        let at = bytes.windows(telltale.len()).position(|window| window == telltale.as_bytes());
        if let Some(at) = at {
            let around = &bytes[at.saturating_sub(80)..(at + telltale.len() + 80).min(bytes.len())];
            panic!("{what} holds {telltale:?}: {}", String::from_utf8_lossy(around));
        }
    }
}

/// What is in a folder now; nothing where it has been removed meanwhile.
fn entries(folder: &Path) -> Vec<fs::DirEntry> {
    match fs::read_dir(folder).and_then(Iterator::collect) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        entries => entries.unwrap(),
    }
}

/// All files below a folder, those too that are being written.
fn assert_folder_is_clean(folder: &Path, but: &[&str]) -> usize {
    let mut looked_at = 0;
    for entry in entries(folder) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if but.contains(&name.as_str()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            looked_at += assert_folder_is_clean(&entry.path(), but);
        } else if let Ok(bytes) = fs::read(entry.path()) {
            assert_clean(&entry.path().display().to_string(), &bytes);
            looked_at += 1;
        }
    }
    looked_at
}

/// Whether some file below a folder holds these bytes.
fn holds(folder: &Path, wanted: &[u8]) -> bool {
    entries(folder).iter().any(|entry| {
        if entry.file_type().unwrap().is_dir() {
            return holds(&entry.path(), wanted);
        }
        fs::read(entry.path()).is_ok_and(|bytes| bytes.windows(wanted.len()).any(|window| window == wanted))
    })
}

/// Says the secrets in every way, and proves that the step had them.
fn pipeline(gate: &Path, proof: &Path) -> String {
    let script = format!(
        r#"printf '%s\n%s' "$PASSWORD" "$DEPLOY_KEY" | sha256sum > '{proof}'
echo "raw $PASSWORD"
echo "twice $PASSWORD$PASSWORD" >&2
printf '%s' "$PASSWORD" | base64
printf 'user:%s@host' "$PASSWORD" | base64
printf '%s' "$DEPLOY_KEY" | base64 -w 64
printf '%s' "$DEPLOY_KEY" | base64 -w 0; echo
printf '%s' "$DEPLOY_KEY" | od -An -v -tx1 | tr -d ' \n'; echo
echo "$DEPLOY_KEY"
printf '%s' "$PASSWORD" | od -An -tx1
printf '%q\n' "$PASSWORD"
printf '%s' "$PASSWORD" | od -An -v -tx1 | tr -d '\n' | tr ' ' '%' | tr a-f A-F; echo
escaped=${{PASSWORD//\\/\\\\}}; escaped=${{escaped//\"/\\\"}}
echo "{{\"password\": \"$escaped\"}}"
printf 'cut %s' "${{PASSWORD:0:9}}"
until [ -e '{gate}' ]; do read -r -t 0.05 <> <(:) || :; done
printf '%s\n' "${{PASSWORD:9}}"
printf '%9s%s\r%s\n' '' "${{PASSWORD:9}}" "${{PASSWORD:0:9}}"
mkdir -p "kept/$PASSWORD" && echo fine > "kept/$PASSWORD/file"
set -x
"/nowhere/$PASSWORD"
"#,
        proof = proof.display(),
        gate = gate.display(),
    );
    let indented: String = script.lines().map(|line| format!("          {line}\n")).collect();
    format!(
        "name: loud\nsecrets: [PASSWORD]\njobs:\n  a:\n    secrets: {{DEPLOY_KEY: KEY}}\n    steps:\n      - name: say\n        \
         stderr: marked\n        run: |\n{indented}    artifacts: [kept]\n"
    )
}

/// Where it runs.
struct Field {
    server: Server,
    logs: Vec<PathBuf>,
    _executor: Option<Executor>,
    cluster: Option<Cluster>,
    folder: tempfile::TempDir,
}

/// A program with these arguments, whose log goes into a file.
fn logged(log: &Path) -> Command {
    // The test's own program hands its standard error on: the server's log must be looked at as well.
    let mut command = Command::new("bash");
    command.args(["-c", "exec \"$@\" 2>>\"$0\""]).arg(log).arg(STEPCAST);
    command
}

impl Field {
    /// A program that runs Stepcast with its log in a file.
    fn wrapper(folder: &Path, log: &Path) -> PathBuf {
        let program = folder.join("stepcast-with-log");
        let text = format!(
            "#!/bin/bash\nif [ \"$1\" = serve ]; then exec 2>>'{}'; fi\nRUST_LOG=debug exec '{STEPCAST}' \"$@\"\n",
            log.display()
        );
        support::write_program(&program, &text);
        program
    }

    fn alone() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let program = Self::wrapper(folder.path(), &log);
        let server = Server::start_program(&program, "127.0.0.1:0", &folder.path().join("data"), &[]);
        Self { server, logs: vec![log], _executor: None, cluster: None, folder }
    }

    fn apart() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let made = Command::new("openssl").args(["rand", "-base64", "32"]).output().unwrap();
        fs::write(&key, made.stdout).unwrap();
        let cluster = Cluster::on(Node::shared());
        let logs = vec![folder.path().join("log"), folder.path().join("executor-log")];
        let program = Self::wrapper(folder.path(), &logs[0]);
        let options = ["--roles", "gateway,control,projections", "--secrets-key-file", key.to_str().unwrap()];
        let server = cluster.server_of(&program, "127.0.0.1:0", "all", &options);
        let mut command = logged(&logs[1]);
        // As for the servers of all tests: the step waits for a file under /tmp, which no sandbox shows.
        command.env("RUST_LOG", "debug").env("STEPCAST_ISOLATION", "plain");
        command.args(["serve", "--roles", "executor", "--broker", &cluster.broker]);
        let executor = Executor::start(command.arg("--data-dir").arg(cluster.data_dir("runner")));
        Self { server, logs, _executor: Some(executor), cluster: Some(cluster), folder }
    }

    fn client(&self, words: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(STEPCAST)
            .args(words)
            .env("STEPCAST_URL", &self.server.url)
            .env("STEPCAST_TOKEN", &self.server.token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    fn set(&self, words: &[&str], value: &[u8]) {
        let output = self.client(&[&["secret", "set"], words].concat(), value);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

mod embedded {
    #[test]
    fn nobody_finds_a_secret_but_the_job_that_has_it() {
        super::nobody_finds_a_secret_but_the_job_that_has_it(&super::Field::alone());
    }
}

mod rabbitmq {
    #[test]
    fn nobody_finds_a_secret_but_the_job_that_has_it() {
        super::nobody_finds_a_secret_but_the_job_that_has_it(&super::Field::apart());
    }
}

fn nobody_finds_a_secret_but_the_job_that_has_it(field: &Field) {
    let server = &field.server;
    let (gate, proof) = (field.folder.path().join("gate"), field.folder.path().join("proof"));
    server.apply("loud", &pipeline(&gate, &proof));
    field.set(&["PASSWORD", "--pipeline", "loud"], PASSWORD.as_bytes());
    // The installation's of the same name is another one.
    field.set(&["PASSWORD"], b"not this one");
    field.set(&["KEY", "--allow", "loud"], KEY.as_bytes());
    let mut socket = connect(server, As::Token(&server.token), None).unwrap();
    let answer = server.post("/api/v1/pipelines/loud/builds", &json!({"socket": socket.meta()}));
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let mut live = server.events(&id);
    // The pause between the two writes of one secret ends when what stands before it was seen.
    let mut frames = String::new();
    let is_line = |frame: &Value, text: &str| client::lines(frame).iter().any(|line| line.contains(text));
    loop {
        let frame = socket.frame();
        frames.push_str(&frame.to_string());
        if is_line(&frame, "cut ") {
            break;
        }
    }
    let executors = server.get("/api/v1/executors").json();
    let executor = executors[0]["id"].as_str().unwrap();
    assert_clean(
        "what the executor says",
        server.get(&format!("/api/v1/executors/{executor}/now?lines=100")).text.as_bytes(),
    );
    File::create(&gate).unwrap();
    let end = loop {
        let frame = socket.frame();
        frames.push_str(&frame.to_string());
        if frame["event"]["kind"] == "build_finished" {
            break frame;
        }
    };
    assert_eq!(end["event"]["outcome"], "failed");
    assert_clean("the socket", frames.as_bytes());
    // It had both.
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // A line break at the end of what comes by the standard input is left out.
    let key = KEY.trim_end();
    sum.stdin.take().unwrap().write_all(format!("{PASSWORD}\n{key}").as_bytes()).unwrap();
    let expected = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(fs::read_to_string(&proof).unwrap(), expected);
    let build = server.finished_by_the_record(&id);
    let job = build["jobs"][0]["id"].as_str().unwrap();
    server.until_sealed(job);
    let log = server.get(&format!("/api/v1/jobs/{job}/log?limit=10000")).text;
    for line in ["raw ***", "twice ******", "cut ***", "/nowhere/***"] {
        assert!(log.contains(line), "{line:?} in {log}");
    }
    let mut events = String::new();
    loop {
        let (frame, rest) = live.until(|_| true);
        (events, live) = (events + &frame.to_string(), rest);
        if frame["event"]["kind"] == "build_finished" {
            break;
        }
    }
    assert!(events.contains("/nowhere/***"), "{events}");
    let paths = [
        format!("/api/v1/jobs/{job}/log?limit=10000"),
        format!("/api/v1/jobs/{job}/log.txt"),
        format!("/api/v1/jobs/{job}/log/search?q=Tr0ub4dor"),
        "/api/v1/search?q=raw".to_owned(),
        "/api/v1/search?q=MIIEpAIBAAKCAQEA7bq0".to_owned(),
        format!("/api/v1/jobs/{job}/artifacts"),
        format!("/api/v1/builds/{id}"),
        format!("/api/v1/builds/{id}/events"),
        "/api/v1/dead-letters".to_owned(),
        "/api/v1/secrets".to_owned(),
        "/api/v1/pipelines/loud/secrets".to_owned(),
        "/metrics".to_owned(),
        format!("/builds/{id}"),
        format!("/builds/{id}?job={job}"),
    ];
    for path in paths {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        // What was searched for comes back as it was asked.
        let text = answer.text.replace("q=MIIEpAIBAAKCAQEA7bq0", "").replace("MIIEpAIBAAKCAQEA7bq0\"", "");
        let text = if path.contains("search?q=Tr0") { text.replace("Tr0ub4dor", "") } else { text };
        assert_clean(&path, text.as_bytes());
    }
    assert_clean("the live events", events.as_bytes());
    let artifacts = server.get(&format!("/api/v1/jobs/{job}/artifacts")).text;
    assert!(artifacts.contains("kept/***/file"), "{artifacts}");
    assert!(server.get("/api/v1/search?q=Tr0ub4dor").json()["hits"].as_array().unwrap().is_empty());
    for log in &field.logs {
        let told = fs::read(log).unwrap();
        assert!(!told.is_empty());
        assert_clean(&log.display().to_string(), &told);
    }
    match &field.cluster {
        None => {
            let backup = field.folder.path().join("backup");
            let made = Command::new(STEPCAST)
                .arg("backup")
                .arg(&backup)
                .arg("--data-dir")
                .arg(server.data_dir())
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let archive = fs::read(&backup).unwrap();
            assert_clean("the backup", &archive);
            let key = fs::read_to_string(server.data_dir().join("secrets.key")).unwrap();
            let key = key.lines().last().unwrap();
            assert!(!archive.windows(key.len()).any(|window| window == key.as_bytes()), "the key goes with the backup");
            // The database with all that it has not written back yet.
            assert!(assert_folder_is_clean(server.data_dir(), &[]) > 3);
        }
        Some(cluster) => {
            assert!(assert_folder_is_clean(&cluster.data_dir("runner"), &[]) > 1);
            // The stream's bytes and what else the node keeps. That they are found there shows that they are looked at.
            let node = Node::shared().folder();
            assert!(holds(node, b"raw ***"), "the stream was not found");
            assert_folder_is_clean(node, &[]);
        }
    }
}

/// A job that says that it ran.
const NAMES_IT: &str = "name: site\njobs:\n  a:\n    secrets: [TOKEN]\n    steps: [{run: 'echo \"had $TOKEN\"'}]\n";

/// How a build's only job ended: its outcome and the reason.
fn ended(server: &Server) -> (String, String) {
    let build = server.finished_by_the_record(&server.trigger("site"));
    let job = &build["jobs"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&job["outcome"]), text(&job["reason"]))
}

#[test]
fn a_job_whose_secret_is_not_there_fails_and_says_so_and_whoever_wrote_it_is_warned() {
    let field = Field::alone();
    let file = field.folder.path().join("site.yaml");
    fs::write(&file, NAMES_IT).unwrap();
    let applied = field.client(&["apply", file.to_str().unwrap()], b"");
    let warned = String::from_utf8(applied.stderr).unwrap();
    assert!(
        applied.status.success() && warned.contains("warning: secret TOKEN is set neither for pipeline site"),
        "{warned}"
    );
    let (outcome, reason) = ended(&field.server);
    assert_eq!(outcome, "failed");
    assert!(reason.contains("secret TOKEN is set neither for pipeline site nor for the installation"), "{reason}");
    field.set(&["TOKEN", "--allow", "other"], b"s3cret");
    let (_, reason) = ended(&field.server);
    assert!(reason.contains("may not be used by pipeline site"), "{reason}");
    field.set(&["TOKEN", "--allow-all"], b"s3cret");
    assert_eq!(ended(&field.server).0, "succeeded");
    assert!(field.server.get("/api/v1/pipelines/site").json()["warnings"].is_null());
    let listed = field.server.get("/api/v1/secrets").json();
    assert_eq!(listed["secrets"][0]["used_by"], json!(["site"]), "{listed}");
    assert_eq!(field.server.delete("/api/v1/secrets/TOKEN").status, 204);
    assert_eq!(field.server.delete("/api/v1/secrets/TOKEN").status, 404);
    assert_eq!(ended(&field.server).0, "failed");
    let audit = field.server.get("/api/v1/audit");
    assert_eq!(audit.status, 200, "{}", audit.text);
    for told in ["secret_set", "secret_deleted", "secret TOKEN"] {
        assert!(audit.text.contains(told), "{told} in {}", audit.text);
    }
    assert!(!audit.text.contains("s3cret"), "{}", audit.text);
}

#[test]
fn what_cannot_be_a_secret_is_refused_with_a_sentence_that_does_not_tell_it() {
    let server = Server::start(&[]);
    server.apply("site", NAMES_IT);
    let put = |path: &str, body: &str| {
        let answer = server.put_with(path, body, &[("content-type", "text/plain")]);
        (answer.status, answer.text)
    };
    for (path, body, status) in [
        ("/api/v1/secrets/TOKEN", "abc", 422),
        ("/api/v1/secrets/TOKEN", " \n\t ", 422),
        ("/api/v1/secrets/token", "s3cret", 400),
        ("/api/v1/secrets/TOKEN?who=site", "s3cret", 400),
        ("/api/v1/pipelines/nowhere/secrets/TOKEN", "s3cret", 404),
    ] {
        let (found, text) = put(path, body);
        assert_eq!(found, status, "{path}: {text}");
        assert!(!text.contains("s3cret") && (body.trim().is_empty() || !text.contains(body)), "{text}");
    }
    assert_eq!(put("/api/v1/secrets/TOKEN", &"x".repeat(64 * 1024 + 1)).0, 422);
    assert_eq!(put("/api/v1/secrets/TOKEN", &"x".repeat(64 * 1024 + 2)).0, 413);
    let form =
        server.put_with("/api/v1/secrets/TOKEN", "a=b", &[("content-type", "application/x-www-form-urlencoded")]);
    assert_eq!(form.status, 415);
    assert_eq!(put("/api/v1/pipelines/site/secrets/TOKEN", "s3cret").0, 201);
    assert_eq!(put("/api/v1/pipelines/site/secrets/TOKEN", "s3cret-2").0, 204);
    assert_eq!(server.get("/api/v1/secrets").json(), json!({"secrets": []}));
    let listed = server.get("/api/v1/pipelines/site/secrets");
    assert!(!listed.text.contains("s3cret"));
    let wanted = &listed.json()["wanted"][0];
    assert_eq!((&wanted["name"], &wanted["from"]), (&json!("TOKEN"), &json!("pipeline")));
}

#[test]
fn a_row_that_was_put_in_another_ones_place_is_not_opened() {
    let mut field = Field::alone();
    field.server.apply("site", NAMES_IT);
    field.set(&["TOKEN", "--pipeline", "site"], b"s3cret");
    field.set(&["OTHER"], b"a secret of somebody else");
    field.server.kill();
    let database = field.server.data_dir().join("stepcast.db");
    let swap =
        "UPDATE job_secrets SET sealed = (SELECT sealed FROM job_secrets WHERE name = 'OTHER') WHERE name = 'TOKEN'";
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        use sqlx::Connection as _;
        let mut connection =
            sqlx::SqliteConnection::connect(&format!("sqlite://{}", database.display())).await.unwrap();
        assert_eq!(sqlx::query(swap).execute(&mut connection).await.unwrap().rows_affected(), 1);
        connection.close().await.unwrap();
    });
    field.server.restart();
    let (outcome, reason) = ended(&field.server);
    assert!(outcome == "failed" && reason.contains("was changed, or belongs to another secret"), "{reason}");
}
