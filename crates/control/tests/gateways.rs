//! Control takes care of what waits for a gateway that is gone, also where the node that holds its queue is gone with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod world;

use std::sync::Arc;

use broker::{
    BoxFuture, Broker, BrokerError, Confirm, ConsumeOptions, Consumer, Outgoing, StreamError, StreamFrom, StreamReader,
    topology,
};
use control::service::{self, Brake, ControlConfig};
use store::Gateways as _;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{ClientId, ServerId, mac::InstallationKey, view::WorkerView};
use world::{LONG, PATIENCE, World};

/// The broker, but for one queue whose node is down: it keeps its bindings, and nobody can look into it.
struct Down {
    queue: String,
    broker: Arc<dyn Broker>,
    /// How often a binding of it was taken away.
    unbound: watch::Sender<usize>,
}

impl Broker for Down {
    fn declare<'a>(&'a self, queue: &'a topology::Queue) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.declare(queue)
    }
    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.delete(queue)
    }
    fn bind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.bind(queue, key)
    }
    fn unbind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            let unbound = self.broker.unbind(queue, key).await;
            self.unbound.send_modify(|count| *count += usize::from(queue == self.queue));
            unbound
        })
    }
    fn publish(&self, message: Outgoing) -> Confirm {
        self.broker.publish(message)
    }
    fn consume<'a>(&'a self, queue: &'a str, options: ConsumeOptions) -> BoxFuture<'a, Result<Consumer, BrokerError>> {
        self.broker.consume(queue, options)
    }
    fn stream_end(&self) -> BoxFuture<'_, Result<Option<u64>, BrokerError>> {
        self.broker.stream_end()
    }
    fn read_stream(&self, from: StreamFrom) -> BoxFuture<'_, Result<StreamReader, StreamError>> {
        self.broker.read_stream(from)
    }
    fn queue_length<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<u64>, BrokerError>> {
        if queue == self.queue {
            return Box::pin(async { Err(BrokerError::Unavailable("its node is down".to_owned())) });
        }
        self.broker.queue_length(queue)
    }
    fn health(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.broker.health()
    }
}

#[tokio::test]
async fn p4_callbacks_for_a_gateway_that_is_gone_with_the_node_of_its_queue_reach_their_clients() {
    let mut world = World::start(LONG).await;
    world.stop_control().await;
    let (client, gone) = (ClientId(Uuid::new_v4()), ServerId::new("gone", 0).unwrap());
    let queue = topology::gateway(&gone, LONG);
    world.broker.declare(&queue).await.unwrap();
    let (sockets, topics, queue_length, restarts) = (0, 0, 0, 0);
    let worker = WorkerView { server_id: gone.clone(), sockets, topics, queue_length, restarts };
    world.store.put_gateway("gone", &[worker]).await.unwrap();
    world.store.gateway_left("gone").await.unwrap();

    let (unbound, mut is_unbound) = watch::channel(0);
    let down = Down { queue: queue.name.clone(), broker: world.broker.clone(), unbound };
    let config = ControlConfig {
        lease: LONG,
        upload_url: "http://127.0.0.1:3000".to_owned(),
        key: InstallationKey([7; 32]),
        secret_keys: control::secrets::SecretKeys::new(|| Err("there is no key".to_owned())),
        brake: Brake::default(),
    };
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    tokio::spawn(service::run(Arc::new(down), world.store.clone(), config, stop));
    timeout(PATIENCE, is_unbound.wait_for(|count| *count > 0)).await.expect("the queue stays bound").unwrap();

    let reached = topology::reply();
    world.broker.declare(&reached).await.unwrap();
    world.broker.bind(&reached.name, &topology::client_key(client)).await.unwrap();
    let mut socket = world.consume(&reached.name).await;
    let callback = format!(r#"{{"client_id":"{client}","payload":1}}"#);
    let message = Outgoing::new(topology::Exchange::Utils, gone.as_str(), callback.into_bytes());
    let message_id = message.message_id;
    world.broker.publish(message).await.unwrap();
    let delivered = timeout(PATIENCE, socket.next()).await.expect("no callback came").unwrap();
    assert_eq!(delivered.message.message_id, message_id);
    delivered.ack();
    assert_eq!(world.broker.queue_length(&queue.name).await, Ok(Some(0)), "nothing waits where nobody is");
}
