//! What the server does for sockets: commands, queries, live queries. The gateway asks; authority comes with the socket.

use std::sync::Arc;

use broker::BoxFuture;
use gateway::{Desk, MayWatch, NotNow};
use serde_json::Value;
use wire::{
    Authority, ClientId, Problem, ServerId, SocketMeta, Topic,
    command::{Command, Query},
};

use crate::{commands, core::Core, live, places, queries};

/// The desk of this process.
pub(crate) struct ServerDesk(pub(crate) Arc<Core>);

fn reply(status: u16, result: Result<Value, Problem>) -> (u16, Value) {
    match result {
        Ok(body) => (status, body),
        Err(problem) => (problem.status, serde_json::to_value(&problem).unwrap_or_default()),
    }
}

fn json(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

impl Desk for ServerDesk {
    fn command(&self, who: &Authority, command: Command, socket: SocketMeta) -> BoxFuture<'static, (u16, Value)> {
        let (core, who) = (Arc::clone(&self.0), who.clone());
        Box::pin(async move {
            let result = match command {
                Command::Trigger { pipeline, mut trigger, idempotency_key } => {
                    trigger.socket.get_or_insert(socket);
                    commands::trigger(&core, &who, &pipeline, &trigger, idempotency_key.as_deref()).await
                }
                Command::Cancel { build } => commands::cancel(&core, &who, build).await,
                Command::Retry { build, retry } => commands::retry(&core, &who, build, retry).await,
            };
            reply(202, result.map(json))
        })
    }

    fn query(&self, who: &Authority, query: Query) -> BoxFuture<'static, (u16, Value)> {
        let (core, who) = (Arc::clone(&self.0), who.clone());
        Box::pin(async move { reply(200, queries::answer(&core, &who, &query).await) })
    }

    fn live(&self, who: &Authority, query: Query) -> BoxFuture<'static, Result<live::Results, Problem>> {
        Box::pin(live::watch(Arc::clone(&self.0), who.clone(), query))
    }

    fn may_watch(&self, who: &Authority, topic: Topic) -> MayWatch {
        if let Some(known) = places::may_watch_now(&self.0, who, topic) {
            return MayWatch::Known(known);
        }
        let (core, who) = (Arc::clone(&self.0), who.clone());
        MayWatch::Asked(Box::pin(async move {
            places::may_watch(&core, &who, topic).await.map_err(|failure| {
                tracing::warn!(%failure, %topic, "it cannot be told now who may watch a topic: nobody may meanwhile");
                NotNow
            })
        }))
    }

    fn attached(&self, client: ClientId, server_id: ServerId) -> BoxFuture<'static, ()> {
        let core = Arc::clone(&self.0);
        Box::pin(async move { core.attachments.tell(client, server_id).await })
    }
}
