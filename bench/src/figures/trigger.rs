//! From sending a trigger to the first step running, and where that time goes.

use crate::{
    Setting,
    failure::Result,
    life::{Life, is_build_finished, is_job_started, is_step_finished, is_step_started},
    report::Row,
    samples::Samples,
    server::Server,
    socket::Socket,
};

/// Builds before the first one that counts: caches, the warm guard, prepared statements.
const WARM_UP: usize = 5;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let n = setting.samples(200, 40);
    let server = Server::start(setting, "trigger")?;
    server.apply("one", "name: one\njobs:\n  a:\n    steps:\n      - run: \"true\"\n")?;
    let socket = Socket::open(&server)?;
    for _ in 0..WARM_UP {
        Life::of(&server, &socket, "one", 1)?;
    }
    let [mut answered, mut granted, mut written, mut came, mut step_ended, mut ended] =
        std::array::from_fn(|_| Samples::default());
    for _ in 0..n {
        let life = Life::of(&server, &socket, "one", 1)?;
        answered.add(life.answered);
        life.written(is_job_started).into_iter().for_each(|at| granted.add_micros(at));
        life.written(is_step_started).into_iter().for_each(|at| written.add_micros(at));
        life.came(is_step_started).into_iter().for_each(|at| came.add(at));
        life.written(is_step_finished).into_iter().for_each(|at| step_ended.add_micros(at));
        life.came(is_build_finished).into_iter().for_each(|at| ended.add(at));
    }
    let detail = |name: &str, samples: &Samples| Row::detail(name, samples.p50_p99(), "p50 / p99".to_owned());
    Ok(vec![
        Row::figure(
            "trigger to first step running",
            came.p50_p99(),
            "Laminar 13 / 24 ms",
            "8 / 20 ms",
            format!(
                "p50 / p99, n = {}: HTTP request sent (kept connection) to step_started on the client's socket",
                came.count()
            ),
        ),
        detail("202 read by the client", &answered),
        detail("job_started written", &granted),
        detail("step_started written", &written),
        detail("step_finished written", &step_ended),
        detail("build_finished came", &ended),
    ])
}
