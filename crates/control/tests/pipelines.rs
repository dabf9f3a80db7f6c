//! Pipelines as people write them, in pairs: under `pipelines/good` each with the valid form that it becomes, under
//! `pipelines/bad` each with the place and the sentence that it gets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, path::PathBuf};

use control::pipeline::{PLANS_BYTES_MAX, TEXT_BYTES_MAX, parse};

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn what_is_wrong_gets_its_place_and_its_sentence() {
    let mut wrong = Vec::new();
    for file in fixtures("bad") {
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap();
        let found = match parse(&fs::read_to_string(&file).unwrap()) {
            Ok(_) => "it was accepted".to_owned(),
            Err(problem) => {
                assert_eq!((problem.status, problem.title.as_str()), (422, "Invalid pipeline"));
                format!("{}:{}: {}", problem.line.unwrap(), problem.column.unwrap(), problem.detail)
            }
        };
        if found != expected.trim_end() {
            wrong.push(format!("{}\n  expected {}  found    {found}\n", file.display(), expected));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_right_becomes_its_valid_form() {
    for file in fixtures("good") {
        let spec = parse(&fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|problem| panic!("{}: {problem:?}", file.display()));
        let expected = fs::read_to_string(file.with_extension("json")).unwrap();
        let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), expected, "{}", file.display());
    }
}

#[test]
fn a_text_above_its_limit_is_refused_before_it_is_read() {
    let problem = parse(&"#".repeat(TEXT_BYTES_MAX + 1)).unwrap_err();
    assert!(problem.detail.contains("1048577 bytes"), "{}", problem.detail);
}

/// A pipeline of less than a megabyte would otherwise become one of hundreds.
#[test]
fn what_all_jobs_share_is_bounded_with_a_copy_for_each() {
    let written = |bytes: usize| {
        let jobs: String = (0..100).map(|n| format!("  j{n}: {{steps: [{{run: x}}]}}\n")).collect();
        format!("name: p\nenv: {{A: {}}}\njobs:\n{jobs}", "x".repeat(bytes))
    };
    assert_eq!(parse(&written(PLANS_BYTES_MAX / 100 - 1)).unwrap().jobs.len(), 100);
    let problem = parse(&written(PLANS_BYTES_MAX / 100)).unwrap_err();
    let detail = "`env` of the pipeline has 41944 bytes, and each of its 100 jobs a copy of them: together they may have \
                  4194304 at most";
    assert_eq!((problem.detail.as_str(), problem.line), (detail, Some(2)));
}
