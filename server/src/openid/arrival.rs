//! Who comes in by the word of the provider: the account that belongs to who it says it is, found by the provider and its
//! name for them, never by an e-mail address or by a name that they chose. Without one, an invitation that was brought makes
//! it, or the installation's options do, or nobody comes in.

use std::{net::IpAddr, time::Instant};

use app::components::provider::REASONS;
use store::{
    audit::NewEntry,
    people::{Account, By, Identity, Linked, Made, NewAccount, Unlinked, Way},
};
use uuid::Uuid;
use wire::{
    AccountId, Authority, Problem,
    account::{self, NAME_CHARS_MAX},
    audit::Action,
    authority::Grants,
};

use super::{
    Failed, Openid, Person,
    ticket::{Purpose, TICKET_SECONDS, Ticket},
};
use crate::{
    access::{Credential, Holder, SignedIn},
    accounts::{self, note, told},
    core::Core,
    entry::{self, NotIn},
    queries::store_problem,
    secret,
};

/// Of names that are taken, so many others are tried.
const NAMES_MAX: usize = 20;
/// Characters of a person's name in the audit log.
const TOLD_CHARS_MAX: usize = 60;

/// Why nobody comes in, or nothing was linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// This browser has begun no sign-in that the answer is for, or too long ago, or it was answered already.
    NotBegun,
    /// The provider could not tell.
    Failed(Failed),
    /// The person, or the provider, said no.
    Denied,
    /// The provider could not do it, for the reason that it names.
    AtProvider(&'static str),
    /// Nobody invited them.
    Stranger,
    /// Their account is disabled.
    Disabled,
    /// The invitation that they brought was used, taken back, or has expired.
    Gone,
    /// Another account belongs to who the provider says it is.
    Taken,
    /// The account belongs to somebody else of this provider.
    Another,
    /// Another site has begun it.
    Elsewhere,
}

/// What became of an answer.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// Somebody is in.
    In(SignedIn),
    /// The account that asked for it belongs to them now.
    Linked,
}

/// Why not.
#[derive(Debug)]
pub(crate) enum NotArrived {
    /// For this reason.
    Refused(Refused),
    /// Too many were refused: it was not looked at.
    Wait(std::time::Duration),
    /// It cannot be told now.
    Problem(Problem),
}

impl From<Problem> for NotArrived {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Refused> for NotArrived {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// What the provider sent along with the browser.
#[derive(Debug)]
pub(crate) enum Answer {
    /// With it the provider tells who it is.
    Code(String),
    /// It says no, in this word.
    No(String),
}

/// Judges an answer. `ticket` is what the browser has kept, if it is for this answer and in time.
pub(crate) async fn answered(
    core: &Core,
    openid: &Openid,
    ticket: Option<&Ticket>,
    answer: Answer,
    from: IpAddr,
    former: Option<&SignedIn>,
) -> Result<Arrived, NotArrived> {
    // Nothing was tried: any page of another site can have a browser ask for this, and it costs nothing.
    let Some(ticket) = ticket else { return Err(Refused::NotBegun.into()) };
    core.answers.begin(None, from, Instant::now()).map_err(NotArrived::Wait)?;
    let judged = judge(core, openid, ticket, answer, from, former).await;
    match &judged {
        Ok(_) => core.answers.succeeded(None, from),
        Err(NotArrived::Problem(_)) => core.answers.not_judged(None, from),
        // Whatever else it was, it wrote to the audit log.
        Err(_) => {}
    }
    judged
}

async fn judge(
    core: &Core,
    openid: &Openid,
    ticket: &Ticket,
    answer: Answer,
    from: IpAddr,
    former: Option<&SignedIn>,
) -> Result<Arrived, NotArrived> {
    // Whatever becomes of it, it is good once.
    if !core.store.use_answer(&ticket.answer(), TICKET_SECONDS).await.map_err(store_problem)? {
        return refuse(core, openid, from, Refused::NotBegun, None).await;
    }
    let code = match answer {
        Answer::Code(code) => code,
        Answer::No(word) => {
            tracing::info!(word = shown(&word), "the provider of OpenID Connect signs somebody not in");
            let known = REASONS.iter().find(|known| **known == word);
            let refused = if word == "access_denied" {
                Refused::Denied
            } else {
                Refused::AtProvider(known.copied().unwrap_or_default())
            };
            return refuse(core, openid, from, refused, None).await;
        }
    };
    let person = match openid.exchange(ticket, code).await {
        Ok(person) => person,
        Err(failed) => return refuse(core, openid, from, Refused::Failed(failed), None).await,
    };
    let result = match &ticket.purpose {
        Purpose::Link { account, session } => match former {
            // Whoever signed in here meanwhile did not ask for it.
            Some(SignedIn { id, holder: Holder::Account { id: own, .. } }) if id == session && own == account => {
                link(core, openid, *account, former, &person, from).await?
            }
            _ => Err(Refused::NotBegun),
        },
        Purpose::SignIn => come_in(core, openid, None, &person, from, former).await?,
        Purpose::Invitation(secret) => come_in(core, openid, Some(secret), &person, from, former).await?,
    };
    match result {
        Ok(arrived) => Ok(arrived),
        Err(refused) => refuse(core, openid, from, refused, Some(&person)).await,
    }
}

/// Nobody comes in; the audit log says why.
async fn refuse(
    core: &Core,
    openid: &Openid,
    from: IpAddr,
    refused: Refused,
    person: Option<&Person>,
) -> Result<Arrived, NotArrived> {
    let name = openid.name();
    let why = match refused {
        Refused::NotBegun => "An answer that this browser has not asked for, or too late, or twice",
        Refused::Failed(Failed::Unreachable) => "It cannot be reached",
        Refused::Failed(Failed::Refused) => "It does not stand by its answer",
        Refused::Failed(Failed::Untrusted) => "Its answer cannot be trusted",
        Refused::Denied => "It was denied there",
        Refused::AtProvider(_) => "It could not do it",
        Refused::Stranger => "Nobody has invited them",
        Refused::Disabled => "The account is disabled",
        Refused::Gone => "The invitation cannot be used any more",
        Refused::Taken => "Another account belongs to them",
        Refused::Another => "The account belongs to somebody else there",
        Refused::Elsewhere => "Another site has begun it",
    };
    let whom = person.map(|person| format!(", which knows them as {}", shown(&person.identity.subject)));
    let detail = format!("By {name}{}: {why}.", whom.unwrap_or_default());
    let entry = NewEntry::new(Action::SignInRefused, "openid", "somebody").from(Some(from)).detail(detail);
    note(core, entry).await?;
    Err(refused.into())
}

/// For people: what can be seen of it, and not too much.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(TOLD_CHARS_MAX).collect()
}

async fn come_in(
    core: &Core,
    openid: &Openid,
    invitation: Option<&str>,
    person: &Person,
    from: IpAddr,
    former: Option<&SignedIn>,
) -> Result<Result<Arrived, Refused>, Problem> {
    let found = core.store.account_of(&person.identity).await.map_err(store_problem)?;
    let account = match found {
        Some(account) => account,
        None => match make(core, openid, invitation, person, from).await? {
            Ok(account) => account,
            Err(refused) => return Ok(Err(refused)),
        },
    };
    if account.disabled {
        return Ok(Err(Refused::Disabled));
    }
    let detail = format!("By {}.", openid.name());
    Ok(Ok(Arrived::In(entry::begin(core, &account, from, former, Some(detail)).await?)))
}

/// Makes an account without a password for somebody who has none, if anything entitles them to it.
async fn make(
    core: &Core,
    openid: &Openid,
    invitation: Option<&str>,
    person: &Person,
    from: IpAddr,
) -> Result<Result<Account, Refused>, Problem> {
    let granted = openid.settings.grants.map(Grants::everywhere);
    let (way, detail) = match (invitation, granted) {
        (Some(secret), _) => {
            let sha256 = secret::sha256(secret);
            if core.store.invitation(&sha256).await.map_err(store_problem)?.is_none() {
                return Ok(Err(Refused::Gone));
            }
            (Way::Invitation(sha256), format!("By {}, with an invitation.", openid.name()))
        }
        (None, Some(grants)) => {
            let detail = format!("By {}: {}.", openid.name(), told(&grants));
            (Way::Provider(grants), detail)
        }
        (None, None) => return Ok(Err(Refused::Stranger)),
    };
    for name in names(person) {
        let id = AccountId(Uuid::new_v4());
        let new = NewAccount { id, name, by: By::Identity(person.identity.clone()) };
        let entry = NewEntry::new(Action::AccountCreated, "openid", "").from(Some(from)).detail(detail.clone());
        match core.store.create_account(new, way.clone(), entry).await.map_err(store_problem)? {
            Made::Done(account) => return Ok(Ok(*account)),
            Made::NameTaken => {}
            Made::NoLink => return Ok(Err(Refused::Gone)),
            Made::IdentityTaken => {
                // They came twice at once.
                let found = core.store.account_of(&person.identity).await.map_err(store_problem)?;
                return Ok(found.ok_or(Refused::NotBegun));
            }
        }
    }
    Err(Problem::new(503, "No name", "No name could be found for the account: try again in a moment."))
}

/// Names for a new account, the best one first: what the provider says if it is a name, then the same with a number, for
/// nobody gets the name of another one, and at last one that nobody has.
fn names(person: &Person) -> impl Iterator<Item = String> {
    let base = person.names.iter().find_map(|name| {
        let name: String = name.chars().filter(|letter| !letter.is_control()).take(NAME_CHARS_MAX).collect();
        account::name(&name).ok()
    });
    let base = base.unwrap_or_else(|| "Newcomer".to_owned());
    let short: String = base.chars().take(NAME_CHARS_MAX - 12).collect();
    let numbered = {
        let short = short.clone();
        (2..=NAMES_MAX).map(move |number| format!("{short} {number}"))
    };
    let mark: String = Uuid::new_v4().simple().to_string().chars().take(8).collect();
    std::iter::once(base).chain(numbered).chain([format!("{short} {mark}")])
}

async fn link(
    core: &Core,
    openid: &Openid,
    id: AccountId,
    former: Option<&SignedIn>,
    person: &Person,
    from: IpAddr,
) -> Result<Result<Arrived, Refused>, Problem> {
    let Some(found) = core.store.account(id).await.map_err(store_problem)? else { return Ok(Err(Refused::NotBegun)) };
    // The session may have ended on the way.
    let generation = former.and_then(|former| match former.holder {
        Holder::Account { generation, .. } => Some(generation),
        Holder::Token { .. } => None,
    });
    if found.disabled || generation != Some(found.generation) {
        return Ok(Err(Refused::NotBegun));
    }
    let subject = former.map(|former| format!("session:{}", former.id)).unwrap_or_default();
    let entry = NewEntry {
        account: Some(id),
        ..NewEntry::new(Action::OpenidLinked, subject, found.name.as_str()).from(Some(from))
    };
    let told = format!("To {}, as {}.", openid.name(), shown(&person.identity.subject));
    let identity: Identity = person.identity.clone();
    Ok(match core.store.link(id, identity, entry.detail(told)).await.map_err(store_problem)? {
        Linked::Done => Ok(Arrived::Linked),
        Linked::Nobody => Err(Refused::NotBegun),
        Linked::Taken => Err(Refused::Taken),
        Linked::Another => Err(Refused::Another),
    })
}

/// Begins to link the account of the person who asks, who shows their password if they have one. Where to go, and the ticket.
pub(crate) async fn begin_link(
    core: &Core,
    openid: &Openid,
    who: &Authority,
    credential: &Credential,
    password: String,
    from: IpAddr,
) -> Result<Result<(String, String), Failed>, NotIn> {
    let id = accounts::person(credential)?;
    let Credential::Session(_, signed_in) = credential else { return Err(NotIn::Wrong) };
    let found = core.store.account(id).await.map_err(store_problem)?;
    let found = found.ok_or_else(|| crate::queries::not_found("account", id))?;
    if let Some(hash) = found.password {
        accounts::show_password(core, who, password, hash, from, "Linking, with a wrong password.").await?;
    }
    Ok(openid.begin(Purpose::Link { account: id, session: signed_in.id }, "/account").await)
}

/// Ends that the account of the person who asks belongs to who the provider says it is.
pub(crate) async fn unlink(
    core: &Core,
    openid: &Openid,
    who: &Authority,
    credential: &Credential,
) -> Result<Unlinked, Problem> {
    let id = accounts::person(credential)?;
    let entry = NewEntry::by(who, Action::OpenidUnlinked).detail(format!("From {}.", openid.name()));
    core.store.unlink(id, openid.issuer(), entry).await.map_err(store_problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(names: &[&str]) -> Person {
        let identity = Identity { issuer: "https://id.example".to_owned(), subject: "1".to_owned() };
        Person { identity, names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn a_new_account_gets_a_name_that_is_one_and_another_if_it_is_taken() {
        let first = |given: &[&str]| names(&person(given)).next().unwrap();
        assert_eq!(first(&["ada", "Ada Lovelace"]), "ada");
        assert_eq!(first(&["\u{202e}", " Ada\n"]), "Ada");
        assert_eq!(first(&[]), "Newcomer");
        assert_eq!(first(&["token ci", "Ada"]), "Ada", "what would read as something else is no name");
        let long = "x".repeat(1000);
        let all: Vec<String> = names(&person(&[&long])).collect();
        assert_eq!(all.len(), NAMES_MAX + 1);
        let mut different = all.clone();
        different.dedup();
        assert_eq!(different, all);
        assert!(all.iter().all(|name| account::name(name).as_deref() == Ok(name)), "{all:?}");
    }

    #[test]
    fn what_is_told_of_a_person_has_no_lines_of_its_own() {
        assert_eq!(shown("a\nb\u{1b}[31m"), "ab[31m");
        assert_eq!(shown(&"x".repeat(1000)).len(), TOLD_CHARS_MAX);
    }
}
