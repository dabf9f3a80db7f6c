//! What is sent to clients that are away for a second: whether they get it when they are back.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Setting,
    failure::{Explain as _, Result},
    gateway::{
        contender::Contender,
        field::Field,
        fleet::Fleet,
        member::{Door, crowd},
        producer::{self, Producer},
    },
    report::Row,
};

const CLIENTS: usize = 100;
/// Sent while they are away: ten to each.
const CALLBACKS: usize = 1000;
const AWAY: Duration = Duration::from_secs(1);
/// What has not come by then is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for those that keep nothing: there is nothing to wait for.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let field = Field::start(setting, "away")?;
    let mut producer = field.producer()?;
    let contenders = field.contenders(setting)?;
    let mut rows = Vec::new();
    for contender in &contenders {
        let patience = if contender.has_receipts() { PATIENCE } else { SHORT_PATIENCE };
        let (lost, how) = leave(contender, &contender.door, false, &mut producer, patience)?;
        rows.push(if contender.has_receipts() {
            Row::figure("sent while a client was away for 1 s, lost", lost, "all", "none", how)
        } else {
            Row::detail(contender.name, lost, how)
        });
    }
    rows.rotate_right(1); // Stepcast's stands first.
    let (north, south) = (&contenders[2], field.gateway("south")?);
    let (lost, how) = leave(north, &south.door, true, &mut producer, PATIENCE)?;
    let how = format!("{how}; kill -9 of its gateway when it goes, back at the other one");
    rows.push(Row::figure("the same, its instance killed", lost, "all", "none", how));
    Ok(rows)
}

/// Clients go, callbacks are sent, and the clients come back through `door`.
fn leave(
    from: &Contender,
    door: &Door,
    killed: bool,
    producer: &mut Producer,
    patience: Duration,
) -> Result<(String, String)> {
    let fleet = Fleet::open(&from.door, CLIENTS, producer::mark, from.has_receipts())?;
    let to = fleet.addresses.clone();
    let gone = Instant::now();
    if killed {
        let pid = i32::try_from(from.pid).ok().and_then(Pid::from_raw);
        pid.map_or(Ok(()), |pid| kill_process(pid, Signal::KILL))
            .explain(|| "a gateway cannot be killed".to_owned())?;
    }
    drop(fleet);
    producer.publish(&to, CALLBACKS, CALLBACKS as f64 / (AWAY.as_secs_f64() * 0.9), 1)?;
    std::thread::sleep(AWAY.saturating_sub(gone.elapsed()));
    let former: Vec<_> = to.into_iter().map(|address| address.resume).collect();
    let members = crowd(door, CLIENTS, &former)?;
    let back = Instant::now();
    // Read from here on: what came in between waits in the sockets.
    let fleet = Fleet::read_counting(members, producer::mark, from.has_receipts(), CALLBACKS)?;
    let came = fleet.tally.wait(patience);
    let took = if came.missing() == 0 {
        format!("all there {:.2} s after they were back", back.elapsed().as_secs_f64())
    } else {
        String::new()
    };
    let how = format!("{CALLBACKS} callbacks to {CLIENTS} clients; {} came twice; {took}", came.doubled);
    Ok((format!("{} of {CALLBACKS}", came.missing()), how))
}
