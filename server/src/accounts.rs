//! What people do with their accounts, and admins with those of others: passwords, invitations, roles. Every change stands
//! with its audit entry, and is told to all gateways once it is committed. Coming in stands in [`crate::entry`].

use std::{net::IpAddr, sync::Arc, time::Instant};

use store::{
    audit::NewEntry,
    people::{self, Account, AccountChange, Changed},
};
use uuid::Uuid;
use wire::{
    AccountId, Authority, Problem,
    account::{
        self, AccountView, ChangeAccount, ChangePassword, InvitationView, MadeInvitation, NewInvitation, OwnView,
        SECRET_ID_DIGITS, SignsIn,
    },
    audit::{Action, AuditEntry, AuditQuery},
    authority::{Grants, Need},
    task::AccessChanged,
    text::is_plain_line,
};

use crate::{
    access::{Credential, Holder, SignedIn},
    core::Core,
    entry::{NotIn, wait_problem},
    password,
    queries::{not_found, store_problem},
    secret,
};

/// An invitation is good for so long, in microseconds.
const INVITATION_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;
/// Characters of a token's name or an invitation's note.
const NOTE_CHARS_MAX: usize = 100;

/// As who asks sees themselves.
pub(crate) async fn own(core: &Core, who: &Authority, credential: &Credential) -> Result<OwnView, Problem> {
    let person = person(credential).ok();
    let signs_in = match person {
        Some(id) => core
            .store
            .account(id)
            .await
            .map_err(store_problem)?
            .map(|account| SignsIn { password: account.password.is_some(), provider: false }),
        None => None,
    };
    let (provider, signs_in) = match (&core.openid, person, signs_in) {
        (Some(openid), Some(id), Some(signs_in)) => {
            let provider = core.store.is_linked(id, openid.issuer()).await.map_err(store_problem)?;
            (Some(openid.name().to_owned()), Some(SignsIn { provider, ..signs_in }))
        }
        (_, _, signs_in) => (None, signs_in),
    };
    Ok(OwnView {
        account: who.account,
        name: who.name.clone(),
        grants: who.grants().clone(),
        is_person: person.is_some(),
        signs_in,
        provider,
    })
}

/// The account of a person's session; a program has none to change.
pub(crate) fn person(credential: &Credential) -> Result<AccountId, Problem> {
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

/// Demands that the person who asks knows their password, whose hash this is: a session may be somebody else's by now. What
/// is wrong is in the audit log, with `told`.
pub(crate) async fn show_password(
    core: &Core,
    who: &Authority,
    password: String,
    hash: String,
    from: IpAddr,
    told: &str,
) -> Result<(), NotIn> {
    core.backoff.begin(Some(&who.name), from, Instant::now()).map_err(NotIn::Wait)?;
    let password: String = password.chars().take(account::PASSWORD_BYTES_MAX + 1).collect();
    match password::verify(password, Some(hash)).await {
        Ok(true) => {
            core.backoff.succeeded(Some(&who.name), from);
            Ok(())
        }
        Ok(false) => {
            note(core, NewEntry::by(who, Action::SignInRefused).detail(told)).await?;
            Err(NotIn::Wrong)
        }
        Err(problem) => {
            core.backoff.not_judged(Some(&who.name), from);
            Err(problem.into())
        }
    }
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
    let found = core.store.account(id).await.map_err(store_problem)?.ok_or_else(|| not_found("account", id))?;
    let Some(former) = found.password.clone() else {
        let sentence = "The account has no password: its person signs in by the provider.";
        return Err(Problem::new(409, "No password", sentence));
    };
    let wrong = "Another password, with a wrong old one.";
    show_password(core, who, change.old, former.clone(), from, wrong).await.map_err(|refused| match refused {
        NotIn::Wait(wait) => wait_problem(wait),
        NotIn::Wrong => Problem::new(403, "Wrong password", "The old password is not right."),
        NotIn::Problem(problem) => problem,
    })?;
    account::check_password(&change.new, &found.name)
        .map_err(|sentence| Problem::new(422, "Invalid password", sentence))?;
    let hash = password::hash(change.new).await?;
    let entry = NewEntry::by(who, Action::PasswordChanged);
    let changed = core.store.set_password(id, Some(&former), &hash, entry).await.map_err(store_problem)?;
    let Some(generation) = changed else {
        return Err(Problem::new(409, "Not possible now", "The password was changed meanwhile: sign in again."));
    };
    // The same subject: its clients stay its own.
    let own = if let Credential::Session(_, signed_in) = credential { signed_in.id } else { Uuid::new_v4() };
    Ok(SignedIn { id: own, holder: Holder::Account { id, generation } })
}

/// The session that changed the password goes on; all others of the account have ended.
pub(crate) fn password_changed(core: &Core, who: &Authority, credential: Credential) {
    let Credential::Session(_, SignedIn { id: session, holder: Holder::Account { id: account, .. } }) = credential
    else {
        return;
    };
    core.access.replace(&who.subject, credential);
    tell(core, AccessChanged::Password { account, session });
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
        Changed::Otherwise(now) => {
            let sentence = format!("Somebody has changed this account meanwhile: it is {} now.", told(&now));
            Err(Problem::new(409, "Changed meanwhile", sentence))
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
    let ChangeAccount { grants, disabled, was } = change;
    if grants.is_none() && disabled.is_none() {
        core.store.account(id).await.map_err(store_problem)?.ok_or_else(|| not_found("account", id))?;
        let sentence = "Nothing is to be changed: send `grants` or `disabled`.";
        return Err(Problem::new(422, "Invalid body", sentence));
    }
    let (by, wanted) = (who.clone(), grants.clone());
    let entries = move |found: &Account| {
        let name = &found.name;
        let role = wanted.map(|grants| {
            let detail = format!("Account {name}: {} instead of {}.", told(&grants), told(&found.grants));
            NewEntry::by(&by, Action::RoleChanged).detail(detail)
        });
        let disabled = disabled.map(|disabled| {
            let action = if disabled { Action::AccountDisabled } else { Action::AccountEnabled };
            NewEntry::by(&by, action).detail(format!("Account {name}."))
        });
        role.into_iter().chain(disabled).collect()
    };
    let change = AccountChange { grants, disabled, was };
    let done = core.store.change_account(id, change, Box::new(entries)).await.map_err(store_problem)?;
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

/// The audit log.
pub(crate) async fn audit(core: &Core, who: &Authority, query: &AuditQuery) -> Result<Vec<AuditEntry>, Problem> {
    who.need(Need::Run)?;
    core.store.entries(query).await.map_err(store_problem)
}

/// An entry that stands alone.
pub(crate) async fn note(core: &Core, entry: NewEntry) -> Result<(), Problem> {
    core.store.note(entry).await.map_err(store_problem)
}

pub(crate) fn tell(core: &Core, changed: AccessChanged) {
    core.access.tell(Arc::clone(&core.broker), changed);
}

pub(crate) fn id_of(sha256: &str) -> String {
    sha256.chars().take(SECRET_ID_DIGITS).collect()
}

pub(crate) fn secret_id<'a>(what: &str, id: &'a str) -> Result<&'a str, Problem> {
    let fits = id.len() == SECRET_ID_DIGITS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if fits {
        return Ok(id);
    }
    let sentence = format!("The {what}'s id {id:?} is not valid: it has {SECRET_ID_DIGITS} hexadecimal digits.");
    Err(Problem::new(400, "Invalid parameter", sentence))
}

pub(crate) fn must_grant(grants: &Grants) -> Result<(), Problem> {
    if !grants.is_empty() {
        return Ok(());
    }
    let sentence = "Nothing is granted: `grants` needs a role `everywhere`, or roles in `pipelines`.";
    Err(Problem::new(422, "Invalid body", sentence))
}

pub(crate) fn short(what: &str, text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.chars().count() <= NOTE_CHARS_MAX && is_plain_line(text) {
        return Ok(text.to_owned());
    }
    let sentence =
        format!("`{what}` may have {NOTE_CHARS_MAX} characters at most, all in one line and all to be seen.");
    Err(Problem::new(422, "Invalid body", sentence))
}

/// Grants in words: `viewer everywhere, admin of site`.
pub(crate) fn told(grants: &Grants) -> String {
    let everywhere = grants.everywhere.map(|role| format!("{role} everywhere"));
    let single = grants.pipelines.iter().map(|(pipeline, role)| format!("{role} of {pipeline}"));
    let all: Vec<String> = everywhere.into_iter().chain(single).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

pub(crate) fn internal(failure: String) -> Problem {
    tracing::error!(failure, "a secret cannot be made");
    Problem::new(500, "Internal error", "No secret can be made now; the server's log tells more.")
}
