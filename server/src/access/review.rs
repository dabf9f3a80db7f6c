//! **Revocation.** Whoever takes something away says so on the broker after the commit ([`Access::tell`]); each gateway then
//! looks up again what it holds open for them: what has ended is closed for good, what may do something else is told to come
//! back, which makes it ask anew under what it may do now. So is a session that goes on under another row, as it does at each
//! sign-in of the same browser and with another password: only the gateway where that happens knows the new row. A lost message costs [`LOOK_EVERY`]: so often all open subjects
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
    why: Why,
}

/// Why a subject is looked at; the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Something may have changed.
    Look,
    /// It is the one session that another password leaves, under another row and in another generation.
    GoesOn,
    /// Its session ends, says who has ended it.
    Ends,
}

/// What a credential is worth now.
pub(super) enum Now {
    /// Nothing.
    Ended,
    /// Its row is gone, and nothing else has ended: the session may go on under another row. Whoever holds that may come back.
    Replaced,
    /// This.
    May(Authority),
}

/// What is done to look at something, and with what has changed.
pub(super) trait Eyes: Sync {
    /// What a credential is worth now.
    fn look_up(&self, credential: &Credential) -> impl Future<Output = Result<Now, StoreError>> + Send;
    /// Closes the sockets of a subject, for good or so that they come back.
    fn close(&self, subject: &str, for_good: bool);
}

/// Those of a gateway.
struct Of {
    store: Arc<dyn Store>,
    gateway: Arc<Gateway>,
}

impl Eyes for Of {
    async fn look_up(&self, credential: &Credential) -> Result<Now, StoreError> {
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
            self.review(eyes, |subject, open| due.iter().filter_map(|due| why(due, subject, open)).max()).await;
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
            self.review(eyes, |_, _| Some(Why::Look)).await;
        }
    }

    /// Looks up the subjects that are meant, and closes what is open under those that are not what they were.
    async fn review(&self, eyes: &impl Eyes, why: impl Fn(&str, &Open) -> Option<Why>) {
        let seen = |(subject, one): (&String, &Open)| {
            let why = why(subject, one).filter(|why| !one.waits(*why))?;
            Some(Seen { credential: one.credential.clone(), former: one.authority.clone(), why })
        };
        let seen: Vec<Seen> = self.open().iter().filter_map(seen).collect();
        stream::iter(seen).for_each_concurrent(LOOK_UPS_MAX, |seen| self.look_at(eyes, seen)).await;
    }

    async fn look_at(&self, eyes: &impl Eyes, Seen { credential, former, why }: Seen) {
        let now = match eyes.look_up(&credential).await {
            Ok(now) => now,
            Err(failure) => {
                warn!(%failure, "access cannot be looked up now: it is tried again");
                return;
            }
        };
        let for_good = match (now, why) {
            (Now::May(now), _) if now.grants() == former.grants() => return,
            (Now::May(_), _) | (Now::Replaced, Why::Look | Why::GoesOn) | (Now::Ended, Why::GoesOn) => false,
            (Now::Replaced, Why::Ends) | (Now::Ended, Why::Look | Why::Ends) => true,
        };
        // Who comes back is not judged by what was known before.
        self.forget();
        let gone = {
            let mut open = self.open();
            match open.get(&former.subject) {
                None => return,
                Some(one) if one.waits(why) => return,
                Some(one) if one.credential != credential => None,
                Some(_) => open.remove(&former.subject),
            }
        };
        // It has shown something else meanwhile, of which nothing is known yet.
        let Some(gone) = gone else { return self.due(Due::Subject(former.subject)) };
        gone.ended.cancel();
        info!(subject = former.subject, signed_out = for_good, "the access of what is open has changed");
        eyes.close(&former.subject, for_good);
    }
}

impl Open {
    /// Whether it is looked at when it has moved, and not now.
    fn waits(&self, why: Why) -> bool {
        self.moves > 0 && why != Why::Ends
    }
}

/// Why a subject is to be looked at, if it is meant.
fn why(due: &Due, subject: &str, open: &Open) -> Option<Why> {
    let changed = match due {
        Due::Subject(meant) => return (meant == subject).then_some(Why::Look),
        Due::Changed(changed) => changed,
    };
    let is_session = |id| matches!(&open.credential, Credential::Session(_, signed_in) if signed_in.id == id);
    let (is_meant, why) = match changed {
        AccessChanged::Account(account) => (open.authority.account == Some(*account), Why::Look),
        AccessChanged::Password { account, session } => {
            let why = if is_session(*session) { Why::GoesOn } else { Why::Look };
            (open.authority.account == Some(*account), why)
        }
        AccessChanged::Token(id) => match &open.credential {
            Credential::Token(sha256) | Credential::Session(_, SignedIn { holder: Holder::Token { sha256 }, .. }) => {
                (sha256.starts_with(id.as_str()), Why::Look)
            }
            Credential::Session(..) => return None,
        },
        AccessChanged::Session(id) => (is_session(*id), Why::Ends),
    };
    is_meant.then_some(why)
}

/// Nobody has just shown the credential: a session's row must be there.
async fn still(store: &Arc<dyn Store>, credential: &Credential) -> Result<Now, StoreError> {
    let is_gone = match credential {
        Credential::Session(key, _) => store.session(key).await?.is_none(),
        Credential::Token(_) => false,
    };
    Ok(match find(store, credential).await? {
        None => Now::Ended,
        Some(_) if is_gone => Now::Replaced,
        Some(authority) => Now::May(authority),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::{sync::watch, time::timeout};
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
        async fn look_up(&self, credential: &Credential) -> Result<Now, StoreError> {
            if *credential == token('a') {
                let ended = self.revoked.lock().unwrap().contains(credential);
                return Ok(if ended { Now::Ended } else { Now::May(authority(credential, 1)) });
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
            heard = timeout(Duration::from_secs(600), change) => heard.expect("the change waits"),
        }
        assert_eq!(*eyes.closed.lock().unwrap(), [(token('a').subject(), true)]);
        assert_eq!(*eyes.waits.borrow(), LOOK_UPS_MAX, "so many are looked up at once, and no more");
        assert!(others.iter().all(|other| !other.ended.is_cancelled()));
    }

    fn session(row: &str, generation: u64) -> Credential {
        let holder = Holder::Account { id: AccountId(Uuid::from_u128(1)), generation };
        Credential::Session(row.to_owned(), SignedIn { id: Uuid::from_u128(7), holder })
    }

    /// What a store says.
    type Says = fn() -> Now;

    /// A session at another gateway: what this one knows of it is of before.
    struct Moved {
        access: Arc<Access>,
        now: Says,
        /// Done while the store is asked.
        meanwhile: fn(&Arc<Access>),
        closed: Mutex<Vec<bool>>,
    }

    impl Eyes for Moved {
        async fn look_up(&self, _credential: &Credential) -> Result<Now, StoreError> {
            (self.meanwhile)(&self.access);
            Ok((self.now)())
        }

        fn close(&self, _subject: &str, for_good: bool) {
            assert_ne!(self.access.changes(), 0, "who comes back would be judged by what was known before");
            self.closed.lock().unwrap().push(for_good);
        }
    }

    async fn closed(now: Says, meanwhile: fn(&Arc<Access>), changed: Option<AccessChanged>) -> Vec<bool> {
        let access = Arc::new(Access::default());
        let held = access.hold(session("former", 0), &authority(&session("former", 0), 1), 0);
        let eyes = Moved { access: access.clone(), now, meanwhile, closed: Mutex::default() };
        let due = changed.map(Due::Changed);
        access.review(&eyes, |subject, open| due.as_ref().map_or(Some(Why::Look), |due| why(due, subject, open))).await;
        let closed = eyes.closed.into_inner().unwrap();
        assert_eq!(held.ended.is_cancelled(), !closed.is_empty());
        closed
    }

    #[tokio::test]
    async fn a_session_that_goes_on_under_another_row_is_never_closed_for_good() {
        let account = AccountId(Uuid::from_u128(1));
        let password = |session| Some(AccessChanged::Password { account, session: Uuid::from_u128(session) });
        let session = |id| Some(AccessChanged::Session(Uuid::from_u128(id)));
        let (ended, replaced): (Says, Says) = (|| Now::Ended, || Now::Replaced);
        let nothing = |_: &Arc<Access>| {};
        // It was signed in again elsewhere, and what said so is lost or still on its way.
        assert_eq!(closed(replaced, nothing, None).await, [false]);
        assert_eq!(closed(replaced, nothing, Some(AccessChanged::Account(account))).await, [false]);
        // Another password ends the generation of all of them, and one goes on.
        assert_eq!(closed(ended, nothing, password(7)).await, [false]);
        assert_eq!(closed(ended, nothing, password(8)).await, [true]);
        // It was signed out.
        assert_eq!(closed(replaced, nothing, session(7)).await, [true]);
        assert!(closed(replaced, nothing, session(8)).await.is_empty(), "another one is meant");
        assert_eq!(closed(ended, nothing, None).await, [true]);
    }

    #[tokio::test]
    async fn a_session_that_moves_while_it_is_looked_at_stays_open() {
        let (ended, replaced): (Says, Says) = (|| Now::Ended, || Now::Replaced);
        let subject = session("former", 0).subject();
        // Its new row is known by the time that the store has said that the former one is gone.
        let moved = |access: &Arc<Access>| access.replace(&session("", 0).subject(), session("later", 1));
        let again = |access: &Arc<Access>| {
            let later = session("later", 1);
            drop(access.hold(later.clone(), &authority(&later, 1), access.changes()));
        };
        for now in [ended, replaced] {
            assert!(closed(now, moved, None).await.is_empty());
            assert!(closed(now, again, None).await.is_empty());
        }
        // It is moving: its rows say nothing until it has.
        let access = Arc::new(Access::default());
        let held = access.hold(session("former", 0), &authority(&session("former", 0), 1), 0);
        let nothing = |_: &Arc<Access>| {};
        let eyes = Moved { access: access.clone(), now: ended, meanwhile: nothing, closed: Mutex::default() };
        let moves = access.moves(&subject);
        access.review(&eyes, |_, _| Some(Why::Look)).await;
        assert!(!held.ended.is_cancelled());
        drop(moves);
        let due = access.take_due();
        assert!(matches!(&due[..], [Due::Subject(one)] if *one == subject), "it is looked at as soon as it has");
        access.review(&eyes, |_, _| Some(Why::Look)).await;
        assert!(held.ended.is_cancelled());
    }
}
