//! `stepcast account` and `stepcast token`: people and tokens made on the machine of the data folder, without the server.
//! Who may write its files may do everything anyway. A running server hears of what was taken away within seconds.

use std::{
    io::{IsTerminal as _, Read as _},
    path::PathBuf,
    sync::Arc,
};

use clap::{Args, Subcommand};
use store::{
    Store,
    audit::NewEntry,
    model::TokenRow,
    people::{By, Made, NewAccount, Way},
    sqlite::SqliteStore,
};
use uuid::Uuid;
use wire::{
    AccountId, PipelineName, Problem,
    account::{self, PASSWORD_BYTES_MAX},
    audit::Action,
    authority::{Grants, Role},
};

use crate::{
    accounts::told,
    backend::open_store_beside,
    config::{
        backend::{self, StoreChoice},
        data_dir::DataDir,
    },
    password, secret,
    tokens::expiry,
};

/// Subcommands of `stepcast account`.
#[derive(Subcommand)]
pub(crate) enum AccountCommand {
    /// Make an account for a person.
    Create(AccountOptions),
}

/// Subcommands of `stepcast token`.
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Print a new token, once.
    Create(TokenOptions),
    /// List tokens: id, name, what they may do, when they end.
    List(Place),
    /// Take a token back.
    Revoke {
        /// Its id, as `stepcast token list` shows it.
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the server keeps what it keeps.
#[derive(Args)]
pub(crate) struct Place {
    /// The data folder of the server.
    #[arg(long, env = "STEPCAST_DATA_DIR", default_value = "./stepcast-data")]
    data_dir: PathBuf,
    /// The store of the server, as `stepcast serve` is told it.
    #[arg(long, env = "STEPCAST_STORE", default_value = "sqlite", hide_env_values = true, value_parser = backend::parse::<StoreChoice>)]
    store: StoreChoice,
}

/// Options of `stepcast token create`.
#[derive(Args)]
pub(crate) struct TokenOptions {
    /// What the token is for.
    #[arg(long)]
    name: String,
    /// What it may do: viewer, builder or admin.
    #[arg(long, default_value = "admin")]
    role: Role,
    /// Only in this pipeline; may be said again [default: everywhere].
    #[arg(long = "pipeline", value_name = "PIPELINE")]
    pipelines: Vec<PipelineName>,
    /// When it ends, such as 12h, 90d or 52w [default: never].
    #[arg(long, value_parser = seconds)]
    expires: Option<u64>,
    #[command(flatten)]
    place: Place,
}

/// Options of `stepcast account create`.
#[derive(Args)]
pub(crate) struct AccountOptions {
    /// The name to sign in by.
    #[arg(long)]
    name: String,
    /// What the person may do: viewer, builder or admin.
    #[arg(long, default_value = "admin")]
    role: Role,
    /// Only in this pipeline; may be said again [default: everywhere].
    #[arg(long = "pipeline", value_name = "PIPELINE")]
    pipelines: Vec<PipelineName>,
    /// A file whose first line is the password [default: the first line of the standard input].
    #[arg(long)]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Place {
    async fn open(&self, may_be_new: bool) -> Result<Arc<dyn Store>, String> {
        let data_dir = match self.store {
            StoreChoice::Sqlite if may_be_new && DataDir::existing(&self.data_dir).is_err() => {
                let database = DataDir::open(&self.data_dir)?.database();
                let made = SqliteStore::open(&database).await.map_err(|failure| failure.to_string())?;
                return Ok(made);
            }
            StoreChoice::Sqlite => DataDir::existing(&self.data_dir)?,
            StoreChoice::Postgres(_) => DataDir::named(&self.data_dir),
        };
        open_store_beside(&self.store, &data_dir).await
    }
}

fn grants(role: Role, pipelines: Vec<PipelineName>) -> Grants {
    if pipelines.is_empty() { Grants::everywhere(role) } else { Grants::in_pipelines(role, pipelines) }
}

/// `stepcast account create`
pub(crate) async fn account(command: AccountCommand) -> Result<(), String> {
    let AccountCommand::Create(AccountOptions { name, role, pipelines, password_file, place }) = command;
    let name = account::name(&name)?;
    let password = read_password(password_file)?;
    account::check_password(&password, &name)?;
    // Before the first start, too: a server that others can reach starts only when there is somebody.
    let store = place.open(true).await?;
    let hash = password::hash(password).await.map_err(sentence)?;
    let (grants, new) = (
        grants(role, pipelines),
        NewAccount { id: AccountId(Uuid::new_v4()), name: name.clone(), by: By::Password(hash) },
    );
    let entry = NewEntry::by_machine(Action::AccountCreated).detail(format!("{}.", told(&grants)));
    match store.create_account(new, Way::Machine(grants), entry).await.map_err(|failure| failure.to_string())? {
        Made::Done(_) => {
            println!("{name} can sign in now.");
            Ok(())
        }
        Made::NameTaken => Err(format!("there is an account {name:?} already: choose another name")),
        Made::NoLink | Made::IdentityTaken => Err("the account was not made".to_owned()),
    }
}

/// The first line, without its end.
fn read_password(file: Option<PathBuf>) -> Result<String, String> {
    let mut text = String::new();
    // A password and its line's end, and one byte more to notice a longer one.
    let most = PASSWORD_BYTES_MAX as u64 + 3;
    match file {
        Some(path) => {
            let shown = path.display();
            let opened = std::fs::File::open(&path).map_err(|failure| format!("{shown} cannot be read: {failure}"))?;
            opened
                .take(most)
                .read_to_string(&mut text)
                .map_err(|failure| format!("{shown} cannot be read: {failure}"))?;
        }
        None => {
            let input = std::io::stdin();
            let read = |text: &mut String| {
                std::io::stdin().read_line(text).map_err(|failure| format!("no password can be read: {failure}"))
            };
            if input.is_terminal() {
                eprint!("Password: ");
                let _quiet = Quiet::begin();
                read(&mut text)?;
                eprintln!();
            } else {
                read(&mut text)?;
            }
        }
    }
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// A terminal that does not show what is typed, until this is dropped. Where there is no `stty` it shows it.
struct Quiet;

impl Quiet {
    fn begin() -> Self {
        Self::show(false);
        Self
    }

    fn show(shown: bool) {
        let _ = std::process::Command::new("stty").arg(if shown { "echo" } else { "-echo" }).status();
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        Self::show(true);
    }
}

/// `stepcast token`: of a new one the token alone goes to the standard output.
pub(crate) async fn token(command: TokenCommand) -> Result<(), String> {
    match command {
        TokenCommand::Create(options) => create(options).await,
        TokenCommand::List(place) => list(&place).await,
        TokenCommand::Revoke { id, place } => revoke(&id, &place).await,
    }
}

async fn create(options: TokenOptions) -> Result<(), String> {
    let TokenOptions { name, role, pipelines, expires, place } = options;
    let store = place.open(false).await?;
    let token = secret::token("stepcast")?;
    let grants = grants(role, pipelines);
    let now = store.now().await.map_err(|failure| failure.to_string())?;
    let expires_at = expires.map(|seconds| expiry(now, seconds)).transpose().map_err(sentence)?;
    let entry = NewEntry::by_machine(Action::TokenCreated).detail(format!("Token {name}: {}.", told(&grants)));
    let row = TokenRow { sha256: secret::sha256(&token), name, grants, account: None, expires_at };
    store.create_token(row, entry).await.map_err(|failure| failure.to_string())?;
    println!("{token}");
    Ok(())
}

async fn list(place: &Place) -> Result<(), String> {
    let store = place.open(false).await?;
    let now = store.now().await.map_err(|failure| failure.to_string())?;
    for token in store.tokens(None).await.map_err(|failure| failure.to_string())? {
        let ends = token.expires_at.map_or_else(
            || "does not end".to_owned(),
            |at| format!("ends in {} days", at.since(now) / (24 * 3600 * 1_000_000)),
        );
        let by = token.created_by.map(|name| format!(", made by {name}")).unwrap_or_default();
        println!("{}  {}: {}, {ends}{by}", token.id, token.name, told(&token.grants));
    }
    Ok(())
}

async fn revoke(id: &str, place: &Place) -> Result<(), String> {
    let store = place.open(false).await?;
    let entry = NewEntry::by_machine(Action::TokenRevoked).detail(format!("Token {id}."));
    match store.revoke_token(id, entry).await.map_err(|failure| failure.to_string())? {
        Some(token) => {
            println!("The token {} was taken back.", token.name);
            Ok(())
        }
        None => Err(format!("there is no token {id:?}: `stepcast token list` shows the ids")),
    }
}

fn sentence(problem: Problem) -> String {
    problem.detail
}

/// `12h`, `90d`, `52w`.
fn seconds(text: &str) -> Result<u64, String> {
    let units = [("h", 3600), ("d", 24 * 3600), ("w", 7 * 24 * 3600)];
    let found = units.into_iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(seconds).filter(|seconds| *seconds > 0)
    });
    found.ok_or_else(|| "it must be hours, days or weeks, such as 12h, 90d or 52w".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_its_unit() {
        assert_eq!((seconds("12h"), seconds("90d"), seconds("1w")), (Ok(43_200), Ok(7_776_000), Ok(604_800)));
        for wrong in ["", "90", "d", "-1d", "0d", "1y", "99999999999999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong:?}");
        }
    }
}
