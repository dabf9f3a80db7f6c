//! Which of many waiting jobs a claim gets, and that what waits is counted right whatever becomes of it.

use std::time::Instant;

use wire::{BuildId, JobId, Outcome, Timestamp};

use super::{
    Fixture,
    samples::{LONG, asked, build, claim, create, find, granted, job_of, requeue, until},
};
use crate::{
    Store,
    model::{Build, Claimed, Job, JobState},
};

fn jobs(many: usize, priority: i32) -> Vec<Job> {
    (0..many).map(|n| job_of(&format!("job {n}"), "linux", priority)).collect()
}

/// What a claim gets; the clock goes on before the next one, so that who was served last is told apart.
async fn next(store: &dyn Store) -> Claimed {
    let claimed = granted(store, &claim("linux", LONG)).await;
    let at = store.now().await.unwrap();
    until("the clock goes on", || async { store.now().await.unwrap() > at }).await;
    claimed
}

async fn next_pipeline(store: &dyn Store) -> String {
    next(store).await.build.pipeline.to_string()
}

async fn end(store: &dyn Store, build: BuildId, job: JobId) {
    let decide = move |build: &mut Build, now: Timestamp| {
        for one in build.jobs.iter_mut().filter(|one| one.id == job) {
            one.state = JobState::Finished {
                outcome: Outcome::Succeeded,
                executor: None,
                since: Some(now),
                until: now,
                reason: None,
                last_offset: None,
            };
        }
        Ok(Vec::new())
    };
    store.change_build(build, Box::new(decide)).await.unwrap();
}

/// One pipeline has all the executors and a long queue: a newcomer's only job is the next one that is granted.
pub async fn a_long_queue_holds_up_nobody_else(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    create(&*store, build("flood", jobs(60, 0))).await;
    for _ in 0..4 {
        assert_eq!(next_pipeline(&*store).await, "flood");
    }
    create(&*store, build("single", jobs(1, 0))).await;
    assert_eq!(next_pipeline(&*store).await, "single");
    assert_eq!(next_pipeline(&*store).await, "flood", "and whoever is left goes on");
}

/// With one executor nothing runs when it claims: then those who wait take turns, and nobody who comes again and again
/// overtakes them.
pub async fn pipelines_take_turns_where_nothing_runs(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for name in ["a", "b", "c"] {
        create(&*store, build(name, jobs(5, 0))).await;
    }
    let mut order = Vec::new();
    for turn in 0..6 {
        let claimed = next(&*store).await;
        order.push(claimed.build.pipeline.to_string());
        end(&*store, claimed.build.id, claimed.job).await;
        if turn == 3 {
            // It had its turn a moment ago: that its queue was empty meanwhile makes no newcomer of it.
            create(&*store, build("a", jobs(1, 0))).await;
        }
    }
    assert_eq!(order, ["a", "b", "c", "a", "b", "c"]);
    let once = create(&*store, build("once", jobs(1, 0))).await;
    assert_eq!(next(&*store).await.build.id, once.id);
    end(&*store, once.id, once.jobs[0].id).await;
    create(&*store, build("once", jobs(1, 0))).await;
    assert_eq!(next_pipeline(&*store).await, "a", "it was served last");
}

/// A greater priority goes first, whoever runs; among jobs of equal priority those of all priorities that run count.
pub async fn a_priority_goes_before_fairness(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    create(&*store, build("busy", jobs(3, 7))).await;
    create(&*store, build("idle", jobs(3, 0))).await;
    create(&*store, build("busy", jobs(3, 0))).await;
    let mut order = Vec::new();
    for _ in 0..7 {
        let claimed = next(&*store).await;
        let priority = find(&claimed.build, claimed.job).plan.priority;
        order.push(format!("{} {priority}", claimed.build.pipeline));
    }
    assert_eq!(order, ["busy 7", "busy 7", "busy 7", "idle 0", "idle 0", "idle 0", "busy 0"]);
}

/// Queued, granted, queued again, ended while it waited, ended while it ran, deleted: what waits and what runs is what
/// the jobs say.
pub async fn what_waits_is_counted_whatever_becomes_of_it(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let waiting = async || store.queued_jobs().await.unwrap().iter().map(|one| one.count).sum::<u64>();
    let one = create(&*store, build("one", [jobs(3, 0), jobs(2, 5)].concat())).await;
    assert_eq!(waiting().await, 5);
    let urgent = next(&*store).await;
    assert_eq!((find(&urgent.build, urgent.job).plan.priority, waiting().await), (5, 4));
    requeue(&*store, one.id, urgent.job).await;
    requeue(&*store, one.id, urgent.job).await;
    assert_eq!(waiting().await, 5);
    for job in &one.jobs[1..] {
        end(&*store, one.id, job.id).await;
    }
    assert_eq!(waiting().await, 1);
    let last = next(&*store).await;
    assert_eq!((last.job, waiting().await), (one.jobs[0].id, 0));
    assert_eq!(asked(&*store, claim("linux", LONG)).await.unwrap(), None);
    // It runs one job: who runs none goes first, and with its end it is even again.
    create(&*store, build("one", jobs(2, 0))).await;
    create(&*store, build("two", jobs(2, 0))).await;
    assert_eq!(next_pipeline(&*store).await, "two");
    end(&*store, one.id, last.job).await;
    assert_eq!(next_pipeline(&*store).await, "one");
}

/// What a claim costs when ten thousand jobs of two hundred pipelines wait is printed; that all are given, each once and
/// pipeline by pipeline, is tested.
pub async fn ten_thousand_jobs_of_two_hundred_pipelines_are_given_in_turns(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for n in 0..200 {
        create(&*store, build(&format!("p{n}"), jobs(50, 0))).await;
    }
    let (mut served, mut times) = (std::collections::BTreeMap::<String, u32>::new(), Vec::new());
    for _ in 0..400 {
        let begun = Instant::now();
        let claimed = granted(&*store, &claim("linux", LONG)).await;
        times.push(begun.elapsed());
        *served.entry(claimed.build.pipeline.to_string()).or_default() += 1;
    }
    assert_eq!((served.len(), served.values().min(), served.values().max()), (200, Some(&2), Some(&2)));
    times.sort();
    println!("a claim at 10,000 jobs of 200 pipelines: median {:?}, 99 % {:?}", times[200], times[395]);
}
