//! What an idle socket costs the server in memory.

use std::time::Duration;

use crate::{Setting, failure::Result, processes::memory, report::Row, server::Server, socket::open_idle};

const SOCKETS: usize = 1000;
/// Opened before the first reading: what the first ones bring along is no cost of a socket.
const WARM_UP: usize = 50;
/// So long after the last change memory is read.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let server = Server::start(setting, "sockets")?;
    let mut open = Vec::with_capacity(WARM_UP + SOCKETS);
    for _ in 0..WARM_UP {
        open.push(open_idle(&server)?);
    }
    std::thread::sleep(SETTLE);
    let before = memory(&[server.pid()])?;
    for _ in 0..SOCKETS {
        open.push(open_idle(&server)?);
    }
    std::thread::sleep(SETTLE);
    let after = memory(&[server.pid()])?;
    let each = after.rss.saturating_sub(before.rss) as f64 / SOCKETS as f64;
    Ok(vec![Row::figure(
        "memory per idle socket",
        format!("{each:.1} KiB"),
        "bare Rust loop 5 to 6 KiB",
        "12 KiB",
        format!(
            "RSS of serve with {SOCKETS} sockets more, after their first frame: {} to {} KiB; the kernel's part not counted",
            before.rss, after.rss
        ),
    )])
}
