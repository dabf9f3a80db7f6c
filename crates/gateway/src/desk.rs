//! What the server does for sockets. The gateway asks and passes the answers on; it decides nothing of this itself.

use std::{collections::VecDeque, sync::Arc};

use broker::BoxFuture;
use serde_json::value::RawValue;
use tokio::sync::watch;
use wire::{
    Authority, ClientId, Position, Problem, ServerId, SocketMeta, Topic,
    command::{Command, Query},
};

/// A result of a live query, and how it came about.
#[derive(Clone, Debug)]
pub struct LiveResult {
    /// Names the evaluator, and counts its results.
    pub position: Position,
    /// The whole result.
    pub body: Arc<RawValue>,
    /// What made each of the last results of the one before it: JSON Patches, the one that made this result last.
    pub patches: VecDeque<Arc<RawValue>>,
}

impl LiveResult {
    /// The patches that make this result of an earlier one; none if they are not kept, or it was another evaluator's.
    #[must_use]
    pub fn since(&self, former: Position) -> Option<impl Iterator<Item = &RawValue>> {
        let steps = self.position.offset.checked_sub(former.offset).and_then(|steps| usize::try_from(steps).ok())?;
        let first = self.patches.len().checked_sub(steps)?;
        (former.epoch == self.position.epoch).then(|| self.patches.range(first..).map(|patch| &**patch))
    }
}

/// Whether a topic may be watched.
pub enum MayWatch {
    /// It is known.
    Known(bool),
    /// It is being looked up.
    Asked(BoxFuture<'static, Result<bool, NotNow>>),
}

/// It cannot be told now. Until it can the answer is no, and it is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNow;

/// Commands, queries and permissions, as the server knows them.
pub trait Desk: Send + Sync + 'static {
    /// Does what a client asks; status and body as in HTTP. `socket` is the meta of the socket that asked.
    fn command(
        &self,
        authority: &Authority,
        command: Command,
        socket: SocketMeta,
    ) -> BoxFuture<'static, (u16, serde_json::Value)>;

    /// Reads what a client asks for; status and body as in HTTP.
    fn query(&self, authority: &Authority, query: Query) -> BoxFuture<'static, (u16, serde_json::Value)>;

    /// The result now and again whenever it changes. The receiver ends when the query cannot be served any more.
    fn live(
        &self,
        authority: &Authority,
        query: Query,
    ) -> BoxFuture<'static, Result<watch::Receiver<Arc<LiveResult>>, Problem>>;

    /// Whether events of `topic` may reach a socket of `authority` (P8). Called from a worker's loop: it must not block.
    fn may_watch(&self, authority: &Authority, topic: Topic) -> MayWatch;

    /// A client attached at a worker, and what is addressed to it reaches it there from now on: callbacks that were kept
    /// for it are published again, under this server id.
    fn attached(&self, client: ClientId, server_id: ServerId) -> BoxFuture<'static, ()>;
}
