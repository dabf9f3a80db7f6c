//! What the server does for sockets. The gateway asks and passes the answers on; it decides nothing of this itself.

use std::sync::Arc;

use broker::BoxFuture;
use serde_json::value::RawValue;
use tokio::sync::watch;
use wire::{
    Authority, ClientId, Problem, ServerId, SocketMeta, Topic,
    command::{Command, Query},
};

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
    ) -> BoxFuture<'static, Result<watch::Receiver<Arc<RawValue>>, Problem>>;

    /// Whether events of `topic` may reach a socket of `authority` (P8). Called from a worker's loop: it must not block.
    fn may_watch(&self, authority: &Authority, topic: Topic) -> bool;

    /// A client attached at a worker, and what is addressed to it reaches it there from now on: callbacks that were kept
    /// for it are published again, under this server id.
    fn attached(&self, client: ClientId, server_id: ServerId) -> BoxFuture<'static, ()>;
}
