//! What holds where several processes have the same database open at once. Beside the suite, because not every store lets
//! them: each function takes the stores of two processes, with nothing in their database.

use std::collections::BTreeSet;

use uuid::Uuid;
use wire::{Event, JobId, Topic, dead_letter::DeadLettersQuery};

use super::{
    concurrency::{end, waits_behind},
    dead_letters::letter,
    samples::{LONG, asked, build, claim, create, find, granted, job, line, log, message, record, step_started},
};
use crate::{
    Store,
    model::{Announcement, Created, Idempotency, dead_letter::Retention},
};

/// Both ask for more jobs than there are, all at once: no job is given twice, and none is left.
pub async fn p2_a_job_is_given_to_one_process(one: &dyn Store, other: &dyn Store) {
    for _ in 0..10 {
        create(one, build("p", vec![job("a"), job("b")])).await;
    }
    let asked = (0..30).map(|n| asked(if n % 2 == 0 { one } else { other }, claim("linux", LONG)));
    let given: Vec<_> = futures_util::future::join_all(asked).await.into_iter().filter_map(Result::unwrap).collect();
    let different: BTreeSet<_> = given.iter().map(|claimed| claimed.job).collect();
    assert_eq!((given.len(), different.len()), (20, 20));
    assert!(given.iter().all(|claimed| find(&claimed.build, claimed.job).attempt == 1));
}

/// Both ask for jobs of one group, all at once, while builds enter it through both: one at a time is given.
pub async fn p2_a_place_in_a_group_is_given_by_one_process(one: &dyn Store, other: &dyn Store) {
    let either = |n: usize| if n.is_multiple_of(2) { one } else { other };
    let made = (0..6).map(|n| create(either(n), waits_behind("deploy", 1)));
    futures_util::future::join_all(made).await;
    for _ in 0..6 {
        let asked = (0..10).map(|n| asked(either(n), claim("linux", LONG)));
        let given: Vec<_> =
            futures_util::future::join_all(asked).await.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(given.len(), 1);
        end(other, given[0].build.id, given[0].job).await;
    }
}

/// A claim that is repeated to another process gets the answer that the first one gave.
pub async fn p2_a_claim_is_repeated_to_another_process(one: &dyn Store, other: &dyn Store) {
    create(one, build("p", vec![job("a"), job("b")])).await;
    let asked = claim("linux", LONG);
    let (first, again) = tokio::join!(granted(one, &asked), granted(other, &asked));
    assert_eq!(first, again);
}

/// Of all who ask for a lease, in both processes, one gets it.
pub async fn p2_a_named_lease_has_one_holder_in_all_processes(one: &dyn Store, other: &dyn Store) {
    let holders: Vec<Uuid> = (0..16).map(|_| Uuid::new_v4()).collect();
    let asked = holders.iter().enumerate().map(|(n, holder)| {
        let store = if n % 2 == 0 { one } else { other };
        store.hold("control", *holder, LONG)
    });
    let held = futures_util::future::join_all(asked).await;
    assert_eq!(held.iter().filter(|held| matches!(held, Ok(Some(lease)) if lease.term == 1)).count(), 1);
    assert_eq!(held.iter().filter(|held| matches!(held, Ok(None))).count(), 15);
}

/// One key makes one build, whichever processes are asked at once; numbers have no gaps and no doubles.
pub async fn an_idempotency_key_makes_one_build_in_all_processes(one: &dyn Store, other: &dyn Store) {
    let asked = (0..20).map(|n| {
        let mut new = build("p", vec![job("a")]);
        new.idempotency = Some(Idempotency { key: format!("k{}", n % 5), digest: "d".to_owned() });
        if n % 2 == 0 { one } else { other }.create_build(new)
    });
    let made = futures_util::future::join_all(asked).await;
    let mut numbers: Vec<u64> = made
        .into_iter()
        .filter_map(|one| match one.unwrap() {
            Created::New(build) => Some(build.number),
            Created::Before(_) => None,
            Created::NoHook => panic!("no hook asked"),
            Created::NoPayload(_) => panic!("it has no files"),
            Created::OtherBody => panic!("it is the same body"),
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

/// Rules of both processes change one build: each sees what the last one left, and no offset is left out or given twice.
pub async fn p1_changes_of_two_processes_follow_one_another(one: &dyn Store, other: &dyn Store) {
    let made = create(one, build("p", vec![job("a")])).await;
    let changes = (0..20).map(|n| {
        let decide = |_: &mut _, _| Ok(vec![Announcement::Event(Event::BuildStarted {})]);
        if n % 2 == 0 { one } else { other }.change_build(made.id, Box::new(decide))
    });
    let mut revisions: Vec<u64> =
        futures_util::future::join_all(changes).await.into_iter().map(|build| build.unwrap().revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=21).collect::<Vec<_>>());
}

/// A relay reads on from the last id that it has seen, while both processes write: it misses no row.
pub async fn p1_a_relay_that_goes_by_ids_misses_no_row_of_any_process(one: &dyn Store, other: &dyn Store) {
    const BUILDS: usize = 200;
    let write = async {
        let asked = (0..BUILDS).map(|n| {
            let (store, pipeline) = if n % 2 == 0 { (one, "p") } else { (other, "q") };
            create(store, build(pipeline, vec![job("a")]))
        });
        futures_util::future::join_all(asked).await.len()
    };
    let read = async {
        let (mut last, mut seen) = (0, 0);
        let mut changed = one.outbox_changed();
        changed.mark_changed();
        while seen < BUILDS * 2 {
            changed.changed().await.unwrap();
            loop {
                let rows = one.outbox(last, 7).await.unwrap();
                let Some(row) = rows.last() else { break };
                (last, seen) = (row.id, seen + rows.len());
            }
        }
        seen
    };
    let both = async { tokio::join!(write, read) };
    let done = tokio::time::timeout(std::time::Duration::from_secs(60), both).await;
    assert_eq!(done.expect("a row was missed"), (BUILDS, BUILDS * 2));
}

/// What one process announces wakes the relay in another one.
pub async fn p1_a_row_of_another_process_is_told(one: &dyn Store, other: &dyn Store) {
    let mut changed = other.outbox_changed();
    // Its signals may not be heard yet: then the signal that they are heard now stands for those that were missed.
    changed.mark_unchanged();
    create(one, build("p", vec![job("a")])).await;
    tokio::time::timeout(LONG, changed.changed()).await.unwrap().unwrap();
    assert_eq!(other.outbox(0, 10).await.unwrap().len(), 2);
}

/// A message that died is delivered to both: one row, and each death is counted.
pub async fn a_dead_letter_has_one_row_in_all_processes(one: &dyn Store, other: &dyn Store) {
    let same = letter(Uuid::new_v4(), b"x");
    let kept = (0..20).map(|n| {
        let letters = vec![letter(Uuid::new_v4(), b"y"), same.clone()];
        if n % 2 == 0 { one } else { other }.bury(letters, Retention::default())
    });
    for kept in futures_util::future::join_all(kept).await {
        kept.unwrap();
    }
    let all = one.dead_letters(&DeadLettersQuery::default()).await.unwrap();
    let deaths: Vec<u32> =
        all.iter().filter(|view| view.message_id == same.message_id).map(|view| view.deaths).collect();
    assert_eq!((all.len(), deaths), (21, vec![20]));
}

/// A stale holder of a group's lease records what the present one records: each event has its effect once.
pub async fn p5_two_recorders_at_once_apply_each_event_once(one: &dyn Store, other: &dyn Store) {
    let topics: Vec<JobId> = (0..8).map(|_| JobId(Uuid::new_v4())).collect();
    let batch = |round: u64| -> Vec<_> {
        let events = topics.iter().flat_map(|job| {
            let started = message(Topic::Job(*job), 1, round * 2, &step_started(0));
            [started, log(*job, 1, round * 2 + 1, vec![line(round, "x")])]
        });
        events.collect()
    };
    for round in 0..10 {
        let (first, second) = tokio::join!(record(one, round, batch(round)), record(other, round, batch(round)));
        assert_eq!(first.recorded.len() + second.recorded.len(), topics.len(), "in round {round}");
        assert!(first.refused.is_empty() && second.refused.is_empty());
    }
    for job in &topics {
        assert_eq!(one.recorded(Topic::Job(*job), 1).await.unwrap().unwrap().offset, Some(19));
    }
}

/// Text that a program wrote stops nobody's record: a NUL, a name longer than a page of the database, a step that is
/// started twice in one batch.
pub async fn what_a_program_may_write_is_recorded(one: &dyn Store, other: &dyn Store) {
    let made = create(one, build("p", vec![job("a")])).await;
    let id = made.jobs[0].id;
    granted(one, &claim("linux", LONG)).await;
    let name: String = (0..400).map(|_| Uuid::new_v4().to_string()).collect();
    let artifact = wire::ArtifactId(Uuid::new_v4());
    let kept = Event::Artifact { artifact, name: name.clone(), size: u64::MAX, sha256: "ab".repeat(32) };
    let named = |name: &str| Event::StepStarted { step: 0, name: name.to_owned(), command: "printf '\0'".to_owned() };
    let open = wire::LogLine { open: true, ..line(1, "a\0b") };
    let events = vec![
        message(Topic::Job(id), 1, 0, &named("first")),
        message(Topic::Job(id), 1, 1, &named("se\0cond")),
        log(id, 1, 2, vec![line(0, "nul \0 and all"), open]),
        message(Topic::Job(id), 1, 3, &kept),
    ];
    let done = record(one, 1, events).await;
    assert_eq!((done.recorded.len(), done.refused.len()), (1, 0));
    let page = other.log(id, None, 0, 10).await.unwrap().unwrap();
    assert_eq!((page.lines[0].line.text.as_str(), page.lines.len()), ("nul \0 and all", 2));
    let view = other.build_view(made.id).await.unwrap().unwrap();
    assert!(view.jobs[0].steps[0].name.starts_with("se"));
    assert_eq!(view.jobs[0].artifacts[0].name, name);
}
