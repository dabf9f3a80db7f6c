//! How the installation is: executors, gateways, health, metrics.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use gateway::Gateway;
use serde::Deserialize;
use wire::{
    Problem,
    authority::Need,
    dead_letter::DeadLetterCount,
    executor_now::NOW_LINES_MAX,
    group::GroupView,
    task::ExecutorNow,
    view::{ExecutorView, GatewayView, WorkerView},
};

use crate::{
    core::Core,
    groups,
    http::{
        Site,
        parameters::{Path, Query},
        problem::{Answer, Rejection, parse},
        who::Who,
    },
    outbox, queries,
};

/// `GET /executors`
pub(crate) async fn executors(State(core): State<Arc<Core>>, Who(who): Who) -> Answer<Json<Vec<ExecutorView>>> {
    Ok(Json(queries::executors(&core, &who).await?))
}

/// What may be said behind `?` of [`executor_now`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NowParameters {
    lines: Option<String>,
}

/// `GET /executors/{id}/now`
pub(crate) async fn executor_now(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
    Query(asked): Query<NowParameters>,
) -> Answer<Json<ExecutorNow>> {
    let id = parse("The executor's id", &id)?;
    let lines = match asked.lines {
        None => 0,
        Some(text) => text.parse().ok().filter(|lines| *lines <= NOW_LINES_MAX).ok_or_else(|| {
            let sentence = format!("`lines` must be a whole number from 0 to {NOW_LINES_MAX}.");
            Problem::new(400, "Invalid parameter", sentence)
        })?,
    };
    Ok(Json(queries::executor_now(&core, &who, id, lines).await?))
}

/// `GET /gateways`
pub(crate) async fn gateways(
    State(core): State<Arc<Core>>,
    State(gateway): State<Arc<Gateway>>,
    Who(who): Who,
) -> Answer<Json<Vec<GatewayView>>> {
    Ok(Json(queries::gateways(&core, &gateway, &who).await?))
}

/// `GET /healthz`: the process answers, and takes sockets: not while it drains, so that a load balancer sends them elsewhere.
pub(crate) async fn healthz(State(gateway): State<Arc<Gateway>>) -> (StatusCode, &'static str) {
    if gateway.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    (StatusCode::OK, "ok\n")
}

/// `GET /readyz`: store and broker work, and the disk has room; 503 with the reason. Of the store it tells no more, for it answers without authority;
/// why the broker takes nothing (who does not answer where, an alarm of RabbitMQ's) is what an operator must hear first.
pub(crate) async fn readyz(State(core): State<Arc<Core>>) -> Response {
    let reason = match (core.room.full(), core.store.check().await, core.broker.health().await) {
        (None, Ok(()), Ok(())) => return "ready\n".into_response(),
        (Some(sentence), ..) => sentence,
        (_, Err(store::StoreError::Full), _) => queries::DISK_FULL.to_owned(),
        (_, Err(_), _) => "The store cannot be used.".to_owned(),
        (.., Err(failure)) => format!("The broker cannot be used: {}.", failure.reason()),
    };
    Rejection(Problem::new(StatusCode::SERVICE_UNAVAILABLE.as_u16(), "Not ready", reason)).into_response()
}

/// `GET /metrics`, in the text format of Prometheus.
pub(crate) async fn metrics(State(site): State<Site>, Who(who): Who) -> Answer<Response> {
    who.need(Need::SeeAll)?;
    let mut text = String::new();
    let mut family = |name: &str, help: &str, rows: Vec<(String, u64)>| {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(text, "# HELP stepcast_{name} {help}\n# TYPE stepcast_{name} {kind}"); // A String takes all.
        for (labels, value) in rows {
            let _ = writeln!(text, "stepcast_{name}{labels} {value}");
        }
    };
    let workers = site.gateway.workers().await;
    let per_worker = |value: fn(&WorkerView) -> u64| {
        workers.iter().map(|worker| (format!("{{server_id=\"{}\"}}", worker.server_id), value(worker))).collect()
    };
    family("sockets", "Sockets held.", per_worker(|worker| worker.sockets));
    family("topics_watched", "Topics bound for watchers.", per_worker(|worker| worker.topics));
    family("gateway_queue_length", "Messages that wait for the worker.", per_worker(|worker| worker.queue_length));
    family("worker_restarts", "Starts after a panic.", per_worker(|worker| worker.restarts));
    let lag = site.core.recorder_lag.load(Ordering::Relaxed);
    family("recorder_lag", "Events that the record is behind.", vec![(String::new(), lag)]);
    family(
        "build_waiters",
        "Requests with Prefer: wait, and live queries of one build, that wait in this process.",
        vec![(String::new(), site.core.hub.waiters() as u64)],
    );
    let sockets = workers.iter().map(|worker| worker.sockets).sum();
    family(
        "memory_bound_bytes",
        "Memory that the limits allow with the sockets that are open now.",
        vec![(String::new(), site.core.memory.with(sockets))],
    );
    let groups = groups::views(&site.core, &who).await?;
    let by_group = |value: fn(&GroupView) -> u64| {
        groups.iter().map(|group| (format!("{{group=\"{}\"}}", group.name), value(group))).collect()
    };
    family("group_lag", "Events that a consumer group is behind.", by_group(|group| group.lag));
    family("group_speed", "Events that it applied a second.", by_group(|group| group.speed));
    let losses = by_group(|group| group.losses);
    family(
        "group_place_losses_total",
        "Times that a consumer group found its place trimmed or the stream made anew.",
        losses,
    );
    let queued = site.core.store.queued_jobs().await.map_err(queries::store_problem)?;
    let queued = queued.iter().map(|row| (format!("{{labels=\"{}\"}}", row.label_set), row.count)).collect();
    family("jobs_queued", "Jobs that wait for an executor.", queued);
    let waiting = outbox::waiting(&*site.core.store).await.map_err(queries::store_problem)?;
    family(
        "outbox_waiting",
        "Rows that the broker has not confirmed, up to 500.",
        vec![(String::new(), waiting as u64)],
    );
    let letters = site.core.store.dead_letter_counts().await.map_err(queries::store_problem)?;
    let by_cause = |value: fn(&DeadLetterCount) -> u64| {
        letters.iter().map(|count| (format!("{{cause=\"{}\"}}", count.cause.as_str()), value(count))).collect()
    };
    family("dead_letters_open", "Dead letters that nobody has decided on.", by_cause(|count| count.open));
    family("dead_letters_total", "Deaths of messages and jobs.", by_cause(|count| count.total));
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}
