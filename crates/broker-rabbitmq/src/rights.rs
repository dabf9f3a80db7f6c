//! What a process may do at RabbitMQ: everything, or what an executor needs and no more.
//!
//! An executor declares two kinds of queues, both its own: `executor.<id>` for notices and `reply.<random>` for answers. All that
//! it uses besides stands already: control has declared it. It reads hints, and publishes requests, events and dead letters.
//!
//! RabbitMQ cannot restrict keys of the default exchange, over which requests go: who has an executor's credentials can put
//! messages into any queue whose name it knows. They are refused there, or tell nothing that matters: events need the MAC of a
//! claim or of control, requests the secret of an executor or its start, and notices are hints. Reading is what permissions keep from it.

use wire::ExecutorId;

use crate::{address::Address, failure::StartError};

/// What a process does at RabbitMQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rights {
    /// It declares all that Stepcast uses where it is not there.
    #[default]
    All,
    /// It uses what others have declared, and declares private queues alone.
    Executor,
}

/// The patterns of RabbitMQ's permissions for the user of executors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// What it may declare and delete.
    pub configure: String,
    /// What it may publish to.
    pub write: String,
    /// What it may consume.
    pub read: String,
    /// The keys with which it may publish to the topic exchange `utils`.
    pub keys: String,
}

/// The virtual host that a URL names.
///
/// # Errors
/// When the URL cannot be used.
pub fn virtual_host(url: &str) -> Result<String, StartError> {
    let address = Address::parse(url)?;
    Ok(address.hosts.first().map_or_else(|| "/".to_owned(), |host| host.vhost().to_owned()))
}

/// For the user of this executor alone, or for one that several share.
#[must_use]
pub fn of_executor(id: Option<ExecutorId>) -> Permissions {
    const UUID: &str = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
    let own = id.map_or_else(|| UUID.to_owned(), |id| id.to_string());
    let private = format!("executor\\.{own}|reply\\.{UUID}");
    Permissions {
        configure: format!("^({private})$"),
        write: "^(amq\\.default|utils|dead)$".to_owned(),
        read: format!("^({private}|tasks\\..+)$"),
        // Of its jobs, or with the server id of who asked. Not of builds, nor of what gateways and control tell each other.
        keys: format!("^(job\\.{UUID}|[A-Za-z0-9_]+-[0-9]+)$"),
    }
}
