//! Who comes in: by name and password, by a token, or by a link that makes an account. What fails makes the next tries
//! wait, and stands in the audit log.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use store::{
    audit::NewEntry,
    people::{Account, By, Made, NewAccount, Way},
};
use uuid::Uuid;
use wire::{AccountId, Problem, account, audit::Action, task::AccessChanged};

use crate::{
    access::{Credential, Holder, SignedIn},
    accounts::{note, tell},
    core::Core,
    password,
    queries::store_problem,
    secret,
};

/// Why nobody was signed in.
#[derive(Debug)]
pub(crate) enum NotIn {
    /// The name, the password or the token is not right; which of them is not said.
    Wrong,
    /// Too many were wrong: it was not looked at.
    Wait(Duration),
    /// It cannot be told now.
    Problem(Problem),
}

impl From<Problem> for NotIn {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Who signs in by name and password. A name that nobody has takes as long.
pub(crate) async fn by_password(
    core: &Core,
    name: &str,
    password: &str,
    from: IpAddr,
    former: Option<&SignedIn>,
) -> Result<SignedIn, NotIn> {
    let shown: String = name.trim().chars().take(account::NAME_CHARS_MAX).collect();
    core.backoff.begin(Some(&shown), from, Instant::now()).map_err(NotIn::Wait)?;
    let judged = async {
        let found = core.store.account_named(&shown).await.map_err(store_problem)?;
        let hash = found.as_ref().and_then(|account| account.password.clone());
        let password: String = password.chars().take(account::PASSWORD_BYTES_MAX + 1).collect();
        let right = password::verify(password, hash).await?;
        Ok::<_, Problem>(found.filter(|account| right && !account.disabled))
    };
    match judged.await {
        Err(problem) => {
            core.backoff.not_judged(Some(&shown), from);
            Err(problem.into())
        }
        Ok(Some(account)) => {
            core.backoff.succeeded(Some(&shown), from);
            Ok(begin(core, &account, from, former, None).await?)
        }
        Ok(None) => {
            // The name may be a password that was typed into the wrong field: it is not written down.
            let entry = NewEntry::new(Action::SignInRefused, "sign-in", "somebody").from(Some(from));
            note(core, entry.detail("A name and a password that do not belong together.")).await?;
            Err(NotIn::Wrong)
        }
    }
}

/// A session of an account begins; `detail` says how, if not by the password.
pub(crate) async fn begin(
    core: &Core,
    account: &Account,
    from: IpAddr,
    former: Option<&SignedIn>,
    detail: Option<String>,
) -> Result<SignedIn, Problem> {
    let signed_in = session(Holder::Account { id: account.id, generation: account.generation }, former);
    let entry = NewEntry {
        account: Some(account.id),
        detail,
        ..NewEntry::new(Action::SignedIn, format!("session:{}", signed_in.id), account.name.as_str()).from(Some(from))
    };
    core.store.account_signed_in(account.id, entry).await.map_err(store_problem)?;
    Ok(signed_in)
}

/// Who signs in once more stays the same subject, and the sockets of other tabs stay open; another one is somebody else.
fn session(holder: Holder, former: Option<&SignedIn>) -> SignedIn {
    let is_same = |former: &&SignedIn| match (&former.holder, &holder) {
        (Holder::Account { id: one, .. }, Holder::Account { id: other, .. }) => one == other,
        (Holder::Token { sha256: one }, Holder::Token { sha256: other }) => one == other,
        _ => false,
    };
    let id = former.filter(is_same).map_or_else(Uuid::new_v4, |former| former.id);
    SignedIn { id, holder }
}

/// The session of a browser goes on under another id, or another one has taken its place.
pub(crate) fn session_replaced(core: &Core, former: &SignedIn, now: SignedIn, key: String) {
    if former.id == now.id {
        let credential = Credential::Session(key, now);
        core.access.replace(&credential.subject(), credential.clone());
    } else {
        tell(core, AccessChanged::Session(former.id));
    }
}

/// Who exchanges a token for a session.
pub(crate) async fn by_token(
    core: &Core,
    token: &str,
    from: IpAddr,
    former: Option<&SignedIn>,
) -> Result<SignedIn, NotIn> {
    core.backoff.begin(None, from, Instant::now()).map_err(NotIn::Wait)?;
    let sha256 = secret::sha256(token);
    let signed_in = session(Holder::Token { sha256: sha256.clone() }, former);
    let found = core.access.authority(&core.store, &Credential::Token(sha256)).await;
    match found.map_err(store_problem) {
        Err(problem) => {
            core.backoff.not_judged(None, from);
            Err(problem.into())
        }
        Ok(Some(who)) => {
            core.backoff.succeeded(None, from);
            let entry = NewEntry {
                account: who.account,
                ..NewEntry::new(Action::SignedIn, format!("session:{}", signed_in.id), who.name).from(Some(from))
            };
            note(core, entry.detail("By a token.")).await?;
            Ok(signed_in)
        }
        Ok(None) => {
            let entry = NewEntry::new(Action::SignInRefused, "sign-in", "somebody").from(Some(from));
            note(core, entry.detail("An unknown token.")).await?;
            Err(NotIn::Wrong)
        }
    }
}

/// Why no account was made.
#[derive(Debug)]
pub(crate) enum NotMade {
    /// The name is not one.
    Name(String),
    /// Another one has it.
    Taken,
    /// The password may not be chosen.
    Password(String),
    /// The link lets nobody in.
    NoLink,
    /// Too many were wrong: it was not looked at.
    Wait(Duration),
    /// It cannot be told now.
    Problem(Problem),
}

impl From<Problem> for NotMade {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Makes an account by the secret of a link, and begins its first session.
pub(crate) async fn welcome(
    core: &Core,
    link: &str,
    name: &str,
    password: String,
    from: IpAddr,
) -> Result<SignedIn, NotMade> {
    let name = account::name(name).map_err(NotMade::Name)?;
    account::check_password(&password, &name).map_err(NotMade::Password)?;
    core.backoff.begin(None, from, Instant::now()).map_err(NotMade::Wait)?;
    let sha256 = secret::sha256(link);
    // A try that cannot be judged is no wrong one.
    let not_judged = |problem: Problem| {
        core.backoff.not_judged(None, from);
        problem
    };
    let way = link_way(core, sha256).await.map_err(not_judged)?;
    // Nobody without a link has a password hashed.
    let Some(way) = way else {
        let entry = NewEntry::new(Action::SignInRefused, "welcome", "somebody").from(Some(from));
        note(core, entry.detail("An unknown link.")).await?;
        return Err(NotMade::NoLink);
    };
    let by = By::Password(password::hash(password).await.map_err(not_judged)?);
    let new = NewAccount { id: AccountId(Uuid::new_v4()), name, by };
    let entry = NewEntry::new(Action::AccountCreated, "welcome", "").from(Some(from));
    match core.store.create_account(new, way, entry).await.map_err(store_problem).map_err(not_judged)? {
        Made::NameTaken => Err(NotMade::Taken),
        Made::NoLink | Made::IdentityTaken => Err(NotMade::NoLink),
        Made::Done(account) => {
            core.backoff.succeeded(None, from);
            Ok(begin(core, &account, from, None, None).await?)
        }
    }
}

/// What a link of this hash entitles to, if it can still be used.
async fn link_way(core: &Core, sha256: String) -> Result<Option<Way>, Problem> {
    if core.store.sign_in_link(&sha256).await.map_err(store_problem)? {
        return Ok(Some(Way::Link(sha256)));
    }
    let invitation = core.store.invitation(&sha256).await.map_err(store_problem)?;
    Ok(invitation.map(|_| Way::Invitation(sha256)))
}

/// What was not looked at because too many were wrong.
pub(crate) fn wait_problem(wait: Duration) -> Problem {
    let seconds = wait_seconds(wait);
    Problem::new(429, "Too many tries", format!("Too many tries were wrong: try again in {seconds} seconds."))
}

/// Whole seconds, so that who waits them is not too early.
pub(crate) fn wait_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(1)
}
