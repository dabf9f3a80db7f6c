//! Which broker and which store: by name or by URL. A URL holds a password: it is shown to nobody.

use std::{fmt, str::FromStr};

/// A URL with a password in it. `Debug` keeps it to itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretUrl(String);

impl SecretUrl {
    /// The whole of it, to connect with.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(…)")
    }
}

/// The message broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BrokerChoice {
    /// In this process, kept in the store.
    Embedded,
    /// RabbitMQ.
    Rabbit(SecretUrl),
}

/// The database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreChoice {
    /// A file in the data folder.
    Sqlite,
    /// PostgreSQL.
    Postgres(SecretUrl),
}

impl FromStr for BrokerChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            None if text == "embedded" => Ok(Self::Embedded),
            Some(("amqp" | "amqps", _)) => Ok(Self::Rabbit(SecretUrl(text.to_owned()))),
            _ => Err("it must be `embedded` or amqp://user:password@host:port/virtual-host".to_owned()),
        }
    }
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            None if text == "sqlite" => Ok(Self::Sqlite),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(SecretUrl(text.to_owned()))),
            _ => Err("it must be `sqlite` or postgres://user:password@host:port/database".to_owned()),
        }
    }
}

/// What clap takes: the text itself, or, as `@path`, the first line of a file, which keeps the password out of the list of
/// processes.
pub(crate) fn parse<T: FromStr<Err = String>>(text: &str) -> Result<T, String> {
    let Some(path) = text.strip_prefix('@') else { return text.parse() };
    let held = std::fs::read_to_string(path).map_err(|failure| format!("{path} cannot be read: {failure}"))?;
    held.lines().next().unwrap_or_default().trim().parse().map_err(|wrong| format!("the first line of {path}: {wrong}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_what_it_is_and_never_shows_its_password() {
        assert_eq!(parse::<BrokerChoice>("embedded"), Ok(BrokerChoice::Embedded));
        let rabbit = parse::<BrokerChoice>("amqp://me:secret@host/team").unwrap();
        assert!(!format!("{rabbit:?}").contains("secret"));
        for wrong in ["rabbit", "http://me:secret@host", "postgres://me:secret@host/db"] {
            assert!(!parse::<BrokerChoice>(wrong).unwrap_err().contains("secret"), "{wrong}");
        }
        assert_eq!(parse::<StoreChoice>("sqlite"), Ok(StoreChoice::Sqlite));
        assert!(parse::<StoreChoice>("postgresql://me@host/db").is_ok());
        assert!(parse::<StoreChoice>("mysql://me@host/db").is_err());
    }

    #[test]
    fn a_url_may_stand_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker");
        std::fs::write(&path, "amqp://me:secret@host\n").unwrap();
        assert!(
            matches!(parse(&format!("@{}", path.display())), Ok(BrokerChoice::Rabbit(url)) if url.reveal() == "amqp://me:secret@host")
        );
        std::fs::write(&path, "").unwrap();
        assert!(parse::<BrokerChoice>(&format!("@{}", path.display())).unwrap_err().contains("first line"));
        assert!(parse::<BrokerChoice>("@/nowhere").unwrap_err().contains("/nowhere cannot be read"));
    }
}
