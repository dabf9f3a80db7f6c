//! Where the keys are that secrets are encrypted with: a file, or a variable of the environment. Never an argument, which every
//! process of the machine can read.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use control::secrets::SecretKeys;
use vault::{Keyring, Zeroizing};

use super::{
    backend::StoreChoice,
    data_dir::DataDir,
    key_file::{self, KeyFile},
};

/// Holds the keys themselves, separated by line breaks, spaces or commas, the newest first.
const VARIABLE: &str = "STEPCAST_SECRETS_KEY";
/// How people make one.
pub(crate) const MAKE: &str = "`openssl rand -base64 32` makes a key";

/// Which file holds the keys.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SecretsKeyOptions {
    /// File with the keys that secrets are encrypted with: one a line, 32 bytes in base64, the newest first. STEPCAST_SECRETS_KEY
    /// may hold them instead [default: secrets.key in the data folder, made when it is first needed; with PostgreSQL none].
    #[arg(long, env = "STEPCAST_SECRETS_KEY_FILE")]
    pub(crate) secrets_key_file: Option<PathBuf>,
}

/// Where the keys are. Clones are the same place.
#[derive(Clone)]
pub(crate) struct SecretsKey(Arc<Place>);

enum Place {
    /// In the environment.
    Variable(Zeroizing<String>),
    /// In a file that a person has named.
    Named(PathBuf),
    /// In the data folder, made when it is first needed.
    Own(PathBuf),
    /// Nowhere.
    Nowhere,
}

impl SecretsKey {
    /// From the options and the environment.
    ///
    /// # Errors
    /// When both name keys.
    pub(crate) fn of(options: &SecretsKeyOptions, store: &StoreChoice, data_dir: &DataDir) -> Result<Self, String> {
        let variable = std::env::var(VARIABLE).ok().filter(|text| !text.trim().is_empty()).map(Zeroizing::new);
        let place = match (variable, &options.secrets_key_file) {
            (Some(_), Some(file)) => {
                return Err(format!(
                    "{VARIABLE} holds keys, and {} is named as their file too: say it in one way",
                    file.display()
                ));
            }
            (Some(text), None) => Place::Variable(Zeroizing::new(text.replace([',', ' '], "\n"))),
            (None, Some(file)) => Place::Named(file.clone()),
            (None, None) if *store == StoreChoice::Sqlite => Place::Own(data_dir.path().join("secrets.key")),
            (None, None) => Place::Nowhere,
        };
        Ok(Self(Arc::new(place)))
    }

    /// The keys as they are now.
    ///
    /// # Errors
    /// One sentence that says what is missing, and never what is there.
    pub(crate) fn keyring(&self) -> Result<Keyring, String> {
        match &*self.0 {
            Place::Variable(text) => {
                Keyring::parse(text).map_err(|wrong| format!("{VARIABLE} is no secrets key: {wrong}"))
            }
            Place::Named(path) | Place::Own(path) => key_file::read(path),
            Place::Nowhere => Err(format!(
                "no secrets key is named, and with PostgreSQL each process must be told the same one: put it into a file and name that \
                 by --secrets-key-file, or into {VARIABLE}; {MAKE}"
            )),
        }
    }

    /// The same; the data folder's own file is made first if it is not there.
    ///
    /// # Errors
    /// As [`SecretsKey::keyring`], and when the file cannot be written.
    pub(crate) fn keyring_or_new(&self) -> Result<Keyring, String> {
        if let Place::Own(path) = &*self.0
            && !path.exists()
        {
            match key_file::make(path) {
                Ok(()) => tracing::info!(
                    file = %path.display(),
                    "a key for secrets was made: keep a copy of it apart from backups, which do not hold it"
                ),
                // Another request was first.
                Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => {}
                Err(failure) => return Err(format!("the secrets key {} cannot be written: {failure}", path.display())),
            }
        }
        self.keyring()
    }

    /// What control asks whenever it needs the keys.
    pub(crate) fn for_control(&self) -> SecretKeys {
        let key = self.clone();
        SecretKeys::new(move || key.keyring())
    }

    /// The file, where there is one that can be written.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &*self.0 {
            Place::Named(path) | Place::Own(path) => Some(path),
            Place::Variable(_) | Place::Nowhere => None,
        }
    }

    /// The same, for this process alone to add a key to. None where the keys are not in a file.
    ///
    /// # Errors
    /// As [`KeyFile::lock`].
    pub(crate) fn lock(&self) -> Result<Option<KeyFile>, String> {
        self.file().map(KeyFile::lock).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn own(folder: &Path) -> SecretsKey {
        SecretsKey(Arc::new(Place::Own(folder.join("secrets.key"))))
    }

    #[test]
    fn the_key_of_a_data_folder_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let key = own(folder.path());
        assert!(key.keyring().unwrap_err().contains("secrets.key is not there"));
        let first = key.keyring_or_new().unwrap();
        assert_eq!(key.keyring_or_new().unwrap().newest(), first.newest());
        let mode = fs::metadata(folder.path().join("secrets.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_is_none_is_told_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secrets.key"), "hunter2").unwrap();
        let sentence = own(folder.path()).keyring_or_new().unwrap_err();
        assert!(sentence.contains("line 1 is no key") && !sentence.contains("hunter2"), "{sentence}");
        let nowhere = SecretsKey(Arc::new(Place::Nowhere)).keyring_or_new().unwrap_err();
        assert!(nowhere.contains("--secrets-key-file"), "{nowhere}");
    }
}
