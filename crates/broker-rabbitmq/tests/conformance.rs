//! The conformance suite over RabbitMQ, on a private node that is killed and started anew where a promise asks for it. What
//! is particular to a broker over a network is in `failures.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod node;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use broker::{BoxFuture, Broker, conformance::Fixture};
use broker_rabbitmq::RabbitBroker;
use node::Node;
use tokio::sync::MutexGuard;

/// The promises share one node, and some of them kill it: one after the other.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Rabbit {
    node: &'static Node,
    broker: Mutex<Arc<RabbitBroker>>,
    _turn: MutexGuard<'static, ()>,
}

impl Rabbit {
    async fn start() -> Self {
        let turn = TURN.lock().await;
        let node = Node::shared();
        Self { broker: Mutex::new(node.broker().await), node, _turn: turn }
    }
}

impl Fixture for Rabbit {
    fn broker(&self) -> Arc<dyn Broker> {
        self.broker.lock().unwrap().clone()
    }

    fn restart(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.node.keep_what_was_declared().await;
            self.node.kill();
            self.node.revive();
            let anew = self.node.broker().await;
            *self.broker.lock().unwrap() = anew;
        })
    }

    fn time_to_live(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn gives_back_to_the_front(&self) -> bool {
        false
    }

    fn trim_stream(&self, _offset: u64) -> Option<BoxFuture<'_, ()>> {
        // RabbitMQ lets go of whole files when there are too many, and cannot be told to.
        None
    }
}

broker::conformance_tests!(Rabbit::start());
