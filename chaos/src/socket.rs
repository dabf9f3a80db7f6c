//! A watcher's connection: opened, asked whether it still lives, cut. What its frames mean is in `watcher.rs`.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::ClientRequestBuilder},
};
use wire::{ClientFrame, SUBPROTOCOL, frame::Incoming};

use crate::{
    api::Api,
    failure::{Explain as _, Failure, Result},
};

/// Where nothing answers for so long, nothing will.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// How often it is asked.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(4);

/// See the module.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    heard: Instant,
}

/// What comes next of a socket.
pub(crate) enum Heard {
    Frame(Box<Incoming>),
    /// The close code, where there was one.
    Closed(Option<u16>),
}

impl Socket {
    pub(crate) async fn open(api: &Api) -> Result<Self> {
        let opening = async {
            let stream = TcpStream::connect(&api.address).await.explain(|| "no connection".to_owned())?;
            stream.set_nodelay(true).explain(|| "the socket cannot be set up".to_owned())?;
            let uri = format!("ws://{}/ws", api.address).parse().explain(|| "no address".to_owned())?;
            let request = ClientRequestBuilder::new(uri)
                .with_header("authorization", format!("Bearer {}", api.token))
                .with_sub_protocol(SUBPROTOCOL);
            let (stream, _) = client_async(request, stream).await.explain(|| "no upgrade".to_owned())?;
            Ok(Self { stream, heard: Instant::now() })
        };
        let opened = tokio::time::timeout(SILENCE_MAX, opening).await;
        opened.map_err(|_| Failure("no answer to an upgrade".to_owned()))?
    }

    pub(crate) async fn send(&mut self, frame: &ClientFrame) {
        let text = serde_json::to_string(frame).unwrap_or_default();
        // A connection that has ended says so to who reads.
        let _ = tokio::time::timeout(SILENCE_MAX, self.stream.send(Message::text(text))).await;
    }

    /// The next frame. Cancelling it loses none.
    pub(crate) async fn next(&mut self) -> Result<Heard> {
        loop {
            let message = match self.stream.next().await {
                Some(Ok(message)) => message,
                Some(Err(_)) | None => return Ok(Heard::Closed(None)),
            };
            self.heard = Instant::now();
            match message {
                Message::Text(text) => {
                    let frame =
                        serde_json::from_str(&text).explain(|| format!("a frame that is none of ours: {text}"))?;
                    return Ok(Heard::Frame(Box::new(frame)));
                }
                Message::Close(close) => return Ok(Heard::Closed(close.map(|close| close.code.into()))),
                _ => {}
            }
        }
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.heard.elapsed() > SILENCE_MAX
    }
}
