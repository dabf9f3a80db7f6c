//! Accounts, invitations and tokens: links work once, somebody always runs the installation, and every change has its entry.

use uuid::Uuid;
use wire::{
    AccountId,
    audit::{Action, AuditQuery},
    authority::{Grants, Role},
};

use super::Fixture;
use crate::{
    Store,
    audit::NewEntry,
    model::TokenRow,
    people::{
        Account, AccountChange, By, Changed, Entries, Identity, Linked, Made, NewAccount, NewInvitation, Unlinked, Way,
    },
};

fn new(name: &str) -> NewAccount {
    NewAccount { id: AccountId(Uuid::new_v4()), name: name.to_owned(), by: By::Password(format!("hash of {name}")) }
}

fn entry(action: Action) -> NewEntry {
    NewEntry::by_machine(action)
}

fn entries(actions: &'static [Action]) -> Entries {
    Box::new(|_| actions.iter().map(|action| entry(*action)).collect())
}

async fn made(store: &dyn Store, name: &str, role: Role) -> Account {
    let way = Way::Machine(Grants::everywhere(role));
    let made = store.create_account(new(name), way, entry(Action::AccountCreated)).await.unwrap();
    let Made::Done(account) = made else { panic!("{made:?}") };
    *account
}

async fn actions(store: &dyn Store) -> Vec<Action> {
    let entries = store.entries(&AuditQuery::default()).await.unwrap();
    entries.into_iter().rev().map(|entry| entry.action).collect()
}

/// Of many who use the first link at once one becomes admin, and nobody else may use any.
pub async fn an_account_is_made_by_a_link_once(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let late = store.now().await.unwrap().plus_micros(600_000_000);
    assert!(!store.has_anybody().await.unwrap() && !store.has_account().await.unwrap());
    for link in ["first", "second"] {
        store.put_sign_in_link(link, late).await.unwrap();
        assert!(store.sign_in_link(link).await.unwrap(), "looking does not use it up");
    }
    let create = |name: &str, way| store.create_account(new(name), way, entry(Action::AccountCreated));
    let names: Vec<String> = (0..8).map(|n| format!("person {n}")).collect();
    let all = names.iter().map(|name| create(name, Way::Link("first".to_owned())));
    let all: Vec<Made> = futures_util::future::join_all(all).await.into_iter().map(Result::unwrap).collect();
    let accounts: Vec<&Account> =
        all.iter().filter_map(|made| if let Made::Done(account) = made { Some(&**account) } else { None }).collect();
    assert_eq!(accounts.len(), 1, "{all:?}");
    assert_eq!(accounts[0].grants, Grants::everywhere(Role::Admin));
    assert!(!store.sign_in_link("second").await.unwrap(), "there is somebody who may invite others");
    assert_eq!(create("late", Way::Link("second".to_owned())).await.unwrap(), Made::NoLink);
    // Nor any that a start writes which saw nobody a moment ago.
    store.put_sign_in_link("third", late).await.unwrap();
    assert!(!store.sign_in_link("third").await.unwrap());
    assert_eq!(create("later", Way::Link("third".to_owned())).await.unwrap(), Made::NoLink);
    assert_eq!(actions(&*store).await, [Action::AccountCreated], "those who came too late made nothing");
    let store = fixture.after_kill().await;
    assert!(store.has_account().await.unwrap() && store.has_anybody().await.unwrap());
    assert_eq!(store.account(accounts[0].id).await.unwrap().as_ref(), Some(accounts[0]));
}

/// Found whatever the case of its letters and the white space between them, and nobody else gets it; a name that is taken does not use a link up.
pub async fn a_name_belongs_to_one_account(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let ada = made(&*store, "Ada", Role::Admin).await;
    assert_eq!(store.account_named(" aDA ").await.unwrap().as_ref(), Some(&ada));
    assert_eq!(store.account_named("Eve").await.unwrap(), None);
    let both = made(&*store, "Eve Two", Role::Viewer).await;
    assert_eq!(store.account_named("eve \u{a0} TWO").await.unwrap().as_ref(), Some(&both));
    let of_machine = Way::Machine(Grants::everywhere(Role::Viewer));
    let spaced = store.create_account(new("Eve  Two"), of_machine, entry(Action::AccountCreated)).await.unwrap();
    assert_eq!(spaced, Made::NameTaken);
    let invitation = NewInvitation {
        sha256: "0123456789abcdef0123".to_owned(),
        grants: Grants::in_pipelines(Role::Builder, ["site".parse().unwrap()]),
        invited_by: "Ada".to_owned(),
        account: Some(ada.id),
        note: "for Grace".to_owned(),
        expires_at: store.now().await.unwrap().plus_micros(600_000_000),
    };
    store.invite(invitation.clone(), entry(Action::Invited)).await.unwrap();
    let by = || Way::Invitation(invitation.sha256.clone());
    let taken = store.create_account(new("ada"), by(), entry(Action::AccountCreated)).await.unwrap();
    assert_eq!(taken, Made::NameTaken);
    let shown = store.invitations().await.unwrap();
    assert_eq!((shown[0].id.as_str(), shown[0].note.as_str()), ("0123456789abcdef", "for Grace"));
    assert_eq!(store.invitation(&invitation.sha256).await.unwrap().as_ref(), Some(&shown[0]));
    let grace = store.create_account(new("Grace"), by(), entry(Action::AccountCreated)).await.unwrap();
    let Made::Done(grace) = grace else { panic!("{grace:?}") };
    assert_eq!(grace.grants, invitation.grants);
    let again = store.create_account(new("Eve"), by(), entry(Action::AccountCreated)).await.unwrap();
    assert_eq!(again, Made::NoLink);
    let past = NewInvitation { sha256: "p".repeat(20), expires_at: wire::Timestamp(1), ..invitation.clone() };
    store.invite(past.clone(), entry(Action::Invited)).await.unwrap();
    assert!(store.invitations().await.unwrap().is_empty());
    let late = Way::Invitation(past.sha256);
    assert_eq!(store.create_account(new("Eve"), late, entry(Action::AccountCreated)).await.unwrap(), Made::NoLink);
    store.invite(invitation, entry(Action::Invited)).await.unwrap();
    assert!(store.revoke_invitation("0123456789abcdef", entry(Action::InvitationRevoked)).await.unwrap());
    assert!(!store.revoke_invitation("0123456789abcdef", entry(Action::InvitationRevoked)).await.unwrap());
    assert!(store.invitations().await.unwrap().is_empty());
    let names: Vec<String> = store.accounts().await.unwrap().into_iter().map(|account| account.name).collect();
    assert_eq!(names, ["Ada", "Eve Two", "Grace"]);
}

/// It gives what its maker may do at that moment, and nothing when they are shut out; what it does not give stays in it.
pub async fn an_invitation_gives_no_more_than_who_made_it_may_do(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let (ada, grace) = (made(&*store, "Ada", Role::Admin).await, made(&*store, "Grace", Role::Admin).await);
    let expires_at = store.now().await.unwrap().plus_micros(600_000_000);
    let invite = async |digit: &str, account, grants| {
        let (sha256, invited_by) = (digit.repeat(64), "Grace".to_owned());
        let new = NewInvitation { sha256, grants, invited_by, account, note: digit.to_owned(), expires_at };
        store.invite(new, entry(Action::Invited)).await.unwrap();
    };
    let site: Grants = Grants::in_pipelines(Role::Builder, ["site".parse().unwrap()]);
    invite("a", Some(grace.id), Grants::everywhere(Role::Admin)).await;
    invite("b", Some(grace.id), site.clone()).await;
    invite("c", None, Grants::everywhere(Role::Admin)).await;
    let change = async |grants: Option<Grants>, disabled| {
        let change = AccountChange { grants, disabled, was: None };
        let done = store.change_account(grace.id, change, entries(&[Action::RoleChanged])).await.unwrap();
        assert!(matches!(done, Changed::Done(_)), "{done:?}");
    };
    let create = async |digit: &str| {
        let way = Way::Invitation(digit.repeat(64));
        store.create_account(new(digit), way, entry(Action::AccountCreated)).await.unwrap()
    };
    // What is shown, listed and given is one.
    let gives = async |digit: &str| {
        let found = store.invitation(&digit.repeat(64)).await.unwrap();
        let listed = store.invitations().await.unwrap().into_iter().find(|listed| listed.note == digit);
        assert_eq!(listed, found);
        found.map(|found| found.grants)
    };
    change(None, Some(true)).await;
    for digit in ["a", "b"] {
        assert_eq!((gives(digit).await, create(digit).await), (None, Made::NoLink), "{digit}: its maker is disabled");
    }
    // She gets a role elsewhere than one of them gives.
    let other = Grants::in_pipelines(Role::Admin, ["other".parse().unwrap()]);
    change(Some(other.clone()), Some(false)).await;
    assert_eq!((gives("b").await, create("b").await), (None, Made::NoLink), "nothing of it is hers to give");
    assert_eq!(gives("a").await, Some(other.clone()));
    let Made::Done(less) = create("a").await else { panic!("it gives what she has") };
    assert_eq!(less.grants, other);
    assert_eq!(gives("a").await, None, "it is used up");
    change(Some(Grants::everywhere(Role::Admin)), None).await;
    assert_eq!(gives("b").await, Some(site), "what could not be given was not used up");
    store.remove_account(grace.id, entry(Action::AccountRemoved)).await.unwrap();
    assert_eq!((gives("b").await, create("b").await), (None, Made::NoLink));
    let Made::Done(program) = create("c").await else { panic!("no account made it") };
    assert_eq!(program.grants, Grants::everywhere(Role::Admin));
    assert_eq!(store.account(ada.id).await.unwrap(), Some(ada));
}

/// The last admin is neither removed nor demoted nor disabled, however many try at once.
pub async fn somebody_always_runs_the_installation(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let (ada, grace) = (made(&*store, "Ada", Role::Admin).await, made(&*store, "Grace", Role::Admin).await);
    let eve = made(&*store, "Eve", Role::Builder).await;
    let demote = || AccountChange { grants: Some(Grants::everywhere(Role::Viewer)), ..AccountChange::default() };
    let both = tokio::join!(
        store.change_account(ada.id, demote(), entries(&[Action::RoleChanged])),
        store.change_account(grace.id, demote(), entries(&[Action::RoleChanged])),
    );
    let both = [both.0.unwrap(), both.1.unwrap()];
    let last = both.iter().filter(|changed| **changed == Changed::LastAdmin).count();
    assert_eq!(last, 1, "{both:?}");
    let admin = if both[0] == Changed::LastAdmin { ada.id } else { grace.id };
    let disable = AccountChange { disabled: Some(true), ..AccountChange::default() };
    let disabled = store.change_account(admin, disable.clone(), entries(&[Action::AccountDisabled])).await.unwrap();
    assert_eq!(disabled, Changed::LastAdmin);
    assert_eq!(store.remove_account(admin, entry(Action::AccountRemoved)).await.unwrap(), Changed::LastAdmin);
    let before = actions(&*store).await;
    let Changed::Done(view) = store.change_account(eve.id, disable, entries(&[Action::AccountDisabled])).await.unwrap()
    else {
        panic!("a builder could not be disabled");
    };
    assert!(view.disabled && view.grants == eve.grants);
    let found = store.account(eve.id).await.unwrap().unwrap();
    assert!(found.disabled && found.generation > eve.generation, "its sessions have ended");
    assert_eq!(store.remove_account(eve.id, entry(Action::AccountRemoved)).await.unwrap(), Changed::Done(()));
    assert_eq!(store.account(eve.id).await.unwrap(), None);
    assert_eq!(store.remove_account(eve.id, entry(Action::AccountRemoved)).await.unwrap(), Changed::Nobody);
    let since = &actions(&*store).await[before.len()..];
    assert_eq!(since, [Action::AccountDisabled, Action::AccountRemoved], "what was refused has no entry");
}

/// Of two who change the same account after the same look one is told that it is another one by now.
pub async fn two_who_change_an_account_do_not_overwrite_each_other(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let eve = made(&*store, "Eve", Role::Viewer).await;
    let to = |role| AccountChange {
        grants: Some(Grants::everywhere(role)),
        was: Some(eve.grants.clone()),
        ..AccountChange::default()
    };
    let both = tokio::join!(
        store.change_account(eve.id, to(Role::Builder), entries(&[Action::RoleChanged])),
        store.change_account(eve.id, to(Role::Admin), entries(&[Action::RoleChanged])),
    );
    let now = store.account(eve.id).await.unwrap().unwrap().grants;
    assert_ne!(now, eve.grants);
    let both = [both.0.unwrap(), both.1.unwrap()];
    let refused = both.iter().filter(|changed| **changed == Changed::Otherwise(now.clone())).count();
    assert_eq!(refused, 1, "{both:?}");
    assert_eq!(actions(&*store).await, [Action::AccountCreated, Action::RoleChanged]);
    // What is written is told by what was found there.
    let told = Box::new(|found: &Account| {
        let detail = format!("Was {:?}.", found.grants.everywhere);
        [Action::RoleChanged, Action::AccountDisabled].map(|action| entry(action).detail(detail.clone())).to_vec()
    });
    let both = AccountChange { disabled: Some(true), grants: Some(eve.grants.clone()), was: None };
    store.change_account(eve.id, both, told).await.unwrap();
    let mut last = store.entries(&AuditQuery::default()).await.unwrap();
    last.truncate(2);
    let was = Some(format!("Was {:?}.", now.everywhere));
    assert!(last.iter().all(|entry| entry.detail == was), "{last:?}");
    assert_eq!([last[1].action, last[0].action], [Action::RoleChanged, Action::AccountDisabled]);
}

/// Another password ends all sessions, and is not written over one that was changed meanwhile.
pub async fn a_changed_password_ends_sessions(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let ada = made(&*store, "Ada", Role::Admin).await;
    let set = |former, password| store.set_password(ada.id, former, password, entry(Action::PasswordChanged));
    let first = set(ada.password.as_deref(), "second").await.unwrap().unwrap();
    assert!(first > ada.generation);
    assert_eq!(set(ada.password.as_deref(), "third").await.unwrap(), None);
    let found = store.account(ada.id).await.unwrap().unwrap();
    assert_eq!((found.password.as_deref(), found.generation), (Some("second"), first));
    assert!(set(None, "fourth").await.unwrap().is_some());
    let ended = store.end_sessions(ada.id, entry(Action::SignedOutEverywhere)).await.unwrap();
    assert_eq!(ended, Some(first + 2));
    assert_eq!(store.end_sessions(AccountId(Uuid::new_v4()), entry(Action::SignedOut)).await.unwrap(), None);
    store.account_signed_in(ada.id, entry(Action::SignedIn)).await.unwrap();
    assert!(store.accounts().await.unwrap()[0].signed_in_at.is_some());
    use Action::{AccountCreated, PasswordChanged, SignedIn, SignedOutEverywhere};
    let all = [AccountCreated, PasswordChanged, PasswordChanged, SignedOutEverywhere, SignedIn];
    assert_eq!(actions(&*store).await, all);
}

/// Listed without their secrets, taken back by their ids, and gone with the account that made them.
pub async fn tokens_are_listed_and_taken_back(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let admin = made(&*store, "Ada", Role::Admin).await;
    let grace = made(&*store, "Grace", Role::Builder).await;
    let token = |digit: &str, name: &str, account| TokenRow {
        sha256: digit.repeat(64),
        name: name.to_owned(),
        grants: Grants::everywhere(Role::Viewer),
        account,
        expires_at: None,
    };
    let tokens = [token("a", "one", Some(grace.id)), token("b", "two", Some(grace.id)), token("c", "three", None)];
    for token in &tokens {
        store.create_token(token.clone(), entry(Action::TokenCreated)).await.unwrap();
    }
    let names = |views: Vec<wire::account::TokenView>| views.into_iter().map(|view| view.name).collect::<Vec<_>>();
    assert_eq!(names(store.tokens(None).await.unwrap()), ["one", "three", "two"]);
    assert_eq!(names(store.tokens(Some(grace.id)).await.unwrap()), ["one", "two"]);
    let shown = store.tokens(Some(grace.id)).await.unwrap();
    assert_eq!((shown[0].id.as_str(), shown[0].created_by.as_deref()), ("aaaaaaaaaaaaaaaa", Some("Grace")));
    assert!(shown[0].created_at.is_some() && shown[0].used_at.is_none());
    store.tokens_used(&[tokens[0].sha256.clone()]).await.unwrap();
    let shown = store.tokens(Some(grace.id)).await.unwrap();
    assert!(shown[0].used_at.is_some() && shown[1].used_at.is_none());
    let revoked = store.revoke_token("bbbbbbbbbbbbbbbb", entry(Action::TokenRevoked)).await.unwrap();
    assert_eq!(revoked.as_ref(), Some(&tokens[1]));
    assert_eq!(store.revoke_token("bbbbbbbbbbbbbbbb", entry(Action::TokenRevoked)).await.unwrap(), None);
    assert_eq!(store.token(&tokens[1].sha256).await.unwrap(), None);
    store.remove_account(grace.id, entry(Action::AccountRemoved)).await.unwrap();
    assert_eq!(names(store.tokens(None).await.unwrap()), ["three"]);
    assert_eq!(store.account(admin.id).await.unwrap(), Some(admin));
}

fn identity(issuer: &str, subject: &str) -> Identity {
    Identity { issuer: issuer.to_owned(), subject: subject.to_owned() }
}

fn known(name: &str, identity: &Identity) -> NewAccount {
    NewAccount { id: AccountId(Uuid::new_v4()), name: name.to_owned(), by: By::Identity(identity.clone()) }
}

/// However often and at the same time somebody comes for the first time, they get one account, without a password, and an
/// invitation that they brought is used up by it.
pub async fn an_identity_belongs_to_one_account(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let ada = made(&*store, "Ada", Role::Admin).await;
    let grace = identity("https://one.example", "grace");
    assert_eq!(store.account_of(&grace).await.unwrap(), None);
    let invitation = NewInvitation {
        sha256: "0123456789abcdef0123".to_owned(),
        grants: Grants::in_pipelines(Role::Builder, ["site".parse().unwrap()]),
        invited_by: "Ada".to_owned(),
        account: Some(ada.id),
        note: String::new(),
        expires_at: store.now().await.unwrap().plus_micros(600_000_000),
    };
    store.invite(invitation.clone(), entry(Action::Invited)).await.unwrap();
    let create = |name: &str, way| store.create_account(known(name, &grace), way, entry(Action::AccountCreated));
    let by = || Way::Invitation(invitation.sha256.clone());
    assert_eq!(create("ada", by()).await.unwrap(), Made::NameTaken);
    let names: Vec<String> = (0..8).map(|n| format!("Grace {n}")).collect();
    let all = names.iter().map(|name| create(name, by()));
    let all: Vec<Made> = futures_util::future::join_all(all).await.into_iter().map(Result::unwrap).collect();
    let accounts: Vec<&Account> =
        all.iter().filter_map(|made| if let Made::Done(account) = made { Some(&**account) } else { None }).collect();
    assert_eq!(accounts.len(), 1, "{all:?}");
    assert_eq!(all.iter().filter(|made| **made == Made::IdentityTaken).count(), 7, "{all:?}");
    let account = accounts[0];
    assert_eq!((account.password.as_deref(), &account.grants), (None, &invitation.grants));
    assert_eq!(store.account_of(&grace).await.unwrap().as_ref(), Some(account));
    let granted = Way::Provider(Grants::everywhere(Role::Viewer));
    assert_eq!(create("Grace again", granted.clone()).await.unwrap(), Made::IdentityTaken);
    for other in [identity("https://two.example", "grace"), identity("https://one.example", "Grace")] {
        assert_eq!(store.account_of(&other).await.unwrap(), None, "{other:?} is somebody else");
    }
    let eve = identity("https://one.example", "eve");
    let eves = store.create_account(known("Eve", &eve), granted, entry(Action::AccountCreated)).await.unwrap();
    let Made::Done(eves) = eves else { panic!("{eves:?}") };
    assert_eq!(eves.grants, Grants::everywhere(Role::Viewer));
    let ways: Vec<(bool, bool)> =
        store.accounts().await.unwrap().iter().map(|one| (one.signs_in.password, one.signs_in.provider)).collect();
    assert_eq!(ways, [(true, false), (false, true), (false, true)]);
    let store = fixture.after_kill().await;
    assert_eq!(store.account_of(&grace).await.unwrap().as_ref(), Some(account));
    store.remove_account(eves.id, entry(Action::AccountRemoved)).await.unwrap();
    assert_eq!(store.account_of(&eve).await.unwrap(), None);
}

/// Nobody's identity becomes another one's, an account has one of each provider, and the only way in stays.
pub async fn an_account_is_linked_and_unlinked(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let (ada, bob) = (made(&*store, "Ada", Role::Admin).await, made(&*store, "Bob", Role::Viewer).await);
    let (one, two) = (identity("https://one.example", "a"), identity("https://one.example", "b"));
    let link = |id, identity: &Identity| store.link(id, identity.clone(), entry(Action::OpenidLinked));
    let unlink = |id, issuer| store.unlink(id, issuer, entry(Action::OpenidUnlinked));
    assert_eq!(link(ada.id, &one).await.unwrap(), Linked::Done);
    assert_eq!(link(ada.id, &one).await.unwrap(), Linked::Done);
    assert_eq!(link(bob.id, &one).await.unwrap(), Linked::Taken);
    assert_eq!(link(ada.id, &two).await.unwrap(), Linked::Another);
    assert_eq!(link(ada.id, &identity("https://two.example", "a")).await.unwrap(), Linked::Done);
    assert_eq!(link(AccountId(Uuid::new_v4()), &two).await.unwrap(), Linked::Nobody);
    let both = tokio::join!(link(bob.id, &two), link(bob.id, &identity("https://one.example", "c")));
    let both = [both.0.unwrap(), both.1.unwrap()];
    assert!(both.contains(&Linked::Done) && both.contains(&Linked::Another), "{both:?}");
    assert_eq!(store.account_of(&one).await.unwrap().as_ref(), Some(&ada));
    assert!(store.is_linked(ada.id, "https://one.example").await.unwrap());
    assert_eq!(unlink(ada.id, "https://one.example").await.unwrap(), Unlinked::Done);
    assert_eq!(unlink(ada.id, "https://one.example").await.unwrap(), Unlinked::Nothing);
    assert!(!store.is_linked(ada.id, "https://one.example").await.unwrap());
    assert!(store.is_linked(ada.id, "https://two.example").await.unwrap());
    assert_eq!(store.account_of(&one).await.unwrap(), None);
    let way = Way::Provider(Grants::everywhere(Role::Viewer));
    let eve = store.create_account(known("Eve", &one), way, entry(Action::AccountCreated)).await.unwrap();
    let Made::Done(eve) = eve else { panic!("{eve:?}") };
    assert_eq!(unlink(eve.id, "https://one.example").await.unwrap(), Unlinked::OnlyWay);
    assert_eq!(store.account_of(&one).await.unwrap().as_ref(), Some(&*eve));
    use Action::{AccountCreated, OpenidLinked, OpenidUnlinked};
    let all =
        [AccountCreated, AccountCreated, OpenidLinked, OpenidLinked, OpenidLinked, OpenidUnlinked, AccountCreated];
    assert_eq!(actions(&*store).await, all, "what changed nothing has no entry");
}

/// Of many that bring the same answer at once, one is the first; it is remembered until it has expired.
pub async fn an_answer_of_a_provider_is_used_once(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let uses = (0..8).map(|_| store.use_answer("answer", 600));
    let used = futures_util::future::join_all(uses).await;
    assert_eq!(used.into_iter().filter(|used| *used == Ok(true)).count(), 1);
    assert!(store.use_answer("past", -1).await.unwrap());
    assert!(store.use_answer("another", 600).await.unwrap());
    assert!(store.use_answer("past", 600).await.unwrap(), "what has expired is forgotten");
    assert!(!fixture.after_kill().await.use_answer("answer", 600).await.unwrap());
}
