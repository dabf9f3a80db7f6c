//! The audit log: who did what, and when. An entry stands with the change it tells of, holds no secret, and outlives
//! what it names.

use serde::{Deserialize, Serialize};

use crate::{AccountId, BuildId, PipelineName, Timestamp};

/// Entries in one answer: at most, and unless asked otherwise.
pub const AUDIT_LIMIT_MAX: u32 = 1000;
/// See [`AUDIT_LIMIT_MAX`].
pub const AUDIT_LIMIT: u32 = 100;

/// Makes the enumeration with its words.
macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Action {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word, as on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),*
                }
            }
        }
    };
}

actions! {
    /// A session began.
    SignedIn = "signed_in",
    /// A name with a wrong password, an unknown link or token, or an answer of a provider that lets nobody in.
    SignInRefused = "sign_in_refused",
    /// A session was ended by its person.
    SignedOut = "signed_out",
    /// All sessions of an account were ended.
    SignedOutEverywhere = "signed_out_everywhere",
    /// An account may be signed in to by a provider of OpenID Connect.
    OpenidLinked = "openid_linked",
    /// And can be no more.
    OpenidUnlinked = "openid_unlinked",
    /// A person chose another password.
    PasswordChanged = "password_changed",
    /// An account was made.
    AccountCreated = "account_created",
    /// An account was removed.
    AccountRemoved = "account_removed",
    /// An account can sign in no more, for now.
    AccountDisabled = "account_disabled",
    /// An account can sign in again.
    AccountEnabled = "account_enabled",
    /// An invitation link was made.
    Invited = "invited",
    /// An invitation link was taken back.
    InvitationRevoked = "invitation_revoked",
    /// What is granted to an account was changed.
    RoleChanged = "role_changed",
    /// A token was made.
    TokenCreated = "token_created",
    /// A token was taken back.
    TokenRevoked = "token_revoked",
    /// A build was asked for.
    BuildTriggered = "build_triggered",
    /// A build's end was asked for.
    BuildCancelled = "build_cancelled",
    /// A finished build was run again.
    BuildRetried = "build_retried",
    /// A build was deleted with all that is kept of it.
    BuildDeleted = "build_deleted",
    /// A pipeline was written that was not there.
    PipelineCreated = "pipeline_created",
    /// A pipeline was written anew.
    PipelineChanged = "pipeline_changed",
    /// A secret was given a value.
    SecretSet = "secret_set",
    /// A secret was deleted.
    SecretDeleted = "secret_deleted",
    /// All secrets were encrypted anew.
    SecretsRotated = "secrets_rotated",
    /// A hook was made.
    HookCreated = "hook_created",
    /// A hook was given another secret.
    HookRotated = "hook_rotated",
    /// A hook was deleted.
    HookDeleted = "hook_deleted",
    /// What came to a hook was refused.
    HookRefused = "hook_refused",
    /// A dead letter was handed in again.
    DeadLetterRetried = "dead_letter_retried",
    /// A dead letter was said to be not needed.
    DeadLetterDiscarded = "dead_letter_discarded",
    /// A consumer group was paused.
    GroupPaused = "group_paused",
    /// A consumer group goes on.
    GroupResumed = "group_resumed",
    /// A consumer group makes what it keeps anew.
    GroupRebuilt = "group_rebuilt",
    /// The result of a build is told once more.
    ReplyTried = "reply_tried",
    /// A backup was written.
    BackedUp = "backed_up",
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Action {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().copied().find(|known| known.as_str() == text);
        known.ok_or_else(|| {
            let words: Vec<&str> = Self::ALL.iter().map(|known| known.as_str()).collect();
            format!("action {text:?} is not known: there are {}", words.join(", "))
        })
    }
}

/// What was done, by whom, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// Rising, not without gaps.
    pub id: u64,
    /// By the database's clock.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// The session or token that asked, as in the server's log; `system` for what no one asked for, `machine` for a command on
    /// the server's machine.
    pub subject: String,
    /// Of the person or the token then; for a refused sign-in the name that was tried.
    pub name: String,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The pipeline that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelineName>,
    /// The build that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// More of it: one sentence, never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Entries, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Those with a smaller id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// At most so many: [`AUDIT_LIMIT`] unless given, [`AUDIT_LIMIT_MAX`] at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Those about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelineName>,
    /// Those of this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Those under this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Those of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_the_same_word_everywhere() {
        for action in Action::ALL {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
            assert_eq!(action.as_str().parse(), Ok(*action));
        }
        assert!("nothing".parse::<Action>().unwrap_err().contains("signed_in"));
    }
}
