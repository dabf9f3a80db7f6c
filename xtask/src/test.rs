//! `cargo xtask test`: every check, in the order in which a mistake is cheapest to hear of. What the rules of the house
//! are is in `tidy`; here is how each part is run and what is counted.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::failure::{Failure, Result};
use crate::process::{answers, cargo, command, root, run, say, watch};
use crate::release::{SERVER_SIDE, build_server, target_dir};
use crate::tally::{Tally, UNSTEADY_MAX};
use crate::{api, browser, chaos, cluster, former, machine, mutations, programs, setup, tidy};

/// The version that is installed where none is.
const CARGO_DENY: &str = "0.20.2";
/// What cargo deny says when it cannot have the list of advisories.
const NO_ADVISORIES: &str = "failed to fetch advisory database";
/// The folder with `rabbitmq-server` and `rabbitmqctl` that tests and clusters take, where it is not the system's.
const RABBITMQ_SCRIPTS: &str = "STEPCAST_TEST_RABBITMQ_SCRIPTS";
/// The test programs that start RabbitMQ.
const ON_RABBITMQ: [&str; 8] =
    ["conformance", "failures", "tls", "cluster", "affinity", "broker_trouble", "nodes", "three_nodes"];
/// Set to 1 for the tests of Rust and Playwright under `--all`: those that take long look at it.
const ALL: &str = "STEPCAST_TEST_ALL";
/// Set to 1 where the tests of containers may not be skipped: an engine was provided, and this is root, as whom they start it.
const CONTAINERS_REQUIRED: &str = "STEPCAST_TEST_CONTAINERS_REQUIRED";
/// `docker` for the tests of containers, where they are not to run on Podman.
const ENGINE: &str = "STEPCAST_TEST_ENGINE";
/// `sandbox` for the suite of the executor, where its steps are to run in sandboxes.
const ISOLATION: &str = "STEPCAST_TEST_ISOLATION";
/// Set to 1 where no test of sandboxes may be skipped because none works.
const SANDBOX_REQUIRED: &str = "STEPCAST_TEST_SANDBOX_REQUIRED";
/// The test programs of the executor.
const OF_THE_EXECUTOR: [&str; 7] = ["files", "guard", "leases", "now", "output", "sandbox", "steps"];
/// Another seed for the part `chaos`.
const CHAOS_SEED: &str = "STEPCAST_TEST_CHAOS_SEED";

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    all: bool,
    /// Empty means every part.
    only: Vec<&'static str>,
}

impl Options {
    /// Reads the words behind `cargo xtask test`.
    pub(crate) fn parse(words: &[&str]) -> Result<Options> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match word {
                "--all" => options.all = true,
                "--only" => {
                    let wanted = words.next().copied().unwrap_or("");
                    let part = PARTS.iter().find(|part| part.name == wanted).ok_or_else(|| {
                        Failure(format!("`--only {wanted}` names no part; the parts are {}", part_names().join(", ")))
                    })?;
                    options.only.push(part.name);
                }
                other => {
                    return Err(Failure(format!("`{other}` is not an option of test; it has --all and --only PART")));
                }
            }
        }
        Ok(options)
    }

    /// Whether a part is asked for, or needed by one that is.
    fn wants(&self, part: &Part) -> bool {
        let asked = |part: &Part| match self.only.as_slice() {
            [] => self.all || !part.is_long,
            only => only.contains(&part.name),
        };
        asked(part) || PARTS.iter().any(|later| asked(later) && later.needs.contains(&part.name))
    }
}

struct Part {
    name: &'static str,
    /// Earlier parts whose result this one uses, so that `--only` brings them along.
    needs: &'static [&'static str],
    run: fn(&Options, &mut Tally) -> Result<()>,
    /// Left out unless `--all` or `--only` asks for it.
    is_long: bool,
}

const PARTS: &[Part] = &[
    Part { name: "tidy", needs: &[], run: |_, _| tidy::check(), is_long: false },
    Part { name: "fmt", needs: &[], run: |_, _| run(cargo().args(["fmt", "--all", "--check"])), is_long: false },
    Part { name: "clippy", needs: &[], run: clippy, is_long: false },
    Part { name: "deny", needs: &[], run: deny, is_long: false },
    Part { name: "browser", needs: &[], run: browser_package, is_long: false },
    Part { name: "rust", needs: &["browser"], run: rust_tests, is_long: false },
    Part { name: "binary", needs: &["browser"], run: binary, is_long: false },
    Part { name: "api", needs: &["browser", "binary"], run: http_interface, is_long: false },
    Part { name: "playwright", needs: &["browser", "binary"], run: playwright, is_long: false },
    Part { name: "chaos", needs: &["browser", "binary"], run: chaos_of_two_minutes, is_long: false },
    Part { name: "mutations", needs: &[], run: |_, _| mutations::run_all(""), is_long: true },
    Part { name: "cgroups", needs: &[], run: control_groups, is_long: true },
    Part { name: "docker", needs: &["browser"], run: containers_of_docker, is_long: true },
    Part { name: "former", needs: &["browser"], run: side_by_side, is_long: true },
    Part { name: "cluster", needs: &["browser", "binary"], run: playwright_on_a_cluster, is_long: true },
    Part { name: "rabbitmq4", needs: &["browser"], run: rust_tests_on_rabbitmq_4, is_long: true },
    Part { name: "cluster4", needs: &["browser", "binary"], run: playwright_on_rabbitmq_4, is_long: true },
];

/// As `--only` takes them.
pub(crate) fn part_names() -> Vec<&'static str> {
    PARTS.iter().map(|part| part.name).collect()
}

/// Runs the parts until one fails; the last lines say what failed, and how many checks passed and failed.
pub(crate) fn test(options: &Options) -> ExitCode {
    let mut tally = Tally::default();
    let mut failure = None;
    for part in PARTS.iter().filter(|part| options.wants(part)) {
        println!("== {}", part.name);
        let started = Instant::now();
        let mut own = Tally::default();
        let mut result = (part.run)(options, &mut own);
        if result.is_ok() && own.unsteady > UNSTEADY_MAX as u64 {
            result = Err(Failure(format!("{} of its tests passed only when they were repeated", own.unsteady)));
        }
        tally.add(own, result.is_ok());
        let word = if result.is_ok() { "passed" } else { "failed" };
        println!("== {} {word} in {:.1} s", part.name, started.elapsed().as_secs_f32());
        if let Err(reason) = result {
            failure = Some((part.name, reason));
            break;
        }
    }
    let failed = failure.is_some();
    if let Some((name, reason)) = failure {
        println!("{}xtask: {name} failed, and nothing after it was run: {reason}", tally.said());
    } else {
        print!("{}", tally.said());
    }
    println!("{}", tally.counts());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What only the browser has of the pages is linted where it is asked for: building it again for that takes minutes.
fn clippy(options: &Options, _: &mut Tally) -> Result<()> {
    setup::for_building()?;
    let deny = ["--", "-D", "warnings"];
    let mut server = cargo();
    server.arg("clippy").args(SERVER_SIDE).arg("--all-targets").args(deny);
    run(&mut server)?;
    run(cargo().args(["clippy", "-p", "xtask", "--all-targets"]).args(deny))?;
    if !options.all && options.only.is_empty() {
        return Ok(());
    }
    run(cargo().args(["clippy", "-p", "frontend", "--target", "wasm32-unknown-unknown"]).args(deny))
}

/// Building cargo deny takes longer than most parts do: where it is not there, that is left to `--all` and `--only deny`.
fn deny(options: &Options, _: &mut Tally) -> Result<()> {
    let tools = root().join("target/tools");
    let mut program = "cargo-deny".into();
    if !answers(&program, "--version") {
        program = tools.join("bin/cargo-deny").into_os_string();
    }
    if !answers(&program, "--version") && !options.all && options.only.is_empty() {
        println!("not checked: cargo deny is not installed; `cargo xtask test --only deny` installs it");
        return Ok(());
    }
    if !answers(&program, "--version") {
        say("set-up: cargo deny (some minutes, once)");
        let install = |locked: &[&str]| {
            let mut install = cargo();
            install.args(["install", "cargo-deny", "--version", CARGO_DENY, "--quiet"]).args(locked);
            run(install.arg("--root").arg(&tools))
        };
        install(&["--locked"]).or_else(|_| install(&[]))?;
    }
    run(command(&program).args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    let advisories = command(&program).args(["check", "advisories"]).output();
    let advisories = advisories.map_err(|error| Failure(format!("cargo deny cannot be started: {error}")))?;
    let said = String::from_utf8_lossy(&advisories.stderr);
    if advisories.status.success() {
        println!("advisories ok");
        Ok(())
    } else if said.contains(NO_ADVISORIES) {
        println!("advisories not checked: their database cannot be reached from here");
        Ok(())
    } else {
        println!("{said}");
        Err(Failure("`cargo deny check advisories` failed".to_owned()))
    }
}

fn browser_package(_: &Options, _: &mut Tally) -> Result<()> {
    setup::for_building()?;
    browser::package()
}

fn rust_tests(options: &Options, tally: &mut Tally) -> Result<()> {
    setup::for_rust_tests()?;
    let is = |is: bool| if is { "1" } else { "0" };
    let variables = [(ALL, is(options.all)), (CONTAINERS_REQUIRED, is(setup::is_root())), (SANDBOX_REQUIRED, "1")];
    programs::run(&SERVER_SIDE, &variables, &ON_RABBITMQ, options.all, tally)?;
    watch(cargo().args(["test", "--doc"]).args(SERVER_SIDE), |line| tally.cargo(line))?;
    watch(cargo().args(["test", "--no-fail-fast", "--package", "xtask"]), |line| tally.cargo(line))?;
    executor_in_sandboxes(tally)
}

/// The executor's suite once more, each job of it in a sandbox. One test after the other: processes are told apart by that.
fn executor_in_sandboxes(tally: &mut Tally) -> Result<()> {
    say("the executor's tests in sandboxes");
    let mut tests = cargo();
    tests.args(["test", "--no-fail-fast"]).args(SERVER_SIDE);
    tests.args(OF_THE_EXECUTOR.into_iter().flat_map(|name| ["--test", name])).args(["--", "--test-threads=1"]);
    tests.env(ISOLATION, "sandbox").env(SANDBOX_REQUIRED, "1");
    watch(&mut tests, |line| tally.cargo(line))
}

/// The tests of containers once more, on the other engine.
fn containers_of_docker(_: &Options, tally: &mut Tally) -> Result<()> {
    setup::for_docker_tests()?;
    let mut tests = cargo();
    tests.args(["test", "--no-fail-fast"]).args(SERVER_SIDE).args(["--test", "containers"]);
    tests.env(ENGINE, "docker").env(CONTAINERS_REQUIRED, if setup::is_root() { "1" } else { "0" });
    tests.env(SANDBOX_REQUIRED, "1");
    watch(&mut tests, |line| tally.cargo(line))
}

/// The tests that need control groups of their own to divide, in a virtual machine that has them.
fn control_groups(_: &Options, tally: &mut Tally) -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        println!("not tested: the machine of these tests has a processor of another kind than this one");
        return Ok(());
    }
    setup::for_machine_tests()?;
    let tests = programs::path(&SERVER_SIDE, "cgroups")?;
    machine::run_tests(&tests, &target_dir().join("debug/executor-guard"), |line| tally.cargo(line))
}

/// Those that start RabbitMQ, on the newest version that is supported instead of the system's.
fn rust_tests_on_rabbitmq_4(_: &Options, tally: &mut Tally) -> Result<()> {
    setup::for_rust_tests()?;
    let mut tests = cargo();
    tests.args(["test", "--no-fail-fast"]).args(SERVER_SIDE);
    tests.args(ON_RABBITMQ.into_iter().flat_map(|name| ["--test", name]));
    tests.env(RABBITMQ_SCRIPTS, setup::rabbitmq_4()?).env(ALL, "1");
    watch(&mut tests, |line| tally.cargo(line))
}

fn binary(_: &Options, _: &mut Tally) -> Result<()> {
    build_server(false)?;
    Ok(())
}

/// The program under test.
fn program() -> PathBuf {
    std::env::var_os("STEPCAST_BIN").map_or_else(|| target_dir().join("debug/stepcast"), PathBuf::from)
}

/// Every operation of `docs/openapi.yaml`, asked for rightly and wrongly.
fn http_interface(_: &Options, _: &mut Tally) -> Result<()> {
    setup::for_api_tests()?;
    api::ask(&program())
}

fn playwright(options: &Options, tally: &mut Tally) -> Result<()> {
    setup::for_browser_tests()?;
    let end2end = root().join("end2end");
    run(command(end2end.join("node_modules/.bin/tsc")).arg("--noEmit").current_dir(&end2end))?;
    let mut tests = command(end2end.join("node_modules/.bin/playwright"));
    tests.env(ALL, if options.all { "1" } else { "0" }).env("STEPCAST_BIN", program());
    browser_tests(tests, tally)
}

/// On RabbitMQ and on the embedded broker: two minutes for both together, and so much for each under `--all`.
fn chaos_of_two_minutes(options: &Options, tally: &mut Tally) -> Result<()> {
    setup::for_cluster()?;
    let seed = std::env::var(CHAOS_SEED).unwrap_or_else(|_| "1".to_owned());
    let [cluster, embedded] = if options.all { ["2", "2"] } else { ["1.25", "0.75"] };
    for options in
        [&["--minutes", cluster, "--seed", &seed][..], &["--minutes", embedded, "--seed", &seed, "--embedded"]]
    {
        chaos::strike(&chaos::Options::parse(options)?, &program())?;
        tally.passed += 1;
    }
    Ok(())
}

/// The tests of two versions over one broker and one database, with the program of the former commit as the other one.
fn side_by_side(_: &Options, tally: &mut Tally) -> Result<()> {
    setup::for_rust_tests()?;
    let former = former::build()?;
    let mut tests = cargo();
    tests.arg("test").args(SERVER_SIDE).args(["--test", "side_by_side"]).env("STEPCAST_TEST_FORMER", former);
    watch(&mut tests, |line| tally.cargo(line))
}

/// The same tests, where each of their servers is two gateways behind HAProxy and an executor. One, because tests count on
/// as many slots as they ask for.
fn playwright_on_a_cluster(_: &Options, tally: &mut Tally) -> Result<()> {
    browser_tests_on_a_cluster(cluster::beside_servers(program()), tally)
}

/// The same over the newer RabbitMQ.
fn playwright_on_rabbitmq_4(_: &Options, tally: &mut Tally) -> Result<()> {
    let mut servers = cluster::beside_servers(program());
    servers.env(RABBITMQ_SCRIPTS, setup::rabbitmq_4()?);
    browser_tests_on_a_cluster(servers, tally)
}

fn browser_tests_on_a_cluster(mut tests: Command, tally: &mut Tally) -> Result<()> {
    setup::for_browser_tests()?;
    setup::for_cluster()?;
    tests.arg(root().join("end2end/node_modules/.bin/playwright"));
    tests.env(ALL, "0").env("STEPCAST_BIN", cluster::program()).env("CLUSTER_EXECUTORS", "1");
    browser_tests(tests, tally)
}

fn browser_tests(mut tests: Command, tally: &mut Tally) -> Result<()> {
    tests.arg("test").current_dir(root().join("end2end"));
    if let Some(chromium) = setup::chromium() {
        tests.env("STEPCAST_CHROMIUM", chromium);
    }
    watch(&mut tests, |line| tally.playwright(line))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_brings_along_what_the_part_needs_and_no_more() {
        let options = Options::parse(&["--only", "playwright"]).unwrap();
        let wanted: Vec<_> = PARTS.iter().filter(|part| options.wants(part)).map(|part| part.name).collect();
        assert_eq!(wanted, ["browser", "binary", "playwright"]);
        assert!(PARTS.iter().all(|part| Options::default().wants(part) != part.is_long));
        assert!(PARTS.iter().all(|part| Options::parse(&["--all"]).unwrap().wants(part)));
    }

    #[test]
    fn a_part_needs_only_parts_that_come_before_it() {
        for (place, part) in PARTS.iter().enumerate() {
            for need in part.needs {
                assert!(PARTS[..place].iter().any(|earlier| earlier.name == *need), "{} needs {need}", part.name);
            }
        }
    }

    #[test]
    fn a_wrong_option_is_named() {
        assert!(Options::parse(&["--fast"]).unwrap_err().0.contains("`--fast`"));
        assert!(Options::parse(&["--only", "lint"]).unwrap_err().0.contains("tidy, fmt, clippy"));
        assert!(Options::parse(&["--only"]).is_err());
        assert!(Options::parse(&["--all"]).unwrap().all);
    }
}
