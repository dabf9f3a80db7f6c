//! `/api/v1/jobs/{id}`: logs, and the files that a job leaves behind.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderName, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use wire::{
    Authority, JobId, Problem,
    view::{ArtifactView, LogPage},
};

use crate::{
    core::Core,
    http::{
        builds::pairs,
        parameters::Path,
        problem::{Answer, parse},
        who::{Shown, Who},
    },
    places::see_job,
    queries::{self, LOG_LINES_MAX, not_found, store_problem},
};

/// Lines in one answer unless asked otherwise.
const LOG_LINES: u32 = 1000;

struct Wanted {
    attempt: Option<u32>,
    from: u64,
    limit: u32,
}

fn wanted(query: Option<&str>) -> Answer<Wanted> {
    let mut wanted = Wanted { attempt: None, from: 0, limit: LOG_LINES };
    for (name, value) in pairs(query.unwrap_or_default()) {
        match name {
            _ if value.is_empty() => {}
            "attempt" => wanted.attempt = Some(parse("`attempt`", value)?),
            "from" => wanted.from = parse("`from`", value)?,
            "limit" => wanted.limit = parse("`limit`", value)?,
            other => {
                let sentence = format!("`{other}` is not known here: use attempt, from, limit.");
                return Err(Problem::new(400, "Invalid parameter", sentence).into());
            }
        }
    }
    if !(1..=LOG_LINES_MAX).contains(&wanted.limit) {
        let sentence = format!("`limit` must be 1 to {LOG_LINES_MAX}.");
        return Err(Problem::new(400, "Invalid parameter", sentence).into());
    }
    Ok(wanted)
}

/// `GET /jobs/{id}/log?attempt=&from=&limit=`: NDJSON. The headers `x-log-*` tell how far the record reaches.
pub(crate) async fn log(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Response> {
    let job: JobId = parse("The job's id", &id)?;
    let Wanted { attempt, from, limit } = wanted(query.as_deref())?;
    let page = queries::log(&core, &who, job, attempt, from, limit).await?;
    let mut body = Vec::with_capacity(page.lines.len() * 96);
    for line in &page.lines {
        // Lines hold numbers and text only: their encoding does not fail.
        let _ = serde_json::to_writer(&mut body, line);
        body.push(b'\n');
    }
    let mut response = ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response();
    for (name, value) in place_headers(&page) {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

fn place_headers(page: &LogPage) -> Vec<(HeaderName, String)> {
    let mut headers = vec![
        (HeaderName::from_static("x-log-attempt"), page.attempt.to_string()),
        (HeaderName::from_static("x-log-total"), page.total.to_string()),
        (HeaderName::from_static("x-log-sealed"), page.sealed.to_string()),
    ];
    if let Some(position) = page.position {
        headers.push((HeaderName::from_static("x-log-epoch"), position.epoch.to_string()));
        headers.push((HeaderName::from_static("x-log-offset"), position.offset.to_string()));
    }
    headers
}

/// `GET /jobs/{id}/log.txt?attempt=`: the raw text, as far as it is recorded, streamed page by page.
pub(crate) async fn raw(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    shown: Shown,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Response> {
    let job: JobId = parse("The job's id", &id)?;
    let Wanted { attempt, from, .. } = wanted(query.as_deref())?;
    let first = queries::log(&core, &who, job, attempt, from, LOG_LINES_MAX).await?;
    let (attempt, total) = (first.attempt, first.total);
    let name = format!("attachment; filename=\"{job}-{attempt}.txt\"");
    let held = shown.hold(&core, &who);
    let pages = stream::unfold(Some((Some(first), from)), move |state| {
        // A long text ends with the authority of who asked, broken off.
        let ended = held.ended.is_cancelled();
        let (core, who) = (Arc::clone(&core), who.clone());
        async move {
            let (page, from) = state?;
            if ended {
                return Some((Err(std::io::Error::other("its reader may read it no more")), None));
            }
            let page = match page {
                Some(page) => page,
                None if from >= total => return None,
                // The answer has begun: a failure breaks it off, so that nobody takes a part for the whole.
                None => match read(&core, &who, job, attempt, from).await {
                    Ok(page) => page,
                    Err(failure) => return Some((Err(failure), None)),
                },
            };
            let next = page.lines.last().map(|last| last.line.n + 1)?;
            Some((Ok(text(&page)), Some((None, next))))
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(pages)).into_response())
}

async fn read(core: &Core, who: &Authority, job: JobId, attempt: u32, from: u64) -> Result<LogPage, std::io::Error> {
    let page = queries::log(core, who, job, Some(attempt), from, LOG_LINES_MAX).await;
    page.map_err(std::io::Error::other)
}

/// The text of a page: a line that was split is put together again, and one sentence stands for lines that were lost.
fn text(page: &LogPage) -> Bytes {
    let mut text = String::with_capacity(page.lines.iter().map(|line| line.line.text.len() + 1).sum());
    for lines in page.lines.chunk_by(|one, next| one.missing && next.missing) {
        match lines {
            [first, .., last] => text.push_str(&format!(
                "[lines {} to {} were never recorded: the event stream has lost them]\n",
                first.line.n + 1,
                last.line.n + 1
            )),
            [only] if only.missing => {
                text.push_str(&format!("[line {} was never recorded: the event stream has lost it]\n", only.line.n + 1))
            }
            [only] => {
                text.push_str(&only.line.text);
                if !only.line.split {
                    text.push('\n');
                }
            }
            [] => {}
        }
    }
    text.into()
}

/// `GET /jobs/{id}/artifacts`
pub(crate) async fn artifacts(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Answer<Json<Vec<ArtifactView>>> {
    let job: JobId = parse("The job's id", &id)?;
    see_job(&core, &who, job).await?;
    let build = core.store.build_of(job).await.map_err(store_problem)?.ok_or_else(|| not_found("job", job))?;
    let view = queries::build(&core, &who, build).await?;
    Ok(Json(view.jobs.into_iter().find(|found| found.id == job).map(|found| found.artifacts).unwrap_or_default()))
}
