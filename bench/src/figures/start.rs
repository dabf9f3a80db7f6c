//! Starting, and what an idle server holds in memory.

use std::time::{Duration, Instant};

use crate::{
    Setting,
    failure::Result,
    processes::{Memory, children, memory},
    report::Row,
    samples::Samples,
    server::{Server, is_healthy},
};

/// So long after its start a server that nobody uses counts as idle.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let (mut first, mut again, mut healthy) = (Samples::default(), Samples::default(), Samples::default());
    let mut last = None;
    for _ in 0..setting.samples(10, 3) {
        drop(last.take()); // Ended before the next one empties its folder.
        let mut server = Server::start(setting, "start")?;
        first.add(server.listening_after);
        server.stop()?;
        server.restart()?;
        again.add(server.listening_after);
        server.stop()?;
        healthy.add(until_healthy(&mut server)?);
        last = Some(server);
    }
    let mut rows = vec![
        Row::figure(
            "cold start",
            first.p50_p99(),
            "Laminar 38 to 79 ms",
            "100 ms",
            format!(
                "p50 / p99, n = {}: process started to `Listening on`, empty folder, files in cache",
                first.count()
            ),
        ),
        Row::detail("with a folder that exists", again.p50_p99(), "p50 / p99, to `Listening on`".to_owned()),
        Row::detail("to 200 of /healthz", healthy.p50_p99(), "p50 / p99, asked every 0.2 ms, folder exists".to_owned()),
    ];
    if let Some(server) = last {
        std::thread::sleep(SETTLE);
        rows.extend(idle(&server)?);
    }
    Ok(rows)
}

fn until_healthy(server: &mut Server) -> Result<Duration> {
    let address = server.address.clone();
    let begun = Instant::now();
    // Asked from beside: the start returns only with its line, which comes later than the first answer may.
    let asking = std::thread::spawn(move || {
        while !is_healthy(&address) && begun.elapsed() < crate::socket::PATIENCE {
            std::thread::sleep(Duration::from_micros(200));
        }
        begun.elapsed()
    });
    server.restart()?;
    Ok(asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

fn idle(server: &Server) -> Result<Vec<Row>> {
    let guards = children(server.pid());
    let all: Vec<u32> = guards.iter().copied().chain([server.pid()]).collect();
    let (alone, together) = (memory(&[server.pid()])?, memory(&all)?);
    let text = |memory: Memory| format!("{:.1} MB", memory.rss as f64 * 1024.0 / 1e6);
    let pss = |memory: Memory| format!("PSS {:.1} MB", memory.pss as f64 * 1024.0 / 1e6);
    Ok(vec![
        Row::figure(
            "memory when idle",
            text(alone),
            "Laminar 8.6 MB",
            "30 MB",
            format!("RSS of serve {SETTLE:?} after its start; {}", pss(alone)),
        ),
        Row::detail(
            &format!("with its children ({})", guards.len()),
            text(together),
            format!("RSS, the guard that is kept warm; {}", pss(together)),
        ),
    ])
}
