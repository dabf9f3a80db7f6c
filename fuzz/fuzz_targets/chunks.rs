//! A stream of chunks that comes in any order, doubled, changed and cut short: what is given out is a beginning of what was sent, and is
//! called whole only when it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use wire::{
    JobId,
    chunks::{Assembly, Chunk, Open, Step, hex},
    mac::InstallationKey,
};

fuzz_target!(|bytes: &[u8]| {
    // As messages of anybody.
    let _ = (Open::decode(bytes), Chunk::decode(bytes));
    let [size, length, orders @ ..] = bytes else { return };
    let sent: Vec<u8> = (0..usize::from(*size)).map(|n| (n * 7 + n / 256) as u8).collect();
    let length = usize::from(*length % 16) + 1;
    let (stream, key) = (Uuid::from_u128(1), InstallationKey([1; 32]).event_key(JobId(Uuid::nil()), 1));
    let mut pieces: Vec<&[u8]> = sent.chunks(length).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    let digest = hex(&Sha256::digest(&sent));
    let chunk = |n: usize| {
        let is_last = n + 1 == pieces.len();
        Chunk::sealed(&key, stream, n as u64, pieces[n].to_vec(), is_last.then(|| digest.clone()))
    };
    let mut assembly = Assembly::new(stream, key.clone(), sent.len() as u64);
    let mut got = Vec::new();
    for order in orders {
        let n = usize::from(order & 0x3f) % pieces.len();
        let mut coming = chunk(n);
        let is_changed = match order >> 6 {
            1 => {
                coming.data.push(*order);
                true
            }
            2 => {
                coming.index += 1;
                true
            }
            _ => false,
        };
        match assembly.push(coming) {
            Ok(Step::Pieces(more)) => {
                assert!(!is_changed, "a chunk that was changed is taken");
                got.extend(more.concat());
            }
            Ok(_) => assert!(!is_changed, "a chunk that was changed is not told of"),
            Err(_) => {
                assert!(is_changed, "a stream that is as it was sent is refused");
                break;
            }
        }
        assert!(sent.starts_with(&got));
        assert_eq!(assembly.sha256().is_some(), assembly.next() == pieces.len() as u64);
        if assembly.sha256().is_some() {
            assert_eq!(got, sent);
        }
    }
});
