//! `cargo xtask bench`: builds a Stepcast for release and the program `bench`, and lets the second measure the first. What
//! is measured, and how, stands in `bench/`.

use std::path::Path;

use crate::failure::{Failure, Result};
use crate::process::{cargo, command, output, root, run};
use crate::release::{self, SERVER_SIDE, target_dir};
use crate::setup;

/// The figures that need a browser, together: what `--only` calls them.
const PAGE: &str = "page";

/// What to measure.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// A development build: to try the program `bench` itself.
    dev: bool,
    quick: bool,
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
                "--only" => {
                    let name = words.next().ok_or_else(|| Failure("`--only` wants the name of a figure".to_owned()))?;
                    options.only.push((*name).to_owned());
                }
                other => {
                    let sentence =
                        format!("`{other}` is not an option of bench; it has --only NAME, --quick and --dev");
                    return Err(Failure(sentence));
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
    let names = output(command(&bench).arg("names"))?;
    let is_known = |name: &&String| name.as_str() == PAGE || names.lines().any(|known| known == name.as_str());
    if let Some(name) = options.only.iter().find(|name| !is_known(name)) {
        let names = names.lines().chain([PAGE]).collect::<Vec<_>>().join(", ");
        return Err(Failure(format!("`--only {name}` names no figure; the figures are {names}")));
    }
    release::build(!options.dev)?;
    if options.only.is_empty() || options.only.iter().any(|name| name != PAGE) {
        server_figures(options, &bench, &profile)?;
    }
    if options.only.is_empty() || options.only.iter().any(|name| name == PAGE) {
        page_figures(options, &profile)?;
    }
    Ok(())
}

fn server_figures(options: &Options, bench: &Path, profile: &Path) -> Result<()> {
    let mut measure = command(bench);
    measure.arg("run");
    let scratch = target_dir().join("bench");
    let paths: [(&str, &Path); 3] = [
        ("--program", &profile.join("stepcast")),
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
        let wanted = Options { dev: false, quick: true, only };
        assert_eq!(Options::parse(&["--only", "line", "--quick", "--only", "log"]).unwrap(), wanted);
        assert!(Options::parse(&["--only"]).unwrap_err().0.contains("name of a figure"));
        assert!(Options::parse(&["--fast"]).unwrap_err().0.contains("`--fast`"));
    }
}
