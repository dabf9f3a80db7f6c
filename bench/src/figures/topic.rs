//! One message to 1,000 who watch a topic. Who has no topics publishes it for each of them.

use std::time::Duration;

use crate::{
    Setting,
    failure::Result,
    gateway::{
        field::Field,
        fleet::{Fleet, between},
        member::crowd,
        micros, producer,
    },
    report::Row,
    samples::Samples,
};

const WATCHERS: usize = 1000;
/// The build that is watched.
const BUILD: &str = "00000000-0000-4000-8000-00000000beef";
/// Between two messages, so that each meets an idle gateway.
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let field = Field::start(setting, "topic")?;
    let mut producer = field.producer()?;
    let rounds = setting.samples(40, 10);
    let contenders = field.contenders(setting)?;
    let mut measured = Vec::new();
    for contender in &contenders {
        let mut times = Samples::default();
        let mut members = crowd(&contender.door, WATCHERS, &[])?;
        let watches = contender.has_receipts();
        for member in members.iter_mut().filter(|_| watches) {
            member.say(&format!(r#"{{"type":"subscribe","topic":"build.{BUILD}"}}"#))?;
            while !member.next_text()?.starts_with(r#"{"type":"resumed""#) {}
        }
        let fleet = Fleet::read(members, if watches { mark } else { producer::mark }, false)?;
        for offset in 0..rounds {
            std::thread::sleep(PAUSE);
            fleet.tally.expect(WATCHERS);
            let sent = micros();
            if watches {
                producer.publish_one(&format!("build.{BUILD}"), &event(offset, sent))?;
            } else {
                producer.publish(&fleet.addresses, WATCHERS, f64::INFINITY, 1)?;
            }
            let came = fleet.tally.wait(PATIENCE);
            if came.missing() == 0 {
                times.add(Duration::from_micros(came.last.saturating_sub(sent)));
            }
        }
        measured.push((contender.name, times));
    }
    let how = |times: &Samples| format!("{} of {rounds} messages reached all", times.count());
    let (bare, stepcast) = (&measured[0].1, &measured[2].1);
    let ratio = stepcast.percentile(50) / bare.percentile(50);
    let mut rows = vec![Row::figure(
        "one message to 1,000 watchers of a topic",
        stepcast.p50_p99(),
        "Socket.IO room 12 ms",
        "10 ms",
        format!("p50 / p99, published to read by the last; {ratio:.2} x the bare loop; {}", how(stepcast)),
    )];
    let others = measured[..2].iter();
    rows.extend(
        others.map(|(name, times)| Row::detail(name, times.p50_p99(), format!("as 1,000 publishes; {}", how(times)))),
    );
    Ok(rows)
}

fn event(offset: usize, at: u64) -> String {
    format!(
        r#"{{"version":1,"topic":"build.{BUILD}","build":"{BUILD}","epoch":1,"offset":{offset},"at":{at},"event":{{"kind":"build_started"}}}}"#
    )
}

/// Each watcher is to get it once.
fn mark(member: usize, text: &str) -> Option<(usize, u64)> {
    Some((member, between(text, r#""at":"#, ',')?.parse().ok()?))
}
