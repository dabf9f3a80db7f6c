//! `cargo xtask`: what cargo alone cannot say about building, running and testing Stepcast. Here are the commands and
//! their options; what a command does is in the file of its name.

use std::ffi::OsString;
use std::process::ExitCode;

use failure::{Failure, Result};

mod api;
mod bench;
mod browser;
mod bundle;
mod chaos;
mod cluster;
mod failure;
mod former;
mod fuzz;
mod machine;
mod mutations;
mod process;
mod programs;
mod release;
mod run;
mod setup;
mod source;
mod tally;
mod test;
mod tidy;

const USAGE: &str = "\
cargo xtask run [-- OPTIONS]       set up, build everything and serve it on http://127.0.0.1:3000
                                   (OPTIONS are those of `stepcast serve`)
cargo xtask cluster [-- OPTIONS]   the same as two gateways and two executors over a private RabbitMQ and PostgreSQL, with
                                   HAProxy in front on http://127.0.0.1:3000; Ctrl-C ends all of it
cargo xtask build [--release]      leave target/debug/stepcast or target/release/stepcast, one file
cargo xtask browser                build the browser package alone, into target/site
cargo xtask bench [--cluster] [--quick] [--only NAME]...
                                   measure a release build; --cluster measures a cluster and its callback gateway beside a bare
                                   loop and a peer, --quick takes fewer samples, --only picks figures
cargo xtask chaos --minutes N --seed S [--embedded]
                                   builds on a cluster, or on one process, while processes are killed, paused, cut off and
                                   slowed down; reports every promise that is broken
cargo xtask mutations [NAME]        plants the faults of mutations/ in a copy of the last commit, and expects a test to find each;
                                   NAME picks those that begin with it
cargo xtask fuzz [--minutes N] [--only NAME]
                                   throws mutated input at what reads text of strangers, 5 minutes a target unless N says otherwise
cargo xtask test [--all] [--only PART]...
                                   every check; --all adds the long ones, --only picks parts:
                                   ";

/// Exit status for a command that is not understood, as in the `stepcast` binary.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or("\u{fffd}")).collect();
    let done = match words.as_slice() {
        ["run"] => run::run(&[]),
        ["run", "--", ..] => run::run(&arguments[2..]),
        ["cluster"] => cluster::run(&[]),
        ["cluster", "--", ..] => cluster::run(&arguments[2..]),
        ["build"] => release::build(false),
        ["build", "--release"] => release::build(true),
        ["browser"] => setup::for_building().and_then(|()| browser::package()),
        ["test", options @ ..] => match test::Options::parse(options) {
            Ok(options) => return test::test(&options),
            Err(failure) => return wrong_usage(&failure),
        },
        ["bench", options @ ..] => match bench::Options::parse(options) {
            Ok(options) => bench::bench(&options),
            Err(failure) => return wrong_usage(&failure),
        },
        ["chaos", options @ ..] => match chaos::Options::parse(options) {
            Ok(options) => chaos::chaos(&options),
            Err(failure) => return wrong_usage(&failure),
        },
        ["fuzz", options @ ..] => match fuzz::Options::parse(options) {
            Ok(options) => fuzz::fuzz(&options),
            Err(failure) => return wrong_usage(&failure),
        },
        ["mutations"] => mutations::run_all(""),
        ["mutations", name] => mutations::run_all(name),
        [run::OPEN_LINK] => run::open_link(),
        ["help" | "--help" | "-h"] => show_usage(),
        [] => return wrong_usage(&Failure("a command is missing".to_owned())),
        other => return wrong_usage(&Failure(format!("`{}` is not a command of xtask", other.join(" ")))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn show_usage() -> Result<()> {
    println!("{USAGE}{}", test::part_names().join(", "));
    Ok(())
}

fn wrong_usage(failure: &Failure) -> ExitCode {
    eprintln!("xtask: {failure}\n\n{USAGE}{}", test::part_names().join(", "));
    ExitCode::from(WRONG_USAGE)
}
