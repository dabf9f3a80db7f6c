//! Names of things. Each is a type of its own, so that none can be taken for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// One run of a pipeline. Version 7, so that ids sort by time.
    BuildId
);
uuid_id!(
    /// One node of a build's graph. Version 7.
    JobId
);
uuid_id!(
    /// One tab's connection, kept across reconnects by resume. Version 4: it must not be guessable.
    ClientId
);
uuid_id!(
    /// One executor, kept in its data directory across restarts.
    ExecutorId
);
uuid_id!(
    /// One file that a job left behind.
    ArtifactId
);
uuid_id!(
    /// One payload that stands apart from its message. Version 4: it must not be guessable.
    PayloadId
);
uuid_id!(
    /// One person's account. Version 4.
    AccountId
);
uuid_id!(
    /// One hook. Version 4: it must not be guessable.
    HookId
);
uuid_id!(
    /// One message that could not be processed, or one job that was given up. Version 7.
    DeadLetterId
);

/// `<instance>-<n>`: names one worker of one gateway instance. Both an AMQP routing key and part of a queue's name,
/// so it holds letters, digits, `_` and one `-` only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerId(String);

impl ServerId {
    /// The id of worker `worker` of `instance`.
    ///
    /// # Errors
    /// When `instance` is empty or holds anything but letters, digits and `_`.
    pub fn new(instance: &str, worker: usize) -> Result<Self, String> {
        if is_instance(instance) {
            Ok(Self(format!("{instance}-{worker}")))
        } else {
            Err(format!("instance {instance:?} may hold letters, digits and `_` only, at most 64 of them"))
        }
    }

    /// The number of the worker within its instance.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.0.rsplit_once('-').and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
    }

    /// The instance that the worker belongs to.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.0.rsplit_once('-').map_or("", |(instance, _)| instance)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `name` can name a gateway instance: 1 to 64 letters, digits and `_`.
#[must_use]
pub fn is_instance(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl TryFrom<String> for ServerId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.rsplit_once('-') {
            Some((instance, n)) if is_instance(instance) && n.parse::<usize>().is_ok_and(|v| v.to_string() == n) => {
                Ok(Self(text))
            }
            _ => Err(format!("server id {text:?} must be <instance>-<number>")),
        }
    }
}

impl From<ServerId> for String {
    fn from(id: ServerId) -> String {
        id.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the gateway tells a client on connecting, and the client sends along with a command: where to call it back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketMeta {
    /// The tab.
    pub client_id: ClientId,
    /// The worker that holds its socket; the routing key of what is addressed to it.
    pub server_id: ServerId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_ids_name_instance_and_worker_and_refuse_routing_wildcards() {
        let id = ServerId::new("gw_1", 3).unwrap();
        assert_eq!((id.as_str(), id.instance(), id.worker()), ("gw_1-3", "gw_1", 3));
        for bad in ["", "gw", "gw-", "gw-x", "g.w-1", "*-1", "#-1", "gw-01", "-1"] {
            assert!(ServerId::try_from(bad.to_owned()).is_err(), "{bad:?} was accepted");
        }
    }
}
