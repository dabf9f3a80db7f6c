//! `cargo xtask bench`: builds a Stepcast for release and the program `bench`, and lets the second measure the first. What
//! is measured, and how, stands in `bench/`. With `--cluster` it measures a cluster, beside a bare loop and a peer.

use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::process::{cargo, command, output, root, run};
use crate::release::{self, SERVER_SIDE, target_dir};
use crate::{cluster, setup};

/// The figures that need a browser, together: what `--only` calls them.
const PAGE: &str = "page";

/// What to measure.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// A development build: to try the program `bench` itself.
    dev: bool,
    quick: bool,
    cluster: bool,
    /// Empty means every figure.
    only: Vec<String>,
}

impl Options {
    /// Reads the words behind `cargo xtask bench`.
    pub(crate) fn parse(words: &[&str]) -> Result<Options> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match word {
                "--dev" => options.dev = true,
                "--quick" => options.quick = true,
                "--cluster" => options.cluster = true,
                "--only" => {
                    let name = words.next().ok_or_else(|| Failure("`--only` wants the name of a figure".to_owned()))?;
                    options.only.push((*name).to_owned());
                }
                other => {
                    let options = "--cluster, --only NAME, --quick and --dev";
                    return Err(Failure(format!("`{other}` is not an option of bench; it has {options}")));
                }
            }
        }
        Ok(options)
    }
}

/// Builds and measures; the table goes to the terminal and nowhere else.
pub(crate) fn bench(options: &Options) -> Result<()> {
    let profile = target_dir().join(if options.dev { "debug" } else { "release" });
    let bench = profile.join("bench");
    build_bench(options.dev)?;
    let mut list = command(&bench);
    list.arg("names").args(options.cluster.then_some("--cluster"));
    let names = output(&mut list)?;
    let names: Vec<&str> = names.lines().chain((!options.cluster).then_some(PAGE)).collect();
    if let Some(name) = options.only.iter().find(|name| !names.contains(&name.as_str())) {
        let names = names.join(", ");
        return Err(Failure(format!("`--only {name}` names no figure; the figures are {names}")));
    }
    release::build(!options.dev)?;
    if options.cluster {
        return cluster_figures(options, &bench, &profile);
    }
    if options.only.is_empty() || options.only.iter().any(|name| name != PAGE) {
        server_figures(options, &bench, &profile)?;
    }
    if options.only.is_empty() || options.only.iter().any(|name| name == PAGE) {
        page_figures(options, &profile)?;
    }
    Ok(())
}

fn server_figures(options: &Options, bench: &Path, profile: &Path) -> Result<()> {
    run_bench(command(bench), options, &profile.join("stepcast"))
}

/// A cluster in the place of the program, over private servers that end with the figures.
fn cluster_figures(options: &Options, bench: &Path, profile: &Path) -> Result<()> {
    setup::for_cluster_bench()?;
    let mut measure = cluster::beside_servers(profile.join("stepcast"));
    // With the two slots that `bench` gives each executor, as many as the figures of one process have.
    measure.env("CLUSTER_EXECUTORS", "1").arg(bench);
    run_bench(measure, options, &cluster::program())
}

fn run_bench(mut measure: Command, options: &Options, program: &Path) -> Result<()> {
    measure.arg("run");
    if options.cluster {
        measure.arg("--cluster").arg("--peer").arg(root().join("bench/peer"));
    }
    let scratch = target_dir().join("bench");
    let paths: [(&str, &Path); 3] = [
        ("--program", program),
        ("--site", &root().join("target/site")),
        // Beside what is built: a temporary folder may lie in memory, where fsync costs nothing.
        ("--scratch", &scratch),
    ];
    for (option, path) in paths {
        measure.arg(option).arg(path);
    }
    if options.quick {
        measure.arg("--quick");
    }
    for name in options.only.iter().filter(|name| *name != PAGE) {
        measure.args(["--only", name]);
    }
    run(&mut measure)
}

/// What a person sees, measured in Chromium by `end2end/bench.ts`.
fn page_figures(options: &Options, profile: &Path) -> Result<()> {
    setup::for_browser_tests()?;
    let end2end = root().join("end2end");
    let mut measure = command(end2end.join("node_modules/.bin/playwright"));
    measure.args(["test", "--config", "bench.config.ts"]).current_dir(&end2end);
    measure
        .env("STEPCAST_BIN", profile.join("stepcast"))
        .env("STEPCAST_BENCH_QUICK", u8::from(options.quick).to_string());
    if let Some(chromium) = setup::chromium() {
        measure.env("STEPCAST_CHROMIUM", chromium);
    }
    run(&mut measure)
}

fn build_bench(dev: bool) -> Result<()> {
    let mut build = cargo();
    build.arg("build").args(SERVER_SIDE).args(["--bin", "bench"]);
    if !dev {
        build.arg("--release");
    }
    run(&mut build)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn options_come_in_any_order_and_others_are_refused() {
        let only = vec!["line".to_owned(), "log".to_owned()];
        let wanted = Options { dev: false, quick: true, cluster: true, only };
        assert_eq!(Options::parse(&["--only", "line", "--quick", "--cluster", "--only", "log"]).unwrap(), wanted);
        assert!(Options::parse(&["--only"]).unwrap_err().0.contains("name of a figure"));
        assert!(Options::parse(&["--fast"]).unwrap_err().0.contains("`--fast`"));
    }
}
