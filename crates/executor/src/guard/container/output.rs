//! What is printed for people. Steps print into a named pipe that the executor reads and their container is shown: no
//! engine stands between, so what was printed is there when a step has ended, in order, and what a step left in the
//! background may go on printing.

use std::{path::Path, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
    sync::Mutex,
};

use crate::{engine::Stream, guard::open_pipe};

/// A frame's header: the stream's number, three zeros, and the length of what follows.
const HEADER_BYTES: usize = 8;
/// Bytes of what a short program prints.
const COLLECTED_BYTES_MAX: usize = 16 * 1024;

/// Lines of the guard's own on their way to the executor. Where the pipe is full, they wait.
#[derive(Clone)]
pub(super) struct Printer(Arc<Mutex<pipe::Sender>>);

impl Printer {
    /// Prints into the named pipe at `path`.
    ///
    /// # Errors
    /// When it is none any more; one sentence.
    pub(super) fn new(path: &Path) -> Result<Self, String> {
        let pipe = pipe::Sender::from_file(open_pipe(path)?);
        let pipe = pipe.map_err(|error| format!("the pipe {} cannot be written: {error}", path.display()))?;
        Ok(Self(Arc::new(Mutex::new(pipe))))
    }

    /// Prints a line. That nobody reads shows elsewhere.
    pub(super) async fn line(&self, text: &str) {
        let _ = self.0.lock().await.write_all(format!("{text}\n").as_bytes()).await;
    }
}

/// What a short program prints to its engine, until its end.
pub(super) async fn collected(mut from: Stream) -> String {
    let (mut text, mut header) = (Vec::new(), [0; HEADER_BYTES]);
    while from.read_exact(&mut header).await.is_ok() {
        let length = u64::from(u32::from_be_bytes([header[4], header[5], header[6], header[7]]));
        let mut piece = (&mut from).take(length);
        let room = u64::try_from(COLLECTED_BYTES_MAX.saturating_sub(text.len())).unwrap_or(0);
        // The rest is read too: a full pipe must not stop who prints.
        let read = async {
            (&mut piece).take(room).read_to_end(&mut text).await?;
            tokio::io::copy(&mut piece, &mut tokio::io::sink()).await
        };
        if read.await.is_err() {
            break;
        }
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}
