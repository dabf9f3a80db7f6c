//! What is asked of the text of one file. Every rule is a function of a path and a content, so that its test needs no
//! folder.

use super::lexer;

/// The longest file that a person reads in one go.
const LINES_MAX: usize = 500;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["common", "util", "utils", "helper", "helpers", "misc", "shared", "stuff"];

/// Words of Rust that must not stay, and why.
const RUST_LEFTOVERS: [(&str, &str); 4] = [
    ("todo!", "write it now, or leave the promise out"),
    ("unimplemented!", "write it now, or leave the promise out"),
    ("dbg!", "it is a trace of looking for a mistake; use tracing where it is worth keeping"),
    ("#[ignore", "a test that is not run proves nothing; long ones look at STEPCAST_TEST_ALL"),
];

/// Words of the browser tests that must not stay, and why.
const SCRIPT_LEFTOVERS: [(&str, &str); 6] = [
    ("test.only", "all the other tests would be left out"),
    ("describe.only", "all the other tests would be left out"),
    ("test.skip(", "a test that is not run proves nothing"),
    ("test.fixme", "a test that is not run proves nothing"),
    ("debugger;", "it is a trace of looking for a mistake"),
    ("console.log(", "it is a trace of looking for a mistake"),
];

/// Ways to wait for time in the browser tests.
const SCRIPT_SLEEPS: [&str; 3] = ["waitForTimeout(", "setTimeout(", "timers/promises"];

/// Notes of work that was put off.
const PROMISES: [&str; 3] = ["TODO", "FIXME", "XXX"];

/// Whether `check` has anything to say about a file of this name.
pub(super) fn concerns(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    [".rs", ".ts", ".css"].iter().any(|end| name.ends_with(end)) || ["Cargo.toml", "package-lock.json"].contains(&name)
}

/// One sentence for each thing that is not as it should be.
pub(super) fn check(path: &str, content: &str) -> Vec<String> {
    let mut findings = Findings { path, list: Vec::new() };
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((_, "rs")) => {
            length(content, &mut findings);
            name_says_something(&mut findings);
            rust(content, &mut findings);
        }
        Some((_, "ts")) => {
            length(content, &mut findings);
            name_says_something(&mut findings);
            script(content, &mut findings);
        }
        Some((_, "css")) => length(content, &mut findings),
        _ if name == "Cargo.toml" => manifest(content, &mut findings),
        _ if name == "package-lock.json" => lock_file(content, &mut findings),
        _ => {}
    }
    findings.list
}

struct Findings<'a> {
    path: &'a str,
    list: Vec<String>,
}

impl Findings<'_> {
    /// `line` counts from 1.
    fn add(&mut self, line: usize, sentence: &str) {
        self.list.push(format!("{}:{line}: {sentence}", self.path));
    }
}

fn length(content: &str, findings: &mut Findings<'_>) {
    let lines = content.lines().count();
    if lines > LINES_MAX {
        findings.add(lines, &format!("the file has {lines} lines, above {LINES_MAX}; split it by purpose"));
    }
}

fn name_says_something(findings: &mut Findings<'_>) {
    let empty = findings.path.split('/').find(|part| EMPTY_NAMES.contains(&part.split('.').next().unwrap_or(part)));
    if let Some(part) = empty {
        let sentence = format!("the name `{part}` does not say what is inside; name it after its purpose");
        findings.add(1, &sentence);
    }
}

fn rust(content: &str, findings: &mut Findings<'_>) {
    if !content.starts_with("//!") {
        findings.add(1, "the file does not open with `//!`; say what lives here and what does not");
    }
    let split = lexer::split(content);
    let mut in_tests = is_test_file(findings.path);
    let mut for_tests = false;
    for (line, code) in (1..).zip(split.code.lines()) {
        for (word, why) in RUST_LEFTOVERS {
            if has_word(code, word) {
                findings.add(line, &format!("`{word}` must not stay: {why}"));
            }
        }
        // A module of tests ends its file; another item for tests alone, such as an import, does not.
        in_tests |= for_tests && has_word(code, "mod ") && code.trim_end().ends_with('{');
        for_tests = code.trim() == "#[cfg(test)]" || (for_tests && code.trim().starts_with("#["));
        if in_tests && (has_word(code, "sleep(") || has_word(code, "sleep_until(")) {
            findings.add(line, "a test must not sleep; wait for the signal that it is about");
        }
    }
    for (line, comment) in (1..).zip(split.comments.lines()) {
        promises(line, comment, findings);
    }
}

/// A whole file of tests: in the folder `tests`, the file that `mod tests;` names, or a suite for several implementations.
fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/conformance")
}

fn script(content: &str, findings: &mut Findings<'_>) {
    for (line, text) in (1..).zip(content.lines()) {
        for (word, why) in SCRIPT_LEFTOVERS {
            if has_word(text, word) {
                findings.add(line, &format!("`{word}` must not stay: {why}"));
            }
        }
        // The limit of a whole test waits for nothing.
        let text = &text.replace("test.setTimeout(", "");
        if SCRIPT_SLEEPS.iter().any(|word| has_word(text, word)) {
            findings.add(line, "a test must not sleep; wait for the signal that it is about");
        }
        promises(line, text, findings);
    }
}

fn promises(line: usize, text: &str, findings: &mut Findings<'_>) {
    for word in PROMISES {
        let stands_alone = |at: usize| {
            let after = text[at + word.len()..].chars().next();
            !after.is_some_and(|after| after.is_alphanumeric() || after == '_')
        };
        if word_at(text, word).is_some_and(stands_alone) {
            findings.add(line, &format!("`{word}` puts work off; do it, or say in an issue what is missing"));
        }
    }
}

/// Whether `word` begins in `text` where no longer word goes on.
fn has_word(text: &str, word: &str) -> bool {
    word_at(text, word).is_some()
}

fn word_at(text: &str, word: &str) -> Option<usize> {
    let begins = |at: usize| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || before == '_')
    };
    text.match_indices(word).map(|(at, _)| at).find(|at| begins(*at))
}

fn manifest(content: &str, findings: &mut Findings<'_>) {
    let has = |head: &str| content.lines().any(|line| line.trim() == head);
    // What is a workspace of its own has none whose lints it could keep.
    let is_member = has("[package]") && !has("[workspace]");
    let mut lines = content.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    if is_member && !lines.any(|line| line == "workspace = true") {
        findings.add(1, "this member leaves the lints of the workspace; add `[lints]` with `workspace = true`");
    }
}

fn lock_file(content: &str, findings: &mut Findings<'_>) {
    for (line, text) in (1..).zip(content.lines()) {
        if text.trim_start().starts_with("\"resolved\":") {
            findings
                .add(line, "the lock file names an address to download from; keep `omit-lockfile-registry-resolved`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "//! What lives here.\n";

    fn only_finding(path: &str, content: &str) -> String {
        let findings = check(path, content);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.concat()
    }

    fn rust_with(code: &str) -> String {
        format!("{HEAD}{code}\n")
    }

    #[test]
    fn a_file_that_is_as_it_should_be_has_no_finding() {
        let code = rust_with("// sleep( and dbg! in prose, and \"todo!\" too\nfn a() { let s = \"dbg!(1)\"; }");
        assert_eq!(check("crates/wire/src/id.rs", &code), Vec::<String>::new());
    }

    #[test]
    fn a_rust_file_opens_by_saying_what_it_is() {
        assert!(only_finding("a/src/b.rs", "use std::fs;\n").starts_with("a/src/b.rs:1: the file does not open"));
    }

    #[test]
    fn a_file_of_500_lines_passes_and_one_more_does_not() {
        let lines = |count: usize| format!("{HEAD}{}", "\n".repeat(count - 1));
        assert!(check("a.rs", &lines(500)).is_empty());
        assert!(only_finding("a.rs", &lines(501)).contains("501 lines"));
        assert!(only_finding("style/a.css", &lines(501)).contains("501 lines"));
    }

    #[test]
    fn leftovers_are_found_in_code_with_their_line() {
        for code in [
            "fn a() { todo!() }",
            "fn a() { dbg!(1); }",
            "#[ignore = \"slow\"]\nfn a() {}",
            "fn a() { unimplemented!() }",
        ] {
            assert!(only_finding("a.rs", &rust_with(code)).starts_with("a.rs:2: `"), "{code}");
        }
        assert!(check("a.rs", &rust_with("fn a() { mytodo!() }")).is_empty());
    }

    #[test]
    fn work_that_was_put_off_is_found_in_comments() {
        assert!(only_finding("a.rs", &rust_with("// TODO: later")).contains("puts work off"));
        assert!(only_finding("end2end/a.ts", "// FIXME\n").contains("puts work off"));
        assert!(check("a.rs", &rust_with("const TODO: u8 = 1; // TODOS are none")).is_empty());
    }

    #[test]
    fn sleep_is_refused_in_tests_and_left_to_the_product() {
        let sleeps = "async fn a() { tokio::time::sleep(x).await }";
        assert!(check("a/src/b.rs", &rust_with(sleeps)).is_empty());
        assert!(only_finding("a/tests/b.rs", &rust_with(sleeps)).contains("must not sleep"));
        let unit = format!("#[cfg(test)]\nmod tests {{\n{sleeps}\n}}");
        assert!(only_finding("a/src/b.rs", &rust_with(&unit)).starts_with("a/src/b.rs:4: "));
        assert!(only_finding("a/src/conformance/b.rs", &rust_with(sleeps)).contains("must not sleep"));
        let import = format!("#[cfg(test)]\nuse a::b;\n{sleeps}");
        assert!(check("a/src/b.rs", &rust_with(&import)).is_empty());
        assert!(only_finding("end2end/tests/a.spec.ts", "await page.waitForTimeout(5);\n").contains("must not sleep"));
        assert!(only_finding("end2end/tests/a.spec.ts", "setTimeout(go_on, 5);\n").contains("must not sleep"));
        assert!(check("end2end/tests/a.spec.ts", "test.setTimeout(5);\n").is_empty());
    }

    #[test]
    fn a_test_that_leaves_the_others_out_is_found() {
        assert!(only_finding("end2end/tests/a.spec.ts", "test.only('a', run);\n").contains("left out"));
    }

    #[test]
    fn a_name_that_says_nothing_is_refused() {
        for path in ["a/src/util.rs", "a/src/common/x.rs", "end2end/helpers.ts"] {
            assert!(only_finding(path, HEAD).contains("does not say what is inside"), "{path}");
        }
        assert!(check("a/src/utility_bill.rs", HEAD).is_empty());
    }

    #[test]
    fn every_member_keeps_the_lints_of_the_workspace() {
        assert!(only_finding("a/Cargo.toml", "[package]\nname = \"a\"\n").contains("leaves the lints"));
        assert!(check("a/Cargo.toml", "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n").is_empty());
        assert!(check("Cargo.toml", "[workspace]\n").is_empty());
        assert!(check("fuzz/Cargo.toml", "[package]\nname = \"a\"\n\n[workspace]\n").is_empty());
    }

    #[test]
    fn a_lock_file_names_no_address() {
        let line = "    \"resolved\": \"https://registry.example/x.tgz\",\n";
        assert!(only_finding("end2end/package-lock.json", line).contains("address to download from"));
    }
}
