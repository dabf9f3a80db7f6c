//! Requests that wait for their build (`Prefer: wait`) on a pipeline that does nothing: what a program meets that takes
//! Stepcast for a function call.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{
    Setting,
    failure::{Failure, Result},
    report::Row,
    samples::Samples,
    server::Server,
};

/// Clients at the same time, each on a connection that is kept.
const CLIENTS: usize = 16;
/// Requests of one client alone before and while it is measured.
const WARM_UP: usize = 5;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let (alone, each) = (setting.samples(200, 40), setting.samples(100, 20));
    let server = Server::start(setting, "wait")?;
    server.apply("nothing", "name: nothing\njobs:\n  a:\n    steps:\n      - run: \"true\"\n")?;
    for _ in 0..WARM_UP {
        server.wait_for("nothing")?;
    }
    let one = in_a_row(&server, alone)?;
    let all = Mutex::new((Samples::default(), None));
    let begun = Instant::now();
    std::thread::scope(|threads| {
        for _ in 0..CLIENTS {
            threads.spawn(|| {
                let came = in_a_row(&server, each);
                // A client that panicked while it held this has told so.
                let mut all = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match came {
                    Ok(came) => all.0.extend(came),
                    Err(failure) => all.1 = Some(failure),
                }
            });
        }
    });
    let took = begun.elapsed();
    let (times, failure) = all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failure.map_or(Ok(()), Err::<(), Failure>)?;
    let rate = times.count() as f64 / took.as_secs_f64();
    Ok(vec![
        Row::figure(
            "Prefer: wait on a no-op pipeline",
            format!("{rate:.0} a second"),
            "",
            "",
            format!(
                "{CLIENTS} clients, {} builds, each request answered 200 with its finished build; 2 slots",
                times.count()
            ),
        ),
        Row::detail("each of them", times.p50_p99(), "p50 / p99".to_owned()),
        Row::detail("one client alone", one.p50_p99(), format!("p50 / p99, n = {}", one.count())),
    ])
}

fn in_a_row(server: &Server, count: usize) -> Result<Samples> {
    let mut times = Samples::default();
    for _ in 0..count {
        let took: Duration = server.wait_for("nothing")?;
        times.add(took);
    }
    Ok(times)
}
