//! The command line as a person in a terminal meets it: what it prints and how it exits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
};

use support::{STEPCAST, Server};

fn stepcast(server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(STEPCAST);
    command.args(words).env("STEPCAST_URL", &server.url).env("STEPCAST_TOKEN", &server.token);
    command
}

fn run(server: &Server, words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = stepcast(server, words).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn apply_trigger_and_follow_show_each_line_once_and_exit_by_the_outcome() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, "name: p\ninputs: {code: {default: '0'}}\njobs: {a: {steps: [{run: 'echo one; printf \"\\e[31mtwo\\e[0m\\n\"'}, {run: 'exit $INPUT_CODE'}]}}\n").unwrap();
    let path = file.to_str().unwrap();
    assert!(run(&server, &["apply", path]).1.starts_with("created p"));
    assert!(run(&server, &["apply", path]).1.starts_with("updated p"));
    let (code, out, err) = run(&server, &["trigger", "p", "--follow"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    // No terminal: no colours.
    for line in ["one", "two"] {
        assert_eq!(out.lines().filter(|printed| *printed == line).count(), 1, "{out}");
    }
    let (code, out, _) = run(&server, &["trigger", "p", "--input", "code=3", "--follow"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("exit code 3"), "{out}");
    let (code, id, _) = run(&server, &["trigger", "p"]);
    assert_eq!(code, Some(0));
    let (code, out, _) = run(&server, &["follow", id.trim()]);
    assert_eq!((code, out.lines().filter(|line| *line == "one").count()), (Some(0), 1), "{out}");
    assert!(run(&server, &["show", id.trim()]).1.contains("succeeded"));
    let (code, out, _) = run(&server, &["retry", id.trim(), "--follow"]);
    assert_eq!((code, out.contains("attempt 2")), (Some(0), true), "{out}");
    // A second build under the same key is the first one.
    let keyed = ["trigger", "p", "--idempotency-key", "k"];
    assert_eq!(run(&server, &keyed).1, run(&server, &keyed).1);
}

#[test]
fn a_line_without_an_end_is_followed_to_its_end() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let run = format!("printf 'working '; cat {}; echo after", gate.display());
    server.apply("open", &format!("name: open\njobs: {{a: {{steps: [{{run: {}}}]}}}}\n", serde_json::json!(run)));
    let id = server.trigger("open");
    server.events(&id).until_line("working");
    let mut follow = stepcast(&server, &["follow", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
    // It has read the record by now: the open line stands there and is not shown.
    let shown: Vec<String> = lines.by_ref().take_while(|line| !line.contains('▶')).collect();
    assert!(shown.iter().all(|line| !line.contains("working")), "{shown:?}");
    std::fs::write(&gate, "done\n").unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(rest.iter().filter(|line| *line == "working done").count(), 1, "{rest:?}");
    assert!(rest.iter().any(|line| line == "after"), "{rest:?}");
    assert_eq!(follow.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_be_done_is_told_in_one_sentence_with_its_exit_status() {
    let mut server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(&file, "name: bad\njobs:\n  a:\n    stesp: 1\n").unwrap();
    let path = file.to_str().unwrap();
    let (code, _, err) = run(&server, &["apply", path]);
    assert_eq!(code, Some(2));
    assert!(err.contains(&format!("{path}:4:5:")) && err.contains("did you mean `steps`"), "{err}");
    let none = "01a1f8d6-831d-7039-bae4-20cac630a59a";
    for words in
        [&["show", none][..], &["trigger", "nothing"], &["trigger", "p", "--input", "x"], &["follow", "nonsense"]]
    {
        assert_eq!(run(&server, words).0, Some(2), "{words:?}");
    }
    let second =
        Command::new(STEPCAST).args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(server.data_dir()).output();
    let second = second.unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8(second.stderr).unwrap().contains("in use by process"));
    server.kill();
    let (code, _, err) = run(&server, &["show", none]);
    assert_eq!((code, err.lines().count()), (Some(3), 1), "{err}");
}

#[test]
fn doctor_tells_what_it_found_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("none");
    let free = Command::new(STEPCAST).args(["doctor", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data_dir).output();
    let free = free.unwrap();
    assert!(free.status.success(), "{free:?}");
    assert!(!data_dir.exists());
    std::fs::write(&data_dir, "a file").unwrap();
    let ill = Command::new(STEPCAST).args(["doctor", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data_dir).output();
    let ill = ill.unwrap();
    assert_eq!(ill.status.code(), Some(2));
    assert!(String::from_utf8(ill.stdout).unwrap().contains("problem  data folder"));
}
