//! A live query that 1,000 sockets watch: from a trigger to the last of them having been told.

use std::time::Duration;

use crate::{
    Setting,
    failure::{Explain as _, Result},
    gateway::{
        fleet::Fleet,
        member::{Door, crowd},
        micros,
    },
    report::Row,
    samples::Samples,
    server::Server,
};

const WATCHERS: usize = 1000;
/// Between two changes: longer than the server gathers changes of one query.
const PAUSE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);
/// Builds that are there before, so that a change is shorter than the whole result.
const BEFORE: usize = 20;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let rounds = setting.samples(40, 10);
    let server = Server::start(setting, "live-query")?;
    // No executor has the label: each trigger is one change, and no more.
    server.apply("waits", "name: waits\njobs:\n  a:\n    labels: [nobody]\n    steps:\n      - run: \"true\"\n")?;
    for _ in 0..BEFORE {
        server.trigger("waits", None)?;
    }
    let address = server.address.parse().explain(|| format!("{} is no address", server.address))?;
    let mut members = crowd(&Door { address, token: Some(server.token.clone()) }, WATCHERS, &[])?;
    for member in &mut members {
        member.say(
            r#"{"type":"subscribe","topic":"query","id":"q","query":{"builds":{"pipeline":"waits","limit":20}},"patch":true}"#,
        )?;
        while !member.next_text()?.starts_with(r#"{"type":"result""#) {}
    }
    let fleet = Fleet::read(members, mark, false)?;
    let mut all = Samples::default();
    for _ in 0..rounds {
        std::thread::sleep(PAUSE);
        fleet.tally.expect(WATCHERS);
        let sent = micros();
        server.trigger("waits", None)?;
        let came = fleet.tally.wait(PATIENCE);
        if came.missing() == 0 {
            all.add(Duration::from_micros(came.last.saturating_sub(sent)));
        }
    }
    Ok(vec![Row::figure(
        "live query to 1,000 sockets",
        all.p50_p99(),
        "",
        "",
        format!(
            "p50 / p99, trigger sent to the difference read by the last; {} of {rounds} changes reached all; one evaluation each",
            all.count()
        ),
    )])
}

/// Each watcher is to be told once.
fn mark(member: usize, text: &str) -> Option<(usize, u64)> {
    text.starts_with(r#"{"type":"change""#).then(|| (member, micros()))
}
