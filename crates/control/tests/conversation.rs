//! Executors and control, over a real store and a real broker: each test is a conversation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod world;

use std::{collections::HashSet, time::Duration};

use broker::{Broker, Origin, Outgoing, topology};
use control::{attached::Attachments, callbacks::deliver_kept, graph, waiting::waiting_for};
use store::{
    Builds, Callbacks, Executors,
    model::{BuildState, JobState},
};
use tokio::time::timeout;
use uuid::Uuid;
use wire::{
    Callback, ClientId, ExecutorId, LabelSet, Outcome, ServerId,
    dead_letter::{Cause, DeadLetterOrigin},
    task::{ControlReply, ControlRequest, ExecutorNotice, to_bytes},
};
use world::{Executor, LONG, PATIENCE, World, labels};

const ONE: &str = "{build: {labels: [linux], steps: [{run: make}]}}";
/// Short, since tests wait for it to run out.
const SHORT: Duration = Duration::from_millis(300);
/// Long enough that a claim reaches the store's queue, short since a test waits for its end.
const IMPATIENT: Duration = Duration::from_millis(500);
const FOUR: &str = "{build: {labels: [linux], matrix: {n: [1, 2, 3, 4]}, steps: [{run: make}]}}";

#[tokio::test]
async fn an_executor_is_hinted_claims_renews_and_finishes() {
    let world = World::start(LONG).await;
    let linux = labels(&["linux"]);
    let mut executor = Executor::start(&world, &["linux", "x86_64"]).await;
    let build = world.build("{build: {labels: [linux], env: {A: b}, steps: [{run: make}]}, test: {labels: [linux], needs: [build], steps: [{run: t}]}}").await;
    for name in ["build", "test"] {
        let grant = executor.work(&linux).await;
        assert_eq!((grant.job_name.as_str(), grant.build, grant.number), (name, build.id, 1));
        assert_eq!((grant.lease.attempt, grant.lease_ms), (1, 120_000));
        let renewed = executor.renew(&[grant.lease]).await;
        assert!(
            matches!(renewed, ControlReply::Renewed { held, lost, .. } if held == [grant.lease] && lost.is_empty())
        );
        assert_eq!(executor.finish(grant.lease, Outcome::Succeeded).await, ControlReply::Done {});
    }
    let build = world.load(&build).await;
    assert!(matches!(build.state, BuildState::Finished { outcome: Outcome::Succeeded, .. }));
    assert_eq!(executor.claim_as(Uuid::new_v4(), &linux).await, ControlReply::Nothing {});
}

#[tokio::test]
async fn a_repeated_claim_and_a_repeated_finish_get_the_same_answer() {
    let mut world = World::start(LONG).await;
    let linux = labels(&["linux"]);
    let executor = Executor::start(&world, &["linux"]).await;
    world.build("{build: {labels: [linux], attempts: 2, steps: [{run: make}]}}").await;
    let claim_id = Uuid::new_v4();
    let first = executor.claim_as(claim_id, &linux).await;
    assert_eq!(executor.claim_as(claim_id, &linux).await, first);
    let ControlReply::Granted(grant) = first else { panic!("{first:?}") };
    for _ in 0..2 {
        assert_eq!(executor.finish(grant.lease, Outcome::Failed).await, ControlReply::Done {});
    }
    let second = executor.claim(&linux).await;
    assert_eq!(second.lease.attempt, 2);
    assert_eq!(executor.finish(second.lease, Outcome::Failed).await, ControlReply::Done {});
    world.stop_control().await;
    world.start_control();
    assert_eq!(executor.finish(second.lease, Outcome::Failed).await, ControlReply::Done {});
}

#[tokio::test]
async fn p2_two_executors_never_get_the_same_job() {
    let world = World::start(LONG).await;
    let values: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    world.build(&format!("{{build: {{matrix: {{n: [{}]}}, steps: [{{run: make}}]}}}}", values.join(", "))).await;
    let executors = [Executor::start(&world, &["linux"]).await, Executor::start(&world, &["linux"]).await];
    let any = LabelSet::default();
    let claims = (0..30).map(|n| executors[n % 2].claim_as(Uuid::new_v4(), &any));
    let answers = futures_util::future::join_all(claims).await;
    let lease = |answer: &ControlReply| match answer {
        ControlReply::Granted(grant) => Some(grant.lease),
        _ => None,
    };
    let granted: Vec<_> = answers.iter().filter_map(lease).collect();
    assert_eq!((granted.len(), granted.iter().collect::<HashSet<_>>().len()), (20, 20));
}

#[tokio::test]
async fn p2_a_lease_that_ran_out_becomes_the_next_attempt_and_the_late_finish_is_refused() {
    let world = World::start(SHORT).await;
    let linux = labels(&["linux"]);
    let mut executor = Executor::start(&world, &["linux"]).await;
    world.build(ONE).await;
    let first = executor.work(&linux).await;
    let second = executor.work(&linux).await;
    assert_eq!((second.lease.job, second.lease.attempt), (first.lease.job, 2));
    let late = executor.finish(first.lease, Outcome::Succeeded).await;
    assert!(matches!(&late, ControlReply::Refused { reason } if reason.contains("not yours any more")), "{late:?}");
    assert!(
        matches!(executor.renew(&[first.lease]).await, ControlReply::Renewed { lost, .. } if lost == [first.lease])
    );
}

#[tokio::test]
async fn p7_jobs_whose_hints_were_lost_are_hinted_again_when_control_starts() {
    let mut world = World::start(LONG).await;
    world.stop_control().await;
    world.stop_relay().await;
    let values: Vec<String> = (0..3).map(|n| n.to_string()).collect();
    world.build(&format!("{{build: {{matrix: {{n: [{}]}}, steps: [{{run: make}}]}}}}", values.join(", "))).await;
    world.start_control();
    let mut executor = Executor::start(&world, &[]).await;
    let any = LabelSet::default();
    for _ in 0..3 {
        executor.work(&any).await;
    }
}

#[tokio::test]
async fn p2_a_new_incarnation_gives_back_at_once_what_the_former_one_ran() {
    let mut world = World::start(LONG).await;
    let linux = labels(&["linux"]);
    let former = Executor::start(&world, &["linux"]).await;
    let build = world.build(ONE).await;
    let first = former.claim(&linux).await;
    let younger = Executor::start_as(&world, former.id, &["linux"]).await;
    let second = younger.claim(&linux).await;
    assert_eq!((second.lease.job, second.lease.attempt), (first.lease.job, 2));
    let refused = former.claim_as(Uuid::new_v4(), &linux).await;
    assert!(matches!(refused, ControlReply::Refused { .. }), "{refused:?}");
    assert!(matches!(former.finish(first.lease, Outcome::Succeeded).await, ControlReply::Refused { .. }));
    // What the former one had said is delivered again, to a process that has not heard of either.
    world.stop_control().await;
    world.start_control();
    let late = former.ask(former.registration(former.incarnation, &["linux"])).await;
    assert!(matches!(&late, ControlReply::Refused { reason } if reason.contains("another start")), "{late:?}");
    assert!(
        matches!(younger.renew(&[second.lease]).await, ControlReply::Renewed { held, .. } if held == [second.lease])
    );
    // Taking its leave gives back what is left, too.
    let (executor, incarnation) = (younger.id, younger.incarnation);
    assert_eq!(younger.ask(ControlRequest::Deregister { executor, incarnation }).await, ControlReply::Done {});
    let build = world.load(&build).await;
    assert!(matches!(build.jobs[0].state, JobState::Queued { .. }), "{:?}", build.jobs[0]);
    assert_eq!(build.jobs[0].losses, 2);
}

#[tokio::test]
async fn who_only_knows_an_executors_id_can_neither_take_its_place_nor_end_its_jobs_nor_claim_any() {
    let mut world = World::start(LONG).await;
    let linux = labels(&["linux"]);
    let executor = Executor::start(&world, &["linux"]).await;
    let build = world.build(ONE).await;
    let lease = executor.claim(&linux).await.lease;
    // Everybody who may look at the pages knows the id, the job and the attempt.
    for secret in [None, Some("a guess of thirty-two signs and more".replace(' ', "-").try_into().unwrap())] {
        let (id, incarnation, name) = (executor.id, Uuid::new_v4(), "stranger".to_owned());
        let register = ControlRequest::Register {
            executor: id,
            incarnation,
            name,
            labels: linux.clone(),
            slots: 1,
            isolation: wire::Isolation::Plain,
            secret,
        };
        let answer = executor.ask(register).await;
        assert!(matches!(&answer, ControlReply::Refused { reason } if reason.contains("another secret")), "{answer:?}");
    }
    for start in [None, Some(Uuid::new_v4())] {
        let answer = executor.finish_as(start, lease, Outcome::Failed).await;
        assert!(matches!(answer, ControlReply::Refused { .. }), "{start:?}: {answer:?}");
    }
    let stranger = ControlRequest::Renew { executor: executor.id, incarnation: Uuid::new_v4(), leases: vec![lease] };
    assert!(matches!(executor.ask(stranger).await, ControlReply::Renewed { held, .. } if held.is_empty()));
    let stranger = ControlRequest::Deregister { executor: executor.id, incarnation: Uuid::new_v4() };
    executor.ask(stranger).await;
    assert!(matches!(executor.renew(&[lease]).await, ControlReply::Renewed { held, .. } if held == [lease]));
    // Nor to a process that has heard nobody register: after its restart, or because another one was told.
    world.build(ONE).await;
    for restarts in [false, true] {
        if restarts {
            world.stop_control().await;
            world.start_control();
        }
        // A claim that comes before control listens may be old, and is not answered.
        executor.renew(&[lease]).await;
        let claim = ControlRequest::Claim {
            claim_id: Uuid::new_v4(),
            executor: executor.id,
            incarnation: Uuid::new_v4(),
            label_set: linux.clone(),
            patience_ms: 20_000,
            secrets_key: None,
        };
        let answer = executor.ask(claim).await;
        assert!(matches!(answer, ControlReply::Refused { .. }), "{restarts}: {answer:?}");
    }
    // The executor itself still can.
    assert_ne!(executor.claim(&linux).await.lease.job, lease.job);
    assert_eq!(executor.finish(lease, Outcome::Succeeded).await, ControlReply::Done {});
    let build = world.load(&build).await;
    assert!(matches!(build.state, BuildState::Finished { outcome: Outcome::Succeeded, .. }));
}

#[tokio::test]
async fn an_executor_can_neither_end_nor_renew_what_another_one_runs() {
    let world = World::start(LONG).await;
    let linux = labels(&["linux"]);
    let executor = Executor::start(&world, &["linux"]).await;
    let build = world.build(ONE).await;
    let lease = executor.claim(&linux).await.lease;
    let other = Executor::start(&world, &["linux"]).await;
    // By its own start, without one as former versions do, and by the one that holds the lease.
    let unknown = ExecutorId(Uuid::new_v4());
    for (id, start) in [
        (other.id, Some(other.incarnation)),
        (other.id, Some(executor.incarnation)),
        (unknown, Some(executor.incarnation)),
        (unknown, None),
    ] {
        let reason = Some("it is told so".to_owned());
        let (outcome, last_offset) = (Outcome::Failed, Some(0));
        let end = ControlRequest::Finish { executor: id, incarnation: start, lease, outcome, last_offset, reason };
        let answer = other.ask(end).await;
        assert!(matches!(answer, ControlReply::Refused { .. }), "{id} {start:?}: {answer:?}");
        let renew = ControlRequest::Renew {
            executor: id,
            incarnation: start.unwrap_or(executor.incarnation),
            leases: vec![lease],
        };
        assert!(matches!(other.ask(renew).await, ControlReply::Renewed { held, .. } if held.is_empty()), "{id}");
    }
    assert_eq!(executor.finish(lease, Outcome::Succeeded).await, ControlReply::Done {});
    let build = world.load(&build).await;
    assert!(matches!(build.state, BuildState::Finished { outcome: Outcome::Succeeded, .. }));
}

#[tokio::test]
async fn cancelling_reaches_the_executor_by_notice_and_by_renewal() {
    let world = World::start(LONG).await;
    let linux = labels(&["linux"]);
    let mut executor = Executor::start(&world, &["linux"]).await;
    let build = world.build(ONE).await;
    let lease = executor.work(&linux).await.lease;
    world.store.change_build(build.id, Box::new(graph::cancel)).await.unwrap();
    loop {
        match executor.notice().await {
            ExecutorNotice::Cancel { lease: cancelled } => break assert_eq!(cancelled, lease),
            ExecutorNotice::Queues { .. } => {}
            other @ ExecutorNotice::Now { .. } => panic!("{other:?}"),
        }
    }
    assert!(matches!(executor.renew(&[lease]).await, ControlReply::Renewed { cancelled, .. } if cancelled == [lease]));
    assert_eq!(executor.finish(lease, Outcome::Cancelled).await, ControlReply::Done {});
    let build = world.load(&build).await;
    assert!(matches!(build.state, BuildState::Finished { outcome: Outcome::Cancelled, .. }));
}

#[tokio::test]
async fn retrying_what_failed_hints_at_that_alone() {
    let world = World::start(LONG).await;
    let any = LabelSet::default();
    let mut executor = Executor::start(&world, &[]).await;
    let build = world.build("{a: {steps: [{run: x}]}, b: {needs: [a], steps: [{run: x}]}}").await;
    for outcome in [Outcome::Succeeded, Outcome::Failed] {
        let lease = executor.work(&any).await.lease;
        executor.finish(lease, outcome).await;
    }
    let retry = |build: &mut store::model::Build, now| graph::retry(build, true, now);
    world.store.change_build(build.id, Box::new(retry)).await.unwrap();
    let grant = executor.work(&any).await;
    assert_eq!((grant.job_name.as_str(), grant.lease.attempt), ("b", 2));
    executor.finish(grant.lease, Outcome::Succeeded).await;
    let build = world.load(&build).await;
    assert!(matches!(build.state, BuildState::Finished { outcome: Outcome::Succeeded, .. }));
}

#[tokio::test]
async fn a_job_with_labels_that_nobody_offers_says_so_and_runs_when_somebody_does() {
    let world = World::start(LONG).await;
    let gpu = labels(&["gpu", "linux"]);
    let poor = Executor::start(&world, &["linux"]).await;
    let build = world
        .build("{train: {labels: [linux, gpu], steps: [{run: x}]}, report: {needs: [train], steps: [{run: x}]}}")
        .await;
    let mut view = world.store.build_view(build.id).await.unwrap().unwrap();
    waiting_for(&mut view, &world.store.executors(LONG).await.unwrap(), &[], |_| true);
    let waits: Vec<Option<&str>> = view.jobs.iter().map(|job| job.waiting_for.as_deref()).collect();
    let nobody = "no executor offers the labels gpu+linux: start one with `--labels gpu,linux`";
    assert_eq!(waits, [Some(nobody), Some("waits for train")]);
    assert!(!poor.label_sets.contains(&gpu));
    let mut rich = Executor::start(&world, &["linux", "gpu"]).await;
    assert!(rich.label_sets.contains(&gpu));
    assert_eq!(rich.work(&gpu).await.job_name, "train");
}

#[tokio::test]
async fn executors_learn_of_a_label_set_that_nobody_asked_for_before() {
    let world = World::start(LONG).await;
    let mut executor = Executor::start(&world, &["linux", "gpu"]).await;
    let gpu = labels(&["gpu"]);
    assert!(!executor.label_sets.contains(&gpu));
    world.build("{train: {labels: [gpu], steps: [{run: x}]}}").await;
    let notice = executor.notice().await;
    assert!(matches!(&notice, ExecutorNotice::Queues { label_sets } if label_sets.contains(&gpu)), "{notice:?}");
    executor.work(&gpu).await;
}

#[tokio::test]
async fn no_claim_is_granted_while_the_brake_is_drawn_or_after_its_patience() {
    let world = World::start(LONG).await;
    let linux = labels(&["linux"]);
    let executor = Executor::start(&world, &["linux"]).await;
    let build = world.build(ONE).await;
    world.brake.set(control::service::BrakedBy::Lag, true);
    assert_eq!(executor.claim_as(Uuid::new_v4(), &linux).await, ControlReply::Nothing {});
    world.brake.set(control::service::BrakedBy::Lag, false);
    let (claim_id, incarnation) = (Uuid::new_v4(), executor.incarnation);
    let mut late = Outgoing::new(
        topology::Exchange::Direct,
        topology::CONTROL,
        to_bytes(ControlRequest::Claim {
            claim_id,
            executor: executor.id,
            incarnation,
            label_set: linux.clone(),
            patience_ms: 0,
            secrets_key: None,
        }),
    );
    late.mandatory = true;
    world.broker.publish(late).await.unwrap();
    // Requests are taken in order, so by the answer to this one the late claim has been looked at.
    executor.renew(&[]).await;
    assert!(matches!(world.load(&build).await.jobs[0].state, JobState::Queued { .. }));
    executor.claim(&linux).await;
}

#[tokio::test]
async fn p4_callbacks_that_nobody_takes_are_kept_and_what_cannot_be_read_is_a_dead_letter() {
    let world = World::start(LONG).await;
    let client = ClientId(Uuid::new_v4());
    let callback = format!(r#"{{"client_id":"{client}","payload":{{"hi":1}}}}"#);
    let mut message = Outgoing::new(topology::Exchange::Utils, "gone-0", callback.clone().into_bytes());
    message.reply_to = Some("receipts".to_owned());
    let message_id = message.message_id;
    world.broker.publish(message).await.unwrap();
    for (n, origin) in [Origin::utils("gone-0"), Origin::named(topology::CONTROL)].into_iter().enumerate() {
        let poison = Outgoing::new(origin.exchange, origin.key.clone(), b"nonsense".to_vec());
        let id = poison.message_id;
        world.broker.publish(poison).await.unwrap();
        let letter = &world.dead_letters(n + 1).await[n].view;
        assert!(letter.reason.contains("not valid"), "{letter:?}");
        let from = DeadLetterOrigin { exchange: origin.exchange.name().to_owned(), key: origin.key };
        assert_eq!((letter.message_id, letter.cause, letter.origin.as_ref()), (id, Cause::NotJson, Some(&from)));
    }
    // The dead letter came behind the callback, so that has been looked at by now: its client was tried where it may be now,
    // and it comes back from there to be kept.
    let kept = timeout(PATIENCE, async {
        loop {
            let kept = world.store.kept_callbacks(client).await.unwrap();
            if !kept.is_empty() {
                break kept;
            }
            tokio::task::yield_now().await;
        }
    });
    let kept = kept.await.expect("it was not kept");
    assert_eq!(kept.iter().map(|kept| kept.message_id).collect::<Vec<_>>(), [message_id]);

    let queue = topology::reply();
    world.broker.declare(&queue).await.unwrap();
    world.broker.bind(&queue.name, &topology::client_key(client)).await.unwrap();
    let mut socket = world.consume(&queue.name).await;
    deliver_kept(&*world.broker, &*world.store, client, &topology::client_key(client)).await;
    let delivered = timeout(PATIENCE, socket.next()).await.expect("no callback came").unwrap();
    assert_eq!((delivered.message.message_id, delivered.message.reply_to.as_deref()), (message_id, Some("receipts")));
    assert_eq!(&*delivered.message.body, callback.as_bytes());
    delivered.ack();
    assert_eq!(world.store.kept_callbacks(client).await.unwrap(), []);
}

/// The claims wait for the writer, one of them behind a registration that waits for it too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_a_claim_whose_requester_gave_up_while_the_store_was_slow_is_not_granted() {
    let world = World::start(LONG).await;
    let linux = labels(&["linux"]);
    let executors = [Executor::start(&world, &["linux"]).await, Executor::start(&world, &["linux"]).await];
    let build = world.build(FOUR).await;
    let held = world.hold_writer(&build).await;
    executors[0].tell(executors[0].registration(executors[0].incarnation, &["linux"])).await;
    // An answer is waited for much longer than the claims say: they may reach control late.
    let claims = (0..4).map(|n| executors[n % 2].claim_within(&linux, IMPATIENT, IMPATIENT * 10));
    assert_eq!(
        futures_util::future::join_all(claims).await,
        [const { None }; 4],
        "nothing is answered while the store is held"
    );
    held.let_go().await;
    // These go through the same queues, behind those claims: what would have been granted has been by now.
    for executor in &executors {
        executor.ask(executor.registration(executor.incarnation, &["linux"])).await;
        executor.renew(&[]).await;
    }
    let jobs = world.load(&build).await.jobs;
    let untouched = jobs.iter().filter(|job| job.attempt == 0 && matches!(job.state, JobState::Queued { .. }));
    assert_eq!(untouched.count(), 4, "no attempt is burnt: {jobs:?}");
    assert_eq!(executors[0].claim(&linux).await.lease.attempt, 1);
}

/// Starts of one executor that come together are registered in their order; the claim of the last one is behind them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_the_last_start_of_an_executor_wins_however_slow_the_store_is() {
    let world = World::start(LONG).await;
    let linux = labels(&["linux"]);
    let mut executor = Executor::start(&world, &["linux"]).await;
    let build = world.build(FOUR).await;
    let held = world.hold_writer(&build).await;
    for _ in 0..20 {
        executor.incarnation = Uuid::new_v4();
        executor.tell(executor.registration(executor.incarnation, &["linux"])).await;
    }
    let claim = executor.claim_as(Uuid::new_v4(), &linux);
    let (answer, ()) = tokio::join!(claim, held.let_go());
    assert!(matches!(&answer, ControlReply::Granted(grant) if grant.lease.attempt == 1), "{answer:?}");
    let former = std::mem::replace(&mut executor.incarnation, Uuid::new_v4());
    let refused = executor.claim_as(Uuid::new_v4(), &LabelSet::default()).await;
    assert!(matches!(refused, ControlReply::Refused { .. }), "{refused:?}");
    executor.incarnation = former;
    let jobs = world.load(&build).await.jobs;
    assert_eq!(jobs.iter().filter(|job| matches!(job.state, JobState::Running { .. })).count(), 1, "{jobs:?}");
}

#[tokio::test]
async fn p4_what_was_kept_for_a_client_reaches_it_when_it_attached_also_what_was_on_its_way_to_be_kept() {
    let world = World::start(LONG).await;
    let client = ClientId(Uuid::new_v4());
    let at = ServerId::new("here", 0).unwrap();
    let queue = topology::gateway(&at, LONG);
    world.broker.declare(&queue).await.unwrap();
    let mut worker = world.consume(&queue.name).await;
    let mut sent = Vec::new();
    for payload in 0..3 {
        let callback = format!(r#"{{"client_id":"{client}","payload":{payload}}}"#);
        let message = Outgoing::new(topology::Exchange::Utils, topology::client_key(client), callback.into_bytes());
        sent.push(message.message_id);
        drop(world.broker.publish(message));
    }
    Attachments::new(world.broker.clone()).tell(client, at).await;
    for message_id in sent {
        let delivered = timeout(PATIENCE, worker.next()).await.expect("a callback did not come").unwrap();
        assert_eq!(delivered.message.message_id, message_id);
        delivered.ack();
    }
}

#[tokio::test]
async fn p4_each_callback_of_a_batch_that_nobody_took_is_kept_for_its_client() {
    let world = World::start(LONG).await;
    let clients = [ClientId(Uuid::new_v4()), ClientId(Uuid::new_v4())];
    let [one, two] = clients.map(|client| format!(r#"{{"client_id":"{client}","payload":1}}"#));
    let batch = Outgoing::new(topology::Exchange::Utils, "gone-0", format!("[{one},7,{two}]").into_bytes());
    let id = batch.message_id;
    world.broker.publish(batch).await.unwrap();
    let letter = world.dead_letters(1).await.remove(0);
    assert_eq!((letter.view.message_id, &*letter.body), (Callback::id_in_batch(id, 1), &b"7"[..]));
    for (client, n) in clients.into_iter().zip([0, 2]) {
        let at = ServerId::new("here", n).unwrap();
        let queue = topology::gateway(&at, LONG);
        world.broker.declare(&queue).await.unwrap();
        let mut worker = world.consume(&queue.name).await;
        Attachments::new(world.broker.clone()).tell(client, at).await;
        let delivered = timeout(PATIENCE, worker.next()).await.expect("a callback did not come").unwrap();
        assert_eq!(delivered.message.message_id, Callback::id_in_batch(id, n));
        delivered.ack();
    }
}

#[tokio::test]
async fn p4_a_callback_for_a_worker_that_is_gone_reaches_its_client_where_it_is_now() {
    let world = World::start(LONG).await;
    let client = ClientId(Uuid::new_v4());
    let queue = topology::reply();
    world.broker.declare(&queue).await.unwrap();
    world.broker.bind(&queue.name, &topology::client_key(client)).await.unwrap();
    let mut socket = world.consume(&queue.name).await;
    let callback = format!(r#"{{"client_id":"{client}","payload":1}}"#);
    let message = Outgoing::new(topology::Exchange::Utils, "gone-0", callback.into_bytes());
    let message_id = message.message_id;
    world.broker.publish(message).await.unwrap();
    let delivered = timeout(PATIENCE, socket.next()).await.expect("no callback came").unwrap();
    assert_eq!(delivered.message.message_id, message_id);
    delivered.ack();
}
