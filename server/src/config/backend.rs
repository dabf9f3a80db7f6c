//! Which broker and which store: by name or by URL. A URL holds a password: it is shown to nobody.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// A URL with a password in it. `Debug` keeps it to itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretUrl {
    text: String,
    /// The file that it was read from.
    file: Option<PathBuf>,
}

impl SecretUrl {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), file: None }
    }

    /// The whole of it, to connect with.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }

    /// The files that this process comes in with: the one that holds the URL, and what its query names. An authority of the
    /// system is left out: everybody trusts it.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let query = self.text.split_once('?').map_or("", |(_, query)| query);
        let named = query.split(['&', '#']).filter_map(|pair| {
            let (word, value) = pair.split_once('=')?;
            let path = PathBuf::from(decoded(value));
            let is_hidden = FILES.contains(&word) || (AUTHORITIES.contains(&word) && !is_of_system(&path));
            is_hidden.then_some(path)
        });
        self.file.iter().cloned().chain(named).collect()
    }
}

/// What a URL's query calls the files of TLS: RabbitMQ's words and PostgreSQL's.
const FILES: [&str; 6] = ["certfile", "keyfile", "sslcert", "ssl-cert", "sslkey", "ssl-key"];
/// And those of authorities.
const AUTHORITIES: [&str; 4] = ["cacertfile", "sslrootcert", "ssl-root-cert", "ssl-ca"];

fn is_of_system(path: &Path) -> bool {
    ["/etc", "/usr"].iter().any(|folder| path.starts_with(folder))
}

/// The value of a word of a query.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let hex = behind.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What may be read from a file.
pub(crate) trait Backend: FromStr<Err = String> {
    /// It was read from this one, which is kept from steps.
    fn came_from(&mut self, file: PathBuf);
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
            Some(("amqp" | "amqps", _)) => Ok(Self::Rabbit(SecretUrl::new(text))),
            _ => Err("it must be `embedded` or amqp://user:password@host:port/virtual-host".to_owned()),
        }
    }
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            None if text == "sqlite" => Ok(Self::Sqlite),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(SecretUrl::new(text))),
            _ => Err("it must be `sqlite` or postgres://user:password@host:port/database".to_owned()),
        }
    }
}

impl Backend for BrokerChoice {
    fn came_from(&mut self, file: PathBuf) {
        if let Self::Rabbit(url) = self {
            url.file = Some(file);
        }
    }
}

impl Backend for StoreChoice {
    fn came_from(&mut self, file: PathBuf) {
        if let Self::Postgres(url) = self {
            url.file = Some(file);
        }
    }
}

/// What clap takes: the text itself, or, as `@path`, the first line of a file, which keeps the password out of the list of
/// processes.
pub(crate) fn parse<T: Backend>(text: &str) -> Result<T, String> {
    let Some(path) = text.strip_prefix('@') else { return text.parse() };
    let held = std::fs::read_to_string(path).map_err(|failure| format!("{path} cannot be read: {failure}"))?;
    let parsed = held.lines().next().unwrap_or_default().trim().parse();
    let mut choice: T = parsed.map_err(|wrong| format!("the first line of {path}: {wrong}"))?;
    choice.came_from(path.into());
    Ok(choice)
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
        let Ok(BrokerChoice::Rabbit(url)) = parse(&format!("@{}", path.display())) else { panic!("it is read") };
        assert_eq!(url.files(), std::slice::from_ref(&path));
        std::fs::write(&path, "").unwrap();
        assert!(parse::<BrokerChoice>(&format!("@{}", path.display())).unwrap_err().contains("first line"));
        assert!(parse::<BrokerChoice>("@/nowhere").unwrap_err().contains("/nowhere cannot be read"));
    }

    #[test]
    fn a_url_tells_the_files_that_it_names() {
        let files = |url: &str| SecretUrl::new(url).files();
        assert_eq!(
            files("amqps://a:b@h,i/v?cacertfile=/srv/ca%20file&heartbeat=5&certfile=/a/+b.pem&keyfile=%2fa%2Fkey"),
            ["/srv/ca file", "/a/ b.pem", "/a/key"].map(PathBuf::from)
        );
        assert_eq!(
            files("postgres://h/db?sslrootcert=/etc/ssl/certs/ca.pem&sslkey=/etc/pg/key"),
            [PathBuf::from("/etc/pg/key")]
        );
        assert!(files("postgres://h/db").is_empty());
    }
}
