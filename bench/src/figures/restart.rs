//! kill -9 in the middle of a build, a restart at once, and the build going on as its second attempt.

use std::time::{Duration, Instant};

use wire::{Event, Topic, frame::Incoming, log::RecordedLine};

use crate::{
    Setting,
    failure::{Explain as _, Failure, Result},
    report::Row,
    samples::Samples,
    server::Server,
    socket::{PATIENCE, Socket, clock},
};

/// How often the second attempt's record is looked for.
const LOOK: Duration = Duration::from_millis(5);
const YAML: &str = "name: long\njobs:\n  a:\n    steps:\n      - run: echo \"${EPOCHREALTIME/./}\"; sleep 600\n";

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let mut server = Server::start(setting, "restart")?;
    server.apply("long", YAML)?;
    let (mut went_on, mut listening, mut readable) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..setting.samples(7, 2) {
        let socket = Socket::open(&server)?;
        let build = server.trigger("long", Some(&socket.meta))?;
        let job = loop {
            let Incoming::Event(event) = socket.next()?.parse()? else { continue };
            if let (Topic::Job(job), Event::Log { .. }) = (event.topic, event.event) {
                break job;
            }
        };
        let (killed, killed_clock) = (Instant::now(), clock());
        server.kill()?;
        server.restart()?;
        listening.add(killed.elapsed());
        let line = loop {
            if let Some(record) = server.record(job, 2)?
                && record.lines > 0
            {
                break record.text;
            }
            if killed.elapsed() > PATIENCE {
                return Err(Failure(format!("the build did not go on within {PATIENCE:?}")));
            }
            std::thread::sleep(LOOK);
        };
        readable.add(killed.elapsed());
        let line: RecordedLine =
            serde_json::from_str(line.trim()).explain(|| "the second attempt's line cannot be read".to_owned())?;
        let printed: i64 = line.line.text.parse().explain(|| "the step did not print its clock".to_owned())?;
        went_on.add_micros(printed - killed_clock);
        server.cancel(build.id)?;
    }
    Ok(vec![
        Row::figure(
            "kill -9, restart, build goes on",
            went_on.seconds(),
            "Buildbot 4.9 s; Laminar never",
            "2 s",
            format!(
                "median (extremes), n = {}: kill -9 to the second attempt's first line being printed; restart at once",
                went_on.count()
            ),
        ),
        Row::detail("until it listens again", listening.p50_millis(), "median".to_owned()),
        Row::detail("until that line is recorded", readable.seconds(), "median (extremes)".to_owned()),
    ])
}
