//! Searching one million lines: how long an answer takes, how long the index takes to come as far as the record, and what it
//! takes on the disk.

use std::time::{Duration, Instant};

use wire::search::SearchPage;

use super::log::until_sealed;
use crate::{
    Setting,
    failure::{Failure, Result},
    life::Life,
    report::Row,
    samples::Samples,
    server::Server,
    socket::Socket,
};

const LINES: u64 = 1_000_000;
/// As a test run prints: a number of its own and one of 97 places in each line, and one line that no other is like.
const SCRIPT: &str = "awk 'BEGIN { for (n = 1; n < 1000000; n++) \
     printf \"test %07d of module_%d in src/part_%d/run.rs took %d ms: ok\\n\", n, n % 97, n % 13, n * 7 % 1009; \
     print \"SocketTimeoutException: the needle\" }'";
/// What is looked for: a single line, a number of one line in the middle, words of many lines, a path, a phrase, a beginning,
/// words that never stand in one line.
const WORDS: [&str; 7] =
    ["needle", "0500000", "module_42+ok", "src/part_7/run.rs", "%22took+500+ms%22", "socket*", "module_1+module_2"];
/// The index is asked this often how far it is.
const LOOK: Duration = Duration::from_millis(5);
/// It may take so long behind the record.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let server = Server::start(setting, "search")?;
    server.apply("many", &format!("name: many\njobs:\n  a:\n    steps:\n      - run: |\n          {SCRIPT}\n"))?;
    let socket = Socket::open(&server)?;
    let life = Life::of(&server, &socket, "many", 1)?;
    let job = life.job().ok_or_else(|| Failure("the build had no job".to_owned()))?;
    let recorded = until_sealed(&server, job, LINES)?;
    let behind = until_found(&server)?.saturating_duration_since(recorded);
    let whole = recorded.duration_since(life.sent) + behind;
    let mut rows = Vec::new();
    let mut all = Samples::default();
    for words in WORDS {
        let (mut took, mut hits) = (Samples::default(), 0);
        for _ in 0..setting.samples(100, 20) {
            let begun = Instant::now();
            let page = search(&server, words)?;
            let elapsed = begun.elapsed();
            took.add(elapsed);
            all.add(elapsed);
            hits = page.hits.len();
        }
        let words = words.replace('+', " ").replace("%22", "\"");
        rows.push(Row::detail(&words, took.p50_p99(), format!("p50 / p99, n = {}, {hits} hits", took.count())));
    }
    let how = format!("p50 / p99, n = {}: request sent to answer, of the words below", all.count());
    rows.insert(0, Row::figure("a search in 1,000,000 lines", all.p50_p99(), "", "", how));
    let rate = LINES as f64 / whole.as_secs_f64();
    let how = format!(
        "from the request to the last line found: {:.1} s, of them {:.1} s behind the record",
        whole.as_secs_f64(),
        behind.as_secs_f64()
    );
    rows.push(Row::detail("lines indexed", format!("{rate:.0} a second"), how));
    let megabytes = server.database_bytes() as f64 / 1e6;
    rows.push(Row::detail(
        "the database",
        format!("{megabytes:.0} MB"),
        "record, index and write-ahead log".to_owned(),
    ));
    Ok(rows)
}

fn search(server: &Server, words: &str) -> Result<SearchPage> {
    server.get(&format!("/api/v1/search?q={words}&kind=log"))
}

/// When the last line was found.
fn until_found(server: &Server) -> Result<Instant> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if !search(server, "needle")?.hits.is_empty() {
            return Ok(Instant::now());
        }
        std::thread::sleep(LOOK);
    }
    Err(Failure(format!("the last line was not found within {PATIENCE:?}")))
}
