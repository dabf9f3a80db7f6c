//! Requests and their answers over a broker.

use std::time::Duration;

use super::{
    Fixture,
    probe::{consume, json, next, soon, text, unique, work},
};
use crate::{
    BrokerError,
    rpc::{RequestError, Requester, answer},
};

/// How long a request that nobody answers is waited for: short, since the test waits for the end of it.
const SHORT: Duration = Duration::from_millis(200);

/// Answers find their requests, in whatever order they come.
pub async fn a_request_is_answered(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let mut consumer = consume(&*broker, &queue.name).await;
    let requester = soon("starting", Requester::start(fixture.broker())).await.unwrap();
    let answering = async {
        let (one, two) = (next(&mut consumer).await, next(&mut consumer).await);
        for delivery in [two, one] {
            answer(&*broker, &delivery.message, json(&format!("re: {}", text(&delivery.message.body))));
            delivery.ack();
        }
    };
    let asking = |question: &'static str| {
        let (requester, queue) = (&requester, queue.name.as_str());
        async move { requester.request(queue, json(question), super::PATIENCE).await.unwrap() }
    };
    let ((), one, two) = tokio::join!(answering, asking("one"), asking("two"));
    assert_eq!((text(&one.body).as_str(), text(&two.body).as_str()), ("re: one", "re: two"));
}

/// A requester whose reply queue was deleted has another one: requests are answered again.
pub async fn a_requester_outlives_its_reply_queue(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let mut consumer = consume(&*broker, &queue.name).await;
    let requester = soon("starting", Requester::start(fixture.broker())).await.unwrap();
    let answering = async {
        let first = next(&mut consumer).await;
        soon("deleting", broker.delete(first.message.reply_to.as_deref().unwrap())).await.unwrap();
        first.ack();
        loop {
            let again = next(&mut consumer).await;
            answer(&*broker, &again.message, json("answered"));
            again.ack();
        }
    };
    let asking = async {
        let mut patience = SHORT;
        loop {
            if let Ok(answer) = requester.request(&queue.name, json("question"), patience).await {
                return text(&answer.body);
            }
            patience *= 2; // An answer may take longer on a slow machine.
        }
    };
    let answered = soon("an answer", async {
        tokio::select! {
            answered = asking => answered,
            () = answering => unreachable!("it answers for ever"),
        }
    });
    assert_eq!(answered.await, "answered");
}

/// A request to a queue that is not there fails before the patience ends.
pub async fn a_request_to_nobody_fails_at_once(fixture: &impl Fixture) {
    let requester = soon("starting", Requester::start(fixture.broker())).await.unwrap();
    let nobody = unique("nobody");
    let refused = soon("the refusal", requester.request(&nobody, json("x"), super::PATIENCE * 2)).await;
    match refused {
        Err(RequestError::Broker(BrokerError::Unroutable(key))) => assert_eq!(key, nobody),
        other => panic!("a request to nobody gave {other:?}"),
    }
}

/// A request that is taken and not answered ends with its patience.
pub async fn a_request_without_an_answer_ends(fixture: &impl Fixture) {
    let queue = work(&*fixture.broker()).await;
    let requester = soon("starting", Requester::start(fixture.broker())).await.unwrap();
    let unanswered = soon("the end", requester.request(&queue.name, json("x"), SHORT)).await;
    assert!(matches!(unanswered, Err(RequestError::NoAnswer { .. })), "it gave {unanswered:?}");
}
