//! Many processes: gateways, control and executors over a private RabbitMQ and a private PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{
    io::Read as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use broker::{rpc::Requester, topology};
use broker_rabbitmq::{RabbitBroker, rights::Rights};
use client::{As, Client, connect};
use cluster::{
    Cluster, Executor, instance,
    node::{Node, authority::Secured},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{PATIENCE, STEPCAST};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{
    ExecutorId, JobId, Outcome,
    task::{ControlReply, ControlRequest, LeaseRef, from_bytes, to_bytes},
};

const SITE: &str = r#"
name: site
jobs:
  pack:
    steps:
      - run: 'for n in 1 2 3; do echo "line $n"; done; echo packed > out.txt'
    artifacts: [out.txt]
  check:
    needs: [pack]
    steps: [{run: echo checked}]
"#;

fn job_of<'a>(build: &'a Value, name: &str) -> &'a str {
    let jobs = build["jobs"].as_array().unwrap();
    jobs.iter().find(|job| job["name"] == name).unwrap()["id"].as_str().unwrap()
}

/// Where executors sign in to the broker: a user with the permissions that `doctor` prints.
fn of_executors(cluster: &Cluster, node: &Node) -> String {
    let user = format!("executor-of-{}", &cluster.vhost()[..8]);
    let mut doctor = Command::new(STEPCAST);
    doctor.args(["doctor", "--permissions", "--executor-user", &user, "--broker", &cluster.broker, "--data-dir"]);
    let printed = doctor.arg(cluster.data_dir("nothing")).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    // As a shell would take the lines apart: nothing in them has a quote of its own.
    let mut made = Vec::new();
    for line in printed.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').map(|word| word.trim_matches('\'')).collect();
        let ["rabbitmqctl", words @ ..] = words.as_slice() else { panic!("{line}") };
        let password: &[&str] = if words[0] == "add_user" { &["of-executors"] } else { &[] };
        cluster.runtime.block_on(node.control(&[words, password].concat()));
        made.push(words[0]);
    }
    assert_eq!(made, ["add_user", "set_permissions", "set_topic_permissions"]);
    node.url_of(&user, "of-executors", cluster.vhost())
}

fn executor_by(url: &str, cluster: &Cluster, name: &str, options: &[&str]) -> Executor {
    let mut command = Command::new(STEPCAST);
    command.args(["serve", "--roles", "executor", "--broker", url, "--data-dir"]).arg(cluster.data_dir(name));
    Executor::start(command.args(options))
}

#[test]
fn an_executor_works_with_the_permissions_that_doctor_prints() {
    let cluster = Cluster::on(Node::shared());
    let server = cluster.server("north", "gateway,control,projections");
    let url = of_executors(&cluster, Node::shared());
    for (name, upload) in [("east", "http"), ("west", "broker")] {
        let executor = executor_by(&url, &cluster, name, &["--upload", upload]);
        server.apply("site", SITE);
        let build = server.finished(&server.trigger("site"));
        assert_eq!(build["outcome"], "succeeded", "{name}: {build}");
        assert_eq!(server.log(job_of(&build, "pack"), 1), ["line 1", "line 2", "line 3"]);
        let artifacts = server.get(&format!("/api/v1/jobs/{}/artifacts", job_of(&build, "pack"))).json();
        assert_eq!(artifacts[0]["name"], "out.txt", "{artifacts}");
        assert_eq!(executor.stopped(), Some(0));
    }
}

/// Who has the executors' credentials and knows of a job what everybody who sees it does.
#[test]
fn who_has_the_executors_credentials_can_neither_end_nor_hold_nor_take_what_another_executor_runs() {
    let cluster = Cluster::on(Node::shared());
    let server = cluster.server("north", "gateway,control,projections");
    let url = of_executors(&cluster, Node::shared());
    let executor = executor_by(&url, &cluster, "east", &["--isolation", "plain"]);
    let (gate, talk) = cluster.talk();
    server.apply("talk", &talk);
    let id = server.trigger("talk");
    let build = server.build(&id);
    let job: JobId = job_of(&build, "a").parse().unwrap();
    server.until_line(&id, "line 200");
    let running = &server.build(&id)["jobs"][0];
    let lease = LeaseRef { job, attempt: u32::try_from(running["attempt"].as_u64().unwrap()).unwrap() };
    let east: ExecutorId = server.get("/api/v1/executors").json()[0]["id"].as_str().unwrap().parse().unwrap();

    let stop = CancellationToken::new();
    let broker = cluster.runtime.block_on(RabbitBroker::start_with(&url, Rights::Executor, stop.clone())).unwrap();
    let requester = cluster.runtime.block_on(Requester::start(broker)).unwrap();
    let ask = |request: ControlRequest| -> ControlReply {
        let asked = requester.request(topology::CONTROL, to_bytes(request), PATIENCE);
        from_bytes(&cluster.runtime.block_on(asked).unwrap().body).unwrap()
    };
    let register = |executor| ControlRequest::Register {
        executor,
        incarnation: Uuid::new_v4(),
        name: "stranger".to_owned(),
        labels: serde_json::from_value(json!("any")).unwrap(),
        slots: 1,
        isolation: wire::Isolation::Plain,
        secret: Some("a-secret-of-more-than-thirty-two-signs".to_owned().try_into().unwrap()),
    };
    let own: ExecutorId = Uuid::new_v4().to_string().parse().unwrap();
    assert!(matches!(ask(register(own)), ControlReply::Registered { .. }), "anybody may be an executor of their own");
    assert!(matches!(ask(register(east)), ControlReply::Refused { .. }), "nobody takes another one's place");
    for (executor, incarnation) in
        [(east, None), (east, Some(Uuid::new_v4())), (own, None), (own, Some(Uuid::new_v4()))]
    {
        let (outcome, last_offset, reason) = (Outcome::Failed, None, None);
        let answer = ask(ControlRequest::Finish { executor, incarnation, lease, outcome, last_offset, reason });
        assert!(matches!(answer, ControlReply::Refused { .. }), "{executor} {incarnation:?}: {answer:?}");
        let Some(incarnation) = incarnation else { continue };
        let answer = ask(ControlRequest::Renew { executor, incarnation, leases: vec![lease] });
        assert!(matches!(&answer, ControlReply::Renewed { held, .. } if held.is_empty()), "{executor}: {answer:?}");
        ask(ControlRequest::Deregister { executor, incarnation });
    }
    std::fs::write(gate, "").unwrap();
    let build = server.finished(&id);
    assert_eq!(
        (&build["outcome"], &build["jobs"][0]["attempt"]),
        (&json!("succeeded"), &json!(lease.attempt)),
        "{build}"
    );
    assert_eq!(server.log(job_of(&build, "a"), 1).len(), 400);
    stop.cancel();
    assert_eq!(executor.stopped(), Some(0));
}

#[test]
fn a_build_runs_across_processes_and_every_gateway_shows_it() {
    let cluster = Cluster::on(Node::shared());
    let north = cluster.server("north", "gateway,control,projections");
    let south = cluster.server("south", "gateway,control,projections");
    let _executor = cluster.executor("east", "2");
    north.apply("site", SITE);
    let build = south.finished(&north.trigger("site"));
    assert_eq!(build["outcome"], "succeeded", "{build}");
    for server in [&north, &south] {
        assert_eq!(server.log(job_of(&build, "pack"), 1), ["line 1", "line 2", "line 3"]);
        let artifacts = server.get(&format!("/api/v1/jobs/{}/artifacts", job_of(&build, "pack"))).json();
        let artifact = artifacts[0]["id"].as_str().unwrap();
        assert_eq!(server.get(&format!("/api/v1/artifacts/{artifact}")).text, "packed\n");
        let executors = server.get("/api/v1/executors").json();
        assert_eq!(executors.as_array().unwrap().len(), 1);
        assert_eq!((&executors[0]["alive"], &executors[0]["slots"]), (&true.into(), &2.into()));
        let now = server.until_it_answers(&format!("/api/v1/executors/{}/now", executors[0]["id"].as_str().unwrap()));
        assert_eq!(now["slots"], 2, "asked over the broker: {now}");
        let gateways = server.get("/api/v1/gateways").json();
        let names = gateways.as_array().unwrap().iter().map(|gateway| gateway["instance"].as_str().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["north", "south"]);
        assert_eq!(gateways[0]["workers"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn p7_builds_go_on_when_the_process_that_had_its_turn_is_killed() {
    let cluster = Cluster::on(Node::shared());
    // The first one takes every turn.
    let mut north = cluster.server("north", "gateway,control,projections");
    north.apply("site", SITE);
    let _executor = cluster.executor("east", "1");
    let first = north.trigger("site");
    assert_eq!(north.finished(&first)["outcome"], "succeeded");
    let south = cluster.server("south", "gateway,control,projections");
    // Without artifacts: they would be sent to the gateway that is gone; in a cluster they go to the balancer.
    north.apply("plain", "name: plain\njobs: {a: {steps: [{run: echo hi}]}}\n");
    let accepted: Vec<String> = (0..5).map(|_| north.trigger("plain")).collect();
    north.kill();
    for id in &accepted {
        assert_eq!(south.finished(id)["outcome"], "succeeded");
    }
    let later = south.finished(&south.trigger("site"));
    assert_eq!(later["outcome"], "succeeded");
    assert_eq!(south.log(job_of(&later, "check"), 1), ["checked"]);
}

#[test]
fn a_pipeline_that_is_changed_at_one_gateway_shows_at_the_others_at_once() {
    let cluster = Cluster::on(Node::shared());
    let [north, south] = ["north", "south"].map(|name| cluster.server(name, "gateway,control,projections"));
    let mut page = connect(&south, As::Token(&south.token), None).unwrap();
    page.send(&json!({"type": "subscribe", "topic": "query", "id": "q1", "query": {"pipelines": {}}}));
    assert_eq!(page.until(|frame| frame["type"] == "result")["body"], json!([]));
    let begun = Instant::now();
    for n in 1..=4 {
        let name = format!("site-{n}");
        north.apply(&name, &format!("name: {name}\njobs: {{a: {{steps: [{{run: 'true'}}]}}}}\n"));
        let names = |frame: &Value| -> Vec<Value> {
            frame["body"].as_array().into_iter().flatten().map(|pipeline| pipeline["name"].clone()).collect()
        };
        page.until(|frame| frame["type"] == "result" && names(frame).contains(&json!(name)));
    }
    // Each change comes right after the former one was seen, so that looking every 10 s takes three whole times as long.
    assert!(begun.elapsed() < Duration::from_secs(30), "it was not told, but looked again by itself, as every 10 s");
}

#[test]
fn a_terminated_gateway_says_so_while_it_still_serves_and_ends_by_itself() {
    let cluster = Cluster::on(Node::shared());
    let [mut north, south] = ["north", "south"].map(|name| cluster.server(name, "gateway,control,projections"));
    // So many, because they are sent away one after the other.
    let pages: Vec<Client> = (0..40).map(|_| connect(&north, As::Token(&north.token), None).unwrap()).collect();
    assert_eq!(north.get("/healthz").status, 200);
    north.signal(Signal::TERM);
    let asked = Instant::now();
    loop {
        let health = north.get("/healthz").status;
        // Who has not noticed yet is still answered, and its socket is still open: it is told only then.
        assert_eq!(north.get("/api/v1/pipelines").status, 200);
        if health == 503 {
            break;
        }
        assert!(asked.elapsed() < PATIENCE, "it does not say that it drains");
    }
    for page in pages {
        assert_eq!(page.closed(), 1012);
    }
    assert_eq!(north.ended(), Some(0));
    south.apply("site", SITE);
    let executor = cluster.executor("east", "1");
    assert_eq!(south.finished(&south.trigger("site"))["outcome"], "succeeded");
    assert_eq!(executor.stopped(), Some(0));
}

#[test]
fn what_a_terminated_executor_cannot_end_is_handed_back_at_once() {
    let cluster = Cluster::on(Node::shared());
    // So long a lease that only handing back lets the job run again.
    let words = ["--roles", "gateway,control,projections", "--lease-seconds", "3600"];
    let north = cluster.server_with("127.0.0.1:0", "north", &words);
    let east = cluster.executor_with("east", &["--slots", "1", "--drain-seconds", "0"]);
    let text = "name: twice\njobs: {a: {steps: [{run: 'echo \"attempt $STEPCAST_ATTEMPT\"; [ $STEPCAST_ATTEMPT = 2 ] || sleep 3600'}]}}\n";
    north.apply("twice", text);
    let id = north.trigger("twice");
    let job = job_of(&north.build(&id), "a").to_owned();
    north.until_recorded(&job, 1, "attempt 1");
    assert_eq!(east.stopped(), Some(0));
    let _west = cluster.executor("west", "1");
    let build = north.finished(&id);
    assert_eq!((&build["outcome"], &build["jobs"][0]["attempt"]), (&"succeeded".into(), &2.into()), "{build}");
    assert_eq!(north.log(&job, 1), ["attempt 1"]);
    assert_eq!(north.log(&job, 2), ["attempt 2"]);
}

#[test]
fn p7_rabbitmq_is_killed_in_the_middle_of_20_builds_and_no_line_is_missing() {
    let node = Node::start();
    let cluster = Cluster::on(&node);
    let north = cluster.server("north", "gateway,control,projections");
    let _executors = [cluster.executor("east", "2"), cluster.executor("west", "2")];
    let (gate, text) = cluster.talk();
    north.apply("talk", &text);
    let builds: Vec<String> = (0..20).map(|_| north.trigger("talk")).collect();
    north.until_recorded(job_of(&north.build(&builds[0]), "a"), 1, "line 200");
    cluster.runtime.block_on(node.keep_what_was_declared());
    node.kill();
    std::fs::write(&gate, "").unwrap();
    node.revive();
    cluster.runtime.block_on(async { drop(node.broker().await) });
    let expected: Vec<String> = (1..=400).map(|n| format!("line {n}")).collect();
    for id in &builds {
        let build = north.finished_by_the_record(id);
        assert_eq!(build["outcome"], "succeeded", "{build}");
        let attempt = build["jobs"][0]["attempt"].as_u64().unwrap();
        assert_eq!(north.log(job_of(&build, "a"), attempt), expected);
    }
}

/// Runs `stepcast serve` to its end: it must refuse with one sentence and exit status 2.
fn refused(words: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(STEPCAST)
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path())
        .args(words)
        .env("RUST_LOG", "off")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2), "{told}");
    assert_eq!(told.trim_end().lines().count(), 1, "one sentence: {told}");
    told
}

#[test]
fn a_build_runs_over_tls_and_a_certificate_that_is_not_trusted_is_told_in_one_sentence() {
    let secured = Secured::start();
    let mut cluster = Cluster::on(&secured.node);
    let authority = format!("{}?cacertfile={}", cluster.vhost(), secured.file("authority.pem"));
    cluster.broker = secured.url("localhost", &authority);
    let north = cluster.server("north", "gateway,control,projections");
    let _executor = cluster.executor("east", "1");
    north.apply("site", SITE);
    assert_eq!(north.finished(&north.trigger("site"))["outcome"], "succeeded");

    let broker = |url: &str| refused(&["--roles", "executor", "--broker", url]);
    let told = broker(&secured.url("localhost", ""));
    assert!(told.contains("the certificate of localhost:") && told.contains("cacertfile="), "{told}");
    let told = broker(&secured.url("127.0.0.1", &authority));
    assert!(told.contains("the certificate of 127.0.0.1:") && told.contains("\"localhost\""), "{told}");
    let told = broker(&secured.url("localhost", "?cacertfile=/nowhere"));
    assert!(told.contains("cacertfile /nowhere cannot be read"), "{told}");
    let told = broker(&secured.node.url().replace("amqp:", "amqps:"));
    assert!(told.contains("does not speak TLS"), "{told}");
}

#[test]
fn what_cannot_be_reached_or_used_is_told_in_one_sentence() {
    let node = Node::shared();
    let cluster = Cluster::on(node);
    let broker = |url: &str| refused(&["--roles", "executor", "--broker", url]);
    let told = broker(&node.url_of("guest", "wrong", ""));
    assert!(told.contains("refuses the credentials of user guest") && !told.contains("wrong"), "{told}");
    let told = broker(&node.url_of("guest", "guest", "nowhere"));
    assert!(told.contains("nowhere"), "{told}");
    let told = broker("amqp://guest:guest@127.0.0.1:1");
    assert!(told.contains("127.0.0.1:1"), "{told}");
    cluster.runtime.block_on(async {
        node.control(&["add_user", "reader", "reader"]).await;
        node.control(&["set_permissions", "reader", "^$", ".*", ".*"]).await;
    });
    let told = broker(&node.url_of("reader", "reader", ""));
    assert!(told.contains("cannot be declared") && told.contains("access"), "{told}");

    let store = |url: &str| refused(&["--broker", &cluster.broker, "--store", url]);
    let told = store(&cluster.store.replace(instance::PASSWORD, "wrong-one"));
    assert!(told.contains("stepcast") && !told.contains("wrong-one"), "{told}");
    let told = store("postgres://stepcast:x@127.0.0.1:1/stepcast");
    assert!(told.contains("127.0.0.1:1"), "{told}");
    let north = cluster.server("north", "all");
    let database = cluster.store.clone();
    cluster.runtime.block_on(async {
        use sqlx::{Connection as _, Executor as _};
        let mut connection = sqlx::PgConnection::connect(&database).await.unwrap();
        connection.execute("UPDATE stepcast_schema SET version = version + 1").await.unwrap();
    });
    assert!(store(&cluster.store).contains("start the newer Stepcast"), "a database of a newer schema");
    drop(north);
    assert!(refused(&["--roles", "executor"]).contains("--broker amqp://"));
}

#[test]
fn a_deleted_build_is_gone_at_every_gateway_and_a_restored_database_begins_anew() {
    let cluster = Cluster::on(Node::shared());
    let options = ["--roles", "gateway,control,projections", "--retention-look-seconds", "1"];
    let mut north = cluster.server_with("127.0.0.1:0", "north", &options);
    let mut south = cluster.server_with("127.0.0.1:0", "south", &options);
    let _executor = cluster.executor("east", "2");
    north.apply("site", SITE);
    let [gone, stays] = [(); 2].map(|()| north.trigger("site"));
    let build = north.finished(&gone);
    north.log(job_of(&build, "pack"), 1);
    north.finished(&stays);
    north.until_whole(&gone);
    assert_eq!(south.delete(&format!("/api/v1/builds/{gone}")).status, 204);
    for server in [&north, &south] {
        assert_eq!(server.get(&format!("/api/v1/builds/{gone}")).status, 404);
        assert_eq!(server.get(&format!("/api/v1/jobs/{}/log", job_of(&build, "pack"))).status, 404);
    }
    // Whoever's turn it is removes the files.
    let (files, begun) = (cluster.data_dir("artifacts").join(job_of(&build, "pack")), Instant::now());
    while files.exists() {
        assert!(begun.elapsed() < PATIENCE, "the files are still there");
        std::thread::yield_now();
    }
    let anew = || {
        let mut command = Command::new(STEPCAST);
        command.args(["begin-anew", "--store", &cluster.store, "--data-dir"]).arg(cluster.data_dir("anew"));
        command.output().unwrap()
    };
    let refused = anew();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("works with this database"), "{refused:?}");
    north.kill();
    south.kill();
    let done = anew();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    north.restart();
    assert!(north.build(&stays)["position"]["epoch"].as_u64() > Some(1_000_000));
}
