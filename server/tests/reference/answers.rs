//! What a running server answers, held against the document.

use std::time::Instant;

use serde_json::json;

use crate::{
    ask::Reader,
    document::Reference,
    support::{PATIENCE, Server},
};

const FULL: &str = "name: full
description: All that a job can leave behind
inputs: {who: {default: world, description: Whom to greet}}
jobs:
  a:
    steps:
      - {name: greet, stderr: marked, run: 'echo \"::group::hi\"; echo \"hi $INPUT_WHO\"; echo oh >&2; echo \"::endgroup::\"'}
      - {run: 'printf 0123456789 > f.txt'}
    artifacts: [f.txt]
  b: {needs: [a], steps: [{run: exit 3}]}
  c: {needs: [b], steps: [{run: echo never}]}
";

pub(crate) const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

#[test]
fn real_answers_are_what_the_reference_says() {
    let reader = Reader {
        server: Server::start(&["--slots", "2", "--webhook-allow", "127.0.0.1"]),
        reference: Reference::read(),
    };
    let server = &reader.server;
    let made = reader.ask("PUT", "/pipelines/{name}", &["full"], &[], FULL);
    let replaced = reader.ask("POST", "/pipelines", &[], &[], FULL);
    assert_eq!((made.status, replaced.status), (201, 200));
    let started = reader.ask("POST", "/pipelines/{name}/builds", &["full"], &[("prefer", "wait=60")], "{}");
    assert_eq!(started.status, 200, "{}", started.text());
    let build = started.json();
    let (id, job) = (build["id"].as_str().unwrap(), build["jobs"][0]["id"].as_str().unwrap());
    assert_eq!((&build["outcome"], &build["jobs"][2]["outcome"]), (&json!("failed"), &json!("skipped")));
    server.until_whole(id);
    reader.get("/pipelines", &[]);
    reader.get("/pipelines/{name}", &["full"]);
    assert_eq!(reader.get("/builds", &["?pipeline=full&number=1"]).as_array().unwrap().len(), 1);
    assert!(reader.get("/builds/{id}/events", &[id]).as_array().unwrap().len() > 5);
    assert_eq!(reader.get("/builds/{id}", &[id])["jobs"][0]["artifacts"].as_array().unwrap().len(), 1);
    let log = reader.ask("GET", "/jobs/{id}/log", &[job, "?attempt=1&from=0&limit=10"], &[], "");
    assert!(log.text().contains("\"err\":true") && log.headers.contains_key("x-log-offset"), "{}", log.text());
    assert!(reader.get("/jobs/{id}/log/search", &[job, "?q=hi"]).as_str().unwrap().contains("\"done\":true"));
    reader.get("/jobs/{id}/log/group", &[job, "?line=0"]);
    reader.get("/jobs/{id}/log.txt", &[job]);
    let files = reader.get("/jobs/{id}/artifacts", &[job]);
    let file = files[0]["id"].as_str().unwrap();
    let whole = reader.ask("GET", "/artifacts/{id}", &[file], &[], "");
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    for (header, value, status) in [
        ("range", "bytes=2-4", 206),
        ("range", "bytes=99-", 416),
        ("if-none-match", whole.headers["etag"].as_str(), 304),
    ] {
        assert_eq!(reader.ask("GET", "/artifacts/{id}", &[file], &[(header, value)], "").status, status);
    }
    let executors = reader.get("/executors", &[]);
    reader.get("/executors/{id}/now", &[executors[0]["id"].as_str().unwrap(), "?lines=20"]);
    reader.get("/webhook-secret", &["?url=https://example.org/hook"]);
    let check = reader.ask("POST", "/payloads", &[], &[("content-type", "text/plain")], "0123456789");
    assert_eq!(check.status, 201, "{}", check.text());
    let check = check.json();
    let large = reader.ask("GET", "/payloads/{ref}", &[check["ref"].as_str().unwrap()], &[], "");
    assert_eq!((large.status, large.text().as_str()), (200, "0123456789"));
    assert_eq!(reader.ask("PUT", "/payloads", &[], &[], "x").status, 201);
    let hooked = json!({"reply": {"mode": "webhook", "url": "http://127.0.0.1:9/"}, "priority": 1}).to_string();
    let hooked = reader.ask("POST", "/pipelines/{name}/builds", &["full"], &[], &hooked).json();
    let hooked = hooked["id"].as_str().unwrap();
    server.finished(hooked);
    assert_eq!(reader.get("/builds/{id}", &[hooked])["reply"]["mode"], "webhook");
    assert_eq!(reader.ask("POST", "/builds/{id}/reply", &[hooked], &[], "").status, 202);
    assert_eq!(reader.refused("POST", "/builds/{id}/reply", &[id], &[], ""), 409);
    let results = reader.get("/results", &["?received=false"]);
    assert!(results.as_array().unwrap().iter().any(|build| build["id"] == hooked), "{results}");
    assert_eq!(reader.ask("POST", "/builds/{id}/receipt", &[hooked], &[], "").status, 204);
    let begun = Instant::now();
    while reader.get("/search", &["?q=hi"])["hits"].as_array().unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the index does not come so far");
        std::thread::yield_now();
    }
    assert_ne!(reader.get("/search", &["?q=full&kind=build"])["hits"], json!([]));
    while reader.get("/pipelines/{name}/stats", &["full", "?days=2"])["slowest_steps"] == json!([]) {
        assert!(begun.elapsed() < PATIENCE, "nothing is counted");
        std::thread::yield_now();
    }
    reader.get("/stats", &[]);
    for wish in ["/groups/{name}/pause", "/groups/{name}/resume", "/groups/{name}/rebuild"] {
        assert_eq!(reader.ask("POST", wish, &["search"], &[], "").status, 202);
    }
    assert!(!reader.get("/gateways", &[]).as_array().unwrap().is_empty());
    assert!(!reader.get("/groups", &[]).as_array().unwrap().is_empty());
    for path in ["/healthz", "/readyz", "/metrics"] {
        reader.get(path, &[]);
    }
    let retried = reader.ask("POST", "/builds/{id}/retry", &[id], &[], r#"{"failed_only":true}"#);
    assert_eq!(retried.status, 202, "{}", retried.text());
    server.finished(id);
    // One that waits for nobody, so that its executor's loss is no part of it.
    reader.ask(
        "PUT",
        "/pipelines/{name}",
        &["idle"],
        &[],
        "name: idle\njobs: {a: {labels: [none], steps: [{run: x}]}}",
    );
    let plain = [("content-type", "text/plain")];
    for status in [201, 204] {
        assert_eq!(reader.ask("PUT", "/secrets/{secret}", &["TOKEN", "?allow=idle"], &plain, "s3cret").status, status);
        let of_idle = ["idle", "TOKEN"];
        let put = reader.ask("PUT", "/pipelines/{name}/secrets/{secret}", &of_idle, &plain, "s3cret");
        assert_eq!(put.status, status);
    }
    assert_eq!(reader.get("/secrets", &[])["secrets"][0]["allowed"], json!(["idle"]));
    assert_eq!(reader.get("/pipelines/{name}/secrets", &["idle"])["secrets"][0]["name"], "TOKEN");
    assert_eq!(reader.ask("DELETE", "/pipelines/{name}/secrets/{secret}", &["idle", "TOKEN"], &[], "").status, 204);
    assert_eq!(reader.ask("DELETE", "/secrets/{secret}", &["TOKEN"], &[], "").status, 204);
    let idle = reader.ask("POST", "/pipelines/{name}/builds", &["idle"], &[], "").json();
    let idle = idle["id"].as_str().unwrap();
    assert!(reader.get("/builds/{id}", &[idle])["jobs"][0]["waiting_for"].is_string());
    assert_eq!(reader.refused("DELETE", "/builds/{id}", &[idle], &[], ""), 409);
    assert_eq!(reader.ask("POST", "/builds/{id}/cancel", &[idle], &[], "").status, 202);
    assert_eq!(reader.refused("POST", "/builds/{id}/cancel", &[idle], &[], ""), 409);
    server.until_whole(idle);
    assert_eq!(reader.ask("DELETE", "/builds/{id}", &[idle], &[], "").status, 204);
    accounts_are_what_the_reference_says(&reader);
    sign_in_by_a_provider_is_what_the_reference_says(&reader);
    let signed = reader.ask_as("POST", "/sign-in", &[], &FORM, &format!("token={}", server.token));
    assert!(signed.status == 303 && signed.headers.contains_key("set-cookie"));
    assert_eq!(reader.ask_as("POST", "/sign-in", &[], &FORM, "token=wrong").status, 303);
    assert_eq!(reader.ask_as("POST", "/sign-out", &[], &[], "").status, 303);
}

/// Of a provider that does not answer, and of answers that nobody has asked for.
fn sign_in_by_a_provider_is_what_the_reference_says(reader: &Reader) {
    let people = [("accept", "text/html")];
    for path in ["/sign-in/openid", "/sign-in/openid/answer"] {
        assert_eq!(reader.ask_as("GET", path, &[], &[], "").status, 409, "there is no provider");
    }
    let there = Reader {
        server: Server::start(&["--openid-issuer", "http://127.0.0.1:9", "--openid-client-id", "stepcast"]),
        reference: Reference::read(),
    };
    assert_eq!(there.ask_as("GET", "/sign-in/openid", &[], &[], "").status, 503);
    let back = there.ask_as("GET", "/sign-in/openid", &["?next=/tokens"], &people, "");
    assert_eq!((back.status, back.headers["location"].as_str()), (303, "/sign-in?openid=unreachable&next=/tokens"));
    let answer =
        |headers: &[(&str, &str)]| there.ask_as("GET", "/sign-in/openid/answer", &["?state=a&code=b"], headers, "");
    assert_eq!(answer(&[]).status, 400);
    let back = answer(&people);
    assert_eq!((back.status, back.headers["location"].as_str()), (303, "/sign-in?openid=late"));
    for path in ["/account/openid", "/account/openid/unlink"] {
        assert_eq!(there.ask_as("POST", path, &[], &FORM, "").status, 401);
        assert_eq!(there.ask("POST", path, &[], &FORM, "").status, 403, "a token is no person");
    }
    assert!((0..40).all(|_| answer(&[]).status == 400), "answers that nobody asked for make nobody wait");
}

/// What is asked of people, invitations, tokens and the audit log.
fn accounts_are_what_the_reference_says(reader: &Reader) {
    let made = reader.ask("POST", "/invitations", &[], &[], r#"{"note":"Grace","grants":{"everywhere":"admin"}}"#);
    assert_eq!(made.status, 201, "{}", made.text());
    let link = made.json()["link"].as_str().unwrap().split_once("invitation=").unwrap().1.to_owned();
    let id = made.json()["invitation"]["id"].as_str().unwrap().to_owned();
    assert_eq!(reader.get("/invitations", &[])[0]["id"], id);
    let form = format!("invitation={link}&name=Grace&password=three+blue+kettles");
    assert_eq!(reader.ask_as("POST", "/welcome", &[], &FORM, &form).status, 303);
    assert_eq!(reader.ask_as("POST", "/welcome", &[], &FORM, &form).status, 403);
    assert_eq!(reader.ask_as("POST", "/welcome", &[], &FORM, "name=x&password=x").status, 422);
    assert_eq!(reader.refused("DELETE", "/invitations/{id}", &[&id], &[], ""), 404);
    let account = reader.get("/accounts", &[])[0]["id"].as_str().unwrap().to_owned();
    let change = |body: &str| reader.ask("PATCH", "/accounts/{id}", &[&account], &[], body).status;
    assert_eq!((change("{}"), change(r#"{"disabled":true}"#)), (422, 409));
    assert_eq!(change(r#"{"grants":{"everywhere":"admin"}}"#), 200);
    assert_eq!(reader.refused("DELETE", "/accounts/{id}", &[&account], &[], ""), 409);
    let token =
        reader.ask("POST", "/tokens", &[], &[], r#"{"name":"ci","grants":{"everywhere":"viewer"},"expires_in":60}"#);
    assert_eq!(token.status, 201, "{}", token.text());
    let (id, token) = (token.json()["token"]["id"].clone(), token.json()["secret"].as_str().unwrap().to_owned());
    assert!(reader.get("/tokens", &[]).to_string().contains(id.as_str().unwrap()));
    let viewer = [("authorization", format!("Bearer {token}"))].map(|(name, value)| (name, value));
    let viewer: Vec<(&str, &str)> = viewer.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(reader.ask_as("GET", "/account", &[], &viewer, "").status, 200);
    assert_eq!(reader.ask_as("PUT", "/account/password", &[], &viewer, r#"{"old":"x","new":"y"}"#).status, 403);
    assert_eq!(reader.ask_as("GET", "/accounts", &[], &viewer, "").status, 403);
    assert_eq!(reader.ask("DELETE", "/tokens/{id}", &[id.as_str().unwrap()], &[], "").status, 204);
    assert_eq!(reader.ask_as("GET", "/account", &[], &viewer, "").status, 401);
    assert!(reader.get("/audit", &["?limit=5"]).as_array().unwrap().len() == 5);
    assert_eq!(reader.ask("GET", "/audit", &[], &[("accept", "application/x-ndjson")], "").status, 200);
    let wrong = |n: usize| format!("name=Grace&password=wrong+{n}");
    let waits = (0..10).any(|n| reader.ask_as("POST", "/sign-in", &[], &FORM, &wrong(n)).status == 429);
    assert!(waits, "ten wrong passwords were all looked at");
}

#[test]
fn a_job_that_was_given_up_is_told_as_the_reference_says() {
    let mut reader = Reader { server: Server::start(&[]), reference: Reference::read() };
    reader.server.apply("lost", "name: lost\njobs: {a: {lost_attempts: 1, steps: [{run: 'echo on; read <> <(:)'}]}}\n");
    let id = reader.server.trigger("lost");
    reader.server.until_line(&id, "on");
    let running = reader.get("/executors", &[]);
    assert_eq!(running[0]["jobs"].as_array().unwrap().len(), 1, "{running}");
    reader.server.kill();
    reader.server.restart();
    let begun = Instant::now();
    let letter = loop {
        let letters = reader.get("/dead-letters", &["?state=open"]);
        if let Some(letter) = letters.as_array().unwrap().first() {
            break letter["id"].as_str().unwrap().to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "the job was never given up");
        std::thread::yield_now();
    };
    reader.get("/dead-letters/{id}", &[&letter]);
    assert_eq!(reader.get("/builds/{id}", &[&id])["jobs"][0]["lost"].as_array().unwrap().len(), 1);
    // Control has said so; the recorder writes it when it comes to it.
    reader.server.until_whole(&id);
    let told = reader.get("/builds/{id}/events", &[&id]).to_string();
    assert!(told.contains("job_lost"), "{told}");
    assert_eq!(reader.ask("POST", "/dead-letters/{id}/discard", &[&letter], &[], "").status, 200);
    for what in ["/dead-letters/{id}/discard", "/dead-letters/{id}/retry"] {
        assert_eq!(reader.refused("POST", what, &[&letter], &[], ""), 409);
    }
}
