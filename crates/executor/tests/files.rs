//! Sources and artifacts: git for real, and an HTTP receiver that listens for real.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use stage::{Stage, job, texts};
use uuid::Uuid;
use wire::{Event, Outcome, pipeline::SourceSpec};

/// The request line, the token and the bytes of each upload.
type Received = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;

/// Takes uploads until the test ends; answers the first `failures` of them with 503. Tells its URL.
fn receiver(failures: usize) -> (String, Received) {
    receiver_after(0, failures)
}

/// The same, but it goes away from the first `losses` before it has read them.
fn receiver_after(losses: usize, failures: usize) -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Received::default();
    let kept = Arc::clone(&received);
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().skip(losses).enumerate() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut request = String::new();
            reader.read_line(&mut request).unwrap();
            let (mut token, mut length) = (String::new(), 0);
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).unwrap();
                match header.trim_end().split_once(": ") {
                    Some((name, value)) if name.eq_ignore_ascii_case("authorization") => token = value.to_owned(),
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                        length = value.parse().unwrap()
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let (status, answer) = if at < failures {
                ("503 Service Unavailable", r#"{"detail":"not now"}"#.to_owned())
            } else {
                let size = body.len();
                kept.lock().unwrap().push((request.trim_end().to_owned(), token, body));
                ("201 Created", format!(r#"{{"id":"{}","size":{size},"sha256":"{}"}}"#, Uuid::new_v4(), "0".repeat(64)))
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
            reader.get_mut().write_all(format!("{head}{answer}").as_bytes()).unwrap();
        }
    });
    (url, received)
}

#[tokio::test]
async fn artifacts_are_sent_with_the_jobs_token_and_announced() {
    let mut stage = Stage::start().await;
    let (url, received) = receiver(1);
    let mut grant = job(&["mkdir -p out/deep; printf one > 'out/a b.txt'; head -c 3000000 /dev/zero > out/deep/big"]);
    (grant.upload_url, grant.artifacts) = (url, vec!["out".to_owned()]);
    let (job, token) = (grant.lease.job, grant.job_token.clone());
    let (events, finished) = stage.run(grant).await;
    assert_eq!((finished.outcome, finished.reason), (Outcome::Succeeded, None));
    let received = received.lock().unwrap();
    assert_eq!(received[0].0, format!("PUT /api/v1/jobs/{job}/artifacts/out%2Fa%20b.txt HTTP/1.1"));
    assert_eq!((&received[0].1, &received[0].2[..]), (&format!("Bearer {token}"), &b"one"[..]));
    assert_eq!(received[1].2.len(), 3_000_000);
    let kept: Vec<(&str, u64)> = events
        .iter()
        .filter_map(
            |event| if let Event::Artifact { name, size, .. } = event { Some((&name[..], *size)) } else { None },
        )
        .collect();
    assert_eq!(kept, [("out/a b.txt", 3), ("out/deep/big", 3_000_000)]);
}

#[tokio::test]
async fn an_artifact_that_is_not_there_or_not_inside_fails_a_job_that_succeeded() {
    let mut stage = Stage::start().await;
    for (step, pattern, sentence) in [
        ("true", "*.tgz", "artifact \"*.tgz\" matches no file"),
        ("ln -s /etc/passwd here", "here", "artifact \"here\" is a link that leads out of the workspace"),
        ("true", "../private/step-0.sh", "must be a path inside the workspace"),
    ] {
        let (url, received) = receiver(0);
        let mut grant = job(&[step]);
        (grant.upload_url, grant.artifacts) = (url, vec![pattern.to_owned()]);
        let (_, finished) = stage.run(grant).await;
        assert_eq!(finished.outcome, Outcome::Failed);
        assert!(finished.reason.as_deref().unwrap().contains(sentence), "{finished:?}");
        assert!(received.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn p7_a_receiver_that_is_away_for_longer_than_five_tries_costs_no_job() {
    let mut stage = Stage::start().await;
    let (url, received) = receiver_after(6, 0);
    let mut grant = job(&["echo kept > out"]);
    (grant.upload_url, grant.artifacts) = (url, vec!["out".to_owned()]);
    let (_, finished) = stage.run(grant).await;
    assert_eq!((finished.outcome, finished.reason), (Outcome::Succeeded, None));
    assert_eq!(received.lock().unwrap()[0].2, b"kept\n");
}

#[tokio::test]
async fn a_job_that_failed_keeps_what_is_there_and_its_own_reason() {
    let mut stage = Stage::start().await;
    let (url, received) = receiver(0);
    let mut grant = job(&["echo trace > report; exit 4"]);
    (grant.upload_url, grant.artifacts) = (url, vec!["report".to_owned(), "never".to_owned()]);
    let (_, finished) = stage.run(grant).await;
    assert_eq!((finished.outcome, finished.reason), (Outcome::Failed, None));
    assert_eq!(received.lock().unwrap()[0].2, b"trace\n");
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(repository).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with `old` on a tag and on the branch `side/one`, and `new` on its default branch. Tells the first commit.
fn repository(path: &Path) -> String {
    std::fs::create_dir(path).unwrap();
    git(path, &["init", "--quiet"]);
    std::fs::write(path.join("file"), "old\n").unwrap();
    git(path, &["add", "."]);
    git(path, &["commit", "--quiet", "-m", "one"]);
    git(path, &["tag", "v1"]);
    git(path, &["branch", "side/one"]);
    let first = git(path, &["rev-parse", "HEAD"]);
    std::fs::write(path.join("file"), "new\n").unwrap();
    git(path, &["commit", "--quiet", "-a", "-m", "two"]);
    first
}

#[tokio::test]
async fn a_source_is_cloned_as_a_step_of_its_own_at_a_branch_a_tag_or_a_commit() {
    let mut stage = Stage::start().await;
    let path = stage.dir.path().join("origin");
    let first = repository(&path);
    let url = path.to_str().unwrap();
    for (reference, content) in [
        (None, "new"),
        (Some("v1"), "old"),
        (Some("side/one"), "old"),
        (Some(&first[..]), "old"),
        (Some(&first[..10]), "old"),
    ] {
        let mut grant = job(&["cat file"]);
        grant.source = Some(SourceSpec { git: url.to_owned(), reference: reference.map(str::to_owned) });
        let (events, finished) = stage.run(grant).await;
        assert_eq!(finished.outcome, Outcome::Succeeded, "{reference:?}: {events:?}");
        assert_eq!(texts(&events).last().unwrap(), content, "{reference:?}");
        let Event::StepStarted { step: 0, name, command } = &events[0] else { panic!("{events:?}") };
        assert!(name == "checkout" && command.starts_with(&format!("git clone -- {url} .")), "{command}");
        assert!(
            events.iter().any(|event| matches!(event, Event::StepStarted { step: 1, name, .. } if name == "cat file"))
        );
    }
}

#[tokio::test]
async fn a_source_that_cannot_be_had_fails_with_gits_own_words_and_a_reason() {
    let mut stage = Stage::start().await;
    let path = stage.dir.path().join("origin");
    repository(&path);
    let (path, empty) = (path.to_str().unwrap().to_owned(), format!("{}/empty", stage.dir.path().display()));
    std::fs::create_dir(&empty).unwrap();
    for (git, reference, words) in
        [(&empty, None, "does not exist"), (&path, Some("no-such-ref"), "no branch, tag or commit named no-such-ref")]
    {
        let mut grant = job(&["echo never"]);
        grant.source = Some(SourceSpec { git: git.clone(), reference: reference.map(str::to_owned) });
        let (events, finished) = stage.run(grant).await;
        assert_eq!(finished.outcome, Outcome::Failed);
        assert!(finished.reason.unwrap().starts_with("the source could not be checked out: git exited with "));
        assert!(texts(&events).iter().any(|text| text.contains(words)), "{events:?}");
    }
}

#[tokio::test]
async fn a_source_that_is_more_than_an_address_never_reaches_git() {
    let mut stage = Stage::start().await;
    let touched = stage.dir.path().join("touched");
    let origin = stage.dir.path().join("origin");
    self::repository(&origin);
    let repository = origin.display().to_string();
    let touch = format!("touch {}", touched.display());
    for (git, reference, words) in [
        (format!("ext::sh -c {}", touch.replace(' ', "% ")), "main", "names another way to a repository"),
        (format!("--upload-pack={touch}"), "main", "begins with `-`"),
        (format!("ssh://-oProxyCommand={touch}/a"), "main", "names a host that must be"),
        (format!("-oProxyCommand={touch}@h:a"), "main", "begins with `-`"),
        ("git://127.0.0.1/a".to_owned(), "main", "names another way to a repository"),
        ("http://127.0.0.1:9/a".to_owned(), "main", "`--git-allow http://127.0.0.1:9`"),
        ("/etc".to_owned(), "main", "`--git-allow FOLDER`"),
        (format!("file://{repository}/../../../etc"), "main", "`--git-allow FOLDER`"),
        (format!("{repository}/nowhere"), "main", "there is no repository at /"),
        (repository.clone(), "-x", "none begins with `-` or `+`"),
        (repository.clone(), "+main:main", "must be a branch, a tag or a commit"),
    ] {
        let mut grant = job(&["echo never"]);
        grant.source = Some(SourceSpec { git: git.clone(), reference: Some(reference.to_owned()) });
        let (events, finished) = stage.run(grant).await;
        assert!(events.is_empty() && finished.outcome == Outcome::Failed, "{git}: {events:?}");
        let reason = finished.reason.unwrap();
        assert!(reason.contains(words), "{git}: {reason}");
    }
    assert!(!touched.exists());
}

#[tokio::test]
async fn a_source_brings_no_submodules_and_shares_no_file_with_its_workspace() {
    use std::os::unix::fs::MetadataExt as _;
    let mut stage = Stage::start().await;
    let (inner, outer) = (stage.dir.path().join("inner"), stage.dir.path().join("outer"));
    repository(&inner);
    repository(&outer);
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.to_str().unwrap(), "inside"];
    git(&outer, &add);
    git(&outer, &["commit", "--quiet", "-m", "three"]);
    let mut grant = job(&["ls -A inside; find .git/objects -type f -links +1; echo done"]);
    grant.source = Some(SourceSpec { git: outer.display().to_string(), reference: None });
    let (events, finished) = stage.run(grant).await;
    assert_eq!(finished.outcome, Outcome::Succeeded, "{events:?}");
    assert!(
        texts(&events).iter().all(|text| !text.starts_with("file") && !text.contains(".git/objects")),
        "{events:?}"
    );
    assert_eq!(std::fs::metadata(outer.join("file")).unwrap().nlink(), 1);
}

#[tokio::test]
async fn a_search_for_artifacts_ends_with_its_job() {
    let mut stage = Stage::start().await;
    // It would look at a million folders.
    let mut long = job(&["mkdir -p $(printf 'a/%.0s' {1..900})"]);
    long.artifacts = vec!["**/a/**/a/**/a/**/a/**/a/**/x".to_owned()];
    let lease = long.lease;
    stage.trigger(long).await;
    while !matches!(stage.event().await.1, Event::StepFinished { .. }) {}
    stage.script.lock().unwrap().cancelled.push(lease);
    stage.notify(wire::task::ExecutorNotice::Cancel { lease }).await;
    assert_eq!(stage.end().await.outcome, Outcome::Cancelled);
}
