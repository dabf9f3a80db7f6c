//! A server with two pipelines, a build of each, and somebody of each role.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{STEPCAST, Server};

/// See the module.
pub(crate) struct World {
    pub(crate) server: Server,
    /// A build of `site`, one of its jobs, and a file of that.
    pub(crate) build: String,
    pub(crate) job: String,
    pub(crate) artifact: String,
    /// A build of `other`, and one of its jobs.
    pub(crate) other_build: String,
    pub(crate) other_job: String,
    pub(crate) viewer: String,
    pub(crate) builder: String,
    pub(crate) admin: String,
    pub(crate) other_admin: String,
    pub(crate) viewer_of_all: String,
    pub(crate) builder_of_all: String,
}

pub(crate) fn pipeline(name: &str) -> String {
    format!(
        "name: {name}\njobs:\n  work:\n    steps:\n      - run: echo words of {name}; echo x > out.txt\n    artifacts: [out.txt]\n"
    )
}

/// A token made on the server's machine.
pub(crate) fn token(server: &Server, role: &str, pipelines: &[&str]) -> String {
    let mut command = Command::new(STEPCAST);
    command.args(["token", "create", "--name", role, "--role", role, "--data-dir"]).arg(server.data_dir());
    for pipeline in pipelines {
        command.args(["--pipeline", pipeline]);
    }
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

impl World {
    pub(crate) fn new() -> Self {
        let server = Server::start(&[]);
        for name in ["site", "other"] {
            server.apply(name, &pipeline(name));
        }
        let (build, other_build) = (server.trigger("site"), server.trigger("other"));
        let job_of = |build: &str| {
            let finished = server.finished(build);
            assert_eq!(finished["outcome"], "succeeded", "{finished}");
            let job = finished["jobs"][0]["id"].as_str().unwrap().to_owned();
            server.until_sealed(&job);
            job
        };
        let (job, other_job) = (job_of(&build), job_of(&other_build));
        let artifacts = server.get(&format!("/api/v1/jobs/{job}/artifacts")).json();
        let artifact = artifacts[0]["id"].as_str().unwrap_or_else(|| panic!("{artifacts}")).to_owned();
        let of = |role, pipelines: &[&str]| token(&server, role, pipelines);
        Self {
            viewer: of("viewer", &["site"]),
            builder: of("builder", &["site"]),
            admin: of("admin", &["site"]),
            other_admin: of("admin", &["other"]),
            viewer_of_all: of("viewer", &[]),
            builder_of_all: of("builder", &[]),
            server,
            build,
            job,
            artifact,
            other_build,
            other_job,
        }
    }

    /// Status and text of an answer.
    pub(crate) fn ask(&self, token: Option<&str>, method: &str, path: &str, body: &str) -> (u16, String) {
        ask(&self.server, token, method, path, body)
    }

    pub(crate) fn get(&self, token: &str, path: &str) -> Value {
        let (status, text) = self.ask(Some(token), "GET", path, "");
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|_| json!(text))
    }
}

pub(crate) fn ask(server: &Server, token: Option<&str>, method: &str, path: &str, body: &str) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .allow_non_standard_methods(true)
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", server.url));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut answer = if method == "GET" || method == "DELETE" {
        agent.run(request.body(()).unwrap()).unwrap()
    } else {
        agent.run(request.body(body.to_owned()).unwrap()).unwrap()
    };
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap_or_default())
}
