//! From a line being printed to its frame on the socket. The step prints its own clock.

use wire::{Event, frame::Incoming};

use crate::{
    Setting, failure::Result, life::is_build_finished, report::Row, samples::Samples, server::Server, socket::Socket,
};

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let n = setting.samples(400, 80);
    let server = Server::start(setting, "line")?;
    // 20 to 50 ms apart. The shell's own clock: no process is started between reading and printing it.
    let script = format!(
        "export LC_ALL=C; for i in $(seq {n}); do echo \"${{EPOCHREALTIME/./}}\"; sleep 0.0$((20 + i * 7 % 31)); done"
    );
    let yaml = format!("name: clock\njobs:\n  a:\n    steps:\n      - run: '{script}'\n");
    server.apply("clock", &yaml)?;
    let socket = Socket::open(&server)?;
    server.trigger("clock", Some(&socket.meta))?;
    let (mut read, mut came) = (Samples::default(), Samples::default());
    loop {
        let frame = socket.next()?;
        let Incoming::Event(event) = frame.parse()? else { continue };
        if is_build_finished(&event.event) {
            break;
        }
        let Event::Log { lines, .. } = event.event else { continue };
        for line in lines {
            if let Ok(printed) = line.text.parse::<i64>() {
                read.add_micros(line.t.0 - printed);
                came.add_micros(frame.clock - printed);
            }
        }
    }
    Ok(vec![
        Row::figure(
            "line printed to socket",
            came.p50_p99(),
            "Laminar under 1 / 3 ms",
            "1 / 5 ms",
            format!("p50 / p99, n = {}: a line each 20 to 50 ms with its own clock in it", came.count()),
        ),
        Row::detail("line printed to read by the executor", read.p50_p99(), "p50 / p99".to_owned()),
    ])
}
