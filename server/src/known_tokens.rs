//! Tokens that were looked up a moment ago: a program that opens ten thousand sockets at once asks the store once. Nothing is
//! known for longer than [`KNOWN_FOR`], and only tokens that exist are.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use wire::Authority;

/// So long after it was taken away a token may still be taken.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// Tokens that are known at a time.
const TOKENS_MAX: usize = 1000;

/// See the module.
#[derive(Default)]
pub(crate) struct KnownTokens {
    /// By hash. A std mutex: held for a map operation.
    tokens: Mutex<HashMap<String, (Instant, Authority)>>,
}

impl KnownTokens {
    /// The authority of a token, if it was looked up just now.
    pub(crate) fn get(&self, sha256: &str, now: Instant) -> Option<Authority> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, authority) = tokens.get(sha256)?;
        (now.saturating_duration_since(*since) < KNOWN_FOR).then(|| authority.clone())
    }

    /// A token was looked up.
    pub(crate) fn put(&self, sha256: String, authority: Authority, now: Instant) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(sha256, (now, authority));
    }
}

#[cfg(test)]
mod tests {
    use wire::authority::{Grants, Role};

    use super::*;

    #[test]
    fn a_token_is_known_for_a_moment() {
        let (known, now) = (KnownTokens::default(), Instant::now());
        known.put("a".to_owned(), Authority::new("token:a", None, "a", Grants::everywhere(Role::Admin)), now);
        assert!(known.get("a", now + KNOWN_FOR / 2).is_some() && known.get("b", now).is_none());
        assert!(known.get("a", now + KNOWN_FOR).is_none());
    }
}
