//! What a long log takes on the disk.

use super::log::{LINES_OF_74_BYTES, until_sealed};
use crate::{
    Setting,
    failure::{Failure, Result},
    life::Life,
    report::Row,
    server::Server,
    socket::Socket,
};

const LINES: u64 = 100_000;
/// Its text, line ends included.
const TEXT_BYTES: f64 = 7.4e6;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let mut server = Server::start(setting, "size")?;
    let yaml = format!("name: many\njobs:\n  a:\n    steps:\n      - run: |\n          {LINES_OF_74_BYTES}\n");
    server.apply("many", &yaml)?;
    // Stopped for each reading: then what SQLite keeps beside the database has gone into it.
    server.stop()?;
    let before = server.database_bytes();
    server.restart()?;
    let socket = Socket::open(&server)?;
    let life = Life::of(&server, &socket, "many", 1)?;
    let job = life.job().ok_or_else(|| Failure("the build had no job".to_owned()))?;
    until_sealed(&server, job, LINES)?;
    let running = server.database_bytes().saturating_sub(before) as f64;
    drop(socket);
    server.stop()?;
    let after = server.database_bytes().saturating_sub(before) as f64;
    let of_text = |bytes: f64| format!("{:.2} MB, {:.0}% of the text", bytes / 1e6, bytes / TEXT_BYTES * 100.0);
    Ok(vec![
        Row::figure(
            "100,000 lines on the disk",
            of_text(after),
            "",
            "",
            "n = 1: growth of the database by a log of 7.4 MB, stream of recent events included; server stopped"
                .to_owned(),
        ),
        Row::detail("while it runs", of_text(running), "with the write-ahead log".to_owned()),
    ])
}
