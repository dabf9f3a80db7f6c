//! The HTTP interface as programs meet it: triggers, waiting, keys, logs, artifacts, and bad input of each kind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use serde_json::{Value, json};
use support::Server;

const QUICK: &str =
    "name: quick\ninputs: {who: {default: world}}\njobs: {a: {steps: [{run: 'echo \"hi $INPUT_WHO\"'}]}}\n";

#[test]
fn a_trigger_is_answered_202_and_its_lines_are_recorded() {
    let server = Server::start(&[]);
    server.apply("quick", QUICK);
    let answer = server.post("/api/v1/pipelines/quick/builds", &json!({"inputs": {"who": "$(touch x); <b>"}}));
    assert_eq!(answer.status, 202);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.location, format!("/api/v1/builds/{id}"));
    assert_eq!(answer.json()["state"], "queued");
    let build = server.finished(&id);
    assert_eq!((build["outcome"].as_str(), build["number"].as_u64()), (Some("succeeded"), Some(1)));
    assert_eq!(server.log(build["jobs"][0]["id"].as_str().unwrap(), 1), ["hi $(touch x); <b>"]);
}

#[test]
fn prefer_wait_answers_200_with_the_finished_build_and_202_when_time_is_up() {
    let server = Server::start(&[]);
    server.apply("quick", QUICK);
    let done = server.post_with("/api/v1/pipelines/quick/builds", "{}", &[("prefer", "wait=60")]);
    assert_eq!((done.status, done.json()["outcome"].as_str()), (200, Some("succeeded")), "{}", done.text);
    server.apply("slow", "name: slow\njobs: {a: {labels: [nobody], steps: [{run: echo}]}}\n");
    let late = server.post_with("/api/v1/pipelines/slow/builds", "{}", &[("prefer", "wait=1")]);
    assert_eq!((late.status, late.json()["state"].as_str()), (202, Some("queued")), "{}", late.text);
}

#[test]
fn the_same_key_gives_the_same_answer_and_another_body_is_refused() {
    let server = Server::start(&[]);
    server.apply("quick", QUICK);
    let send = |body: &str| server.post_with("/api/v1/pipelines/quick/builds", body, &[("idempotency-key", "k1")]);
    let first = send("{}");
    server.finished(first.json()["id"].as_str().unwrap());
    let again = send("{}");
    assert_eq!((again.status, again.text), (202, first.text));
    let other = send(r#"{"inputs":{"who":"you"}}"#);
    assert_eq!(other.status, 422, "{}", other.text);
    assert_eq!(server.get("/api/v1/builds").json().as_array().unwrap().len(), 1);
}

#[test]
fn bad_input_gets_one_sentence_that_says_what_and_where() {
    let server = Server::start(&[]);
    server.apply("quick", QUICK);
    let long = format!("name: long\n#{}\n", "x".repeat(1024 * 1024));
    let pipelines = [
        ("wrong", "name: wrong\njobs:\n  a:\n    stesp: []\n", 422, "stesp", Some((4, 5))),
        (
            "loop",
            "name: loop\njobs:\n  a: {needs: [b], steps: [{run: x}]}\n  b: {needs: [a], steps: [{run: x}]}\n",
            422,
            "a",
            Some((3, 15)),
        ),
        ("name", "name: other\njobs: {a: {steps: [{run: x}]}}\n", 422, "other", None),
        ("yaml", "name: [\n", 422, "", None),
        ("long", long.as_str(), 413, "limit", None),
        ("expr", "name: expr\njobs: {a: {steps: [{run: 'echo ${{ inputs.x }}'}]}}\n", 422, "INPUT_", None),
    ];
    for (name, yaml, status, word, place) in pipelines {
        let answer = server.put(&format!("/api/v1/pipelines/{name}"), yaml);
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (status, "application/problem+json"),
            "{}",
            answer.text
        );
        let problem = answer.json();
        assert!(problem["detail"].as_str().unwrap().contains(word), "{name}: {problem}");
        if let Some((line, column)) = place {
            assert_eq!((problem["line"].as_u64(), problem["column"].as_u64()), (Some(line), Some(column)), "{problem}");
        }
    }
    let triggers = [
        ("quick", r#"{"inputs":{"whom":"x"}}"#, 422, "whom"),
        ("quick", r#"{"input":{}}"#, 422, "input"),
        ("quick", "{", 422, "not what is asked"),
        ("nowhere", "{}", 404, "nowhere"),
    ];
    for (name, body, status, word) in triggers {
        let answer = server.post_with(&format!("/api/v1/pipelines/{name}/builds"), body, &[]);
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{}", answer.text);
    }
    for path in ["/api/v1/builds/nonsense", "/api/v1/builds?state=odd", "/api/v1/builds?limit=0", "/api/v1/jobs/x/log"]
    {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.content_type.as_str()), (400, "application/problem+json"), "{path}");
    }
    assert_eq!(server.get("/api/v1/nothing").status, 404);
    assert_eq!(server.get("/api/v1/builds").json(), json!([]), "something was started all the same");
}

#[test]
fn a_posted_pipeline_is_named_by_its_text() {
    let server = Server::start(&[]);
    let post = |text: &str| server.post_with("/api/v1/pipelines", text, &[]);
    let made = post("env:\n  name: other\nname: quick\njobs: {a: {steps: [{run: x}]}}\n");
    assert_eq!((made.status, made.location.as_str()), (201, "/api/v1/pipelines/quick"), "{}", made.text);
    assert_eq!(made.json()["name"], "quick");
    assert_eq!(post(&json!({"name": "quick", "jobs": {"a": {"steps": [{"run": "y"}]}}}).to_string()).status, 200);
    let wrong = post("env: {}\nname: a b\njobs: {}\n");
    assert_eq!((wrong.status, &wrong.json()["line"], &wrong.json()["column"]), (422, &json!(2), &json!(7)));
    for sentence in [&wrong.json()["detail"], &server.put("/api/v1/pipelines/a%20b", "name: a b\n").json()["detail"]] {
        assert_eq!(sentence.as_str().unwrap().matches("a b").count(), 1, "{sentence}");
    }
}

#[test]
fn a_pipeline_is_written_over_what_was_meant_only() {
    let server = Server::start(&[]);
    let text = |n: u32| format!("name: full\ndescription: {n}\njobs: {{a: {{steps: [{{run: x}}]}}}}\n");
    let put = |n: u32, headers: &[(&str, &str)]| server.put_with("/api/v1/pipelines/full", &text(n), headers);
    let new = [("if-none-match", "*")];
    let early = put(1, &[("if-match", "\"x\"")]);
    assert_eq!((early.status, early.content_type.as_str()), (412, "application/problem+json"), "{}", early.text);
    let made = put(1, &new);
    let read = server.get("/api/v1/pipelines/full");
    assert_eq!((made.status, &made.etag), (201, &read.etag));
    assert!(read.etag.starts_with('"') && read.etag.len() > 20, "{}", read.etag);
    for again in [put(2, &new), server.post_with("/api/v1/pipelines", &text(2), &new)] {
        let detail = again.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            again.status == 412 && detail.contains("There is a pipeline `full` already: open /pipelines/full"),
            "{detail}"
        );
    }
    let mine = put(2, &[("if-match", &read.etag)]);
    assert!(mine.status == 200 && mine.etag != read.etag);
    let theirs = put(3, &[("if-match", &read.etag)]);
    assert_eq!(theirs.status, 412);
    assert!(theirs.json()["detail"].as_str().unwrap().contains("changed meanwhile"), "{}", theirs.text);
    let kept = server.get("/api/v1/pipelines/full");
    assert_eq!((kept.json()["description"].as_str(), kept.etag), (Some("2"), mine.etag));
    assert_eq!(put(3, &[]).status, 200, "without a condition the last one wins");
}

#[test]
fn an_input_that_is_missing_is_named() {
    let server = Server::start(&[]);
    server.apply("ask", "name: ask\ninputs: {ref: {description: What to build}}\njobs: {a: {steps: [{run: x}]}}\n");
    let answer = server.post("/api/v1/pipelines/ask/builds", &json!({}));
    assert_eq!(answer.status, 422);
    assert!(answer.json()["detail"].as_str().unwrap().contains("ref"), "{}", answer.text);
}

#[test]
fn a_job_that_nobody_can_take_says_what_it_waits_for() {
    let server = Server::start(&[]);
    server.apply("gpu", "name: gpu\njobs: {a: {labels: [gpu], steps: [{run: echo}]}}\n");
    let id = server.trigger("gpu");
    let build = server.build(&id);
    assert!(build["jobs"][0]["waiting_for"].as_str().unwrap().contains("gpu"), "{build}");
    let cancelled = server.post(&format!("/api/v1/builds/{id}/cancel"), &json!({}));
    assert_eq!(cancelled.status, 202);
    assert_eq!(server.build(&id)["outcome"], "cancelled");
}

#[test]
fn nothing_answers_without_authority_but_health_readiness_and_the_sign_in_page() {
    let server = Server::start(&[]);
    server.apply("quick", QUICK);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let status = |path: &str| agent.get(format!("{}{path}", server.url)).call().unwrap().status().as_u16();
    for path in ["/healthz", "/readyz", "/sign-in"] {
        assert_eq!(status(path), 200, "{path}");
    }
    let closed = ["pipelines", "pipelines/quick", "builds", "executors", "gateways", "groups"];
    for path in closed.map(|path| format!("/api/v1/{path}")).iter().map(String::as_str).chain(["/ws", "/metrics"]) {
        assert_eq!(status(path), 401, "{path}");
    }
    assert_eq!(status("/"), 303);
    let write = agent.post(format!("{}/api/v1/pipelines/quick/builds", server.url)).send("{}").unwrap();
    assert_eq!(write.status(), 401);
    let foreign =
        agent.post(format!("{}/api/v1/pipelines/quick/builds", server.url)).header("origin", "http://evil.example");
    assert_eq!(foreign.send("{}").unwrap().status(), 403);
    let wrong = agent.get(format!("{}/api/v1/builds", server.url)).header("authorization", "Bearer x").call().unwrap();
    assert_eq!(wrong.status(), 401);
}

#[test]
fn who_signs_in_comes_to_where_they_wanted_to_go_on_this_site() {
    let server = Server::start(&[]);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let to = |answer: ureq::http::Response<ureq::Body>| {
        assert_eq!(answer.status(), 303);
        answer.headers()["location"].to_str().unwrap().to_owned()
    };
    let asked = |path: &str| to(agent.get(format!("{}{path}", server.url)).call().unwrap());
    assert_eq!(asked("/builds/1?job=2"), "/sign-in?next=/builds/1%3fjob%3d2");
    assert_eq!(asked("/"), "/sign-in");
    assert_eq!(asked("//evil.example/"), "/sign-in");
    let enter = |token: &str, next: &str| {
        to(agent.post(format!("{}/sign-in", server.url)).send_form([("token", token), ("next", next)]).unwrap())
    };
    assert_eq!(enter("wrong", "/builds/1?job=2"), "/sign-in?wrong=1&next=/builds/1%3fjob%3d2");
    assert_eq!(enter(&server.token, "/builds/1?job=2"), "/builds/1?job=2");
    for elsewhere in ["", "//evil.example", "/\\evil.example", "/\t/evil.example", "https://evil.example", "evil"] {
        assert_eq!(enter(&server.token, elsewhere), "/", "{elsewhere:?}");
    }
}

#[test]
fn a_page_that_does_not_exist_is_answered_404() {
    let server = Server::start(&[]);
    server.apply("quick", QUICK);
    if !server.get("/pipelines/quick").text.contains("<html") {
        return; // Built without the browser package.
    }
    assert_eq!(server.get("/pipelines/quick").status, 200);
    let unknown = "/builds/01a1f8d6-831d-7039-bae4-20cac630a59a";
    for path in [unknown, "/builds/xx", "/pipelines/xx", "/pipelines/a%20b", "/nothere"] {
        let page = server.get(path);
        assert_eq!(page.status, 404, "{path}");
        assert!(page.text.contains("<title>Not found · Stepcast</title>"), "{path}: {}", page.text);
    }
}

#[test]
fn an_artifact_is_kept_and_given_in_whole_and_in_parts() {
    let server = Server::start(&[]);
    let yaml =
        "name: pack\njobs: {a: {steps: [{run: 'mkdir d; printf 0123456789 > d/f.txt'}], artifacts: ['d/*.txt']}}\n";
    server.apply("pack", yaml);
    let build = server.finished(&server.trigger("pack"));
    assert_eq!(build["outcome"], "succeeded", "{build}");
    let job = build["jobs"][0]["id"].as_str().unwrap();
    server.log(job, 1);
    let listed = server.get(&format!("/api/v1/jobs/{job}/artifacts")).json();
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!((listed[0]["name"].as_str(), listed[0]["size"].as_u64()), (Some("d/f.txt"), Some(10)));
    assert_eq!(server.get(&format!("/api/v1/artifacts/{id}")).text, "0123456789");
    let part = ureq::get(format!("{}/api/v1/artifacts/{id}", server.url))
        .header("authorization", format!("Bearer {}", server.token))
        .header("range", "bytes=2-4")
        .call();
    let mut part = part.unwrap();
    assert_eq!((part.status().as_u16(), part.body_mut().read_to_string().unwrap().as_str()), (206, "234"));
}

#[test]
fn a_git_source_that_is_no_repository_fails_with_gits_own_words_and_one_outside_with_the_option() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().canonicalize().unwrap().display().to_string();
    let server = Server::start(&["--git-allow", &empty]);
    server.apply("git", &format!("name: git\nsource: {{git: {empty}}}\njobs: {{a: {{steps: [{{run: echo}}]}}}}\n"));
    let build = server.finished(&server.trigger("git"));
    assert_eq!(build["outcome"], "failed");
    let log = server.log(build["jobs"][0]["id"].as_str().unwrap(), 1).join("\n");
    assert!(log.contains(&empty), "{log}");

    // A sandbox shows what is allowed.
    let repository = format!("{empty}/real");
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(arguments);
        assert!(command.status().unwrap().success(), "{arguments:?}");
    };
    git(&["init", "--quiet", &repository]);
    git(&["-C", &repository, "commit", "--quiet", "--allow-empty", "-m", "one"]);
    let yaml =
        format!("name: git\nsource: {{git: {repository}}}\njobs: {{a: {{steps: [{{run: git log --format=%s}}]}}}}\n");
    server.apply("git", &yaml);
    let build = server.finished(&server.trigger("git"));
    let log = server.log(build["jobs"][0]["id"].as_str().unwrap(), 1);
    assert_eq!(build["outcome"], "succeeded", "{log:?}");
    assert_eq!(log.last().map(String::as_str), Some("one"));

    let refused = |git: &str| {
        let yaml = format!("name: git\nsource:\n  git: \"{git}\"\njobs: {{a: {{steps: [{{run: echo}}]}}}}\n");
        let answer = server.put("/api/v1/pipelines/git", &yaml);
        assert_eq!(answer.status, 422, "{}", answer.text);
        let problem = answer.json();
        assert_eq!((&problem["line"], &problem["column"]), (&json!(3), &json!(8)), "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    };
    for git in ["ext::sh -c id", "git://h/a", "--upload-pack=id", "ssh://-oProxyCommand=id/a", "h:a"] {
        assert!(refused(git).contains("it must be https://…, ssh://…, user@host:path"), "{git}");
    }
    // What a stranger gives at the trigger, and what only the executor can judge.
    server.apply(
        "git",
        "name: git\ninputs: {at: }\nsource: {git: '${{ inputs.at }}'}\njobs: {a: {steps: [{run: echo}]}}\n",
    );
    let trigger = |at: &str| server.post("/api/v1/pipelines/git/builds", &json!({"inputs": {"at": at}}));
    let answer = trigger("ext::sh -c id");
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert!(answer.json()["detail"].as_str().unwrap().contains("names another way to a repository"), "{}", answer.text);
    let build = server.finished(trigger("/etc").json()["id"].as_str().unwrap());
    let reason = build["jobs"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("`--git-allow FOLDER`"), "{reason}");
}

#[test]
fn a_step_that_prints_200_mb_is_recorded_to_the_last_line() {
    let server = Server::start(&[]);
    // 2,000,000 lines of 100 bytes.
    server.apply(
        "loud",
        "name: loud\njobs: {a: {steps: [{run: 'head -n 2000000 < <(yes \"$(printf %099d 0)\"); echo last'}]}}\n",
    );
    let id = server.trigger("loud");
    // Who reads so much live and slowly is told to read the record, so that is read, as long as it grows.
    let build = server.finished_while_it_grows(&id);
    assert_eq!(build["outcome"], "succeeded", "{build}");
    let job = build["jobs"][0]["id"].as_str().unwrap();
    let end = server.get(&format!("/api/v1/jobs/{job}/log?from=1999999&limit=10")).text;
    let texts: Vec<String> = end
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((texts.len(), texts[1].as_str()), (2, "last"));
    assert_eq!(server.get(&format!("/api/v1/jobs/{job}/log.txt")).text.len(), 200_000_000 + 5);
}

#[test]
fn a_step_that_forks_children_and_exits_ends_at_once_and_they_with_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let fence = folder.path().join("fence");
    let server = Server::start(&[]);
    let run =
        format!("exec 9>'{}'; flock 9; setsid bash -c 'trap \"\" TERM HUP; read <> <(:)' & echo left", fence.display());
    server.apply("fork", &format!("name: fork\njobs: {{a: {{steps: [{{run: {}}}]}}}}\n", json!(run)));
    let build = server.finished(&server.trigger("fork"));
    assert_eq!(build["outcome"], "succeeded", "{build}");
    support::wait_for_lock(&fence);
}

#[test]
fn a_text_is_found_in_the_whole_of_a_log() {
    let server = Server::start(&[]);
    server.apply(
        "long",
        "name: long\njobs: {a: {steps: [{run: 'seq 1 30000; printf \"a \\033[31mNee\\033[0mDLE\\n\"'}]}}\n",
    );
    let build = server.finished(&server.trigger("long"));
    let job = build["jobs"][0]["id"].as_str().unwrap();
    let search = |query: &str| -> Vec<Value> {
        let answer = server.get(&format!("/api/v1/jobs/{job}/log/search?{query}"));
        assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/x-ndjson"), "{}", answer.text);
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    server.log(job, 1);
    let found = search("q=2999");
    let hits: Vec<_> = found.iter().filter_map(|part| part["n"].as_u64()).collect();
    let expected: Vec<u64> = (1..=30_000_u64).filter(|n| n.to_string().contains("2999")).map(|n| n - 1).collect();
    assert_eq!(hits, expected);
    assert_eq!(found.last().unwrap()["hits"], expected.len());
    assert!(found.iter().any(|part| part["scanned"] == 10_000 && part["done"].is_null()), "told while it goes on");

    let needle = search("q=needle");
    assert_eq!((needle.len(), &needle[needle.len() - 2]["n"]), (5, &json!(30_000)));
    assert_eq!(needle[needle.len() - 2]["text"], "a NeeDLE");
    assert_eq!(search("q=needle&case=true").last().unwrap()["hits"], 0);
    let many = search("q=1").pop().unwrap();
    assert_eq!((many["truncated"].as_bool(), many["hits"].as_u64() > Some(10_000)), (Some(true), true), "{many}");

    for (query, status) in [("q=", 400), ("", 400), (&*format!("q={}", "x".repeat(201)), 400)] {
        let refused = server.get(&format!("/api/v1/jobs/{job}/log/search?{query}"));
        assert_eq!(refused.status, status, "{}", refused.text);
        assert!(refused.text.contains("1 to 200 bytes"), "{}", refused.text);
    }
}
