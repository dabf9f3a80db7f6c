//! Accounts in SQL, and what is written with them. Tokens stand in [`super::tokens`], invitations in [`super::invitations`].

use wire::{
    AccountId,
    account::{AccountView, InvitationView, SignsIn, TokenView, spaced},
    authority::{Grants, Role},
};

use super::{
    Details, SqlStore, audit,
    connection::{Connection, Row, query},
    identities, invitations, now,
    rows::{self, bytes},
    tokens,
    writer::Rank,
};
use crate::{
    Answer, StoreError,
    audit::NewEntry,
    model::TokenRow,
    people::{
        Account, AccountChange, By, Changed, Entries, Identity, Linked, Made, NewAccount, NewInvitation, People,
        Unlinked, Way,
    },
};

/// Stands for the hash of no password: who signs in by a provider alone has it.
const NO_PASSWORD: &str = "";
/// Columns of [`account`].
const ACCOUNT: &str = "SELECT id, name, password, grants, disabled, generation FROM accounts";
/// Columns of [`account_view`].
const VIEW: &str = "SELECT id, name, grants, disabled, created_at, signed_in_at, \
    CAST(CASE WHEN password = '' THEN 0 ELSE 1 END AS BIGINT), \
    (SELECT COUNT(*) FROM identities WHERE account = accounts.id) FROM accounts";

impl<D: Details> People for SqlStore<D> {
    fn create_account(&self, new: NewAccount, way: Way, entry: NewEntry) -> Answer<'_, Made> {
        Box::pin(
            self.writer.run(Rank::Command, move |connection| {
                Box::pin(async move { create(connection, &new, &way, entry).await })
            }),
        )
    }

    fn has_anybody(&self) -> Answer<'_, bool> {
        Box::pin(async move {
            let asked = "SELECT 1 WHERE EXISTS (SELECT 1 FROM accounts) OR EXISTS (SELECT 1 FROM program_tokens \
                         WHERE expires_at IS NULL OR expires_at > {now})";
            Ok(query(asked).fetch_optional(&mut self.reader().await?).await?.is_some())
        })
    }

    fn has_account(&self) -> Answer<'_, bool> {
        Box::pin(async move { anybody(&mut self.reader().await?).await })
    }

    fn account(&self, id: AccountId) -> Answer<'_, Option<Account>> {
        Box::pin(async move { find(&mut self.reader().await?, id).await })
    }

    fn account_named<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Account>> {
        Box::pin(async move {
            // One of before that names were spaced goes before the one that it reads as.
            let sql = format!(
                "{ACCOUNT} WHERE name_key IN (?1, ?2) ORDER BY CASE WHEN name_key = ?1 THEN 0 ELSE 1 END LIMIT 1"
            );
            let named = query(&sql).bind(name.trim().to_lowercase()).bind(name_key(name));
            let found = named.fetch_optional(&mut self.reader().await?).await?;
            found.as_ref().map(account).transpose()
        })
    }

    fn accounts(&self) -> Answer<'_, Vec<AccountView>> {
        Box::pin(async move {
            let sql = format!("{VIEW} ORDER BY name_key");
            query(&sql).fetch_all(&mut self.reader().await?).await?.iter().map(account_view).collect()
        })
    }

    fn account_signed_in(&self, id: AccountId, entry: NewEntry) -> Answer<'_, ()> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let write = query("UPDATE accounts SET signed_in_at = {now} WHERE id = ?").bind(bytes(&id.0));
                write.execute(&mut *connection).await?;
                audit::insert(connection, &entry).await
            })
        }))
    }

    fn change_account(
        &self,
        id: AccountId,
        change: AccountChange,
        entries: Entries,
    ) -> Answer<'_, Changed<AccountView>> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let Some(found) = find(connection, id).await? else { return Ok(Changed::Nobody) };
                if change.was.is_some_and(|was| was != found.grants) {
                    return Ok(Changed::Otherwise(found.grants));
                }
                let grants = change.grants.as_ref().unwrap_or(&found.grants);
                let disabled = change.disabled.unwrap_or(found.disabled);
                let runs = runs(grants) && !disabled;
                if !runs && is_last(connection, &found).await? {
                    return Ok(Changed::LastAdmin);
                }
                let generation = found.generation + u64::from(disabled && !found.disabled);
                query("UPDATE accounts SET grants = ?, runs = ?, disabled = ?, generation = ? WHERE id = ?")
                    .bind(rows::to_json(grants)?)
                    .bind(i64::from(runs))
                    .bind(i64::from(disabled))
                    .bind(rows::signed(generation))
                    .bind(bytes(&id.0))
                    .execute(&mut *connection)
                    .await?;
                for entry in entries(&found) {
                    audit::insert(&mut *connection, &entry).await?;
                }
                let sql = format!("{VIEW} WHERE id = ?");
                let row = query(&sql).bind(bytes(&id.0)).fetch_one(connection).await?;
                Ok(Changed::Done(account_view(&row)?))
            })
        }))
    }

    fn remove_account(&self, id: AccountId, entry: NewEntry) -> Answer<'_, Changed<()>> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let Some(found) = find(connection, id).await? else { return Ok(Changed::Nobody) };
                if is_last(connection, &found).await? {
                    return Ok(Changed::LastAdmin);
                }
                for sql in [
                    "DELETE FROM program_tokens WHERE account = ?",
                    "DELETE FROM invitations WHERE account = ?",
                    "DELETE FROM identities WHERE account = ?",
                    "DELETE FROM accounts WHERE id = ?",
                ] {
                    query(sql).bind(bytes(&id.0)).execute(&mut *connection).await?;
                }
                audit::insert(connection, &entry).await?;
                Ok(Changed::Done(()))
            })
        }))
    }

    fn set_password<'a>(
        &'a self,
        id: AccountId,
        former: Option<&'a str>,
        password: &'a str,
        entry: NewEntry,
    ) -> Answer<'a, Option<u64>> {
        let (former, password) = (former.map(str::to_owned), password.to_owned());
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let Some(found) = find(connection, id).await? else { return Ok(None) };
                if former.is_some_and(|former| found.password.as_ref() != Some(&former)) {
                    return Ok(None);
                }
                let write = query("UPDATE accounts SET password = ? WHERE id = ?").bind(password);
                write.bind(bytes(&id.0)).execute(&mut *connection).await?;
                next_generation(connection, id, &entry).await
            })
        }))
    }

    fn end_sessions(&self, id: AccountId, entry: NewEntry) -> Answer<'_, Option<u64>> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move { next_generation(connection, id, &entry).await })
        }))
    }

    fn account_of<'a>(&'a self, identity: &'a Identity) -> Answer<'a, Option<Account>> {
        Box::pin(async move { identities::account_of(&mut self.reader().await?, identity).await })
    }

    fn is_linked<'a>(&'a self, id: AccountId, issuer: &'a str) -> Answer<'a, bool> {
        Box::pin(async move { identities::is_linked(&mut self.reader().await?, id, issuer).await })
    }

    fn link(&self, id: AccountId, identity: Identity, entry: NewEntry) -> Answer<'_, Linked> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move { identities::link(connection, id, &identity, &entry).await })
        }))
    }

    fn unlink<'a>(&'a self, id: AccountId, issuer: &'a str, entry: NewEntry) -> Answer<'a, Unlinked> {
        let issuer = issuer.to_owned();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move { identities::unlink(connection, id, &issuer, &entry).await })
        }))
    }

    fn use_answer<'a>(&'a self, sha256: &'a str, seconds: i64) -> Answer<'a, bool> {
        let sha256 = sha256.to_owned();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move { identities::use_answer(connection, &sha256, seconds).await })
        }))
    }

    fn invite(&self, new: NewInvitation, entry: NewEntry) -> Answer<'_, ()> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                query("DELETE FROM invitations WHERE expires_at <= {now}").execute(&mut *connection).await?;
                query(
                    "INSERT INTO invitations (sha256, grants, invited_by, account, note, created_at, expires_at) \
                     VALUES (?, ?, ?, ?, ?, {now}, ?)",
                )
                .bind(&new.sha256)
                .bind(rows::to_json(&new.grants)?)
                .bind(&new.invited_by)
                .bind(new.account.as_ref().map(|account| bytes(&account.0)))
                .bind(&new.note)
                .bind(new.expires_at.0)
                .execute(&mut *connection)
                .await?;
                audit::insert(connection, &entry).await
            })
        }))
    }

    fn invitations(&self) -> Answer<'_, Vec<InvitationView>> {
        Box::pin(async move { invitations::all(&mut self.reader().await?).await })
    }

    fn invitation<'a>(&'a self, sha256: &'a str) -> Answer<'a, Option<InvitationView>> {
        Box::pin(async move { invitations::find(&mut self.reader().await?, sha256).await })
    }

    fn revoke_invitation<'a>(&'a self, id: &'a str, entry: NewEntry) -> Answer<'a, bool> {
        let id = id.to_owned();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let gone = query("DELETE FROM invitations WHERE substr(sha256, 1, 16) = ?").bind(&id);
                let gone = gone.execute(&mut *connection).await? > 0;
                if gone {
                    audit::insert(connection, &entry).await?;
                }
                Ok(gone)
            })
        }))
    }

    fn sign_in_link<'a>(&'a self, sha256: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let asked = "SELECT 1 FROM sign_in_links WHERE sha256 = ? AND expires_at > {now} \
                         AND NOT EXISTS (SELECT 1 FROM accounts)";
            let asked = query(asked).bind(sha256);
            Ok(asked.fetch_optional(&mut self.reader().await?).await?.is_some())
        })
    }

    fn create_token(&self, token: TokenRow, entry: NewEntry) -> Answer<'_, ()> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                tokens::put(&mut *connection, &token).await?;
                audit::insert(connection, &entry).await
            })
        }))
    }

    fn tokens(&self, account: Option<AccountId>) -> Answer<'_, Vec<TokenView>> {
        Box::pin(async move { tokens::all(&mut self.reader().await?, account).await })
    }

    fn revoke_token<'a>(&'a self, id: &'a str, entry: NewEntry) -> Answer<'a, Option<TokenRow>> {
        let id = id.to_owned();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let gone = tokens::revoke(&mut *connection, &id).await?;
                if gone.is_some() {
                    audit::insert(connection, &entry).await?;
                }
                Ok(gone)
            })
        }))
    }

    fn tokens_used<'a>(&'a self, sha256: &'a [String]) -> Answer<'a, ()> {
        let hashes: Vec<[String; 1]> = sha256.iter().map(|hash| [hash.clone()]).collect();
        Box::pin(async move {
            let hashes = rows::to_json(&hashes)?;
            let write = self.writer.run(Rank::Record, move |connection| {
                Box::pin(async move {
                    let used = "UPDATE program_tokens SET used_at = {now} \
                                WHERE sha256 IN (SELECT value ->> 0 FROM {each})";
                    query(used).bind(&hashes).execute(connection).await?;
                    Ok(())
                })
            });
            write.await
        })
    }
}

async fn create(connection: &mut Connection, new: &NewAccount, way: &Way, entry: NewEntry) -> Result<Made, StoreError> {
    let key = name_key(&new.name);
    let taken = query("SELECT 1 FROM accounts WHERE name_key = ?").bind(&key);
    if taken.fetch_optional(&mut *connection).await?.is_some() {
        return Ok(Made::NameTaken);
    }
    if let By::Identity(identity) = &new.by
        && identities::owner(connection, identity).await?.is_some()
    {
        return Ok(Made::IdentityTaken);
    }
    let now = now(&mut *connection).await?;
    let grants = match way {
        Way::Machine(grants) | Way::Provider(grants) => grants.clone(),
        // It is for the first one: a start that saw nobody may write a link when there is somebody.
        Way::Link(_) if anybody(&mut *connection).await? => return Ok(Made::NoLink),
        Way::Link(sha256) => {
            let used = query("DELETE FROM sign_in_links WHERE sha256 = ? RETURNING expires_at").bind(sha256);
            match used.fetch_optional(&mut *connection).await? {
                Some(row) if rows::time(&row, 0)? > now => Grants::everywhere(Role::Admin),
                _ => return Ok(Made::NoLink),
            }
        }
        Way::Invitation(sha256) => match invitations::take(&mut *connection, sha256).await? {
            Some(grants) => grants,
            None => return Ok(Made::NoLink),
        },
    };
    let password = match &new.by {
        By::Password(hash) => Some(hash.clone()),
        By::Identity(_) => None,
    };
    query(
        "INSERT INTO accounts (id, name, name_key, password, grants, runs, disabled, generation, created_at) \
         VALUES (?, ?, ?, ?, ?, ?, 0, 0, ?)",
    )
    .bind(bytes(&new.id.0))
    .bind(&new.name)
    .bind(key)
    .bind(password.as_deref().unwrap_or(NO_PASSWORD))
    .bind(rows::to_json(&grants)?)
    .bind(i64::from(runs(&grants)))
    .bind(now.0)
    .execute(&mut *connection)
    .await?;
    if let By::Identity(identity) = &new.by {
        identities::insert(connection, new.id, identity).await?;
    }
    // There is somebody now: what was printed at starts without an account lets nobody in any more.
    query("DELETE FROM sign_in_links").execute(&mut *connection).await?;
    audit::insert(connection, &NewEntry { account: Some(new.id), name: new.name.clone(), ..entry }).await?;
    let (id, name) = (new.id, new.name.clone());
    Ok(Made::Done(Box::new(Account { id, name, password, grants, disabled: false, generation: 0 })))
}

/// Whether there is any account.
async fn anybody(connection: &mut Connection) -> Result<bool, StoreError> {
    Ok(query("SELECT 1 FROM accounts LIMIT 1").fetch_optional(connection).await?.is_some())
}

/// One, by its id.
pub(super) async fn find(connection: &mut Connection, id: AccountId) -> Result<Option<Account>, StoreError> {
    let sql = format!("{ACCOUNT} WHERE id = ?");
    let found = query(&sql).bind(bytes(&id.0)).fetch_optional(connection).await?;
    found.as_ref().map(account).transpose()
}

/// Whether nobody else runs the installation.
async fn is_last(connection: &mut Connection, account: &Account) -> Result<bool, StoreError> {
    if !runs(&account.grants) || account.disabled {
        return Ok(false);
    }
    let other = query("SELECT 1 FROM accounts WHERE runs = 1 AND id <> ? LIMIT 1").bind(bytes(&account.id.0));
    Ok(other.fetch_optional(connection).await?.is_none())
}

/// Ends all sessions of an account.
async fn next_generation(
    connection: &mut Connection,
    id: AccountId,
    entry: &NewEntry,
) -> Result<Option<u64>, StoreError> {
    let raise = query("UPDATE accounts SET generation = generation + 1 WHERE id = ? RETURNING generation");
    let raised = raise.bind(bytes(&id.0)).fetch_optional(&mut *connection).await?;
    let Some(row) = raised else { return Ok(None) };
    audit::insert(connection, entry).await?;
    rows::number(&row, 0).map(Some)
}

fn runs(grants: &Grants) -> bool {
    grants.everywhere == Some(Role::Admin)
}

fn name_key(name: &str) -> String {
    spaced(name).to_lowercase()
}

fn account(row: &Row) -> Result<Account, StoreError> {
    Ok(Account {
        id: AccountId(rows::uuid(row, 0)?),
        name: row.try_get(1)?,
        password: Some(row.try_get::<String>(2)?).filter(|hash| hash != NO_PASSWORD),
        grants: rows::json(row, 3)?,
        disabled: rows::flag(row, 4)?,
        generation: rows::number(row, 5)?,
    })
}

fn account_view(row: &Row) -> Result<AccountView, StoreError> {
    Ok(AccountView {
        id: AccountId(rows::uuid(row, 0)?),
        name: row.try_get(1)?,
        grants: rows::json(row, 2)?,
        disabled: rows::flag(row, 3)?,
        created_at: rows::time(row, 4)?,
        signed_in_at: rows::time_if(row, 5)?,
        signs_in: SignsIn { password: rows::flag(row, 6)?, provider: rows::flag(row, 7)? },
    })
}
