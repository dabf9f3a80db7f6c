//! The command line as a person in a terminal meets it: what it prints and how it exits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Instant,
};

use rustix::process::Signal;
use support::{PATIENCE, STEPCAST, Server};

fn stepcast(server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(STEPCAST);
    command.args(words);
    meant_for(server, &mut command);
    command
}

/// The same server, terminal and wishes wherever the tests run.
fn meant_for(server: &Server, command: &mut Command) {
    command.env("STEPCAST_URL", &server.url).env("STEPCAST_TOKEN", &server.token).env("TERM", "xterm");
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
}

/// The command on a terminal of its own, whose output is read from a pipe. Its input stays open: an end would be echoed.
fn on_a_terminal(server: &Server, words: &str) -> Command {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("'{STEPCAST}' {words}"), "/dev/null"]).env("SHELL", "/bin/sh");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    meant_for(server, &mut command);
    command
}

/// All that a terminal is given.
fn shown(mut on_a_terminal: Command) -> String {
    let mut child = on_a_terminal.spawn().unwrap();
    let mut shown = String::new();
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    child.wait().unwrap();
    shown
}

/// What stood on the screen one after the other, without colours: lines, and each drawing of the status line.
fn screens(shown: &[u8]) -> Vec<String> {
    let mut plain = String::new();
    wire::log::plain(&String::from_utf8_lossy(shown), &mut plain);
    plain.split(['\r', '\n']).map(str::to_owned).collect()
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
fn who_has_read_enough_ends_a_command_without_a_complaint() {
    let server = Server::start(&[]);
    server.apply("quick", "name: quick\njobs: {a: {steps: [{run: echo hi}]}}\n");
    let id = server.trigger("quick");
    server.finished(&id);
    server.until_whole(&id);
    for words in [&["show", &id][..], &["follow", &id], &["show", &id, "--json"]] {
        // Nobody reads from the first byte on.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let command = stepcast(&server, words).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = command.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
        assert_eq!(output.status.signal(), Some(Signal::PIPE.as_raw()), "{words:?}: {}", output.status);
    }
}

/// What a step can wait for.
fn gate(folder: &Path) -> PathBuf {
    let gate = folder.join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    gate
}

#[test]
fn a_line_without_an_end_is_followed_to_its_end() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path());
    let run = format!("printf 'working '; cat {}; echo after", gate.display());
    server.apply("open", &format!("name: open\njobs: {{a: {{steps: [{{run: {}}}]}}}}\n", serde_json::json!(run)));
    let id = server.trigger("open");
    server.until_line(&id, "working");
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
fn p3_what_was_said_before_a_follower_came_and_is_recorded_only_then_is_shown() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path());
    let run = format!("echo early; cat {}", gate.display());
    server.apply("p", &format!("name: p\njobs: {{a: {{steps: [{{run: {}}}]}}}}\n", serde_json::json!(run)));
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{what} never came");
            std::thread::yield_now();
        }
    };
    let wish = |wish: &str| {
        let path = format!("/api/v1/groups/recorder/{wish}");
        assert_eq!(server.post(&path, &serde_json::json!({})).status, 202);
    };
    wish("pause");
    let recorder = || {
        let groups = server.get("/api/v1/groups").json();
        groups.as_array().unwrap().iter().find(|group| group["name"] == "recorder").unwrap().clone()
    };
    until("the pause", &|| recorder()["state"] == "paused");
    let id = server.trigger("p");
    // Build and job are queued and begun, the step is, and the line was printed.
    until("the line", &|| recorder()["lag"].as_u64() >= Some(6));
    assert_eq!(server.build(&id)["jobs"][0]["lines"], 0);
    let mut follow = stepcast(&server, &["follow", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    let mut output = BufReader::new(follow.stdout.take().unwrap()).lines().map_while(Result::ok);
    std::thread::spawn(move || output.try_for_each(|line| sender.send(line)));
    // It listens by now, and has read the record.
    assert!(lines.recv_timeout(PATIENCE).unwrap().starts_with("p #1 "));
    wish("resume");
    let next = || lines.recv_timeout(PATIENCE).expect("what came before is not shown");
    assert!(next().starts_with('▶'));
    assert_eq!(next(), "early");
    std::fs::write(&gate, "late\n").unwrap();
    assert_eq!(next(), "late");
    assert!(lines.iter().all(|line| line != "early" && line != "late"));
    assert_eq!(follow.wait().unwrap().code(), Some(0));
}

#[test]
fn a_terminal_shows_the_running_step_with_its_time_and_is_left_clean() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path());
    let run = format!("printf '\\033[31mred\\033[0m\\n'; cat {}", gate.display());
    let steps = format!("[{{name: compile, run: {}}}]", serde_json::json!(run));
    server.apply("p", &format!("name: p\njobs: {{a: {{steps: {steps}}}}}\n"));
    let mut script = on_a_terminal(&server, "trigger p --follow").spawn().unwrap();
    let mut output = script.stdout.take().unwrap();
    let mut shown = Vec::new();
    // The step runs until its time was seen.
    let counts = |screen: &String| {
        let spinner = screen.chars().next().is_some_and(|first| ('\u{2800}'..='\u{28ff}').contains(&first));
        let time = screen.split_once(" compile ").and_then(|(_, time)| time.strip_suffix(" s"));
        spinner && time.is_some_and(|time| time.parse::<f64>().is_ok())
    };
    let begun = Instant::now();
    while !screens(&shown).iter().any(counts) {
        assert!(begun.elapsed() < PATIENCE, "the step was never shown: {:?}", screens(&shown).last());
        let mut piece = [0; 4096];
        let read = output.read(&mut piece).unwrap();
        assert!(read > 0, "it ended without a status line: {:?}", screens(&shown));
        shown.extend_from_slice(&piece[..read]);
    }
    std::fs::write(&gate, "done\n").unwrap();
    output.read_to_end(&mut shown).unwrap();
    assert_eq!(script.wait().unwrap().code(), Some(0));
    let text = String::from_utf8(shown.clone()).unwrap();
    assert!(text.contains("\u{1b}[31mred\u{1b}[0m"), "{text:?}");
    let screens = screens(&shown);
    // The step, its job, and the build.
    assert!(screens.iter().any(|screen| screen.starts_with("✓ succeeded in")), "{screens:?}");
    assert!(screens.iter().any(|screen| screen.starts_with("job a ✓ succeeded in")), "{screens:?}");
    assert!(screens.iter().any(|screen| screen.starts_with("p #1 ✓ succeeded in")), "{screens:?}");
    let drawn = text.rfind(|c: char| ('\u{2800}'..='\u{28ff}').contains(&c)).unwrap();
    assert!(text[drawn..].contains("\r\u{1b}[K"), "the status line was not cleared: {text:?}");
    assert!(text.ends_with("\r\n"), "{text:?}");
}

#[test]
fn escape_sequences_are_for_terminals_and_for_who_asks_for_them() {
    let server = Server::start(&[]);
    server.apply("p", "name: p\njobs: {a: {steps: [{run: 'printf \"\\033[31mred\\033[0m\\n\"'}]}}\n");
    let (code, out, err) = run(&server, &["trigger", "p", "--follow"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.lines().any(|line| line == "red") && !out.contains(['\u{1b}', '\r']), "{out:?}");
    let id = server.trigger("p");
    server.finished(&id);
    server.until_whole(&id);
    let forced = stepcast(&server, &["follow", &id]).env("CLICOLOR_FORCE", "1").output().unwrap();
    let forced = String::from_utf8(forced.stdout).unwrap();
    assert!(forced.contains("\u{1b}[31mred\u{1b}[0m") && !forced.contains('\r'), "{forced:?}");
    let mut dumb = on_a_terminal(&server, &format!("follow {id}"));
    dumb.env("TERM", "dumb");
    let dumb = shown(dumb);
    assert!(dumb.contains("\r\nred\r\n") && !dumb.contains('\u{1b}'), "{dumb:?}");
    let mut plain = on_a_terminal(&server, &format!("follow {id}"));
    plain.env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1");
    let plain = shown(plain);
    assert!(plain.contains("red\r\n") && !plain.replace("\u{1b}[K", "").contains('\u{1b}'), "{plain:?}");
}

#[test]
fn a_build_is_named_by_its_pipeline_and_number() {
    let server = Server::start(&[]);
    for name in ["p", "empty"] {
        server.apply(name, &format!("name: {name}\njobs: {{a: {{steps: [{{run: echo one}}]}}}}\n"));
    }
    for _ in 0..2 {
        server.finished(&server.trigger("p"));
    }
    for (name, number) in [("p#1", "p #1 "), ("p#2", "p #2 "), ("p", "p #2 ")] {
        let (code, out, err) = run(&server, &["show", name]);
        assert!(code == Some(0) && out.starts_with(number), "{name}: {out}{err}");
    }
    assert_eq!(run(&server, &["follow", "p#1"]).0, Some(0));
    assert!(run(&server, &["retry", "p#1", "--follow"]).1.contains("attempt 2"));
    assert!(run(&server, &["cancel", "p"]).2.contains("build 2 of p has succeeded already"));
    for (name, told) in [
        ("p#3", "Pipeline p has no build #3"),
        ("empty", "Pipeline empty has no build:"),
        ("none#1", "There is no pipeline none."),
        ("p#x", "it must be a build's id, or PIPELINE#NUMBER such as site#12"),
    ] {
        let (code, _, err) = run(&server, &["show", name]);
        assert!(code == Some(2) && err.contains(told), "{name}: {err}");
    }
    let all = server.get("/api/v1/builds?number=1");
    assert!(all.status == 400 && all.text.contains("`pipeline`"), "{}", all.text);
}

#[test]
fn without_a_token_it_is_told_how_one_is_made() {
    let server = Server::start(&[]);
    server.apply("p", "name: p\njobs: {a: {steps: [{run: x}]}}\n");
    let id = "01a1f8d6-831d-7039-bae4-20cac630a59a";
    for words in [["trigger", "p"], ["show", id], ["cancel", id]] {
        let out = stepcast(&server, &words).env_remove("STEPCAST_TOKEN").output().unwrap();
        let err = String::from_utf8(out.stderr).unwrap();
        assert_eq!((out.status.code(), err.lines().count()), (Some(2), 1), "{err}");
        for word in ["stepcast token create", "--data-dir", "STEPCAST_TOKEN"] {
            assert!(err.contains(word) && !err.contains("Origin"), "{err}");
        }
    }
    for command in ["apply", "trigger", "follow", "show", "cancel", "retry"] {
        let help = run(&server, &[command, "--help"]).1;
        assert!(help.contains("STEPCAST_URL") && help.contains("STEPCAST_TOKEN"), "{help}");
    }
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
    for (yaml, place) in [
        ("name: a b\njobs: {}\n", "1:7: pipeline name \"a b\" must be"),
        ("env:\n  name: other\nname: p\njobs: {a: {stesp: 1}}\n", "4:12: unknown key `stesp`"),
        ("inputs: {}\njobs: {}\n", "1:1: the pipeline has no `name`"),
        ("name: p\nenv: {A: '${{ inputs.x }}'}\njobs: {a: {steps: [{run: x}]}}\n", "it has no inputs"),
    ] {
        std::fs::write(&file, yaml).unwrap();
        let (code, _, err) = run(&server, &["apply", path]);
        assert_eq!((code, err.lines().count()), (Some(2), 1), "{err}");
        assert!(err.contains(path) && err.contains(place), "{err}");
    }
    std::fs::write(
        &file,
        "inputs: {name: {default: other}}\nenv:\n  name: other\nname: p\njobs: {a: {steps: [{run: x}]}}\n",
    )
    .unwrap();
    let (code, out, err) = run(&server, &["apply", path]);
    assert!(code == Some(0) && out.starts_with("created p "), "{out}{err}");
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
