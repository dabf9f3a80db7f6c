//! Hooks: doors through which GitHub, Gitea and Forgejo say that something was pushed. What comes is believed for its
//! signature alone; the secret of it is derived from the installation key, the hook and its generation, and stands nowhere.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{HookId, PipelineName, Timestamp};

/// Who calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// github.com, or GitHub Enterprise Server.
    #[default]
    Github,
    /// A Gitea.
    Gitea,
    /// A Forgejo, Codeberg among them.
    Forgejo,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Github, Self::Gitea, Self::Forgejo];

    /// The word, as on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
        }
    }

    /// The header with the signature, in lower case, and what stands in it before the hexadecimal digits.
    #[must_use]
    pub fn signature_header(self) -> (&'static str, &'static str) {
        match self {
            Self::Github => ("x-hub-signature-256", "sha256="),
            Self::Gitea => ("x-gitea-signature", ""),
            Self::Forgejo => ("x-forgejo-signature", ""),
        }
    }

    /// The header with the name of the event, in lower case.
    #[must_use]
    pub fn event_header(self) -> &'static str {
        match self {
            Self::Github => "x-github-event",
            Self::Gitea => "x-gitea-event",
            Self::Forgejo => "x-forgejo-event",
        }
    }

    /// The header with the id of the delivery, in lower case.
    #[must_use]
    pub fn delivery_header(self) -> &'static str {
        match self {
            Self::Github => "x-github-delivery",
            Self::Gitea => "x-gitea-delivery",
            Self::Forgejo => "x-forgejo-delivery",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| format!("provider {text:?} is not known: it must be `github`, `gitea` or `forgejo`"))
    }
}

/// A hook that is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewHook {
    /// Who is going to call.
    #[serde(default)]
    pub provider: Provider,
}

/// A hook, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookView {
    /// Its id.
    pub id: HookId,
    /// What it builds.
    pub pipeline: PipelineName,
    /// Who calls.
    pub provider: Provider,
    /// Where they post to.
    pub url: String,
    /// How many secrets it has had.
    pub generation: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When a delivery was last built, if one was within 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_built_at: Option<Timestamp>,
}

/// A hook with its secret, which is shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownHook {
    /// The hook.
    #[serde(flatten)]
    pub hook: HookView,
    /// What its deliveries are signed with.
    pub secret: String,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Delivered {
    /// It was built, now or when it first came.
    Built {
        /// The build.
        build: crate::BuildId,
        /// Whether it came before.
        repeated: bool,
    },
    /// Nothing is built.
    Ignored {
        /// Why. One sentence.
        reason: String,
    },
}
