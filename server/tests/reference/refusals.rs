//! What a running server refuses, held against the document.

use serde_json::Value;

use crate::{
    answers::FORM,
    ask::Reader,
    document::{METHODS, Reference},
    support::Server,
};

#[test]
fn what_is_refused_is_refused_as_the_reference_says() {
    let reader = Reader { server: Server::start(&[]), reference: Reference::read() };
    let none = "00000000-0000-7000-8000-000000000001";
    let paths: Vec<(String, Vec<String>)> = {
        let paths = reader.reference.document()["paths"].as_object().unwrap().iter();
        let of = |item: &Value| METHODS.iter().filter(|m| item.get(*m).is_some()).map(|m| m.to_uppercase()).collect();
        paths.map(|(path, item)| (path.clone(), of(item))).collect()
    };
    let fill = |path: &str, id: &'static str, name: &'static str| -> Vec<&'static str> {
        // These are named by digits of a hash.
        let digits = id == none && matches!(path, "/tokens/{id}" | "/invitations/{id}");
        let id = if digits { "0123456789abcdef" } else { id };
        let parameters = path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap());
        let values = parameters.map(|parameter| match parameter {
            "id" | "ref" => id,
            "secret" if name == "site" => "TOKEN",
            _ => name,
        });
        let mut values: Vec<_> = values.collect();
        match path {
            "/jobs/{id}/log/search" => values.push("?q=x"),
            "/jobs/{id}/log/group" => values.push("?line=0"),
            _ => {}
        }
        values
    };
    for (path, methods) in &paths {
        let beside = reader.reference.document()["paths"][path]["servers"].is_array();
        for method in methods {
            let upload = matches!(path.as_str(), "/jobs/{id}/artifacts/{name}" | "/hooks/{id}");
            if !beside || path == "/metrics" || path == "/ws" {
                let nobody = reader.ask_as(method, path, &fill(path, none, "site"), &[], "");
                assert_eq!(nobody.status, 401, "{method} {path}");
            }
            if beside || upload {
                continue;
            }
            if method != "GET" {
                let foreign = [("origin", "http://evil.example")];
                let heard = reader.ask_as(method, path, &fill(path, none, "site"), &foreign, "");
                assert_eq!(heard.status, 403, "{method} {path}");
            }
            if path.contains('{') {
                let written = method == "PUT";
                let expected = if written { 422 } else { 404 };
                assert_eq!(
                    reader.refused(method, path, &fill(path, none, "site"), &[], ""),
                    expected,
                    "{method} {path}"
                );
                assert_eq!(reader.refused(method, path, &fill(path, "xx", "a%20b"), &[], ""), 400, "{method} {path}");
                assert_eq!(reader.refused(method, path, &fill(path, "%FF", "%FF"), &[], ""), 400, "{method} {path}");
            }
        }
    }
    for (path, query) in [
        ("/builds", "?limit=501"),
        ("/builds", "?other=1"),
        ("/builds", "?number=1"),
        ("/builds", "?state=odd"),
        ("/dead-letters", "?limit=0"),
        ("/dead-letters", "?state=closed"),
        ("/search", ""),
        ("/search", "?q=x&limit=201"),
        ("/search", "?q=x&other=1"),
        ("/search", "?q=x&kind=odd"),
        ("/stats", "?days=401"),
        ("/webhook-secret", ""),
        ("/webhook-secret", "?url=ftp://example.org"),
        ("/webhook-secret", "?url=https://example.org&other=1"),
        ("/results", ""),
        ("/results", "?received=true"),
    ] {
        assert_eq!(reader.refused("GET", path, &[query], &[], ""), 400, "{path}{query}");
    }
    // What may not be seen is not there, whatever is asked of it: only of what is there more is said.
    reader.server.apply("real", "name: real\njobs: {a: {steps: [{run: echo}]}}\n");
    let build = reader.server.build(&reader.server.trigger("real"));
    let job = build["jobs"][0]["id"].as_str().unwrap();
    for query in ["?q=", "", "?q=x&attempt=y", "?q=x&case=perhaps", "?q=x&other=1"] {
        assert_eq!(reader.refused("GET", "/jobs/{id}/log/search", &[job, query], &[], ""), 400, "{query}");
    }
    for query in ["", "?line=x", "?line=0&attempt=y", "?line=0&other=1"] {
        assert_eq!(reader.refused("GET", "/jobs/{id}/log/group", &[job, query], &[], ""), 400, "{query}");
    }
    assert_eq!(reader.refused("GET", "/jobs/{id}/log", &[job, "?limit=10001"], &[], ""), 400);
    let quick = "name: quick\njobs: {a: {steps: [{run: echo}]}}\n";
    let put =
        |headers: &[(&str, &str)], body: &str| reader.ask("PUT", "/pipelines/{name}", &["quick"], headers, body).status;
    assert_eq!(put(&[("if-match", "\"x\"")], quick), 412);
    assert_eq!(put(&[], quick), 201);
    assert_eq!(put(&[("if-none-match", "*")], quick), 412);
    assert_eq!(put(&[], "name: quick\njobs: []\n"), 422);
    assert_eq!(put(&[], &"#".repeat(1024 * 1024 + 1)), 413);
    let trigger = |headers: &[(&str, &str)], body: &str| {
        reader.ask("POST", "/pipelines/{name}/builds", &["quick"], headers, body).status
    };
    for body in [
        "[]",
        "[{}]",
        "null",
        "7",
        "{",
        r#"{"inputs":{"x":"y"}}"#,
        r#"{"other":1}"#,
        r#"{"reply":{"mode":"callback"}}"#,
        r#"{"reply":{"mode":"webhook","url":"ftp://example.org"}}"#,
        r#"{"reply":{"mode":"queue","reply_to":"control"}}"#,
        r#"{"priority":101}"#,
    ] {
        assert_eq!(trigger(&[], body), 422, "{body}");
    }
    assert_eq!(reader.refused("POST", "/groups/{name}/rebuild", &["recorder"], &[], ""), 409);
    assert_eq!(reader.refused("GET", "/executors/{id}/now", &[none, "?lines=21"], &[], ""), 400);
    assert_eq!(reader.refused("GET", "/executors/{id}/now", &[none, "?other=1"], &[], ""), 400);
    let long = "k".repeat(256);
    assert_eq!((trigger(&[("idempotency-key", &long)], ""), trigger(&[("idempotency-key", "")], "")), (400, 400));
    assert_eq!(reader.refused("POST", "/builds/{id}/retry", &[build["id"].as_str().unwrap()], &[], "[true]"), 422);
    assert_eq!(reader.ask("GET", "/ws", &[], &[], "").status, 426);
    let foreign = [("origin", "http://evil.example"), ("upgrade", "websocket")];
    assert_eq!(reader.ask_as("GET", "/ws", &[], &foreign, "").status, 403);
    assert_eq!(reader.ask_as("POST", "/sign-in", &[], &[], "token=x").status, 415);
    assert_eq!(reader.ask_as("POST", "/sign-in", &[], &FORM, "next=x").status, 422);
}
