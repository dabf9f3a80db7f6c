//! A WebSocket of the server, read by a thread of its own that notes when each frame came. What the frames mean for a
//! figure is in `life.rs` and `figures`.

use std::{
    net::{Shutdown, TcpStream},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tungstenite::{Message, Utf8Bytes, WebSocket, client::ClientRequestBuilder};
use wire::{SUBPROTOCOL, SocketMeta, frame::Incoming};

use crate::{
    failure::{Explain as _, Failure, Result},
    server::Server,
};

/// Nothing here takes longer unless it never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How every log event's frame goes on behind its position; text from a build cannot look so, its quotes are escaped.
const LOG_EVENT: &str = r#""event":{"kind":"log""#;
/// How every line in it begins.
const LINE: &str = r#"{"n":"#;

/// A frame and when it came.
pub(crate) struct Frame {
    pub(crate) at: Instant,
    /// The same on the machine's clock, in microseconds since 1970.
    pub(crate) clock: i64,
    text: Utf8Bytes,
}

impl Frame {
    /// How many log lines it carries; none if it carries something else. Without reading the lines, which would take
    /// the server's time on a small machine.
    pub(crate) fn lines(&self) -> Option<u64> {
        self.text.contains(LOG_EVENT).then(|| self.text.matches(LINE).count() as u64)
    }

    pub(crate) fn parse(&self) -> Result<Incoming> {
        serde_json::from_str(&self.text).explain(|| format!("this frame is none of ours: {}", self.text))
    }
}

/// An open socket.
pub(crate) struct Socket {
    /// To be sent along with a trigger.
    pub(crate) meta: SocketMeta,
    frames: Receiver<Frame>,
    stream: TcpStream,
}

impl Socket {
    /// Opens a socket and begins to read it.
    pub(crate) fn open(server: &Server) -> Result<Self> {
        let (mut socket, meta) = open_idle(server)?;
        let stream = socket.get_ref().try_clone().explain(|| "the socket cannot be shared".to_owned())?;
        let (sender, frames) = channel();
        std::thread::spawn(move || {
            while let Ok(message) = socket.read() {
                let frame = |text| Frame { at: Instant::now(), clock: clock(), text };
                if let Message::Text(text) = message
                    && sender.send(frame(text)).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { meta, frames, stream })
    }

    /// The next frame.
    pub(crate) fn next(&self) -> Result<Frame> {
        self.frames.recv_timeout(PATIENCE).explain(|| "the socket told nothing more".to_owned())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both); // Ends the reader; the server may have ended it before.
    }
}

/// Opens a socket and reads its first frame, the socket meta; nobody reads any further.
pub(crate) fn open_idle(server: &Server) -> Result<(WebSocket<TcpStream>, SocketMeta)> {
    let address = &server.address;
    let stream = TcpStream::connect(address).explain(|| format!("{address} cannot be reached"))?;
    stream.set_nodelay(true).explain(|| "the socket cannot be set up".to_owned())?;
    let uri = format!("ws://{address}/ws").parse().explain(|| format!("{address} is no address"))?;
    let request = ClientRequestBuilder::new(uri)
        .with_header("authorization", format!("Bearer {}", server.token))
        .with_sub_protocol(SUBPROTOCOL);
    let (mut socket, _) = tungstenite::client(request, stream).explain(|| "the upgrade was refused".to_owned())?;
    let first = socket.read().explain(|| "the socket has no first frame".to_owned())?;
    let text = first.to_text().explain(|| "the first frame is no text".to_owned())?;
    match serde_json::from_str(text) {
        Ok(Incoming::Hello { client_id, server_id, .. }) => Ok((socket, SocketMeta { client_id, server_id })),
        _ => Err(Failure(format!("the first frame is not `hello`: {text}"))),
    }
}

/// The machine's clock, in microseconds since 1970.
pub(crate) fn clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
