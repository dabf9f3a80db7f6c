//! Fifty trivial builds that wait for two slots.

use std::time::Instant;

use wire::frame::Incoming;

use crate::{
    Setting, failure::Result, life::is_build_finished, report::Row, samples::Samples, server::Server, socket::Socket,
};

const BUILDS: usize = 50;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let server = Server::start(setting, "queue")?;
    server.apply("one", "name: one\njobs:\n  a:\n    steps:\n      - run: \"true\"\n")?;
    let socket = Socket::open(&server)?;
    let (mut accepted, mut ended) = (Samples::default(), Samples::default());
    for _ in 0..setting.samples(5, 2) {
        let begun = Instant::now();
        for _ in 0..BUILDS {
            server.trigger("one", Some(&socket.meta))?;
        }
        accepted.add(begun.elapsed());
        let mut finished = 0;
        while finished < BUILDS {
            let frame = socket.next()?;
            if frame.lines().is_none()
                && let Incoming::Event(event) = frame.parse()?
                && is_build_finished(&event.event)
            {
                finished += 1;
            }
        }
        ended.add(begun.elapsed());
    }
    let a_minute = BUILDS as f64 * 60_000.0 / ended.percentile(50);
    Ok(vec![
        Row::figure(
            "50 queued trivial builds, 2 slots",
            format!("{a_minute:.0} a minute"),
            "Laminar 3,408 a minute",
            "3,500 a minute",
            format!(
                "median of {} rounds: first trigger sent (one connection, one after another) to last build_finished",
                ended.count()
            ),
        ),
        Row::detail("until all 50 are accepted", accepted.p50_millis(), "median".to_owned()),
        Row::detail("until all 50 have ended", ended.p50_millis(), "median".to_owned()),
    ])
}
