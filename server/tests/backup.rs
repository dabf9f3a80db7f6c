//! Backups: taken of a server under load, restored elsewhere, compared. Who comes back with what was seen after the backup
//! is told of a gap. What is no whole backup is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use client::{As, connect, sign_in};
use serde_json::{Value, json};
use support::{STEPCAST, Server};

/// Its first attempt waits for one gate, later ones for another.
fn gated(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
name: gated
jobs:
  work:
    steps:
      - run: |
          gate=second; [ "$STEPCAST_ATTEMPT" != 1 ] || gate=first
          echo "ready $gate"
          until [ -e "{folder}/$gate" ]; do read -r -t 0.05 <> <(:) || :; done
          seq 1 50
          echo "over $gate"
"#
    )
}

const PACK: &str = "name: pack\njobs: {a: {steps: [{run: 'seq 1 3000; head -c 300000 /dev/urandom > out.bin'}], \
                    artifacts: [out.bin]}, b: {needs: [a], steps: [{run: 'echo to stderr >&2; exit 3'}]}}\n";

fn stepcast(arguments: &[&str]) -> Output {
    Command::new(STEPCAST).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn backup(server: &Server, file: &Path) {
    let done = stepcast(&["backup", text(file), "--data-dir", text(server.data_dir())]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn restore(file: &Path, data_dir: &Path) {
    let done = stepcast(&["restore", text(file), "--data-dir", text(data_dir)]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The sentence with which it is refused; nothing is left where the data folder would be.
fn refused(file: &Path, data_dir: &Path) -> String {
    let before = fs::read_dir(data_dir.parent().unwrap()).unwrap().count();
    let done = stepcast(&["restore", text(file), "--data-dir", text(data_dir)]);
    assert_eq!(done.status.code(), Some(2), "it was restored: {}", String::from_utf8_lossy(&done.stdout));
    assert!(!data_dir.exists());
    assert_eq!(fs::read_dir(data_dir.parent().unwrap()).unwrap().count(), before, "something is left");
    String::from_utf8(done.stderr).unwrap()
}

/// A build as it is, without the epoch of its topic: a restore raises that.
fn without_epoch(mut build: Value) -> Value {
    build["position"]["epoch"] = json!(0);
    build
}

/// Everything of a finished build that can be read: its logs line by line, its artifacts byte by byte.
fn whole(server: &Server, build: &str) -> Vec<String> {
    let view = server.build(build);
    let mut all = vec![without_epoch(view.clone()).to_string()];
    for job in view["jobs"].as_array().unwrap() {
        let id = job["id"].as_str().unwrap();
        for attempt in 1..=job["attempt"].as_u64().unwrap() {
            all.push(server.get(&format!("/api/v1/jobs/{id}/log?attempt={attempt}&limit=10000")).text);
        }
        let listed = server.get(&format!("/api/v1/jobs/{id}/artifacts"));
        for artifact in listed.json().as_array().unwrap() {
            let url = format!("{}/api/v1/artifacts/{}", server.url, artifact["id"].as_str().unwrap());
            let request = ureq::get(url).header("authorization", format!("Bearer {}", server.token));
            let mut answer = request.call().unwrap();
            all.push(answer.headers()["etag"].to_str().unwrap().to_owned());
            all.push(format!("{:?}", answer.body_mut().read_to_vec().unwrap()));
        }
        all.push(listed.text);
    }
    let events = server.get(&format!("/api/v1/builds/{build}/events")).json();
    all.extend(events.as_array().unwrap().iter().map(|event| event["event"].to_string()));
    all
}

/// Waits until the first attempt of a build's only job has said so.
fn begun(server: &Server, build: &str, line: &str) {
    let job = server.build(build)["jobs"][0]["id"].as_str().unwrap().to_owned();
    server.until_recorded(&job, 1, line);
}

#[test]
fn a_running_server_is_restored_elsewhere_with_all_that_it_had_and_what_ran_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let first_dir = folder.path().join("data");
    let mut server = Server::start_in(&first_dir, &["--slots", "3"]);
    server.apply("pack", PACK);
    server.apply("gated", &gated(folder.path()));
    server.apply("noisy", "name: noisy\njobs: {a: {steps: [{run: 'echo begun; seq 1 200000'}]}}\n");
    let fragile = "name: fragile\njobs: {a: {lost_attempts: 1, steps: [{run: 'echo ready; while :; do read -r -t 9 <> <(:) || :; done'}]}}\n";
    server.apply("fragile", fragile);
    let lost = server.trigger("fragile");
    begun(&server, &lost, "ready");
    server.kill();
    let mut server = Server::start_in(&first_dir, &["--slots", "3"]);
    server.finished(&lost);
    let done: Vec<String> = (0..3).map(|_| server.trigger("pack")).collect();
    for build in &done {
        assert_eq!(server.finished(build)["outcome"], "failed");
    }
    let cookie = sign_in(&server);
    let running = server.trigger("gated");
    begun(&server, &running, "ready first");
    let noisy = server.trigger("noisy");
    begun(&server, &noisy, "begun");
    // More than there are slots: some wait.
    let waiting: Vec<String> = (0..4).map(|_| server.trigger("pack")).collect();
    let file = folder.path().join("backup");
    backup(&server, &file);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // The time that does not come back: a page sees the end of the build that ran.
    let job = server.build(&running)["jobs"][0]["id"].as_str().unwrap().to_owned();
    let topics = [format!("build.{running}"), format!("job.{job}")];
    let mut page = connect(&server, As::Cookie(&cookie), Some(&server.url)).unwrap();
    for topic in &topics {
        page.send(&json!({"type": "subscribe", "topic": topic}));
        page.until(|frame| frame["type"] == "resumed" && frame["topic"] == **topic);
    }
    fs::write(folder.path().join("first"), "").unwrap();
    let mut seen = [json!(0), json!(0)];
    loop {
        let frame = page.until(|frame| frame["type"] == "event");
        for (topic, seen) in topics.iter().zip(&mut seen) {
            if frame["topic"] == **topic {
                *seen = json!({"topic": topic, "epoch": frame["epoch"], "offset": frame["offset"]});
            }
        }
        if frame["event"]["kind"] == "build_finished" {
            break;
        }
    }
    let later = server.trigger("noisy");
    let resume = page.hello["resume"].clone();
    let letters = server.get("/api/v1/dead-letters").text;
    let pipelines = ["pack", "gated", "noisy"].map(|name| server.get(&format!("/api/v1/pipelines/{name}")).text);
    for build in &done {
        // The record may lag behind the end of a build.
        for job in server.build(build)["jobs"].as_array().unwrap() {
            server.log(job["id"].as_str().unwrap(), job["attempt"].as_u64().unwrap());
        }
    }
    let before: Vec<Vec<String>> = done.iter().map(|build| whole(&server, build)).collect();
    let token = server.token.clone();
    server.kill();
    // One that is not running is backed up as well, with what a kill has left in its log.
    backup(&server, &folder.path().join("of a stopped one"));

    let data_dir = folder.path().join("restored");
    restore(&file, &data_dir);
    let mut restored = Server::start_in(&data_dir, &["--slots", "3"]);
    restored.token = token;
    for (build, before) in done.iter().zip(&before) {
        assert_eq!(whole(&restored, build), *before);
    }
    assert_eq!(restored.get("/api/v1/dead-letters").text, letters);
    let again = ["pack", "gated", "noisy"].map(|name| restored.get(&format!("/api/v1/pipelines/{name}")).text);
    for (before, again) in pipelines.iter().zip(&again) {
        let yaml = |text: &str| serde_json::from_str::<Value>(text).unwrap()["yaml"].clone();
        assert_eq!(yaml(before), yaml(again));
    }
    assert_eq!(restored.get(&format!("/api/v1/builds/{later}")).status, 404);

    // The page comes back with positions that are ahead of what was restored.
    let epoch = restored.build(&running)["position"]["epoch"].as_u64().unwrap();
    restored.until_recorded(&job, epoch, "ready second");
    let mut page = connect(&restored, As::Cookie(&cookie), Some(&restored.url)).unwrap();
    page.send(&json!({"type": "attach", "resume": resume, "positions": seen}));
    assert_eq!(page.until(|frame| frame["type"] == "hello")["resumed"], true);
    // Each topic is answered when it is bound, in whatever order.
    let mut open = topics.to_vec();
    while !open.is_empty() {
        let resumed = page.until(|frame| frame["type"] == "resumed");
        assert_eq!(resumed["outcome"], "gap", "{resumed}");
        open.retain(|topic| resumed["topic"] != **topic);
    }
    let read = restored.build(&running);
    let attempt = read["jobs"][0]["attempt"].as_u64().unwrap();
    assert_eq!((&read["state"], attempt), (&json!("running"), epoch), "{read}");
    assert!(epoch > 1_000_000, "{epoch}");
    fs::write(folder.path().join("second"), "").unwrap();
    let ended = page.until(|frame| frame["event"]["kind"] == "build_finished");
    assert_eq!(ended["epoch"], epoch);
    assert!(ended["offset"].as_u64() > read["position"]["offset"].as_u64(), "{ended}");

    let build = restored.finished(&running);
    assert_eq!(build["outcome"], "succeeded");
    let lines = restored.log(&job, attempt);
    assert_eq!(
        (lines.len(), lines.first().unwrap().as_str(), lines.last().unwrap().as_str()),
        (52, "ready second", "over second")
    );
    assert_eq!(restored.log(&job, 1), ["ready first"]);
    let noisy_job = restored.finished(&noisy)["jobs"][0].clone();
    restored.log(noisy_job["id"].as_str().unwrap(), noisy_job["attempt"].as_u64().unwrap());
    let build = restored.build(&noisy);
    assert_eq!((&build["outcome"], build["jobs"][0]["lines"].as_u64()), (&json!("succeeded"), Some(200_001)));
    for build in &waiting {
        let build = restored.finished(build);
        assert_eq!(build["outcome"], "failed", "{build}");
        assert!(build["jobs"][0]["attempt"].as_u64() >= Some(epoch) || build["jobs"][0]["attempt"] == 1, "{build}");
    }
    // A retry of what was over is no attempt that anybody can have seen.
    assert_eq!(restored.post(&format!("/api/v1/builds/{}/retry", done[0]), &json!({})).status, 202);
    let build = restored.finished(&done[0]);
    assert_eq!(build["jobs"][0]["attempt"], epoch, "{build}");
    // Every event of the restored builds is there, without a gap, under the one epoch.
    for build in waiting.iter().chain([&running, &noisy, &done[0]]) {
        restored.until_whole(build);
        let events = restored.get(&format!("/api/v1/builds/{build}/events")).json();
        let places: Vec<_> =
            events.as_array().unwrap().iter().map(|e| (e["epoch"].clone(), e["offset"].clone())).collect();
        let expected: Vec<_> = (0..places.len()).map(|n| (json!(epoch), json!(n))).collect();
        assert_eq!(places, expected);
    }
}

#[test]
fn a_file_that_is_no_whole_backup_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data_dir) = (folder.path().join("backup"), folder.path().join("restored"));
    let server = Server::start(&[]);
    server.apply("pack", "name: pack\njobs: {a: {steps: [{run: 'printf 0123456789abcdef > f'}], artifacts: [f]}}\n");
    let build = server.trigger("pack");
    let job = server.finished(&build)["jobs"][0]["id"].as_str().unwrap().to_owned();
    server.log(&job, 1);
    backup(&server, &file);
    let entries = server.get("/api/v1/audit?action=backed_up").json();
    assert_eq!(entries[0]["detail"], format!("Into {}.", file.file_name().unwrap().to_str().unwrap()), "{entries}");
    let good = fs::read(&file).unwrap();
    let find = |what: &[u8]| good.windows(what.len()).position(|found| found == what).unwrap();
    let rfind = |what: &[u8]| good.windows(what.len()).rposition(|found| found == what).unwrap();
    let places = [
        find(b"\"schema\"") + 9,
        find(b"0123456789abcdef") + 3,
        find(b"SQLite format 3") + 2000,
        good.len() / 2,
        rfind(b"\"size\"") + 7,
        rfind(b"manifest.sha256") + 512 + 3,
        find(b"stepcast.db"),
    ];
    for place in places {
        let mut flipped = good.clone();
        flipped[place] ^= 1;
        fs::write(&file, &flipped).unwrap();
        let sentence = refused(&file, &data_dir);
        assert!(sentence.contains("is damaged or cut off") || sentence.contains("newer"), "{place}: {sentence}");
    }
    for length in [600, 5_000, good.len() / 2, rfind(b"manifest.sha256")] {
        fs::write(&file, &good[..length]).unwrap();
        assert!(refused(&file, &data_dir).contains("is damaged or cut off"), "{length}");
    }
    fs::write(&file, "something else").unwrap();
    assert!(refused(&file, &data_dir).contains("is no backup of Stepcast"));
    let mut newer = tar::Builder::new(fs::File::create(&file).unwrap());
    let mut header = tar::Header::new_gnu();
    let head = br#"{"format":3}"#;
    header.set_size(head.len() as u64);
    newer.append_data(&mut header, "stepcast-backup.json", &head[..]).unwrap();
    newer.into_inner().unwrap();
    assert!(refused(&file, &data_dir).contains("by a newer Stepcast"));
    // The file as it was is good.
    fs::write(&file, &good).unwrap();
    restore(&file, &data_dir);
    assert_eq!(Server::start_in(&data_dir, &[]).build(&build)["outcome"], "succeeded");
}

#[test]
fn nothing_that_is_there_is_replaced_unless_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data_dir) = (folder.path().join("backup"), folder.path().join("data"));
    let mut server = Server::start_in(&data_dir, &[]);
    server.apply("pack", PACK);
    backup(&server, &file);
    let written = fs::read(&file).unwrap();
    let again = stepcast(&["backup", text(&file), "--data-dir", text(&data_dir)]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));
    assert_eq!(fs::read(&file).unwrap(), written);
    let taken = stepcast(&["restore", text(&file), "--data-dir", text(&data_dir)]);
    assert!(String::from_utf8_lossy(&taken.stderr).contains("is not empty"));
    let in_use = stepcast(&["restore", text(&file), "--data-dir", text(&data_dir), "--replace"]);
    assert!(String::from_utf8_lossy(&in_use.stderr).contains("is used by another process"));
    assert_eq!(server.get("/api/v1/pipelines/pack").status, 200);
    server.kill();
    let replaced = stepcast(&["restore", text(&file), "--data-dir", text(&data_dir), "--replace"]);
    assert!(replaced.status.success(), "{}", String::from_utf8_lossy(&replaced.stderr));
    let names: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("data.replaced-")), "{names:?}");
    assert_eq!(Server::start_in(&data_dir, &[]).get("/api/v1/pipelines/pack").status, 200);
    let elsewhere = stepcast(&["backup", text(&folder.path().join("other")), "--store", "postgres://me@nowhere/db"]);
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("pg_dump"));
}

#[test]
fn a_database_that_came_back_by_other_means_begins_anew_once_nobody_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let mut server = Server::start_in(&data_dir, &[]);
    server.apply("pack", PACK);
    let build = server.trigger("pack");
    server.finished(&build);
    let anew = |server: &Server| stepcast(&["begin-anew", "--data-dir", text(server.data_dir())]);
    let refused = anew(&server);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is in use by process"), "{refused:?}");
    assert_eq!(server.build(&build)["position"]["epoch"], 1);
    server.kill();
    let done = anew(&server);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let server = Server::start_in(&data_dir, &[]);
    assert!(server.build(&build)["position"]["epoch"].as_u64() > Some(1_000_000));
    assert_eq!(server.post(&format!("/api/v1/builds/{build}/retry"), &json!({})).status, 202);
    assert!(server.finished(&build)["jobs"][0]["attempt"].as_u64() > Some(1_000_000));
}
