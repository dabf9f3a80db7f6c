//! Callbacks at a steady 1,000 a second to 1,000 clients: how long one takes, and what it costs the gateway.

use std::time::Duration;

use crate::{
    Setting,
    failure::Result,
    gateway::{contender::Contender, field::Field, fleet::Fleet, producer},
    processes::processor_time,
    report::Row,
    samples::Samples,
};

const CLIENTS: usize = 1000;
const A_SECOND: f64 = 1000.0;
/// Published before the first round that counts.
const WARM_UP: usize = 2000;
/// So long after the last one was sent, a callback counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// One of those that are measured, with its clients and what came of it.
struct Entry<'a> {
    name: String,
    contender: &'a Contender,
    fleet: Fleet,
    p50: Samples,
    p99: Samples,
    cost: Samples,
    lost: usize,
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let field = Field::start(setting, "callback")?;
    let contenders = field.contenders(setting)?;
    let mut entries = Vec::new();
    for contender in &contenders {
        entries.push(Entry::new(contender.name.to_owned(), contender, contender.has_receipts())?);
        if contender.has_receipts() {
            entries.push(Entry::new("Stepcast, clients without receipts".to_owned(), contender, false)?);
        }
    }
    let mut producer = field.producer()?;
    let (rounds, seconds) = (setting.samples(5, 2), setting.samples(10, 3));
    let count = A_SECOND as usize * seconds;
    for round in 0..=rounds {
        for entry in &mut entries {
            let count = if round == 0 { WARM_UP } else { count };
            entry.fleet.tally.expect(count);
            let before = processor_time(entry.contender.pid)?;
            producer.publish(&entry.fleet.addresses, count, A_SECOND, 1)?;
            let came = entry.fleet.tally.wait(PATIENCE);
            let cost = processor_time(entry.contender.pid)?.saturating_sub(before);
            if round > 0 {
                entry.p50.push(came.took.percentile(50));
                entry.p99.push(came.took.percentile(99));
                entry.cost.push(cost.as_secs_f64() * 1e6 / count as f64);
                entry.lost += came.missing();
            }
        }
    }
    let how = format!(
        "medians of {rounds} rounds in turn, n = {count} each of {} bytes, {CLIENTS} clients; ",
        producer::BODY_BYTES
    );
    let times = |entry: &Entry<'_>| format!("{:.2} / {:.2} ms", entry.p50.percentile(50), entry.p99.percentile(50));
    let cost = |entry: &Entry<'_>| format!("{:.0} µs", entry.cost.percentile(50));
    let (bare, stepcast) = (&entries[0], &entries[2]);
    let ratio = |of: for<'e> fn(&'e Entry<'_>) -> &'e Samples| of(stepcast).percentile(50) / of(bare).percentile(50);
    let (p50, p99, costs) = (ratio(|entry| &entry.p50), ratio(|entry| &entry.p99), ratio(|entry| &entry.cost));
    let mut rows = vec![Row::figure(
        "callback at 1,000 a second, p50 / p99",
        times(stepcast),
        "Node 0.31 / 2.2 ms",
        "1.2 x bare loop",
        format!("{p50:.2} x / {p99:.2} x the bare loop; {how}published to read by the client"),
    )];
    let others = || entries.iter().filter(|entry| !std::ptr::eq(*entry, stepcast));
    rows.extend(others().map(|entry| entry.row(times(entry))));
    rows.push(Row::figure(
        "processor time of the gateway per message",
        cost(stepcast),
        "Node 203 µs",
        "75 µs",
        format!("{costs:.2} x the bare loop; {how}user and system time of its process"),
    ));
    rows.extend(others().map(|entry| entry.row(cost(entry))));
    Ok(rows)
}

impl<'a> Entry<'a> {
    fn new(name: String, contender: &'a Contender, receipts: bool) -> Result<Self> {
        let fleet = Fleet::open(&contender.door, CLIENTS, producer::mark, receipts)?;
        let (p50, p99, cost) = Default::default();
        Ok(Self { name, contender, fleet, p50, p99, cost, lost: 0 })
    }

    fn row(&self, measured: String) -> Row {
        Row::detail(&self.name, measured, format!("lost {}", self.lost))
    }
}
