//! Two gateways with four workers each behind HAProxy, as `deploy/haproxy.cfg` has it: who comes back where, and whose
//! callback reaches whom.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use broker::{Broker as _, Outgoing, topology::Exchange};
use broker_rabbitmq::RabbitBroker;
use client::{As, Client, connect_with, stream_from};
use cluster::{Cluster, Executor, node::Node};
use serde_json::{Value, json};
use support::{PATIENCE, Server};
use tokio_util::sync::CancellationToken;

/// Each has a tab. A person's session is given one of the eight workers by chance, so there must be many of them for each
/// worker to have somebody.
const PEOPLE: usize = 200;

/// Two gateways, an executor, and HAProxy.
struct Site {
    north: Server,
    south: Server,
    _executor: Executor,
    haproxy: Child,
    cluster: Cluster,
}

impl Site {
    fn start() -> Self {
        Self::start_with("fall 2")
    }

    /// With a balancer that takes no gateway for gone that is only slow.
    fn start_patient() -> Self {
        Self::start_with("fall 60")
    }

    /// As `deploy/haproxy.cfg` has it, but for how often a gateway must fail before it is gone.
    fn start_with(fall: &str) -> Self {
        let cluster = Cluster::on(Node::shared());
        let [front, north, south] = free_addresses();
        let url = format!("http://{front}");
        let gateway = |name: &str, address: &str| {
            let roles = ["--roles", "gateway,control,projections", "--workers", "4"];
            let place = ["--public-url", &url, "--trusted-proxies", "127.0.0.1"];
            cluster.server_with(address, name, &[&roles[..], &place].concat())
        };
        let (at_north, at_south) = (gateway("north", &north), gateway("south", &south));
        let executor = cluster.executor("east", "2");
        let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/haproxy.cfg")).unwrap();
        assert!(text.contains(" fall 2 "), "{text}");
        let file = cluster.data_dir("haproxy.cfg");
        fs::write(&file, text.replace("fall 2", fall)).unwrap();
        let haproxy = Command::new("haproxy")
            .args(["-db", "-q", "-f"])
            .arg(file)
            .envs([("STEPCAST_FRONT", &front), ("STEPCAST_NORTH", &north), ("STEPCAST_SOUTH", &south)])
            .spawn()
            .expect("these tests need HAProxy: run `sudo apt-get install haproxy`");
        let begun = Instant::now();
        while TcpStream::connect(&front).is_err() {
            assert!(begun.elapsed() < PATIENCE, "HAProxy does not listen");
            std::thread::yield_now();
        }
        Self { north: at_north, south: at_south, _executor: executor, haproxy, cluster }
    }

    /// Who connects from its own address and with the cookies of its own sign-in.
    fn people(&self) -> Vec<Person> {
        (0..PEOPLE)
            .map(|n| Person::sign_in(&self.north, Ipv4Addr::new(127, 0, 1, u8::try_from(n + 1).unwrap())))
            .collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.haproxy.kill();
        let _ = self.haproxy.wait();
    }
}

/// None is given twice: HAProxy shares a port with another one that has it, and tests run side by side.
fn free_addresses<const N: usize>() -> [String; N] {
    static GIVEN: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    [(); N].map(|()| {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = std::iter::repeat_with(free).find(|address| !given.contains(address)).unwrap();
        given.push(address);
        address.to_string()
    })
}

struct Person {
    address: Ipv4Addr,
    cookies: String,
}

impl Person {
    fn sign_in(server: &Server, address: Ipv4Addr) -> Self {
        let (mut stream, body) = (stream_from(server, address), format!("token={}", server.token));
        let host = server.url.trim_start_matches("http://");
        write!(
            stream,
            "POST /sign-in HTTP/1.1\r\nHost: {host}\r\nOrigin: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            server.url,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
        let cookie = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next().unwrap().trim().to_owned())
        };
        let cookies: Vec<String> = answer.lines().filter_map(cookie).collect();
        assert_eq!(cookies.len(), 2, "of the session and of the balancer: {answer}");
        Self { address, cookies: cookies.join("; ") }
    }

    fn connect(&self, server: &Server) -> Client {
        let stream = stream_from(server, self.address);
        connect_with(server, As::Cookie(&self.cookies), Some(&server.url), stream).unwrap()
    }
}

fn server_id(client: &Client) -> &str {
    client.hello["server_id"].as_str().unwrap()
}

/// Everybody's tab.
fn tabs<'a>(people: &'a [Person], server: &Server) -> Vec<(&'a Person, Client)> {
    let mut tabs: Vec<_> = people.iter().map(|person| (person, person.connect(server))).collect();
    are_there(&mut tabs);
    tabs
}

/// They wait for their turn to be read, and nobody takes them for gone meanwhile.
fn are_there(tabs: &mut [(&Person, Client)]) {
    tabs.iter_mut().for_each(|(_, client)| client.pong());
}

/// A build that prints a line, waits for the gate, and prints another.
fn gated(site: &Site) -> (std::path::PathBuf, String) {
    let gate = site.cluster.data_dir("gate");
    let wait = format!("until [ -e '{}' ]; do read -r -t 0.05 <> <(:) || :; done", gate.display());
    site.north.apply(
        "slow",
        &format!("name: slow\njobs: {{a: {{steps: [{{run: \"echo before; {wait}; echo after\"}}]}}}}\n"),
    );
    let build = site.north.trigger("slow");
    let job = site.north.build(&build)["jobs"][0]["id"].as_str().unwrap().to_owned();
    site.north.until_recorded(&job, 1, "before");
    (gate, build)
}

/// Comes back with what the former connection was told, and gives what the new one is told of the topic.
fn attach(client: &mut Client, former: &Value, topic: &str, offset: &Value) -> Value {
    let positions = json!([{"topic": topic, "epoch": 1, "offset": offset}]);
    client.send(&json!({"type": "attach", "resume": former["resume"], "positions": positions}));
    let hello = client.until(|frame| frame["type"] == "hello" || frame["type"] == "problem");
    assert_eq!((&hello["client_id"], &hello["resumed"]), (&former["client_id"], &json!(true)), "{hello}");
    client.until(|frame| frame["type"] == "resumed" && frame["topic"] == topic)
}

/// Begins to watch a build, and reads it then: gives where it stands.
fn watch(site: &Site, client: &mut Client, build: &str) -> Value {
    let topic = format!("build.{build}");
    client.send(&json!({"type": "subscribe", "topic": topic}));
    client.until(|frame| frame["type"] == "resumed" && frame["topic"] == topic.as_str());
    site.south.build(build)["position"]["offset"].clone()
}

#[test]
fn p4_200_sockets_over_8_workers_are_each_called_back_by_an_amqp_publish() {
    let site = Site::start();
    let people = site.people();
    let mut tabs = tabs(&people, &site.north);
    let seen: BTreeSet<String> = tabs.iter().map(|(_, client)| server_id(client).to_owned()).collect();
    let all = ["north", "south"].into_iter().flat_map(|instance| (0..4).map(move |n| format!("{instance}-{n}")));
    assert_eq!(seen, all.collect());
    let runtime = &site.cluster.runtime;
    let queues = runtime.block_on(Node::shared().control(&["list_queues", "--vhost", site.cluster.vhost(), "name"]));
    are_there(&mut tabs);
    for id in &seen {
        assert!(queues.lines().any(|queue| queue.trim() == format!("gateway.{id}")), "{id}: {queues}");
    }
    runtime.block_on(async {
        let broker = RabbitBroker::start(&site.cluster.broker, CancellationToken::new()).await.unwrap();
        for round in ["first", "last"] {
            for (n, (_, client)) in tabs.iter().enumerate() {
                let body = json!({"client_id": client.hello["client_id"], "payload": {"n": n, "round": round}});
                let mut message = Outgoing::new(Exchange::Utils, server_id(client), body.to_string().into_bytes());
                message.mandatory = true;
                broker.publish(message).await.unwrap();
            }
        }
    });
    are_there(&mut tabs);
    for (n, (_, client)) in tabs.iter_mut().enumerate() {
        for round in ["first", "last"] {
            // The next callback, whatever it is: none of anybody else's comes between.
            let frame = client.until(|frame| frame["type"] == "callback");
            assert_eq!(frame["payload"], json!({"n": n, "round": round}));
        }
    }
}

#[test]
fn p3_p8_200_sockets_that_are_cut_are_back_at_their_workers_with_all_that_they_missed() {
    let site = Site::start_patient();
    let people = site.people();
    let (gate, _) = gated(&site);
    // Every fifth asks for a build; under `--all` every one does.
    let asks_each = if std::env::var_os("STEPCAST_TEST_ALL").is_some_and(|all| all == "1") { 1 } else { 5 };
    let mut former = Vec::new();
    for (n, (person, mut client)) in tabs(&people, &site.north).into_iter().enumerate() {
        if n % asks_each > 0 {
            former.push((person, client.hello, None));
            continue;
        }
        let answer = site.north.post("/api/v1/pipelines/slow/builds", &json!({"socket": client.meta()}));
        let build = answer.json()["id"].as_str().unwrap().to_owned();
        let topic = format!("build.{build}");
        client.until(|frame| frame["topic"] == topic.as_str() && frame["event"]["kind"] == "build_queued");
        former.push((person, client.hello, Some(build)));
    }
    fs::write(&gate, "").unwrap();
    for build in former.iter().filter_map(|(.., build)| build.as_ref()) {
        assert_eq!(site.south.finished(build)["outcome"], "succeeded");
    }
    let begun = Instant::now();
    for (person, hello, build) in &former {
        let mut again = person.connect(&site.north);
        assert_eq!(server_id(&again), hello["server_id"].as_str().unwrap(), "its former worker");
        let Some(build) = build else {
            again.send(&json!({"type": "attach", "resume": hello["resume"], "positions": []}));
            let second = again.until(|frame| frame["type"] == "hello");
            assert_eq!((&second["client_id"], &second["resumed"]), (&hello["client_id"], &json!(true)), "{second}");
            continue;
        };
        let topic = format!("build.{build}");
        let resumed = attach(&mut again, hello, &topic, &json!(0));
        assert_eq!((resumed["outcome"].as_str(), &resumed["from"]), (Some("complete"), &json!(1)), "{resumed}");
        // Live where it was stored, but not yet published, when the client came back.
        let is_end = |frame: &Value| frame["topic"] == topic.as_str() && frame["event"]["kind"] == "build_finished";
        assert_eq!(again.until(is_end)["offset"], site.south.build(build)["position"]["offset"]);
    }
    println!("{} sockets back, one after the other: {:?}", former.len(), begun.elapsed());
    // Another session's word does not take a client over, at whichever gateway.
    let (mine, theirs) = (&former[0].1, people.last().unwrap());
    let mut thief = theirs.connect(&site.north);
    thief.send(&json!({"type": "attach", "resume": mine["resume"], "positions": []}));
    assert_eq!(thief.until(|frame| frame["type"] == "problem" || frame["type"] == "hello")["type"], "problem");
}

#[test]
fn p3_p7_a_gateway_is_killed_and_all_its_sockets_are_whole_at_the_other_one() {
    let mut site = Site::start();
    let people = site.people();
    let (gate, build) = gated(&site);
    let topic = format!("build.{build}");
    let mut tabs = tabs(&people, &site.north);
    let at: Vec<Value> = tabs.iter_mut().map(|(_, client)| watch(&site, client, &build)).collect();
    let former: Vec<(&Person, Value)> = tabs.drain(..).map(|(person, client)| (person, client.hello)).collect();
    site.north.kill();
    let begun = Instant::now();
    let mut back = Vec::new();
    for ((person, hello), at) in former.iter().zip(&at) {
        let mut again = person.connect(&site.north);
        assert!(server_id(&again).starts_with("south-"), "{}", server_id(&again));
        attach(&mut again, hello, &topic, at);
        back.push(again);
    }
    back.iter_mut().for_each(Client::pong);
    println!("{} sockets back at the other gateway, one after the other: {:?}", back.len(), begun.elapsed());
    // A callback to where a client was before reaches it where it is now.
    site.cluster.runtime.block_on(async {
        let broker = RabbitBroker::start(&site.cluster.broker, CancellationToken::new()).await.unwrap();
        for (n, (_, hello)) in former.iter().enumerate() {
            let body = json!({"client_id": hello["client_id"], "payload": n});
            let former_id = hello["server_id"].as_str().unwrap();
            broker.publish(Outgoing::new(Exchange::Utils, former_id, body.to_string().into_bytes())).await.unwrap();
        }
    });
    back.iter_mut().for_each(Client::pong);
    fs::write(&gate, "").unwrap();
    for (n, client) in back.iter_mut().enumerate() {
        let (begun, mut ended, mut called) = (Instant::now(), false, false);
        while !(ended && called) {
            assert!(
                begun.elapsed() < PATIENCE,
                "tab {n} of {}: ended {ended}, called {called}",
                former[n].1["server_id"]
            );
            let frame = client.frame();
            ended |= frame["topic"] == topic.as_str() && frame["event"]["kind"] == "build_finished";
            if frame["type"] == "callback" {
                assert_eq!(frame["payload"], json!(n));
                called = true;
            }
        }
    }
    assert_eq!(site.south.finished(&build)["outcome"], "succeeded");
}
