//! Sign-ins that fail make the next ones wait: by the name that is tried, and by the client's address. A wait doubles with
//! each failure up to [`WAIT_MAX`]; what is tried meanwhile is refused unseen, the right password too, and makes no wait
//! longer, so that nobody can be kept out for good. Each gateway counts for itself, in bounded memory.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use wire::account::spaced;

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// Failures of one name that cost nothing: fingers slip.
const NAME_FREE: u32 = 5;
/// Failures from one address that cost nothing: many people may share one.
const ADDRESS_FREE: u32 = 30;
/// Failures are forgotten when there was none for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 60);
/// Names and addresses that are remembered at a time; beyond it those go first whose last failure is the oldest.
const REMEMBERED_MAX: usize = 20_000;

/// Whose failures are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// By hash: what is typed into the field of a name may be a password.
    Name(String),
    /// By [`network`].
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
    /// No try is looked at before.
    until: Instant,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Backoff {
    // A std mutex: held for a map operation.
    failures: Mutex<HashMap<Key, Failures>>,
}

impl Backoff {
    /// A try begins: it counts as one that failed until something else is said of it, so that tries at the same time count
    /// too. A token has no name.
    ///
    /// # Errors
    /// How long to wait before a try is looked at.
    pub(crate) fn begin(&self, name: Option<&str>, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = keys(name, address).filter_map(|key| failures.get(&key)?.until.checked_duration_since(now));
        if let Some(wait) = waits.max().filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if failures.len() + 2 > REMEMBERED_MAX {
            make_room(&mut failures, now);
        }
        for key in keys(name, address) {
            let free = if matches!(key, Key::Name(_)) { NAME_FREE } else { ADDRESS_FREE };
            let known = failures.entry(key).or_insert(Failures { count: 0, last: now, until: now });
            if now.saturating_duration_since(known.last) >= FORGOTTEN_AFTER {
                known.count = 0;
            }
            known.count = known.count.saturating_add(1);
            known.last = now;
            if let Some(doublings) = known.count.checked_sub(free) {
                let wait = Duration::from_secs(1u64.checked_shl(doublings).unwrap_or(u64::MAX));
                known.until = now + wait.min(WAIT_MAX);
            }
        }
        Ok(())
    }

    /// The try was right: all failures of the name are forgotten, and of the address this one.
    pub(crate) fn succeeded(&self, name: Option<&str>, address: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(name, address) {
            match &key {
                Key::Name(_) => drop(failures.remove(&key)),
                Key::Address(_) => take_back(&mut failures, &key),
            }
        }
    }

    /// The try could not be looked at.
    pub(crate) fn not_judged(&self, name: Option<&str>, address: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        keys(name, address).for_each(|key| take_back(&mut failures, &key));
    }
}

/// One failure less.
fn take_back(failures: &mut HashMap<Key, Failures>, key: &Key) {
    if let Some(known) = failures.get_mut(key) {
        known.count = known.count.saturating_sub(1);
        known.until = known.last;
    }
}

fn make_room(failures: &mut HashMap<Key, Failures>, now: Instant) {
    failures.retain(|_, known| now.saturating_duration_since(known.last) < FORGOTTEN_AFTER);
    if failures.len() > REMEMBERED_MAX / 2 {
        let mut times: Vec<Instant> = failures.values().map(|known| known.last).collect();
        let (_, middle, _) = times.select_nth_unstable(REMEMBERED_MAX / 4);
        let middle = *middle;
        failures.retain(|_, known| known.last > middle);
    }
}

/// An IPv4 address, or the network of an IPv6 address: one host has all of its addresses.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        four => four,
    }
}

fn keys(name: Option<&str>, address: IpAddr) -> impl Iterator<Item = Key> {
    let name = name.map(|name| Key::Name(crate::secret::sha256(&spaced(name).to_lowercase())));
    name.into_iter().chain([Key::Address(network(address))])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn waits_double_by_name_and_never_exceed_a_quarter_of_an_hour() {
        let (backoff, mut now) = (Backoff::default(), Instant::now());
        for n in 1..=NAME_FREE {
            assert_eq!(backoff.begin(Some("Ada"), address(n), now), Ok(()), "try {n}");
        }
        let mut last = Duration::ZERO;
        for n in 100..130 {
            let wait = backoff.begin(Some("ada "), HERE, now).unwrap_err();
            assert!(wait <= WAIT_MAX && (wait == last * 2 || wait == WAIT_MAX || last.is_zero()), "{wait:?}");
            assert_eq!(backoff.begin(Some("Ada"), HERE, now), Err(wait), "trying meanwhile makes it no longer");
            assert_eq!(backoff.begin(Some(&n.to_string()), address(n), now), Ok(()), "others are not meant");
            (last, now) = (wait, now + wait);
            assert_eq!(backoff.begin(Some("Ada"), address(n), now), Ok(()), "it is over");
        }
        assert_eq!(last, WAIT_MAX);
        backoff.succeeded(Some("Ada"), HERE);
        assert_eq!(backoff.begin(Some("Ada"), address(1), now), Ok(()), "it begins anew");
        assert_eq!(backoff.begin(Some("Ada"), address(1), now), Ok(()));
    }

    #[test]
    fn white_space_makes_no_other_name() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        for n in 0..NAME_FREE {
            let name = format!("Ada{}Lovelace", "\u{a0}".repeat(n as usize + 1));
            assert_eq!(backoff.begin(Some(&name), address(n), now), Ok(()));
        }
        assert!(backoff.begin(Some("Ada Lovelace"), HERE, now).is_err());
    }

    #[test]
    fn one_address_that_tries_many_names_waits_and_who_gets_in_does_not() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        let network: IpAddr = "2001:db8::1".parse().unwrap();
        for _ in 0..2 * ADDRESS_FREE {
            assert_eq!(backoff.begin(None, network, now), Ok(()));
            backoff.succeeded(None, network);
            assert_eq!(backoff.begin(Some("busy"), network, now), Ok(()));
            backoff.not_judged(Some("busy"), network);
        }
        for n in 0..ADDRESS_FREE {
            assert_eq!(backoff.begin(Some(&n.to_string()), network, now), Ok(()));
        }
        assert!(backoff.begin(Some("x"), "2001:db8::ffff".parse().unwrap(), now).is_err(), "the same network");
        assert_eq!(backoff.begin(Some("x"), "2001:db8:1::1".parse().unwrap(), now), Ok(()));
    }

    #[test]
    fn old_failures_are_forgotten_and_memory_is_bounded() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        for n in 0..NAME_FREE {
            backoff.begin(Some("Ada"), address(n), now).unwrap();
        }
        let later = now + FORGOTTEN_AFTER + WAIT_MAX;
        assert_eq!(backoff.begin(Some("Ada"), HERE, later), Ok(()));
        assert_eq!(backoff.begin(Some("Ada"), HERE, later), Ok(()));
        for n in 0..50_000 {
            backoff.begin(Some(&format!("name {n}")), address(n), now).unwrap();
        }
        assert!(backoff.failures.lock().unwrap().len() <= REMEMBERED_MAX);
    }
}
