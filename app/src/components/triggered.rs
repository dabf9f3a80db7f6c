//! Who or what a build was triggered by, in a line.

use wire::trigger::{Pushed, TriggeredBy};

use super::hooks::called;

/// Digits of a commit that are shown.
const COMMIT_DIGITS: usize = 10;

/// The line.
#[must_use]
pub fn in_words(by: &TriggeredBy) -> String {
    match by {
        TriggeredBy::Person { name } => name.clone(),
        TriggeredBy::Token { name } => format!("the {name}"),
        TriggeredBy::Hook(pushed) => {
            let Pushed { provider, commit, repository, by, .. } = pushed;
            let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let commit: String = commit.chars().take(COMMIT_DIGITS).collect();
            format!("{pushed}{by}, {commit} of {repository} at {}", called(*provider))
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::{hook::Provider, trigger::HookEvent};

    use super::*;

    #[test]
    fn a_build_says_who_or_what_has_triggered_it() {
        let name = || "Ada".to_owned();
        assert_eq!(in_words(&TriggeredBy::Person { name: name() }), "Ada");
        let name = || "token ci of Ada".to_owned();
        assert_eq!(in_words(&TriggeredBy::Token { name: name() }), "the token ci of Ada");
        let mut pushed = Pushed {
            provider: Provider::Forgejo,
            event: HookEvent::Push,
            reference: "main".to_owned(),
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            repository: "me/site".to_owned(),
            pull_request: None,
            by: Some("octocat".to_owned()),
        };
        let of = |pushed: &Pushed| in_words(&TriggeredBy::Hook(pushed.clone()));
        assert_eq!(of(&pushed), "push to main by octocat, 0123456789 of me/site at Forgejo");
        (pushed.event, pushed.pull_request, pushed.by) = (HookEvent::PullRequest, Some(3), None);
        assert_eq!(of(&pushed), "pull request 3, 0123456789 of me/site at Forgejo");
    }
}
