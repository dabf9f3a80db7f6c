//! Writes, and ranges of logs, over the public interface `/api/v1`. Every failure is a [`Problem`].

pub mod admin;
pub mod people;

use serde::Serialize;
use wire::{
    BuildId, DeadLetterId, ExecutorId, JobId, PipelineName, Problem, Topic,
    command::{Retry, Trigger},
    dead_letter::DeadLetterBody,
    event::Recorded,
    log::Group,
    reply::ReplyView,
    task::ExecutorNow,
};

use crate::{json, live::build::Fetched};

/// An answer with a status below 400.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "only a browser makes one"))]
struct Answer {
    body: String,
    /// The header `etag`.
    etag: Option<String>,
    /// The header `x-log-total`.
    total: Option<u64>,
    /// The header `x-log-sealed`.
    sealed: bool,
    /// The header `x-log-offset`.
    offset: Option<u64>,
}

/// Who is signed in, and what they may do: a [`wire::account::OwnView`].
///
/// # Errors
/// When the session has ended, or the server cannot be reached.
pub async fn own() -> Result<serde_json::Value, Problem> {
    let answer = send("GET", "/api/v1/account", JSON, None, None).await?;
    json::read(&answer.body).map_err(unreadable)
}

/// Starts a build. `key` makes a repeat harmless: the same key never starts a second build.
///
/// # Errors
/// What the server says is wrong with the trigger, or that it cannot be reached.
pub async fn trigger(pipeline: &PipelineName, trigger: &Trigger, key: &str) -> Result<BuildId, Problem> {
    #[derive(serde::Deserialize)]
    struct Accepted {
        id: BuildId,
    }
    let url = format!("/api/v1/pipelines/{pipeline}/builds");
    let answer = send("POST", &url, JSON, Some(("idempotency-key", key)), Some(written(trigger)?)).await?;
    json::read::<Accepted>(&answer.body).map(|accepted| accepted.id).map_err(unreadable)
}

/// A pipeline that was saved.
#[derive(Debug)]
pub struct Saved {
    /// Its name.
    pub name: String,
    /// Names the text that was saved.
    pub etag: Option<String>,
}

/// Creates a pipeline under the name that its text gives.
///
/// # Errors
/// What is wrong with the text, with line and column; that there is one of that name (412), or that the server cannot
/// be reached.
pub async fn create_pipeline(yaml: String) -> Result<Saved, Problem> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    let answer = send("POST", "/api/v1/pipelines", YAML, Some(("if-none-match", "*")), Some(yaml)).await?;
    let Named { name } = json::read(&answer.body).map_err(unreadable)?;
    Ok(Saved { name, etag: answer.etag })
}

/// Writes a pipeline in place of the text that `etag` names; of whatever is there unless one is given.
///
/// # Errors
/// What is wrong with the text, with line and column; that another text is there (412), or that the server cannot be
/// reached.
pub async fn put_pipeline(name: &str, yaml: String, etag: Option<String>) -> Result<Saved, Problem> {
    let condition = etag.as_deref().map(|etag| ("if-match", etag));
    let answer = send("PUT", &format!("/api/v1/pipelines/{name}"), YAML, condition, Some(yaml)).await?;
    Ok(Saved { name: name.to_owned(), etag: answer.etag })
}

/// Asks for the end of a build.
///
/// # Errors
/// When it cannot be cancelled, or the server cannot be reached.
pub async fn cancel(build: BuildId) -> Result<(), Problem> {
    send("POST", &format!("/api/v1/builds/{build}/cancel"), JSON, None, None).await.map(drop)
}

/// Runs a finished build again.
///
/// # Errors
/// When it cannot be retried, or the server cannot be reached.
pub async fn retry(build: BuildId, failed_only: bool) -> Result<(), Problem> {
    let body = written(&Retry { failed_only })?;
    send("POST", &format!("/api/v1/builds/{build}/retry"), JSON, None, Some(body)).await.map(drop)
}

/// Tells the result of a build once more, now. Gives how that stands.
///
/// # Errors
/// When it was received already, or the server cannot be reached.
pub async fn try_reply(build: BuildId) -> Result<ReplyView, Problem> {
    let answer = send("POST", &format!("/api/v1/builds/{build}/reply"), JSON, None, None).await?;
    json::read(&answer.body).map_err(unreadable)
}

/// Says that the result of a build has arrived.
///
/// # Errors
/// When it is somebody else's, or the server cannot be reached.
pub async fn acknowledge(build: BuildId) -> Result<(), Problem> {
    send("POST", &format!("/api/v1/builds/{build}/receipt"), JSON, None, None).await.map(drop)
}

/// Lines of a log from line `from`.
///
/// # Errors
/// When there is no such log, or the server cannot be reached.
pub async fn log_lines(job: JobId, attempt: u32, from: u64, limit: u64) -> Result<Fetched, Problem> {
    let url = format!("/api/v1/jobs/{job}/log?attempt={attempt}&from={from}&limit={limit}");
    let answer = send("GET", &url, JSON, None, None).await?;
    let lines = answer.body.lines().map(json::read).collect::<Result<_, _>>().map_err(unreadable)?;
    Ok(Fetched { lines, total: answer.total, offset: answer.offset, sealed: answer.sealed })
}

/// How far an attempt's log is recorded, and whether that is all of it.
///
/// # Errors
/// When there is no such log, or the server cannot be reached.
pub async fn log_head(job: JobId, attempt: u32) -> Result<Recorded, Problem> {
    let url = format!("/api/v1/jobs/{job}/log?attempt={attempt}&from=0&limit=1");
    let answer = send("GET", &url, JSON, None, None).await?;
    Ok(Recorded { topic: Topic::Job(job), epoch: attempt, offset: answer.offset, sealed: answer.sealed })
}

/// Looks for a text in the whole of a log; `take` gets each line of the answer as it comes, and says whether it wants more.
///
/// # Errors
/// When the text is refused, or the server cannot be reached.
pub async fn search_log(job: JobId, attempt: u32, wanted: &str, take: impl FnMut(&str) -> bool) -> Result<(), Problem> {
    let url = format!("/api/v1/jobs/{job}/log/search?attempt={attempt}&q={}", crate::browser::encoded(wanted));
    let broken = |()| Problem::new(503, "not reachable", "The search broke off: the server cannot be reached.");
    crate::browser::stream_lines(&url, take).await.map_err(broken)
}

/// What an executor says itself that it runs.
///
/// # Errors
/// When it does not answer, or the server cannot be reached.
pub async fn executor_now(id: ExecutorId) -> Result<ExecutorNow, Problem> {
    let answer = send("GET", &format!("/api/v1/executors/{id}/now"), JSON, None, None).await?;
    json::read(&answer.body).map_err(unreadable)
}

/// A dead letter with its body.
///
/// # Errors
/// When there is none, or the server cannot be reached.
pub async fn dead_letter(id: DeadLetterId) -> Result<DeadLetterBody, Problem> {
    let answer = send("GET", &format!("/api/v1/dead-letters/{id}"), JSON, None, None).await?;
    json::read(&answer.body).map_err(unreadable)
}

/// Hands a dead letter in again.
///
/// # Errors
/// When it cannot be retried, or the server cannot be reached.
pub async fn retry_dead_letter(id: DeadLetterId) -> Result<(), Problem> {
    send("POST", &format!("/api/v1/dead-letters/{id}/retry"), JSON, None, None).await.map(drop)
}

/// Says that a dead letter is not needed.
///
/// # Errors
/// When somebody else has decided, or the server cannot be reached.
pub async fn discard_dead_letter(id: DeadLetterId) -> Result<(), Problem> {
    send("POST", &format!("/api/v1/dead-letters/{id}/discard"), JSON, None, None).await.map(drop)
}

/// Pauses, resumes or rebuilds a consumer group.
///
/// # Errors
/// When it cannot be done, or the server cannot be reached.
pub async fn change_group(name: &str, verb: &str) -> Result<(), Problem> {
    send("POST", &format!("/api/v1/groups/{name}/{verb}"), JSON, None, None).await.map(drop)
}

/// The lines of the group that a line begins.
///
/// # Errors
/// When it begins none, or the server cannot be reached.
pub async fn log_group(job: JobId, attempt: u32, line: u64) -> Result<Group, Problem> {
    let url = format!("/api/v1/jobs/{job}/log/group?attempt={attempt}&line={line}");
    let answer = send("GET", &url, JSON, None, None).await?;
    json::read(&answer.body).map_err(unreadable)
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

fn written(value: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(value).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> Problem {
    Problem::new(502, "answer not readable", format!("The server's answer could not be read: {error}."))
}

#[cfg(target_arch = "wasm32")]
async fn send(
    method: &str,
    url: &str,
    kind: &str,
    header: Option<(&str, &str)>,
    body: Option<String>,
) -> Result<Answer, Problem> {
    use gloo_net::http::{Method, RequestBuilder};

    let gone = |_| {
        let detail = "The server cannot be reached; nothing was changed that you can be sure of. Try again when the connection is back.";
        Problem::new(503, "not reachable", detail)
    };
    let method = match method {
        "PUT" => Method::PUT,
        "POST" => Method::POST,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        _ => Method::GET,
    };
    let mut request = RequestBuilder::new(url).method(method);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let request = match body {
        Some(body) => request.header("content-type", kind).body(body),
        None => request.build(),
    };
    let response = request.map_err(gone)?.send().await.map_err(gone)?;
    let headers = response.headers();
    let number = |name| headers.get(name).and_then(|number| number.parse().ok());
    let (total, offset) = (number("x-log-total"), number("x-log-offset"));
    let sealed = headers.get("x-log-sealed").is_some_and(|sealed| sealed == "true");
    let (status, body) = (response.status(), response.text().await.map_err(gone)?);
    if status < 400 {
        return Ok(Answer { body, etag: headers.get("etag"), total, sealed, offset });
    }
    Err(json::read(&body).unwrap_or_else(|_| {
        Problem::new(status, "refused", format!("The server answered with status {status} and no reason."))
    }))
}

#[cfg(not(target_arch = "wasm32"))]
async fn send(
    _method: &str,
    url: &str,
    _kind: &str,
    _header: Option<(&str, &str)>,
    _body: Option<String>,
) -> Result<Answer, Problem> {
    Err(Problem::new(500, "no browser", format!("{url} is asked by browsers only.")))
}
