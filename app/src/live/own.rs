//! The builds that this tab asked for: their events come unasked, addressed to the worker that held its socket when it
//! asked. Pure.

use std::collections::HashMap;

use wire::{BuildId, SocketMeta};

/// See the module.
#[derive(Debug, Default)]
pub struct Own(HashMap<BuildId, SocketMeta>);

impl Own {
    /// The tab asked for a build, and named this socket.
    pub fn asked_for(&mut self, build: BuildId, socket: SocketMeta) {
        self.0.insert(build, socket);
    }

    /// Whether the build's events come to this socket without a subscription. A tab that has moved to another worker since it
    /// asked keeps its client id, and is not found there.
    #[must_use]
    pub fn comes_to(&self, build: BuildId, socket: Option<&SocketMeta>) -> bool {
        socket.is_some() && self.0.get(&build) == socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use wire::{ClientId, ServerId};

    fn socket(client: u128, worker: usize) -> SocketMeta {
        SocketMeta { client_id: ClientId(Uuid::from_u128(client)), server_id: ServerId::new("gw", worker).unwrap() }
    }

    #[test]
    fn p4_who_moved_to_another_worker_before_the_answer_must_subscribe() {
        let (build, other) = (BuildId(Uuid::from_u128(1)), BuildId(Uuid::from_u128(2)));
        let mut own = Own::default();
        own.asked_for(build, socket(1, 0));
        assert!(own.comes_to(build, Some(&socket(1, 0))));
        assert!(!own.comes_to(build, Some(&socket(1, 1))), "the same client at another worker");
        assert!(!own.comes_to(build, Some(&socket(2, 0))), "another client");
        assert!(!own.comes_to(build, None) && !own.comes_to(other, Some(&socket(1, 0))));
    }
}
