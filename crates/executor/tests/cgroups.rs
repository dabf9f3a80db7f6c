//! Jobs in real control groups of version 2: what they use together is limited, and which limit they reached is told exactly.
//!
//! The tests run where this program was given a part of the tree, as by `systemd-run --pipe -p Delegate=yes`, and elsewhere in
//! the machine of `cargo xtask test --only cgroups`. Each divides the part, and has an executor in a group of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use executor::{IsolationChoice, SandboxOptions};
use rustix::{
    fs::{XattrFlags, getxattr, setxattr},
    process::geteuid,
};
use stage::{PATIENCE, Stage, job, texts};
use tokio::sync::{Mutex, MutexGuard};
use wire::{Event, Limits, Outcome, task::Grant};

/// Where the tree is mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// What systemd notes at a group that it has given away: its own one, and the one of a common user.
const GIVEN_AWAY: [&str; 2] = ["trusted.delegate", "user.delegate"];
/// Set for the process that one of the tests kills.
const TO_BE_KILLED: &str = "STEPCAST_TEST_CGROUPS_KILLED";
const ISOLATIONS: [IsolationChoice; 2] = [IsolationChoice::Plain, IsolationChoice::Sandbox];

/// The part of the tree that is divided among the tests, or why there is none.
static PART: LazyLock<Result<PathBuf, String>> = LazyLock::new(part);
/// A process is in one group.
static ALONE: Mutex<()> = Mutex::const_new(());

fn part() -> Result<PathBuf, String> {
    let part = own_group().ok_or("control groups are not of version 2 here")?;
    let mut value = [0; 1];
    if !GIVEN_AWAY.iter().any(|name| getxattr(&part, *name, &mut value) == Ok(1) && value == *b"1") {
        return Err(format!("the control group {} is not given to this program (`Delegate=yes`)", part.display()));
    }
    let divide = || {
        fs::create_dir(part.join("tests"))?;
        for pid in fs::read_to_string(part.join("cgroup.procs"))?.lines() {
            fs::write(part.join("tests/cgroup.procs"), pid)?;
        }
        fs::write(part.join("cgroup.subtree_control"), "+memory +pids")
    };
    divide().map_err(|error| format!("the control group {} cannot be divided: {error}", part.display()))?;
    Ok(part)
}

fn own_group() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = Path::new(MOUNT).join(path);
    group.join("cgroup.controllers").exists().then_some(group)
}

/// Moves this process.
fn enter(group: &Path) {
    fs::write(group.join("cgroup.procs"), "0").unwrap_or_else(|error| panic!("{}: {error}", group.display()));
}

/// Says why a test does not look.
fn skipped(reason: &str) {
    assert!(std::env::var_os("STEPCAST_TEST_CGROUPS_REQUIRED").is_none(), "not to be skipped: {reason}");
    eprintln!("skipped: {reason}");
}

/// A control group that is given away, with this process in it.
struct Given {
    path: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Given {
    async fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let alone = ALONE.lock().await;
        let part = PART.as_ref().map_err(|reason| skipped(reason)).ok()?;
        let path = part.join(format!("given-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).unwrap();
        // Only root may write the first one.
        let is_given = GIVEN_AWAY.iter().any(|name| setxattr(&path, *name, b"1", XattrFlags::empty()).is_ok());
        assert!(is_given, "{} cannot be given away", path.display());
        enter(&path);
        Some(Self { path, _alone: alone })
    }

    /// One with an executor in it. None where no sandbox works, which is said.
    async fn with(isolation: IsolationChoice) -> Option<(Self, Stage)> {
        let given = Self::new().await?;
        if isolation == IsolationChoice::Sandbox {
            let guard = PathBuf::from(env!("CARGO_BIN_EXE_executor-guard"));
            if let Err(reason) = executor::sandbox_works(SandboxOptions::default(), &guard).await {
                skipped(&reason);
                return None;
            }
        }
        let stage = Stage::configured(|config| config.isolation = isolation).await;
        Some((given, stage))
    }

    /// The groups of guards.
    fn jobs(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.is_dir() && !path.ends_with("executor")).collect()
    }

    /// Runs a step within these limits. Gives what was printed, how the job ended, and the reason of the step. The job's group
    /// is gone then.
    async fn run(&self, stage: &mut Stage, step: &str, limits: Limits) -> (Vec<String>, Outcome, Option<String>) {
        let (events, finished) = stage.run(limited(step, limits)).await;
        let Some(Event::StepFinished { reason, .. }) = events.last() else { panic!("{finished:?}: {events:?}") };
        let of_job = reason.as_ref().map(|reason| format!("step {step:?}: {reason}"));
        assert_eq!(finished.reason, of_job);
        // The warm guard's has no limits yet.
        let is_limited = |group: &PathBuf| {
            let limit = |file: &str| fs::read_to_string(group.join(file)).unwrap_or_else(|_| "max\n".to_owned());
            limit("memory.max") != "max\n" || limit("pids.max") != "max\n"
        };
        let wait = async {
            while self.jobs().iter().any(is_limited) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the job's group is removed");
        (texts(&events), finished.outcome, reason.clone())
    }

    /// The executor goes on with a job that stays within its limits, and ends; of its groups nothing is left.
    async fn end(self, mut stage: Stage) {
        let inside = "perl -e 'vec($all, 40 << 20, 8) = 1; print \"40 MiB\\n\"'; head -c 20M /dev/zero > /dev/shm/$$; rm /dev/shm/$$";
        let limits = Limits { processes: Some(64), ..memory(128) };
        let expected = (vec!["40 MiB".to_owned()], Outcome::Succeeded, None);
        assert_eq!(self.run(&mut stage, inside, limits).await, expected);
        stage.shutdown.cancel();
        tokio::time::timeout(PATIENCE, &mut stage.executor).await.expect("the executor ends").unwrap();
        assert_eq!(self.jobs(), Vec::<PathBuf>::new());
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        // Also after a failure: the next test is to begin as this one did.
        let began = Instant::now();
        enter(&self.path.with_file_name("tests"));
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        let mut groups = self.jobs();
        groups.extend([self.path.join("executor"), self.path.clone()]);
        for group in groups.iter().filter(|group| group.exists()) {
            while fs::remove_dir(group).is_err() && began.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
        }
    }
}

fn limited(step: &str, limits: Limits) -> Grant {
    Grant { limits, ..job(&[step]) }
}

fn memory(mebibytes: u64) -> Limits {
    Limits { memory: Some(mebibytes << 20), ..Limits::default() }
}

/// What is told of a job with 64 MiB.
const FULL: &str = "a process was killed: the job had reached its limit of 64 MiB of memory";

/// Writes more than that, as one process that has next to nothing itself, into a file that is memory.
const FILL: &str = "exec head -c 100M /dev/zero > /dev/shm/stepcast-test";

/// Where steps run plain, that file is the machine's.
fn remove_filled() {
    let _ = fs::remove_file("/dev/shm/stepcast-test");
}

#[tokio::test]
async fn processes_that_only_together_use_too_much_memory_end_at_the_limit() {
    for isolation in ISOLATIONS {
        let Some((given, mut stage)) = Given::with(isolation).await else { return };
        let four = "for i in 1 2 3 4; do perl -e 'vec($all, 24 << 20, 8) = 1; sleep 1000' & done; wait -n";
        let (_, outcome, reason) = given.run(&mut stage, four, memory(64)).await;
        assert_eq!(outcome, Outcome::Failed);
        assert!(reason.as_ref().is_some_and(|reason| reason.ends_with(FULL)), "{isolation:?}: {reason:?}");
        given.end(stage).await;
    }
}

#[tokio::test]
async fn memory_that_belongs_to_no_process_counts_and_the_step_is_killed_before_its_guard() {
    for isolation in ISOLATIONS {
        let Some((given, mut stage)) = Given::with(isolation).await else { return };
        let (_, outcome, reason) = given.run(&mut stage, FILL, memory(64)).await;
        remove_filled();
        // Of a guard that was killed nobody hears how the step ended.
        let of_step = Some(format!("ended by signal 9: {FULL}"));
        assert_eq!((outcome, reason), (Outcome::Failed, of_step), "{isolation:?}");
        given.end(stage).await;
    }
}

#[tokio::test]
async fn a_guard_that_is_killed_at_the_limit_of_memory_tells_that_limit() {
    for isolation in ISOLATIONS {
        let Some((given, mut stage)) = Given::with(isolation).await else { return };
        // The larger one of two whose scores are the same.
        let as_the_guard = format!("echo 0 > /proc/self/oom_score_adj; {FILL}");
        let (_, outcome, reason) = given.run(&mut stage, &as_the_guard, memory(64)).await;
        remove_filled();
        assert_eq!((outcome, reason.as_deref()), (Outcome::Failed, Some(FULL)), "{isolation:?}");
        given.end(stage).await;
    }
}

#[tokio::test]
async fn a_fork_bomb_ends_at_the_limit_of_processes() {
    for isolation in ISOLATIONS {
        let Some((given, mut stage)) = Given::with(isolation).await else { return };
        // Starts processes until it may not, and fails while they run.
        let bomb = "perl -e 'while (defined(my $pid = fork)) { if (!$pid) { sleep 765432 } } print \"$!\\n\"; exit 3'";
        let limits = Limits { processes: Some(64), ..Limits::default() };
        let (printed, outcome, reason) = given.run(&mut stage, bomb, limits).await;
        assert_eq!((printed, outcome), (vec!["Resource temporarily unavailable".to_owned()], Outcome::Failed));
        assert_eq!(reason.as_deref(), Some("the job had reached its limit of 64 processes"), "{isolation:?}");
        given.end(stage).await;
    }
}

#[tokio::test]
async fn an_executor_removes_the_groups_of_one_that_was_killed() {
    if std::env::var_os(TO_BE_KILLED).is_some() {
        return be_killed().await;
    }
    let Some(given) = Given::new().await else { return };
    let mut killed = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_executor_removes_the_groups_of_one_that_was_killed", "--nocapture"])
        .env(TO_BE_KILLED, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with("a job runs")), "the other executor runs no job");
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(given.path.join("job-1/memory.max").exists(), "{:?}", given.jobs());
    // What a guard would leave that was killed too.
    let left = given.path.join("job-77");
    fs::create_dir(&left).unwrap();
    let mut process = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(left.join("cgroup.procs"), process.id().to_string()).unwrap();
    // No process can be put into a group that is divided, nor can one be started there.
    fs::write(given.path.join("cgroup.subtree_control"), "-memory -pids").unwrap();
    enter(&given.path);
    let stage = Stage::start().await;
    let wait = async {
        while left.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("what was left is removed");
    assert_eq!(process.wait().unwrap().signal(), Some(9));
    given.end(stage).await;
}

/// An executor in the group in which it was started, with a job that does not end.
async fn be_killed() {
    let mut stage = Stage::start().await;
    stage.trigger(limited("echo begun; sleep 1000", memory(64))).await;
    stage.line(|line| line.text == "begun").await;
    println!("a job runs");
    std::future::pending().await
}

#[tokio::test]
async fn the_machines_own_root_group_is_left_alone() {
    let Some(_given) = Given::new().await else { return };
    let root = Path::new(MOUNT);
    if !geteuid().is_root() {
        eprintln!("skipped: only root may enter it");
        return;
    }
    if root.join("cgroup.type").exists() || fs::write(root.join("cgroup.procs"), "0").is_err() {
        return skipped("the root of these control groups is not the machine's");
    }
    let look = || {
        let mut names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        (names, fs::read_to_string(root.join("cgroup.subtree_control")).unwrap())
    };
    let before = look();
    let mut stage = Stage::start().await;
    let (events, finished) = stage.run(job(&["cat /proc/self/cgroup"])).await;
    assert_eq!((finished.outcome, finished.reason), (Outcome::Succeeded, None));
    assert_eq!(texts(&events), ["0::/"]);
    assert_eq!(own_group().as_deref(), Some(root));
    assert_eq!(look(), before);
}
