//! Which worker takes a client that names none: rendezvous hashing, so that adding a worker moves only the clients that
//! go to it, and every process comes to the same answer.

use sha2::{Digest, Sha256};
use wire::ServerId;

/// The worker of `workers` with the highest weight for `text`; none if there is no worker.
pub(crate) fn rendezvous<'a>(workers: impl Iterator<Item = &'a ServerId>, text: &str) -> Option<&'a ServerId> {
    workers.max_by_key(|worker| weight(worker, text))
}

fn weight(worker: &ServerId, text: &str) -> [u8; 32] {
    Sha256::new().chain_update(worker.as_str()).chain_update([0]).chain_update(text).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(count: usize) -> Vec<ServerId> {
        (0..count).map(|n| ServerId::new("gw", n).unwrap()).collect()
    }

    #[test]
    fn a_further_worker_takes_clients_from_the_others_and_moves_none_between_them() {
        let (four, five) = (workers(4), workers(5));
        let mut moved = 0;
        for n in 0..1000 {
            let text = format!("192.0.2.{n}");
            let before = rendezvous(four.iter(), &text).unwrap();
            let after = rendezvous(five.iter(), &text).unwrap();
            if before != after {
                assert_eq!(after, &five[4]);
                moved += 1;
            }
        }
        assert!((120..280).contains(&moved), "{moved} of 1000 moved, a fifth was expected");
    }

    #[test]
    fn clients_are_spread_evenly_and_the_place_of_one_is_the_same_in_every_release() {
        let four = workers(4);
        let mut counts = [0; 4];
        for n in 0..1000 {
            counts[rendezvous(four.iter(), &format!("session {n}")).unwrap().worker()] += 1;
        }
        assert!(counts.iter().all(|count| (180..320).contains(count)), "{counts:?}");
        let text = "2001:db8::1";
        let by_hand = four.iter().max_by_key(|w| Sha256::digest(format!("{w}\0{text}"))).unwrap();
        assert_eq!(rendezvous(four.iter(), text), Some(by_hand));
    }
}
