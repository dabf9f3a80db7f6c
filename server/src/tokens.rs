//! Tokens for programs: made by people, and by programs that are admin everywhere, no wider than who makes them.

use store::{audit::NewEntry, model::TokenRow};
use wire::{
    Authority, Problem, Timestamp,
    account::{MadeToken, NewToken, TokenView},
    audit::Action,
    authority::Need,
    task::AccessChanged,
};

use crate::{
    access::Credential,
    accounts::{id_of, internal, must_grant, person, secret_id, short, tell, told},
    core::Core,
    queries::{not_found, store_problem},
    secret,
};

/// A token that ends may live so long, in seconds: a hundred years.
const EXPIRES_IN_MAX: u64 = 100 * 366 * 24 * 3600;

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

/// All tokens for an admin, one's own for other people. A program has none of its own: whatever it may do, those of the
/// person who made it are not its business.
pub(crate) async fn tokens(core: &Core, who: &Authority, credential: &Credential) -> Result<Vec<TokenView>, Problem> {
    let of = match (who.need(Need::Run), person(credential)) {
        (Ok(()), _) => None,
        (Err(_), Ok(account)) => Some(account),
        (Err(problem), Err(_)) => return Err(problem),
    };
    core.store.tokens(of).await.map_err(store_problem)
}

/// Takes a token back: any for an admin, one's own for other people.
pub(crate) async fn revoke_token(
    core: &Core,
    who: &Authority,
    credential: &Credential,
    id: &str,
) -> Result<(), Problem> {
    let id = secret_id("token", id)?;
    let Some(found) = tokens(core, who, credential).await?.into_iter().find(|token| token.id == id) else {
        return Err(not_found("token", id));
    };
    let entry = NewEntry::by(who, Action::TokenRevoked).detail(format!("Token {}.", found.name));
    if core.store.revoke_token(id, entry).await.map_err(store_problem)?.is_none() {
        return Err(not_found("token", id));
    }
    tell(core, AccessChanged::Token(id.to_owned()));
    Ok(())
}

/// When something ends that begins now.
pub(crate) fn expiry(now: Timestamp, seconds: u64) -> Result<Timestamp, Problem> {
    if !(1..=EXPIRES_IN_MAX).contains(&seconds) {
        let sentence = format!("`expires_in` must be 1 to {EXPIRES_IN_MAX} seconds.");
        return Err(Problem::new(422, "Invalid body", sentence));
    }
    Ok(now.plus_micros(i64::try_from(seconds).unwrap_or(i64::MAX / 2_000_000) * 1_000_000))
}
