//! The load: builds, each triggered until it is accepted, perhaps cancelled or run again, awaited, and looked at. What is
//! looked at is in `verify.rs`.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use wire::{
    BuildId, JobId, SocketMeta,
    view::{BuildSummary, BuildView, State},
};

use crate::{
    api::Api,
    failure::{Failure, Result},
    ledger::Ledger,
    random::Random,
    verify,
    watcher::{Order, Watcher},
    work::Work,
};

/// How many builds are awaited at the same time.
const BUILDS_AT_ONCE: usize = 10;
/// How many sockets watch.
const WATCHERS: usize = 8;
/// How often a build is looked at until it is over.
const LOOK_EVERY: Duration = Duration::from_millis(700);
/// How often a watcher is asked whether it has seen all.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// What every build of the load uses.
pub(crate) struct Load {
    pub(crate) api: Api,
    pub(crate) ledger: Arc<Ledger>,
    /// Where steps write.
    pub(crate) notes: PathBuf,
    watchers: Vec<mpsc::Sender<Order>>,
    /// What was accepted, by pipeline.
    pub(crate) accepted: Mutex<HashSet<(Work, BuildId)>>,
    numbers: AtomicU64,
    /// After this nothing new is begun.
    until: Instant,
}

impl Load {
    pub(crate) fn new(api: Api, ledger: Arc<Ledger>, notes: PathBuf, seed: u64, until: Instant) -> Self {
        let watcher = |number| {
            Watcher::start(number, api.clone(), Arc::clone(&ledger), Random::new(seed, 1_000 + number as u64), until)
        };
        let watchers = (1..=WATCHERS).map(watcher).collect();
        Self { api, ledger, notes, watchers, accepted: Mutex::default(), numbers: AtomicU64::new(0), until }
    }

    /// Builds until the time is over; then waits for the last of them until `quiet`. What is not over by then is a broken
    /// promise.
    pub(crate) async fn run(self: &Arc<Self>, seed: u64, quiet: Instant) {
        let mut builds = JoinSet::new();
        for place in 0..BUILDS_AT_ONCE {
            builds.spawn(Arc::clone(self).in_a_row(Random::new(seed, 100 + place as u64)));
        }
        let all = async { while builds.join_next().await.is_some() {} };
        if tokio::time::timeout_at(quiet.into(), all).await.is_err() {
            self.ledger.note("the quiet time is over");
        }
        builds.abort_all();
    }

    async fn in_a_row(self: Arc<Self>, mut random: Random) {
        while Instant::now() < self.until {
            let work = Work::any(&mut random);
            if let Err(failure) = self.build(work, &mut random).await {
                self.ledger.broken(&failure.to_string());
            }
            tokio::time::sleep(random.millis(0, 300)).await;
        }
    }

    /// One build from its trigger to its last look.
    async fn build(&self, work: Work, random: &mut Random) -> Result<()> {
        let key = format!("{}-{}", work.name(), self.numbers.fetch_add(1, Ordering::Relaxed));
        // Drawn before anything is awaited: the numbers do not depend on what the servers do.
        let (asker, other) = (random.below(WATCHERS), random.below(WATCHERS));
        let (asks, watches, twice) = (random.percent(60), random.percent(60), random.percent(15));
        let cancel_after = random.millis(300, 6_000);

        let meta = if asks { self.meta(asker).await } else { None };
        let body = json!({"inputs": {"key": key}, "socket": meta, "reply": null});
        let body = if meta.is_some() { body } else { json!({"inputs": {"key": key}}) }.to_string();
        let id = self.trigger(work, &body, &key).await?;
        self.ledger.note(&format!("build {id}: {key}{}", if meta.is_some() { ", asked for by a watcher" } else { "" }));
        let mut following = Vec::new();
        if let Some(meta) = meta {
            following.push(asker);
            self.order(asker, Order::Watch(id, Some(meta))).await;
        }
        if watches && !following.contains(&other) {
            following.push(other);
            self.order(other, Order::Watch(id, None)).await;
        }
        if twice {
            let again = self.trigger(work, &body, &key).await?;
            self.ledger.count("triggers repeated with their key after the 202");
            if again != id {
                return Err(Failure(format!("P1: the key {key} was answered with build {id} and with build {again}")));
            }
        }
        let mut waiting = Waiting { ledger: &self.ledger, id, last: String::new() };
        let done = self.follow(work, id, cancel_after, following, &mut waiting).await;
        waiting.last.clear();
        done
    }

    /// From the 202 to the last look.
    async fn follow(
        &self,
        work: Work,
        id: BuildId,
        cancel_after: Duration,
        watchers: Vec<usize>,
        waiting: &mut Waiting<'_>,
    ) -> Result<()> {
        waiting.last = "it cannot be cancelled or looked at".to_owned();
        if work == Work::Cancelled {
            tokio::time::sleep(cancel_after).await;
            self.change(id, "cancel").await?;
        }
        let mut view = self.over(id, waiting).await?;
        if work == Work::Doomed {
            self.change(id, "retry").await?;
            view = self.over(id, waiting).await?;
        }
        waiting.last = "the record of its log is not sealed".to_owned();
        let record = verify::build(self, work, &view).await?;
        for watcher in watchers {
            self.seen_by(watcher, &view, &record, waiting).await?;
        }
        self.ledger.count(format!("builds verified: {}", work.name()));
        self.ledger.note(&format!("build {id}: verified"));
        Ok(())
    }

    async fn trigger(&self, work: Work, body: &str, key: &str) -> Result<BuildId> {
        let path = format!("/pipelines/{}/builds", work.name());
        let answer = self.api.post(&path, body, Some(key)).await;
        if answer.status != 202 {
            return Err(Failure(format!(
                "a trigger with the key {key} was answered {}: {}",
                answer.status, answer.text
            )));
        }
        let id = answer.json::<BuildSummary>()?.id;
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).insert((work, id));
        Ok(id)
    }

    /// Cancels or retries a build. 409 means that it is so already: an answer was lost.
    async fn change(&self, id: BuildId, verb: &str) -> Result<()> {
        let answer = self.api.post(&format!("/builds/{id}/{verb}"), "{}", None).await;
        match answer.status {
            202 | 409 => Ok(()),
            status => Err(Failure(format!("P1: {verb} of build {id} was answered {status}: {}", answer.text))),
        }
    }

    /// Waits until a build is over.
    async fn over(&self, id: BuildId, waiting: &mut Waiting<'_>) -> Result<BuildView> {
        loop {
            let view: BuildView = self.api.read(&format!("/builds/{id}")).await?;
            if view.summary.state == State::Finished {
                return Ok(view);
            }
            waiting.last = format!("it is not over: {}", serde_json::to_string(&view).unwrap_or_default());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn order(&self, watcher: usize, order: Order) {
        // A watcher ends after the load.
        let _ = self.watchers[watcher].send(order).await;
    }

    async fn meta(&self, watcher: usize) -> Option<SocketMeta> {
        let (answer, told) = oneshot::channel();
        self.order(watcher, Order::Meta(answer)).await;
        told.await.ok().flatten()
    }

    /// Waits until a watcher has seen all of a build.
    async fn seen_by(
        &self,
        watcher: usize,
        view: &BuildView,
        record: &verify::Record,
        waiting: &mut Waiting<'_>,
    ) -> Result<()> {
        let id = view.summary.id;
        let jobs: Vec<JobId> = view.jobs.iter().map(|job| job.id).collect();
        loop {
            let (answer, told) = oneshot::channel();
            self.order(watcher, Order::Tell(id, jobs.clone(), answer)).await;
            let Ok(told) = told.await else { return Ok(()) };
            let Some(missing) = verify::missing(&told, view, record) else { break };
            waiting.last = format!("P3: it was not seen whole by watcher {}: {missing}", watcher + 1);
            tokio::time::sleep(ASK_EVERY).await;
        }
        self.ledger.count("builds seen whole by a watcher");
        self.order(watcher, Order::Leave(id, jobs)).await;
        Ok(())
    }
}

/// Tells a broken promise if what is waited for has not come when the quiet time ends.
struct Waiting<'a> {
    ledger: &'a Ledger,
    id: BuildId,
    /// What is waited for; empty when nothing is any more.
    last: String,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.last.is_empty() {
            self.ledger.broken(&format!("build {} is not done when the quiet time ends: {}", self.id, self.last));
        }
    }
}
