//! Attacks that need no browser and have no other place, with real requests against the running program; and that what
//! `docs/security.md` names is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
};

use serde_json::json;
use support::{PATIENCE, Server};
use wire::{JobId, mac::InstallationKey};

const SITE: &str = "name: site\njobs:\n  work:\n    steps: [{run: echo a line}]\n";

/// Sends the bytes of a request as they are, and gives the status; none where the connection was ended instead.
fn raw(server: &Server, request: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may have refused the beginning already.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = [0; 512];
    let read = stream.read(&mut answer).unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    text.split(' ').nth(1).and_then(|status| status.parse().ok())
}

#[test]
fn a_path_out_of_its_place_leads_nowhere() {
    let server = Server::start(&[]);
    server.apply("site", SITE);
    let build = server.finished(&server.trigger("site"));
    let job = build["jobs"][0]["id"].as_str().unwrap();
    let key = fs::read_to_string(server.data_dir().join("installation-key")).unwrap();
    let up = "../".repeat(8);
    let encoded = "%2e%2e%2f".repeat(8);
    for path in [
        format!("/api/v1/jobs/{up}{}/installation-key/log", server.data_dir().display()),
        format!("/api/v1/jobs/{job}%2f{encoded}etc%2fpasswd/log.txt"),
        format!("/api/v1/jobs/{encoded}etc%2fpasswd/log.txt"),
        format!("/api/v1/artifacts/{encoded}etc%2fpasswd"),
        format!("/api/v1/artifacts/{job}%2f..%2f..%2f..%2finstallation-key"),
        format!("/api/v1/payloads/{encoded}installation-key"),
        format!("/pkg/{up}installation-key"),
        format!("/pkg/{encoded}{}/installation-key", server.data_dir().display()),
        format!("/{up}etc/passwd"),
        "/pkg/..\\..\\installation-key".to_owned(),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
            server.token
        );
        let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        assert!((400..500).contains(&status), "{path}: {answer}");
        assert!(!answer.contains(key.trim()) && !answer.contains("root:"), "{path}: {answer}");
    }
}

/// All files below a folder, by path.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let below = entries.flatten().flat_map(|entry| {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) { files(&entry.path()) } else { vec![entry.path()] }
    });
    below.collect()
}

#[test]
fn an_upload_is_taken_from_its_running_attempt_alone_and_its_name_is_no_path() {
    let folder = tempfile::tempdir().unwrap();
    // Both of its jobs run side by side.
    let server = Server::start_in(&folder.path().join("data"), &["--slots", "2"]);
    let gate = folder.path().join("gate");
    let waits = format!("until [ -e {} ]; do read -r -t 0.05 <> <(:) || :; done", gate.display());
    server.apply(
        "site",
        &format!("name: site\njobs: {{a: {{steps: [{{run: '{waits}'}}]}}, b: {{steps: [{{run: '{waits}'}}]}}}}\n"),
    );
    let build = server.trigger("site");
    let mut events = server.events(&build);
    for _ in 0..2 {
        events = events.until(|frame| frame["event"]["kind"] == "job_started").1;
    }
    let jobs = server.build(&build)["jobs"].clone();
    let id = |at: usize| jobs[at]["id"].as_str().unwrap().parse::<JobId>().unwrap();
    let text = fs::read_to_string(server.data_dir().join("installation-key")).unwrap();
    let digits: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect();
    let key = InstallationKey(digits.try_into().unwrap());
    let put = |token: &str, name: &str| {
        let request = format!(
            "PUT /api/v1/jobs/{}/artifacts/{name} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 1\r\n\
             Authorization: Bearer {token}\r\n\r\nx",
            id(0)
        );
        raw(&server, &request).unwrap()
    };
    let own = key.job_token(id(0), 1);
    // Its database and spools are written to all the time.
    let artifacts = server.data_dir().join("artifacts");
    let outside = || -> Vec<PathBuf> {
        let is_of_uploads = |file: &PathBuf| file.starts_with(&artifacts) || !file.starts_with(server.data_dir());
        files(folder.path()).into_iter().filter(is_of_uploads).collect()
    };
    let before = outside();
    for name in [
        "..%2f..%2f..%2fx",
        "..%2F..%2Fx",
        "%2e%2e/%2e%2e/x",
        "a%2f..%2f..%2fx",
        "%2ftmp%2fx",
        "a%00b",
        "a%0ab",
        "a%5c..%5cx",
        "..",
        ".",
        "a%2f%2fb",
        "%e2%80%aegpj.exe",
        "%ff",
        &"x".repeat(300),
        &"a%2f".repeat(600),
    ] {
        let status = put(&own, name);
        assert!(matches!(status, 400 | 404 | 414), "{name}: {status}");
    }
    let others = [
        key.job_token(id(1), 1),
        InstallationKey([7; 32]).job_token(id(0), 1),
        own.replace(".1.", ".2."),
        server.token.clone(),
        "..".to_owned(),
    ];
    for token in others {
        assert_eq!(put(&token, "x"), 401, "{token}");
    }
    // Signed, and of an attempt that never began.
    assert_eq!(put(&key.job_token(id(0), 2), "x"), 409);
    assert_eq!(outside(), before, "something was written");
    assert_eq!(put(&own, "a%2fb.txt"), 201);
    let written: Vec<_> = outside().into_iter().filter(|file| !before.contains(file)).collect();
    assert!(written.len() == 1 && written[0].starts_with(&artifacts), "{written:?}");
    // What a job may read is what its own build was given.
    let answer = server.post_with("/api/v1/payloads", "secret", &[("content-type", "text/plain")]);
    let payload = answer.json()["ref"].as_str().unwrap().to_owned();
    let read = format!(
        "GET /api/v1/payloads/{payload} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: Bearer {own}\r\n\r\n"
    );
    assert_eq!(raw(&server, &read), Some(404));
    fs::write(&gate, "").unwrap();
    server.finished(&build);
    assert_eq!(put(&own, "x"), 409, "its attempt has ended");
}

#[test]
fn a_payload_is_read_by_who_sees_a_build_that_was_given_it() {
    let server = Server::start(&[]);
    server.apply("site", SITE);
    server
        .apply("sum", "name: sum\ninputs: {data: {type: file}}\njobs: {a: {steps: [{run: 'cat \"$INPUT_DATA\"'}]}}\n");
    let brought = server.post_with("/api/v1/payloads", "told to few", &[("content-type", "text/plain")]).json();
    let given = server.post("/api/v1/pipelines/sum/builds", &json!({"inputs": {"data": brought}}));
    assert_eq!(given.status, 202, "{}", given.text);
    let read_by = |pipeline: &str| {
        let asked = json!({"name": pipeline, "grants": {"pipelines": {pipeline: "viewer"}}});
        let made = server.post("/api/v1/tokens", &asked);
        let secret = made.json()["secret"].as_str().unwrap().to_owned();
        let request = format!(
            "GET /api/v1/payloads/{} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: Bearer {secret}\r\n\r\n",
            brought["ref"].as_str().unwrap()
        );
        raw(&server, &request)
    };
    assert_eq!((read_by("sum"), read_by("site")), (Some(200), Some(404)));
}

#[test]
fn text_that_would_be_sql_is_a_text() {
    let server = Server::start(&[]);
    server.apply("site", SITE);
    let build = server.trigger("site");
    server.finished(&build);
    for text in
        ["'; DROP TABLE builds; --", "\" OR 1=1 --", "' UNION SELECT value FROM secrets --", "a'||'b", "%_\\", "\u{0}"]
    {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for path in [
            format!("/api/v1/search?q={encoded}"),
            format!("/api/v1/builds?pipeline={encoded}"),
            format!("/api/v1/builds?state={encoded}"),
            format!("/api/v1/pipelines/{encoded}"),
            format!("/api/v1/audit?name={encoded}"),
            format!("/api/v1/audit?action={encoded}"),
            format!("/api/v1/dead-letters?state={encoded}"),
            format!("/api/v1/executors/{encoded}/now"),
        ] {
            let answer = server.get(&path);
            assert!(answer.status < 500, "{path}: {} {}", answer.status, answer.text);
            if answer.status == 200 {
                assert!(!answer.text.contains("installation"), "{path}: {}", answer.text);
                assert!(path.contains("search") || answer.text.trim_end().len() <= 200, "{path}: {}", answer.text);
            }
        }
        let answer = server.post("/api/v1/pipelines/site/builds", &json!({"inputs": {text: text}}));
        assert_eq!(answer.status, 422, "{text:?}: {}", answer.text);
    }
    assert_eq!(server.get(&format!("/api/v1/builds/{build}")).status, 200, "nothing is lost");
}

#[test]
fn a_handshake_of_any_size_and_shape_neither_ends_nor_holds_up_the_server() {
    let server = Server::start(&[]);
    let upgrade = |more: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
        )
    };
    let long = "x".repeat(2_000_000);
    let many: String = (0..5_000).map(|n| format!("X-{n}: y\r\n")).collect();
    for (what, request) in [
        ("a long header", upgrade(&format!("Sec-WebSocket-Key: {long}\r\n"))),
        ("many headers", upgrade(&many)),
        (
            "a long list of protocols",
            upgrade(&format!(
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {}\r\n",
                "a,".repeat(500_000)
            )),
        ),
        ("no key", upgrade("")),
        ("a key that is none", upgrade("Sec-WebSocket-Key: \u{1f980}\r\n")),
        ("a long address", format!("GET /{long} HTTP/1.1\r\nHost: here\r\n\r\n")),
    ] {
        let status = raw(&server, &request);
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{what}: {status:?}");
    }
    // Those that never end what they began hold up nobody.
    let _begun: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
            stream.write_all(b"GET /ws HTTP/1.1\r\nHost: here\r\nSec-WebSocket-").unwrap();
            stream
        })
        .collect();
    assert_eq!(server.get("/api/v1/pipelines").status, 200);
}

#[test]
fn what_is_written_by_other_methods_answers_no_get_and_nothing_is_answered_to_another_origin() {
    let server = Server::start(&[]);
    server.apply("site", SITE);
    let build = server.trigger("site");
    server.finished(&build);
    // What is asked by other methods is not answered to a GET.
    for path in ["/sign-out", "/sign-out-everywhere", "/api/v1/pipelines/site/builds", "/api/page/pipelines"] {
        let answer = server.get(path);
        assert!(matches!(answer.status, 404 | 405), "{path}: {}", answer.status);
    }
    for path in [format!("/api/v1/builds/{build}/cancel"), format!("/api/v1/builds/{build}/retry")] {
        assert_eq!(server.get(&path).status, 405, "{path}");
    }
    // No answer lets another origin's scripts read it, whoever they say they are.
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for path in ["/api/v1/pipelines", "/healthz", "/sign-in", "/ws", "/metrics"] {
        let asked = agent.get(format!("{}{path}", server.url)).header("Origin", "http://127.0.0.1:1").call().unwrap();
        let headers = asked.headers();
        assert!(headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{path}: {headers:?}");
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{path}");
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
    }
}

/// A browser that goes nowhere by itself.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into()
}

/// What every answer says, whatever it is an answer to; one that has been sent over https demands it from now on.
fn says_what_is_safe(what: &str, headers: &ureq::http::HeaderMap, is_encrypted: bool) {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("x-content-type-options"), Some("nosniff"), "{what}");
    assert_eq!(header("x-frame-options"), Some("DENY"), "{what}");
    assert_eq!(header("referrer-policy"), Some("same-origin"), "{what}");
    assert_eq!(header("cross-origin-resource-policy"), Some("same-origin"), "{what}");
    assert_eq!(header("cross-origin-opener-policy"), Some("same-origin"), "{what}");
    assert!(header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")), "{what}");
    assert_eq!(header("strict-transport-security").is_some(), is_encrypted, "{what}: {headers:?}");
    if is_encrypted {
        let age = header("strict-transport-security").and_then(|value| value.strip_prefix("max-age=")).unwrap();
        assert!(age.parse::<u32>().unwrap() >= 31_536_000, "{what}: {age}");
    }
}

#[test]
fn every_answer_carries_the_headers_and_with_https_cookies_are_secure_and_browsers_stay_with_it() {
    for (options, is_encrypted) in [
        (&["--public-url", "https://ci.example.org"][..], true),
        (&["--public-url", "http://ci.example.org"][..], false),
        (&[][..], false),
    ] {
        // It says by which address people come, so its own must be known before.
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start_at(&listen, folder.path(), options);
        let url = format!("http://{listen}");
        let origin = options.last().map_or(url.as_str(), |url| *url);
        let request = agent().post(format!("{}/sign-in", url)).header("origin", origin);
        let entered = request.send_form([("token", server.token.as_str())]).unwrap();
        assert_eq!(entered.status(), 303, "{options:?}");
        says_what_is_safe("sign-in", entered.headers(), is_encrypted);
        let cookie = entered.headers()["set-cookie"].to_str().unwrap();
        let mut words: Vec<&str> = cookie.split("; ").collect();
        assert!(words[0].starts_with("stepcast_session="), "{cookie}");
        assert!(words.contains(&"HttpOnly") && words.contains(&"SameSite=Lax"), "{cookie}");
        assert_eq!(words.contains(&"Secure"), is_encrypted, "{options:?}: {cookie}");
        let session = words.swap_remove(0);
        for (path, status) in [
            ("/", 200),
            ("/people", 200),
            ("/api/v1/pipelines", 200),
            ("/healthz", 200),
            ("/metrics", 200),
            ("/ws", 426),
            ("/no/such/page", 404),
            ("/api/v1/nothing", 404),
            ("/api/v1/builds?other=1", 400),
            ("/api/v1/builds/x", 400),
            ("/sign-out", 405),
        ] {
            let heard = agent().get(format!("{}{path}", url)).header("cookie", session).call().unwrap();
            assert_eq!(heard.status(), status, "{path}");
            says_what_is_safe(path, heard.headers(), is_encrypted);
        }
        // Refusals: of who shows nothing, of another site, and of what is no body.
        let nobody = agent().get(format!("{}/api/v1/pipelines", url)).call().unwrap();
        let foreign = agent().post(format!("{}/sign-out", url)).header("origin", "http://evil.example");
        let foreign = foreign.header("cookie", session).send_empty().unwrap();
        let wrong = agent().post(format!("{}/api/v1/pipelines", url)).header("origin", origin);
        let wrong = wrong.header("cookie", session).send("jobs: [").unwrap();
        for (answer, status) in [(nobody, 401), (foreign, 403), (wrong, 422)] {
            assert_eq!(answer.status(), status);
            says_what_is_safe(&status.to_string(), answer.headers(), is_encrypted);
        }
    }
}

#[test]
fn a_file_that_a_browser_could_run_is_given_to_be_kept_and_is_no_part_of_the_site() {
    let server = Server::start(&[]);
    let script = "<script>parent.hurt=1</script>";
    server.apply(
        "site",
        &format!(
            "name: site\njobs:\n  a:\n    steps:\n      - run: |\n          echo '<html>{script}</html>' > page.html\n          \
             echo '<svg xmlns=\"http://www.w3.org/2000/svg\">{script}</svg>' > picture.svg\n    \
             artifacts: [page.html, picture.svg]\n"
        ),
    );
    let build = server.finished(&server.trigger("site"));
    assert_eq!(build["outcome"], "succeeded", "{build}");
    let job = build["jobs"][0]["id"].as_str().unwrap();
    server.until_sealed(job);
    let artifacts = server.get(&format!("/api/v1/jobs/{job}/artifacts")).json();
    let mut places: Vec<(String, String)> = artifacts
        .as_array()
        .unwrap()
        .iter()
        .map(|artifact| {
            let name = artifact["name"].as_str().unwrap();
            (
                format!("/api/v1/artifacts/{}", artifact["id"].as_str().unwrap()),
                format!("attachment; filename*=UTF-8''{name}"),
            )
        })
        .collect();
    assert_eq!(places.len(), 2, "{artifacts}");
    // What somebody brings says itself what it is.
    let brought = server.post_with("/api/v1/payloads", script, &[("content-type", "text/html")]).json();
    places.push((format!("/api/v1/payloads/{}", brought["ref"].as_str().unwrap()), "attachment".to_owned()));
    for (path, disposition) in places {
        for range in [None, Some("bytes=0-3"), Some("bytes=9999-")] {
            let mut request = agent().get(format!("{}{path}", server.url));
            request = request.header("authorization", format!("Bearer {}", server.token));
            if let Some(range) = range {
                request = request.header("range", range);
            }
            let answer = request.call().unwrap();
            let what = format!("{path} {range:?}: {:?}", answer.headers());
            let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap());
            assert_eq!(header("x-content-type-options"), "nosniff", "{what}");
            if range == Some("bytes=9999-") {
                assert_eq!(answer.status(), 416, "{what}");
                continue;
            }
            assert!(header("content-disposition").starts_with(&disposition), "{what}");
            assert_eq!(header("content-security-policy"), "sandbox; default-src 'none'", "{what}");
            assert_eq!(header("x-frame-options"), "DENY", "{what}");
            assert!(path.contains("payloads") || header("content-type") == "application/octet-stream", "{what}");
        }
    }
}

#[test]
fn a_pipeline_that_is_a_bomb_is_refused_in_one_sentence_while_the_server_answers() {
    let server = Server::start(&[]);
    server.apply("site", SITE);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    let depth = "[".repeat(1_000_000);
    let questions = "? ".repeat(500_000);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Somebody else, all the while.
        let others = scope.spawn(|| {
            let mut answered = 0;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let begun = std::time::Instant::now();
                assert_eq!(server.get("/api/v1/pipelines/site").status, 200);
                assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
                answered += 1;
            }
            answered
        });
        for (what, text) in [("a bomb", &bomb), ("a megabyte of depth", &depth), ("questions", &questions)] {
            let answer = server.put("/api/v1/pipelines/bomb", text);
            assert_eq!((answer.status, answer.content_type.as_str()), (422, "application/problem+json"), "{what}");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(!detail.is_empty() && detail.chars().count() <= 2000, "{what}: {detail}");
            assert!(!detail.contains(char::is_control), "{what}: {detail}");
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(others.join().unwrap() > 0);
    });
    assert_eq!(server.get("/api/v1/pipelines/bomb").status, 404);
    assert_eq!(server.finished(&server.trigger("site"))["outcome"], "succeeded");
}

#[test]
fn every_test_that_the_page_on_security_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let mut named = 0;
    for line in page.lines().filter(|line| line.starts_with('|')) {
        // `path: name, name` or `path` alone, in backticks.
        for mention in line.split('`').skip(1).step_by(2) {
            let (path, names) = mention.split_once(": ").unwrap_or((mention, ""));
            if !path.contains('/') || !(path.ends_with(".rs") || path.ends_with(".ts")) {
                continue;
            }
            let text = fs::read_to_string(root.join(path)).unwrap_or_else(|_| panic!("there is no {path}"));
            for name in names.split(", ").filter(|name| !name.is_empty()) {
                // A function in Rust, what a test is called in TypeScript.
                let is_there = if path.ends_with(".rs") {
                    text.contains(&format!("fn {name}("))
                } else {
                    text.contains(&format!("\"{name}")) || text.contains(&format!("`{name}"))
                };
                assert!(is_there, "{path} has no test {name}");
            }
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
}
