//! Who asks. Every handler, frame and subscription takes an [`Authority`]; nothing makes one but signing in and tokens.

use serde::{Deserialize, Serialize};

/// Who asks, and what they may do. For now there is one role: the owner may do everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Authority {
    /// The role.
    pub role: Role,
    /// The session or token that it was made from, for P8 and the log; never the secret itself.
    pub subject: String,
}

/// What a session or a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Owner,
}

impl std::str::FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "owner" => Ok(Self::Owner),
            other => Err(format!("role {other:?} is not known: it must be `owner`")),
        }
    }
}
