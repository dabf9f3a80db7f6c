//! Does to the processes what the schedule says, until the time is over; then everything is let go.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::{
    cast::Cast,
    ledger::Ledger,
    link::Link,
    schedule::{Blow, Fault, Kind, Links, Schedule},
};

/// At most so many faults last at the same time.
const AT_ONCE_MAX: usize = 3;

/// A fault that stands alone waits so long for those who are not back yet.
const PATIENCE: Duration = Duration::from_secs(30);

/// Strikes until `end`, and waits until the last fault is over.
pub(crate) async fn run(cast: &Arc<Cast>, ledger: &Arc<Ledger>, mut schedule: Schedule, end: Instant) {
    let mut lasting: JoinSet<(Kind, usize)> = JoinSet::new();
    let mut busy = HashSet::new();
    loop {
        let Fault { after, blow } = schedule.next();
        if Instant::now() + after >= end {
            break;
        }
        tokio::time::sleep(after).await;
        while busy.len() >= AT_ONCE_MAX || busy.contains(&blow.place()) {
            match lasting.join_next().await {
                Some(Ok(place)) => busy.remove(&place),
                _ => break,
            };
        }
        if Instant::now() >= end {
            break;
        }
        if blow.stands_alone() {
            while lasting.join_next().await.is_some() {}
            busy.clear();
            for process in &cast.processes {
                // One that is not there in time is told at the end.
                let _ = process.until_there(PATIENCE).await;
            }
            strike(cast, ledger, blow).await;
            continue;
        }
        busy.insert(blow.place());
        let (cast, ledger) = (Arc::clone(cast), Arc::clone(ledger));
        lasting.spawn(async move {
            strike(&cast, &ledger, blow).await;
            blow.place()
        });
        while let Some(Ok(place)) = lasting.try_join_next() {
            busy.remove(&place);
        }
    }
    while lasting.join_next().await.is_some() {}
}

async fn strike(cast: &Cast, ledger: &Ledger, blow: Blow) {
    let seconds = blow.lasts().as_secs_f32();
    let whom = format!("{} of {}", blow.name(), blow.whom());
    match blow {
        Blow::Kill(kind, n, back_after) => {
            let Some(process) = cast.process(kind, n) else { return };
            ledger.fault(format!("kill -9 of {}, back after {seconds:.1} s", process.name), &whom);
            process.kill(back_after);
            tokio::time::sleep(back_after).await;
        }
        Blow::Pause(kind, n, time) => {
            let Some(process) = cast.process(kind, n) else { return };
            ledger.fault(format!("pause of {} for {seconds:.1} s", process.name), &whom);
            process.signal(Signal::STOP);
            tokio::time::sleep(time).await;
            process.signal(Signal::CONT);
            ledger.note(&format!("{} goes on", process.name));
        }
        Blow::Cut(links) => {
            ledger.fault(format!("connections cut: {}", describe(links)), &whom);
            cast.links(links).for_each(|link| link.cut());
        }
        Blow::Stall(links, time) => {
            ledger.fault(format!("connections stalled for {seconds:.1} s: {}", describe(links)), &whom);
            let links: Vec<&Arc<Link>> = cast.links(links).collect();
            links.iter().for_each(|link| link.stall(true));
            tokio::time::sleep(time).await;
            links.iter().for_each(|link| link.stall(false));
            ledger.note("the stalled connections go on");
        }
        Blow::Slow(links, delay, time) => {
            let told = format!("connections slow by {} ms for {seconds:.1} s: {}", delay.as_millis(), describe(links));
            ledger.fault(told, &whom);
            let links: Vec<&Arc<Link>> = cast.links(links).collect();
            links.iter().for_each(|link| link.slow(delay));
            tokio::time::sleep(time).await;
            links.iter().for_each(|link| link.slow(Duration::ZERO));
            ledger.note("the slow connections are quick again");
        }
    }
}

fn describe(links: Links) -> String {
    match links {
        Links::Of(kind, n, server) => format!("{}-{} to {}", kind.name(), n + 1, server.name()),
        Links::To(server) => format!("all to {}", server.name()),
    }
}
