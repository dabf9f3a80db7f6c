//! A step that prints very many lines: until the socket has told its end, and until its record is complete.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use wire::JobId;

use crate::{
    Setting,
    failure::{Explain as _, Failure, Result},
    life::{Life, is_step_finished, is_step_started},
    report::Row,
    samples::Samples,
    server::Server,
    socket::{PATIENCE, Socket},
};

/// 100,000 lines of 74 bytes, the line end included: 7.4 MB.
pub(super) const LINES_OF_74_BYTES: &str =
    "seq -f 'line %06.0f of a long step that prints as much as a test run would do, ok' 100000";
/// How often the record is looked at, while it grows.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) fn hundred_thousand(setting: &Setting) -> Result<Vec<Row>> {
    let printed = Printed { name: "log", script: LINES_OF_74_BYTES, lines: 100_000 };
    let times = printed.measure(setting, setting.samples(5, 2))?;
    Ok(times.rows("a step of 100,000 lines (7.4 MB)", "Laminar 0.53 s", "0.5 s"))
}

pub(crate) fn million(setting: &Setting) -> Result<Vec<Row>> {
    let printed = Printed { name: "log-million", script: "seq 1 1000000", lines: 1_000_000 };
    let times = printed.measure(setting, setting.samples(3, 1))?;
    Ok(times.rows("a step of 1,000,000 lines (6.9 MB)", "", "5 s"))
}

struct Printed {
    name: &'static str,
    script: &'static str,
    lines: u64,
}

#[derive(Default)]
struct Times {
    to_file: Samples,
    step: Samples,
    told: Samples,
    recorded: Samples,
    lines_told: Vec<u64>,
    gaps: usize,
    script: &'static str,
}

impl Printed {
    fn measure(&self, setting: &Setting, rounds: usize) -> Result<Times> {
        let server = Server::start(setting, self.name)?;
        let yaml = format!("name: many\njobs:\n  a:\n    steps:\n      - run: |\n          {}\n", self.script);
        server.apply("many", &yaml)?;
        let socket = Socket::open(&server)?;
        let mut times = Times { script: self.script, ..Times::default() };
        for _ in 0..rounds {
            times.to_file.add(self.to_file(setting)?);
            let life = Life::of(&server, &socket, "many", 1)?;
            let job = life.job().ok_or_else(|| Failure("the build had no job".to_owned()))?;
            let recorded = until_sealed(&server, job, self.lines)?;
            times.recorded.add(recorded.duration_since(life.sent));
            life.came(is_step_finished).into_iter().for_each(|at| times.told.add(at));
            let step = life.written(is_step_finished).zip(life.written(is_step_started));
            step.into_iter().for_each(|(end, start)| times.step.add_micros(end - start));
            times.lines_told.push(life.lines);
            times.gaps += usize::from(life.gap);
        }
        Ok(times)
    }

    /// How long the same takes without Stepcast.
    fn to_file(&self, setting: &Setting) -> Result<Duration> {
        let file = setting.scratch.join("printed");
        let begun = Instant::now();
        let status = Command::new("bash")
            .args(["-c", &format!("{} > \"$0\"", self.script)])
            .arg(&file)
            .stdin(Stdio::null())
            .status()
            .explain(|| "bash cannot be started".to_owned())?;
        let took = begun.elapsed();
        if status.success() { Ok(took) } else { Err(Failure(format!("`{}` failed", self.script))) }
    }
}

impl Times {
    fn rows(&self, name: &str, peer: &'static str, aim: &'static str) -> Vec<Row> {
        let n = self.told.count();
        let least = self.lines_told.iter().min().copied().unwrap_or(0);
        let script = self.script.split(' ').next().unwrap_or_default();
        vec![
            Row::figure(
                name,
                self.told.seconds(),
                peer,
                aim,
                format!("median (extremes), n = {n}: request sent to step_finished on the client's socket"),
            ),
            Row::detail(
                "lines that came on the socket",
                least.to_string(),
                format!("the least of {n} rounds; in {} of them lines were left to be read later", self.gaps),
            ),
            Row::detail("the step alone", self.step.seconds(), "step_started to step_finished, as written".to_owned()),
            Row::detail("until recorded", self.recorded.seconds(), "request sent to x-log-sealed".to_owned()),
            Row::detail(
                &format!("`{script}` alone, to a file"),
                self.to_file.seconds(),
                "median (extremes)".to_owned(),
            ),
        ]
    }
}

/// When the record was complete. It must hold all lines.
pub(super) fn until_sealed(server: &Server, job: JobId, lines: u64) -> Result<Instant> {
    let begun = Instant::now();
    loop {
        let record = server.record(job, 1)?;
        let at = Instant::now();
        match record {
            Some(record) if record.sealed && record.lines == lines => return Ok(at),
            Some(record) if record.sealed => {
                return Err(Failure(format!("the record holds {} lines of {lines}", record.lines)));
            }
            _ if begun.elapsed() > PATIENCE => {
                return Err(Failure(format!("the record was not complete within {PATIENCE:?}")));
            }
            _ => std::thread::sleep(LOOK),
        }
    }
}
