//! `bench`: measures a built Stepcast from outside, as its users meet it, and prints each figure with its conditions.
//! `cargo xtask bench` builds what is measured and starts this program. Here are the options and the order; a figure is
//! measured in the file of its name.
//!
//! Nothing here judges: a figure is printed, never compared with a limit.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    failure::{Explain as _, Failure, Result},
    report::Row,
};

mod conditions;
mod failure;
mod figures;
mod gateway;
mod life;
mod processes;
mod report;
mod samples;
mod server;
mod socket;

const USAGE: &str = "\
bench names [--cluster]                     the names of the figures, one in each line
bench run --program FILE --site FOLDER --scratch FOLDER [--cluster --peer FOLDER] [--quick] [--only NAME]...
    --program    the `stepcast` to be measured
    --cluster    it is `xtask/cluster/stepcast.sh`, beside the servers of `servers.sh`
    --peer       the gateway of others that Stepcast's is measured beside
    --site       the browser package
    --scratch    where the servers keep their data: on the disk whose fsync counts; made and removed
    --quick      fewer samples
    --only       these figures alone
bench bare-loop URL                         the least that brings messages of this broker to sockets";

/// Exit status for a command that is not understood, as in the `stepcast` binary.
const WRONG_USAGE: u8 = 2;

/// What is measured, and how thoroughly.
pub(crate) struct Setting {
    pub(crate) program: PathBuf,
    pub(crate) site: PathBuf,
    pub(crate) scratch: PathBuf,
    /// `program` starts a cluster.
    pub(crate) cluster: bool,
    pub(crate) peer: Option<PathBuf>,
    quick: bool,
    only: Vec<String>,
}

impl Setting {
    /// How many samples to take.
    pub(crate) fn samples(&self, usually: usize, quick: usize) -> usize {
        if self.quick { quick } else { usually }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("names") => {
            let cluster = words.iter().any(|word| word == "--cluster");
            figures::all(cluster).for_each(|figure| println!("{}", figure.name));
            ExitCode::SUCCESS
        }
        Some("bare-loop") if words.len() == 2 => match gateway::bare::run(&words[1]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("bench: {failure}");
                ExitCode::FAILURE
            }
        },
        Some("run") => match parse(&words[1..]) {
            Ok(setting) => run(&setting),
            Err(failure) => wrong_usage(&failure),
        },
        _ => wrong_usage(&Failure("the first word must be `names`, `run` or `bare-loop`".to_owned())),
    }
}

fn wrong_usage(failure: &Failure) -> ExitCode {
    eprintln!("bench: {failure}\n\n{USAGE}");
    ExitCode::from(WRONG_USAGE)
}

fn parse(words: &[String]) -> Result<Setting> {
    let (mut program, mut site, mut scratch, mut peer, mut only) = (None, None, None, None, Vec::new());
    let (mut cluster, mut quick) = (false, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| Failure(format!("`{word}` wants a word behind it")));
        match word.as_str() {
            "--program" => program = Some(PathBuf::from(value()?)),
            "--site" => site = Some(PathBuf::from(value()?)),
            "--scratch" => scratch = Some(PathBuf::from(value()?)),
            "--peer" => peer = Some(PathBuf::from(value()?)),
            "--cluster" => cluster = true,
            "--quick" => quick = true,
            "--only" => only.push(value()?.clone()),
            other => return Err(Failure(format!("`{other}` is not an option of bench"))),
        }
    }
    if let Some(name) = only.iter().find(|name| !figures::all(cluster).any(|figure| figure.name == name.as_str())) {
        return Err(Failure(format!("`--only {name}` names no figure; `bench names` lists them")));
    }
    let missing = |option: &str| Failure(format!("`{option}` is missing"));
    Ok(Setting {
        program: program.ok_or_else(|| missing("--program"))?,
        site: site.ok_or_else(|| missing("--site"))?,
        scratch: scratch.ok_or_else(|| missing("--scratch"))?,
        cluster,
        peer,
        quick,
        only,
    })
}

/// Measures figure by figure. One that could not be measured does not keep the others from it.
fn run(setting: &Setting) -> ExitCode {
    let conditions = match prepare(&setting.scratch).and_then(|()| conditions::describe(setting)) {
        Ok(conditions) => conditions,
        Err(failure) => {
            eprintln!("bench: {failure}");
            return ExitCode::FAILURE;
        }
    };
    println!("{conditions}\n");
    let mut rows = Vec::new();
    let mut failed = false;
    for figure in figures::all(setting.cluster) {
        if !setting.only.is_empty() && !setting.only.iter().any(|name| name == figure.name) {
            continue;
        }
        eprintln!("> measuring {}", figure.name);
        match (figure.measure)(setting) {
            Ok(measured) => rows.extend(measured),
            Err(failure) => {
                failed = true;
                rows.push(Row::detail(figure.name, "not measured".to_owned(), failure.to_string()));
            }
        }
    }
    print!("{}", report::table(&rows));
    if failed {
        eprintln!("bench: what the servers said is kept in {}", setting.scratch.display());
        return ExitCode::FAILURE;
    }
    // Nothing but this run's data is in it; a folder that stays behind harms nobody.
    let _ = std::fs::remove_dir_all(&setting.scratch);
    ExitCode::SUCCESS
}

fn prepare(scratch: &Path) -> Result<()> {
    std::fs::create_dir_all(scratch).explain(|| format!("{} cannot be made", scratch.display()))?;
    processes::allow_many_files()
}
