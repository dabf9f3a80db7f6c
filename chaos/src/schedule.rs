//! Which fault comes when, how long it lasts and whom it hits: all of it from the seed. Doing it is in `faults.rs`.

use std::time::Duration;

use crate::random::Random;

/// A kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Gateway,
    Control,
    Executor,
    Projections,
    /// All parts in one process, with the embedded broker.
    Stepcast,
    RabbitMq,
    Postgres,
    HaProxy,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Control => "control",
            Self::Executor => "executor",
            Self::Projections => "projections",
            Self::Stepcast => "stepcast",
            Self::RabbitMq => "RabbitMQ",
            Self::Postgres => "PostgreSQL",
            Self::HaProxy => "HAProxy",
        }
    }
}

/// Whose connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Of one process of a kind to a server.
    Of(Kind, usize, Kind),
    /// All that lead to a server.
    To(Kind),
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// kill -9, and a start after this time.
    Kill(Kind, usize, Duration),
    /// SIGSTOP, and SIGCONT after this time.
    Pause(Kind, usize, Duration),
    /// Connections are cut; new ones are let through.
    Cut(Links),
    /// Nothing gets through for this time, and nobody is told.
    Stall(Links, Duration),
    /// Every piece of data comes later by the first time, for as long as the second one.
    Slow(Links, Duration, Duration),
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// How long after the former one.
    pub(crate) after: Duration,
    pub(crate) blow: Blow,
}

/// Gives fault after fault. Every fault of the list comes once before any comes again.
pub(crate) struct Schedule {
    random: Random,
    lease: Duration,
    embedded: bool,
    bag: Vec<Blow>,
}

/// Pauses of executors that are longer than this are meant to outlast a lease.
const ALONE_FROM: Duration = Duration::from_secs(6);
/// How many processes of each kind a cluster has.
pub(crate) const OF_EACH: usize = 2;
/// The kinds of Stepcast's own processes in a cluster.
pub(crate) const PARTS: [Kind; 4] = [Kind::Gateway, Kind::Control, Kind::Executor, Kind::Projections];

impl Schedule {
    pub(crate) fn new(random: Random, lease: Duration, embedded: bool) -> Self {
        Self { random, lease, embedded, bag: Vec::new() }
    }

    pub(crate) fn next(&mut self) -> Fault {
        if self.bag.is_empty() {
            self.bag = if self.embedded { self.of_one_process() } else { self.of_a_cluster() };
            self.random.shuffle(&mut self.bag);
        }
        let blow = self.bag.pop().unwrap_or(Blow::Cut(Links::To(Kind::RabbitMq)));
        // One process is away as a whole after each blow: it needs some time to get something done.
        let (from, to) = if self.embedded { (3_000, 9_000) } else { (1_000, 4_500) };
        Fault { after: self.random.millis(from, to), blow }
    }

    fn of_one_process(&mut self) -> Vec<Blow> {
        let mut blows: Vec<Blow> =
            (0..6).map(|_| Blow::Kill(Kind::Stepcast, 0, self.random.millis(0, 2_000))).collect();
        blows.extend((0..2).map(|_| Blow::Pause(Kind::Stepcast, 0, self.random.millis(200, 3_000))));
        blows.push(Blow::Pause(Kind::Stepcast, 0, self.beyond_the_lease()));
        blows
    }

    fn of_a_cluster(&mut self) -> Vec<Blow> {
        let mut blows = Vec::new();
        let parts = PARTS.iter().flat_map(|kind| (0..OF_EACH).map(move |n| (*kind, n)));
        let servers = [Kind::RabbitMq, Kind::Postgres, Kind::HaProxy].map(|kind| (kind, 0));
        for (kind, n) in parts.chain(servers) {
            blows.push(Blow::Kill(kind, n, self.random.millis(0, 3_000)));
            blows.push(Blow::Pause(kind, n, self.random.millis(200, 4_000)));
        }
        blows.extend((0..OF_EACH).map(|n| Blow::Pause(Kind::Executor, n, self.beyond_the_lease())));
        blows.push(Blow::Pause(Kind::Control, self.random.below(OF_EACH), self.random.millis(6_000, 9_000)));
        for kind in PARTS {
            let links = Links::Of(kind, self.random.below(OF_EACH), Kind::RabbitMq);
            blows.push(Blow::Cut(links));
            blows.push(Blow::Stall(links, self.random.millis(500, 5_000)));
        }
        for kind in [Kind::Gateway, Kind::Control, Kind::Projections] {
            let links = Links::Of(kind, self.random.below(OF_EACH), Kind::Postgres);
            blows.push(Blow::Cut(links));
            blows.push(Blow::Stall(links, self.random.millis(500, 5_000)));
        }
        let alone = Links::Of(Kind::Executor, self.random.below(OF_EACH), Kind::RabbitMq);
        blows.push(Blow::Stall(alone, self.beyond_the_lease()));
        for server in [Kind::RabbitMq, Kind::Postgres] {
            let delay = self.random.millis(5, if server == Kind::RabbitMq { 150 } else { 30 });
            blows.push(Blow::Cut(Links::To(server)));
            blows.push(Blow::Slow(Links::To(server), delay, self.random.millis(3_000, 8_000)));
        }
        blows
    }

    /// By so much that another executor has time to begin the next attempt.
    fn beyond_the_lease(&mut self) -> Duration {
        self.lease + self.random.millis(4_000, 10_000)
    }
}

impl Blow {
    /// The word of the report.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Kill(..) => "kill -9",
            Self::Pause(..) => "pause",
            Self::Cut(_) => "connections cut",
            Self::Stall(..) => "connections stalled",
            Self::Slow(..) => "connections slow",
        }
    }

    /// Whom it hits, for the report.
    pub(crate) fn whom(&self) -> String {
        match self {
            Self::Kill(kind, ..) | Self::Pause(kind, ..) => kind.name().to_owned(),
            Self::Cut(links) | Self::Stall(links, _) | Self::Slow(links, ..) => match links {
                Links::Of(kind, _, server) => format!("{} to {}", kind.name(), server.name()),
                Links::To(server) => format!("all to {}", server.name()),
            },
        }
    }

    /// What it keeps busy: two faults do not hit the same at once.
    pub(crate) fn place(&self) -> (Kind, usize) {
        match self {
            Self::Kill(kind, n, _) | Self::Pause(kind, n, _) => (*kind, *n),
            Self::Cut(links) | Self::Stall(links, _) | Self::Slow(links, ..) => match links {
                Links::Of(kind, n, _) => (*kind, *n),
                Links::To(server) => (*server, 0),
            },
        }
    }

    /// Whether nothing else must be struck meanwhile: while an executor is stopped for longer than a lease, control is to give
    /// its jobs to another one. Only then do attempts overlap if nobody ends the steps of the first.
    pub(crate) fn stands_alone(&self) -> bool {
        matches!(self, Self::Pause(Kind::Executor, _, time) if *time > ALONE_FROM)
    }

    /// How long it lasts.
    pub(crate) fn lasts(&self) -> Duration {
        match self {
            Self::Kill(_, _, time) | Self::Pause(_, _, time) | Self::Stall(_, time) | Self::Slow(_, _, time) => *time,
            Self::Cut(_) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn faults(seed: u64, embedded: bool) -> Vec<Fault> {
        let mut schedule = Schedule::new(Random::new(seed, 0), Duration::from_secs(10), embedded);
        (0..60).map(|_| schedule.next()).collect()
    }

    #[test]
    fn a_seed_repeats_its_faults() {
        assert_eq!(faults(3, false), faults(3, false));
        assert_ne!(faults(3, false), faults(4, false));
    }

    #[test]
    fn every_kind_of_process_is_killed_and_paused_and_both_servers_are_cut_and_slow() {
        let done: BTreeSet<String> =
            faults(1, false).iter().map(|fault| format!("{} {}", fault.blow.name(), fault.blow.whom())).collect();
        for kind in PARTS.into_iter().chain([Kind::RabbitMq, Kind::Postgres, Kind::HaProxy]) {
            assert!(done.contains(&format!("kill -9 {}", kind.name())), "{done:?}");
            assert!(done.contains(&format!("pause {}", kind.name())), "{done:?}");
        }
        for server in ["RabbitMQ", "PostgreSQL"] {
            assert!(done.contains(&format!("connections cut all to {server}")), "{done:?}");
            assert!(done.contains(&format!("connections slow all to {server}")), "{done:?}");
        }
    }

    #[test]
    fn some_pauses_outlast_the_lease() {
        for embedded in [true, false] {
            let long = |fault: &Fault| matches!(fault.blow, Blow::Pause(Kind::Executor | Kind::Stepcast, _, time) if time > Duration::from_secs(10));
            assert!(faults(1, embedded).iter().any(long));
        }
    }
}
