//! The highest rate of callbacks that one gateway holds: nothing lost, nothing doubled, p99 below a limit. Found by
//! doubling, then halving the distance between a rate that was held and one that was not.

use std::time::Duration;

use crate::{
    Setting,
    failure::Result,
    gateway::{
        field::Field,
        fleet::Fleet,
        producer::{self, Producer},
    },
    report::Row,
    samples::Samples,
};

const CLIENTS: usize = 1000;
/// Callbacks in one message of a producer that batches: what gathers for one server id within moments.
const BATCH: usize = 50;
/// The 99th percentile of a rate that is held, in milliseconds.
const P99_MAX: f64 = 100.0;
/// Where the search begins, a second.
const FIRST: f64 = 4000.0;
/// The search ends where the rate that was held is so close to the one that was not.
const CLOSE: f64 = 0.94;
/// A producer that needs so much longer than planned did not send at that rate.
const LATE: f64 = 1.05;
/// Time to come for what is late: then it is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of those that are measured.
struct Entry {
    name: String,
    fleet: Fleet,
    batch: usize,
    rates: Samples,
    /// Why the rates above it were not held.
    limit: String,
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let field = Field::start(setting, "rate")?;
    let contenders = field.contenders(setting)?;
    let mut entries = Vec::new();
    for contender in &contenders {
        let mut add = |name: &str, receipts, batch| {
            let fleet = Fleet::open(&contender.door, CLIENTS, producer::mark, receipts)?;
            let (rates, limit) = Default::default();
            entries.push(Entry { name: name.to_owned(), fleet, batch, rates, limit });
            Ok(())
        };
        add(contender.name, contender.has_receipts(), 1)?;
        if contender.has_receipts() {
            add("Stepcast, clients without receipts", false, 1)?;
            add("Stepcast, batches", true, BATCH)?;
            add("Stepcast, batches, clients without receipts", false, BATCH)?;
        }
    }
    let mut producer = field.producer()?;
    let (rounds, seconds) = (setting.samples(3, 1), setting.samples(3, 1));
    for _ in 0..rounds {
        for entry in &mut entries {
            let rate = entry.highest(&mut producer, seconds as f64)?;
            entry.rates.push(rate);
        }
    }
    let bare = entries[0].rates.percentile(50);
    let how = |entry: &Entry| {
        let ratio = entry.rates.percentile(50) / bare;
        format!(
            "{ratio:.2} x the bare loop; {:.0} to {:.0} in {rounds} rounds; above it: {}",
            entry.rates.percentile(0),
            entry.rates.percentile(100),
            entry.limit
        )
    };
    let measured = |entry: &Entry| format!("{:.0} a second", entry.rates.percentile(50));
    let (single, batches) = (&entries[2], &entries[4]);
    let conditions = format!("{CLIENTS} clients, steps of {seconds} s, p99 below {P99_MAX} ms, every message counted");
    let figure = |name: &str, peer, aim, entry| {
        Row::figure(name, measured(entry), peer, aim, format!("{}; {conditions}", how(entry)))
    };
    let detail = |entry: &Entry| Row::detail(&entry.name, measured(entry), how(entry));
    Ok(vec![
        figure("highest rate, single messages", "Node 30,000", "0.9 x bare loop", single),
        detail(&entries[0]),
        detail(&entries[1]),
        detail(&entries[3]),
        figure(&format!("highest rate, {BATCH} callbacks in a message"), "", "3 x bare loop", batches),
        detail(&entries[5]),
    ])
}

impl Entry {
    fn highest(&mut self, producer: &mut Producer, seconds: f64) -> Result<f64> {
        // Half of what was held before is a good place to begin.
        let mut rate = if self.rates.count() > 0 { self.rates.percentile(50) / 2.0 } else { FIRST };
        let (mut held, mut missed) = (0.0, f64::INFINITY);
        while held < missed * CLOSE {
            match self.is_held(producer, rate, seconds)? {
                None => held = rate,
                Some(reason) => {
                    missed = rate;
                    self.limit = reason;
                }
            }
            rate = if missed.is_finite() { f64::midpoint(held, missed) } else { held * 2.0 };
            if rate < 100.0 {
                break;
            }
        }
        Ok(held)
    }

    /// None if this rate is held, else why not.
    fn is_held(&self, producer: &mut Producer, rate: f64, seconds: f64) -> Result<Option<String>> {
        let count = (rate * seconds) as usize;
        self.fleet.tally.expect(count);
        let took = producer.publish(&self.fleet.addresses, count, rate, self.batch)?;
        let came = self.fleet.tally.wait(PATIENCE);
        let p99 = came.took.percentile(99);
        let late = took.as_secs_f64() / seconds;
        Ok(if came.missing() > 0 || came.doubled > 0 {
            Some(format!("{} lost and {} doubled of {count}", came.missing(), came.doubled))
        } else if late > LATE {
            Some(format!("the producer needed {late:.2} of the time at {rate:.0}"))
        } else if p99 >= P99_MAX {
            Some(format!("p99 {p99:.0} ms at {rate:.0}"))
        } else {
            None
        })
    }
}
