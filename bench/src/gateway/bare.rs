//! The bare loop: the least that brings a message from RabbitMQ to a WebSocket. One consumer with manual acks, a map from
//! client id to sender, one task for each socket. It keeps no promise of Stepcast's: what it costs is what the libraries
//! and the system cost. `bench bare-loop` is this, in a process of its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{SinkExt as _, StreamExt as _};
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes, protocol::WebSocketConfig};
use uuid::Uuid;

use crate::failure::{Explain as _, Failure, Result};

/// Its queue, and the key that it is bound with.
const SERVER_ID: &str = "bare-0";
/// As Stepcast's gateway has it.
const PREFETCH: u16 = 4000;
/// As Stepcast's gateway has it: the library's own 128 KiB would be most of what an idle socket costs.
const READ_BYTES: usize = 4 * 1024;

#[derive(Default)]
struct Clients(Mutex<HashMap<Uuid, mpsc::UnboundedSender<Utf8Bytes>>>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, mpsc::UnboundedSender<Utf8Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that it reads of a message.
#[derive(Deserialize)]
struct Callback<'a> {
    client_id: Uuid,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// Runs until it is killed.
pub(crate) fn run(broker: &str) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().explain(|| "threads cannot be started".to_owned())?;
    runtime.block_on(async {
        let clients = Arc::<Clients>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.explain(|| "no port is free".to_owned())?;
        let consuming = tokio::spawn(consume(broker.to_owned(), Arc::clone(&clients)));
        let address = listener.local_addr().explain(|| "its port is not known".to_owned())?;
        println!("Listening on {address}");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&clients)));
            }
        });
        let ended = consuming.await.explain(|| "the consumer failed".to_owned())?;
        Err(Failure(format!("the consumer ended: {ended:?}")))
    })
}

async fn consume(broker: String, clients: Arc<Clients>) -> lapin::Result<()> {
    let connection = Connection::connect(&broker, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let (nothing, durable) = (FieldTable::default(), QueueDeclareOptions { durable: true, ..Default::default() });
    channel.queue_declare(SERVER_ID.into(), durable, nothing.clone()).await?;
    let bound = QueueBindOptions::default();
    channel.queue_bind(SERVER_ID.into(), "utils".into(), SERVER_ID.into(), bound, nothing.clone()).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut deliveries = channel.basic_consume(SERVER_ID.into(), "".into(), options, nothing).await?;
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery?;
        if let Ok(callback) = serde_json::from_slice::<Callback<'_>>(&delivery.data)
            && let Some(client) = clients.lock().get(&callback.client_id)
        {
            let text = format!(r#"{{"type":"callback","payload":{}}}"#, callback.payload.get());
            let _ = client.send(text.into()); // It may have gone: then this is lost.
        }
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

async fn serve(stream: TcpStream, clients: Arc<Clients>) {
    let _ = stream.set_nodelay(true);
    let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
    let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await else { return };
    let id = Uuid::new_v4();
    let (sender, mut texts) = mpsc::unbounded_channel();
    clients.lock().insert(id, sender);
    let hello = format!(r#"{{"type":"hello","client_id":"{id}","server_id":"{SERVER_ID}"}}"#);
    let mut is_open = socket.send(Message::text(hello)).await.is_ok();
    while is_open {
        is_open = tokio::select! {
            Some(text) = texts.recv() => socket.send(Message::Text(text)).await.is_ok(),
            heard = socket.next() => matches!(heard, Some(Ok(_))),
        };
    }
    clients.lock().remove(&id);
}
