//! Authorities that were looked up a moment ago: a program that opens ten thousand sockets at once asks the store once.
//! Nothing is known for longer than [`KNOWN_FOR`], and only what is there is.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use wire::Authority;

/// So long after it was taken away elsewhere an authority may still be taken, if the message that says so is late.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// Authorities that are known at a time.
const KNOWN_MAX: usize = 1000;

/// See the module.
#[derive(Default)]
pub(crate) struct Known {
    /// By credential. A std mutex: held for a map operation.
    authorities: Mutex<HashMap<String, (Instant, Authority)>>,
}

impl Known {
    /// The authority of a credential, if it was looked up just now.
    pub(crate) fn get(&self, key: &str, now: Instant) -> Option<Authority> {
        let authorities = self.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, authority) = authorities.get(key)?;
        (now.saturating_duration_since(*since) < KNOWN_FOR).then(|| authority.clone())
    }

    /// It was looked up.
    pub(crate) fn put(&self, key: String, authority: Authority, now: Instant) {
        let mut authorities = self.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        if authorities.len() >= KNOWN_MAX {
            authorities.clear();
        }
        authorities.insert(key, (now, authority));
    }

    /// Something was taken away: all is looked up anew.
    pub(crate) fn clear(&self) {
        self.authorities.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use wire::authority::{Grants, Role};

    use super::*;

    #[test]
    fn an_authority_is_known_for_a_moment() {
        let (known, now) = (Known::default(), Instant::now());
        let put = || known.put("a".to_owned(), Authority::new("a", None, "a", Grants::everywhere(Role::Admin)), now);
        put();
        assert!(known.get("a", now + KNOWN_FOR / 2).is_some() && known.get("b", now).is_none());
        assert!(known.get("a", now + KNOWN_FOR).is_none());
        put();
        known.clear();
        assert!(known.get("a", now).is_none());
    }
}
