//! A disk that fills up: reading goes on, nothing new is taken, nothing that was accepted or confirmed is lost, and it ends by
//! itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/small_disk.rs"]
mod small_disk;
mod support;

use std::{fs, time::Instant};

use serde_json::json;
use small_disk::{SmallDisk, fill, fill_up_to};
use support::{PATIENCE, Server};

const SENTENCE: &str = "Stepcast takes no new builds until there is room.";

#[test]
fn p1_p7_below_the_floor_builds_are_read_and_not_taken_and_all_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), "64m") else { return };
    let arguments = ["--slots", "1", "--disk-floor", "16MiB"];
    let server = Server::start_in(&disk.path.join("data"), &arguments);
    let run = format!(
        "head -c 3000000 /dev/zero > kept; echo ready; until [ -e {} ]; do sleep 0.05; done; seq 1 20000",
        gate.display()
    );
    server.apply(
        "print",
        &format!("name: print\njobs: {{a: {{steps: [{{run: {}}}], artifacts: [kept]}}}}\n", json!(run)),
    );
    server.apply("quick", "name: quick\njobs: {a: {steps: [{run: echo hi}]}}\n");
    let running = server.trigger("print");
    server.until_line(&running, "ready");
    let (waiting, unwanted) = (server.trigger("quick"), server.trigger("quick"));

    let filler = disk.path.join("filler");
    fill_up_to(&filler, 12 << 20);
    let told = server.until_ready_is(503);
    assert!(
        told.contains("The disk of the data folder is full (") && told.contains("MiB free)") && told.contains(SENTENCE),
        "{told}"
    );
    for refused in [
        server.post("/api/v1/pipelines/quick/builds", &json!({})),
        server.put("/api/v1/pipelines/other", "name: other\njobs: {a: {steps: [{run: echo hi}]}}\n"),
    ] {
        assert_eq!(
            (refused.status, refused.content_type.as_str()),
            (503, "application/problem+json"),
            "{}",
            refused.text
        );
        assert!(refused.text.contains(SENTENCE), "{}", refused.text);
    }
    // Every page says so, and what is there is read.
    for page in ["/", "/pipelines/quick", &format!("/builds/{running}")] {
        let text = server.get(page).text;
        assert!(text.contains(SENTENCE), "{page}: {text}");
    }
    assert_eq!(server.build(&running)["state"], "running");
    assert_eq!(server.build(&waiting)["state"], "queued");
    // What makes less of what waits is taken.
    assert_eq!(server.post(&format!("/api/v1/builds/{unwanted}/cancel"), &json!({})).status, 202);

    // The job prints and has a file to keep: both wait. Then somebody takes the last byte as well.
    fs::write(&gate, "").unwrap();
    fill(&filler);
    assert_eq!(server.post("/api/v1/pipelines/quick/builds", &json!({})).status, 503);
    assert_ne!(server.build(&running)["state"], "finished");
    fs::remove_file(&filler).unwrap();
    server.until_ready_is(200);
    assert!(!server.get("/").text.contains(SENTENCE));

    let build = server.finished(&running);
    assert_eq!(build["outcome"], "succeeded", "{build}");
    let (job, attempt) = (build["jobs"][0]["id"].as_str().unwrap(), build["jobs"][0]["attempt"].as_u64().unwrap());
    server.log(job, attempt);
    let text = server.get(&format!("/api/v1/jobs/{job}/log.txt?attempt={attempt}")).text;
    let expected = std::iter::once("ready".to_owned()).chain((1..=20_000).map(|n| n.to_string()));
    assert!(text.lines().eq(expected), "the log is not whole: {} lines", text.lines().count());
    assert_eq!(server.finished(&waiting)["outcome"], "succeeded");
    assert_eq!(server.finished(&unwanted)["outcome"], "cancelled");
    assert_eq!(server.finished(&server.trigger("quick"))["outcome"], "succeeded");
    drop(server);
}

/// Waits until all that was printed is in the index: a word is found that a build says after it.
fn until_all_is_indexed(server: &Server) {
    server.apply("after", "name: after\njobs: {a: {steps: [{run: echo zanzibar}]}}\n");
    assert_eq!(server.finished(&server.trigger("after"))["outcome"], "succeeded");
    let begun = Instant::now();
    loop {
        let found = server.get("/api/v1/search?q=zanzibar").json();
        if found["hits"].as_array().is_some_and(|hits| !hits.is_empty()) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{found}");
        std::thread::yield_now();
    }
}

#[test]
fn a_build_that_is_deleted_makes_room_though_the_databases_file_stays_as_large() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), "160m") else { return };
    let server = Server::start_in(&disk.path.join("data"), &["--slots", "1", "--disk-floor", "16MiB"]);
    // Nothing of it can be packed.
    server.apply("noise", "name: noise\njobs: {a: {steps: [{run: head -c 18000000 /dev/urandom | base64 -w 1000}]}}\n");
    server.apply("quick", "name: quick\njobs: {a: {steps: [{run: echo hi}]}}\n");
    let noise = server.trigger("noise");
    let build = server.finished_by_the_record(&noise);
    server.until_sealed(build["jobs"][0]["id"].as_str().unwrap());
    // The index of its words takes room as well.
    until_all_is_indexed(&server);
    server.until_whole(&noise);
    let filler = disk.path.join("filler");
    fill_up_to(&filler, 12 << 20);
    server.until_ready_is(503);
    assert_eq!(server.post("/api/v1/pipelines/quick/builds", &json!({})).status, 503);
    let deleted = server.delete(&format!("/api/v1/builds/{noise}"));
    assert!(matches!(deleted.status, 200 | 202 | 204), "{} {}", deleted.status, deleted.text);
    server.until_ready_is(200);
    assert_eq!(server.finished(&server.trigger("quick"))["outcome"], "succeeded");
    drop(server);
}

#[test]
fn a_full_disk_is_told_and_nothing_accepted_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), "24m") else { return };
    let mut server = Server::start_in(&disk.path.join("data"), &["--slots", "1"]);
    server.apply("quick", "name: quick\njobs: {a: {steps: [{run: echo hi}]}}\n");
    let before = server.trigger("quick");
    assert_eq!(server.finished(&before)["outcome"], "succeeded");
    let filler = disk.path.join("filler");
    fill(&filler);
    let mut accepted = Vec::new();
    let refused = loop {
        let answer = server.post("/api/v1/pipelines/quick/builds", &serde_json::json!({}));
        match answer.status {
            202 => accepted.push(answer.json()["id"].as_str().unwrap().to_owned()),
            _ => break answer,
        }
        assert!(accepted.len() < 10_000, "the disk is full and triggers are accepted for ever");
        fill(&filler);
    };
    assert_eq!((refused.status, refused.content_type.as_str()), (503, "application/problem+json"), "{}", refused.text);
    assert!(refused.json()["detail"].as_str().unwrap().contains("full"), "{}", refused.text);
    fs::remove_file(&filler).unwrap();
    for id in &accepted {
        assert_eq!(server.finished(id)["outcome"], "succeeded");
    }
    let after = server.trigger("quick");
    assert_eq!(server.finished(&after)["outcome"], "succeeded");
    server.kill();
}

#[test]
fn p7_a_disk_that_fills_while_a_job_prints_loses_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), "32m") else { return };
    let mut server = Server::start_in(&disk.path.join("data"), &["--slots", "1", "--lease-seconds", "4"]);
    let run = format!("seq 1 100; echo ready; until [ -e {} ]; do sleep 0.05; done; seq 101 50000", gate.display());
    server.apply("print", &format!("name: print\njobs: {{a: {{steps: [{{run: {}}}]}}}}\n", serde_json::json!(run)));
    let id = server.trigger("print");
    server.until_line(&id, "ready");
    let filler = disk.path.join("filler");
    fill(&filler);
    fs::write(&gate, "").unwrap();
    while server.post("/api/v1/pipelines/print/builds", &serde_json::json!({})).status == 202 {
        fill(&filler);
    }
    fs::remove_file(&filler).unwrap();
    let build = server.finished(&id);
    assert_eq!(build["outcome"], "succeeded", "{build}");
    let (job, attempt) = (build["jobs"][0]["id"].as_str().unwrap(), build["jobs"][0]["attempt"].as_u64().unwrap());
    let expected =
        (1..=100).map(|n| n.to_string()).chain(["ready".to_owned()]).chain((101..=50_000).map(|n| n.to_string()));
    server.log(job, attempt);
    let text = server.get(&format!("/api/v1/jobs/{job}/log.txt?attempt={attempt}")).text;
    assert!(text.lines().eq(expected), "the log of attempt {attempt} is not whole: {} lines", text.lines().count());
    server.kill();
}
