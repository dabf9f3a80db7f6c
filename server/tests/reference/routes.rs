//! The routes of the program and those of the document are the same; the document is whole in itself.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use crate::{
    ask::ask,
    document::{METHODS, Reference},
    support::Server,
};

/// Routes that no other program uses: the reference says so in its description.
const LEFT_OUT: [&str; 1] = ["/api/page/{function}"];

/// The literal paths of every `.route(` in the sources, with `{*name}` written as `{name}`; and how many have another one.
fn routes_in(folder: &Path, found: &mut BTreeSet<String>) -> usize {
    let mut others = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            others += routes_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for behind in text.split(".route(").skip(1) {
                match behind.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"')) {
                    Some((literal, _)) => {
                        found.insert(literal.replace("{*", "{"));
                    }
                    None => others += 1,
                }
            }
        }
    }
    others
}

/// A path of the document with something in the place of each parameter.
fn filled(path: &str) -> String {
    path.replace("{secret}", "TOKEN")
        .replace("{id}", "00000000-0000-7000-8000-000000000001")
        .replace("{name}", "site")
        .replace("{ref}", "00000000-0000-4000-8000-000000000001")
}

#[test]
fn every_route_of_the_program_stands_in_the_reference_with_its_methods_and_no_other_does() {
    let mut written = BTreeSet::new();
    let others = routes_in(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut written);
    assert_eq!(others, 1, "only the files of the browser package have routes whose paths are no literals");
    let reference = Reference::read();
    let listed = reference.routes();
    for path in &written {
        let known = [path.clone(), format!("/api/v1{path}")].iter().any(|path| listed.contains_key(path));
        assert!(known || LEFT_OUT.contains(&path.as_str()), "{path} is not in docs/openapi.yaml");
    }
    let server = Server::start(&[]);
    let bearer = format!("Bearer {}", server.token);
    for (path, methods) in &listed {
        let literal = written.contains(path) || path.strip_prefix("/api/v1").is_some_and(|path| written.contains(path));
        assert!(literal, "{path} is no route of the program");
        // No handler takes this method, so the router tells which ones it has.
        let answer = ask(&server, "QUERY", &filled(path), &[("authorization", &bearer)], b"");
        assert_eq!(answer.status, 405, "{path}: {}", answer.text());
        let allowed: BTreeSet<String> =
            answer.headers["allow"].split(',').map(|method| method.trim().to_owned()).collect();
        let mut methods = methods.clone();
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        assert_eq!(allowed, methods, "{path}");
    }
}

/// Visits every value of the document with the way to it.
fn visit(value: &Value, way: &str, see: &mut impl FnMut(&str, &Value)) {
    see(way, value);
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| visit(member, &format!("{way}/{name}"), see))
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| visit(item, &format!("{way}/{n}"), see)),
        _ => {}
    }
}

#[test]
fn the_reference_is_whole_in_itself() {
    let reference = Reference::read();
    let document = reference.document();
    let mut used = BTreeSet::new();
    visit(document, "", &mut |way, value| {
        if let Some(link) = value.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(link.trim_start_matches('#')).is_some(), "{way}: {link} leads nowhere");
            used.insert(link.to_owned());
        }
        if let Some(properties) = value.get("properties").filter(|inner| inner.get("properties").is_none()) {
            for (name, member) in properties.as_object().unwrap() {
                let told = ["description", "$ref", "const"].iter().any(|key| member.get(key).is_some());
                assert!(told, "{way}: nothing says what {name} is");
            }
        }
    });
    for kind in ["parameters", "headers", "requestBodies", "responses", "schemas"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(used.contains(&format!("#/components/{kind}/{name}")), "nothing uses {kind}/{name}");
        }
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in METHODS.iter().filter_map(|method| Some((method, item.get(method)?))) {
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no operationId"));
            assert!(ids.insert(id), "{id} names two operations");
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{id}");
            let of = |value: &Value| value["parameters"].as_array().cloned().unwrap_or_default();
            let parameters = [of(item), of(operation)].concat();
            let named: BTreeSet<String> = parameters
                .iter()
                .map(|parameter| match parameter["$ref"].as_str() {
                    Some(link) => document.pointer(link.trim_start_matches('#')).unwrap(),
                    None => parameter,
                })
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect();
            let wanted = path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
            assert_eq!(named, wanted, "{id}");
        }
    }
}
