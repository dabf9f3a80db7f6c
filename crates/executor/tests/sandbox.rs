//! Jobs in real sandboxes: what a step sees, what it leaves behind, and that the guard keeps its word (P2) in there too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use executor::{IsolationChoice, SandboxOptions};
use stage::{PATIENCE, Stage, job, texts};
use wire::{Event, Limits, Outcome};

/// Whether no sandbox works on this machine: then there is nothing to test, which is said.
async fn none_works() -> bool {
    let guard = PathBuf::from(env!("CARGO_BIN_EXE_executor-guard"));
    let works = executor::sandbox_works(SandboxOptions::default(), &guard).await;
    if let Err(reason) = &works {
        assert!(std::env::var_os("STEPCAST_TEST_SANDBOX_REQUIRED").is_none(), "no sandbox works: {reason}");
        eprintln!("skipped: {reason}");
    }
    works.is_err()
}

/// Nothing of this machine but what every sandbox shows.
async fn strict() -> Stage {
    with(|_| {}).await
}

async fn with(change: impl FnOnce(&mut SandboxOptions)) -> Stage {
    Stage::configured(|config| {
        config.isolation = IsolationChoice::Sandbox;
        config.sandbox = SandboxOptions::default();
        change(&mut config.sandbox);
    })
    .await
}

/// Runs one step that must succeed, and tells what it printed.
async fn said(stage: &mut Stage, step: &str) -> Vec<String> {
    let (events, finished) = stage.run(job(&[step])).await;
    assert_eq!((finished.outcome, finished.reason), (Outcome::Succeeded, None), "{events:?}");
    texts(&events)
}

/// Processes of this machine whose command line is this.
fn running(command: &str) -> Vec<String> {
    let found = Command::new("pgrep").args(["-xf", command]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

async fn until_none_runs(command: &str) {
    let wait = async {
        while !running(command).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the process ends");
}

#[tokio::test]
async fn a_step_sees_the_system_and_its_own_and_nothing_else() {
    if none_works().await {
        return;
    }
    let mut stage = strict().await;
    let secret = stage.dir.path().join("secret");
    fs::write(&secret, "s3cret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let look = format!(
        "ls /; echo --; ls -A /run /home /var 2>/dev/null || true; echo --; cat {} {}/executor.lock 2>/dev/null || true; \
         ls -A {0}/.. 2>/dev/null || true; git --version >/dev/null && echo git; ls -A ~; ls -A /tmp /var/tmp /dev/shm",
        secret.display(),
        stage.dir.path().join("work").display(),
    );
    let lines = said(&mut stage, &look).await;
    assert!(!lines.iter().any(|line| line.contains("s3cret")), "{lines:?}");
    let top: Vec<&str> = lines.iter().take_while(|line| *line != "--").map(String::as_str).collect();
    for hidden in ["srv", "mnt", "media", "sys", "boot", "work"] {
        assert!(!top.contains(&hidden), "/{hidden} is there: {top:?}");
    }
    assert!(lines.contains(&"git".to_owned()));
    let found = &lines[top.len()..];
    for closed in ["docker.sock", "dbus", "systemd", "lib", "executor.lock", "secret"] {
        assert!(!found.iter().any(|line| line == closed), "{closed} can be seen: {lines:?}");
    }
}

#[tokio::test]
async fn a_step_cannot_read_what_others_may_not_read() {
    if none_works().await {
        return;
    }
    let mut stage = strict().await;
    let try_all = r#"
        for file in /etc/shadow /etc/gshadow /etc/sudoers /proc/1/environ /proc/1/mem /proc/1/fd/0 ~/.ssh ~/.netrc; do
            if head -c1 "$file" >/dev/null 2>&1; then echo "open: $file"; fi
        done
        touch /usr/x /etc/x /x /dev/x /run/x /proc/x 2>/dev/null && echo "written"
        (echo x > "$0") 2>/dev/null && echo "the script can be changed"
        [ "$(id -u)" != 0 ] && echo "no root"
        id -un
        grep -E 'Cap(Prm|Eff)' /proc/self/status | grep -v 0000000000000000 || echo "no rights"
        ls -d /proc/[0-9]* | wc -l"#;
    let lines = said(&mut stage, try_all).await;
    let user = &lines[1];
    assert!(lines[0] == "no root" && lines[2] == "no rights", "{lines:?}");
    assert!(!user.is_empty() && user != "root", "{user}");
    assert!(lines[3].parse::<u32>().unwrap() < 10, "processes of the machine can be seen: {lines:?}");
    assert_eq!(lines.len(), 4, "{lines:?}");
}

#[tokio::test]
async fn nothing_that_a_job_leaves_is_found_by_the_next() {
    if none_works().await {
        return;
    }
    let mut stage = strict().await;
    let leave = "touch ~/left /tmp/left /var/tmp/left /dev/shm/left left; mkdir -p ~/.cache; ipcmk -M 4096 >/dev/null
        setsid sleep 987654 & ls ~/left /tmp/left /var/tmp/left /dev/shm/left | wc -l; ipcs -m | grep -c 4096";
    assert_eq!(said(&mut stage, leave).await, ["4", "1"]);
    let find = "ls -A ~/left /tmp /var/tmp /dev/shm . 2>/dev/null | grep -c left || true
        ipcs -m | grep -c 4096 || true; pgrep -f 987654 || echo none";
    assert_eq!(said(&mut stage, find).await, ["0", "0", "none"]);
    until_none_runs("sleep 987654").await;
}

/// System calls about keys, by perl: the first argument is what to do, the second one a name. Prints what came of it.
const KEYS: &str = r#"keys() { perl -e '
    my ($add, $ctl) = `uname -m` =~ /x86_64/ ? (248, 250) : (217, 219);
    my ($do, $kind, $name, $text) = (@ARGV, "user", "left", "data");
    my $found = $do eq "add" ? syscall($add, $kind, $name, $text, 4, -3) : syscall($ctl, 10, -3, $kind, $name, 0);
    print $found > 0 ? "found" : $!{ENOKEY} ? "none" : "no keys: $!", "\n"' "$1"; }
"#;

#[tokio::test]
async fn a_key_that_a_job_leaves_is_not_found_by_the_next_nor_by_the_executor() {
    for isolation in [IsolationChoice::Plain, IsolationChoice::Sandbox] {
        if isolation == IsolationChoice::Sandbox && none_works().await {
            return;
        }
        let mut stage = Stage::configured(|config| config.isolation = isolation).await;
        let left = said(&mut stage, &format!("{KEYS}keys add; keys search")).await;
        if left[0].starts_with("no keys") {
            eprintln!("skipped: {}", left[0]);
            return;
        }
        assert_eq!(left, ["found", "found"]);
        assert_eq!(said(&mut stage, &format!("{KEYS}keys search")).await, ["none"], "{isolation:?}");
        let out = Command::new("bash").args(["-c", &format!("{KEYS}keys search")]).output().unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), "none\n");
    }
}

#[tokio::test]
async fn two_jobs_at_one_time_see_nothing_of_each_other() {
    if none_works().await {
        return;
    }
    let mut stage = strict().await;
    let seen = format!("{}/*/*/*", stage.dir.path().join("work/jobs").display());
    // Each lists all workspaces that have a name; it waits for the other one on a socket of the network they share.
    let step = |mine: u32| {
        format!(
            "echo > mark-{mine}; exec 3<>/dev/tcp/127.0.0.1/PORT; echo here >&3; read -r go <&3; ls -d {seen}/mark-* | wc -l"
        )
    };
    let meeting = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = meeting.local_addr().unwrap().port().to_string();
    for n in [1, 2] {
        stage.trigger(job(&[&step(n).replace("PORT", &port)])).await;
    }
    let (one, two) = (meeting.accept().await.unwrap().0, meeting.accept().await.unwrap().0);
    for mut side in [one, two] {
        use tokio::io::AsyncWriteExt as _;
        side.write_all(b"go\n").await.unwrap();
    }
    for _ in 0..2 {
        let line = stage.line(|_| true).await.text;
        assert_eq!(line, "1", "a job sees another one's workspace");
    }
}

#[tokio::test]
async fn a_job_without_the_network_reaches_nothing_and_one_with_it_does() {
    if none_works().await {
        return;
    }
    let mut stage = strict().await;
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let connect = format!(
        "(: < /dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo reached || echo alone; cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '"
    );
    assert_eq!(said(&mut stage, &connect).await[0], "reached");
    let mut alone = job(&[&connect]);
    alone.network = false;
    let (events, finished) = stage.run(alone).await;
    assert_eq!((finished.outcome, texts(&events)), (Outcome::Succeeded, vec!["alone".to_owned(), "lo".to_owned()]));
    assert_eq!(said(&mut stage, &connect).await[0], "reached", "the next job has the warm guard");
}

#[tokio::test]
async fn no_socket_file_of_the_machine_has_a_name_in_a_sandbox() {
    if none_works().await {
        return;
    }
    let mut stage = strict().await;
    let find = "find / -path /proc -prune -o -type s -print 2>/dev/null || true; echo done";
    for network in [false, true] {
        let mut look = job(&[find]);
        look.network = network;
        let (events, finished) = stage.run(look).await;
        assert_eq!(finished.outcome, Outcome::Succeeded);
        assert_eq!(texts(&events), ["done"], "network: {network}");
    }
}

#[tokio::test]
async fn a_job_that_must_not_use_the_network_is_refused_where_nothing_keeps_it_from_that() {
    let mut stage = Stage::configured(|config| config.isolation = IsolationChoice::Plain).await;
    let mut alone = job(&["echo never"]);
    alone.network = false;
    let (events, finished) = stage.run(alone).await;
    assert_eq!((finished.outcome, events), (Outcome::Failed, Vec::new()));
    assert!(finished.reason.unwrap().contains("`network: false`"));
}

#[tokio::test]
async fn what_the_owner_lets_in_can_be_read_or_written_and_the_executors_own_folder_never() {
    if none_works().await {
        return;
    }
    let shared = tempfile::tempdir().unwrap();
    let at = |name: &str| shared.path().join(name);
    for (folder, mode) in [("read", 0o755), ("write", 0o777)] {
        fs::create_dir(at(folder)).unwrap();
        fs::set_permissions(at(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(at("read/file"), "from outside\n").unwrap();
    let (read, write) = (at("read"), at("write"));
    let mut stage = Stage::configured(|config| {
        config.isolation = IsolationChoice::Sandbox;
        // The stage's folder holds the executor's.
        let own = config.work_dir.parent().unwrap().to_owned();
        config.sandbox =
            SandboxOptions { read: vec![read.clone(), own], write: vec![write.clone()], ..SandboxOptions::default() };
    })
    .await;
    let step = format!(
        "cat {0}/file; (echo x > {0}/file) 2>/dev/null || echo closed; echo kept > {1}/cache; ls -A {2} | tr '\\n' ' '; ls {2}/jobs/*/",
        read.display(),
        write.display(),
        stage.dir.path().join("work").display()
    );
    let lines = said(&mut stage, &step).await;
    assert_eq!(lines[..2], ["from outside", "closed"]);
    let way: Vec<&str> = lines[2].split(' ').collect();
    assert!(matches!(way[..], ["jobs", _number]), "more than the way to its own workspace: {lines:?}");
    assert_eq!(fs::read_to_string(at("write/cache")).unwrap(), "kept\n");
    assert_eq!(said(&mut stage, &format!("cat {}/cache", write.display())).await, ["kept"]);
}

#[tokio::test]
async fn p2_the_kernel_ends_the_tree_of_a_guard_that_is_killed_and_no_step_can_kill_it() {
    if none_works().await {
        return;
    }
    let mut stage = strict().await;
    let step = "setsid sleep 876543 & kill -9 $PPID; kill -9 1; echo \"pid $PPID\"; sleep 876543";
    stage.trigger(job(&[step])).await;
    assert_eq!(stage.line(|_| true).await.text, "pid 1");
    let parent = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
        line.trim().to_owned()
    };
    let wait = async {
        loop {
            match &running("sleep 876543")[..] {
                [_, second] => break parent(&parent(second)),
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let guard = tokio::time::timeout(PATIENCE, wait).await.unwrap();
    assert!(Command::new("kill").args(["-9", &guard]).status().unwrap().success());
    let (events, finished) = stage.rest().await;
    assert_eq!(finished.outcome, Outcome::Failed);
    let reason = finished.reason.unwrap_or_else(|| panic!("{events:?}"));
    assert!(reason.contains("the guard process of the job was killed"), "{reason}");
    assert!(running("sleep 876543").is_empty());
    assert_eq!(said(&mut stage, "echo next").await.last().unwrap(), "next");
}

#[tokio::test]
async fn toolchains_of_the_home_are_there_and_its_secrets_are_not() {
    if none_works().await {
        return;
    }
    let mut stage = strict().await;
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let step = "echo \"$HOME\"; ls -A ~ ~/.cargo 2>/dev/null || true; echo data > ~/.cargo/mine 2>/dev/null || mkdir ~/.mine; cargo --version || true";
    let lines = said(&mut stage, step).await;
    assert_eq!(lines[0], home.display().to_string());
    for secret in [".ssh", ".netrc", ".npmrc", ".aws", ".docker", "credentials.toml", "registry"] {
        assert!(!lines.iter().any(|line| line == secret), "{secret} is there: {lines:?}");
    }
    let has_cargo = home.join(".cargo/bin/cargo").exists();
    assert_eq!(lines.iter().any(|line| line.starts_with("cargo ")), has_cargo, "{lines:?}");
}

/// Starts processes until it may not, and fails while they run.
const FORKS: &str = r#"perl -e 'while (defined(my $pid = fork)) { if (!$pid) { sleep 765432 } } exit 3'"#;

#[tokio::test]
async fn a_fork_bomb_ends_at_its_limit_with_the_reason_and_the_next_job_runs() {
    if none_works().await {
        return;
    }
    let mut stage = strict().await;
    let mut bomb = job(&[FORKS]);
    bomb.limits = Limits { processes: Some(64), ..Limits::default() };
    let (events, finished) = stage.run(bomb).await;
    assert_eq!(finished.outcome, Outcome::Failed);
    let Some(Event::StepFinished { exit_code: Some(3), reason: Some(reason), .. }) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(reason, "the job had reached its limit of 64 processes");
    assert!(finished.reason.unwrap().ends_with("the job had reached its limit of 64 processes"));
    assert_eq!(said(&mut stage, "echo next").await, ["next"]);
    // Without a limit of its own it has the sandbox's.
    let (_, finished) = stage.run(job(&[FORKS])).await;
    assert!(finished.reason.unwrap().ends_with("limit of 2048 processes"));
}

#[tokio::test]
async fn two_jobs_do_not_share_a_limit_of_processes() {
    if none_works().await {
        return;
    }
    let mut stage = strict().await;
    let limits = Limits { processes: Some(40), ..Limits::default() };
    let mut full = job(&["for i in {1..30}; do sleep 1000 & done; echo full; sleep 1000"]);
    full.limits = limits;
    let lease = full.lease;
    stage.trigger(full).await;
    stage.line(|line| line.text == "full").await;
    let mut other = job(&["for i in {1..30}; do sleep 1000 & done; echo as full"]);
    other.limits = limits;
    stage.trigger(other).await;
    stage.line(|line| line.text == "as full").await;
    stage.script.lock().unwrap().cancelled.push(lease);
    stage.notify(wire::task::ExecutorNotice::Cancel { lease }).await;
    let outcomes = [stage.end().await.outcome, stage.end().await.outcome];
    assert!(outcomes.contains(&Outcome::Succeeded) && outcomes.contains(&Outcome::Cancelled), "{outcomes:?}");
}

#[tokio::test]
async fn memory_and_files_are_limited_in_plain_as_well_and_the_reason_is_told() {
    for isolation in [IsolationChoice::Plain, IsolationChoice::Sandbox] {
        if isolation == IsolationChoice::Sandbox && none_works().await {
            return;
        }
        let mut stage = Stage::configured(|config| {
            config.isolation = isolation;
            config.limits = Limits { memory: Some(128 << 20), file_size: Some(1 << 20), ..Limits::default() };
        })
        .await;
        let hog = r#"perl -e 'my @all; push @all, "x" x (1 << 20) while @all < 4096'"#;
        let (_, finished) = stage.run(job(&[hog])).await;
        assert_eq!(finished.outcome, Outcome::Failed);
        let reason = finished.reason.unwrap();
        assert!(reason.ends_with("a process of the job had come near its limit of 128 MiB of memory"), "{reason}");
        let (_, finished) = stage.run(job(&["head -c 2000000 /dev/zero > large"])).await;
        assert!(finished.reason.unwrap().ends_with("a file had reached the job's limit of 1 MiB"));
        let mut less = job(&["ulimit -n; ulimit -c; ulimit -f"]);
        less.limits = Limits { open_files: Some(99), file_size: Some(1 << 40), ..Limits::default() };
        let (events, _) = stage.run(less).await;
        assert_eq!(texts(&events), ["99", "0", "1024"], "the executor's limit of files holds for each job");
        assert_eq!(said(&mut stage, "echo next").await, ["next"]);
    }
}
