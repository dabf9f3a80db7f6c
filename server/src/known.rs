//! Authorities that were looked up a moment ago: a program that opens ten thousand sockets at once asks the store once.
//! Nothing is known for longer than [`KNOWN_FOR`], only what is there is, and nothing that was looked up before something was
//! taken away.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
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
    /// A std mutex: held for a map operation.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// How often something was taken away.
    changes: u64,
    /// By credential.
    authorities: HashMap<String, (Instant, Authority)>,
}

impl Known {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often something was taken away.
    pub(crate) fn changes(&self) -> u64 {
        self.kept().changes
    }

    /// The authority of a credential, if it was looked up just now.
    pub(crate) fn get(&self, key: &str, now: Instant) -> Option<Authority> {
        let kept = self.kept();
        let (since, authority) = kept.authorities.get(key)?;
        (now.saturating_duration_since(*since) < KNOWN_FOR).then(|| authority.clone())
    }

    /// It was looked up, which began after so many [`Known::changes`]. What was taken away meanwhile is not remembered.
    pub(crate) fn put(&self, key: String, authority: Authority, changes: u64, now: Instant) {
        let mut kept = self.kept();
        if kept.changes != changes {
            return;
        }
        if kept.authorities.len() >= KNOWN_MAX {
            kept.authorities.clear();
        }
        kept.authorities.insert(key, (now, authority));
    }

    /// Something was taken away: all is looked up anew.
    pub(crate) fn clear(&self) {
        let mut kept = self.kept();
        kept.changes += 1;
        kept.authorities.clear();
    }
}

#[cfg(test)]
mod tests {
    use wire::authority::{Grants, Role};

    use super::*;

    #[test]
    fn an_authority_is_known_for_a_moment() {
        let (known, now) = (Known::default(), Instant::now());
        let authority = || Authority::new("a", None, "a", Grants::everywhere(Role::Admin));
        let put = || known.put("a".to_owned(), authority(), known.changes(), now);
        put();
        assert!(known.get("a", now + KNOWN_FOR / 2).is_some() && known.get("b", now).is_none());
        assert!(known.get("a", now + KNOWN_FOR).is_none());
        put();
        let before = known.changes();
        known.clear();
        assert!(known.get("a", now).is_none());
        // It was looked up before something was taken away, and comes after that.
        known.put("a".to_owned(), authority(), before, now);
        assert!(known.get("a", now).is_none());
    }
}
