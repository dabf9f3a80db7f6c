//! A slow client slows nobody.

use std::time::Duration;

use gateway::Limits;
use serde_json::json;
use wire::{Topic, frame::Incoming};

use crate::rig::{Heard, build, config, job, rig_with};

const LINES: u64 = 2000;

#[tokio::test]
async fn p6_a_client_that_does_not_read_gets_a_gap_and_the_others_get_everything() {
    let rig = rig_with(config(Limits { send_queue_frames_max: 50, ..Limits::default() })).await;
    let mut fast = rig.client(0, "fast").await;
    let mut slow = rig.silent(0, "slow", 2);
    let topic = Topic::Job(job(1));
    fast.subscribe(topic, None).await;
    slow.read_hello().await;
    slow.subscribe(topic, None).await;
    for offset in 0..LINES {
        rig.event(&None, topic, 1, offset).await;
        assert_eq!(fast.offsets(topic, 1).await, [offset]);
    }
    // Now it reads: every offset is there, or in a gap, once and in order.
    let mut next = 0;
    let mut gaps = 0;
    while next < LINES {
        match slow.frame().await {
            Incoming::Event(event) => {
                assert_eq!(event.offset, next);
                next += 1;
            }
            Incoming::Resumed(gap) => {
                assert_eq!(gap.from, next);
                next = gap.to.unwrap() + 1;
                gaps += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(gaps >= 1);
    slow.nothing_came().await;
}

#[tokio::test]
async fn p6_a_client_that_reads_nothing_but_is_sent_no_logs_is_told_to_come_back() {
    let patience = Duration::from_secs(60);
    let limits = Limits { send_queue_frames_max: 20, close_patience: patience, ..Limits::default() };
    let rig = rig_with(config(limits)).await;
    let mut fast = rig.client(0, "fast").await;
    let mut slow = rig.silent(0, "slow", 2);
    slow.read_hello().await;
    let topic = Topic::Build(build(1));
    fast.subscribe(topic, None).await;
    slow.subscribe(topic, None).await;
    for offset in 0..100 {
        rig.event(&None, topic, 1, offset).await;
        assert_eq!(fast.offsets(topic, 1).await, [offset]);
    }
    assert_eq!(slow.closed().await, 4000);
}

#[tokio::test]
async fn a_client_that_asks_more_than_it_waits_for_is_told_so_and_goes_on() {
    let rig = rig_with(config(Limits { in_flight_per_socket_max: 2, ..Limits::default() })).await;
    let mut client = rig.client(0, "a").await;
    for id in ["1", "2", "3"] {
        client.say(json!({"type": "query", "id": id, "query": {"executors": {}}}));
    }
    assert_eq!(client.problem().await.0.as_deref(), Some("3"));
    client.nothing_came().await;
}

#[tokio::test]
async fn a_worker_without_room_sends_further_sockets_away() {
    let rig = rig_with(config(Limits { sockets_per_worker_max: 1, ..Limits::default() })).await;
    let _first = rig.client(0, "a").await;
    let mut second = rig.silent(0, "a", 10);
    assert!(matches!(second.hear().await, Heard::Close(1013)));
    rig.client(1, "a").await.nothing_came().await;
}
