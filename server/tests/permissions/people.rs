//! People: the first link, invitations, passwords, sessions, and tokens that are no wider than who makes them.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    client::{As, connect},
    support::{PATIENCE, STEPCAST, Server},
};

/// Everybody's.
pub(crate) const PASSWORD: &str = "three blue kettles";

/// A browser: it keeps its cookie, and sends the site's own Origin.
pub(crate) struct Browser {
    agent: ureq::Agent,
    url: String,
    pub(crate) cookie: String,
}

/// An answer to it.
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) location: String,
    pub(crate) text: String,
}

impl Browser {
    pub(crate) fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        Self { agent: config.build().into(), url: url.to_owned(), cookie: String::new() }
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, content_type: &str, body: &str) -> Seen {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        request = request.header("origin", &self.url).header("accept", "text/html,*/*");
        request = request.header("content-type", content_type);
        if !self.cookie.is_empty() {
            request = request.header("cookie", &self.cookie);
        }
        let mut answer = if matches!(method, "GET" | "DELETE") {
            self.agent.run(request.body(()).unwrap()).unwrap()
        } else {
            self.agent.run(request.body(body.to_owned()).unwrap()).unwrap()
        };
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (set, location) = (header("set-cookie"), header("location"));
        if let Some((cookie, _)) = set.split_once(';').filter(|(cookie, _)| cookie.starts_with("stepcast_session=")) {
            self.cookie = cookie.to_owned();
        }
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        Seen { status: answer.status().as_u16(), location, text }
    }

    pub(crate) fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Seen {
        let encode = |text: &str| text.replace('%', "%25").replace(' ', "%20").replace('&', "%26").replace('+', "%2B");
        let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        self.send("POST", path, "application/x-www-form-urlencoded", &pairs.join("&"))
    }

    pub(crate) fn json(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let seen = self.send(method, &format!("/api/v1{path}"), "application/json", &body.to_string());
        (seen.status, serde_json::from_str(&seen.text).unwrap_or(Value::Null))
    }

    pub(crate) fn get(&mut self, path: &str) -> (u16, Value) {
        self.json("GET", path, &Value::Null)
    }

    pub(crate) fn sign_in(&mut self, name: &str, password: &str) -> Seen {
        self.form("/sign-in", &[("name", name), ("password", password)])
    }
}

/// Makes an account on the server's machine.
pub(crate) fn account(data_dir: &Path, name: &str, role: &str, pipelines: &[&str]) {
    let mut command = Command::new(STEPCAST);
    command.args(["account", "create", "--name", name, "--role", role, "--data-dir"]).arg(data_dir);
    for pipeline in pipelines {
        command.args(["--pipeline", pipeline]);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A browser that is signed in by name and password.
pub(crate) fn person(server: &Server, name: &str, role: &str, pipelines: &[&str]) -> Browser {
    account(server.data_dir(), name, role, pipelines);
    let mut browser = Browser::new(&server.url);
    let seen = browser.sign_in(name, PASSWORD);
    assert_eq!((seen.status, seen.location.as_str()), (303, "/"), "{}", seen.text);
    browser
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A first start: its address and the link that it prints.
fn first_start(data_dir: &Path) -> (Ends, String, String) {
    let mut command = Command::new(STEPCAST);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.find_map(|line| line.strip_prefix("Listening on ").map(str::to_owned)).unwrap();
    let link = lines.find_map(|line| line.strip_prefix("Sign in: ").map(str::to_owned)).unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    (Ends(child), url, link)
}

#[test]
fn the_link_of_the_first_start_makes_one_admin_and_is_used_up_by_that_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, url, link) = first_start(folder.path());
    let (path, secret) = link.strip_prefix(&url).unwrap().split_once("?link=").unwrap();
    assert_eq!(path, "/welcome");
    let mut ada = Browser::new(&url);
    // Looking at it, and what was wrong, use nothing up.
    for _ in 0..2 {
        assert_eq!(ada.send("GET", &format!("/welcome?link={secret}"), "", "").status, 200);
    }
    for (name, password, why) in [
        ("Ada", "short", "password"),
        ("Ada", "password1234", "password"),
        ("Ada Lovelace", "ada lovelace!", "password"),
        ("", PASSWORD, "name"),
    ] {
        let seen = ada.form("/welcome", &[("link", secret), ("name", name), ("password", password)]);
        assert!(seen.location.contains(&format!("wrong={why}")), "{name} {password}: {}", seen.location);
    }
    assert_eq!(ada.get("/account").0, 401);
    let seen = ada.form("/welcome", &[("link", secret), ("name", "Ada"), ("password", PASSWORD)]);
    assert_eq!((seen.status, seen.location.as_str()), (303, "/"), "{}", seen.text);
    let (_, own) = ada.get("/account");
    assert_eq!(
        (&own["name"], &own["grants"], &own["is_person"]),
        (&json!("Ada"), &json!({"everywhere": "admin"}), &json!(true))
    );
    let mut eve = Browser::new(&url);
    let seen = eve.form("/welcome", &[("link", secret), ("name", "Eve"), ("password", PASSWORD)]);
    assert!(seen.location.contains("wrong=gone"), "{}", seen.location);
    assert_eq!(eve.get("/account").0, 401);
}

#[test]
fn an_invitation_makes_one_account_with_what_it_grants() {
    let server = Server::start(&[]);
    let mut ada = person(&server, "Ada", "admin", &[]);
    let grants = json!({"pipelines": {"site": "builder"}});
    let (status, made) = ada.json("POST", "/invitations", &json!({"note": "for Grace", "grants": grants}));
    assert_eq!(status, 201, "{made}");
    let secret = made["link"].as_str().unwrap().split_once("invitation=").unwrap().1.to_owned();
    let (_, listed) = ada.get("/invitations");
    assert_eq!((&listed[0]["id"], &listed[0]["note"]), (&made["invitation"]["id"], &json!("for Grace")));
    assert!(!listed.to_string().contains(&secret), "it is shown once");
    let mut grace = Browser::new(&server.url);
    let taken = grace.form("/welcome", &[("invitation", &secret), ("name", "ADA"), ("password", PASSWORD)]);
    assert!(taken.location.contains("wrong=taken"), "{}", taken.location);
    let seen = grace.form("/welcome", &[("invitation", &secret), ("name", "Grace"), ("password", PASSWORD)]);
    assert_eq!((seen.status, seen.location.as_str()), (303, "/"), "{}", seen.text);
    assert_eq!(grace.get("/account").1["grants"], grants);
    assert_eq!(grace.get("/accounts").0, 403);
    assert_eq!(grace.json("POST", "/invitations", &json!({"grants": {"everywhere": "admin"}})).0, 403);
    let (_, other) = ada.json("POST", "/invitations", &json!({"grants": {"everywhere": "viewer"}}));
    let id = other["invitation"]["id"].as_str().unwrap();
    assert_eq!(ada.json("DELETE", &format!("/invitations/{id}"), &Value::Null).0, 204);
    let revoked = other["link"].as_str().unwrap().split_once("invitation=").unwrap().1;
    let seen = grace.form("/welcome", &[("invitation", revoked), ("name", "Eve"), ("password", PASSWORD)]);
    assert!(seen.location.contains("wrong=gone"), "{}", seen.location);
    assert_eq!(ada.json("POST", "/invitations", &json!({"grants": {}})).0, 422);
    // Somebody always runs the installation.
    let (_, accounts) = ada.get("/accounts");
    let id = |name: &str| {
        let found = accounts.as_array().unwrap().iter().find(|account| account["name"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    let (own, graces) = (format!("/accounts/{}", id("Ada")), format!("/accounts/{}", id("Grace")));
    assert_eq!(ada.json("DELETE", &own, &Value::Null).0, 409);
    assert_eq!(ada.json("PATCH", &own, &json!({"grants": {"everywhere": "viewer"}})).0, 409);
    assert_eq!(ada.json("PATCH", &own, &json!({"disabled": true})).0, 409);
    // What she has seen of another one is not so any more: nothing is written over.
    let (viewer, was) = (json!({"everywhere": "viewer"}), json!({"everywhere": "builder"}));
    let (status, told) = ada.json("PATCH", &graces, &json!({"grants": viewer, "was": was}));
    let sentence = "Somebody has changed this account meanwhile: it is builder of site now.";
    assert_eq!((status, &told["detail"]), (409, &json!(sentence)), "{told}");
    assert_eq!(grace.get("/account").1["grants"], grants);
    assert_eq!(ada.json("PATCH", &graces, &json!({"grants": viewer, "disabled": true})).0, 200);
    for (action, detail) in [
        ("role_changed", "Account Grace: viewer everywhere instead of builder of site."),
        ("account_disabled", "Account Grace."),
    ] {
        let (_, entries) = ada.get(&format!("/audit?action={action}"));
        assert_eq!(entries[0]["detail"], detail, "{entries}");
    }
    assert_eq!(grace.get("/account").0, 401, "her session has ended");
    assert!(grace.sign_in("Grace", PASSWORD).location.contains("wrong"));
    assert_eq!(ada.json("DELETE", &graces, &Value::Null).0, 204);
    assert_eq!(ada.json("DELETE", &graces, &Value::Null).0, 404);
}

#[test]
fn an_invitation_gives_no_more_than_who_made_it_may_do_now() {
    let server = Server::start(&[]);
    let (mut ada, mut grace) = (person(&server, "Ada", "admin", &[]), person(&server, "Grace", "admin", &[]));
    let admin = json!({"everywhere": "admin"});
    let mut invite = || {
        let (status, made) = grace.json("POST", "/invitations", &json!({"grants": admin}));
        assert_eq!(status, 201, "{made}");
        made["link"].as_str().unwrap().split_once("invitation=").unwrap().1.to_owned()
    };
    let (first, second) = (invite(), invite());
    let (_, accounts) = ada.get("/accounts");
    let found = accounts.as_array().unwrap().iter().find(|account| account["name"] == "Grace").unwrap();
    let graces = format!("/accounts/{}", found["id"].as_str().unwrap());
    let welcome = |secret: &str, name: &str| {
        let mut eve = Browser::new(&server.url);
        let seen = eve.form("/welcome", &[("invitation", secret), ("name", name), ("password", PASSWORD)]);
        (seen.location, eve)
    };
    // She opens one herself, in a browser where somebody is signed in: what that person has open there ends.
    let mut shared = Browser::new(&server.url);
    assert_eq!(shared.sign_in("Ada", PASSWORD).location, "/");
    let adas = connect(&server, As::Cookie(&shared.cookie), Some(&server.url)).unwrap();
    let third = [("invitation", &*invite()), ("name", "Mary"), ("password", PASSWORD)];
    assert_eq!(shared.form("/welcome", &third).location, "/");
    assert_eq!((adas.closed(), &shared.get("/account").1["name"]), (4500, &json!("Mary")));
    // She is shut out: a link that she kept lets her in by no other name.
    assert_eq!(ada.json("PATCH", &graces, &json!({"disabled": true})).0, 200);
    let (location, mut eve) = welcome(&first, "Eve");
    assert!(location.contains("wrong=gone"), "{location}");
    assert_eq!((eve.get("/account").0, ada.get("/invitations").1), (401, json!([])));
    // She is admin no more: nor does it make one.
    let viewer = json!({"everywhere": "viewer"});
    assert_eq!(ada.json("PATCH", &graces, &json!({"grants": viewer, "disabled": false})).0, 200);
    assert_eq!(ada.get("/invitations").1[0]["grants"], viewer);
    let (location, mut eve) = welcome(&second, "Eve");
    assert_eq!((location.as_str(), &eve.get("/account").1["grants"]), ("/", &viewer));
}

#[test]
fn a_session_is_made_anew_at_each_sign_in_and_the_former_one_is_worth_nothing() {
    let server = Server::start(&[]);
    let mut ada = person(&server, "Ada", "admin", &[]);
    let former = ada.cookie.clone();
    let mut first = connect(&server, As::Cookie(&former), Some(&server.url)).unwrap();
    assert_eq!(ada.sign_in("ada", PASSWORD).location, "/");
    assert_ne!(ada.cookie, former);
    // Another tab of the browser goes on: its session has another row, and has not ended.
    let (_, own) = ada.get("/account");
    let path = format!("/accounts/{}", own["account"].as_str().unwrap());
    assert_eq!(ada.json("PATCH", &path, &json!({"grants": own["grants"]})).0, 200, "it is looked at");
    first.send(&json!({"type": "ping"}));
    assert_eq!(first.frame()["type"], "pong");
    assert_eq!(connect(&server, As::Cookie(&former), Some(&server.url)).err(), Some(401));
    // Another person takes the browser over: what the former one has open ends.
    account(server.data_dir(), "Grace", "viewer", &[]);
    assert_eq!(ada.sign_in("Grace", PASSWORD).location, "/");
    assert_eq!(first.closed(), 4500);
    assert_eq!(ada.get("/account").1["name"], "Grace");
}

#[test]
fn another_password_ends_the_other_sessions_and_asks_for_the_old_one() {
    let server = Server::start(&[]);
    let mut ada = person(&server, "Ada", "admin", &[]);
    let mut elsewhere = Browser::new(&server.url);
    assert_eq!(elsewhere.sign_in("Ada", PASSWORD).location, "/");
    let theirs = connect(&server, As::Cookie(&elsewhere.cookie), Some(&server.url)).unwrap();
    let mut own = connect(&server, As::Cookie(&ada.cookie), Some(&server.url)).unwrap();
    let mut change = |old: &str, new: &str| ada.json("PUT", "/account/password", &json!({"old": old, "new": new})).0;
    assert_eq!(change("not it at all", "four green kettles"), 403);
    assert_eq!(change(PASSWORD, "ada"), 422);
    assert_eq!(change(PASSWORD, "four green kettles"), 204);
    assert_eq!(theirs.closed(), 4500);
    assert_eq!(elsewhere.get("/account").0, 401);
    assert_eq!(ada.get("/account").0, 200, "the one that asked goes on");
    let (_, refused) = ada.get("/audit?action=sign_in_refused");
    let told: Vec<&Value> = refused.as_array().unwrap().iter().map(|entry| &entry["name"]).collect();
    assert_eq!((told, &refused[0]["address"]), (vec![&json!("Ada")], &json!("127.0.0.1")), "{refused}");
    own.send(&json!({"type": "ping"}));
    assert_eq!(own.frame()["type"], "pong");
    assert!(elsewhere.sign_in("Ada", PASSWORD).location.contains("wrong"));
    assert_eq!(elsewhere.sign_in("Ada", "four green kettles").location, "/");
    // Signing out everywhere ends them all.
    assert_eq!(ada.form("/sign-out-everywhere", &[]).status, 303);
    assert_eq!(own.closed(), 4500);
    assert_eq!((ada.get("/account").0, elsewhere.get("/account").0), (401, 401));
}

#[test]
fn wrong_passwords_make_the_next_try_wait_the_right_one_too() {
    let server = Server::start(&[]);
    account(server.data_dir(), "Ada", "admin", &[]);
    account(server.data_dir(), "Grace", "admin", &[]);
    let mut browser = Browser::new(&server.url);
    // A browser is sent back to the form with the seconds.
    let wait = |seen: &Seen| seen.location.split("wait=").nth(1)?.split('&').next()?.parse::<u64>().ok();
    let begun = Instant::now();
    // Each wait is twice the one before; what is asked meanwhile makes none longer.
    loop {
        let seen = browser.sign_in("Ada", "not it at all");
        match wait(&seen) {
            Some(seconds) if seconds >= 8 => break,
            Some(seconds) => assert!(seconds >= 1, "{}", seen.location),
            None => assert!(seen.location.contains("wrong"), "{}", seen.text),
        }
        assert!(begun.elapsed() < PATIENCE, "wrong passwords were all looked at");
    }
    assert!(wait(&browser.sign_in("aDa ", PASSWORD)).is_some());
    // A program is told by the status.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(server.post_as_nobody("/sign-in", "name=Ada&password=x", &form).status, 429);
    assert_eq!(browser.sign_in("Grace", PASSWORD).location, "/", "others are not meant");
    let (_, entries) = browser.get("/audit?action=sign_in_refused");
    assert!(entries.as_array().unwrap().len() >= 5 && entries[0]["address"] == "127.0.0.1", "{entries}");
}

#[test]
fn tokens_are_no_wider_than_who_makes_them_and_end_with_them() {
    let server = Server::start(&[]);
    server.apply("site", &crate::world::pipeline("site"));
    let mut ada = person(&server, "Ada", "admin", &[]);
    let mut grace = person(&server, "Grace", "builder", &["site"]);
    let mut make = |grants: Value, more: Value| {
        let mut body = json!({"name": "ci", "grants": grants});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        grace.json("POST", "/tokens", &body)
    };
    for wider in [
        json!({"everywhere": "viewer"}),
        json!({"pipelines": {"site": "admin"}}),
        json!({"pipelines": {"site": "viewer", "other": "viewer"}}),
    ] {
        assert_eq!(make(wider.clone(), json!({})).0, 403, "{wider}");
    }
    assert_eq!(make(json!({"pipelines": {"site": "builder"}}), json!({"expires_in": 0})).0, 422);
    let (status, made) = make(json!({"pipelines": {"site": "builder"}}), json!({"expires_in": 3600}));
    assert_eq!(status, 201, "{made}");
    let (secret, id) = (made["secret"].as_str().unwrap().to_owned(), made["token"]["id"].as_str().unwrap().to_owned());
    let as_token = |method: &str, path: &str| crate::world::ask(&server, Some(&secret), method, path, "{}").0;
    assert_eq!(as_token("POST", "/api/v1/pipelines/site/builds"), 202);
    assert_eq!(as_token("POST", "/api/v1/tokens"), 403, "a program makes no tokens");
    // Nor does it see or end those of who made it, whether it shows itself or a session that it was exchanged for.
    assert_eq!(make(json!({"pipelines": {"site": "viewer"}}), json!({"name": "narrow"})).0, 201);
    let (_, all) = ada.get("/tokens");
    let narrow = all.as_array().unwrap().iter().find(|token| token["name"] == "narrow").unwrap()["id"].clone();
    let narrow = narrow.as_str().unwrap();
    let mut exchanged = Browser::new(&server.url);
    assert_eq!(exchanged.form("/sign-in", &[("token", &secret)]).location, "/");
    let seen = exchanged.send("GET", "/tokens", "", "").text;
    assert!(!seen.contains(narrow) && !seen.contains("narrow"), "{seen}");
    for of in [narrow, &id] {
        assert_eq!(as_token("DELETE", &format!("/api/v1/tokens/{of}")), 403);
        assert_eq!(exchanged.json("DELETE", &format!("/tokens/{of}"), &Value::Null).0, 403);
    }
    assert_eq!((as_token("GET", "/api/v1/tokens"), exchanged.get("/tokens").0), (403, 403));
    assert_eq!(grace.json("DELETE", &format!("/tokens/{narrow}"), &Value::Null).0, 204, "a person ends their own");
    let (_, own) = grace.get("/tokens");
    assert_eq!((own.as_array().unwrap().len(), &own[0]["id"], &own[0]["created_by"]), (1, &json!(id), &json!("Grace")));
    assert!(!own.to_string().contains(&secret));
    crate::until(|| {
        let (_, text) = crate::world::ask(&server, Some(&server.token), "GET", "/api/v1/tokens", "");
        text.contains("\"used_at\"")
    });
    // It does no more than who made it may do now.
    let (_, accounts) = ada.get("/accounts");
    let found = accounts.as_array().unwrap().iter().find(|account| account["name"] == "Grace").unwrap();
    let path = format!("/accounts/{}", found["id"].as_str().unwrap());
    assert_eq!(ada.json("PATCH", &path, &json!({"grants": {"pipelines": {"site": "viewer"}}})).0, 200);
    assert_eq!(as_token("POST", "/api/v1/pipelines/site/builds"), 403);
    assert_eq!(as_token("GET", "/api/v1/pipelines/site"), 200);
    assert_eq!(ada.json("PATCH", &path, &json!({"disabled": true})).0, 200);
    assert_eq!(as_token("GET", "/api/v1/pipelines/site"), 401);
    assert_eq!(ada.json("PATCH", &path, &json!({"disabled": false})).0, 200);
    assert_eq!(as_token("GET", "/api/v1/pipelines/site"), 200);
    assert_eq!(ada.json("DELETE", &format!("/tokens/{id}"), &Value::Null).0, 204);
    assert_eq!(as_token("GET", "/api/v1/pipelines/site"), 401);
    assert_eq!(ada.json("DELETE", &format!("/tokens/{id}"), &Value::Null).0, 404);
}

/// What a person has asked for is told to them in each of their sessions, and to none that a token of theirs was exchanged
/// for.
#[test]
fn results_are_of_the_person_who_asked_and_not_of_their_tokens() {
    let server = Server::start(&[]);
    server.apply("site", &crate::world::pipeline("site"));
    let mut ada = person(&server, "Ada", "admin", &[]);
    let meta = connect(&server, As::Cookie(&ada.cookie), Some(&server.url)).unwrap().meta();
    let (status, build) = ada.json("POST", "/pipelines/site/builds", &json!({ "socket": meta }));
    assert_eq!(status, 202, "{build}");
    let id = build["id"].as_str().unwrap();
    server.finished(id);
    let (_, made) = ada.json("POST", "/tokens", &json!({"name": "ci", "grants": {"everywhere": "builder"}}));
    let mut exchanged = Browser::new(&server.url);
    assert_eq!(exchanged.form("/sign-in", &[("token", made["secret"].as_str().unwrap())]).location, "/");
    let mut elsewhere = Browser::new(&server.url);
    elsewhere.sign_in("Ada", PASSWORD);
    let listed = |browser: &mut Browser| {
        let (status, results) = browser.get("/results?received=false");
        assert_eq!(status, 200, "{results}");
        results.as_array().unwrap().len()
    };
    assert_eq!([listed(&mut ada), listed(&mut elsewhere), listed(&mut exchanged)], [1, 1, 0]);
    assert_eq!(exchanged.json("POST", &format!("/builds/{id}/receipt"), &json!({})).0, 409);
    assert_eq!(elsewhere.json("POST", &format!("/builds/{id}/receipt"), &json!({})).0, 204);
    assert_eq!(listed(&mut ada), 0);
}

#[test]
fn a_server_that_others_can_reach_starts_only_when_there_is_somebody() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let serve = || {
        let mut command = Command::new(STEPCAST);
        command.args(["serve", "--listen", "0.0.0.0:0", "--data-dir"]).arg(&data_dir);
        command
    };
    let refused = serve().output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("stepcast account create --name"), "{told}");
    account(&data_dir, "Ada", "admin", &[]);
    let mut child = serve().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let child = Ends(child);
    assert!(lines.any(|line| line.starts_with("Listening on ")), "it does not start");
    drop(child);
    assert!(!lines.any(|line| line.starts_with("Sign in: ")), "there is somebody: no link is printed");
}
