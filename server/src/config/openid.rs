//! The provider of OpenID Connect that people may sign in by.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use clap::Args;
use openidconnect::url::{Host, Url};
use wire::authority::Role;

use super::backend::{self, Backend};

/// Characters of the words on the button.
const NAME_CHARS_MAX: usize = 40;
/// Characters of the client's id and secret.
const CLIENT_CHARS_MAX: usize = 1000;

/// Who signs people in besides their passwords.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct OpenidOptions {
    /// Provider of OpenID Connect that people may sign in by: the address by which it calls itself, such as
    /// https://id.example.org/realms/team [default: none].
    #[arg(long, env = "STEPCAST_OPENID_ISSUER")]
    pub(crate) openid_issuer: Option<Issuer>,
    /// What the provider calls this installation.
    #[arg(long, env = "STEPCAST_OPENID_CLIENT_ID", value_parser = client_id)]
    pub(crate) openid_client_id: Option<String>,
    /// The secret that it has given with that, or @FILE that holds it [default: none, for a public client].
    #[arg(long, env = "STEPCAST_OPENID_CLIENT_SECRET", hide_env_values = true, value_parser = backend::parse::<ClientSecret>)]
    pub(crate) openid_client_secret: Option<ClientSecret>,
    /// What people call the provider: the words on the button [default: the host of its address].
    #[arg(long, env = "STEPCAST_OPENID_NAME", value_parser = name)]
    pub(crate) openid_name: Option<String>,
    /// Role everywhere of whomever the provider knows and nobody has invited: viewer, builder or admin [default: only who was
    /// invited gets an account].
    #[arg(long, env = "STEPCAST_OPENID_GRANTS")]
    pub(crate) openid_grants: Option<Role>,
}

/// What [`OpenidOptions`] come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenidSettings {
    /// See [`OpenidOptions::openid_issuer`].
    pub(crate) issuer: Issuer,
    /// See [`OpenidOptions::openid_client_id`].
    pub(crate) client_id: String,
    /// See [`OpenidOptions::openid_client_secret`].
    pub(crate) client_secret: Option<ClientSecret>,
    /// See [`OpenidOptions::openid_name`].
    pub(crate) name: String,
    /// See [`OpenidOptions::openid_grants`].
    pub(crate) grants: Option<Role>,
}

impl OpenidOptions {
    /// The file that holds the client's secret, which is kept from steps.
    pub(crate) fn secret_file(&self) -> Option<PathBuf> {
        self.openid_client_secret.as_ref().and_then(|secret| secret.file.clone())
    }

    /// None where no provider is named.
    ///
    /// # Errors
    /// One sentence that says which option is missing.
    pub(crate) fn settings(&self) -> Result<Option<OpenidSettings>, String> {
        let Some(issuer) = self.openid_issuer.clone() else {
            let given = [
                ("--openid-client-id", self.openid_client_id.is_some()),
                ("--openid-client-secret", self.openid_client_secret.is_some()),
                ("--openid-name", self.openid_name.is_some()),
                ("--openid-grants", self.openid_grants.is_some()),
            ];
            return match given.into_iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(format!(
                    "{option} is of a provider of OpenID Connect, and none is named: name it by --openid-issuer https://…"
                )),
                None => Ok(None),
            };
        };
        let Some(client_id) = self.openid_client_id.clone() else {
            return Err(format!(
                "--openid-issuer {issuer} needs --openid-client-id too: what that provider calls this installation"
            ));
        };
        let name = self.openid_name.clone().unwrap_or_else(|| issuer.host().to_owned());
        let client_secret = self.openid_client_secret.clone();
        Ok(Some(OpenidSettings { issuer, client_id, client_secret, name, grants: self.openid_grants }))
    }
}

/// The address by which a provider calls itself, letter by letter; by https, or on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issuer {
    text: String,
    host: String,
}

impl Issuer {
    /// Letter by letter: a `/` at its end counts.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Its host.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Issuer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "it must be the https address by which the provider calls itself, without a query, such as \
             https://id.example.org/realms/team; http is for this machine alone (http://127.0.0.1:8080)"
                .to_owned()
        };
        let url = Url::parse(text).map_err(|_| wrong())?;
        let has_more = url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
        if has_more || url.password().is_some() || !is_private(&url) {
            return Err(wrong());
        }
        let host = url.host_str().ok_or_else(wrong)?.to_owned();
        Ok(Self { text: text.to_owned(), host })
    }
}

/// Whether nobody on the way reads or changes what is said: by https, or on this machine.
pub(crate) fn is_private(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether an address is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(four)) => four.is_loopback(),
        Some(Host::Ipv6(six)) => IpAddr::V6(six).to_canonical().is_loopback(),
        None => false,
    }
}

/// What the provider knows this installation by. `Debug` keeps it to itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ClientSecret {
    text: String,
    /// The file that it was read from.
    file: Option<PathBuf>,
}

impl ClientSecret {
    /// The whole of it, to show to the provider.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }
}

impl Backend for ClientSecret {
    fn came_from(&mut self, file: PathBuf) {
        self.file = Some(file);
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

impl FromStr for ClientSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        client_id(text).map(|text| Self { text, file: None })
    }
}

fn client_id(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.chars().count() <= CLIENT_CHARS_MAX && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(format!("it must be 1 to {CLIENT_CHARS_MAX} letters of one line")) }
}

fn name(text: &str) -> Result<String, String> {
    let fits = text.chars().count() <= NAME_CHARS_MAX;
    let name = wire::account::name(text).ok().filter(|_| fits);
    name.ok_or_else(|| format!("it must be 1 to {NAME_CHARS_MAX} letters that can be seen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_asked_by_https_or_on_this_machine() {
        for right in [
            "https://id.example.org",
            "https://id.example.org/realms/team/",
            "http://127.0.0.1:8080/a",
            "http://localhost:1",
            "http://[::1]:8080",
        ] {
            assert_eq!(right.parse::<Issuer>().map(|issuer| issuer.as_str().to_owned()).as_deref(), Ok(right));
        }
        for wrong in [
            "",
            "id.example.org",
            "http://id.example.org",
            "http://10.0.0.1",
            "http://localhost.example.org",
            "https://me:word@id.example.org",
            "https://id.example.org/?a=b",
            "https://id.example.org/#a",
            "ftp://id.example.org",
            "file:///etc/passwd",
        ] {
            assert!(wrong.parse::<Issuer>().unwrap_err().contains("https://id.example.org/realms/team"), "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_is_told_by_its_option() {
        let issuer: Issuer = "https://id.example.org/realms/team".parse().unwrap();
        assert_eq!(OpenidOptions::default().settings(), Ok(None));
        let alone = OpenidOptions { openid_issuer: Some(issuer.clone()), ..OpenidOptions::default() };
        assert!(alone.settings().unwrap_err().contains("--openid-client-id"));
        let without = OpenidOptions { openid_grants: Some(Role::Viewer), ..OpenidOptions::default() };
        let sentence = without.settings().unwrap_err();
        assert!(sentence.contains("--openid-grants") && sentence.contains("--openid-issuer"), "{sentence}");
        let both = OpenidOptions { openid_client_id: Some("stepcast".to_owned()), ..alone };
        let settings = both.settings().unwrap().unwrap();
        assert_eq!((settings.name.as_str(), settings.grants, &settings.issuer), ("id.example.org", None, &issuer));
    }

    #[test]
    fn names_fit_on_a_button_and_secrets_are_not_shown() {
        assert_eq!(name(" The team's ").as_deref(), Ok("The team's"));
        assert!(name("").is_err() && name("a\nb").is_err() && name(&"x".repeat(NAME_CHARS_MAX + 1)).is_err());
        let secret: ClientSecret = "hunter2".parse().unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!("".parse::<ClientSecret>().is_err());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "hunter2\n").unwrap();
        let read = backend::parse::<ClientSecret>(&format!("@{}", file.display())).unwrap();
        assert_eq!(read.reveal(), "hunter2");
        let options = OpenidOptions { openid_client_secret: Some(read), ..OpenidOptions::default() };
        assert_eq!(options.secret_file(), Some(file));
    }
}
