//! A client comes back. Its resume token says who it was and where; it becomes that client again at this worker, and each
//! of its positions is answered like a subscription.
//!
//! **A client that moved.** Whatever worker it was at, this one binds the client's own key, so that callbacks which
//! another worker passes on reach it here. What it watched is bound like a subscription. A client that this worker named and
//! that was never elsewhere needs no such binding: everybody knows it by this worker's server id. So ten thousand tabs whose
//! connections were cut come back without a word to the broker's routing.
//! Topics that this worker itself was addressed with for the client need no binding, unless the client must read the
//! record first: the recorder's hints come by the topic.
//!
//! A build's position implies its jobs: those known here, and for a build that is not addressed to this worker those that
//! the desk names.

use std::{collections::HashSet, sync::Arc};

use broker::topology;
use serde_json::Value;
use wire::{BuildId, ClientId, CloseCode, Position, Topic, command::Query, frame::ResumeOutcome, topic::TopicPosition};

use crate::{
    bindings::Waiter,
    judge::Then,
    socket::SocketId,
    subscriptions::Reader,
    worker::{Event, Worker},
};

/// What an answer names where neither the client nor the replay knows an epoch.
pub(crate) const FIRST_EPOCH: u32 = 1;

impl Worker {
    pub(crate) fn attach(&mut self, id: SocketId, token: &str, positions: &[TopicPosition]) {
        let Some(socket) = self.sockets.get(&id) else { return };
        let genuine = self.context.config.key.verify_resume_token(token, &socket.session);
        let Some((client, former)) = genuine else {
            let detail = "the resume token was not given to this session: go on with the client id of the first hello";
            return self.problem(id, None, "forbidden", detail);
        };
        self.take_over(id, client, former == self.context.server_id.as_str());
        let mut named = HashSet::new();
        let mut builds = HashSet::new();
        let mut elsewhere = Vec::new();
        for at in positions {
            if !named.insert(at.topic) {
                continue;
            }
            self.follow(id, client, at.topic, at.position);
            if let Topic::Build(build) = at.topic {
                builds.insert(build);
                if !self.clients.is_addressed(client, at.topic) {
                    elsewhere.push(build);
                }
            }
        }
        if builds.is_empty() {
            return;
        }
        for job in self.replay.jobs_of(&builds) {
            if named.insert(job) {
                self.follow(id, client, job, None);
            }
        }
        if !elsewhere.is_empty() {
            self.ask_for_jobs(id, elsewhere);
        }
    }

    /// The socket becomes the client's. Another one that still holds it is closed.
    fn take_over(&mut self, id: SocketId, client: ClientId, was_here: bool) {
        let only_here = was_here && self.clients.is_only_here(client);
        let other = self.clients.socket(client).filter(|other| *other != id);
        let unacknowledged = other.and_then(|other| self.sockets.get_mut(&other)).map(|other| {
            other.queue.close(CloseCode::Moved, "this client attached with another socket");
            other.receipts.take()
        });
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let former = std::mem::replace(&mut socket.client, client);
        let had_key = std::mem::replace(&mut socket.holds_client_key, !only_here);
        if former != client {
            self.clients.remove(former, id);
            self.clients.hold(client, &socket.session, only_here, id);
        } else if !only_here {
            self.clients.was_elsewhere(client);
        }
        if let Some(socket) = self.sockets.get(&id) {
            self.hello(socket, true);
        }
        if only_here {
            self.attached(client);
        } else {
            // The new one first: for the same client the binding then stands throughout.
            self.want(topology::client_key(client), Waiter::Attached(client));
        }
        if had_key {
            self.release(&topology::client_key(former));
        }
        for callback in unacknowledged.into_iter().flatten() {
            self.hand_to(id, callback);
        }
    }

    /// What is addressed to the client reaches it here from now on.
    pub(crate) fn attached(&self, client: ClientId) {
        let (desk, server_id) = (Arc::clone(&self.context.desk), self.context.server_id.clone());
        tokio::spawn(async move { desk.attached(client, server_id).await });
    }

    /// Takes up a topic again, with a binding unless its events are addressed to this worker for the client.
    fn follow(&mut self, id: SocketId, client: ClientId, topic: Topic, position: Option<Position>) {
        self.if_it_may(id, topic, Then::Follow { client, position });
    }

    /// The same for one that may see it.
    pub(crate) fn follow_allowed(&mut self, id: SocketId, client: ClientId, topic: Topic, position: Option<Position>) {
        let is_complete = self.replay.resume(topic, position, FIRST_EPOCH).0.outcome == ResumeOutcome::Complete;
        if !is_complete || !self.clients.is_addressed(client, topic) {
            return self.watch_allowed(id, topic, position, FIRST_EPOCH, None);
        }
        if self.subscriptions.get(topic, id).is_none() {
            self.subscriptions.put(topic, id, Reader::default());
        }
        self.resume(id, topic, position, FIRST_EPOCH);
    }

    /// Asks the desk for the jobs of builds, one after the other; it counts as one query of the socket.
    fn ask_for_jobs(&mut self, id: SocketId, builds: Vec<BuildId>) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let Ok(permit) = Arc::clone(&socket.in_flight).try_acquire_owned() else {
            let detail = "the jobs of the builds cannot be looked up while so much is unanswered: subscribe to them";
            return self.problem(id, None, "too many requests", detail);
        };
        socket.left.get_or_insert_default().lookups += 1;
        let (desk, authority, reports) =
            (Arc::clone(&self.context.desk), socket.authority.clone(), self.reports.clone());
        let lookup = tokio::spawn(async move {
            let mut found = Vec::new();
            for build in builds {
                let (status, body) = desk.query(&authority, Query::Build { id: build }).await;
                if status == 200 {
                    found.extend(jobs(&body).into_iter().map(|(job, epoch)| JobOf {
                        build: Topic::Build(build),
                        job,
                        epoch,
                    }));
                }
            }
            found
        });
        tokio::spawn(async move {
            // A desk that panics names none.
            let found = lookup.await.unwrap_or_default();
            // Nobody hears when the worker's life ended, and its sockets with it.
            let _ = reports.send(Event::JobsOf { socket: id, jobs: found }).await;
            drop(permit);
        });
    }

    /// The jobs of builds that the socket watches: those that it does not read yet follow from their beginning. What it has
    /// left since it attached, the job or its build, stays left.
    pub(crate) fn jobs_of(&mut self, id: SocketId, jobs: Vec<JobOf>) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let Some(mut left) = socket.left.take() else { return };
        left.lookups -= 1;
        for JobOf { build, job, epoch } in jobs {
            if !left.topics.contains(&build) && !left.topics.contains(&job) && self.subscriptions.get(job, id).is_none()
            {
                self.watch(id, job, None, epoch, None);
            }
        }
        if left.lookups > 0
            && let Some(socket) = self.sockets.get_mut(&id)
        {
            socket.left = Some(left);
        }
    }
}

/// What a socket has unsubscribed since it asked to have the jobs of its builds looked up.
#[derive(Debug, Default)]
pub(crate) struct Left {
    lookups: u32,
    pub(crate) topics: HashSet<Topic>,
}

/// A job of a build that a client came back to.
#[derive(Debug)]
pub(crate) struct JobOf {
    build: Topic,
    job: Topic,
    /// Its attempt, at least 1.
    epoch: u32,
}

/// Topic and epoch of each job in the body of a [`wire::view::BuildView`].
fn jobs(body: &Value) -> Vec<(Topic, u32)> {
    let jobs = body.get("jobs").and_then(Value::as_array).into_iter().flatten();
    let job = |job: &Value| {
        let id = job.get("id")?.as_str()?.parse().ok()?;
        let attempt = job.get("attempt").and_then(Value::as_u64).and_then(|attempt| u32::try_from(attempt).ok());
        Some((Topic::Job(id), attempt.unwrap_or(1).max(1)))
    };
    jobs.filter_map(job).collect()
}
