//! What people do with their accounts, and admins with those of others: signing in, passwords, invitations, tokens. Every
//! change stands with its audit entry, and is told to all gateways once it is committed.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use store::{
    audit::NewEntry,
    model::TokenRow,
    people::{self, Account, AccountChange, Changed, Made, NewAccount, Way},
};
use uuid::Uuid;
use wire::{
    AccountId, Authority, Problem, Timestamp,
    account::{
        self, AccountView, ChangeAccount, ChangePassword, InvitationView, MadeInvitation, MadeToken, NewInvitation,
        NewToken, OwnView, SECRET_ID_DIGITS, TokenView,
    },
    audit::{Action, AuditEntry, AuditQuery},
    authority::{Grants, Need},
    task::AccessChanged,
};

use crate::{
    access::{Credential, Holder, SignedIn},
    core::Core,
    password,
    queries::{not_found, store_problem},
    secret,
};

/// An invitation is good for so long, in microseconds.
const INVITATION_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;
/// Characters of a token's name or an invitation's note.
const NOTE_CHARS_MAX: usize = 100;
/// A token that ends may live so long, in seconds: a hundred years.
const EXPIRES_IN_MAX: u64 = 100 * 366 * 24 * 3600;

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
        let hash = found.as_ref().map(|account| account.password.clone());
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
            Ok(begin(core, &account, from, former).await?)
        }
        Ok(None) => {
            // The name may be a password that was typed into the wrong field: it is not written down.
            let entry = NewEntry::new(Action::SignInRefused, "sign-in", "somebody").from(Some(from));
            note(core, entry.detail("A name and a password that do not belong together.")).await?;
            Err(NotIn::Wrong)
        }
    }
}

/// A session of an account begins.
async fn begin(core: &Core, account: &Account, from: IpAddr, former: Option<&SignedIn>) -> Result<SignedIn, Problem> {
    let signed_in = session(Holder::Account { id: account.id, generation: account.generation }, former);
    let entry = NewEntry {
        account: Some(account.id),
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
    let way = link_way(core, sha256).await?;
    // Nobody without a link has a password hashed.
    let way = way.ok_or(NotMade::NoLink)?;
    let new = NewAccount { id: AccountId(Uuid::new_v4()), name, password: password::hash(password).await? };
    let entry = NewEntry::new(Action::AccountCreated, "welcome", "").from(Some(from));
    match core.store.create_account(new, way, entry).await.map_err(store_problem)? {
        Made::NameTaken => Err(NotMade::Taken),
        Made::NoLink => Err(NotMade::NoLink),
        Made::Done(account) => {
            core.backoff.succeeded(None, from);
            Ok(begin(core, &account, from, None).await?)
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

/// As who asks sees themselves.
pub(crate) fn own(who: &Authority, credential: &Credential) -> OwnView {
    OwnView {
        account: who.account,
        name: who.name.clone(),
        grants: who.grants().clone(),
        is_person: person(credential).is_ok(),
    }
}

/// The account of a person's session; a program has none to change.
fn person(credential: &Credential) -> Result<AccountId, Problem> {
    match credential {
        Credential::Session(_, SignedIn { holder: Holder::Account { id, .. }, .. }) => Ok(*id),
        _ => {
            let sentence = "This is a person's: sign in by name and password.";
            Err(Problem::new(403, "Not a person", sentence))
        }
    }
}

/// Ends the session that asks, once its row is gone.
pub(crate) async fn signed_out(core: &Core, who: &Authority, credential: &Credential) -> Result<(), Problem> {
    if let Credential::Session(_, signed_in) = credential {
        tell(core, AccessChanged::Session(signed_in.id));
    }
    note(core, NewEntry::by(who, Action::SignedOut)).await
}

/// Ends all sessions of the person who asks.
pub(crate) async fn sign_out_everywhere(core: &Core, who: &Authority, credential: &Credential) -> Result<(), Problem> {
    let id = person(credential)?;
    let entry = NewEntry::by(who, Action::SignedOutEverywhere);
    core.store.end_sessions(id, entry).await.map_err(store_problem)?;
    tell(core, AccessChanged::Account(id));
    Ok(())
}

/// Changes the password of the person who asks, which ends their other sessions; the session that goes on.
pub(crate) async fn change_password(
    core: &Core,
    who: &Authority,
    credential: &Credential,
    change: ChangePassword,
    from: IpAddr,
) -> Result<SignedIn, Problem> {
    let id = person(credential)?;
    core.backoff.begin(Some(&who.name), from, Instant::now()).map_err(wait_problem)?;
    let found = core.store.account(id).await.map_err(store_problem)?.ok_or_else(|| not_found("account", id))?;
    if !password::verify(change.old, Some(found.password.clone())).await? {
        return Err(Problem::new(403, "Wrong password", "The old password is not right."));
    }
    core.backoff.succeeded(Some(&who.name), from);
    account::check_password(&change.new, &found.name)
        .map_err(|sentence| Problem::new(422, "Invalid password", sentence))?;
    let hash = password::hash(change.new).await?;
    let entry = NewEntry::by(who, Action::PasswordChanged);
    let changed = core.store.set_password(id, Some(&found.password), &hash, entry).await.map_err(store_problem)?;
    let Some(generation) = changed else {
        return Err(Problem::new(409, "Not possible now", "The password was changed meanwhile: sign in again."));
    };
    // The same subject: its clients stay its own.
    let own = if let Credential::Session(_, signed_in) = credential { signed_in.id } else { Uuid::new_v4() };
    Ok(SignedIn { id: own, holder: Holder::Account { id, generation } })
}

/// The session that changed the password goes on; all others of the account have ended.
pub(crate) fn password_changed(core: &Core, who: &Authority, credential: Credential) {
    core.access.replace(&who.subject, credential);
    if let Some(account) = who.account {
        tell(core, AccessChanged::Account(account));
    }
}

/// All accounts.
pub(crate) async fn accounts(core: &Core, who: &Authority) -> Result<Vec<AccountView>, Problem> {
    who.need(Need::Run)?;
    core.store.accounts().await.map_err(store_problem)
}

fn changed<T>(id: AccountId, changed: Changed<T>) -> Result<T, Problem> {
    match changed {
        Changed::Done(done) => Ok(done),
        Changed::Nobody => Err(not_found("account", id)),
        Changed::LastAdmin => {
            let sentence = "This is the last account that is admin everywhere: make another one first.";
            Err(Problem::new(409, "Last admin", sentence))
        }
    }
}

/// Changes what an account may do, or disables it.
pub(crate) async fn change_account(
    core: &Core,
    who: &Authority,
    id: AccountId,
    change: ChangeAccount,
) -> Result<AccountView, Problem> {
    who.need(Need::Run)?;
    let ChangeAccount { grants, disabled } = change;
    let found = core.store.account(id).await.map_err(store_problem)?.ok_or_else(|| not_found("account", id))?;
    let action = match (&grants, disabled) {
        (Some(_), _) => Action::RoleChanged,
        (None, Some(true)) => Action::AccountDisabled,
        (None, Some(false)) => Action::AccountEnabled,
        (None, None) => {
            let sentence = "Nothing is to be changed: send `grants` or `disabled`.";
            return Err(Problem::new(422, "Invalid body", sentence));
        }
    };
    let mut detail = format!("Account {}", found.name);
    if let Some(grants) = &grants {
        detail.push_str(&format!(": {} instead of {}", told(grants), told(&found.grants)));
    }
    if let Some(disabled) = disabled {
        detail.push_str(if disabled { ", disabled" } else { ", enabled" });
    }
    let entry = NewEntry::by(who, action).detail(detail + ".");
    let done = core.store.change_account(id, AccountChange { grants, disabled }, entry).await.map_err(store_problem)?;
    let view = changed(id, done)?;
    tell(core, AccessChanged::Account(id));
    Ok(view)
}

/// Removes an account with its tokens and invitations.
pub(crate) async fn remove_account(core: &Core, who: &Authority, id: AccountId) -> Result<(), Problem> {
    who.need(Need::Run)?;
    let found = core.store.account(id).await.map_err(store_problem)?.ok_or_else(|| not_found("account", id))?;
    let entry = NewEntry::by(who, Action::AccountRemoved).detail(format!("Account {}.", found.name));
    changed(id, core.store.remove_account(id, entry).await.map_err(store_problem)?)?;
    tell(core, AccessChanged::Account(id));
    Ok(())
}

/// Makes an invitation. Its link is shown this once.
pub(crate) async fn invite(core: &Core, who: &Authority, asked: NewInvitation) -> Result<MadeInvitation, Problem> {
    who.need(Need::Run)?;
    must_grant(&asked.grants)?;
    let note = short("note", &asked.note)?;
    let token = secret::token("invitation").map_err(internal)?;
    let sha256 = secret::sha256(&token);
    let now = core.store.now().await.map_err(store_problem)?;
    let expires_at = now.plus_micros(INVITATION_MICROS);
    let new = people::NewInvitation {
        sha256: sha256.clone(),
        grants: asked.grants.clone(),
        invited_by: who.name.clone(),
        account: who.account,
        note: note.clone(),
        expires_at,
    };
    let entry = NewEntry::by(who, Action::Invited).detail(format!("{}.", told(&asked.grants)));
    core.store.invite(new, entry).await.map_err(store_problem)?;
    let (grants, invited_by) = (asked.grants, who.name.clone());
    let invitation = InvitationView { id: id_of(&sha256), note, grants, invited_by, created_at: now, expires_at };
    Ok(MadeInvitation { link: format!("{}/welcome?invitation={token}", core.public_url), invitation })
}

/// Invitations that can still be used.
pub(crate) async fn invitations(core: &Core, who: &Authority) -> Result<Vec<InvitationView>, Problem> {
    who.need(Need::Run)?;
    core.store.invitations().await.map_err(store_problem)
}

/// Takes an invitation back.
pub(crate) async fn revoke_invitation(core: &Core, who: &Authority, id: &str) -> Result<(), Problem> {
    who.need(Need::Run)?;
    let id = secret_id("invitation", id)?;
    let entry = NewEntry::by(who, Action::InvitationRevoked).detail(format!("Invitation {id}."));
    let gone = core.store.revoke_invitation(id, entry).await.map_err(store_problem)?;
    if gone { Ok(()) } else { Err(not_found("invitation", id)) }
}

/// Makes a token that may do no more than who asks. It is shown this once. A program that is not admin makes none.
pub(crate) async fn create_token(
    core: &Core,
    who: &Authority,
    credential: &Credential,
    asked: NewToken,
) -> Result<MadeToken, Problem> {
    may_make_tokens(who, credential)?;
    must_grant(&asked.grants)?;
    if !asked.grants.within(who.grants()) {
        let sentence = format!(
            "A token can do no more than who makes it: {}, and you {}.",
            told(&asked.grants),
            told(who.grants())
        );
        return Err(Problem::new(403, "Not allowed", sentence));
    }
    let name = short("name", &asked.name)?;
    if name.is_empty() {
        return Err(Problem::new(422, "Invalid body", "A token needs a `name` that says what it is for."));
    }
    let now = core.store.now().await.map_err(store_problem)?;
    let expires_at = asked.expires_in.map(|seconds| expiry(now, seconds)).transpose()?;
    let token = secret::token("stepcast").map_err(internal)?;
    let sha256 = secret::sha256(&token);
    let row = TokenRow {
        sha256: sha256.clone(),
        name: name.clone(),
        grants: asked.grants.clone(),
        account: who.account,
        expires_at,
    };
    let entry = NewEntry::by(who, Action::TokenCreated).detail(format!("Token {name}: {}.", told(&asked.grants)));
    core.store.create_token(row, entry).await.map_err(store_problem)?;
    let view = TokenView {
        id: id_of(&sha256),
        name,
        grants: asked.grants,
        account: who.account,
        created_by: who.account.map(|_| who.name.clone()),
        created_at: Some(now),
        expires_at,
        used_at: None,
    };
    Ok(MadeToken { secret: token, token: view })
}

/// People make tokens, and programs that are admin everywhere.
pub(crate) fn may_make_tokens(who: &Authority, credential: &Credential) -> Result<(), Problem> {
    if person(credential).is_ok() { Ok(()) } else { who.need(Need::Run) }
}

/// All tokens for an admin, one's own for everybody else.
pub(crate) async fn tokens(core: &Core, who: &Authority) -> Result<Vec<TokenView>, Problem> {
    let of = match (who.need(Need::Run), who.account) {
        (Ok(()), _) => None,
        (Err(_), Some(account)) => Some(account),
        (Err(problem), None) => return Err(problem),
    };
    core.store.tokens(of).await.map_err(store_problem)
}

/// Takes a token back: one's own, or any for an admin.
pub(crate) async fn revoke_token(core: &Core, who: &Authority, id: &str) -> Result<(), Problem> {
    let id = secret_id("token", id)?;
    let Some(found) = tokens(core, who).await?.into_iter().find(|token| token.id == id) else {
        return Err(not_found("token", id));
    };
    let entry = NewEntry::by(who, Action::TokenRevoked).detail(format!("Token {}.", found.name));
    if core.store.revoke_token(id, entry).await.map_err(store_problem)?.is_none() {
        return Err(not_found("token", id));
    }
    tell(core, AccessChanged::Token(id.to_owned()));
    Ok(())
}

/// The audit log.
pub(crate) async fn audit(core: &Core, who: &Authority, query: &AuditQuery) -> Result<Vec<AuditEntry>, Problem> {
    who.need(Need::Run)?;
    core.store.entries(query).await.map_err(store_problem)
}

/// When something ends that begins now.
pub(crate) fn expiry(now: Timestamp, seconds: u64) -> Result<Timestamp, Problem> {
    if !(1..=EXPIRES_IN_MAX).contains(&seconds) {
        let sentence = format!("`expires_in` must be 1 to {EXPIRES_IN_MAX} seconds.");
        return Err(Problem::new(422, "Invalid body", sentence));
    }
    Ok(now.plus_micros(i64::try_from(seconds).unwrap_or(i64::MAX / 2_000_000) * 1_000_000))
}

/// An entry that stands alone.
pub(crate) async fn note(core: &Core, entry: NewEntry) -> Result<(), Problem> {
    core.store.note(entry).await.map_err(store_problem)
}

fn tell(core: &Core, changed: AccessChanged) {
    core.access.tell(Arc::clone(&core.broker), changed);
}

fn id_of(sha256: &str) -> String {
    sha256.chars().take(SECRET_ID_DIGITS).collect()
}

fn secret_id<'a>(what: &str, id: &'a str) -> Result<&'a str, Problem> {
    let fits = id.len() == SECRET_ID_DIGITS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if fits {
        return Ok(id);
    }
    let sentence = format!("The {what}'s id {id:?} is not valid: it has {SECRET_ID_DIGITS} hexadecimal digits.");
    Err(Problem::new(400, "Invalid parameter", sentence))
}

fn must_grant(grants: &Grants) -> Result<(), Problem> {
    if !grants.is_empty() {
        return Ok(());
    }
    let sentence = "Nothing is granted: `grants` needs a role `everywhere`, or roles in `pipelines`.";
    Err(Problem::new(422, "Invalid body", sentence))
}

fn short(what: &str, text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.chars().count() <= NOTE_CHARS_MAX && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    let sentence = format!("`{what}` may have {NOTE_CHARS_MAX} characters at most, all in one line.");
    Err(Problem::new(422, "Invalid body", sentence))
}

/// Grants in words: `viewer everywhere, admin of site`.
pub(crate) fn told(grants: &Grants) -> String {
    let everywhere = grants.everywhere.map(|role| format!("{role} everywhere"));
    let single = grants.pipelines.iter().map(|(pipeline, role)| format!("{role} of {pipeline}"));
    let all: Vec<String> = everywhere.into_iter().chain(single).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

fn internal(failure: String) -> Problem {
    tracing::error!(failure, "a secret cannot be made");
    Problem::new(500, "Internal error", "No secret can be made now; the server's log tells more.")
}
