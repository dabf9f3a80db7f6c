//! Clients that come back: to the same worker, to another one, to a worker that forgot them, with another session.

use broker::topology;
use gateway::Limits;
use serde_json::json;
use wire::{Topic, frame::Incoming};

use crate::rig::{PLACES, build, complete, config, gap, job, rig, rig_with, server, within};

#[tokio::test]
async fn p3_a_client_that_returns_to_its_worker_gets_what_it_missed_and_its_jobs_with_it() {
    let mut rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let (to, of_build, of_job) = (client.asker(), Topic::Build(build(1)), Topic::Job(job(1)));
    rig.event(&to, of_build, 1, 0).await;
    client.offsets(of_build, 1).await;
    let former = client.leave().await;
    rig.event(&to, of_build, 1, 1).await;
    rig.event(&to, of_job, 1, 0).await;
    rig.event(&to, of_job, 1, 1).await;

    let mut back = rig.client(0, "a").await;
    back.attach(&former, json!([{"topic": of_build, "epoch": 1, "offset": 0}])).await;
    // The queue's order: what was published before is here when this is.
    assert_eq!(within(rig.attached.recv()).await, Some(former.id));
    let answer = back.resumed().await;
    assert_eq!(answer.topic, of_build);
    if answer.to.is_some() {
        assert_eq!(complete(answer), (1, 1, Some(1)));
    }
    assert_eq!(back.offsets(of_build, 1).await, [1]);
    let mut offsets = Vec::new();
    while offsets.len() < 2 {
        match back.frame().await {
            Incoming::Event(event) if event.topic == of_job => offsets.push(event.offset),
            Incoming::Resumed(answer) => assert_eq!(complete(answer).1, 0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(offsets, [0, 1]);
    rig.event(&to, of_job, 1, 2).await;
    assert_eq!(back.offsets(of_job, 1).await, [2]);
    back.nothing_came().await;
}

#[tokio::test]
async fn p3_a_client_that_moved_watches_on_at_another_worker_its_jobs_included() {
    let mut rig = rig().await;
    rig.desk.jobs.lock().unwrap().push(job(7));
    let mut client = rig.client(0, "a").await;
    let (to, of_build) = (client.asker(), Topic::Build(build(1)));
    rig.event(&to, of_build, 1, 0).await;
    client.offsets(of_build, 1).await;
    let former = client.leave().await;

    let mut moved = rig.client(1, "a").await;
    moved.attach(&former, json!([{"topic": of_build, "epoch": 1, "offset": 0}])).await;
    assert_eq!(moved.server, server(1));
    let mut answers = [moved.resumed().await, moved.resumed().await];
    answers.sort_by_key(|answer| answer.topic);
    assert_eq!((answers[0].topic, gap(answers[0])), (of_build, (1, 1, None)));
    assert_eq!((answers[1].topic, gap(answers[1])), (Topic::Job(job(7)), (2, 0, None)));
    rig.event(&to, of_build, 1, 1).await;
    assert_eq!(moved.offsets(of_build, 1).await, [1]);
    rig.event(&to, Topic::Job(job(7)), 2, 0).await;
    assert_eq!(moved.offsets(Topic::Job(job(7)), 1).await, [0]);
    assert_eq!(within(rig.attached.recv()).await, Some(former.id));
}

#[tokio::test]
async fn what_a_client_left_while_its_jobs_were_looked_up_stays_left() {
    let rig = rig_with(config(Limits { in_flight_per_socket_max: 1, ..Limits::default() })).await;
    rig.desk.jobs.lock().unwrap().push(job(7));
    let mut client = rig.client(0, "a").await;
    let (to, of_build) = (client.asker(), Topic::Build(build(1)));
    rig.event(&to, of_build, 1, 0).await;
    client.offsets(of_build, 1).await;
    let former = client.leave().await;

    rig.desk.places.forget_permits(PLACES);
    let mut moved = rig.client(1, "a").await;
    moved.attach(&former, json!([{"topic": of_build, "epoch": 1, "offset": 0}])).await;
    assert_eq!(moved.resumed().await.topic, of_build);
    moved.say(json!({"type": "unsubscribe", "topic": of_build}));
    moved.nothing_came().await;
    rig.desk.places.add_permits(PLACES);
    // The lookup is the one request that this socket may have: when another one is answered, it is done.
    loop {
        moved.say(json!({"type": "query", "id": "q", "query": {"pipelines": {}}}));
        match moved.frame().await {
            Incoming::Problem { title, .. } if title == "too many requests" => {}
            Incoming::Reply { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    moved.nothing_came().await;
}

#[tokio::test]
async fn p8_a_resume_token_of_another_session_is_refused_and_the_client_keeps_its_new_id() {
    let rig = rig().await;
    let victim = rig.client(0, "victim").await;
    let mut thief = rig.client(0, "thief").await;
    thief.say(json!({"type": "attach", "resume": victim.token, "positions": []}));
    assert_eq!(thief.problem().await.1, "forbidden");
    let own = rig.callback(server(0).as_str(), thief.id, json!("own")).await;
    rig.callback(server(0).as_str(), victim.id, json!("not his")).await;
    assert_eq!(thief.callback().await, (own, json!("own")));
    thief.nothing_came().await;
}

#[tokio::test]
async fn p4_a_client_that_attaches_twice_is_served_at_the_newer_socket_and_the_older_one_is_closed() {
    let mut rig = rig().await;
    let mut old = rig.client(0, "a").await;
    let lost = rig.callback(server(0).as_str(), old.id, json!("perhaps lost")).await;
    assert_eq!(old.callback().await.0, lost);
    let former = crate::rig::Former { token: old.token.clone(), id: old.id };
    let mut new = rig.client(0, "a").await;
    new.attach(&former, json!([])).await;
    assert_eq!(old.closed().await, 4001);
    assert_eq!(new.callback().await.0, lost);
    old.leave().await;
    within(rig.attached.recv()).await;
    let id = rig.callback(server(0).as_str(), former.id, json!(1)).await;
    assert_eq!(new.callback().await.0, id);
}

#[tokio::test]
async fn a_client_that_attaches_again_on_the_same_socket_is_still_reached() {
    let mut rig = rig().await;
    let former = rig.client(0, "a").await.leave().await;
    let mut back = rig.client(1, "a").await;
    for _ in 0..2 {
        back.attach(&former, json!([])).await;
        assert_eq!(within(rig.attached.recv()).await, Some(former.id));
    }
    let id = rig.callback(server(0).as_str(), former.id, json!(1)).await;
    assert_eq!(back.callback().await.0, id);
}

#[tokio::test]
async fn p4_a_client_that_was_elsewhere_meanwhile_is_reached_by_both_its_server_ids() {
    let mut rig = rig().await;
    let mut at = rig.client(0, "a").await;
    for worker in [1, 0, 0] {
        let former = at.leave().await;
        at = rig.client(worker, "a").await;
        at.attach(&former, json!([])).await;
        assert_eq!(within(rig.attached.recv()).await, Some(former.id));
    }
    for worker in 0..2 {
        let id = rig.callback(server(worker).as_str(), at.id, json!(worker)).await;
        assert_eq!(at.callback().await, (id, json!(worker)));
    }
}

#[tokio::test]
async fn a_client_that_comes_back_to_the_worker_that_named_it_needs_no_binding() {
    let mut rig = rig().await;
    let former = rig.client(0, "a").await.leave().await;
    let mut back = rig.client(0, "a").await;
    back.attach(&former, json!([])).await;
    assert_eq!(within(rig.attached.recv()).await, Some(former.id));
    rig.callback(&topology::client_key(former.id), former.id, json!("nobody is bound so")).await;
    rig.next_unrouted().await.ack();
    let id = rig.callback(server(0).as_str(), former.id, json!(1)).await;
    assert_eq!(back.callback().await, (id, json!(1)));
}
