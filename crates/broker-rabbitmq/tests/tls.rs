//! TLS towards RabbitMQ: with the authority that signed its certificate, and what is told without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod node;

use broker::{Broker as _, Outgoing, topology::Exchange};
use broker_rabbitmq::{RabbitBroker, StartError};
use node::authority::Secured;
use tokio_util::sync::CancellationToken;

async fn refused(url: &str) -> StartError {
    let refused = RabbitBroker::start(url, CancellationToken::new()).await.err().expect("it must not start");
    let told = refused.to_string();
    assert!(!told.contains('\n') && told.len() < 250 && !told.contains("guest:"), "{told}");
    refused
}

#[tokio::test]
async fn tls_is_spoken_with_whom_the_named_authority_vouches_for_and_nobody_else() {
    let secured = Secured::start();
    drop(secured.node.broker().await); // It has started.
    let authority = format!("?cacertfile={}", secured.file("authority.pem"));

    for url in [
        secured.url("localhost", &authority),
        secured.url("127.0.0.1", &format!("{authority}&server_name_indication=localhost")),
    ] {
        let broker = RabbitBroker::start(&url, CancellationToken::new()).await.unwrap();
        // Nobody takes it: that is told, so both ways work.
        let mut message = Outgoing::new(Exchange::Tasks, "nobody", b"{}".to_vec());
        message.mandatory = true;
        assert!(matches!(broker.publish(message).await, Err(broker::BrokerError::Unroutable(_))));
    }

    let error = refused(&secured.url("localhost", "")).await;
    assert!(matches!(&error, StartError::Certificate { reason, .. } if reason.contains("cacertfile=")), "{error}");
    let error = refused(&secured.url("127.0.0.1", &authority)).await;
    assert!(matches!(&error, StartError::Certificate { reason, .. } if reason.contains("localhost")), "{error}");
    let error = refused(&secured.node.url().replace("amqp://", "amqps://")).await;
    assert!(matches!(&error, StartError::NoAnswer { reason, .. } if reason.contains("does not speak TLS")), "{error}");
    let error = refused(&secured.url("localhost", "?cacertfile=/nowhere")).await;
    assert!(matches!(&error, StartError::Url(reason) if reason.contains("/nowhere cannot be read")), "{error}");
    let error = refused(&secured.url("localhost", "").replace("amqps://", "amqp://")).await;
    assert!(matches!(&error, StartError::NoAnswer { .. }), "{error}");
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_shown() {
    let secured = Secured::start();
    drop(secured.node.broker().await);
    let own = |name: &str| secured.file(&format!("client.{name}"));
    let (authority, certificate, key) = (secured.file("authority.pem"), own("pem"), own("key"));
    let query = format!("?cacertfile={authority}&certfile={certificate}&keyfile={key}");
    let _broker = RabbitBroker::start(&secured.url("localhost", &query), CancellationToken::new()).await.unwrap();
    let shown = secured.node.control(&["list_connections", "peer_cert_subject"]).await;
    assert!(shown.contains("CN=a-client"), "{shown}");
}
