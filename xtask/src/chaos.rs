//! `cargo xtask chaos`: builds a Stepcast and the program `chaos`, and lets the second strike the first, on a cluster over
//! private servers or on one process. What it does and looks at stands in `chaos/`.

use std::path::Path;

use crate::failure::{Failure, Result};
use crate::process::{cargo, command, root, run, say};
use crate::release::{self, AS_IN_TESTS, SERVER_SIDE, target_dir};
use crate::{browser, cluster, setup};

/// What to strike, and for how long.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    embedded: bool,
    minutes: String,
    seed: String,
}

impl Options {
    /// Reads the words behind `cargo xtask chaos`.
    pub(crate) fn parse(words: &[&str]) -> Result<Options> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let mut value = || {
                let text = words.next().copied().unwrap_or_default();
                let is_number = text.parse::<f64>().is_ok_and(|number| number >= 0.0);
                if is_number { Ok(text.to_owned()) } else { Err(Failure(format!("`{word}` wants a number behind it"))) }
            };
            match word {
                "--minutes" => options.minutes = value()?,
                "--seed" => options.seed = value()?,
                "--embedded" => options.embedded = true,
                other => {
                    let options = "--minutes N, --seed S and --embedded";
                    return Err(Failure(format!("`{other}` is not an option of chaos; it has {options}")));
                }
            }
        }
        for (option, value) in [("--minutes", &options.minutes), ("--seed", &options.seed)] {
            if value.is_empty() {
                return Err(Failure(format!("`{option}` is missing")));
            }
        }
        Ok(options)
    }
}

/// Builds, and strikes.
pub(crate) fn chaos(options: &Options) -> Result<()> {
    setup::for_cluster()?;
    browser::package()?;
    let stepcast = release::build_server(false)?;
    strike(options, &stepcast)
}

/// The same with a Stepcast that is built already.
pub(crate) fn strike(options: &Options, stepcast: &Path) -> Result<()> {
    let mut build = cargo();
    run(build.arg("build").args(SERVER_SIDE).args(["--bin", "chaos"]).args(AS_IN_TESTS))?;
    let program = target_dir().join("debug/chaos");
    let mut chaos = if options.embedded {
        let mut chaos = command(program);
        chaos.arg("--embedded");
        chaos
    } else {
        let mut chaos = cluster::beside_servers(stepcast.to_owned());
        chaos.arg(program).arg("--haproxy").arg(root().join("deploy/haproxy.cfg"));
        chaos
    };
    let name = format!("chaos/{}-{}", if options.embedded { "embedded" } else { "cluster" }, options.seed);
    chaos.arg("--program").arg(stepcast).arg("--folder").arg(target_dir().join(name));
    chaos.args(["--minutes", &options.minutes, "--seed", &options.seed]);
    say("chaos (Ctrl-C ends it)");
    run(&mut chaos)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn minutes_and_seed_are_wanted_and_must_be_numbers() {
        let wanted = Options { embedded: true, minutes: "1.5".to_owned(), seed: "7".to_owned() };
        assert_eq!(Options::parse(&["--embedded", "--seed", "7", "--minutes", "1.5"]).unwrap(), wanted);
        assert!(Options::parse(&["--seed", "7"]).unwrap_err().0.contains("`--minutes` is missing"));
        assert!(Options::parse(&["--seed", "x", "--minutes", "1"]).unwrap_err().0.contains("`--seed` wants a number"));
        assert!(Options::parse(&["--long"]).unwrap_err().0.contains("`--long`"));
    }
}
