//! Concurrency groups: who may be claimed while others are in the same group, and that a place is free again however its
//! holder ends.

use std::{sync::Arc, time::Duration};

use wire::{
    BuildId, JobId, Outcome, Timestamp,
    concurrency::{ConcurrencySpec, WhenFull},
};

use super::{
    Fixture,
    samples::{LONG, asked, build, claim, create, find, granted, job, job_of, requeue, until},
};
use crate::{
    Store,
    concurrency::{HeldUp, Superseded},
    model::{Build, BuildState, Job, JobPlan, JobState, NewBuild, Outbound},
};

fn spec(group: &str, limit: u32, when_full: WhenFull) -> ConcurrencySpec {
    ConcurrencySpec { group: group.to_owned(), limit, when_full }
}

fn job_in(group: &str) -> Job {
    let mut job = job("deploy");
    let concurrency = Some(spec(group, 1, WhenFull::Queue));
    job.plan = Arc::new(JobPlan { concurrency, ..(*job.plan).clone() });
    job
}

fn build_in(group: ConcurrencySpec, jobs: Vec<Job>) -> NewBuild {
    let mut new = build("site", jobs);
    new.build.concurrency = Some(Box::new(group));
    new
}

pub(super) fn waits_behind(group: &str, limit: u32) -> NewBuild {
    build_in(spec(group, limit, WhenFull::Queue), vec![job("a")])
}

/// What a claim of this label set gets, if anything.
async fn claimed(store: &dyn Store) -> Option<u64> {
    let claimed = asked(store, claim("linux", LONG)).await.unwrap();
    claimed.map(|claimed| claimed.build.number)
}

/// Ends a job, and its build with its last one.
pub(super) async fn end(store: &dyn Store, build: BuildId, job: JobId) {
    let decide = move |build: &mut Build, now: Timestamp| {
        let (outcome, executor, since, until) = (Outcome::Succeeded, None, Some(now), now);
        for one in build.jobs.iter_mut().filter(|one| one.id == job) {
            one.state = JobState::Finished { outcome, executor, since, until, reason: None, last_offset: None };
        }
        if build.jobs.iter().all(|one| matches!(one.state, JobState::Finished { .. })) {
            build.state = BuildState::Finished { outcome, since, until };
        }
        Ok(Vec::new())
    };
    store.change_build(build, Box::new(decide)).await.unwrap();
}

async fn hints(store: &dyn Store, after: i64) -> (usize, i64) {
    let rows = store.outbox(after, 1_000).await.unwrap();
    let last = rows.last().map_or(after, |row| row.id);
    (rows.iter().filter(|row| matches!(row.outbound, Outbound::Hint { .. })).count(), last)
}

/// The next build begins when the former is finished as a whole, and not before; those of other groups, and of none, are
/// not held up.
pub async fn builds_of_a_group_run_one_after_the_other(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let group = || spec("deploy", 1, WhenFull::Queue);
    let first = create(&*store, build_in(group(), vec![job("a"), job("b")])).await;
    let second = create(&*store, build_in(group(), vec![job("a"), job("b")])).await;
    let third = create(&*store, waits_behind("deploy", 1)).await;
    let other = create(&*store, waits_behind("other", 1)).await;
    let free = create(&*store, build("site", vec![job("a")])).await;
    let mut given = Vec::new();
    while let Some(number) = claimed(&*store).await {
        given.push(number);
    }
    assert_eq!(given, [first.number, first.number, other.number, free.number]);
    let held_up = store.held_up(second.id).await.unwrap();
    let one = |job: &Job| HeldUp {
        job: job.id,
        group: "deploy".to_owned(),
        holders: vec![("site".parse().unwrap(), first.number)],
    };
    assert_eq!(held_up, second.jobs.iter().map(one).collect::<Vec<_>>());
    assert_eq!(store.held_up(first.id).await.unwrap(), []);
    end(&*store, first.id, first.jobs[0].id).await;
    assert_eq!(claimed(&*store).await, None, "the first build still runs a job");
    let (_, last) = hints(&*store, 0).await;
    end(&*store, first.id, first.jobs[1].id).await;
    assert_eq!(hints(&*store, last).await.0, 2, "the jobs of the second one are hinted at in the same transaction");
    assert_eq!([claimed(&*store).await, claimed(&*store).await], [Some(second.number); 2]);
    assert_eq!(claimed(&*store).await, None);
    for job in &second.jobs {
        end(&*store, second.id, job.id).await;
    }
    assert_eq!(claimed(&*store).await, Some(third.number));
}

/// Jobs of a group share its places across builds and pipelines; the job of the oldest build goes first. A job that is run
/// again keeps its place.
pub async fn jobs_of_a_group_share_its_places(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let first = create(&*store, build("one", vec![job_in("prod"), job_of("test", "linux", 0)])).await;
    let second = create(&*store, build("two", vec![job_in("prod")])).await;
    let third = create(&*store, build("three", vec![job_in("prod"), job_in("stage")])).await;
    let mut given = Vec::new();
    while let Some(claimed) = asked(&*store, claim("linux", LONG)).await.unwrap() {
        given.push((claimed.build.pipeline.to_string(), find(&claimed.build, claimed.job).id));
    }
    given.sort();
    let mut expected = vec![
        ("one".to_owned(), first.jobs[0].id),
        ("one".to_owned(), first.jobs[1].id),
        ("three".to_owned(), third.jobs[1].id),
    ];
    expected.sort();
    assert_eq!(given, expected);
    requeue(&*store, first.id, first.jobs[0].id).await;
    assert_eq!(granted(&*store, &claim("linux", LONG)).await.job, first.jobs[0].id, "its next attempt");
    assert_eq!(asked(&*store, claim("linux", LONG)).await.unwrap(), None);
    end(&*store, first.id, first.jobs[0].id).await;
    assert_eq!(granted(&*store, &claim("linux", LONG)).await.job, second.jobs[0].id);
    end(&*store, second.id, second.jobs[0].id).await;
    assert_eq!(granted(&*store, &claim("linux", LONG)).await.job, third.jobs[0].id);
}

/// As many as the limit says have a place at a time, however many claim at once.
pub async fn p2_concurrent_claims_never_exceed_a_group(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for _ in 0..8 {
        create(&*store, waits_behind("three at a time", 3)).await;
    }
    for wanted in [3, 3, 2] {
        let asked = (0..20).map(|_| asked(&*store, claim("linux", LONG)));
        let given = futures_util::future::join_all(asked).await;
        let given: Vec<_> = given.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(given.len(), wanted);
        let ends = given.iter().map(|claimed| end(&*store, claimed.build.id, claimed.job));
        futures_util::future::join_all(ends).await;
    }
}

/// Ended by its holder, ended before it began, ended while it waited for its place, run again by a person: each time the
/// next one gets the place. A lease that has run out gives nothing free: the job runs again in its place.
pub async fn a_place_is_free_however_its_holder_ends(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let mut builds = Vec::new();
    for _ in 0..5 {
        builds.push(create(&*store, waits_behind("one", 1)).await);
    }
    let [first, second, third, fourth, fifth] = builds.as_slice() else { panic!("five were made") };
    let brief = granted(&*store, &claim("linux", Duration::from_millis(20))).await;
    assert_eq!(brief.build.id, first.id);
    until("the lease runs out", || async { !store.expired_jobs(1).await.unwrap().is_empty() }).await;
    assert_eq!(claimed(&*store).await, None, "it is not taken back yet");
    requeue(&*store, first.id, brief.job).await;
    assert_eq!(claimed(&*store).await, Some(first.number), "a lost job runs again in its place");
    end(&*store, first.id, brief.job).await;
    // Cancelled before it began, and one that waited behind it too.
    end(&*store, third.id, third.jobs[0].id).await;
    assert_eq!(store.held_up(fourth.id).await.unwrap()[0].holders, [("site".parse().unwrap(), second.number)]);
    end(&*store, second.id, second.jobs[0].id).await;
    assert_eq!(claimed(&*store).await, Some(fourth.number));
    end(&*store, fourth.id, fourth.jobs[0].id).await;
    assert_eq!(claimed(&*store).await, Some(fifth.number));
    // Run again by a person, a build waits like any other.
    let again = |build: &mut Build, now| {
        build.state = BuildState::Queued;
        build.jobs[0].state = JobState::Queued { since: now };
        Ok(Vec::new())
    };
    store.change_build(first.id, Box::new(again)).await.unwrap();
    assert_eq!(claimed(&*store).await, None);
    end(&*store, fifth.id, fifth.jobs[0].id).await;
    assert_eq!(claimed(&*store).await, Some(first.number));
    assert_eq!(store.tidy_groups().await.unwrap(), 0, "nobody was left behind");
}

/// Of those that wait the newest alone is left; with `cancel_running` the one that runs is asked to end as well.
pub async fn the_newest_build_takes_the_turn_of_those_that_wait(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let newest = || build_in(spec("deploy", 1, WhenFull::NewestWins), vec![job("a")]);
    let running = create(&*store, newest()).await;
    assert_eq!(claimed(&*store).await, Some(running.number));
    let waits = create(&*store, newest()).await;
    assert_eq!(store.superseded(10).await.unwrap(), []);
    let last = create(&*store, newest()).await;
    let superseded =
        |build: &Build, by: u64| Superseded { build: build.id, job: None, by: format!("build #{by} of site") };
    assert_eq!(store.superseded(10).await.unwrap(), [superseded(&waits, last.number)]);
    // Before control has ended it, a place becomes free: it is not for the one that was superseded.
    end(&*store, running.id, running.jobs[0].id).await;
    assert_eq!(claimed(&*store).await, Some(last.number));
    end(&*store, waits.id, waits.jobs[0].id).await;
    assert_eq!(store.superseded(10).await.unwrap(), []);
    let urgent = create(&*store, build_in(spec("deploy", 1, WhenFull::CancelRunning), vec![job("a")])).await;
    assert_eq!(store.superseded(10).await.unwrap(), [superseded(&last, urgent.number)]);
    assert_eq!(claimed(&*store).await, None, "the former one still runs");
    let cancel = |build: &mut Build, _| {
        build.cancelling = true;
        Ok(Vec::new())
    };
    store.change_build(last.id, Box::new(cancel)).await.unwrap();
    assert_eq!(store.superseded(10).await.unwrap(), [], "its end was asked for: that is not told again and again");
    end(&*store, last.id, last.jobs[0].id).await;
    assert_eq!(claimed(&*store).await, Some(urgent.number));
}

/// A group that pipelines share: the newest build takes nobody's turn but that of builds of its own pipeline, and waits for
/// the others; of a place that must become free it takes that of its own pipeline.
pub async fn a_build_supersedes_none_of_another_pipeline(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let enter = async |pipeline: &str, limit, when_full| {
        let mut new = build(pipeline, vec![job("a")]);
        new.build.concurrency = Some(Box::new(spec("shared", limit, when_full)));
        create(&*store, new).await
    };
    let theirs = enter("secret", 1, WhenFull::Queue).await;
    assert_eq!(granted(&*store, &claim("linux", LONG)).await.build.id, theirs.id);
    let waits = enter("secret", 1, WhenFull::Queue).await;
    let (former, urgent) = (enter("site", 1, WhenFull::Queue).await, enter("site", 1, WhenFull::CancelRunning).await);
    let superseded = |build: &Build, by: &Build| {
        let by = format!("build #{} of site", by.number);
        Superseded { build: build.id, job: None, by }
    };
    assert_eq!(store.superseded(10).await.unwrap(), [superseded(&former, &urgent)]);
    end(&*store, former.id, former.jobs[0].id).await;
    end(&*store, theirs.id, theirs.jobs[0].id).await;
    assert_eq!(granted(&*store, &claim("linux", LONG)).await.build.id, waits.id);
    assert_eq!(asked(&*store, claim("linux", LONG)).await.unwrap(), None, "the newest one waits for its place");
    end(&*store, waits.id, waits.jobs[0].id).await;
    assert_eq!(granted(&*store, &claim("linux", LONG)).await.build.id, urgent.id);
    // Two places, the older of them another pipeline's.
    end(&*store, urgent.id, urgent.jobs[0].id).await;
    let theirs = enter("secret", 2, WhenFull::Queue).await;
    let own = enter("site", 2, WhenFull::Queue).await;
    let newest = enter("site", 2, WhenFull::CancelRunning).await;
    assert_eq!(store.superseded(10).await.unwrap(), [superseded(&own, &newest)]);
    assert_eq!(granted(&*store, &claim("linux", LONG)).await.build.id, theirs.id, "its turn is its own");
}

/// A job's group is asked for only once its build has its place: who has a place in a group of jobs waits for nobody.
pub async fn a_job_asks_for_its_place_when_its_build_has_one(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let group = || spec("x", 1, WhenFull::Queue);
    let first = create(&*store, build_in(group(), vec![job("a")])).await;
    let second = create(&*store, build_in(group(), vec![job_in("x"), job("b")])).await;
    let single = create(&*store, build("site", vec![job_in("x")])).await;
    assert_eq!([claimed(&*store).await, claimed(&*store).await], [Some(first.number), Some(single.number)]);
    assert_eq!(claimed(&*store).await, None);
    end(&*store, first.id, first.jobs[0].id).await;
    assert_eq!(granted(&*store, &claim("linux", LONG)).await.job, second.jobs[1].id);
    assert_eq!(claimed(&*store).await, None);
    assert_eq!(store.held_up(second.id).await.unwrap()[0].holders, [("site".parse().unwrap(), single.number)]);
    end(&*store, single.id, single.jobs[0].id).await;
    assert_eq!(granted(&*store, &claim("linux", LONG)).await.job, second.jobs[0].id);
}
