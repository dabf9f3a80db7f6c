//! What the outputs of cargo and Playwright say of the tests that they ran: how many passed and failed, and the words of
//! those that failed.
//!
//! A test that fails and passes when it is repeated is unsteady: something is found, in it or in what it tests. It is told
//! with its words at the end of the run, and is neither of the two. Under `--all` nothing is repeated.

use std::fmt::Write as _;

/// So many lines of one test that failed are told again.
const LINES_MAX: usize = 30;

/// More unsteady tests than that in one run are no chance any more: it has failed.
pub(crate) const UNSTEADY_MAX: usize = 3;

/// How many checks passed and failed. A part that counts its own tests adds those, another one adds itself.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) unsteady: u64,
    /// What cargo's tests said that failed: thousands of lines come after it, of those that passed.
    failures: Vec<Vec<String>>,
    /// Whether the lines are those of a test that failed.
    is_failure: bool,
}

impl Tally {
    /// Adds a part's; one that counted nothing counts as one check.
    pub(crate) fn add(&mut self, part: Tally, has_passed: bool) {
        let is_empty = part.passed == 0 && part.failed == 0 && part.unsteady == 0;
        self.passed += if has_passed && is_empty { 1 } else { part.passed };
        self.failed += if has_passed { part.failed } else { part.failed.max(1) };
        self.unsteady += part.unsteady;
        self.failures.extend(part.failures);
    }

    /// So many that failed have passed when they were repeated.
    pub(crate) fn repeated(&mut self, tests: u64) {
        self.failed -= tests;
        self.unsteady += tests;
    }

    /// All of it in a line.
    pub(crate) fn counts(&self) -> String {
        let unsteady = match self.unsteady {
            0 => String::new(),
            unsteady => format!(", {unsteady} unsteady (failed, and passed when repeated)"),
        };
        format!("{} passed, {} failed{unsteady}", self.passed, self.failed)
    }

    /// What the tests that failed said, the tests one after the other.
    pub(crate) fn said(&self) -> String {
        let mut said = String::new();
        for lines in &self.failures {
            for line in lines.iter().take(LINES_MAX) {
                let _ = writeln!(said, "{line}");
            }
        }
        said
    }

    /// A line of `cargo test`: `test result: ok. 12 passed; 0 failed; 0 ignored; …`, once for each test program, and before
    /// that, where some failed, `---- name stdout ----` with what each said, between two lines `failures:`.
    pub(crate) fn cargo(&mut self, line: &str) {
        if line == "failures:" {
            self.is_failure = false;
        } else if line.starts_with("---- ") && line.ends_with(" ----") {
            self.is_failure = true;
            self.failures.push(vec![line.to_owned()]);
        } else if let (true, Some(failure)) = (self.is_failure, self.failures.last_mut()) {
            failure.push(line.to_owned());
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for clause in result.split(['.', ';']) {
            match clause.trim().split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    /// A line of Playwright: `  12 passed (1.2m)`, `  1 failed`, `  1 flaky`, `  3 did not run`, at the end. Flaky are those
    /// that passed when they were repeated.
    pub(crate) fn playwright(&mut self, line: &str) {
        let Some((number, word)) = line.trim().split_once(' ') else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        match word.split(' ').next() {
            Some("passed") => self.passed += number,
            Some("flaky") => self.unsteady += number,
            Some("failed" | "interrupted") => self.failed += number,
            Some("did") if word.starts_with("did not run") => self.failed += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_cargo_and_playwright_are_read() {
        let mut tally = Tally::default();
        tally.cargo(
            "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.01s",
        );
        tally.cargo("test a::b ... ok");
        assert_eq!((tally.passed, tally.failed), (12, 2));
        for line in [
            "  1 failed",
            "    tests/pages/x.spec.ts:3:5 › 9 passed",
            "  30 passed (1.2m)",
            "  1 flaky",
            "  2 did not run",
        ] {
            tally.playwright(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.unsteady), (42, 5, 1));
        assert_eq!(tally.said(), "");
        assert_eq!(tally.counts(), "42 passed, 5 failed, 1 unsteady (failed, and passed when repeated)");
        tally.repeated(2);
        assert_eq!((tally.passed, tally.failed, tally.unsteady), (42, 3, 3));
        assert_eq!(Tally::default().counts(), "0 passed, 0 failed");
    }

    #[test]
    fn what_failed_tests_said_is_told_again_and_nothing_else() {
        let mut tally = Tally::default();
        let long = format!("{}\nfailures:", "x\n".repeat(LINES_MAX));
        let output = [
            "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\nleft: 1\n---- b::c stdout ----",
            &long,
            "    a\n    b::c\n\ntest result: FAILED. 3 passed; 2 failed; 0 ignored\nRunning more",
        ];
        output.join("\n").lines().for_each(|line| tally.cargo(line));
        let expected = format!("---- a stdout ----\nleft: 1\n---- b::c stdout ----\n{}", "x\n".repeat(LINES_MAX - 1));
        assert_eq!(tally.said(), expected);
    }

    #[test]
    fn a_part_that_counts_nothing_is_one_check() {
        let mut all = Tally::default();
        all.add(Tally::default(), true);
        all.add(Tally::default(), false);
        all.add(Tally { passed: 3, ..Tally::default() }, false);
        all.add(Tally { passed: 5, failed: 2, ..Tally::default() }, false);
        assert_eq!((all.passed, all.failed), (9, 4));
    }
}
