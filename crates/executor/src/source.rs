//! The checkout: a step of its own before the pipeline's, under the same guard and with the same log.

use std::collections::BTreeMap;

use wire::pipeline::{SourceSpec, Stderr, StepSpec};

/// The name of the checkout's step.
pub(crate) const NAME: &str = "checkout";

const URL: &str = "STEPCAST_SOURCE_URL";
const REFERENCE: &str = "STEPCAST_SOURCE_REF";

/// Both values come by environment, so that no text of theirs is ever read as a command or an option.
const CLONE: &str = r#"git clone -- "$STEPCAST_SOURCE_URL" ."#;
const CLONE_AT: &str = r#"git clone --no-checkout -- "$STEPCAST_SOURCE_URL" .
for found in "refs/remotes/origin/$STEPCAST_SOURCE_REF" "refs/tags/$STEPCAST_SOURCE_REF" "$STEPCAST_SOURCE_REF"; do
    if git rev-parse --quiet --verify "$found^{commit}" >/dev/null; then
        exec git -c advice.detachedHead=false checkout --detach "$found" --
    fi
done
if git fetch --quiet origin "$STEPCAST_SOURCE_REF"; then
    exec git -c advice.detachedHead=false checkout --detach FETCH_HEAD --
fi
echo "The repository has no branch, tag or commit named $STEPCAST_SOURCE_REF." >&2
exit 1
"#;

/// The checkout as a step, and the command that people see for it.
///
/// # Errors
/// When git would take the reference for an option; one sentence.
pub(crate) fn step(source: &SourceSpec) -> Result<(StepSpec, String), String> {
    let url = &source.git;
    let mut env = BTreeMap::from([
        (URL.to_owned(), url.clone()),
        // Nobody is there to answer a question.
        ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()),
        ("GIT_SSH_COMMAND".to_owned(), "ssh -o BatchMode=yes".to_owned()),
    ]);
    let mut command = format!("git clone -- {} .", without_password(url));
    let run = match source.reference.as_deref().filter(|reference| !reference.is_empty()) {
        None => CLONE,
        Some(reference) if reference.starts_with('-') => {
            return Err(format!(
                "the source's ref {reference:?} must be a branch, a tag or a commit; none begins with `-`"
            ));
        }
        Some(reference) => {
            env.insert(REFERENCE.to_owned(), reference.to_owned());
            command.push_str(&format!(" && git checkout {reference}"));
            CLONE_AT
        }
    };
    Ok((StepSpec { name: NAME.to_owned(), run: run.to_owned(), env, stderr: Stderr::Merged }, command))
}

/// `https://name:password@host/` without the part that nobody should read in a log.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => format!("{scheme}://***@{host}{path}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(git: &str, reference: Option<&str>) -> SourceSpec {
        SourceSpec { git: git.to_owned(), reference: reference.map(str::to_owned) }
    }

    #[test]
    fn url_and_reference_are_never_part_of_the_script() {
        let (step, _) = step(&source("$(touch /tmp/x)", Some("`id`"))).unwrap();
        assert!(!step.run.contains("touch") && !step.run.contains("`id`"));
        assert!(step.env.values().any(|value| value == "`id`"));
    }

    #[test]
    fn a_reference_that_git_would_take_for_an_option_is_refused() {
        assert!(step(&source("/srv/repo", Some("--upload-pack=x"))).unwrap_err().contains("begins with `-`"));
    }

    #[test]
    fn the_command_that_people_see_holds_no_password() {
        let (_, command) = step(&source("https://me:secret@example.org/a.git", Some("main"))).unwrap();
        assert_eq!(command, "git clone -- https://***@example.org/a.git . && git checkout main");
    }
}
