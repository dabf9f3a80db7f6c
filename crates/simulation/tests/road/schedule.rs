//! A schedule: first anything may happen, then everything comes back and goes on until all is quiet, and the promises are
//! checked.

use app::live::track::Read;

use crate::{
    checks,
    world::{Stage, World},
};

/// Builds and pages of one schedule.
const BUILDS_MAX: usize = 3;
const PAGES_MAX: usize = 3;
/// The last phase ends within so many rounds, or something never ends.
const ROUNDS_MAX: usize = 6_000;
/// Rounds in which nothing happens: each part had its turn by then, whatever the dice said.
const QUIET_ROUNDS: usize = 25;
/// Microseconds of a round.
const ROUND: usize = 100_000;
/// Rounds after which a page reads a build anew that waits for an executor.
const TICK_ROUNDS: usize = 50;

/// What a schedule came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) steps: usize,
    pub(crate) events: usize,
    pub(crate) attempts: usize,
    /// Of everything that happened in it, for comparing two runs.
    pub(crate) digest: u64,
}

/// Runs the schedule of a seed. An error is the promise that was broken.
pub(crate) fn run(world: &mut World) -> Result<Done, String> {
    let steps = world.dice.between(100, 400);
    // Some schedules are rough, some hardly so; some have clocks that jump.
    let rough = world.dice.pick(&[2, 8, 20]).unwrap_or(8);
    let jumps = world.dice.percent(25);
    world.hints_lost = world.dice.pick(&[0, 0, 40, 100]).unwrap_or(0);
    world.trigger();
    for _ in 0..world.dice.between(1, 2) {
        world.new_page();
    }
    for n in 0..steps {
        world.note(|| format!("step {n}"));
        step(world, rough, jumps)?;
    }
    let rounds = calm(world)?;
    checks::all(world)?;
    let attempts = world.record.lines.len();
    Ok(Done { steps: steps + rounds, events: world.bus.stream.len(), attempts, digest: world.dice.next() })
}

/// One thing happens.
fn step(world: &mut World, rough: usize, jumps: bool) -> Result<(), String> {
    let micros = world.dice.below(60_000);
    world.pass(micros);
    if world.dice.percent(rough) {
        return fault(world, jumps);
    }
    let (executors, workers, pages) = (world.executors.len(), world.workers.len(), world.pages.len());
    match world.dice.below(100) {
        0..28 => {
            let n = world.dice.below(executors);
            world.executor(n);
        }
        28..40 => {
            for _ in 0..world.dice.between(1, 4) {
                world.broker();
            }
        }
        40..47 => {
            for _ in 0..world.dice.between(1, 4) {
                world.relay();
            }
        }
        47..55 => {
            world.request(10);
            world.request(10);
        }
        55..62 => {
            world.answer(5)?;
        }
        62..64 => {
            world.notice(30);
        }
        64..74 => {
            let n = world.dice.below(workers);
            if !world.come_worker(n) {
                world.work(n)?;
            }
        }
        74..84 if pages > 0 => {
            let place = world.dice.below(pages);
            if !world.connect(place) {
                world.frames(place)?;
            }
        }
        84..90 if pages > 0 => {
            let place = world.dice.below(pages);
            world.read(place, 15)?;
        }
        90..94 => {
            world.group(false, false)?;
        }
        94..96 => {
            world.group(true, false)?;
        }
        96..98 if world.control.builds.len() < BUILDS_MAX => world.trigger(),
        98 if pages < PAGES_MAX => world.new_page(),
        99 => {
            let now = world.clock();
            world.control.reap(now);
        }
        _ => {}
    }
    Ok(())
}

/// Something goes wrong, or somebody changes their mind.
fn fault(world: &mut World, jumps: bool) -> Result<(), String> {
    let worker = world.dice.below(world.workers.len());
    let executor = world.dice.below(world.executors.len());
    let pages = world.pages.len();
    match world.dice.below(16) {
        0 => world.kill_worker(worker),
        1 | 2 => world.cut_worker(worker),
        3 => world.expire_queue(worker),
        4 => world.kill_executor(executor),
        5 => world.cut_executor(executor),
        6 => {
            world.send_late();
        }
        7 => world.relay_anew(),
        8 => {
            world.group(false, true)?;
        }
        9 => {
            world.group(true, true)?;
        }
        10 | 11 if pages > 0 => {
            let place = world.dice.below(pages);
            world.lose(place);
        }
        12 => {
            world.notice_gone();
        }
        13 if pages > 0 => world.choose(),
        14 => {
            let long = world.dice.below(12_000_000);
            world.pass(long);
            let now = world.clock();
            world.control.reap(now);
            if jumps {
                world.jump();
            }
        }
        15 => {
            let (now, builds) = (world.clock(), world.control.builds.keys().copied().collect::<Vec<_>>());
            if let Some(build) = world.dice.pick(&builds) {
                match world.dice.percent(30) {
                    true => world.control.cancel(build, now),
                    false => {
                        let failed_only = world.dice.percent(50);
                        world.control.retry(build, failed_only, now);
                    }
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Everything comes back, nothing more goes wrong, until nothing is left to do. The number of rounds.
fn calm(world: &mut World) -> Result<usize, String> {
    if world.pages.is_empty() {
        world.new_page();
    }
    let mut quiet = 0;
    for round in 0..ROUNDS_MAX {
        world.pass(ROUND);
        let now = world.clock();
        let mut any = world.control.reap(now);
        for n in 0..world.executors.len() {
            any |= world.executor(n);
        }
        any |= world.send_late() | world.relay() | world.notice(0) | world.notice_gone();
        for _ in 0..4 {
            any |= world.broker() | world.request(0) | world.answer(0)?;
        }
        for n in 0..world.workers.len() {
            any |= world.come_worker(n) | world.work(n)?;
        }
        for place in 0..world.pages.len() {
            if round % TICK_ROUNDS == 0 {
                world.pages[place].tick();
            }
            any |= world.connect(place) | world.frames(place)? | world.read(place, 0)?;
        }
        any |= world.group(false, false)? | world.group(true, false)?;
        quiet = if any { 0 } else { quiet + 1 };
        if quiet >= QUIET_ROUNDS && is_over(world) {
            return Ok(round);
        }
    }
    let builds = world.control.all_finished();
    let needs: Vec<Read> = world.pages.iter().map(|page| page.live.need()).collect();
    Err(format!("it never becomes quiet; all builds finished: {builds}, what pages need: {needs:?}"))
}

fn is_over(world: &World) -> bool {
    world.control.all_finished()
        && matches!((&world.recorder, &world.counting), (Stage::Idle, Stage::Idle))
        && world.pages.iter().all(|page| page.is_ready() && page.live.need() == Read::No)
}
