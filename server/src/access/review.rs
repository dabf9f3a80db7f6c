//! **Revocation.** Whoever takes something away says so on the broker after the commit ([`Access::tell`]); each gateway then
//! looks up again what it holds open for them: what has ended is closed for good, what may do something else is told to come
//! back, which makes it ask anew under what it may do now. A lost message costs [`LOOK_EVERY`]: so often all open subjects
//! are looked up anyway. A change never waits for that, however many are open and however slow the store is.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::stream::{self, StreamExt as _};
use gateway::Gateway;
use store::{Store, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wire::{Authority, task::AccessChanged};

use super::{Access, Credential, Due, Holder, Open, SignedIn, find};

/// Open subjects are looked up again this often.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Subjects that are looked up at once.
const LOOK_UPS_MAX: usize = 16;

/// What an open subject was when it began to be looked up.
struct Seen {
    credential: Credential,
    former: Authority,
}

/// What is done to look at something, and with what has changed.
pub(super) trait Eyes: Sync {
    /// What a credential may do now; none if it has ended.
    fn look_up(&self, credential: &Credential) -> impl Future<Output = Result<Option<Authority>, StoreError>> + Send;
    /// Closes the sockets of a subject, for good or so that they come back.
    fn close(&self, subject: &str, for_good: bool);
}

/// Those of a gateway.
struct Of {
    store: Arc<dyn Store>,
    gateway: Arc<Gateway>,
}

impl Eyes for Of {
    async fn look_up(&self, credential: &Credential) -> Result<Option<Authority>, StoreError> {
        still(&self.store, credential).await
    }

    fn close(&self, subject: &str, for_good: bool) {
        if for_good {
            self.gateway.sign_out(subject);
        } else {
            self.gateway.renew(subject);
        }
    }
}

impl Access {
    /// Looks at what is open whenever something changed anywhere, and every [`LOOK_EVERY`].
    pub(crate) async fn run(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        gateway: Arc<Gateway>,
        told: mpsc::Receiver<Option<AccessChanged>>,
        shutdown: CancellationToken,
    ) {
        let eyes = Of { store, gateway };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.hear(told, &eyes) => {}
            () = self.look(&eyes) => {}
        }
    }

    /// Looks at what each change is about, until there will be none.
    async fn hear(&self, mut told: mpsc::Receiver<Option<AccessChanged>>, eyes: &impl Eyes) {
        loop {
            let due = tokio::select! {
                changed = told.recv() => match changed {
                    None => return,
                    Some(changed) => {
                        self.forget();
                        let Some(changed) = changed else {
                            self.look.notify_one();
                            continue;
                        };
                        vec![Due::Changed(changed)]
                    }
                },
                () = self.is_due.notified() => self.take_due(),
            };
            self.review(eyes, |subject, open| due.iter().any(|due| is_meant(due, subject, open))).await;
        }
    }

    /// Looks at all whenever that is wanted, and every [`LOOK_EVERY`].
    async fn look(&self, eyes: &impl Eyes) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.look.notified() => {}
                _ = every.tick() => {}
            }
            self.review(eyes, |_, _| true).await;
        }
    }

    /// Looks up the subjects that are meant, and closes what is open under those that are not what they were.
    async fn review(&self, eyes: &impl Eyes, is_meant: impl Fn(&str, &Open) -> bool) {
        let seen: Vec<Seen> = {
            let open = self.open();
            let meant = open.iter().filter(|(subject, one)| is_meant(subject, one));
            let seen =
                |(_, one): (_, &Open)| Seen { credential: one.credential.clone(), former: one.authority.clone() };
            meant.map(seen).collect()
        };
        stream::iter(seen).for_each_concurrent(LOOK_UPS_MAX, |seen| self.look_at(eyes, seen)).await;
    }

    async fn look_at(&self, eyes: &impl Eyes, Seen { credential, former }: Seen) {
        let now = match eyes.look_up(&credential).await {
            Ok(now) => now,
            Err(failure) => {
                warn!(%failure, "access cannot be looked up now: it is tried again");
                return;
            }
        };
        if now.as_ref().is_some_and(|now| now.grants() == former.grants()) {
            return;
        }
        let Some(gone) = self.open().remove(&former.subject) else { return };
        gone.ended.cancel();
        info!(subject = former.subject, signed_out = now.is_none(), "the access of what is open has changed");
        eyes.close(&former.subject, now.is_none());
    }
}

fn is_meant(due: &Due, subject: &str, open: &Open) -> bool {
    let changed = match due {
        Due::Subject(meant) => return meant == subject,
        Due::Changed(changed) => changed,
    };
    match changed {
        AccessChanged::Account(account) => open.authority.account == Some(*account),
        AccessChanged::Token(id) => match &open.credential {
            Credential::Token(sha256) => sha256.starts_with(id.as_str()),
            Credential::Session(_, SignedIn { holder: Holder::Token { sha256 }, .. }) => {
                sha256.starts_with(id.as_str())
            }
            Credential::Session(..) => false,
        },
        AccessChanged::Session(id) => {
            matches!(&open.credential, Credential::Session(_, signed_in) if signed_in.id == *id)
        }
    }
}

/// As [`find`], for a session that nobody has just shown: its row must be there.
async fn still(store: &Arc<dyn Store>, credential: &Credential) -> Result<Option<Authority>, StoreError> {
    if let Credential::Session(key, _) = credential
        && store.session(key).await?.is_none()
    {
        return Ok(None);
    }
    find(store, credential).await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::watch;
    use uuid::Uuid;
    use wire::{
        AccountId,
        authority::{Grants, Role},
    };

    use super::*;

    fn token(digit: char) -> Credential {
        Credential::Token(digit.to_string().repeat(64))
    }

    fn authority(credential: &Credential, account: u128) -> Authority {
        let account = Some(AccountId(Uuid::from_u128(account)));
        Authority::new(credential.subject(), account, "somebody", Grants::everywhere(Role::Viewer))
    }

    /// A store that never answers for those who wait, and what was closed.
    struct Scripted {
        waits: watch::Sender<usize>,
        revoked: Mutex<Vec<Credential>>,
        closed: Mutex<Vec<(String, bool)>>,
    }

    impl Eyes for Scripted {
        async fn look_up(&self, credential: &Credential) -> Result<Option<Authority>, StoreError> {
            if *credential == token('a') {
                return Ok((!self.revoked.lock().unwrap().contains(credential)).then(|| authority(credential, 1)));
            }
            self.waits.send_modify(|waits| *waits += 1);
            std::future::pending().await
        }

        fn close(&self, subject: &str, for_good: bool) {
            self.closed.lock().unwrap().push((subject.to_owned(), for_good));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p8_a_change_does_not_wait_until_all_that_is_open_was_looked_at() {
        let access = Arc::new(Access::default());
        let one = access.hold(token('a'), &authority(&token('a'), 1), 0);
        let others: Vec<_> = (0..100)
            .map(|n| {
                let other = Credential::Token(format!("{n:016}").repeat(4));
                access.hold(other.clone(), &authority(&other, 2), 0)
            })
            .collect();
        let eyes = Scripted { waits: watch::Sender::new(0), revoked: Mutex::default(), closed: Mutex::default() };
        let (_told, heard) = super::super::channel();
        let change = async {
            // The look at all goes no further from here.
            eyes.waits.subscribe().wait_for(|waits| *waits == LOOK_UPS_MAX).await.unwrap();
            eyes.revoked.lock().unwrap().push(token('a'));
            access.forget();
            access.due(Due::Changed(AccessChanged::Account(AccountId(Uuid::from_u128(1)))));
            one.ended.cancelled().await;
        };
        tokio::select! {
            () = access.hear(heard, &eyes) => unreachable!("it is told more"),
            () = access.look(&eyes) => unreachable!("it looks for ever"),
            () = tokio::time::sleep(Duration::from_secs(600)) => panic!("the change waits"),
            () = change => {}
        }
        assert_eq!(*eyes.closed.lock().unwrap(), [(token('a').subject(), true)]);
        assert_eq!(*eyes.waits.borrow(), LOOK_UPS_MAX, "so many are looked up at once, and no more");
        assert!(others.iter().all(|other| !other.ended.is_cancelled()));
    }
}
