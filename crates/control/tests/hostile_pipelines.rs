//! Pipelines that are written to hurt: each is refused with one sentence and its place, soon and in little memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use control::{pipeline::parse, plan::plan};
use uuid::Uuid;
use wire::{BuildId, Problem, command::Trigger};

/// For one text on a busy machine, unoptimised. What is not bounded takes minutes, or never ends.
const PATIENCE: Duration = Duration::from_secs(60);
/// What all of them together may take at most, in KiB.
const MEMORY_KIB_MAX: u64 = 400 * 1024;

fn refused(what: &str, text: &str) -> Problem {
    let begun = Instant::now();
    let problem = parse(text).expect_err(what);
    assert!(begun.elapsed() < PATIENCE, "{what} took {:?}", begun.elapsed());
    let detail = &problem.detail;
    assert!(problem.status == 422 && problem.line.is_some() && problem.column.is_some(), "{what}: {problem:?}");
    assert!(!detail.is_empty() && detail.chars().count() <= 2000, "{what}: {} characters", detail.chars().count());
    assert!(!detail.contains(char::is_control), "{what}: {detail:?}");
    assert!(!detail.contains(wire::text::turns_direction), "{what}: {detail:?}");
    problem
}

/// A pipeline of one job, with this in the place of its keys.
fn job(keys: &str) -> String {
    format!("name: p\njobs:\n  a:\n    {keys}\n    steps: [{{run: make}}]\n")
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn what_would_explode_is_refused_before_it_does() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    let wide = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 100_000].join(","));
    let jobs = (0..10_000).map(|n| format!("  j{n}: {{steps: [{{run: x}}]}}\n")).collect::<String>();
    let axis = |name: &str, values: usize| {
        format!("{name}: [{}]", (0..values).map(|n| n.to_string()).collect::<Vec<_>>().join(","))
    };
    let axes = (0..60).map(|n| axis(&format!("x{n}"), 2)).collect::<Vec<_>>().join(", ");
    for (what, text, words) in [
        ("aliases of aliases", bomb, "aliases written out"),
        ("many aliases of one long text", wide, "aliases written out"),
        ("an alias of itself", "a: &a [*a]\n".to_owned(), "within the very thing"),
        ("brackets", "[".repeat(1_000_000), "recursion limit exceeded"),
        ("mappings in a line", "{a: ".repeat(250_000), ""),
        ("questions", "? ".repeat(500_000), "levels deep"),
        ("more than may be read", "#".repeat(2_000_000), "bytes: a pipeline may have"),
        ("10,000 jobs", format!("name: p\njobs:\n{jobs}"), "more than 500 jobs"),
        ("10,000 values", job(&format!("matrix: {{{}}}", axis("x", 10_000))), "more than 256 combinations"),
        ("2^60 combinations", job(&format!("matrix: {{{axes}}}")), "more than 256 combinations"),
        ("10,000 labels", job(&format!("labels: [{}]", vec!["linux"; 10_000].join(","))), ""),
        ("10,000 needs", job(&format!("needs: [{}]", vec!["a"; 10_000].join(","))), "need"),
        (
            "10,000 steps",
            format!("name: p\njobs: {{a: {{steps: [{}]}}}}\n", vec!["{run: x}"; 10_000].join(",")),
            "200 steps",
        ),
        (
            "10,000 patterns of branches",
            format!(
                "name: p\non: {{push: {{branches: [{}]}}}}\njobs: {{a: {{steps: [{{run: x}}]}}}}\n",
                vec!["x*"; 10_000].join(",")
            ),
            "at most 100 names",
        ),
        (
            "10,000 secrets",
            job(&format!("secrets: [{}]", (0..10_000).map(|n| format!("S{n}")).collect::<Vec<_>>().join(","))),
            "secrets",
        ),
        ("10,000 artifacts", job(&format!("artifacts: [{}]", vec!["x"; 10_000].join(","))), "100 paths"),
        ("a long key", format!("? {}\n: 1\n", "k".repeat(900_000)), "unknown key"),
        ("the same long key twice", format!("{0}: 1\n{0}: 2\n", "k".repeat(1_000)), "stands twice"),
        ("a tag of a program", "name: !!python/object/apply:os.system [id]\njobs: {}\n".to_owned(), ""),
    ] {
        if what == "10,000 labels" {
            // The same one time and again is one.
            assert!(parse(&text).is_ok());
            continue;
        }
        let problem = refused(what, &text);
        assert!(problem.detail.contains(words), "{what}: {}", problem.detail);
    }
    assert!(peak_kib() < MEMORY_KIB_MAX, "{} KiB", peak_kib());
}

#[test]
fn numbers_that_no_machine_counts_to_are_refused_with_what_would_be_right() {
    for number in ["99999999999999999999", "-1", "1e9", "0x10", "NaN", "-0", "1.5"] {
        for key in ["attempts", "lost_attempts", "timeout", "log_limit"] {
            let problem = refused(key, &job(&format!("{key}: {number}")));
            assert!(problem.detail.contains(" must be a "), "{key}: {number}: {}", problem.detail);
        }
    }
    for text in [
        "priority: 99999999999999999999",
        "concurrency: {group: g, limit: 99999999999999}",
        "retention: {days: 4294967297}",
    ] {
        let problem = refused(text, &format!("name: p\n{text}\njobs: {{a: {{steps: [{{run: x}}]}}}}\n"));
        assert!(problem.detail.contains(" must be "), "{text}: {}", problem.detail);
    }
}

#[test]
fn names_that_read_as_others_are_refused_wherever_they_stand() {
    let turned = "a\\u202Egpj";
    let controlled = "a\\x1B[2J";
    for text in [turned, controlled] {
        for yaml in [
            format!("name: \"{text}\"\njobs: {{a: {{steps: [{{run: x}}]}}}}\n"),
            format!("name: p\njobs: {{\"{text}\": {{steps: [{{run: x}}]}}}}\n"),
            format!("name: p\ninputs: {{\"{text}\": }}\njobs: {{a: {{steps: [{{run: x}}]}}}}\n"),
            format!("name: p\nsource: {{git: \"https://{text}/x\"}}\njobs: {{a: {{steps: [{{run: x}}]}}}}\n"),
            format!("name: p\n\"{text}\": 1\n"),
            format!(
                "name: p\nsource: {{git: \"https://h/x\", ref: \"{text}\"}}\njobs: {{a: {{steps: [{{run: x}}]}}}}\n"
            ),
            format!("name: p\non: {{push: {{branches: [\"{text}\"]}}}}\njobs: {{a: {{steps: [{{run: x}}]}}}}\n"),
            format!("name: p\non: {{push: {{tags: [\"{text}\"]}}}}\njobs: {{a: {{steps: [{{run: x}}]}}}}\n"),
            format!(
                "name: p\non: {{pull_request: {{branches: [\"{text}\"]}}}}\njobs: {{a: {{steps: [{{run: x}}]}}}}\n"
            ),
            format!("name: p\nconcurrency: {{group: \"{text}\"}}\njobs: {{a: {{steps: [{{run: x}}]}}}}\n"),
            job(&format!("secrets: [\"{text}\"]")),
            job(&format!("labels: [\"{text}\"]")),
            job(&format!("needs: [\"{text}\"]")),
            job(&format!("artifacts: [\"{text}\"]")),
            job(&format!("matrix: {{x: [\"{text}\"]}}")),
            job(&format!("matrix: {{\"{text}\": [x]}}")),
            job(&format!("env: {{\"{text}\": x}}")),
        ] {
            refused(&yaml, &yaml);
        }
    }
    for yaml in [
        format!("name: p\ndescription: \"{turned}\"\njobs: {{a: {{steps: [{{run: x}}]}}}}\n"),
        format!("name: p\njobs: {{a: {{steps: [{{name: \"{turned}\", run: x}}]}}}}\n"),
        format!("name: p\njobs: {{a: {{steps: [{{run: \"echo {turned}\"}}]}}}}\n"),
    ] {
        assert!(refused(&yaml, &yaml).detail.contains("turn the direction of writing"));
    }
    let spec = parse("name: p\njobs: {a: {steps: [{name: \"a\\x1B[2J\\nb\", run: x}]}}\n").unwrap();
    assert_eq!(spec.jobs[0].steps[0].name, "a[2Jb", "what moves a cursor is left out of a name");
}

#[test]
fn no_expression_is_spliced_into_what_runs_or_names() {
    let hole = "${{ inputs.who }}";
    let with = |rest: &str| format!("name: p\ninputs: {{who: {{default: x}}}}\n{rest}\n");
    let keys = |keys: &str| with(&format!("jobs: {{a: {{{keys}, steps: [{{run: x}}]}}}}"));
    for (what, yaml) in [
        ("run", with(&format!("jobs: {{a: {{steps: [{{run: \"echo {hole}\"}}]}}}}"))),
        ("a step's name", with(&format!("jobs: {{a: {{steps: [{{run: x, name: \"{hole}\"}}]}}}}"))),
        ("a variable's name", keys(&format!("env: {{\"{hole}\": x}}"))),
        ("a label", keys(&format!("labels: [\"{hole}\"]"))),
        ("an artifact", keys(&format!("artifacts: [\"{hole}\"]"))),
        ("a need", keys(&format!("needs: [\"{hole}\"]"))),
        ("a value of a matrix", keys(&format!("matrix: {{x: [\"{hole}\"]}}"))),
        ("an axis", keys(&format!("matrix: {{\"{hole}\": [x]}}"))),
        ("a condition", keys(&format!("if: \"{hole}\""))),
        ("a timeout", keys(&format!("timeout: \"{hole}\""))),
        ("a number", keys(&format!("attempts: \"{hole}\""))),
        ("a job's name", with(&format!("jobs: {{\"{hole}\": {{steps: [{{run: x}}]}}}}"))),
        (
            "a default",
            format!("name: p\ninputs: {{who: {{default: \"{hole}\"}}}}\njobs: {{a: {{steps: [{{run: x}}]}}}}\n"),
        ),
        ("the pipeline's name", format!("name: \"{hole}\"\njobs: {{a: {{steps: [{{run: x}}]}}}}\n")),
    ] {
        refused(what, &yaml);
    }
    // Where it is known, its value stays a value.
    let spec = parse(&with(&format!("jobs: {{a: {{env: {{A: \"{hole}\"}}, steps: [{{run: x}}]}}}}"))).unwrap();
    let inputs = [("who".to_owned(), "${{ inputs.who }} $(id)\n".to_owned())].into();
    let (build, _) = plan(&spec, &Trigger { inputs, ..Trigger::default() }, BuildId(Uuid::nil()), None).unwrap();
    assert_eq!(build.jobs[0].plan.env["A"], "${{ inputs.who }} $(id)\n");
    assert_eq!(build.jobs[0].plan.steps[0].run, "x");
}
