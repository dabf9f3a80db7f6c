//! What the executor's owner and its environment let into sandboxes besides the system's folders. It is let in by the name that
//! the kernel has for it, links resolved, and a link leads there from the name that people use: what is hidden is named by the
//! kernel's names as well, so no link leads around it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::SandboxOptions;

/// Variables that name toolchains or certificates outside of the home; each with what of it is let in.
const NAMED: [(&str, &str); 4] =
    [("RUSTUP_HOME", ""), ("CARGO_HOME", "bin"), ("SSL_CERT_FILE", ""), ("SSL_CERT_DIR", "")];

/// One path that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// As people name it.
    pub(super) named: PathBuf,
    /// As the kernel names it; the same where it is not there.
    pub(super) real: PathBuf,
    pub(super) is_written: bool,
    /// It is left out where it is not there; of the others bubblewrap says so.
    pub(super) is_optional: bool,
}

impl Granted {
    fn new(named: PathBuf, is_written: bool, is_optional: bool) -> Self {
        Self { real: named.canonicalize().unwrap_or_else(|_| named.clone()), named, is_written, is_optional }
    }
}

/// All of it, as it is now. What lies deeper comes later, or it would be covered. `is_shown`: what a sandbox shows anyway.
pub(super) fn all(options: &SandboxOptions, is_shown: impl Fn(&Path) -> bool) -> Vec<Granted> {
    let environment = NAMED.into_iter().filter_map(|(variable, below)| {
        let path = PathBuf::from(std::env::var_os(variable)?);
        // A path that ends with a separator names a folder, also where it is a file.
        Some(if below.is_empty() { path } else { path.join(below) })
    });
    let environment = environment.filter(|path| path.is_absolute()).map(|path| Granted::new(path, false, true));
    let read = options.read.iter().map(|path| Granted::new(path.clone(), false, false));
    let write = options.write.iter().map(|path| Granted::new(path.clone(), true, false));
    let mut all: Vec<Granted> =
        environment.filter(|granted| !is_shown(&granted.real)).chain(read).chain(write).collect();
    // As it was given, where the depth is the same.
    all.sort_by_key(|granted| granted.real.components().count());
    all
}

/// The links that are missing in a sandbox which has `all`: each with what it leads to. `is_shown`: as for [`all`].
pub(super) fn links(all: &[Granted], is_shown: impl Fn(&Path) -> bool) -> BTreeSet<(PathBuf, PathBuf)> {
    let is_missing = |granted: &&Granted| {
        let folder = granted.named.parent().and_then(|folder| folder.canonicalize().ok());
        // The machine's own link stands there.
        let is_let_in = |folder: &Path| is_shown(folder) || all.iter().any(|other| folder.starts_with(&other.real));
        let is_below = |other: &Granted| other.named != granted.named && granted.named.starts_with(&other.named);
        granted.named != granted.real && folder.is_some_and(|folder| !is_let_in(&folder)) && !all.iter().any(is_below)
    };
    all.iter().filter(is_missing).map(|granted| (plain(&granted.named), granted.real.clone())).collect()
}

/// Without `.` and what stands behind the last name: bubblewrap takes a path as it is.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}
