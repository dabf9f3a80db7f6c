//! What is listed, found and counted is what may be seen.

use serde_json::{Value, json};

use crate::{
    client::{As, connect},
    world::World,
};

/// The pipelines that a list of builds, or of pipelines, is of.
fn named(list: &Value, member: &str) -> Vec<String> {
    let mut all: Vec<String> =
        list.as_array().unwrap().iter().map(|one| one[member].as_str().unwrap().to_owned()).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn lists_show_what_may_be_seen_and_nothing_else() {
    let world = World::new();
    let (some, all) = (&*world.viewer, &*world.viewer_of_all);
    for (path, member) in [("/api/v1/pipelines", "name"), ("/api/v1/builds", "pipeline")] {
        assert_eq!(named(&world.get(some, path), member), ["site"], "{path}");
        assert_eq!(named(&world.get(all, path), member), ["other", "site"], "{path}");
    }
    assert_eq!(world.get(some, "/api/v1/builds?pipeline=other"), json!([]), "as one that is not there");
    assert_eq!(world.get(some, "/api/v1/builds?pipeline=nowhere"), json!([]));
    let found = |token: &str, query: &str| {
        let page = world.get(token, &format!("/api/v1/search?q=words{query}"));
        named(&page["hits"], "pipeline")
    };
    crate::until(|| found(all, "") == ["other", "site"]);
    assert_eq!(found(some, ""), ["site"]);
    assert_eq!(found(some, "&pipeline=other"), Vec::<String>::new());
    // Nor does the way on to the next page tell what stands between.
    let again = world.server.trigger("site");
    world.server.finished(&again);
    let page = |token: &str, query: &str| {
        let page = world.get(token, &format!("/api/v1/search?q=words&kind=log{query}"));
        (page["hits"].clone(), page["next"].clone(), page["stopped"].clone())
    };
    crate::until(|| page(all, "&pipeline=site").0.as_array().unwrap().len() == 2);
    for query in ["", "&limit=1"] {
        assert_eq!(page(some, query), page(all, &format!("&pipeline=site{query}")));
    }
    // By the socket as well: a result is shared by those alone who see the same.
    let live = |token: &str, id: &str| {
        let mut client = connect(&world.server, As::Token(token), None).unwrap();
        client.send(&json!({"type": "subscribe", "topic": "query", "id": id, "query": {"builds": {}}}));
        let result = client.until(|frame| frame["id"] == id);
        named(&result["body"], "pipeline")
    };
    assert_eq!(live(all, "q1"), ["other", "site"]);
    assert_eq!(live(some, "q2"), ["site"]);
    assert_eq!(live(all, "q3"), ["other", "site"]);
    for path in [
        format!("/api/v1/builds/{}", world.other_build),
        format!("/api/v1/builds/{}/events", world.other_build),
        format!("/api/v1/jobs/{}/log", world.other_job),
        format!("/api/v1/jobs/{}/artifacts", world.other_job),
        "/api/v1/pipelines/other".to_owned(),
        "/api/v1/pipelines/other/stats".to_owned(),
    ] {
        assert_eq!(world.ask(Some(some), "GET", &path, "").0, 404, "{path}");
    }
}

/// By HTTP and by the socket.
#[test]
fn who_holds_a_group_is_named_to_those_alone_who_see_its_pipeline() {
    let world = World::new();
    let held = |name: &str| {
        let deploy = "concurrency: deploy\njobs:\n  work:\n    labels: [nobody-has-it]\n    steps: [{run: make}]\n";
        world.server.apply(name, &format!("name: {name}\n{deploy}"));
        world.server.trigger(name)
    };
    let (_, build) = (held("other"), held("site"));
    let live = |token: &str| {
        let mut client = connect(&world.server, As::Token(token), None).unwrap();
        let query = json!({"build": {"id": build}});
        client.send(&json!({"type": "subscribe", "topic": "query", "id": "b", "query": query}));
        client.until(|frame| frame["id"] == "b")["body"].clone()
    };
    for (token, holder) in [
        (&*world.viewer_of_all, "build #2 of other"),
        (&*world.viewer, "a build of another pipeline"),
        (&*world.admin, "a build of another pipeline"),
    ] {
        for view in [world.get(token, &format!("/api/v1/builds/{build}")), live(token)] {
            let told = view["jobs"][0]["waiting_for"].as_str().unwrap_or_else(|| panic!("{view}"));
            assert!(told.starts_with(&format!("waits for concurrency group deploy, held by {holder};")), "{told}");
        }
    }
}

#[test]
fn what_was_done_stands_in_the_audit_log_with_who_did_it() {
    let world = World::new();
    let admin = world.server.token.clone();
    // What is retried runs until it is cancelled.
    let steps = r#"[{run: '[ "$STEPCAST_ATTEMPT" = 1 ] || read <> <(:)'}]"#;
    world.server.apply("site", &format!("name: site\njobs: {{work: {{steps: {steps}}}}}\n"));
    let (status, text) = world.ask(Some(&world.builder), "POST", "/api/v1/pipelines/site/builds", r#"{"inputs":{}}"#);
    assert_eq!(status, 202, "{text}");
    let build = serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned();
    world.server.finished(&build);
    world.server.until_whole(&build);
    for (token, method, path, status) in [
        (&world.builder, "POST", format!("/api/v1/builds/{build}/retry"), 202),
        (&world.builder, "POST", format!("/api/v1/builds/{build}/cancel"), 202),
    ] {
        assert_eq!(world.ask(Some(token), method, &path, "{}").0, status, "{path}");
    }
    let entries = world.get(&admin, "/api/v1/audit?pipeline=site");
    let of = |action: &str| {
        let found = entries
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["action"] == action && entry["name"] == "token builder");
        found.unwrap_or_else(|| panic!("{action} is not in {entries}")).clone()
    };
    for action in ["build_triggered", "build_retried"] {
        let entry = of(action);
        assert_eq!((&entry["build"], &entry["address"]), (&json!(build), &json!("127.0.0.1")), "{entry}");
        assert!(entry["subject"].as_str().unwrap().starts_with("token:"), "{entry}");
    }
    let created = world.get(&admin, "/api/v1/audit?action=pipeline_created&limit=1");
    assert_eq!((created.as_array().unwrap().len(), &created[0]["pipeline"]), (1, &json!("other")));
    let older = world.get(&admin, &format!("/api/v1/audit?action=pipeline_created&before={}", created[0]["id"]));
    assert_eq!(named(&older, "pipeline"), ["site"]);
    let agent: ureq::Agent = ureq::Agent::new_with_defaults();
    let request = agent.get(format!("{}/api/v1/audit?limit=3", world.server.url));
    let request = request.header("authorization", format!("Bearer {admin}")).header("accept", "application/x-ndjson");
    let text = request.call().unwrap().body_mut().read_to_string().unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(world.ask(Some(&admin), "GET", "/api/v1/audit?action=nothing", "").0, 400);
}
