//! The figures in the order of the table, each measured in the file of its name by its own server.

use crate::{Setting, failure::Result, report::Row};

mod ask;
mod away;
mod callback;
mod crowd;
mod groups;
mod line;
mod live_query;
mod log;
mod package;
mod queue;
mod rate;
mod restart;
mod search;
mod size;
mod sockets;
mod start;
mod steps;
mod topic;
mod trigger;
mod wait;

/// One or more lines of the table that are measured together.
pub(crate) struct Figure {
    /// As `--only` takes it.
    pub(crate) name: &'static str,
    pub(crate) measure: fn(&Setting) -> Result<Vec<Row>>,
    on: On,
}

/// What a figure is measured on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// One process with nothing beside it.
    Alone,
    /// A cluster: it is about RabbitMQ.
    Cluster,
    Both,
}

/// Those that are measured on a cluster, or on one process.
pub(crate) fn all(cluster: bool) -> impl Iterator<Item = &'static Figure> {
    let other = if cluster { On::Alone } else { On::Cluster };
    ALL.iter().filter(move |figure| figure.on != other)
}

const ALL: &[Figure] = &[
    Figure { name: "trigger", measure: trigger::measure, on: On::Both },
    Figure { name: "steps", measure: steps::measure, on: On::Both },
    Figure { name: "queue", measure: queue::measure, on: On::Both },
    Figure { name: "line", measure: line::measure, on: On::Both },
    Figure { name: "wait", measure: wait::measure, on: On::Both },
    Figure { name: "ask", measure: ask::measure, on: On::Both },
    Figure { name: "live-query", measure: live_query::measure, on: On::Both },
    Figure { name: "groups", measure: groups::measure, on: On::Both },
    Figure { name: "log", measure: log::hundred_thousand, on: On::Both },
    Figure { name: "log-million", measure: log::million, on: On::Alone },
    Figure { name: "search", measure: search::measure, on: On::Alone },
    Figure { name: "restart", measure: restart::measure, on: On::Alone },
    Figure { name: "start", measure: start::measure, on: On::Alone },
    Figure { name: "sockets", measure: sockets::measure, on: On::Alone },
    Figure { name: "size", measure: size::measure, on: On::Alone },
    Figure { name: "package", measure: package::measure, on: On::Alone },
    Figure { name: "callback", measure: callback::measure, on: On::Cluster },
    Figure { name: "rate", measure: rate::measure, on: On::Cluster },
    Figure { name: "crowd", measure: crowd::measure, on: On::Cluster },
    Figure { name: "topic", measure: topic::measure, on: On::Cluster },
    Figure { name: "away", measure: away::measure, on: On::Cluster },
];
