//! What a browser keeps between the start of a sign-in and the provider's answer: sealed under a key of the installation, so
//! that any gateway opens it and no other browser has it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vault::TicketKey;
use wire::{AccountId, Timestamp};

use crate::secret;

/// A sign-in must be answered within so many seconds.
pub(crate) const TICKET_SECONDS: i64 = 600;
/// Bytes of the page to go on to; a longer address is forgotten, for a cookie holds 4 kB.
const NEXT_BYTES_MAX: usize = 1000;
/// Bytes of an invitation's secret: longer ones are none.
const SECRET_BYTES_MAX: usize = 200;

/// What a sign-in was begun for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// To come in.
    SignIn,
    /// To come in, and to use an invitation if there is no account yet.
    Invitation(String),
    /// To have an account belong to who the provider says it is.
    Link {
        /// Which account.
        account: AccountId,
        /// The session that asked for it.
        session: Uuid,
    },
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// The answer must bring it.
    pub(crate) state: String,
    /// What the provider signs must hold it.
    pub(crate) nonce: String,
    /// Shows that who brings the answer is who asked (PKCE).
    pub(crate) verifier: String,
    /// It is good until then, by the clock of this machine.
    pub(crate) until: Timestamp,
    /// Where the person wanted to go; judged anew before it is gone to.
    pub(crate) next: String,
    /// See [`Purpose`].
    pub(crate) purpose: Purpose,
}

impl Ticket {
    /// What fits into a cookie of it.
    pub(crate) fn sealed(mut self, key: &TicketKey) -> Result<String, String> {
        if self.next.len() > NEXT_BYTES_MAX {
            self.next = "/".to_owned();
        }
        if let Purpose::Invitation(secret) = &mut self.purpose
            && secret.len() > SECRET_BYTES_MAX
        {
            *secret = String::new();
        }
        let json = serde_json::to_vec(&self).map_err(|failure| failure.to_string())?;
        key.seal(&json).map_err(|failure| failure.to_string())
    }

    /// The ticket that was sealed, if it is still good and `state` is its own.
    pub(crate) fn open(key: &TicketKey, sealed: &str, state: &str, now: Timestamp) -> Option<Self> {
        let opened = key.open(sealed)?;
        let ticket: Self = serde_json::from_slice(&opened).ok()?;
        // By their hashes: the time that it takes says nothing of where they differ.
        let is_own = secret::sha256(&ticket.state) == secret::sha256(state);
        (is_own && now < ticket.until).then_some(ticket)
    }

    /// What its answer is known by, so that it is good once.
    pub(crate) fn answer(&self) -> String {
        secret::sha256(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use wire::mac::InstallationKey;

    use super::*;

    fn key(byte: u8) -> TicketKey {
        TicketKey::new(&InstallationKey([byte; 32]), "openid").unwrap()
    }

    fn ticket() -> Ticket {
        Ticket {
            state: "s".repeat(22),
            nonce: "n".repeat(22),
            verifier: "v".repeat(43),
            until: Timestamp(1000),
            next: "/builds/1".to_owned(),
            purpose: Purpose::Invitation("invitation_abc".to_owned()),
        }
    }

    #[test]
    fn a_ticket_opens_for_its_own_state_until_its_time_has_come() {
        let sealed = ticket().sealed(&key(1)).unwrap();
        let open = |byte, state: &str, now| Ticket::open(&key(byte), &sealed, state, Timestamp(now));
        assert_eq!(open(1, &"s".repeat(22), 999), Some(ticket()));
        assert_eq!(open(1, &"s".repeat(22), 1000), None, "it is too late");
        assert_eq!(open(2, &"s".repeat(22), 999), None, "another installation");
        for state in ["", "s", &"s".repeat(23), &"n".repeat(22)] {
            assert_eq!(open(1, state, 999), None, "{state:?}");
        }
        assert!(!sealed.contains("invitation_abc"));
    }

    #[test]
    fn a_ticket_fits_into_a_cookie_whatever_it_is_asked_to_hold() {
        let long = Ticket {
            next: format!("/{}", "\"".repeat(NEXT_BYTES_MAX * 5)),
            purpose: Purpose::Invitation("\"".repeat(100_000)),
            ..ticket()
        };
        let sealed = long.sealed(&key(1)).unwrap();
        assert!(sealed.len() < 1000, "{}", sealed.len());
        let most = Ticket {
            next: format!("/{}", "\"".repeat(NEXT_BYTES_MAX - 1)),
            purpose: Purpose::Invitation("\"".repeat(SECRET_BYTES_MAX)),
            ..ticket()
        };
        let sealed = most.sealed(&key(1)).unwrap();
        assert!(sealed.len() < 3800, "{}", sealed.len());
        let opened = Ticket::open(&key(1), &sealed, &"s".repeat(22), Timestamp(0)).unwrap();
        assert_eq!(opened.next.len(), NEXT_BYTES_MAX);
    }
}
