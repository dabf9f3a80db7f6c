//! The clients of one worker: which socket each has now, and for the affinity period after it went, which topics it was
//! addressed with, so that it finds them again. Pure: the time is given.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use wire::{ClientId, Topic};

use crate::{Limits, socket::SocketId};

/// What is known of a client.
struct Client {
    session: String,
    /// It was given its id here and never attached elsewhere, so nobody knows another server id of it.
    only_here: bool,
    socket: Option<SocketId>,
    gone: Option<Instant>,
    /// Topics that events were addressed to it with, by this worker's server id.
    addressed: HashSet<Topic>,
    /// The same in order of time.
    order: VecDeque<Topic>,
}

/// See the module.
pub(crate) struct Clients {
    clients: HashMap<ClientId, Client>,
    /// Those without a socket, longest first; entries of clients that came back are skipped.
    gone: VecDeque<(Instant, ClientId)>,
    affinity: Duration,
    remembered_max: usize,
    topics_max: usize,
}

impl Clients {
    pub(crate) fn new(affinity: Duration, limits: &Limits) -> Self {
        Self {
            clients: HashMap::new(),
            gone: VecDeque::new(),
            affinity,
            remembered_max: limits.clients_remembered_max,
            topics_max: limits.addressed_topics_per_client_max,
        }
    }

    /// A client has this socket from now on, whatever it had before. What it was addressed with is kept if the session
    /// is the same. `only_here`: see [`Clients::is_only_here`].
    pub(crate) fn hold(&mut self, id: ClientId, session: &str, only_here: bool, socket: SocketId) {
        let known = self.clients.remove(&id).filter(|known| known.session == session);
        let (addressed, order) = known.map(|known| (known.addressed, known.order)).unwrap_or_default();
        let session = session.to_owned();
        self.clients.insert(id, Client { session, only_here, socket: Some(socket), gone: None, addressed, order });
    }

    /// Whether a client was never addressed by another server id than this worker's.
    pub(crate) fn is_only_here(&self, id: ClientId) -> bool {
        self.clients.get(&id).is_some_and(|client| client.only_here)
    }

    /// A client that is still here was elsewhere meanwhile.
    pub(crate) fn was_elsewhere(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.only_here = false;
        }
    }

    /// The socket of a client.
    pub(crate) fn socket(&self, id: ClientId) -> Option<SocketId> {
        self.clients.get(&id)?.socket
    }

    /// The socket went. False if the client has another one by now.
    pub(crate) fn gone(&mut self, id: ClientId, socket: SocketId, now: Instant) -> bool {
        let Some(client) = self.clients.get_mut(&id).filter(|client| client.socket == Some(socket)) else {
            return false;
        };
        (client.socket, client.gone) = (None, Some(now));
        self.gone.push_back((now, id));
        self.forget(now);
        true
    }

    /// The client was given another id: the one it had is not used any more.
    pub(crate) fn remove(&mut self, id: ClientId, socket: SocketId) {
        if self.socket(id) == Some(socket) {
            self.clients.remove(&id);
        }
    }

    /// Notes that a client was addressed with a topic. Gives its socket, if it has one, and a topic that was forgotten for it.
    pub(crate) fn addressed(&mut self, id: ClientId, topic: Topic) -> (Option<SocketId>, Option<Topic>) {
        let Some(client) = self.clients.get_mut(&id) else { return (None, None) };
        let mut forgotten = None;
        if client.addressed.insert(topic) {
            client.order.push_back(topic);
            if client.order.len() > self.topics_max {
                forgotten = client.order.pop_front();
                forgotten.inspect(|topic| {
                    client.addressed.remove(topic);
                });
            }
        }
        (client.socket, forgotten)
    }

    /// Whether events of the topic come to the client by this worker's server id.
    pub(crate) fn is_addressed(&self, id: ClientId, topic: Topic) -> bool {
        self.clients.get(&id).is_some_and(|client| client.addressed.contains(&topic))
    }

    /// Forgets who was gone for longer than the affinity period.
    pub(crate) fn forget(&mut self, now: Instant) {
        while let Some((since, id)) = self.gone.front().copied() {
            let is_over = now.saturating_duration_since(since) >= self.affinity;
            if !is_over && self.gone.len() <= self.remembered_max {
                break;
            }
            self.gone.pop_front();
            if self.clients.get(&id).is_some_and(|client| client.gone == Some(since)) {
                self.clients.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use wire::JobId;

    fn client(n: u128) -> ClientId {
        ClientId(Uuid::from_u128(n))
    }

    fn topic(n: u128) -> Topic {
        Topic::Job(JobId(Uuid::from_u128(n)))
    }

    fn clients() -> Clients {
        let limits = Limits { clients_remembered_max: 2, addressed_topics_per_client_max: 2, ..Limits::default() };
        Clients::new(Duration::from_secs(300), &limits)
    }

    #[test]
    fn a_client_is_remembered_for_the_affinity_period_and_then_forgotten() {
        let (mut clients, start) = (clients(), Instant::now());
        clients.hold(client(1), "s", true, SocketId(1));
        clients.addressed(client(1), topic(1));
        assert!(clients.gone(client(1), SocketId(1), start));
        clients.forget(start + Duration::from_secs(299));
        assert_eq!(clients.addressed(client(1), topic(1)), (None, None));
        assert!(clients.is_addressed(client(1), topic(1)));
        clients.forget(start + Duration::from_secs(300));
        assert!(clients.clients.is_empty() && clients.gone.is_empty());
    }

    #[test]
    fn a_client_that_came_back_is_not_forgotten_for_its_former_absence() {
        let (mut clients, start) = (clients(), Instant::now());
        clients.hold(client(1), "s", true, SocketId(1));
        clients.gone(client(1), SocketId(1), start);
        clients.hold(client(1), "s", true, SocketId(2));
        assert!(!clients.gone(client(1), SocketId(1), start), "the former socket speaks for it no longer");
        clients.forget(start + Duration::from_secs(1000));
        assert_eq!(clients.socket(client(1)), Some(SocketId(2)));
    }

    #[test]
    fn p8_another_session_does_not_inherit_what_a_client_was_addressed_with() {
        let mut clients = clients();
        clients.hold(client(1), "s", true, SocketId(1));
        clients.addressed(client(1), topic(1));
        clients.hold(client(1), "other", true, SocketId(2));
        assert!(!clients.is_addressed(client(1), topic(1)));
    }

    #[test]
    fn memory_is_bounded_in_clients_and_in_topics() {
        let (mut clients, start) = (clients(), Instant::now());
        for n in 0..10 {
            clients.hold(client(n), "s", true, SocketId(1));
            clients.gone(client(n), SocketId(1), start);
        }
        assert_eq!(clients.clients.len(), 2);
        clients.hold(client(1), "s", true, SocketId(1));
        clients.addressed(client(1), topic(1));
        clients.addressed(client(1), topic(2));
        assert_eq!(clients.addressed(client(1), topic(3)), (Some(SocketId(1)), Some(topic(1))));
        assert!(!clients.is_addressed(client(1), topic(1)));
    }
}
