//! The figures in the order of the table, each measured in the file of its name by its own server.

use crate::{Setting, failure::Result, report::Row};

mod line;
mod log;
mod package;
mod queue;
mod restart;
mod size;
mod sockets;
mod start;
mod steps;
mod trigger;

/// One or more lines of the table that are measured together.
pub(crate) struct Figure {
    /// As `--only` takes it.
    pub(crate) name: &'static str,
    pub(crate) measure: fn(&Setting) -> Result<Vec<Row>>,
}

/// All of them.
pub(crate) const ALL: &[Figure] = &[
    Figure { name: "trigger", measure: trigger::measure },
    Figure { name: "steps", measure: steps::measure },
    Figure { name: "queue", measure: queue::measure },
    Figure { name: "line", measure: line::measure },
    Figure { name: "log", measure: log::hundred_thousand },
    Figure { name: "log-million", measure: log::million },
    Figure { name: "restart", measure: restart::measure },
    Figure { name: "start", measure: start::measure },
    Figure { name: "sockets", measure: sockets::measure },
    Figure { name: "size", measure: size::measure },
    Figure { name: "package", measure: package::measure },
];
