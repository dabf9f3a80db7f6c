//! The contract of accounts, invitations and tokens. Passwords come hashed and links as SHA-256: hashing is the caller's
//! business. Each change stands with its audit entry in one transaction, and the last account that runs the installation
//! stays one.

use wire::{
    AccountId, Timestamp,
    account::{AccountView, InvitationView, TokenView},
    authority::Grants,
};

use crate::{Answer, audit::NewEntry, model::TokenRow};

/// An account, with what signing in asks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// As it was chosen.
    pub name: String,
    /// The password's hash, in the PHC format; none for who signs in by a provider alone.
    pub password: Option<String>,
    /// What it may do.
    pub grants: Grants,
    /// It cannot sign in, and what it made cannot be used.
    pub disabled: bool,
    /// A session of another generation has ended.
    pub generation: u64,
}

/// An account to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAccount {
    /// Its id.
    pub id: AccountId,
    /// Valid ([`wire::account::name`]).
    pub name: String,
    /// By what it signs in.
    pub by: By,
}

/// By what a new account signs in: never by nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A password, by its hash.
    Password(String),
    /// Somebody whom a provider of OpenID Connect knows.
    Identity(Identity),
}

/// Somebody, as a provider of OpenID Connect knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider: the address by which it calls itself.
    pub issuer: String,
    /// What it calls somebody, and nobody else ever.
    pub subject: String,
}

/// What entitles somebody to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The sign-in link of a start without an account, by its hash: used up by it. The account is admin everywhere.
    Link(String),
    /// An invitation, by the hash of its link: used up by it. It says what is granted.
    Invitation(String),
    /// A command on the server's machine, with what is granted.
    Machine(Grants),
    /// The installation takes whom its provider of OpenID Connect knows, and grants this.
    Provider(Grants),
}

/// What became of an account that was to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is there.
    Done(Box<Account>),
    /// Another one has this name. The link was not used up.
    NameTaken,
    /// The link was used, taken back, or has expired.
    NoLink,
    /// Another account belongs to this identity. The link was not used up.
    IdentityTaken,
}

/// What became of an identity that was to be linked to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It was linked, or was so already.
    Done,
    /// There is no such account.
    Nobody,
    /// Another account belongs to this identity.
    Taken,
    /// The account belongs to another identity of this provider.
    Another,
}

/// What became of an identity that was to be unlinked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlinked {
    /// It was unlinked.
    Done,
    /// The account has none of this provider, or is not there.
    Nothing,
    /// Without it nobody could sign in to the account: it has no password.
    OnlyWay,
}

/// A change of an account by an admin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// What is granted from now on.
    pub grants: Option<Grants>,
    /// Whether it is disabled from now on.
    pub disabled: Option<bool>,
    /// What must be granted until now, if that matters.
    pub was: Option<Grants>,
}

/// What the audit log tells of a change, by the account as it was found in the change's transaction.
pub type Entries = Box<dyn FnOnce(&Account) -> Vec<NewEntry> + Send>;

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed<T> {
    /// It was made.
    Done(T),
    /// There is no such account.
    Nobody,
    /// Nobody would be left who is admin everywhere.
    LastAdmin,
    /// Something else was granted by then.
    Otherwise(Grants),
}

/// An invitation to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInvitation {
    /// Of the link.
    pub sha256: String,
    /// To whom uses it.
    pub grants: Grants,
    /// Name of who made it.
    pub invited_by: String,
    /// Account of who made it.
    pub account: Option<AccountId>,
    /// What it is for.
    pub note: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// See the module.
pub trait People: Send + Sync + 'static {
    /// Makes an account. `entry` becomes the account's.
    fn create_account(&self, account: NewAccount, way: Way, entry: NewEntry) -> Answer<'_, Made>;
    /// Whether there is any account or token.
    fn has_anybody(&self) -> Answer<'_, bool>;
    /// Whether there is any account.
    fn has_account(&self) -> Answer<'_, bool>;
    /// One.
    fn account(&self, id: AccountId) -> Answer<'_, Option<Account>>;
    /// The one of this name, whatever the case of its letters.
    fn account_named<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Account>>;
    /// All, by name.
    fn accounts(&self) -> Answer<'_, Vec<AccountView>>;
    /// Writes that it has signed in, now.
    fn account_signed_in(&self, id: AccountId, entry: NewEntry) -> Answer<'_, ()>;
    /// Changes what is granted, or disables it, which ends its sessions.
    fn change_account(
        &self,
        id: AccountId,
        change: AccountChange,
        entries: Entries,
    ) -> Answer<'_, Changed<AccountView>>;
    /// Forgets it, its tokens and its invitations.
    fn remove_account(&self, id: AccountId, entry: NewEntry) -> Answer<'_, Changed<()>>;
    /// Gives it another password if it still has the former one; that ends all its sessions. The new generation.
    fn set_password<'a>(
        &'a self,
        id: AccountId,
        former: Option<&'a str>,
        password: &'a str,
        entry: NewEntry,
    ) -> Answer<'a, Option<u64>>;
    /// The account that belongs to an identity.
    fn account_of<'a>(&'a self, identity: &'a Identity) -> Answer<'a, Option<Account>>;
    /// Whether an account belongs to an identity of this provider.
    fn is_linked<'a>(&'a self, id: AccountId, issuer: &'a str) -> Answer<'a, bool>;
    /// Has an account belong to an identity.
    fn link(&self, id: AccountId, identity: Identity, entry: NewEntry) -> Answer<'_, Linked>;
    /// Ends that for this provider, if the account has a password.
    fn unlink<'a>(&'a self, id: AccountId, issuer: &'a str, entry: NewEntry) -> Answer<'a, Unlinked>;
    /// Writes that an answer of a provider was looked at, by its hash, which it is remembered by for so many seconds. Whether
    /// it was the first time.
    fn use_answer<'a>(&'a self, sha256: &'a str, seconds: i64) -> Answer<'a, bool>;
    /// Ends all sessions of an account. The new generation.
    fn end_sessions(&self, id: AccountId, entry: NewEntry) -> Answer<'_, Option<u64>>;

    /// Keeps an invitation.
    fn invite(&self, invitation: NewInvitation, entry: NewEntry) -> Answer<'_, ()>;
    /// Those that can still be used, the newest first.
    fn invitations(&self) -> Answer<'_, Vec<InvitationView>>;
    /// The one with this hash, if it can still be used.
    fn invitation<'a>(&'a self, sha256: &'a str) -> Answer<'a, Option<InvitationView>>;
    /// Takes one back, by its id. Whether there was one.
    fn revoke_invitation<'a>(&'a self, id: &'a str, entry: NewEntry) -> Answer<'a, bool>;
    /// Whether a sign-in link can still be used, which none can once there is an account; it is not used up.
    fn sign_in_link<'a>(&'a self, sha256: &'a str) -> Answer<'a, bool>;

    /// Writes a new token.
    fn create_token(&self, token: TokenRow, entry: NewEntry) -> Answer<'_, ()>;
    /// All that have not expired, or those of an account, by name.
    fn tokens(&self, account: Option<AccountId>) -> Answer<'_, Vec<TokenView>>;
    /// Takes one back, by its id. The row that is gone.
    fn revoke_token<'a>(&'a self, id: &'a str, entry: NewEntry) -> Answer<'a, Option<TokenRow>>;
    /// Writes that these tokens, by hash, were used now.
    fn tokens_used<'a>(&'a self, sha256: &'a [String]) -> Answer<'a, ()>;
}
