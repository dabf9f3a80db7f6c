//! A whole build of five trivial steps: in one job, and as five jobs in a chain.

use std::fmt::Write as _;

use crate::{
    Setting,
    failure::Result,
    life::{Life, is_build_finished},
    report::Row,
    samples::Samples,
    server::Server,
    socket::Socket,
};

const STEPS: usize = 5;
/// Builds before the first one that counts.
const WARM_UP: usize = 3;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let server = Server::start(setting, "steps")?;
    server.apply("five", &one_job())?;
    server.apply("chain", &chain())?;
    let socket = Socket::open(&server)?;
    let five = builds(&server, &socket, "five", setting.samples(100, 20))?;
    let chain = builds(&server, &socket, "chain", setting.samples(50, 10))?;
    let how = |samples: &Samples| {
        format!("p50 / p99, n = {}: request sent to build_finished on the client's socket", samples.count())
    };
    Ok(vec![
        Row::figure("build of 5 steps of `echo`", five.p50_p99(), "Laminar 26 ms (one script)", "25 ms", how(&five)),
        Row::figure("the same as 5 chained jobs", chain.p50_p99(), "Laminar 71 ms", "", how(&chain)),
    ])
}

fn one_job() -> String {
    let steps: String = (0..STEPS).map(|n| format!("      - run: echo {n}\n")).collect();
    format!("name: five\njobs:\n  a:\n    steps:\n{steps}")
}

fn chain() -> String {
    let mut yaml = "name: chain\njobs:\n".to_owned();
    for n in 0..STEPS {
        let needs = n.checked_sub(1).map_or_else(String::new, |before| format!("    needs: [j{before}]\n"));
        // Writing to a String does not fail.
        let _ = write!(yaml, "  j{n}:\n{needs}    steps:\n      - run: echo {n}\n");
    }
    yaml
}

fn builds(server: &Server, socket: &Socket, pipeline: &str, n: usize) -> Result<Samples> {
    let mut samples = Samples::default();
    for round in 0..WARM_UP + n {
        let life = Life::of(server, socket, pipeline, STEPS)?;
        if round >= WARM_UP {
            life.came(is_build_finished).into_iter().for_each(|at| samples.add(at));
        }
    }
    Ok(samples)
}
