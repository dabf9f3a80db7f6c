//! Where messages go: topics, label sets, one copy, the alternate exchange, mandatory messages.

use super::{
    Fixture,
    probe::{
        confirmed, consume, event, find, find_entry, gateway, json, next, nothing_more, private, send, soon,
        take_until, texts, unique, utils, work,
    },
};
use crate::{
    BrokerError, Outgoing, StreamFrom,
    topology::{self, Exchange},
};

/// A queue gets one copy, whether by several keys of the message or by several bindings.
pub async fn one_copy_whatever_matches(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = gateway(&*broker).await;
    let topic = unique("job");
    for key in [topic.as_str(), &format!("{topic}.#"), "job.*"] {
        soon("binding", broker.bind(&queue.name, key)).await.unwrap();
        soon("binding twice", broker.bind(&queue.name, key)).await.unwrap();
    }
    let mut consumer = consume(&*broker, &queue.name).await;
    let mut message = utils(&queue.name, "once");
    message.cc = vec![topic.clone(), topic];
    send(&*broker, message).await;
    assert_eq!(texts(&mut consumer, 1).await, ["once"]);
    nothing_more(&*broker, &queue, &mut consumer).await;
}

/// `*` is one word, `#` any number of words, also none.
pub async fn topics_match_words(fixture: &impl Fixture) {
    let broker = fixture.broker();
    // The first word is new, so that others' bindings and messages play no part.
    let word = unique("w").replace('.', "_");
    let keys = [word.clone(), format!("{word}.a"), format!("{word}.a.b"), format!("{word}.b.b"), format!("{word}x.a")];
    let cases: [(String, &[usize]); 6] = [
        (format!("{word}.a"), &[1]),
        (format!("{word}.*"), &[1]),
        (format!("{word}.#"), &[0, 1, 2, 3]),
        (format!("{word}.*.b"), &[2, 3]),
        (format!("{word}.#.b"), &[2, 3]),
        ("*.a.#".to_owned(), &[1, 2, 4]),
    ];
    let mut watching = Vec::new();
    for (pattern, expected) in cases {
        let queue = private(&*broker).await;
        soon("binding", broker.bind(&queue.name, &pattern)).await.unwrap();
        let consumer = consume(&*broker, &queue.name).await;
        watching.push((queue, consumer, pattern, expected));
    }
    for key in &keys {
        send(&*broker, utils(key, key)).await;
    }
    for (queue, mut consumer, pattern, expected) in watching {
        let expected: Vec<&str> = expected.iter().map(|index| keys[*index].as_str()).collect();
        let mut got = Vec::new();
        send(&*broker, Outgoing::new(Exchange::Direct, queue.name.clone(), json("the end"))).await;
        while got.last().is_none_or(|last| last != "the end") {
            let mut next = texts(&mut consumer, 1).await;
            // `*.a.#` may match what others publish.
            next.retain(|text| keys.contains(text) || text == "the end");
            got.append(&mut next);
        }
        got.pop();
        assert_eq!(got, expected, "binding {pattern}");
    }
}

/// From the moment that `unbind` answered, a key leads nowhere; the other bindings stay.
pub async fn an_unbound_key_is_not_routed(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = gateway(&*broker).await;
    let (gone, stays) = (unique("client"), unique("job"));
    soon("binding", broker.bind(&queue.name, &gone)).await.unwrap();
    soon("binding", broker.bind(&queue.name, &stays)).await.unwrap();
    let mut consumer = consume(&*broker, &queue.name).await;
    send(&*broker, utils(&gone, "while bound")).await;
    assert_eq!(texts(&mut consumer, 1).await, ["while bound"]);
    soon("unbinding", broker.unbind(&queue.name, &gone)).await.unwrap();
    soon("unbinding twice", broker.unbind(&queue.name, &gone)).await.unwrap();
    let lost = utils(&gone, "after");
    let lost_id = lost.message_id;
    send(&*broker, lost).await;
    send(&*broker, utils(&stays, "still bound")).await;
    assert_eq!(texts(&mut consumer, 1).await, ["still bound"]);
    find(&*broker, topology::UNROUTED, lost_id).await;
}

/// What is said of a topic that nobody watches goes to nobody: `unrouted` is for what is addressed to somebody.
pub async fn what_nobody_watches_is_not_unrouted(fixture: &impl Fixture) {
    let broker = fixture.broker();
    send(&*broker, utils(&unique("job"), "a hint")).await;
    let addressed = utils(&unique("client"), "a callback");
    let addressed_id = addressed.message_id;
    send(&*broker, addressed).await;
    let (before, _) = take_until(&*broker, topology::UNROUTED, addressed_id).await;
    assert!(before.iter().all(|message| !topology::is_of_a_topic(&message.key)), "{before:?}");
}

/// `tasks` leads to the queues that were declared with the key, and nowhere else.
pub async fn tasks_route_by_label_set(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let (one, other) = (work(&*broker).await, work(&*broker).await);
    send(&*broker, Outgoing::new(Exchange::Tasks, one.bindings[0].clone(), json("hint"))).await;
    let mut consumer = consume(&*broker, &one.name).await;
    assert_eq!(texts(&mut consumer, 1).await, ["hint"]);
    nothing_more(&*broker, &other, &mut consume(&*broker, &other.name).await).await;
    // Nobody serves it: that is no error unless it is asked for.
    send(&*broker, Outgoing::new(Exchange::Tasks, unique("nobody"), json("hint"))).await;
}

/// One publish under one confirm: the one who asked, each watcher of the topic, and the stream.
pub async fn one_publish_reaches_asker_watchers_and_stream(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let (asker, watcher) = (gateway(&*broker).await, gateway(&*broker).await);
    let topic = unique("job");
    soon("binding", broker.bind(&watcher.name, &topic)).await.unwrap();
    let mut reader = soon("reading", broker.read_stream(StreamFrom::Next)).await.unwrap();
    let (mut message, text) = event(&asker.name);
    message.cc = vec![topic];
    let id = message.message_id;
    send(&*broker, message).await;
    for queue in [&asker, &watcher] {
        let mut consumer = consume(&*broker, &queue.name).await;
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.message.message_id, &delivery.message.key), (id, &asker.name));
        delivery.ack();
        nothing_more(&*broker, queue, &mut consumer).await;
    }
    find_entry(&mut reader, &text).await;
}

/// What `utils` leads to no queue reaches `unrouted`, with all its properties.
pub async fn what_nobody_takes_is_unrouted(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let mut message = utils(&unique("nobody"), "callback");
    message.correlation_id = Some("c1".to_owned());
    message.reply_to = Some("reply.nobody".to_owned());
    let sent = message.clone();
    send(&*broker, message).await;
    let found = find(&*broker, topology::UNROUTED, sent.message_id).await;
    assert_eq!(
        (found.key, found.correlation_id, found.reply_to, &*found.body),
        (sent.key, sent.correlation_id, sent.reply_to, &*sent.body)
    );
}

/// An event for the stream that no queue wants is nobody's concern: it does not reach `unrouted`.
pub async fn an_event_that_nobody_watches_is_in_the_stream_alone(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let mut unrouted = consume(&*broker, topology::UNROUTED).await;
    let mut reader = soon("reading", broker.read_stream(StreamFrom::Next)).await.unwrap();
    let (message, text) = event(&unique("job"));
    let event_id = message.message_id;
    send(&*broker, message).await;
    let marker = utils(&unique("nobody"), "marker");
    let marker_id = marker.message_id;
    send(&*broker, marker).await;
    loop {
        let delivery = next(&mut unrouted).await;
        let id = delivery.message.message_id;
        delivery.ack();
        assert_ne!(id, event_id, "the event reached unrouted");
        if id == marker_id {
            break;
        }
    }
    find_entry(&mut reader, &text).await;
}

/// A mandatory message fails where no queue takes it, and does not where one does, be it `unrouted`.
pub async fn mandatory_is_refused_without_a_queue(fixture: &impl Fixture) {
    let broker = fixture.broker();
    for exchange in [Exchange::Direct, Exchange::Tasks] {
        let mut message = Outgoing::new(exchange, unique("nobody"), json("x"));
        message.mandatory = true;
        let refused = Err(BrokerError::Unroutable(message.key.clone()));
        assert_eq!(confirmed(&*broker, message).await, refused);
    }
    let queue = work(&*broker).await;
    let mut taken = Outgoing::new(Exchange::Tasks, queue.bindings[0].clone(), json("x"));
    taken.mandatory = true;
    send(&*broker, taken).await;
    let mut kept = utils(&unique("nobody"), "x");
    kept.mandatory = true;
    send(&*broker, kept).await;
}
