//! One socket: reading, writing, pings and its end. What frames mean is the worker's business.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use wire::{CloseCode, frame::CLIENT_FRAME_BYTES_MAX};

use crate::{
    send_queue::{Next, SendQueue},
    worker::Event,
};

/// What a socket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketIn {
    /// A text frame.
    Text(String),
    /// A binary frame: closed with 1003.
    NotText,
    /// A frame above the limit: closed with 1009.
    TooLarge,
    /// A ping, answered below this layer.
    Ping,
    /// A pong.
    Pong,
    /// The other side closed, or the connection broke.
    Closed,
}

/// What is said to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketOut {
    /// A text frame.
    Text(Arc<str>),
    /// A ping.
    Ping,
    /// The end, with one sentence.
    Close(CloseCode, String),
}

/// Names a socket within a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SocketId(pub(crate) u64);

/// Serves a socket until it is closed. A socket that is to be closed gets `close_patience` to read what is left.
///
/// Reading and writing share one task. As two they share a lock: where processors are scarce, one that is halted while it
/// holds the lock keeps the other waiting, and callbacks with receipts came 60 to 150 ms late at the 99th percentile.
pub(crate) async fn run<S>(
    socket: S,
    id: SocketId,
    queue: &SendQueue,
    inbox: &mpsc::Sender<Event>,
    ping: Duration,
    close_patience: Duration,
) where
    S: Stream<Item = SocketIn> + Sink<SocketOut> + Send + Unpin + 'static,
{
    let (sink, stream) = socket.split();
    let writing = async {
        if write(sink, queue, ping).await.is_ok() {
            // The close frame is out: the other side answers it, and reading ends.
            std::future::pending::<()>().await;
        }
    };
    let overdue = async {
        queue.closing().cancelled().await;
        sleep(close_patience).await;
    };
    tokio::select! {
        () = read(stream, id, queue, inbox, ping * 2) => {}
        () = writing => {}
        () = overdue => {}
    }
}

/// Hands frames to the worker, one after the other: a client that sends faster than the worker takes is not read.
async fn read<S>(mut stream: S, id: SocketId, queue: &SendQueue, inbox: &mpsc::Sender<Event>, patience: Duration)
where
    S: Stream<Item = SocketIn> + Unpin,
{
    let mut heard_at = Instant::now();
    // Looked at when it is over, not set anew for each frame.
    let mut silence = pin!(sleep(patience));
    loop {
        let heard = tokio::select! {
            biased;
            heard = stream.next() => heard,
            () = &mut silence => {
                if heard_at.elapsed() >= patience {
                    queue.close(CloseCode::NoPong, format!("nothing was heard for {} s", patience.as_secs()));
                    heard_at = Instant::now();
                }
                silence.as_mut().reset(heard_at + patience);
                continue;
            }
        };
        heard_at = Instant::now();
        match heard {
            None | Some(SocketIn::Closed) => return,
            Some(_) if queue.closing().is_cancelled() => {}
            Some(SocketIn::Ping | SocketIn::Pong) => {}
            Some(SocketIn::NotText) => {
                queue.finish(CloseCode::Unsupported, "frames are JSON text; a binary frame came");
            }
            Some(SocketIn::Text(text)) if text.len() <= CLIENT_FRAME_BYTES_MAX => {
                if inbox.send(Event::Text { socket: id, text }).await.is_err() {
                    queue.close(CloseCode::Restart, "the worker restarts: come back");
                }
            }
            Some(SocketIn::Text(_) | SocketIn::TooLarge) => {
                queue.finish(CloseCode::TooLarge, format!("a frame may have {CLIENT_FRAME_BYTES_MAX} bytes"));
            }
        }
    }
}

/// Writes what waits, and pings. Ends after the close frame; fails when the socket takes no more.
async fn write<S>(mut sink: S, queue: &SendQueue, ping: Duration) -> Result<(), S::Error>
where
    S: Sink<SocketOut> + Unpin,
{
    let mut pings = interval(ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.tick().await; // The first one is due at once.
    loop {
        while let Some(next) = queue.try_next() {
            match next {
                Next::Text(text) => sink.feed(SocketOut::Text(text)).await?,
                Next::Close(code, reason) => return sink.send(SocketOut::Close(code, reason)).await,
            }
        }
        sink.flush().await?;
        tokio::select! {
            () = queue.ready() => {}
            _ = pings.tick() => sink.send(SocketOut::Ping).await?,
        }
    }
}
