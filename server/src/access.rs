//! From a credential to an authority, and back when it is taken away. Nothing but what the store says now makes an
//! authority: sessions and tokens keep no roles of their own.
//!
//! What stays open (sockets, live events, long answers) is kept here by its subject, and ends with its access: see [`review`].

mod review;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use broker::{
    Broker, Outgoing,
    topology::{self, Exchange},
};
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, people::Account};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;
use wire::{
    AccountId, Authority,
    task::{AccessChanged, to_bytes},
};

use crate::known::Known;

/// A token's use is written down at most this often.
const USE_EVERY: Duration = Duration::from_secs(60);
/// Tokens whose last use is remembered at a time.
const USED_MAX: usize = 10_000;
/// Changes that wait to be looked at, of each kind; with more all is looked at.
const CHANGES_MAX: usize = 1000;

/// By what a session began, as it is kept in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Holder {
    /// A person signed in, in this generation of the account's sessions.
    Account {
        /// Which.
        id: AccountId,
        /// A later one means that all sessions were ended.
        generation: u64,
    },
    /// A token was exchanged for it: it ends with the token.
    Token {
        /// The token's hash.
        sha256: String,
    },
}

/// A session that has begun, as it is kept in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignedIn {
    /// Names it in the log and binds its clients (P8).
    pub(crate) id: Uuid,
    /// Whose.
    pub(crate) holder: Holder,
}

impl SignedIn {
    /// See [`Authority::subject`].
    pub(crate) fn subject(&self) -> String {
        format!("session:{}", self.id)
    }
}

/// What a request shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A bearer token, by its hash.
    Token(String),
    /// A session, by the key of its row.
    Session(String, SignedIn),
}

impl Credential {
    /// See [`Authority::subject`].
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Token(sha256) => format!("token:{}", &sha256[..sha256.len().min(16)]),
            Self::Session(_, signed_in) => signed_in.subject(),
        }
    }
}

/// What stays open under one subject.
struct Open {
    /// Another one takes its place when it has ended.
    number: u64,
    credential: Credential,
    authority: Authority,
    count: usize,
    /// So many requests are about to let it go on under another row: it is looked at when it has.
    moves: usize,
    ended: CancellationToken,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Access {
    /// Authorities that were looked up a moment ago.
    known: Known,
    /// By subject. A std mutex: held for a map operation, never across an await.
    open: Mutex<HashMap<String, Open>>,
    /// How many subjects were ever open.
    opened: AtomicU64,
    /// When a token's use was written down, by hash.
    used: Mutex<HashMap<String, Instant>>,
    /// What is to be looked at before all else: [`CHANGES_MAX`] at most. A std mutex: held to push or to take all.
    due: Mutex<Vec<Due>>,
    /// Something is due.
    is_due: Notify,
    /// All is to be looked at.
    look: Notify,
}

/// What is to be looked at.
enum Due {
    /// What a change is about.
    Changed(AccessChanged),
    /// One subject.
    Subject(String),
}

/// Held while something is open. It ends when its subject's access does, or becomes another one.
pub(crate) struct Held {
    access: Arc<Access>,
    subject: String,
    number: u64,
    /// Cancelled when whatever it is held for must end.
    pub(crate) ended: CancellationToken,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut open = self.access.open();
        if let Some(found) = open.get_mut(&self.subject).filter(|found| found.number == self.number) {
            found.count -= 1;
            if found.count == 0 {
                open.remove(&self.subject);
            }
        }
    }
}

/// See [`Access::moves`].
pub(crate) struct Moves {
    access: Arc<Access>,
    subject: String,
    /// Of what was open.
    number: Option<u64>,
}

impl Drop for Moves {
    fn drop(&mut self) {
        {
            let mut open = self.access.open();
            let moved = open.get_mut(&self.subject).filter(|found| Some(found.number) == self.number);
            let Some(found) = moved else { return };
            found.moves -= 1;
        }
        // What was taken away meanwhile was not looked at.
        self.access.due(Due::Subject(std::mem::take(&mut self.subject)));
    }
}

impl Access {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The authority of a credential, as the store says it now or said it a moment ago; none if it has ended.
    pub(crate) async fn authority(
        &self,
        store: &Arc<dyn Store>,
        credential: &Credential,
    ) -> Result<Option<Authority>, StoreError> {
        // A session's row was read with the request.
        let key = match credential {
            Credential::Token(sha256) => sha256.clone(),
            Credential::Session(..) => credential.subject(),
        };
        if let Some(authority) = self.known.get(&key, Instant::now()) {
            return Ok(Some(authority));
        }
        let changes = self.changes();
        let found = find(store, credential).await?;
        if let Some(authority) = &found {
            self.known.put(key, authority.clone(), changes, Instant::now());
        }
        self.note_use(store, credential);
        Ok(found)
    }

    /// A token was used: written down by a task of its own, at most every minute.
    fn note_use(&self, store: &Arc<dyn Store>, credential: &Credential) {
        let (Credential::Token(sha256) | Credential::Session(_, SignedIn { holder: Holder::Token { sha256 }, .. })) =
            credential
        else {
            return;
        };
        let now = Instant::now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.get(sha256).is_some_and(|last| now.saturating_duration_since(*last) < USE_EVERY) {
            return;
        }
        if used.len() >= USED_MAX {
            used.clear();
        }
        used.insert(sha256.clone(), now);
        let (store, used) = (Arc::clone(store), [sha256.clone()]);
        tokio::spawn(async move {
            if let Err(failure) = store.tokens_used(&used).await {
                warn!(%failure, "the use of a token could not be written down");
            }
        });
    }

    /// Keeps what a request opens, until it is dropped. `changes` is what [`Access::changes`] was before its authority was
    /// looked up: if something was taken away since, it is looked up again.
    pub(crate) fn hold(self: &Arc<Self>, credential: Credential, authority: &Authority, changes: u64) -> Held {
        let subject = authority.subject.clone();
        let (number, ended) = {
            let mut open = self.open();
            let found = open.entry(subject.clone()).or_insert_with(|| Open {
                number: self.opened.fetch_add(1, Ordering::Relaxed),
                credential: credential.clone(),
                authority: authority.clone(),
                count: 0,
                moves: 0,
                ended: CancellationToken::new(),
            });
            found.count += 1;
            // It has just been shown, and is good; the former one may be of a row that is gone.
            found.credential = credential;
            if found.authority.grants() != authority.grants() {
                // One of the two is out of date.
                self.due(Due::Subject(subject.clone()));
            }
            (found.number, found.ended.clone())
        };
        if changes != self.changes() {
            self.due(Due::Subject(subject.clone()));
        }
        Held { access: Arc::clone(self), subject, number, ended }
    }

    /// A session is about to go on under another row: until the answer is dropped, that its former row and its generation are
    /// gone says nothing.
    pub(crate) fn moves(self: &Arc<Self>, subject: &str) -> Moves {
        let number = self.open().get_mut(subject).map(|found| {
            found.moves += 1;
            found.number
        });
        Moves { access: Arc::clone(self), subject: subject.to_owned(), number }
    }

    /// The session of a subject goes on under another row: what is open under it stays.
    pub(crate) fn replace(&self, subject: &str, credential: Credential) {
        if let Some(found) = self.open().get_mut(subject) {
            found.credential = credential;
        }
    }

    /// How often something was taken away.
    pub(crate) fn changes(&self) -> u64 {
        self.known.changes()
    }

    /// Something was taken away: nothing that was known counts any more.
    fn forget(&self) {
        self.known.clear();
    }

    /// Something is to be looked at, before all else.
    fn due(&self, what: Due) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.len() < CHANGES_MAX {
            due.push(what);
            drop(due);
            self.is_due.notify_one();
        } else {
            drop(due);
            self.look.notify_one();
        }
    }

    /// Takes what is due.
    fn take_due(&self) -> Vec<Due> {
        std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says that the access of somebody has changed, after the commit: here at once, to all other gateways by the broker.
    pub(crate) fn tell(&self, broker: Arc<dyn Broker>, changed: AccessChanged) {
        self.forget();
        let message = Outgoing::new(Exchange::Utils, topology::ACCESS, to_bytes(&changed));
        self.due(Due::Changed(changed));
        tokio::spawn(async move {
            if let Err(failure) = broker.publish(message).await {
                warn!(%failure, "a change of access could not be told: each gateway finds it by itself soon");
            }
        });
    }
}

/// The way from the hub, which hears of changes, to [`Access::run`].
pub(crate) fn channel() -> (mpsc::Sender<Option<AccessChanged>>, mpsc::Receiver<Option<AccessChanged>>) {
    mpsc::channel(CHANGES_MAX)
}

async fn find(store: &Arc<dyn Store>, credential: &Credential) -> Result<Option<Authority>, StoreError> {
    let subject = credential.subject();
    match credential {
        Credential::Token(sha256) | Credential::Session(_, SignedIn { holder: Holder::Token { sha256 }, .. }) => {
            let Some(token) = store.token(sha256).await? else { return Ok(None) };
            // Its name was chosen freely: it is never to be read as the name of a person.
            let (name, grants) = match token.account {
                None => (format!("token {}", token.name), token.grants),
                // It does no more than who made it may do now.
                Some(id) => match store.account(id).await?.filter(|account| !account.disabled) {
                    Some(account) => {
                        (format!("token {} of {}", token.name, account.name), token.grants.and(&account.grants))
                    }
                    None => return Ok(None),
                },
            };
            Ok(Some(Authority::new(subject, token.account, name, grants)))
        }
        Credential::Session(_, SignedIn { holder: Holder::Account { id, generation }, .. }) => {
            let found = store.account(*id).await?;
            let account = found.filter(|account| !account.disabled && account.generation == *generation);
            let of = |account: Account| Authority::new(subject, Some(account.id), account.name, account.grants);
            Ok(account.map(|account| of(account).of_person()))
        }
    }
}
