//! Ten thousand sockets: how fast they come, what they hold in memory, and how fast they are back when all are cut.

use std::time::{Duration, Instant};

use crate::{
    Setting,
    failure::Result,
    gateway::{
        contender::Contender,
        field::Field,
        member::{Member, crowd},
    },
    processes::memory,
    report::Row,
    samples::Samples,
};

const SOCKETS: usize = 10_000;
/// Opened before the first reading: what the first ones bring along is no cost of a socket.
const WARM_UP: usize = 50;
/// So long after the last change memory is read.
const SETTLE: Duration = Duration::from_secs(2);

/// What came of one of those that are measured.
struct Entry {
    name: &'static str,
    /// KiB.
    each: f64,
    connects: Samples,
    back: Samples,
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let field = Field::start(setting, "crowd")?;
    let rounds = setting.samples(3, 1);
    let mut entries = Vec::new();
    for contender in field.contenders(setting)? {
        entries.push(of(&contender, rounds)?);
    }
    let mut rows = Vec::new();
    let mut add = |name: &str, peer, aim, how: String, of: &dyn Fn(&Entry) -> String| {
        let (stepcast, others) = (&entries[2], &entries[..2]);
        rows.push(Row::figure(name, of(stepcast), peer, aim, how));
        rows.extend(others.iter().map(|entry| Row::detail(entry.name, of(entry), String::new())));
    };
    let how =
        format!("growth of RSS by {SOCKETS} sockets that have read their first frame; the kernel's part not counted");
    add("memory per idle socket", "Node 10 KiB", "12 KiB", how, &|entry| format!("{:.1} KiB", entry.each));
    let how = format!("median of {rounds} rounds: {SOCKETS} clients, 16 at a time, to the first frame");
    let connects = |entry: &Entry| format!("{:.0}", entry.connects.percentile(50));
    add("connects a second", "Node 8,100", "8,000", how, &connects);
    let how = format!("median (extremes), {rounds} rounds; Stepcast's clients attach: to the second hello");
    add("10,000 sockets cut, all back", "Node 1.3 s", "1.5 s", how, &|entry| entry.back.seconds());
    Ok(rows)
}

fn of(contender: &Contender, rounds: usize) -> Result<Entry> {
    let (mut each, mut connects, mut back) = (0.0, Samples::default(), Samples::default());
    let _warm_up = crowd(&contender.door, WARM_UP, &[])?;
    for round in 0..rounds {
        std::thread::sleep(SETTLE);
        let before = memory(&[contender.pid])?;
        let begun = Instant::now();
        let mut members = crowd(&contender.door, SOCKETS, &[])?;
        connects.push(SOCKETS as f64 / begun.elapsed().as_secs_f64());
        if round == 0 {
            // Later rounds find memory that was given back already.
            std::thread::sleep(SETTLE);
            each = memory(&[contender.pid])?.rss.saturating_sub(before.rss) as f64 / SOCKETS as f64;
        }
        let former: Vec<_> = members.iter_mut().map(|member| member.resume.take()).collect();
        let cut = Instant::now();
        members.iter().for_each(Member::cut);
        drop(members);
        let again = crowd(&contender.door, SOCKETS, &former)?;
        back.add(cut.elapsed());
        drop(again);
    }
    Ok(Entry { name: contender.name, each, connects, back })
}
