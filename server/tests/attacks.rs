//! Attacks that need no browser and have no other place, with real requests against the running program; and that what
//! `docs/security.md` names is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
};

use serde_json::json;
use support::{PATIENCE, Server};

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
fn no_get_changes_anything_and_none_is_answered_to_another_origin() {
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
