//! Attacks by the steps of jobs on the server that runs them, each in the sandbox of a running program: on its files, its
//! processes, its memory, other jobs, the network and the machine's room.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use serde_json::Value;
use support::{STEPCAST, Server};

/// A server whose jobs run in sandboxes; none where no sandbox works, which is said.
fn server(options: &[&str]) -> Option<Server> {
    works().then(|| Server::start(&[SANDBOX, options].concat()))
}

const SANDBOX: &[&str] = &["--isolation", "sandbox", "--slots", "2"];

fn works() -> bool {
    let doctor = Command::new(STEPCAST).args(["doctor", "--data-dir", "/nonexistent/stepcast"]).output().unwrap();
    let told = String::from_utf8(doctor.stdout).unwrap();
    let line = told.lines().find(|line| line.contains("sandbox: ")).unwrap();
    if !line.contains("works") {
        assert!(std::env::var_os("STEPCAST_TEST_SANDBOX_REQUIRED").is_none(), "no sandbox works: {line}");
        eprintln!("skipped: {line}");
    }
    line.contains("works")
}

/// Lets everybody read a file or a folder with all that it holds, so that nothing but a sandbox keeps steps from it. What
/// the server removes meanwhile is gone.
fn open_to_all(path: &Path) {
    let opened = fs::symlink_metadata(path).and_then(|found| {
        if found.is_symlink() {
            return Ok(false);
        }
        let more = if found.is_dir() { 0o555 } else { 0o444 };
        fs::set_permissions(path, fs::Permissions::from_mode(found.mode() | more)).map(|()| found.is_dir())
    });
    let held = match opened {
        Ok(true) => fs::read_dir(path),
        Ok(false) => return,
        Err(error) => Err(error),
    };
    match held {
        Ok(held) => held.map_while(Result::ok).for_each(|entry| open_to_all(&entry.path())),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", path.display()),
    }
}

/// A pipeline of one job: further keys of it, and its only step.
fn pipeline(name: &str, keys: &str, script: &str) -> String {
    let script: String = script.lines().map(|line| format!("          {}\n", line.trim())).collect();
    format!("name: {name}\njobs:\n  attack:\n{keys}    steps:\n      - name: attack\n        run: |\n{script}")
}

/// Runs a job to its end.
fn run(server: &Server, name: &str, keys: &str, script: &str) -> (Value, Vec<String>) {
    server.apply(name, &pipeline(name, keys, script));
    let build = server.finished(&server.trigger(name));
    let job = build["jobs"][0].clone();
    let log = server.log(job["id"].as_str().unwrap(), 1);
    (job, log)
}

fn succeeds(server: &Server, name: &str, script: &str) -> Vec<String> {
    let (job, log) = run(server, name, "", script);
    assert_eq!(job["outcome"], "succeeded", "{job}\n{log:?}");
    log
}

#[test]
fn a_step_reads_no_file_of_the_server_and_none_that_others_may_not_read() {
    if !works() {
        return;
    }
    // Let in with all that is around them, so that nothing but their being hidden keeps steps away.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let (data, artifacts) = (path.join("data"), path.join("artifacts"));
    fs::write(path.join("beside"), "beside\n").unwrap();
    let let_in = ["--sandbox-read", path.to_str().unwrap(), "--artifacts", artifacts.to_str().unwrap()];
    let server = Server::start_in(&data, &[SANDBOX, &let_in].concat());
    open_to_all(&path);
    let (job, log) = run(&server, "leave", "    artifacts: [left]\n", "echo left behind > left");
    assert_eq!(job["outcome"], "succeeded", "{job} {log:?}");
    open_to_all(&path);
    let attack = format!(
        "cat '{2}/beside'
         ls -A '{0}' '{1}' | sed 's/^/seen: /'
         find '{0}' '{1}' -type f -size +0 2>/dev/null | grep -v /private/step- | sed 's/^/file: /' || true
         for secret in /etc/shadow /etc/gshadow ~/.ssh ~/.netrc ~/.cargo/credentials.toml /proc/1/environ /run/docker.sock /var/run/docker.sock; do
         if [ -r \"$secret\" ]; then head -c1 \"$secret\" >/dev/null 2>&1 && echo \"open: $secret\"; fi
         done
         env | grep -iE 'broker|store|token|key' | sed 's/^/told: /' || true
         echo done",
        data.display(),
        artifacts.display(),
        path.display()
    );
    let log = succeeds(&server, "read", &attack);
    let heads = [&artifacts, &data].map(|folder| format!("seen: {}:", folder.display()));
    let mut seen: Vec<&str> =
        log.iter().map(String::as_str).filter(|line| !line.is_empty() && *line != "seen: ").collect();
    seen.sort_unstable();
    let mut expected = ["beside", "done", "seen: work", &heads[0], &heads[1]];
    expected.sort_unstable();
    assert_eq!(seen, expected, "more than the way to the job's own workspace");
}

#[test]
fn a_step_reads_no_key_file_of_the_server_not_even_one_that_took_the_place_of_another() {
    if !works() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["let-in", "let-in/keys"] {
        fs::create_dir(at(name)).unwrap();
    }
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n";
    fs::write(at("let-in/keys/secrets"), key).unwrap();
    fs::write(at("let-in/file"), "let in\n").unwrap();
    open_to_all(folder.path());
    let (path, let_in) = (at("let-in/keys/secrets"), at("let-in"));
    let options = ["--secrets-key-file", path.to_str().unwrap(), "--sandbox-read", let_in.to_str().unwrap()];
    let server = Server::start(&[SANDBOX, &options].concat());
    let attack = format!("cat {0}/file; ls -A {0}/keys; cat {0}/keys/* 2>/dev/null || echo none", let_in.display());
    assert_eq!(succeeds(&server, "read", &attack), ["let in", "none"]);
    // The next job's sandbox is made already.
    fs::write(at("let-in/keys/new"), key).unwrap();
    open_to_all(folder.path());
    fs::rename(at("let-in/keys/new"), &path).unwrap();
    for _ in 0..2 {
        assert_eq!(succeeds(&server, "read", &attack), ["let in", "none"]);
    }
}

#[test]
fn a_step_sees_no_process_but_its_own_and_harms_none() {
    let Some(server) = server(&[]) else { return };
    let pid = server.pid().as_raw_nonzero();
    let attack = format!(
        "kill -9 {pid} 2>/dev/null && echo killed
         cat /proc/{pid}/environ /proc/{pid}/maps 2>/dev/null | tr -d '\\0' | head -c100 || true
         head -c1 /proc/{pid}/mem 2>/dev/null && echo memory
         echo 'survived'"
    );
    let (job, log) = run(&server, "processes", "", &attack);
    assert_eq!((job["outcome"].as_str(), &log[..]), (Some("succeeded"), &["survived".to_owned()][..]), "{job}");
    let perl = "perl -e '$r = syscall(101, 16, 1, 0, 0); print $r == 0 ? \"traced\" : \"no trace\", \"\\n\"'
        ls /proc | grep -cE '^[0-9]+$'";
    let log = succeeds(&server, "ptrace", perl);
    assert_eq!(log[0], "no trace", "the guard can be traced");
    assert!(log[1].parse::<u32>().unwrap() < 10, "{log:?}");
    let (job, _) = run(&server, "all", "", "kill -9 -1; sleep 1000");
    assert_eq!(job["outcome"], "failed");
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(succeeds(&server, "next", "echo next"), ["next"]);
}

#[test]
fn a_link_out_of_the_workspace_is_no_artifact_and_neither_is_what_only_the_server_may_read() {
    let Some(server) = server(&[]) else { return };
    let key = server.data_dir().canonicalize().unwrap();
    let keys = "    artifacts: [out, \"*.link\", deep]\n";
    let attack = format!(
        "ln -s /etc/shadow out; ln -s '{0}' data.link; ln -s /proc/self/root/etc/shadow root.link
         mkdir deep; ln -s /etc deep/etc; ln -s ../../../../../../../../../../etc/shadow deep/up",
        key.display()
    );
    let (job, _) = run(&server, "links", keys, &attack);
    assert_eq!((job["outcome"].as_str(), job["artifacts"].as_array().unwrap().len()), (Some("failed"), 0), "{job}");
    assert!(job["reason"].as_str().unwrap().contains("leads out of the workspace"), "{job}");
}

#[test]
fn an_artifact_of_a_sandbox_is_kept_and_a_repository_that_is_let_in_is_cloned() {
    let folder = tempfile::tempdir().unwrap();
    let origin = folder.path().join("origin");
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(folder.path()).args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(words);
        assert!(git.status().unwrap().success());
    };
    git(&["init", "--quiet", "-b", "main", "origin"]);
    fs::write(origin.join("file"), "from the repository\n").unwrap();
    git(&["-C", "origin", "add", "file"]);
    git(&["-C", "origin", "commit", "--quiet", "-m", "first"]);
    let Some(server) = server(&["--git-allow", origin.to_str().unwrap()]) else { return };
    let steps = "cat file; cp file kept";
    let yaml = pipeline("clone", "    artifacts: [kept]\n", steps)
        .replace("jobs:\n", &format!("source: {{git: '{}', ref: main}}\njobs:\n", origin.display()));
    server.apply("clone", &yaml);
    let id = server.trigger("clone");
    let build = server.finished(&id);
    let log = server.log(build["jobs"][0]["id"].as_str().unwrap(), 1);
    // Now that the record is sealed it tells the artifacts too.
    let job = &server.build(&id)["jobs"][0];
    assert_eq!(job["outcome"], "succeeded", "{job} {log:?}");
    let artifact = job["artifacts"][0]["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/api/v1/artifacts/{artifact}")).text, "from the repository\n");
}

#[test]
fn a_job_without_the_network_does_not_even_reach_its_server() {
    let Some(server) = server(&[]) else { return };
    let port = server.url.rsplit(':').next().unwrap();
    let connect = format!("if (: < /dev/tcp/127.0.0.1/{port}) 2>/dev/null; then echo reached; else echo alone; fi");
    assert_eq!(run(&server, "off", "    network: false\n", &connect).1, ["alone"]);
    assert_eq!(run(&server, "on", "", &connect).1, ["reached"]);
}

#[test]
fn without_a_sandbox_a_job_that_must_not_use_the_network_is_refused_and_limits_hold() {
    let server = Server::start(&["--slots", "1"]);
    let (job, log) = run(&server, "off", "    network: false\n", "echo never");
    assert_eq!((job["outcome"].as_str(), log.len()), (Some("failed"), 0));
    assert!(job["reason"].as_str().unwrap().contains("runs steps without a sandbox"), "{job}");
    assert_eq!(job["isolation"], "plain");
    let hog = r#"perl -e 'my @all; push @all, "x" x (1 << 20) while @all < 4096'"#;
    let (job, _) = run(&server, "hog", "    limits: {memory: 128MiB}\n", hog);
    assert_eq!(job["outcome"], "failed");
    assert!(job["reason"].as_str().unwrap().contains("limit of 128 MiB of memory"), "{job}");
    assert_eq!(run(&server, "next", "", "echo next").1, ["next"]);
}

#[test]
fn a_fork_bomb_and_a_memory_hog_end_with_the_reason_while_the_server_answers() {
    let Some(server) = server(&["--job-memory", "256MiB", "--job-processes", "200"]) else { return };
    // Each of them forks as fast as it can, and none ends by itself.
    let bomb = r#"perl -e 'for (;;) { my $pid = fork; exit 7 if !defined $pid && $$ == $ENV{FIRST}; $ENV{FIRST} //= $$ if $pid; sleep 1 if !defined $pid }'"#;
    server.apply("bomb", &pipeline("bomb", "", &format!("export FIRST=$BASHPID\nexec {bomb}")));
    let id = server.trigger("bomb");
    let mut asked = 0;
    while server.build(&id)["state"] != "finished" {
        assert_eq!(server.get("/healthz").status, 200);
        asked += 1;
    }
    assert!(asked > 0);
    let job = server.build(&id)["jobs"][0].clone();
    assert!(job["reason"].as_str().is_some_and(|reason| reason.ends_with("limit of 200 processes")), "{job}");
    let hog = r#"perl -e 'my @all; push @all, "x" x (1 << 20) while @all < 4096'"#;
    let (job, _) = run(&server, "hog", "", hog);
    assert!(job["reason"].as_str().unwrap().contains("limit of 256 MiB of memory"), "{job}");
    assert_eq!(succeeds(&server, "next", "echo next"), ["next"]);
}

#[test]
fn what_a_job_leaves_is_gone_when_the_next_one_looks_and_from_the_disk() {
    let Some(server) = server(&[]) else { return };
    let leave =
        "touch ~/mine /tmp/mine /dev/shm/mine mine; setsid sleep 543210 & ls ~/mine /tmp/mine /dev/shm/mine | wc -l";
    assert_eq!(succeeds(&server, "leave", leave), ["3"]);
    let look = "ls -A ~ /tmp /dev/shm . | grep -c mine || true; pgrep -f 543210 || echo none";
    assert_eq!(succeeds(&server, "look", look), ["0", "none"]);
    let out = Command::new("pgrep").args(["-xf", "sleep 543210"]).output().unwrap();
    assert!(out.stdout.is_empty(), "a process outlived its job");
}

#[test]
fn p7_a_server_that_is_killed_leaves_no_process_of_a_sandbox() {
    let Some(mut server) = server(&[]) else { return };
    server.apply("stay", &pipeline("stay", "", "setsid sleep 432109 & echo begun; sleep 432109"));
    let id = server.trigger("stay");
    server.until_line(&id, "begun");
    let running = || {
        Command::new("pgrep").args(["-xf", "sleep 432109"]).output().unwrap().stdout.split(|b| *b == b'\n').count() - 1
    };
    let until = |count: usize, otherwise: &str| {
        let begun = std::time::Instant::now();
        while running() != count {
            assert!(begun.elapsed() < support::PATIENCE, "{otherwise}");
            std::thread::yield_now();
        }
    };
    until(2, "the step does not run");
    server.kill();
    until(0, "a step outlived its server");
}

#[test]
fn people_are_told_how_steps_are_kept_apart() {
    let Some(server) = server(&[]) else { return };
    assert_eq!(run(&server, "tell", "", "true").0["isolation"], "sandbox");
    assert_eq!(server.get("/api/v1/executors").json()[0]["isolation"], "sandbox");
    let page = server.get("/executors").text;
    assert!(page.contains("Each job runs in a sandbox of its own."), "{page}");
    let plain = Server::start(&[]);
    assert!(run(&plain, "tell", "", "true").0["isolation"] == "plain");
    assert!(plain.get("/executors").text.contains("can read what the executor"), "{page}");
}

/// A program `bwrap` in a folder, and the PATH by which it is found before the real one.
fn other_bwrap(folder: &Path, text: &str) -> std::ffi::OsString {
    let program = folder.join("bwrap");
    fs::write(&program, text).unwrap();
    open_to_all(&program);
    assert!(Command::new("chmod").arg("a+x").arg(&program).status().unwrap().success());
    let usual = std::env::var_os("PATH").unwrap();
    std::env::join_paths([folder.to_owned()].into_iter().chain(std::env::split_paths(&usual))).unwrap()
}

#[test]
fn what_keeps_a_sandbox_from_being_made_for_a_moment_does_not_make_steps_run_without_one() {
    if !works() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let serve = |text: &str, data: &str| {
        let mut command = Command::new(STEPCAST);
        command.args(["serve", "--listen", "127.0.0.1:0", "--isolation", "auto", "--data-dir"]);
        command.arg(folder.path().join(data)).env("PATH", other_bwrap(folder.path(), text));
        command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        command.spawn().unwrap()
    };
    // It is killed each time, as by a system without memory.
    let ended = serve("#!/bin/bash\nkill -9 $$\n", "never").wait_with_output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success());
    assert!(told.contains("whether a sandbox works here could not be found out"), "{told}");
    // The first time only.
    let once = "#!/bin/bash\nmkdir \"$0.once\" 2>&- && kill -9 $$\nPATH=${PATH#*:}\nexec bwrap \"$@\"\n";
    let mut server = serve(once, "later");
    let lines = std::io::BufRead::lines(std::io::BufReader::new(server.stderr.take().unwrap()));
    let lines = lines.map_while(Result::ok);
    let said = lines.filter(|line| line.contains("sandbox")).find(|line| !line.contains("is tried again")).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(folder.path().join("bwrap.once").exists());
    assert!(said.contains("each job runs in a sandbox of its own"), "{said}");
}

#[test]
fn a_sandbox_that_is_wanted_and_does_not_work_keeps_the_server_from_starting_and_auto_does_not() {
    // A bwrap that cannot do its work, where it is looked for first.
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::join_paths(
        [folder.path().to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    symlink("/bin/false", folder.path().join("bwrap")).unwrap();
    let serve = |isolation: &str, data: &Path| {
        let mut command = Command::new(STEPCAST);
        command.args(["serve", "--listen", "127.0.0.1:0", "--isolation", isolation, "--data-dir"]).arg(data);
        command.env("PATH", &path).stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let refused = serve("sandbox", &folder.path().join("one")).wait_with_output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(told.contains("`--isolation sandbox` is wanted, but no sandbox works here: "), "{told}");
    assert!(!folder.path().join("one").exists(), "it made its folder all the same");
    let mut plain = serve("auto", &folder.path().join("two"));
    let lines = std::io::BufRead::lines(std::io::BufReader::new(plain.stderr.take().unwrap()));
    let warned = lines.map_while(Result::ok).any(|line| line.contains("steps run without a sandbox"));
    plain.kill().unwrap();
    plain.wait().unwrap();
    assert!(warned, "it said nothing");
}
