//! The way from a process to RabbitMQ or PostgreSQL: a small proxy on a port of its own that can cut, stall and delay.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use crate::failure::{Explain as _, Result};

/// At most so many bytes are taken at once: each piece is delayed for itself, so this bounds what a slow way carries.
const PIECE_BYTES: usize = 64 * 1024;

/// See the module.
pub(crate) struct Link {
    pub(crate) port: u16,
    delay_ms: AtomicU64,
    stalled: watch::Sender<bool>,
    cuts: watch::Sender<u64>,
}

impl Link {
    /// Opens a way to `server`, a host and a port.
    pub(crate) async fn open(server: String) -> Result<Arc<Self>> {
        let bound = TcpListener::bind("127.0.0.1:0").await.explain(|| "no port is free for a proxy".to_owned())?;
        let port = bound.local_addr().explain(|| "a proxy has no address".to_owned())?.port();
        let (stalled, cuts) = (watch::Sender::new(false), watch::Sender::new(0));
        let link = Arc::new(Self { port, delay_ms: AtomicU64::new(0), stalled, cuts });
        let own = Arc::clone(&link);
        tokio::spawn(async move {
            while let Ok((near, _)) = bound.accept().await {
                tokio::spawn(Arc::clone(&own).carry(near, server.clone()));
            }
        });
        Ok(link)
    }

    /// Ends every connection that is open now.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lets nothing through until it is called with `false`.
    pub(crate) fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// Delays every piece.
    pub(crate) fn slow(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(0), Ordering::Relaxed);
    }

    async fn carry(self: Arc<Self>, near: TcpStream, server: String) {
        let mut cuts = self.cuts.subscribe();
        // A server that is away refuses: the process sees its connection end.
        let Ok(far) = TcpStream::connect(&server).await else { return };
        let _ = (near.set_nodelay(true), far.set_nodelay(true)); // Only slower without.
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::select! {
            () = self.pump(near_in, far_out) => {}
            () = self.pump(far_in, near_out) => {}
            _ = cuts.changed() => {}
        }
    }

    /// Until one end has ended.
    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut stalled = self.stalled.subscribe();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = match from.read(&mut piece).await {
                Ok(read) if read > 0 => read,
                _ => return,
            };
            if stalled.wait_for(|stalled| !stalled).await.is_err() {
                return;
            }
            match self.delay_ms.load(Ordering::Relaxed) {
                0 => {}
                delay => tokio::time::sleep(Duration::from_millis(delay)).await,
            }
            if to.write_all(&piece[..read]).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets, and a connection to it over a link.
    async fn echo() -> (Arc<Link>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let link = Link::open(address).await.unwrap();
        let socket = TcpStream::connect(("127.0.0.1", link.port)).await.unwrap();
        (link, socket)
    }

    #[tokio::test]
    async fn what_was_stalled_comes_when_it_is_let_through() {
        let (link, mut socket) = echo().await;
        link.stall(true);
        socket.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        let early = tokio::time::timeout(Duration::from_millis(50), socket.read_exact(&mut back)).await;
        assert!(early.is_err());
        link.stall(false);
        socket.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
    }

    #[tokio::test]
    async fn a_cut_ends_the_connections_that_are_open_and_no_later_one() {
        let (link, mut socket) = echo().await;
        socket.write_all(b"x").await.unwrap();
        socket.read_exact(&mut [0]).await.unwrap();
        link.cut();
        assert!(matches!(socket.read(&mut [0]).await, Ok(0) | Err(_)));
        let mut socket = TcpStream::connect(("127.0.0.1", link.port)).await.unwrap();
        socket.write_all(b"y").await.unwrap();
        socket.read_exact(&mut [0]).await.unwrap();
    }
}
