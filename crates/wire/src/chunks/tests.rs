//! Streams that arrive in every order, and those that were changed.

use super::*;
use crate::{JobId, mac::InstallationKey};

const STREAM: Uuid = Uuid::from_u128(9);

fn key() -> EventKey {
    InstallationKey([1; 32]).event_key(JobId(Uuid::nil()), 1)
}

fn stream(bytes: &[u8], piece: usize) -> Vec<Chunk> {
    let mut pieces: Vec<Vec<u8>> = bytes.chunks(piece).map(<[u8]>::to_vec).collect();
    if pieces.is_empty() {
        pieces.push(Vec::new());
    }
    let count = pieces.len();
    let sha256 = hex(&Sha256::digest(bytes));
    let chunk = |(n, data): (usize, Vec<u8>)| {
        Chunk::sealed(&key(), STREAM, n as u64, data, (n + 1 == count).then(|| sha256.clone()))
    };
    pieces.into_iter().enumerate().map(chunk).collect()
}

fn assembly(size: usize) -> Assembly {
    Assembly::new(STREAM, key(), size as u64)
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n * 7 % 251) as u8).collect()
}

/// A generator of numbers that every run has the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn chunks_come_back_as_they_were_written_and_stay_below_a_messages_limit() {
    let chunk = Chunk::sealed(&key(), STREAM, 3, vec![255; CHUNK_BYTES], Some("ab".to_owned()));
    let body = chunk.encode();
    assert!(body.len() < crate::payload::INLINE_BYTES_MAX, "{}", body.len());
    assert_eq!(Chunk::decode(&body).unwrap(), chunk);
    let lease = LeaseRef { job: JobId(Uuid::nil()), attempt: 1 };
    let open = Open::sealed(&key(), STREAM, lease, "a/b".to_owned(), 5);
    assert!(Open::decode(&open.encode()).unwrap().is_genuine(&key()));
    assert!(!Open { name: "a/c".to_owned(), ..open.clone() }.is_genuine(&key()));
    assert!(!open.is_genuine(&InstallationKey([2; 32]).event_key(JobId(Uuid::nil()), 1)));
}

#[test]
fn chunks_in_any_order_doubled_and_repeated_make_the_same_bytes() {
    for round in 0..200 {
        let mut dice = Dice(round);
        let whole = bytes(dice.below(4_000));
        let chunks = stream(&whole, 1 + dice.below(200));
        let mut assembly = assembly(whole.len());
        let (mut made, mut from, mut held_max) = (Vec::new(), 0, 0);
        // Some of the window are lost, some come twice, all in any order; then the sender repeats from what is missing.
        while assembly.sha256().is_none() {
            let end = chunks.len().min(from + WINDOW as usize);
            let mut sent: Vec<usize> = (from..end).filter(|_| dice.below(4) != 0).collect();
            sent.extend((0..dice.below(5)).map(|_| dice.below(end)));
            for n in (1..sent.len()).rev() {
                sent.swap(n, dice.below(n + 1));
            }
            for n in sent {
                match assembly.push(chunks[n].clone()).unwrap() {
                    Step::Pieces(pieces) => made.extend(pieces.concat()),
                    Step::Early { from } | Step::TooEarly { from } => assert_eq!(from, assembly.next()),
                    Step::Doubled => {}
                }
                held_max = held_max.max(assembly.early.len());
            }
            from = assembly.next() as usize;
        }
        assert!(made == whole, "round {round}");
        assert!(held_max < WINDOW as usize);
    }
}

#[test]
fn chunks_that_come_far_too_early_are_not_held() {
    let whole = bytes(100);
    let chunks = stream(&whole, 2);
    let mut assembly = assembly(100);
    for n in (1..50).rev() {
        let step = assembly.push(chunks[n].clone()).unwrap();
        let expected = if n < WINDOW as usize { Step::Early { from: 0 } } else { Step::TooEarly { from: 0 } };
        assert_eq!(step, expected, "{n}");
    }
    let Step::Pieces(pieces) = assembly.push(chunks[0].clone()).unwrap() else { panic!("no pieces") };
    assert_eq!(pieces.len(), WINDOW as usize);
    assert_eq!(assembly.next(), WINDOW);
}

#[test]
fn chunks_that_were_changed_spoil_the_stream() {
    let whole = bytes(10);
    let chunks = stream(&whole, 4);
    let first = chunks[0].clone();
    let changes: [Chunk; 4] = [
        Chunk { data: vec![0; 4], ..first.clone() },
        Chunk { index: 1, ..first.clone() },
        Chunk { last: true, ..first.clone() },
        Chunk { stream_id: Uuid::nil(), ..first.clone() },
    ];
    for (n, changed) in changes.into_iter().enumerate() {
        let index = changed.index;
        assert_eq!(assembly(10).push(changed), Err(Spoiled::Changed { index }), "{n}");
    }
    let other = InstallationKey([2; 32]).event_key(JobId(Uuid::nil()), 1);
    let foreign = Chunk::sealed(&other, STREAM, 0, first.data.clone(), None);
    assert_eq!(assembly(10).push(foreign), Err(Spoiled::Changed { index: 0 }));
}

#[test]
fn chunks_that_are_not_what_was_opened_spoil_the_stream() {
    let whole = bytes(10);
    let chunks = stream(&whole, 4);
    let through = |size: usize, chunks: &[Chunk]| {
        let mut assembly = assembly(size);
        chunks.iter().try_for_each(|chunk| assembly.push(chunk.clone()).map(drop))
    };
    assert_eq!(through(10, &chunks), Ok(()));
    assert_eq!(through(9, &chunks), Err(Spoiled::Longer { size: 9 }));
    assert_eq!(through(11, &chunks), Err(Spoiled::Shorter { found: 10, size: 11 }));
    let wrong = Chunk::sealed(&key(), STREAM, 2, chunks[2].data.clone(), Some("ab".to_owned()));
    let spoiled = through(10, &[chunks[0].clone(), chunks[1].clone(), wrong]);
    assert!(matches!(spoiled, Err(Spoiled::Digest { .. })), "{spoiled:?}");
    let beyond = Chunk::sealed(&key(), STREAM, 3, vec![1], None);
    let spoiled = through(10, &[&chunks[..], std::slice::from_ref(&beyond)].concat());
    assert!(matches!(spoiled, Err(Spoiled::Unfit { index: 3, .. })), "{spoiled:?}");
    let spoiled = through(10, &[&[beyond][..], &chunks].concat());
    assert!(matches!(spoiled, Err(Spoiled::Unfit { index: 3, .. })), "{spoiled:?}");
    let large = Chunk::sealed(&key(), STREAM, 0, vec![0; CHUNK_BYTES + 1], None);
    assert!(matches!(through(1 << 30, &[large]), Err(Spoiled::Unfit { .. })));
}

#[test]
fn chunks_of_nothing_are_a_stream_of_one() {
    let mut assembly = assembly(0);
    assert_eq!(assembly.push(stream(&[], 4)[0].clone()), Ok(Step::Pieces(vec![Vec::new()])));
    assert_eq!(assembly.sha256(), Some(hex(&Sha256::digest([])).as_str()));
}
