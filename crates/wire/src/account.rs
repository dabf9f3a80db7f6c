//! People, their invitations and tokens, as they are shown and asked for; and what a name and a password must be.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Timestamp, authority::Grants, text::is_plain_line};

/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 60;
/// Characters of a password: at least.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Bytes of a password: at most.
pub const PASSWORD_BYTES_MAX: usize = 512;
/// Digits of the ids of tokens and invitations, which begin the hash of the secret.
pub const SECRET_ID_DIGITS: usize = 16;

/// Passwords of at least twelve characters that everybody tries first, from published lists of leaked ones.
const COMMONEST: [&str; 32] = [
    "123456789012",
    "1234567890123",
    "12345678901234",
    "123456123456",
    "123123123123",
    "111111111111",
    "000000000000",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiop1234",
    "qwertyuiopasdfgh",
    "qwertyuiop[]",
    "1qaz2wsx3edc",
    "1q2w3e4r5t6y",
    "1q2w3e4r5t6y7u8i",
    "zaq12wsxcde3",
    "q1w2e3r4t5y6",
    "abcdefghijkl",
    "abcdefghijklmnop",
    "abc123abc123",
    "password1234",
    "password12345",
    "password123456",
    "passwordpassword",
    "administrator",
    "administrator1",
    "letmeinletmein",
    "iloveyouiloveyou",
    "unknownunknown",
    "changemechangeme",
    "correcthorsebatterystaple",
    "stepcaststepcast",
];

/// A person, as admins see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountView {
    /// Its id.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub grants: Grants,
    /// It cannot sign in.
    pub disabled: bool,
    /// By what it signs in.
    pub signs_in: SignsIn,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it signed in last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_in_at: Option<Timestamp>,
}

/// By what an account signs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignsIn {
    /// By its name and a password.
    pub password: bool,
    /// By a provider of OpenID Connect.
    pub provider: bool,
}

/// Who asks, as they see themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnView {
    /// The account; none for a token that no person made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Of the person or the token.
    pub name: String,
    /// What may be done.
    pub grants: Grants,
    /// Whether a person has signed in: all sessions can be ended, and a password that there is can be changed.
    pub is_person: bool,
    /// By what the person signs in; none unless it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_in: Option<SignsIn>,
    /// Name of the provider of OpenID Connect that people can sign in by, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// An invitation, as admins see it. The link itself is shown once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvitationView {
    /// The first 16 digits of the link's hash.
    pub id: String,
    /// What it is for.
    pub note: String,
    /// To whom uses it.
    pub grants: Grants,
    /// Who made it.
    pub invited_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A token, as its owner and admins see it. The token itself is shown once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenView {
    /// The first 16 digits of its hash.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do, at most: never more than who made it.
    pub grants: Grants,
    /// Who made it; none when it was made on the server's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When it was made; none for one of before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When it ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
}

/// A request for a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What it may do: no more than who asks.
    pub grants: Grants,
    /// Seconds until it ends; never unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// A token that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeToken {
    /// The token. It is shown this once.
    pub secret: String,
    /// What is kept of it.
    pub token: TokenView,
}

/// A request for an invitation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// What it is for.
    #[serde(default)]
    pub note: String,
    /// To whom uses it.
    pub grants: Grants,
}

/// An invitation that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeInvitation {
    /// The address that makes an account, once. It is shown this once.
    pub link: String,
    /// What is kept of it.
    pub invitation: InvitationView,
}

/// A change of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeAccount {
    /// What is granted from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Grants>,
    /// Whether it is disabled from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// What was granted when who asks looked: if it is something else by now nothing is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Grants>,
}

/// A change of one's own password.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The present one.
    pub old: String,
    /// The one from now on.
    pub new: String,
}

impl std::fmt::Debug for ChangePassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChangePassword")
    }
}

/// How what is no person begins where people read who did something.
const NOT_PEOPLE: [&str; 5] = ["token ", "hook of ", "push to ", "tag ", "pull request "];
/// What the audit log calls those who have no name.
const NOBODY: [&str; 3] = ["somebody", "stepcast", "the server's machine"];

/// A text with one space wherever it has white space of any kind and length, and none around it: what reads as one name is one.
#[must_use]
pub fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A name as it is kept: without what stands around it, its words apart by one space each.
///
/// # Errors
/// When it is empty or too long, holds what cannot be seen, or reads as something that is no person.
pub fn name(text: &str) -> Result<String, String> {
    let (is_plain, name) = (is_plain_line(text.trim()), spaced(text));
    if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) || !is_plain {
        return Err(format!("A name must be 1 to {NAME_CHARS_MAX} letters that can be seen."));
    }
    let lower = name.to_lowercase();
    if NOT_PEOPLE.iter().any(|begin| lower.starts_with(begin)) || NOBODY.contains(&&*lower) {
        return Err("This name would read as a token, a hook or Stepcast itself: take another one.".to_owned());
    }
    Ok(name)
}

/// Whether a password may be chosen for an account of this name.
///
/// # Errors
/// When it is too short or too long, or among the first that anybody would try.
pub fn check_password(password: &str, name: &str) -> Result<(), String> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(format!("A password must have at least {PASSWORD_CHARS_MIN} characters: a few words do."));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("A password may have {PASSWORD_BYTES_MAX} bytes at most."));
    }
    let (password, name) = (password.to_lowercase(), name.trim().to_lowercase());
    let rest = if name.is_empty() { password.clone() } else { password.replace(&name, "") };
    if rest.chars().count() < PASSWORD_CHARS_MIN / 2 {
        return Err("A password must not be made of the name: take a few words that others do not think of.".to_owned());
    }
    let first = password.chars().next();
    if COMMONEST.contains(&password.as_str()) || password.chars().all(|letter| Some(letter) == first) {
        return Err("This password is among the first that anybody would try: take a few words of your own.".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_anybody_would_try_are_refused() {
        assert_eq!(check_password("three blue kettles", "Ada"), Ok(()));
        for (bad, name) in [
            ("short", "Ada"),
            ("eleven chars", "eleven chars"),
            ("adalovelaceada", "AdaLovelace"),
            ("Password1234", "Ada"),
            ("............", "Ada"),
            ("elevenchars", "Ada"),
        ] {
            assert!(check_password(bad, name).is_err(), "{bad:?}");
        }
        assert!(check_password(&"ab".repeat(PASSWORD_BYTES_MAX), "Ada").is_err());
        assert!(
            COMMONEST.iter().all(|word| word.chars().count() >= PASSWORD_CHARS_MIN),
            "the others are too short anyway"
        );
    }

    #[test]
    fn names_are_what_can_be_seen() {
        assert_eq!(name("  Ada Lovelace "), Ok("Ada Lovelace".to_owned()));
        for bad in ["", "  ", "a\nb", "a\u{202e}b", &"x".repeat(NAME_CHARS_MAX + 1)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_reads_neither_as_another_nor_as_what_is_no_person() {
        for same in ["Ada  Lovelace", "Ada\u{a0}Lovelace", "\u{3000}Ada \u{2003} Lovelace"] {
            assert_eq!(name(same), Ok("Ada Lovelace".to_owned()), "{same:?}");
        }
        for bad in [
            "token ci",
            "Token\u{a0} ci of Ada",
            "hook of GitHub",
            "push to main",
            "TAG v1",
            "Pull  request 7",
            "somebody",
            "Stepcast",
            "The server's  machine",
        ] {
            assert!(name(bad).unwrap_err().contains("take another one"), "{bad:?}");
        }
        for good in ["Tokens", "Taggart", "Push", "Stepcaster", "Somebody else"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
    }
}
