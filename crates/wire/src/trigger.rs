//! Who or what a build was triggered by, as it was then: it stands with the build, whatever becomes of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hook::Provider;

/// Who, or what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TriggeredBy {
    /// A person, on a page.
    Person {
        /// Their name.
        name: String,
    },
    /// A program, the command line among them.
    Token {
        /// What its token is called, said so that it cannot be read as a person's name: `token nightly of Ada`.
        name: String,
    },
    /// A delivery to a hook.
    Hook(Pushed),
}

/// What a hook was told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Who called.
    pub provider: Provider,
    /// What has happened.
    pub event: HookEvent,
    /// The branch or the tag; of a pull request the branch that it comes from.
    pub reference: String,
    /// What is built: 40 or 64 hexadecimal digits.
    pub commit: String,
    /// `owner/name`.
    pub repository: String,
    /// The number of the pull request, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<u64>,
    /// Who did it, by the name that they have at the provider, if it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What a hook is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookEvent {
    /// Commits were pushed to a branch.
    Push,
    /// A tag was pushed.
    Tag,
    /// A pull request was opened, or its commits have changed.
    PullRequest,
}

impl fmt::Display for TriggeredBy {
    /// In the few words that a list has room for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person { name } | Self::Token { name } => f.write_str(name),
            Self::Hook(pushed) => pushed.fmt(f),
        }
    }
}

impl fmt::Display for Pushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.event, self.pull_request) {
            (HookEvent::PullRequest, Some(number)) => write!(f, "pull request {number}"),
            (HookEvent::PullRequest, None) => write!(f, "pull request from {}", self.reference),
            (HookEvent::Tag, _) => write!(f, "tag {}", self.reference),
            (HookEvent::Push, _) => write!(f, "push to {}", self.reference),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_in_few_words_what_triggered_a_build() {
        let mut pushed = Pushed {
            provider: Provider::Gitea,
            event: HookEvent::Push,
            reference: "main".to_owned(),
            commit: "0".repeat(40),
            repository: "me/site".to_owned(),
            pull_request: None,
            by: None,
        };
        let hook = |pushed: &Pushed| TriggeredBy::Hook(pushed.clone()).to_string();
        assert_eq!(TriggeredBy::Person { name: "Ada".to_owned() }.to_string(), "Ada");
        assert_eq!(TriggeredBy::Token { name: "token ci of Ada".to_owned() }.to_string(), "token ci of Ada");
        assert_eq!(hook(&pushed), "push to main");
        pushed.event = HookEvent::Tag;
        assert_eq!(hook(&pushed), "tag main");
        (pushed.event, pushed.pull_request) = (HookEvent::PullRequest, Some(7));
        assert_eq!(hook(&pushed), "pull request 7");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let token = TriggeredBy::Token { name: "ci".to_owned() };
        assert_eq!(serde_json::to_value(&token).unwrap(), serde_json::json!({"kind": "token", "name": "ci"}));
        let hook = serde_json::json!({"kind": "hook", "provider": "github", "event": "push", "reference": "main",
            "commit": "0".repeat(40), "repository": "me/site", "by": "octocat"});
        let read: TriggeredBy = serde_json::from_value(hook.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), hook);
    }
}
