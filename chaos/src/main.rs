//! `chaos`: a load of builds on a Stepcast whose processes are killed, paused, cut off and slowed down, and a look at what
//! was promised. `cargo xtask chaos` builds what it needs and starts it. Here are the options and the order of a run.
//!
//! It knows what a client knows: HTTP, the socket, and what the steps of its builds write. Nothing here is judged by the
//! time it takes, but that after the last fault everything must be done within a long while.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::{
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::task::TaskTracker;

use crate::{
    api::Api,
    cast::Cast,
    failure::{Explain as _, Failure, Result},
    ledger::Ledger,
    load::Load,
    random::Random,
    schedule::Schedule,
    work::Work,
};

mod api;
mod cast;
#[path = "../../bench/src/failure.rs"]
mod failure;
mod faults;
mod ledger;
mod link;
mod load;
mod notes;
mod process;
mod random;
mod reading;
mod schedule;
mod socket;
mod track;
mod verify;
mod watcher;
mod work;

const USAGE: &str = "\
chaos --program FILE --folder FOLDER --minutes N --seed S (--embedded | --haproxy FILE) [--keep]
    --program    the `stepcast` to be struck
    --folder     for data, logs and notes; made anew, and kept if a promise is broken, or with --keep
    --minutes    how long faults come; a part of a minute is allowed
    --seed       decides the faults and the load
    --embedded   one process with SQLite and the embedded broker; else a cluster beside the servers of `servers.sh`
    --haproxy    the configuration of the balancer before the gateways";

/// Exit status for a command that is not understood, as in the `stepcast` binary.
const WRONG_USAGE: u8 = 2;
/// After the last fault everything must be done within this time.
const QUIET: Duration = Duration::from_secs(240);
/// A job's lease: the shortest that a change of control does not endanger.
const LEASE: Duration = Duration::from_secs(10);

/// What a run is asked to be.
pub(crate) struct Setting {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) haproxy: PathBuf,
    pub(crate) embedded: bool,
    pub(crate) lease: Duration,
    time: Duration,
    seed: u64,
    keep: bool,
}

impl Setting {
    /// Where steps write down what they do.
    pub(crate) fn notes(&self) -> PathBuf {
        self.folder.join("notes")
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let setting = match parse(&words) {
        Ok(setting) => setting,
        Err(failure) => {
            eprintln!("chaos: {failure}\n\n{USAGE}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let run = runtime.explain(|| "no runtime".to_owned()).and_then(|runtime| runtime.block_on(run(&setting)));
    match run {
        Ok(true) if !setting.keep => {
            // Nothing but this run's data is in it; a folder that stays behind harms nobody.
            let _ = std::fs::remove_dir_all(&setting.folder);
            ExitCode::SUCCESS
        }
        Ok(whole) => {
            println!("\nLogs, notes and the time line are kept in {}", setting.folder.display());
            ExitCode::from(u8::from(!whole))
        }
        Err(failure) => {
            eprintln!("chaos: {failure}; logs are in {}", setting.folder.display());
            ExitCode::FAILURE
        }
    }
}

fn parse(words: &[String]) -> Result<Setting> {
    let (mut program, mut folder, mut haproxy, mut minutes, mut seed) = (None, None, None, None, None);
    let (mut embedded, mut keep) = (false, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| Failure(format!("`{word}` wants a word behind it")));
        let number = |text: &str| Failure(format!("`{word} {text}`: this is no number"));
        match word.as_str() {
            "--program" => program = Some(PathBuf::from(value()?)),
            "--folder" => folder = Some(PathBuf::from(value()?)),
            "--haproxy" => haproxy = Some(PathBuf::from(value()?)),
            "--minutes" => {
                let text = value()?;
                let read =
                    text.parse::<f64>().ok().and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok());
                minutes = Some(read.ok_or_else(|| number(text))?);
            }
            "--seed" => {
                let text = value()?;
                seed = Some(text.parse().map_err(|_| number(text))?);
            }
            "--embedded" => embedded = true,
            "--keep" => keep = true,
            other => return Err(Failure(format!("`{other}` is not an option of chaos"))),
        }
    }
    let missing = |option: &str| Failure(format!("`{option}` is missing"));
    Ok(Setting {
        program: program.ok_or_else(|| missing("--program"))?,
        folder: folder.ok_or_else(|| missing("--folder"))?,
        haproxy: haproxy.or_else(|| embedded.then(PathBuf::new)).ok_or_else(|| missing("--haproxy"))?,
        embedded,
        lease: LEASE,
        time: minutes.ok_or_else(|| missing("--minutes"))?,
        seed: seed.ok_or_else(|| missing("--seed"))?,
        keep,
    })
}

/// Whether every promise was kept.
async fn run(setting: &Setting) -> Result<bool> {
    let _ = std::fs::remove_dir_all(&setting.folder); // Of a run before this one, if any.
    let notes = setting.notes();
    // Steps may run as another user than this.
    let made = std::fs::create_dir_all(&notes)
        .and_then(|()| std::fs::set_permissions(&notes, std::fs::Permissions::from_mode(0o777)));
    made.explain(|| format!("{} cannot be made", notes.display()))?;
    let ledger = Ledger::open(&setting.folder)?;
    let minutes = setting.time.as_secs_f32() / 60.0;
    let place = if setting.embedded {
        "one process with the embedded broker"
    } else {
        "a cluster over RabbitMQ and PostgreSQL"
    };
    println!("Chaos on {place}: {minutes} minutes, seed {}", setting.seed);
    let cast = Arc::new(Cast::start(setting, &ledger).await?);
    let api = Api::new(cast.address.clone(), cast.token.clone(), Arc::clone(&ledger));
    for work in Work::ALL {
        api.apply(work.name(), work.yaml(&notes)).await?;
    }
    let begun = Instant::now();
    let end = begun + setting.time;
    let load = Arc::new(Load::new(api, Arc::clone(&ledger), notes, setting.seed, end));
    let schedule = Schedule::new(Random::new(setting.seed, 0), setting.lease, setting.embedded);
    let tasks = TaskTracker::new();
    let struck = tasks.spawn({
        let (cast, ledger) = (Arc::clone(&cast), Arc::clone(&ledger));
        async move { faults::run(&cast, &ledger, schedule, end).await }
    });
    load.run(setting.seed, end + QUIET).await;
    struck.await.explain(|| "the faults broke off".to_owned())?;
    let looked = tokio::time::timeout(QUIET, verify::installation(&load, &cast)).await;
    match looked {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => ledger.broken(&failure.to_string()),
        Err(_) => ledger.broken("the installation cannot be looked at, or its consumer groups stay behind"),
    }
    println!("{}", ledger.report());
    drop(load);
    if let Some(cast) = Arc::into_inner(cast) {
        cast.end().await;
    }
    Ok(ledger.is_whole())
}
