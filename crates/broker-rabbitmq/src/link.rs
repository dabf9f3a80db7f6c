//! One connection that is kept up: opened, prepared (the topology is declared), watched, and opened anew when it went,
//! with pauses that double up to a limit and vary, so that the clients of a broker that comes back do not all come at once.
//! lapin's own recovery is not used: what is consumed and published on a connection ends with it, and who owns that
//! begins anew on the next one.

use std::{sync::Arc, time::Duration};

use broker::BrokerError;
use futures_util::StreamExt;
use lapin::{Connection, Event};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    address::{Address, Host},
    failure::{self, StartError},
    incarnation::Incarnation,
    rights::Rights,
    setup, stream,
};

/// The first pause after a connection was lost.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Pauses double up to here.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a method of the broker waits for a connection that is away.
const PATIENCE: Duration = Duration::from_secs(5);
/// lapin tells most ends of a connection, not all: its state is looked at this often besides.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How a connection is.
#[derive(Clone)]
enum State {
    Up {
        connection: Arc<Connection>,
        /// Why the broker takes no messages on it now.
        blocked: Option<String>,
    },
    /// With one sentence.
    Down(String),
}

/// See the module. It ends with `shutdown`.
pub(crate) struct Link {
    rights: Rights,
    state: watch::Receiver<State>,
}

/// What a link is opened with, each time.
struct Opener {
    address: Arc<Address>,
    purpose: &'static str,
    rights: Rights,
    incarnation: Arc<Incarnation>,
}

impl Link {
    /// Opens the connection for the first time.
    ///
    /// # Errors
    /// When that fails: a wrong URL must not look like a broker that is away for a while.
    pub(crate) async fn start(
        address: &Arc<Address>,
        purpose: &'static str,
        rights: Rights,
        incarnation: &Arc<Incarnation>,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let opener = Opener { address: Arc::clone(address), purpose, rights, incarnation: Arc::clone(incarnation) };
        let (connection, at) = opener.open(0).await?;
        let (sender, state) = watch::channel(State::Up { connection: Arc::clone(&connection), blocked: None });
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = keep_up(&opener, connection, at, &sender) => {}
            }
            sender.send_replace(State::Down("it is shut down".to_owned()));
        });
        Ok(Self { rights, state })
    }

    /// What may be done over it.
    pub(crate) fn rights(&self) -> Rights {
        self.rights
    }

    /// The connection, waited for a little where it is away.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>, BrokerError> {
        let mut state = self.state.clone();
        let up = state.wait_for(|state| match state {
            State::Up { connection, .. } => connection.status().connected(),
            State::Down(_) => false,
        });
        match tokio::time::timeout(PATIENCE, up).await {
            Ok(Ok(state)) => match &*state {
                State::Up { connection, .. } => Ok(Arc::clone(connection)),
                State::Down(reason) => Err(BrokerError::Unavailable(reason.clone())),
            },
            _ => Err(self.health().err().unwrap_or_else(|| BrokerError::Unavailable("RabbitMQ is away".to_owned()))),
        }
    }

    /// Whether an alarm of RabbitMQ's holds up what is published.
    pub(crate) fn is_blocked(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up { blocked: Some(_), .. })
    }

    /// Whether the connection stands and takes messages.
    pub(crate) fn health(&self) -> Result<(), BrokerError> {
        match &*self.state.borrow() {
            State::Up { blocked: Some(reason), .. } => {
                Err(BrokerError::Unavailable(format!("RabbitMQ takes no messages now: {reason}")))
            }
            State::Up { connection, blocked: None } if connection.status().connected() => Ok(()),
            State::Up { .. } => Err(BrokerError::Unavailable("the connection to RabbitMQ was lost".to_owned())),
            State::Down(reason) => Err(BrokerError::Unavailable(reason.clone())),
        }
    }
}

impl Opener {
    /// Tries each address once, from this one on, and tells which one it was.
    async fn open(&self, from: usize) -> Result<(Arc<Connection>, usize), StartError> {
        let hosts = &self.address.hosts;
        let mut errors = Vec::new();
        for at in (0..hosts.len()).map(|step| (from + step) % hosts.len()) {
            match self.open_at(&hosts[at]).await {
                Ok(connection) => return Ok((connection, at)),
                Err(error) => errors.push(error),
            }
        }
        match (errors.pop(), errors.is_empty()) {
            (Some(only), true) => Err(only),
            (last, _) => {
                let reasons: Vec<_> = errors.iter().chain(&last).map(ToString::to_string).collect();
                Err(StartError::Several { count: hosts.len(), reasons: reasons.join("; ") })
            }
        }
    }

    async fn open_at(&self, host: &Host) -> Result<Arc<Connection>, StartError> {
        let connection = Arc::new(host.connect(&format!("stepcast, {}", self.purpose)).await?);
        let served = async {
            if self.rights == Rights::Executor {
                // What it uses besides is declared by others; it is tried again where that is not there yet.
                return setup::may_have_its_own(&connection).await;
            }
            self.incarnation.of_stream(&connection).await?;
            stream::is_served(&connection).await
        };
        match served.await {
            Ok(()) => Ok(connection),
            Err(error) => Err(StartError::Topology { address: host.place(), reason: error.reason() }),
        }
    }
}

/// `at` says which address the connection is to: where it was lost, the next one comes first.
async fn keep_up(opener: &Opener, mut connection: Arc<Connection>, mut at: usize, state: &watch::Sender<State>) {
    loop {
        let reason = watched(&connection, state).await;
        drop(connection);
        let place = opener.address.hosts[at].place();
        let reason = format!("the connection to RabbitMQ at {place} was lost: {reason}");
        tracing::warn!(purpose = opener.purpose, reason, "the broker is away; it is tried again until it is back");
        state.send_replace(State::Down(reason));
        let mut pause = PAUSE_MIN;
        (connection, at) = loop {
            tokio::time::sleep(varied(pause)).await;
            match opener.open(at + 1).await {
                Ok(opened) => break opened,
                Err(error) => {
                    tracing::warn!(purpose = opener.purpose, %error, "the broker cannot be had yet");
                    state.send_replace(State::Down(error.to_string()));
                }
            }
            pause = (pause * 2).min(PAUSE_MAX);
        };
        let place = opener.address.hosts[at].place();
        tracing::info!(purpose = opener.purpose, place, "the broker is back");
        state.send_replace(State::Up { connection: Arc::clone(&connection), blocked: None });
    }
}

/// Follows a connection to its end, and gives the reason.
async fn watched(connection: &Connection, state: &watch::Sender<State>) -> String {
    let set_blocked = |reason: Option<String>| {
        state.send_modify(|state| {
            if let State::Up { blocked, .. } = state {
                *blocked = reason;
            }
        });
    };
    let mut events = Box::pin(connection.events_listener());
    let mut look = tokio::time::interval(LOOK_AGAIN);
    let mut reason = "it ended".to_owned();
    // An event may have been told before there was a listener.
    if connection.status().blocked() {
        set_blocked(Some("it says so".to_owned()));
    }
    while connection.status().connected() {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(why)) => {
                    tracing::warn!(why, "RabbitMQ takes no messages now; they wait");
                    set_blocked(Some(why));
                }
                Some(Event::ConnectionUnblocked) => {
                    tracing::info!("RabbitMQ takes messages again");
                    set_blocked(None);
                }
                Some(Event::Error(error)) => reason = failure::sentence(&error),
                Some(_) => {}
                None => return reason,
            },
            _ = look.tick() => {}
        }
    }
    reason
}

/// Between half of a pause and all of it.
fn varied(pause: Duration) -> Duration {
    let random = f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_vary_within_their_bounds() {
        for _ in 0..1_000 {
            let pause = varied(PAUSE_MAX);
            assert!(pause >= PAUSE_MAX / 2 && pause <= PAUSE_MAX, "{pause:?}");
        }
    }
}
