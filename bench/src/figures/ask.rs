//! A query over the broker: what an executor runs now, asked by HTTP, answered by the executor itself.

use crate::{Setting, failure::Result, report::Row, samples::Samples, server::Server};

const WARM_UP: usize = 20;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let n = setting.samples(1000, 100);
    let server = Server::start(setting, "ask")?;
    let executor = server.executor()?;
    let mut times = Samples::default();
    for round in 0..WARM_UP + n {
        let took = server.executor_now(&executor)?;
        if round >= WARM_UP {
            times.add(took);
        }
    }
    Ok(vec![Row::figure(
        "query over the broker",
        times.p50_p99(),
        "",
        "",
        format!("p50 / p99, n = {}: GET /executors/{{id}}/now to its answer, kept connection", times.count()),
    )])
}
