//! Claims, renewals, and leases by name. Short leases and the database's own clock: nothing here waits for a fixed time.

use std::{collections::BTreeSet, time::Duration};

use uuid::Uuid;
use wire::{ExecutorId, task::LeaseRef};

use super::{
    Fixture,
    samples::{
        LONG, asked, build, claim, create, find, grant, granted, job, job_of, labels, registered, requeue, until,
    },
};
use crate::{
    ChangeError,
    model::{Build, Claim, Expired, JobState, Refusal},
};

/// A lease that runs out while a test looks on.
const SHORT: Duration = Duration::from_millis(30);

/// The greatest priority first, then the one that has waited for longest; other label sets are not looked at.
pub async fn claims_go_by_priority_then_by_time(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let jobs = |names: &[(&str, &str, i32)]| names.iter().map(|(name, set, p)| job_of(name, set, *p)).collect();
    create(&*store, build("p", jobs(&[("low", "linux", -1), ("first", "linux", 0), ("mac", "mac", 9)]))).await;
    create(&*store, build("p", jobs(&[("urgent", "linux", 5), ("second", "linux", 0)]))).await;
    let mut order = Vec::new();
    while let Some(claimed) = asked(&*store, claim("linux", LONG)).await.unwrap() {
        order.push(find(&claimed.build, claimed.job).plan.name.clone());
    }
    assert_eq!(order, ["urgent", "first", "second", "low"]);
    // What was lost had its turn already: it does not go behind everything that came meanwhile.
    let lost = create(&*store, build("p", jobs(&[("waits", "linux", 0), ("lost", "linux", 0)]))).await;
    let decide = |build: &mut Build, _| {
        build.jobs[1].losses = 1;
        Ok(Vec::new())
    };
    store.change_build(lost.id, Box::new(decide)).await.unwrap();
    let first = granted(&*store, &claim("linux", LONG)).await;
    assert_eq!(find(&first.build, first.job).plan.name, "lost");
    let mac = granted(&*store, &claim("mac", LONG)).await;
    assert_eq!(find(&mac.build, mac.job).plan.name, "mac");
    assert_eq!(asked(&*store, claim("any", LONG)).await.unwrap(), None);
}

/// The same claim gets the same job under the same term, and nothing is announced twice.
pub async fn p2_a_repeated_claim_gets_the_same_answer(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    create(&*store, build("p", vec![job("a"), job("b")])).await;
    let asked = claim("linux", LONG);
    let first = granted(&*store, &asked).await;
    assert_eq!(find(&first.build, first.job).attempt, 1);
    let announced = store.outbox(0, 100).await.unwrap().len();
    assert_eq!(granted(&*store, &asked).await, first);
    assert_eq!(store.outbox(0, 100).await.unwrap().len(), announced);
    let other = granted(&*store, &claim("linux", LONG)).await;
    assert_ne!(other.job, first.job);
}

/// A start that has not registered, was replaced or has left gets nothing, whoever knows its executor's id.
pub async fn only_the_present_start_of_an_executor_can_claim(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    let refused = Err(ChangeError::Refused(Refusal::Unregistered));
    let unknown = claim("linux", LONG);
    assert_eq!(store.claim_job(unknown.clone(), grant()).await, refused);
    let known = registered(&*store, unknown).await;
    let stranger = Claim { incarnation: Uuid::new_v4(), ..known.clone() };
    assert_eq!(store.claim_job(stranger.clone(), grant()).await, refused);
    // The next start takes the place of the former one.
    let younger = registered(&*store, stranger).await;
    assert_eq!(store.claim_job(known, grant()).await, refused);
    store.executor_left(younger.executor, younger.incarnation).await.unwrap();
    assert_eq!(store.claim_job(younger.clone(), grant()).await, refused);
    assert_eq!(store.load_build(made.id).await.unwrap(), Some(made));
    assert_eq!(granted(&*store, &younger).await.job, store.claim_job(younger, grant()).await.unwrap().unwrap().job);
}

/// However many ask at once, no job is given twice.
pub async fn p2_concurrent_claims_get_different_jobs(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for _ in 0..10 {
        create(&*store, build("p", vec![job("a"), job("b")])).await;
    }
    let asked = (0..30).map(|_| asked(&*store, claim("linux", LONG)));
    let given: Vec<_> = futures_util::future::join_all(asked).await.into_iter().filter_map(Result::unwrap).collect();
    let different: BTreeSet<_> = given.iter().map(|claimed| claimed.job).collect();
    assert_eq!((given.len(), different.len()), (20, 20));
}

/// Each grant raises the attempt by one; the former holder's renewal is lost.
pub async fn p2_terms_rise_and_an_old_term_is_lost(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    let mut former = None;
    for attempt in 1..=3 {
        let asked = claim("linux", LONG);
        let claimed = granted(&*store, &asked).await;
        assert_eq!(find(&claimed.build, claimed.job).attempt, attempt);
        let own = LeaseRef { job: claimed.job, attempt };
        let renewed = store.renew_jobs(asked.executor, asked.incarnation, &[own], LONG).await.unwrap();
        assert_eq!((renewed.held, renewed.lost), (vec![own], vec![]));
        let other = store.renew_jobs(asked.executor, Uuid::new_v4(), &[own], LONG).await.unwrap();
        assert_eq!(other.lost, [own], "another incarnation holds nothing");
        if let Some((executor, incarnation, old)) = former {
            let renewed = store.renew_jobs(executor, incarnation, &[old], LONG).await.unwrap();
            assert_eq!((renewed.held, renewed.lost), (vec![], vec![old]));
        }
        former = Some((asked.executor, asked.incarnation, own));
        requeue(&*store, made.id, claimed.job).await;
        let renewed = store.renew_jobs(asked.executor, asked.incarnation, &[own], LONG).await.unwrap();
        assert_eq!(renewed.lost, [own]);
    }
}

/// Expiry goes by the clock, not by the reaper: a late renewal is refused, and the job is listed as expired. A renewal
/// in time moves the end.
pub async fn p2_a_lease_that_ran_out_is_lost_before_it_is_reaped(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a"), job("b")])).await;
    let (brief, long) = (claim("linux", SHORT), claim("linux", LONG));
    let (gone, stays) = (granted(&*store, &brief).await, granted(&*store, &long).await);
    let lease = |claimed: &crate::model::Claimed| LeaseRef { job: claimed.job, attempt: 1 };
    let expired = Expired { build: made.id, lease: lease(&gone) };
    until("a lease runs out", || async { store.expired_jobs(10).await.unwrap() == [expired] }).await;
    let renewed = store.renew_jobs(brief.executor, brief.incarnation, &[lease(&gone)], LONG).await.unwrap();
    assert_eq!((renewed.held, renewed.lost), (vec![], vec![lease(&gone)]));
    let renewed = store.renew_jobs(long.executor, long.incarnation, &[lease(&stays)], LONG).await.unwrap();
    assert_eq!(renewed.held, [lease(&stays)]);
    let again = asked(&*store, brief.clone()).await.unwrap();
    assert_eq!(again, None, "a repeat of the claim does not bring the lease back");
    assert!(store.expired_jobs(0).await.unwrap().is_empty());
    requeue(&*store, made.id, gone.job).await;
    assert!(store.expired_jobs(10).await.unwrap().is_empty());
}

/// The rule of the grant may say no: the job still waits, under the term it had.
pub async fn a_refused_grant_leaves_the_job_queued(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    let no = || Refusal::State("the recorder lags".to_owned());
    let refused =
        store.claim_job(registered(&*store, claim("linux", LONG)).await, Box::new(move |_, _, _| Err(no()))).await;
    assert_eq!(refused, Err(ChangeError::Refused(no())));
    assert_eq!(store.load_build(made.id).await.unwrap(), Some(made));
    let claimed = granted(&*store, &claim("linux", LONG)).await;
    assert_eq!(find(&claimed.build, claimed.job).attempt, 1);
}

/// What is to be cancelled is extended too, so that its end can be told.
pub async fn a_cancelled_job_is_told_at_renewal(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    let asked = claim("linux", LONG);
    let claimed = granted(&*store, &asked).await;
    let cancel = |build: &mut Build, _| {
        if let JobState::Running { cancelling, .. } = &mut build.jobs[0].state {
            *cancelling = true;
        }
        Ok(Vec::new())
    };
    store.change_build(made.id, Box::new(cancel)).await.unwrap();
    let own = LeaseRef { job: claimed.job, attempt: 1 };
    let renewed = store.renew_jobs(asked.executor, asked.incarnation, &[own], LONG).await.unwrap();
    assert_eq!((renewed.held, renewed.cancelled, renewed.lost), (vec![own], vec![own], vec![]));
}

/// A new start of an executor holds nothing of what the former one ran.
pub async fn jobs_of_a_former_incarnation_are_orphaned(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    let asked = claim("linux", LONG);
    let claimed = granted(&*store, &asked).await;
    assert!(store.orphaned_jobs(asked.executor, asked.incarnation).await.unwrap().is_empty());
    let lease = LeaseRef { job: claimed.job, attempt: 1 };
    let orphans = store.orphaned_jobs(asked.executor, Uuid::new_v4()).await.unwrap();
    assert_eq!(orphans, [Expired { build: made.id, lease }]);
    let other = ExecutorId(Uuid::new_v4());
    assert!(store.orphaned_jobs(other, Uuid::new_v4()).await.unwrap().is_empty());
}

/// Counted while they wait; the label set is known for good.
pub async fn label_sets_are_known_and_waiting_jobs_counted(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let jobs = vec![job_of("a", "linux", 0), job_of("b", "linux", 0), job_of("c", "any", 0)];
    create(&*store, build("p", jobs)).await;
    let counted = async || {
        let waiting = store.queued_jobs().await.unwrap();
        waiting.into_iter().map(|one| (one.label_set.to_string(), one.count)).collect::<Vec<_>>()
    };
    assert_eq!(counted().await, [("any".to_owned(), 1), ("linux".to_owned(), 2)]);
    granted(&*store, &claim("any", LONG)).await;
    assert_eq!(counted().await, [("linux".to_owned(), 2)]);
    assert_eq!(store.label_sets().await.unwrap(), [labels("any"), labels("linux")]);
}

/// One at a time; the term tells one holding from the next; what was given back can be taken at once.
pub async fn p2_a_named_lease_has_one_holder_and_its_term_rises(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let first = store.hold("relay", one, LONG).await.unwrap().unwrap();
    assert_eq!(first.term, 1);
    let extended = store.hold("relay", one, LONG).await.unwrap().unwrap();
    assert_eq!(extended.term, 1);
    assert!(extended.expires_at >= first.expires_at);
    assert_eq!(store.hold("relay", two, LONG).await.unwrap(), None);
    assert_eq!(store.hold("other", two, LONG).await.unwrap().unwrap().term, 1);
    store.release("relay", two).await.unwrap();
    assert_eq!(store.hold("relay", two, LONG).await.unwrap(), None, "only the holder can give it back");
    store.release("relay", one).await.unwrap();
    assert_eq!(store.hold("relay", two, SHORT).await.unwrap().unwrap().term, 2);
    until("a named lease runs out", || async {
        store.hold("relay", one, LONG).await.unwrap().is_some_and(|taken| taken.term == 3)
    })
    .await;
}
