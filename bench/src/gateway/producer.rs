//! A program that publishes callbacks, as any program may: without confirms, at a steady rate, each message of
//! [`BODY_BYTES`]. The same for all that are measured.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, options::BasicPublishOptions};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::{
    failure::{Explain as _, Result},
    gateway::{
        fleet::{Address, between},
        micros,
    },
};

/// Bytes of a callback's body: between 200 and 300.
pub(crate) const BODY_BYTES: usize = 250;
/// Where callbacks are published.
const EXCHANGE: &str = "utils";
/// Not kept on a disk: it is the gateway that is measured.
const TRANSIENT: u8 = 1;

/// A connection to the broker.
pub(crate) struct Producer {
    runtime: Runtime,
    channel: Channel,
    _connection: Connection,
    /// Ids of messages are counted from here.
    ids: u128,
}

impl Producer {
    pub(crate) fn connect(broker: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.explain(|| "threads cannot be started".to_owned())?;
        let connected = runtime.block_on(async {
            let connection = Connection::connect(broker, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            Ok::<_, lapin::Error>((connection, channel))
        });
        let (connection, channel) = connected.explain(|| "the producer cannot reach the broker".to_owned())?;
        Ok(Self { runtime, channel, _connection: connection, ids: Uuid::new_v4().as_u128() })
    }

    /// Publishes `count` callbacks, `rate` a second, to the addresses in turn; the `n`th says that it is. Where `batch` is
    /// above 1, so many for one server id stand in one message. How long that took.
    pub(crate) fn publish(&mut self, to: &[Address], count: usize, rate: f64, batch: usize) -> Result<Duration> {
        let order = Order::new(to, batch);
        let (channel, first) = (&self.channel, self.ids);
        self.ids += count as u128 + batch as u128;
        let begun = Instant::now();
        let work = async {
            let mut n = 0;
            while n < count {
                let due = begun + Duration::from_secs_f64(n as f64 / rate);
                if due > Instant::now() {
                    tokio::time::sleep_until(due.into()).await;
                }
                let (server_id, body) = order.message(n, count, batch);
                let properties = properties(first + n as u128);
                publish(channel, server_id, body.as_bytes(), properties).await?;
                n += batch;
            }
            Ok::<_, lapin::Error>(())
        };
        self.runtime.block_on(work).explain(|| "the producer cannot publish".to_owned())?;
        Ok(begun.elapsed())
    }

    /// Publishes one body with this routing key.
    pub(crate) fn publish_one(&mut self, key: &str, body: &str) -> Result<()> {
        self.ids += 1;
        let sent = publish(&self.channel, key, body.as_bytes(), properties(self.ids));
        self.runtime.block_on(sent).explain(|| "the producer cannot publish".to_owned())
    }
}

async fn publish(channel: &Channel, key: &str, body: &[u8], properties: BasicProperties) -> lapin::Result<()> {
    let options = BasicPublishOptions::default();
    channel.basic_publish(EXCHANGE.into(), key.into(), options, body, properties).await.map(drop)
}

fn properties(id: u128) -> BasicProperties {
    let id = Uuid::from_u128(id).to_string();
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(id.into())
        .with_delivery_mode(TRANSIENT)
}

/// Who comes after whom. For batches, the clients of one server id stand together.
struct Order<'a> {
    groups: Vec<Vec<&'a Address>>,
}

impl<'a> Order<'a> {
    fn new(to: &'a [Address], batch: usize) -> Self {
        if batch == 1 {
            return Self { groups: vec![to.iter().collect()] };
        }
        let mut groups: Vec<Vec<&Address>> = Vec::new();
        for address in to {
            match groups.iter_mut().find(|group| group[0].server_id == address.server_id) {
                Some(group) => group.push(address),
                None => groups.push(vec![address]),
            }
        }
        Self { groups }
    }

    /// Key and body of the message that begins with the `n`th callback.
    fn message(&self, n: usize, count: usize, batch: usize) -> (&'a str, String) {
        let round = n / batch;
        let group = &self.groups[round % self.groups.len()];
        let place = round / self.groups.len() * batch;
        let address = |k: usize| group[(place + k) % group.len()];
        if batch == 1 {
            return (&address(0).server_id, callback(&address(0).client_id, n));
        }
        let mut body = String::with_capacity(batch * (BODY_BYTES + 1) + 1);
        for k in 0..batch.min(count - n) {
            body.push(if k == 0 { '[' } else { ',' });
            body.push_str(&callback(&address(k).client_id, n + k));
        }
        body.push(']');
        (&address(0).server_id, body)
    }
}

/// A callback for a client, with its number and the time.
pub(crate) fn callback(client_id: &str, n: usize) -> String {
    let mut body = String::with_capacity(BODY_BYTES);
    // Writing to a String does not fail.
    let _ = write!(body, r#"{{"client_id":"{client_id}","payload":{{"n":{n},"t":{},"text":""#, micros());
    let fill = BODY_BYTES.saturating_sub(body.len() + 3);
    body.extend(std::iter::repeat_n('x', fill));
    body.push_str(r#""}}"#);
    body
}

/// Number and time of a callback's frame.
pub(crate) fn mark(_: usize, text: &str) -> Option<(usize, u64)> {
    let from = text.rfind(r#"{"n":"#)?;
    Some((between(&text[from..], r#""n":"#, ',')?.parse().ok()?, between(&text[from..], r#""t":"#, ',')?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(client: &str, server: &str) -> Address {
        Address { client_id: client.to_owned(), server_id: server.to_owned(), resume: None }
    }

    #[test]
    fn a_callback_has_its_size_and_can_be_told_again() {
        let body = callback("00000000-0000-4000-8000-000000000001", 17);
        assert_eq!(body.len(), BODY_BYTES);
        assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
        assert_eq!(mark(0, &body).unwrap().0, 17);
    }

    #[test]
    fn a_batch_holds_clients_of_one_server_and_every_number_comes_once() {
        let to = [address("a", "north-0"), address("b", "north-1"), address("c", "north-0")];
        let order = Order::new(&to, 2);
        let mut numbers = Vec::new();
        for n in [0, 2, 4] {
            let (server_id, body) = order.message(n, 5, 2);
            for callback in serde_json::from_str::<Vec<serde_json::Value>>(&body).unwrap() {
                let client = callback["client_id"].as_str().unwrap().to_owned();
                assert!(to.iter().any(|known| known.client_id == client && known.server_id == server_id));
                numbers.push(callback["payload"]["n"].as_u64().unwrap());
            }
        }
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
    }
}
