//! One HTTP client for all subcommands: where the server is, who asks, and what a failure means.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Lines, Read},
    path::Path,
    time::Duration,
};

use serde::de::DeserializeOwned;
use ureq::{Agent, Body, SendBody, http::Response};
use wire::{ClaimCheck, Problem};

/// To connect may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer other than a live stream may take so long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server says no.
    #[error("{}", told(.0))]
    Refused(Box<Problem>),
    /// It was asked wrongly.
    #[error("{0}")]
    Usage(String),
    /// The server does not answer.
    #[error("{url} cannot be reached: {reason}; is `stepcast serve` running, and STEPCAST_URL right?")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
}

/// The problem's sentence, with what helps.
fn told(problem: &Problem) -> String {
    let place = match (problem.line, problem.column) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: "),
        _ => String::new(),
    };
    let advice = if problem.status == 401 { " Put it into STEPCAST_TOKEN." } else { "" };
    format!("{place}{}{advice}", problem.detail)
}

/// Speaks to one server.
pub(crate) struct Client {
    agent: Agent,
    live: Agent,
    url: String,
    token: Option<String>,
}

impl Client {
    /// From `STEPCAST_URL` (`http://127.0.0.1:3000` unless set) and `STEPCAST_TOKEN`.
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        let url = std::env::var("STEPCAST_URL").unwrap_or_else(|_| "http://127.0.0.1:3000".to_owned());
        let url = url.trim_end_matches('/').to_owned();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Failure::Usage(format!("STEPCAST_URL {url:?} must begin with http:// or https://.")));
        }
        let agent = |answer: Option<Duration>| -> Agent {
            Agent::config_builder()
                .http_status_as_error(false)
                .timeout_connect(Some(CONNECT_TIMEOUT))
                .timeout_global(answer)
                .build()
                .into()
        };
        let token = std::env::var("STEPCAST_TOKEN").ok().filter(|token| !token.is_empty());
        Ok(Self { agent: agent(Some(ANSWER_TIMEOUT)), live: agent(None), url, token })
    }

    /// `GET` of JSON.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let mut request = self.agent.get(self.address(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.read(request.call())
    }

    /// `GET` of lines that are there: NDJSON.
    pub(crate) fn get_text(&self, path: &str) -> Result<String, Failure> {
        let mut request = self.agent.get(self.address(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.text(request.call())
    }

    /// `POST` of JSON.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
        idempotency_key: Option<&str>,
    ) -> Result<T, Failure> {
        let text = serde_json::to_string(body).map_err(|failure| Failure::Usage(failure.to_string()))?;
        let mut request = self.agent.post(self.address(path)).header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.read(request.send(text))
    }

    /// `PUT` of a value as it is; whether something new was made.
    pub(crate) fn put_bytes(&self, path: &str, value: &[u8]) -> Result<bool, Failure> {
        let mut request = self.agent.put(self.address(path)).header("content-type", "application/octet-stream");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.send(value).map_err(|failure| self.unreachable(&failure))?;
        Ok(self.refused(answer)?.status() == 201)
    }

    /// `DELETE`: an answer without a body.
    pub(crate) fn delete(&self, path: &str) -> Result<(), Failure> {
        let mut request = self.agent.delete(self.address(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.text(request.call()).map(drop)
    }

    /// `POST` of a file as a payload, as it is read.
    pub(crate) fn put_payload(&self, path: &Path) -> Result<ClaimCheck, Failure> {
        let told = |failure: io::Error| Failure::Usage(format!("{} cannot be read: {failure}", path.display()));
        let file = File::open(path).map_err(told)?;
        let about = file.metadata().map_err(told)?;
        if !about.is_file() {
            return Err(Failure::Usage(format!("{} is no file", path.display())));
        }
        let mut request = self
            .live
            .post(self.address("/payloads"))
            .header("content-type", "application/octet-stream")
            .header("content-length", about.len().to_string())
            // A refusal is not heard while the file is being sent.
            .header("expect", "100-continue");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut file = file.take(about.len());
        self.read(request.send(SendBody::from_reader(&mut file)))
    }

    /// `POST` of YAML; also tells whether something new was made.
    pub(crate) fn post_yaml<T: DeserializeOwned>(&self, path: &str, yaml: &str) -> Result<(T, bool), Failure> {
        let mut request = self.agent.post(self.address(path)).header("content-type", "application/yaml");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.send(yaml);
        let created = answer.as_ref().is_ok_and(|answer| answer.status().as_u16() == 201);
        Ok((self.read(answer)?, created))
    }

    /// `GET` of Server-Sent Events: the data of each, as it comes.
    pub(crate) fn events(&self, path: &str) -> Result<Events, Failure> {
        let mut request = self.live.get(self.address(path)).header("accept", "text/event-stream");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.call().map_err(|failure| self.unreachable(&failure))?;
        let answer = self.refused(answer)?;
        let reader: Box<dyn Read + Send> = Box::new(answer.into_body().into_reader());
        Ok(Events { lines: BufReader::new(reader).lines() })
    }

    /// The server's address, for people.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn address(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.url)
    }

    fn unreachable(&self, failure: &ureq::Error) -> Failure {
        Failure::Unreachable { url: self.url.clone(), reason: failure.to_string() }
    }

    fn read<T: DeserializeOwned>(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<T, Failure> {
        let text = self.text(answer)?;
        serde_json::from_str(&text).map_err(|failure| {
            let reason = format!("it answered with something else than Stepcast does ({failure})");
            Failure::Unreachable { url: self.url.clone(), reason }
        })
    }

    fn text(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<String, Failure> {
        let answer = answer.map_err(|failure| self.unreachable(&failure))?;
        let mut answer = self.refused(answer)?;
        // A page of a log can be large: lines have up to 64 KiB.
        let body = answer.body_mut().with_config().limit(u64::MAX).read_to_string();
        body.map_err(|failure| self.unreachable(&failure))
    }

    fn refused(&self, mut answer: Response<Body>) -> Result<Response<Body>, Failure> {
        let status = answer.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) if problem.status >= 500 => {
                Err(Failure::Unreachable { url: self.url.clone(), reason: problem.detail })
            }
            Ok(problem) => Err(Failure::Refused(Box::new(problem))),
            Err(_) => {
                let reason = format!("it answered {status}, which Stepcast does not");
                Err(Failure::Unreachable { url: self.url.clone(), reason })
            }
        }
    }
}

/// A live stream of events.
pub(crate) struct Events {
    lines: Lines<BufReader<Box<dyn Read + Send>>>,
}

/// What a live stream says.
pub(crate) enum Said {
    /// The bindings stand: everything from now on comes.
    Bound,
    /// The data of an event.
    Data(String),
    /// Nothing, and the connection stands.
    Alive,
}

impl Iterator for Events {
    type Item = Said;

    /// None when the connection is gone.
    fn next(&mut self) -> Option<Said> {
        loop {
            let line = self.lines.next()?.ok()?;
            if let Some(data) = line.strip_prefix("data:") {
                return Some(Said::Data(data.trim_start().to_owned()));
            }
            if line.trim_end() == ": bound" || line.trim_end() == ":bound" {
                return Some(Said::Bound);
            }
            if line.starts_with(':') {
                return Some(Said::Alive);
            }
        }
    }
}
