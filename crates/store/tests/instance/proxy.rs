//! A network between a store and its server that fails where a test wants it to.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// How it fails next, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not at all.
    None,
    /// The connection is cut before a commit reaches the server.
    BeforeCommit,
    /// The connection is cut before the answer to a commit reaches the store.
    AfterCommit,
    /// The store hangs in the middle of a transaction: nothing that it says arrives any more.
    InTransaction,
}

/// A port that leads to a server.
pub(crate) struct Proxy {
    /// The port.
    pub(crate) port: u16,
    fault: Arc<Mutex<Fault>>,
}

impl Proxy {
    /// Opens a port that leads to `server`.
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fault = Arc::new(Mutex::new(Fault::None));
        let next = fault.clone();
        tokio::spawn(async move {
            while let Ok((store, _)) = listener.accept().await {
                let (server, fault) = (TcpStream::connect(&server).await.unwrap(), next.clone());
                // However it ends: both sides see that the connection is gone.
                tokio::spawn(async move { carry(store, server, &fault).await });
            }
        });
        Self { port, fault }
    }

    /// Fails so at the next occasion.
    pub(crate) fn fail(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Whether it has failed since.
    pub(crate) fn has_failed(&self) -> bool {
        *self.fault.lock().unwrap() == Fault::None
    }
}

/// Carries bytes both ways until one side ends or the fault comes.
async fn carry(mut store: TcpStream, mut server: TcpStream, fault: &Mutex<Fault>) -> std::io::Result<()> {
    let (mut said, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            count = store.read(&mut said) => {
                let said = match count? {
                    0 => return Ok(()),
                    count => &said[..count],
                };
                match fault_at(said, fault) {
                    Fault::None => server.write_all(said).await?,
                    Fault::BeforeCommit => return Ok(()),
                    Fault::AfterCommit => {
                        server.write_all(said).await?;
                        return server.read(&mut answered).await.map(drop);
                    }
                    Fault::InTransaction => {
                        // The server ends this one by itself; the store hears nothing of it.
                        while server.read(&mut answered).await? > 0 {}
                        std::future::pending::<()>().await;
                    }
                }
            }
            count = server.read(&mut answered) => match count? {
                0 => return Ok(()),
                count => store.write_all(&answered[..count]).await?,
            },
        }
    }
}

/// The fault, if this is the occasion for it.
fn fault_at(said: &[u8], fault: &Mutex<Fault>) -> Fault {
    let mut next = fault.lock().unwrap();
    let word: &[u8] = match *next {
        Fault::None => return Fault::None,
        Fault::BeforeCommit | Fault::AfterCommit => b"COMMIT\0",
        Fault::InTransaction => b"INSERT INTO",
    };
    if said.windows(word.len()).any(|part| part == word) {
        return std::mem::replace(&mut *next, Fault::None);
    }
    Fault::None
}
