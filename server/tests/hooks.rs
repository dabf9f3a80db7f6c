//! Hooks, called as GitHub, Gitea and Forgejo call them, by the running program. The payloads have the members that their
//! documentation names, cut to those of a small repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};

use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use support::{Answer, Server};

const COMMIT: &str = "6113728f27ae82c7b1a177c8d03f9e96e0adf246";
const SITE: &str = "name: site\non: {push: {branches: [main, 'release/*'], tags: ['v*']}, pull_request: {branches: [main]}}\n\
    inputs: {ref: {default: none}, commit: {default: none}, event: {default: none}, repository: {default: none}, \
    pull_request: {default: none}, other: {default: own}}\n\
    jobs: {a: {steps: [{run: 'echo \"$INPUT_EVENT $INPUT_REF $INPUT_COMMIT $INPUT_REPOSITORY <$INPUT_PULL_REQUEST> $INPUT_OTHER\"'}]}}\n";

struct Hook<'s> {
    server: &'s Server,
    provider: &'static str,
    id: String,
    secret: String,
}

fn signed(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<'s> Hook<'s> {
    fn of(server: &'s Server, provider: &'static str) -> Self {
        let answer = server.post("/api/v1/pipelines/site/hooks", &json!({"provider": provider}));
        assert_eq!(answer.status, 201, "{}", answer.text);
        let made = answer.json();
        let id = made["id"].as_str().unwrap().to_owned();
        assert_eq!(made["url"], json!(format!("{}/api/v1/hooks/{id}", server.url)));
        Self { server, provider, id, secret: made["secret"].as_str().unwrap().to_owned() }
    }

    /// What its provider sends along.
    fn headers(&self, event: &str, delivery: &str, signature: &str) -> Vec<(String, String)> {
        let github = |vendor: &str| {
            vec![(format!("X-{vendor}-Event"), event.to_owned()), (format!("X-{vendor}-Delivery"), delivery.to_owned())]
        };
        let plain = |vendor: &str| vec![(format!("X-{vendor}-Signature"), signature.to_owned())];
        let hub = || vec![("X-Hub-Signature-256".to_owned(), format!("sha256={signature}"))];
        // Gitea also speaks as GitHub and Gogs, and Forgejo as all of them.
        match self.provider {
            "github" => [github("GitHub"), hub()].concat(),
            "gitea" => {
                [github("GitHub"), github("Gogs"), github("Gitea"), plain("Gogs"), plain("Gitea"), hub()].concat()
            }
            _ => {
                let all = [github("GitHub"), github("Gogs"), github("Gitea"), github("Forgejo")].concat();
                [all, plain("Gogs"), plain("Gitea"), plain("Forgejo"), hub()].concat()
            }
        }
    }

    fn send_with(&self, headers: &[(String, String)], body: &str) -> Answer {
        let mut headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.push(("content-type", "application/json"));
        self.server.post_as_nobody(&format!("/api/v1/hooks/{}", self.id), body, &headers)
    }

    fn send(&self, event: &str, delivery: &str, body: &Value) -> Answer {
        let body = body.to_string();
        self.send_with(&self.headers(event, delivery, &signed(&self.secret, &body)), &body)
    }

    /// The build that it made.
    fn built(&self, event: &str, delivery: &str, body: &Value) -> String {
        let answer = self.send(event, delivery, body);
        assert_eq!((answer.status, &answer.json()["result"]), (202, &json!("built")), "{}", answer.text);
        let build = answer.json()["build"].as_str().unwrap().to_owned();
        assert_eq!(answer.location, format!("/api/v1/builds/{build}"));
        build
    }

    fn ignored(&self, event: &str, delivery: &str, body: &Value) -> String {
        let answer = self.send(event, delivery, body);
        assert_eq!((answer.status, &answer.json()["result"]), (202, &json!("ignored")), "{}", answer.text);
        answer.json()["reason"].as_str().unwrap().to_owned()
    }
}

fn repository(id: u64) -> Value {
    json!({"id": id, "name": "site", "full_name": "octo/site", "private": false, "owner": {"id": 1, "login": "octo"},
           "clone_url": "https://example.org/octo/site.git", "default_branch": "main", "fork": false})
}

fn push(reference: &str, after: &str, message: &str) -> Value {
    let author = json!({"name": "Octo", "email": "octo@example.org", "username": "octo"});
    let commit = json!({"id": after, "message": message, "timestamp": "2026-11-28T10:00:00Z", "author": author,
                        "url": "https://example.org/octo/site/commit/1", "added": [], "removed": [], "modified": ["README.md"]});
    json!({"ref": reference, "before": "a10867b14bb761a232cd80139fbd4c0d33264240", "after": after,
           "created": false, "deleted": false, "forced": false, "compare": "https://example.org/octo/site/compare",
           "commits": [commit], "total_commits": 1, "head_commit": commit, "repository": repository(35_129_377),
           "pusher": {"name": "octo", "email": "octo@example.org"}, "sender": {"id": 1, "login": "octo"}})
}

fn pull_request(action: &str, from: u64) -> Value {
    let side = |reference: &str, id: u64| json!({"label": format!("octo:{reference}"), "ref": reference, "sha": COMMIT, "repo": repository(id)});
    json!({"action": action, "number": 42, "repository": repository(35_129_377), "sender": {"id": 1, "login": "octo"},
           "pull_request": {"id": 9, "number": 42, "state": "open", "title": "Add it", "body": "",
                            "head": side("topic", from), "base": side("main", 35_129_377)}})
}

fn builds(server: &Server) -> usize {
    server.get("/api/v1/builds").json().as_array().unwrap().len()
}

#[test]
fn what_each_provider_sends_is_built_with_the_inputs_that_the_pipeline_has() {
    let server = Server::start(&[]);
    server.apply("site", SITE);
    for provider in ["github", "gitea", "forgejo"] {
        let hook = Hook::of(&server, provider);
        assert!(hook.ignored("ping", "p", &json!({"zen": "x", "hook_id": 1})).contains("ping"));
        let action = if provider == "github" { "synchronize" } else { "synchronized" };
        for (event, delivery, body, line) in [
            ("push", "1", push("refs/heads/main", COMMIT, "x"), format!("push main {COMMIT} octo/site <> own")),
            ("push", "2", push("refs/tags/v1", COMMIT, "x"), format!("push v1 {COMMIT} octo/site <> own")),
            (
                "pull_request",
                "3",
                pull_request(action, 35_129_377),
                format!("pull_request topic {COMMIT} octo/site <42> own"),
            ),
        ] {
            let build = server.finished(&hook.built(event, delivery, &body));
            assert_eq!(build["outcome"], "succeeded");
            let (reference, kind) = match delivery {
                "1" => ("main", "push"),
                "2" => ("v1", "tag"),
                _ => ("topic", "pull_request"),
            };
            let mut trigger = json!({"kind": "hook", "provider": provider, "event": kind, "reference": reference,
                                     "commit": COMMIT, "repository": "octo/site", "by": "octo"});
            if delivery == "3" {
                trigger["pull_request"] = json!(42);
            }
            assert_eq!(build["trigger"], trigger);
            assert_eq!(server.log(build["jobs"][0]["id"].as_str().unwrap(), 1), [line]);
        }
        let gone = push("refs/heads/main", &"0".repeat(40), "x");
        for (event, body, why) in [
            ("push", push("refs/heads/x", COMMIT, "x"), "does not name the branch x"),
            ("push", gone, "was deleted"),
            ("push", push("refs/heads/main", COMMIT, "Docs [skip ci]"), "[skip ci]"),
            ("pull_request", pull_request("opened", 7), "ignored: it comes from a fork"),
            ("pull_request", pull_request("labeled", 35_129_377), "nothing of the pull request's commits"),
            ("issues", json!({"action": "opened"}), "only push, pull_request and ping"),
        ] {
            let reason = hook.ignored(event, "4", &body);
            assert!(reason.contains(why), "{reason}");
        }
    }
    assert_eq!(builds(&server), 9);
    let audit = server.get("/api/v1/audit?action=build_triggered").json().to_string();
    assert!(
        audit.contains(&format!("push to main at {COMMIT} of octo/site")) && audit.contains("hook of forgejo"),
        "{audit}"
    );
}

#[test]
fn a_delivery_is_built_once_however_often_and_at_the_same_time_it_comes() {
    let mut server = Server::start(&[]);
    server.apply("site", SITE);
    let body = push("refs/heads/main", COMMIT, "x");
    let (id, secret) = {
        let hook = Hook::of(&server, "github");
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let sending: Vec<_> = (0..8).map(|_| scope.spawn(|| hook.send("push", "same", &body).json())).collect();
            sending.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let first = &answers[0]["build"];
        assert!(first.is_string() && answers.iter().all(|answer| &answer["build"] == first), "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| answer["repeated"] == false).count(), 1, "{answers:?}");
        // The same bytes under another id, and another body under the same id.
        let renamed = hook.send("push", "other", &body).json();
        assert_eq!((&renamed["build"], &renamed["repeated"]), (first, &json!(true)));
        let changed = hook.send("push", "same", &push("refs/heads/main", COMMIT, "y")).json();
        assert_eq!((&changed["build"], &changed["repeated"]), (first, &json!(true)));
        assert_eq!(builds(&server), 1);
        (hook.id, hook.secret)
    };
    // It is known after a crash, and when its build is gone.
    server.kill();
    server.restart();
    let hook = Hook { server: &server, provider: "github", id, secret };
    let again = hook.send("push", "same", &body).json();
    assert_eq!(again["repeated"], true, "{again}");
    let build = again["build"].as_str().unwrap();
    server.until_whole(build);
    assert_eq!(server.delete(&format!("/api/v1/builds/{build}")).status, 204);
    assert_eq!(hook.send("push", "same", &body).json()["repeated"], true);
    assert_eq!(builds(&server), 0);
}

#[test]
fn what_is_not_signed_with_the_hooks_secret_is_refused_and_writes_nothing() {
    let server = Server::start(&[]);
    server.apply("site", SITE);
    let (hook, other) = (Hook::of(&server, "github"), Hook::of(&server, "gitea"));
    assert_ne!(hook.secret, other.secret);
    let body = push("refs/heads/main", COMMIT, "x").to_string();
    let right = signed(&hook.secret, &body);
    let refused = |headers: &[(String, String)], body: &str, status: u16, words: &str| {
        let answer = hook.send_with(headers, body);
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(answer.json()["detail"].as_str().unwrap().contains(words), "{}", answer.text);
    };
    refused(&[], &body, 401, "has no signature");
    for forged in [signed(&other.secret, &body), signed("", &body), signed(&hook.secret, "x"), "0".repeat(64)] {
        refused(&hook.headers("push", "1", &forged), &body, 401, "not the one of the hook's secret");
    }
    refused(&hook.headers("push", "1", &right), &format!("{body} "), 401, "not the one of the hook's secret");
    for cut in ["", "sha1", &right[1..]] {
        refused(&hook.headers("push", "1", cut), &body, 401, "This hook is for github");
    }
    // Signed by the right secret, in the words of another provider.
    let foreign: Vec<_> = other.headers("push", "1", &right);
    let foreign: Vec<_> = foreign.into_iter().filter(|(name, _)| name.starts_with("X-Gitea")).collect();
    refused(&foreign, &body, 401, "This hook is for github");
    assert_eq!(hook.send("push", &"x".repeat(101), &json!({})).status, 400);
    for broken in ["", "{", "[]", "{\"ref\": 1}", &"[".repeat(100_000)] {
        refused(
            &hook.headers("push", "1", &signed(&hook.secret, broken)),
            broken,
            422,
            "is not what an event `push` holds",
        );
    }
    // What says that it is too large is not even waited for.
    let head = format!(
        "POST /api/v1/hooks/{} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 6000000\r\n\
         X-GitHub-Event: push\r\nX-GitHub-Delivery: 1\r\nX-Hub-Signature-256: sha256={right}\r\n\r\n",
        hook.id
    );
    let mut stream = std::net::TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).unwrap();
    assert!(status.starts_with("HTTP/1.1 413"), "{status}");
    let form = [("content-type", "application/x-www-form-urlencoded"), ("x-hub-signature-256", "sha256=0")];
    let path = format!("/api/v1/hooks/{}", hook.id);
    assert_eq!(server.post_as_nobody(&path, "payload=x", &form).status, 401);
    assert_eq!(builds(&server), 0);
    let audit = server.get("/api/v1/audit?action=hook_refused").json();
    assert_eq!(audit.as_array().unwrap().len(), 1, "one note in a minute: {audit}");
    assert!(!audit.to_string().contains(&hook.secret));
    // Whoever goes on is not looked at any more, neither by a right signature; what is sent to other hooks is.
    let forged = hook.headers("push", "1", &"0".repeat(64));
    let last = (0..40).map(|_| hook.send_with(&forged, &body)).find(|answer| answer.status == 429).unwrap();
    assert!(last.text.contains("looked at again in a minute"), "{}", last.text);
    assert_eq!(hook.send("push", "1", &push("refs/heads/main", COMMIT, "x")).status, 429);
    other.built("push", "1", &push("refs/heads/main", COMMIT, "x"));
}

#[test]
fn a_hook_ends_with_its_secret_or_with_itself() {
    let server = Server::start(&[]);
    server.apply("site", SITE);
    let mut hook = Hook::of(&server, "github");
    let path = format!("/api/v1/pipelines/site/hooks/{}", hook.id);
    let listed = server.get("/api/v1/pipelines/site/hooks");
    assert!(
        listed.status == 200 && !listed.text.contains(&hook.secret) && !listed.text.contains("secret"),
        "{}",
        listed.text
    );
    let rotated = server.post(&format!("{path}/rotate"), &json!({})).json();
    assert_eq!(rotated["generation"], 2);
    let former = std::mem::replace(&mut hook.secret, rotated["secret"].as_str().unwrap().to_owned());
    assert_ne!(former, hook.secret);
    let body = push("refs/heads/main", COMMIT, "x").to_string();
    assert_eq!(hook.send_with(&hook.headers("push", "1", &signed(&former, &body)), &body).status, 401);
    hook.built("push", "1", &push("refs/heads/main", COMMIT, "x"));
    // The pipeline is another one by now.
    server.apply("site", "name: site\njobs: {a: {steps: [{run: echo}]}}\n");
    assert!(hook.ignored("push", "2", &push("refs/heads/main", COMMIT, "y")).contains("has no `on`"));
    server.apply("other", "name: other\njobs: {a: {steps: [{run: echo}]}}\n");
    assert_eq!(server.delete(&format!("/api/v1/pipelines/other/hooks/{}", hook.id)).status, 404);
    assert_eq!(server.delete(&path).status, 204);
    assert_eq!(server.delete(&path).status, 404);
    assert_eq!(hook.send("push", "3", &push("refs/heads/main", COMMIT, "z")).status, 404);
    for _ in 0..20 {
        Hook::of(&server, "gitea");
    }
    assert_eq!(server.post("/api/v1/pipelines/site/hooks", &json!({"provider": "gitea"})).status, 409);
    assert_eq!(server.post("/api/v1/pipelines/site/hooks", &json!({"provider": "sourceforge"})).status, 422);
    for action in ["hook_created", "hook_rotated", "hook_deleted"] {
        let audit = server.get(&format!("/api/v1/audit?action={action}")).json();
        assert!(audit.to_string().contains(&hook.id), "{audit}");
    }
}
