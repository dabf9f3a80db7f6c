//! An executor's user on a real RabbitMQ: it can do an executor's work, and neither read nor declare what is others', nor say what is
//! control's to say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod node;

use std::sync::Arc;

use broker::{Broker, ConsumeOptions, Outgoing, rpc::Requester, topology, topology::Exchange};
use broker_rabbitmq::{
    RabbitBroker,
    rights::{Rights, of_executor},
};
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::FieldTable,
};
use node::{Node, PATIENCE};
use tokio_util::sync::CancellationToken;
use wire::{ExecutorId, LabelSet};

const PASSWORD: &str = "of-executors";

/// The URL of a user with the permissions that are printed for this executor.
async fn allow(node: &Node, user: &str, id: Option<ExecutorId>) -> String {
    let permissions = of_executor(id);
    node.control(&["add_user", user, PASSWORD]).await;
    let patterns = [&permissions.configure, &permissions.write, &permissions.read].map(String::as_str);
    node.control(&[&["set_permissions", "--vhost", "/", user][..], &patterns].concat()).await;
    node.control(&["set_topic_permissions", "--vhost", "/", user, "utils", &permissions.keys, "^$"]).await;
    node.url_of(user, PASSWORD, "%2f")
}

async fn soon<T>(what: &str, doing: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, doing).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

#[tokio::test]
async fn an_executors_user_can_do_its_work() {
    let node = Node::shared();
    let control = node.broker().await;
    control.declare(&topology::control()).await.unwrap();
    let labels = LabelSet::new(["linux".to_owned()]).unwrap();
    control.declare(&topology::tasks(&labels)).await.unwrap();
    let id = ExecutorId(uuid::Uuid::new_v4());
    let url = allow(node, "worker", Some(id)).await;
    let broker = RabbitBroker::start_with(&url, Rights::Executor, CancellationToken::new()).await.unwrap();

    // It hears notices and hints.
    broker.declare(&topology::executor(id)).await.unwrap();
    let options = ConsumeOptions { prefetch: 1, exclusive: true };
    let mut notices = broker.consume(&topology::executor(id).name, options).await.unwrap();
    broker.declare(&topology::tasks(&labels)).await.unwrap();
    let options = ConsumeOptions { prefetch: 1, exclusive: false };
    let mut hints = broker.consume(&topology::tasks(&labels).name, options).await.unwrap();
    for (exchange, key) in [(Exchange::Direct, topology::executor(id).name), (Exchange::Tasks, labels.to_string())] {
        soon("published", control.publish(Outgoing::new(exchange, key, b"{}".to_vec()))).await.unwrap();
    }
    soon("a notice", notices.next()).await.unwrap().ack();
    soon("a hint", hints.next()).await.unwrap().ack();

    // It asks control, and is answered.
    let mut requests =
        control.consume(topology::CONTROL, ConsumeOptions { prefetch: 1, exclusive: false }).await.unwrap();
    let answering = tokio::spawn({
        let control = Arc::clone(&control);
        async move {
            let request = requests.next().await.unwrap();
            let message = request.message.clone();
            request.ack();
            broker::rpc::answer(&*control, &message, b"yes".to_vec());
        }
    });
    let requester = Requester::start(broker.clone()).await.unwrap();
    let answer = requester.request(topology::CONTROL, b"may I".to_vec(), PATIENCE).await.unwrap();
    assert_eq!(&*answer.body, b"yes");
    answering.await.unwrap();

    // It publishes events of its jobs, for the one who asked and for who watches, and what it cannot read to the dead letters.
    let topic = wire::Topic::Job(wire::JobId(uuid::Uuid::now_v7()));
    let asker = wire::ServerId::new("north_1", 0).unwrap();
    for server_id in [None, Some(&asker)] {
        soon("an event", broker.publish(Outgoing::event(server_id, topic, b"{}".to_vec()))).await.unwrap();
    }
    let letter = Outgoing::dead(b"{}".to_vec().into(), "unread".to_owned(), broker::Origin::named("executor"));
    soon("a dead letter", broker.publish(letter)).await.unwrap();
}

#[tokio::test]
async fn an_executors_user_can_neither_read_nor_declare_nor_say_what_is_others() {
    let node = Node::shared();
    let broker = node.broker().await;
    let other = ExecutorId(uuid::Uuid::new_v4());
    for queue in [topology::control(), topology::receipts(), topology::executor(other)] {
        broker.declare(&queue).await.unwrap();
    }
    let url = allow(node, "thief", Some(ExecutorId(uuid::Uuid::new_v4()))).await;
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let refused = |error: &lapin::Error| assert!(error.to_string().contains("ACCESS_REFUSED"), "{error}");

    for queue in [topology::CONTROL, topology::EVENTS, topology::UNROUTED, topology::DEAD, topology::RECEIPTS] {
        let channel = connection.create_channel().await.unwrap();
        channel.basic_qos(1, lapin::options::BasicQosOptions::default()).await.unwrap();
        let read =
            channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        refused(&soon(queue, read).await.expect_err(queue));
    }
    let names =
        [topology::executor(other).name, "tasks.gpu".to_owned(), "gateway.north-0".to_owned(), "mine".to_owned()];
    for name in names {
        let channel = connection.create_channel().await.unwrap();
        let made = channel.queue_declare(name.as_str().into(), QueueDeclareOptions::default(), FieldTable::default());
        refused(&soon(&name, made).await.expect_err(&name));
    }
    for key in ["build.00000000-0000-7000-8000-000000000001", topology::ACCESS, topology::PIPELINES, "client.1"] {
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let (options, properties) = (BasicPublishOptions::default(), lapin::BasicProperties::default());
        let said = async {
            channel.basic_publish(Exchange::Utils.name().into(), key.into(), options, b"{}", properties).await?.await
        };
        refused(&soon(key, said).await.expect_err(key));
    }
}
