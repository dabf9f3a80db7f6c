//! The checkout: a step of its own before the pipeline's, under the same guard and with the same log.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use wire::{
    Isolation,
    git::{GitUrl, check_reference, without_password},
    pipeline::{SourceSpec, Stderr, StepSpec},
};

/// The name of the checkout's step.
pub(crate) const NAME: &str = "checkout";

const URL: &str = "STEPCAST_SOURCE_URL";
const REFERENCE: &str = "STEPCAST_SOURCE_REF";

/// Both values come by environment, so that no text of theirs is ever read as a command or an option. Objects are copied: by a
/// hard link a step could change the repository that it was cloned from.
const CLONE: &str = r#"git clone --no-hardlinks --no-recurse-submodules -- "$STEPCAST_SOURCE_URL" ."#;
const CLONE_AT: &str = r#"git clone --no-hardlinks --no-recurse-submodules --no-checkout -- "$STEPCAST_SOURCE_URL" .
for found in "refs/remotes/origin/$STEPCAST_SOURCE_REF" "refs/tags/$STEPCAST_SOURCE_REF" "$STEPCAST_SOURCE_REF"; do
    if git rev-parse --quiet --verify "$found^{commit}" >/dev/null; then
        exec git -c advice.detachedHead=false checkout --no-recurse-submodules --detach "$found" --
    fi
done
if git fetch --quiet --no-recurse-submodules origin "$STEPCAST_SOURCE_REF"; then
    exec git -c advice.detachedHead=false checkout --no-recurse-submodules --detach FETCH_HEAD --
fi
echo "The repository has no branch, tag or commit named $STEPCAST_SOURCE_REF." >&2
exit 1
"#;

/// One place, besides https and ssh, that an executor takes sources from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GitAllowed {
    /// Everything below a folder of this host.
    Folder(PathBuf),
    /// A host over http, as `http://host:port`.
    Http(String),
}

impl FromStr for GitAllowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match GitUrl::parse(text) {
            Ok(GitUrl::Path(path)) if text.starts_with('/') => Ok(Self::Folder(path.into())),
            Ok(GitUrl::Http { origin }) if text.matches('/').count() == 2 => Ok(Self::Http(origin)),
            _ => Err(format!(
                "`{text}` must be a folder, such as /srv/git, or a host as http://host or http://host:port"
            )),
        }
    }
}

/// The protocol that git may use, and the address that it is given.
fn permitted(url: &str, allowed: &[GitAllowed]) -> Result<(&'static str, String), String> {
    match GitUrl::parse(url)? {
        GitUrl::Https => Ok(("https", url.to_owned())),
        GitUrl::Ssh => Ok(("ssh", url.to_owned())),
        GitUrl::Http { origin } if allowed.contains(&GitAllowed::Http(origin.clone())) => Ok(("http", url.to_owned())),
        GitUrl::Http { origin } => Err(format!(
            "the source's address begins with {origin}, which anybody on the way can answer for: take https://…, or let the \
             executor allow it by `--git-allow {origin}`"
        )),
        GitUrl::Path(path) => below(Path::new(&path), allowed).map(|path| ("file", path)),
    }
}

/// The folder with all links on the way to it resolved, if it is below an allowed one: nothing is left that could lead out.
fn below(path: &Path, allowed: &[GitAllowed]) -> Result<String, String> {
    let shown = path.display();
    let real = path.canonicalize();
    for allowed in allowed {
        let GitAllowed::Folder(folder) = allowed else { continue };
        let Ok(folder) = folder.canonicalize() else { continue };
        match &real {
            Ok(real) if real.starts_with(&folder) => {
                // It was text, and its links may lead through names that are none.
                return real.to_str().map(str::to_owned).ok_or_else(|| format!("the path {shown} is not UTF-8"));
            }
            // Of what is there outside nothing is told, nor that it is not.
            Err(_) if path.starts_with(&folder) && !path.components().any(|part| part == Component::ParentDir) => {
                return Err(format!("there is no repository at {shown}"));
            }
            _ => {}
        }
    }
    Err(format!(
        "the source {shown} is a folder of the executor's host, which takes none but those that it allows by `--git-allow FOLDER`"
    ))
}

/// The checkout as a step, and the command that people see for it.
///
/// # Errors
/// When git would take the reference for an option, or the address is none that this executor takes; one sentence.
pub(crate) fn step(
    source: &SourceSpec,
    allowed: &[GitAllowed],
    isolation: Isolation,
) -> Result<(StepSpec, String), String> {
    let (protocol, url) = permitted(&source.git, allowed)?;
    let mut env = BTreeMap::from([
        (URL.to_owned(), url),
        // Where the server leads elsewhere, or the repository names others, too.
        ("GIT_ALLOW_PROTOCOL".to_owned(), protocol.to_owned()),
        // Nobody is there to answer a question.
        ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()),
        ("GIT_SSH_COMMAND".to_owned(), "ssh -o BatchMode=yes".to_owned()),
    ]);
    // In the home folder jobs could have left one, unless it is a sandbox's. What the host's own says (/etc/gitconfig) counts.
    if isolation == Isolation::Plain {
        env.insert("GIT_CONFIG_GLOBAL".to_owned(), "/dev/null".to_owned());
    }
    let mut command = format!("git clone -- {} .", without_password(&source.git));
    let run = match source.reference.as_deref().filter(|reference| !reference.is_empty()) {
        None => CLONE,
        Some(reference) => {
            check_reference(reference)?;
            env.insert(REFERENCE.to_owned(), reference.to_owned());
            command.push_str(&format!(" && git checkout {reference}"));
            CLONE_AT
        }
    };
    Ok((StepSpec { name: NAME.to_owned(), run: run.to_owned(), env, stderr: Stderr::Merged }, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(git: &str, reference: Option<&str>) -> SourceSpec {
        SourceSpec { git: git.to_owned(), reference: reference.map(str::to_owned) }
    }

    #[test]
    fn url_and_reference_are_never_part_of_the_script() {
        let (step, _) = step(&source("https://h/$(touch /tmp/x)", Some("`id`")), &[], Isolation::Plain).unwrap();
        assert!(!step.run.contains("touch") && !step.run.contains("`id`"));
        assert!(step.env.values().any(|value| value == "`id`"));
        assert_eq!(step.env["GIT_ALLOW_PROTOCOL"], "https");
    }

    #[test]
    fn a_reference_that_git_would_take_for_an_option_or_for_more_than_a_commit_is_refused() {
        let refused = |reference| step(&source("https://h/a", Some(reference)), &[], Isolation::Plain).unwrap_err();
        assert!(refused("--upload-pack=x").contains("begins with `-`"));
        for reference in ["+main:main", "a..b", "^main", "a b", "main\n", "HEAD~1", "@{-1}", "a:b"] {
            assert!(refused(reference).contains("must be a branch, a tag or a commit"), "{reference}");
        }
        for reference in ["main", "release/1.x", "v1.0-rc+1", "0123456789012345678901234567890123456789", "häuser"] {
            assert!(step(&source("https://h/a", Some(reference)), &[], Isolation::Plain).is_ok(), "{reference}");
        }
    }

    #[test]
    fn the_command_that_people_see_holds_no_password() {
        let (_, command) =
            step(&source("https://me:secret@example.org/a.git", Some("main")), &[], Isolation::Plain).unwrap();
        assert_eq!(command, "git clone -- https://***@example.org/a.git . && git checkout main");
    }

    #[test]
    fn a_folder_is_taken_below_an_allowed_one_wherever_links_lead() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["git/a.git", "gitter", "outside"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::os::unix::fs::symlink(at("outside"), at("git/out")).unwrap();
        std::os::unix::fs::symlink(at("git/a.git"), at("in")).unwrap();
        let allowed = [GitAllowed::Folder(at("git"))];
        let judge = |path: PathBuf| permitted(path.to_str().unwrap(), &allowed);
        let real = at("git/a.git").canonicalize().unwrap().display().to_string();
        for path in ["git/a.git", "in", "gitter/../git/a.git"] {
            assert_eq!(judge(at(path)), Ok(("file", real.clone())), "{path}");
        }
        assert_eq!(judge(PathBuf::from(format!("file://{}", at("git/a.git").display()))), Ok(("file", real)));
        for path in ["git/out", "outside", "gitter", "git/../outside", "git/none/../../outside", "none"] {
            assert!(judge(at(path)).unwrap_err().contains("`--git-allow FOLDER`"), "{path}");
        }
        assert!(judge(at("git/none")).unwrap_err().starts_with("there is no repository at /"));
        assert!(permitted("/", &[]).unwrap_err().contains("`--git-allow FOLDER`"));
    }

    #[test]
    fn plain_http_is_taken_from_a_host_that_is_allowed_with_its_port() {
        let allowed: Vec<GitAllowed> = vec!["http://Localhost:8080".parse().unwrap()];
        assert_eq!(permitted("http://localhost:8080/a", &allowed).unwrap().0, "http");
        for url in ["http://localhost/a", "http://other:8080/a"] {
            assert!(permitted(url, &allowed).unwrap_err().contains("`--git-allow http://"), "{url}");
        }
        for wrong in ["", "srv", "https://h", "http://h/a", "file:///srv", "ext::x", "-x", "git@h:a"] {
            assert!(wrong.parse::<GitAllowed>().unwrap_err().contains("must be a folder"), "{wrong}");
        }
    }
}
