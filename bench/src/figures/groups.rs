//! How fast each consumer group reads the stream: paused while builds run, then resumed.

use std::time::{Duration, Instant};

use crate::{
    Setting,
    failure::{Failure, Result},
    report::Row,
    server::Server,
};

/// The recorder first: the search index follows it.
const GROUPS: [&str; 3] = ["recorder", "analytics", "search"];
/// Builds at the same time while the groups stand still.
const CLIENTS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    // The stream waits for a group for some thousand events: with more of them it would be rebuilt.
    let builds = setting.samples(480, 160);
    let server = Server::start(setting, "groups")?;
    server.apply("nothing", "name: nothing\njobs:\n  a:\n    steps:\n      - run: echo one\n")?;
    server.wait_for("nothing")?;
    for group in GROUPS {
        server.change_group(group, "pause")?;
        until("the group pauses", || Ok(server.group(group)?.is_paused.then_some(())))?;
    }
    std::thread::scope(|threads| {
        let run = || (0..builds / CLIENTS).try_for_each(|_| server.wait_for("nothing").map(drop));
        let clients: Vec<_> = (0..CLIENTS).map(|_| threads.spawn(run)).collect();
        clients.into_iter().try_for_each(|client| {
            client.join().unwrap_or_else(|_| Err(Failure("a client of the bench panicked".to_owned())))
        })
    })?;
    let mut rows = Vec::new();
    for group in GROUPS {
        let stood = server.group(group)?.offset;
        server.change_group(group, "resume")?;
        let (begun, from) = until("the group reads on", || {
            let offset = server.group(group)?.offset;
            Ok((offset > stood).then(|| (Instant::now(), offset)))
        })?;
        let to = until("the group has read all", || {
            let now = server.group(group)?;
            Ok((now.lag == 0).then_some(now.offset))
        })?;
        let took = begun.elapsed().as_secs_f64();
        let speed =
            if to > from { format!("{:.0} events a second", (to - from) as f64 / took) } else { "at once".to_owned() };
        let how = format!("{} events in {took:.2} s behind the first batch", to - from);
        rows.push(match group {
            "recorder" => Row::figure("a consumer group catches up: recorder", speed, "", "", how),
            other => Row::detail(other, speed, how),
        });
    }
    Ok(rows)
}

/// Looks until there is something.
fn until<T>(what: &str, look: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            return Err(Failure(format!("this does not happen: {what}")));
        }
        std::thread::yield_now();
    }
}
