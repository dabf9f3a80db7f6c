//! The conditions of a run: machine, disk, versions, date. A figure without them says nothing.

use std::{fs::File, io::Write as _, path::Path, process::Command, thread::available_parallelism, time::Instant};

use crate::{
    Setting,
    failure::{Explain as _, Result},
    samples::Samples,
};

/// How often the disk is asked to keep a block.
const FSYNCS: usize = 200;
/// What a small commit writes at least, in bytes.
const BLOCK: [u8; 4096] = [7; 4096];

/// A few lines for the head of the output.
pub(crate) fn describe(setting: &Setting) -> Result<String> {
    let cores = available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    let cpu = first_value("/proc/cpuinfo", "model name");
    let memory = first_value("/proc/meminfo", "MemTotal");
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let fsync = fsync(&setting.scratch)?;
    let disk = file_system(&setting.scratch);
    let date = said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]));
    let program = said(Command::new(&setting.program).arg("--version"));
    let source = said(Command::new("git").args(["describe", "--always", "--dirty"]));
    let optimised = if setting.program.components().any(|part| part.as_os_str() == "debug") {
        "UNOPTIMISED: a development build, its figures mean nothing"
    } else {
        "release build"
    };
    let place = if setting.cluster {
        "cluster: RabbitMQ, PostgreSQL, HAProxy, two gateways, one executor with two slots, and those that are measured \
         beside it, all on this machine; callbacks go to one gateway, past HAProxy, and RabbitMQ does not keep them; "
    } else {
        "one user, "
    };
    let samples = if setting.quick { ", few samples (--quick)" } else { "" };
    Ok(format!(
        "{date}; {program} ({source}), {optimised}{samples}\n\
         {cores} cores of {cpu}, {memory}, Linux {kernel}, load before: {load}\n\
         data on {disk}: write of 4 KiB and fdatasync p50 / p99 {}, n = {FSYNCS}\n\
         {place}loopback, clients on the same machine; durable: a 202 means fsynced",
        fsync.p50_p99()
    ))
}

fn fsync(scratch: &Path) -> Result<Samples> {
    let path = scratch.join("fsync");
    let failed = || format!("{} cannot be written", path.display());
    let mut file = File::create(&path).explain(failed)?;
    let mut samples = Samples::default();
    for _ in 0..FSYNCS {
        let begun = Instant::now();
        file.write_all(&BLOCK).and_then(|()| file.sync_data()).explain(failed)?;
        samples.add(begun.elapsed());
    }
    Ok(samples)
}

/// Type and device of the file system that holds `path`.
fn file_system(path: &Path) -> String {
    let said = said(Command::new("df").arg("--output=fstype,source").arg(path));
    let line = said.lines().last().unwrap_or("?");
    line.split_whitespace().collect::<Vec<_>>().join(" on ")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|_| "?".to_owned(), |text| text.trim().to_owned())
}

/// The value of the first line `name: value`.
fn first_value(path: &str, name: &str) -> String {
    let text = read(path);
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(found, _)| found.trim() == name).map_or_else(|| "?".to_owned(), |(_, value)| value.trim().to_owned())
}

/// What a program says; `?` if it is not there.
fn said(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    output.map_or_else(|| "?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
