//! The whole road of an event under seeded random schedules: builds and leases, executors, the relay, the broker, the
//! recorder and another consumer group, gateway workers and pages. What is thrown at them and what is checked stands in
//! `docs/reliability.md`, section "Simulation".
//!
//! The pieces are the product's own wherever they are pure: the graph (`control::graph`), the rule of what is recorded
//! (`store::standing`), the trust in a lease (`executor::trusted_until`), a worker with its replay, subscriptions, bindings
//! and send queues (`gateway::driven`), a page's model (`app::live`), and every message of `wire`. Around them stand a broker,
//! a store, a relay and a socket that do what their contracts allow at the worst moment.
//!
//! It is driven by a small generator and a loop of its own. madsim and turmoil simulate tokio, its sockets and its timers;
//! here nothing runs by itself, so there is nothing to simulate, and madsim would put its own tokio under the whole
//! workspace. proptest-state-machine would shrink a failure, but a schedule of this one is several hundred choices that
//! depend on each other: with one taken out the rest means something else. What helps is the same seed and a list of steps.
//!
//! `STEPCAST_SIMULATION_RUNS` is the number of schedules, `STEPCAST_SIMULATION_SEED` the seed of the first (or of the only one).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod builds;
mod bus;
mod checks;
mod dice;
mod executors;
mod pages;
mod record;
mod schedule;
mod work;
mod workers;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use tokio::runtime::Builder;

use schedule::{Done, run};
use world::World;

/// Schedules of a run, unless the environment says otherwise.
const RUNS: u64 = 2_000;
/// Steps that a failure tells.
const TOLD: usize = 60;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// One schedule, and what happened in it if that is wanted.
fn of_seed(seed: u64, traced: bool) -> (Result<Done, String>, Vec<String>) {
    let runtime = Arc::new(Builder::new_current_thread().enable_time().build().unwrap());
    let _inside = runtime.enter();
    let mut world = World::new(seed, traced, Arc::clone(&runtime));
    let ran = catch_unwind(AssertUnwindSafe(|| run(&mut world)));
    let ran = ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!(
            "a panic: {}",
            text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        ))
    });
    (ran, world.trace.take().unwrap_or_default())
}

fn tell(seed: u64, broken: &str) -> ! {
    let (again, trace) = of_seed(seed, true);
    let same = if again.as_ref().err().is_some_and(|again| again == broken) { "the same" } else { "NOT the same" };
    let from = trace.len().saturating_sub(TOLD);
    let steps = trace[from..].join("\n    ");
    panic!(
        "schedule {seed}: {broken}\n  its last steps:\n    {steps}\n  (run again with the steps noted, it came to {same})\n  \
         replay it with STEPCAST_SIMULATION_SEED={seed} cargo test -p simulation"
    );
}

#[test]
fn p1_to_p7_hold_under_random_schedules() {
    let seed = number("STEPCAST_SIMULATION_SEED");
    let first = seed.unwrap_or(1);
    let runs = number("STEPCAST_SIMULATION_RUNS").unwrap_or(if seed.is_some() { 1 } else { RUNS });
    let (begun, mut all) = (Instant::now(), Done::default());
    for seed in first..first + runs {
        match of_seed(seed, false).0 {
            Ok(done) => {
                all.steps += done.steps;
                all.events += done.events;
                all.attempts += done.attempts;
            }
            Err(broken) => tell(seed, &broken),
        }
    }
    let (Done { steps, events, attempts, .. }, seconds) = (all, begun.elapsed().as_secs_f64());
    println!("{runs} schedules, {steps} steps, {events} events of {attempts} attempts in {seconds:.1} s");
}

#[test]
fn a_seed_is_a_schedule() {
    for seed in 1..=20 {
        let digests = [1, 2].map(|_| of_seed(seed, false).0.map(|done| (done.steps, done.events, done.digest)));
        assert_eq!(digests[0], digests[1], "seed {seed}");
    }
}
