//! Every row of the table: without authority, with too little of it, with another pipeline's, and with enough.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    client::{As, Client, connect},
    table::{FRAMES, FUNCTIONS, Needs, Of, ROUTES},
    world::{World, pipeline},
};

/// Who has too little for a need, with the status that they get, and who has just enough.
fn judges(world: &World, needs: Needs) -> (Vec<(&str, u16)>, &str) {
    let (viewer, builder, admin) = (&*world.viewer, &*world.builder, &*world.admin);
    let stranger = (&*world.other_admin, 404);
    match needs {
        Needs::Public | Needs::JobToken | Needs::Signature | Needs::SignedIn | Needs::Person => {
            (Vec::new(), &world.server.token)
        }
        Needs::See(_) => (vec![stranger], viewer),
        Needs::Build(_) => (vec![stranger, (viewer, 403)], builder),
        Needs::Change(_) => (vec![stranger, (builder, 403)], admin),
        Needs::SeeAll => (vec![(admin, 403)], &world.viewer_of_all),
        Needs::Run => (vec![(admin, 403), (&*world.builder_of_all, 403)], &world.server.token),
    }
}

/// A route's address with what is there in the place of its parameters.
pub(crate) fn filled(world: &World, method: &str, path: &str, victim: &str) -> String {
    let nobody = Uuid::from_u128(1).to_string();
    let id = match path {
        _ if path.contains("/builds/") && method == "DELETE" => victim,
        _ if path.contains("/hooks/") => victim,
        _ if path.contains("/builds/") => &world.build,
        _ if path.contains("/jobs/") => &world.job,
        _ if path.contains("/artifacts/") => &world.artifact,
        _ if path.contains("/tokens/") || path.contains("/invitations/") => "0123456789abcdef",
        _ => &nobody,
    };
    let name = if path.contains("/groups/") { "analytics" } else { "site" };
    path.replace("{id}", id)
        .replace("{name}", name)
        .replace("{*name}", "out.txt")
        .replace("{ref}", &nobody)
        .replace("{*function}", "home")
}

/// A new hook of the pipeline, by its id.
fn hook(world: &World) -> String {
    let (status, text) = world.ask(Some(&world.server.token), "POST", "/api/v1/pipelines/site/hooks", "{}");
    assert_eq!(status, 201, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned()
}

#[test]
fn every_route_asks_for_what_the_table_says() {
    let world = World::new();
    for (method, path, needs) in ROUTES {
        let victim = world.server.trigger("site");
        world.server.until_sealed(world.server.finished(&victim)["jobs"][0]["id"].as_str().unwrap());
        let victim = if path.contains("/hooks/") { hook(&world) } else { victim };
        let address = filled(&world, method, path, &victim);
        let query = match *path {
            "/api/v1/search" => "?q=words",
            "/api/v1/jobs/{id}/log/search" => "?q=words",
            "/api/v1/jobs/{id}/log/group" => "?line=0",
            "/api/v1/results" => "?received=false",
            _ => "",
        };
        let body = match (*method, *path) {
            ("PUT", "/api/v1/pipelines/{name}") | ("POST", "/api/v1/pipelines") => pipeline("site"),
            _ => "{}".to_owned(),
        };
        let ask = |token| world.ask(token, method, &format!("{address}{query}"), &body);
        let row = format!("{method} {path} {needs:?}");
        let (status, text) = ask(None);
        match needs {
            Needs::Public => assert!(!matches!(status, 401 | 403 | 404), "{row}: {status} {text}"),
            _ => assert_eq!(status, 401, "{row}: {text}"),
        }
        let (too_little, enough) = judges(&world, *needs);
        for (token, refused) in too_little {
            let (status, text) = ask(Some(token));
            assert_eq!(status, refused, "{row} with too little: {text}");
            if refused == 404 && matches!(needs, Needs::See(_) | Needs::Build(_) | Needs::Change(_)) {
                assert!(text.contains("There is no"), "{row}: {text}");
            }
        }
        let (status, text) = ask(Some(enough));
        match needs {
            Needs::Person => assert_eq!(status, 403, "{row}: a program is no person: {text}"),
            Needs::Signature => assert_eq!(status, 401, "{row}: a token is no signature: {text}"),
            // Its handler knows job tokens, and besides what every builder may.
            Needs::JobToken if path.contains("artifacts") => assert_eq!(status, 401, "{row}: {text}"),
            // It begins no group, which is told of nothing else.
            Needs::See(Of::Job) if path.ends_with("/group") => assert!(text.contains("No such group"), "{row}: {text}"),
            Needs::See(_) | Needs::Build(_) | Needs::Change(_) => {
                assert!(!matches!(status, 401 | 403 | 404 | 500..), "{row}: {status} {text}");
            }
            _ => assert!(!matches!(status, 401 | 403 | 500..), "{row}: {status} {text}"),
        }
    }
    // What a running job may bring, a viewer may not.
    assert_eq!(world.ask(Some(&world.viewer), "POST", "/api/v1/payloads", "x").0, 403);
    assert_eq!(world.ask(Some(&world.builder), "POST", "/api/v1/payloads", "x").0, 201);
    // An admin of one pipeline makes no other, and not its own anew where it is not.
    let gone = pipeline("gone");
    assert_eq!(world.ask(Some(&world.admin), "PUT", "/api/v1/pipelines/gone", &gone).0, 404);
    let future = crate::world::token(&world.server, "admin", &["gone"]);
    assert_eq!(world.ask(Some(&future), "PUT", "/api/v1/pipelines/gone", &gone).0, 403);
    assert_eq!(world.ask(Some(&world.server.token), "PUT", "/api/v1/pipelines/gone", &gone).0, 201);
    assert_eq!(world.ask(Some(&future), "PUT", "/api/v1/pipelines/gone", &gone).0, 200);
}

fn frame(world: &World, kind: &str, what: &str) -> Value {
    match (kind, what) {
        ("attach", _) => {
            json!({"type": "attach", "resume": "", "positions": [{"topic": format!("build.{}", world.build)}]})
        }
        ("subscribe", "build") => json!({"type": "subscribe", "id": "x", "topic": format!("build.{}", world.build)}),
        ("subscribe", _) => json!({"type": "subscribe", "id": "x", "topic": format!("job.{}", world.job)}),
        ("command", _) => {
            let command = match what {
                "trigger" => json!({"trigger": {"pipeline": "site"}}),
                "cancel" => json!({"cancel": {"build": world.build}}),
                _ => json!({"retry": {"build": world.build}}),
            };
            json!({"type": "command", "id": "x", "command": command})
        }
        ("query", _) => {
            let of = match what {
                "build" => json!({"id": world.build}),
                "reply" => json!({"build": world.build}),
                "executor_now" => json!({"id": Uuid::from_u128(1)}),
                _ => json!({}),
            };
            json!({"type": "query", "id": "x", "query": {what: of}})
        }
        _ => json!({"type": kind}),
    }
}

/// The status that the first answer means.
fn answered(client: &mut Client, frame: &Value) -> u16 {
    client.send(frame);
    let answer = client.until(|answer| {
        matches!(answer["type"].as_str(), Some("reply" | "problem" | "resumed" | "result"))
            && answer["topic"] != "other"
    });
    match answer["type"].as_str() {
        Some("reply") => u16::try_from(answer["status"].as_u64().unwrap()).unwrap(),
        Some("problem") => match answer["title"].as_str().unwrap() {
            "forbidden" | "Not allowed" => 403,
            "Not found" => 404,
            other => panic!("{other}: {answer}"),
        },
        _ => 200,
    }
}

#[test]
fn every_frame_asks_for_what_the_table_says() {
    let world = World::new();
    for (kind, what, needs) in FRAMES {
        if matches!(*kind, "unsubscribe" | "receipt" | "ping") {
            // They concern nothing but what the socket itself has begun.
            assert_eq!(*needs, Needs::SignedIn);
            continue;
        }
        let row = format!("{kind} {what} {needs:?}");
        let (too_little, enough) = judges(&world, *needs);
        let mut sent = vec![frame(&world, kind, what)];
        if *kind == "query" {
            sent.push(json!({"type": "subscribe", "topic": "query", "id": "live", "query": sent[0]["query"]}));
        }
        for frame in sent {
            for (token, refused) in &too_little {
                let mut client = connect(&world.server, As::Token(token), None).unwrap();
                let mut frame = frame.clone();
                if *kind == "attach" {
                    frame["resume"] = client.hello["resume"].clone();
                }
                let answer = answered(&mut client, &frame);
                // A topic is not told apart from one that is not there either.
                let told = if matches!(needs, Needs::See(Of::Topic)) { 403 } else { *refused };
                if *kind == "query" && frame["type"] == "query" || *kind == "command" {
                    assert_eq!(answer, *refused, "{row}");
                } else {
                    assert_eq!(answer, told, "{row}: {frame}");
                }
            }
            let mut client = connect(&world.server, As::Token(enough), None).unwrap();
            let mut frame = frame.clone();
            if *kind == "attach" {
                frame["resume"] = client.hello["resume"].clone();
            }
            let status = answered(&mut client, &frame);
            assert!(!matches!(status, 401 | 403), "{row}: {status}");
            assert!(status != 404 || *what == "executor_now", "{row}");
        }
    }
    // What is not there is refused in the same way.
    let mut client = connect(&world.server, As::Token(&world.viewer), None).unwrap();
    let nobody = json!({"type": "subscribe", "topic": format!("build.{}", Uuid::from_u128(1))});
    assert_eq!(answered(&mut client, &nobody), 403);
}

#[test]
fn every_read_of_a_page_asks_for_what_the_table_says() {
    let world = World::new();
    for (_, name, needs) in FUNCTIONS {
        let body = match *name {
            "pipeline" => "name=site&state=".to_owned(),
            "pipeline_admin" => "name=site".to_owned(),
            "build" | "build_page" => format!("id={}", world.build),
            "audit" => "name=&action=&pipeline=&before=".to_owned(),
            "search" => "q=words&pipeline=&before=".to_owned(),
            _ => String::new(),
        };
        let ask = |token: Option<&str>| {
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let mut request = agent.post(format!("{}/api/page/{name}", world.server.url));
            request = request.header("content-type", "application/x-www-form-urlencoded");
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let mut answer = request.send(body.as_str()).unwrap();
            (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
        };
        assert_eq!(ask(None).0, 401, "{name}");
        let (too_little, enough) = judges(&world, *needs);
        for (token, refused) in too_little {
            let (_, text) = ask(Some(token));
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            let is_nothing = value.is_null() || value["data"].is_null() && value["now"].is_i64();
            let is_told = text.contains(&format!("\"status\":{refused}"));
            assert!(is_told || (refused == 404 && is_nothing), "{name}: {text}");
        }
        let (status, text) = ask(Some(enough));
        assert_eq!(status, 200, "{name}: {text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        let is_nothing = value.is_null() || value["now"].is_i64() && value["data"].is_null();
        assert!(!is_nothing, "{name}: {text}");
    }
}
