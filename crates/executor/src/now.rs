//! The answer to who asks this executor what it does. Everything is read when it is asked: what runs pays nothing for it.

use std::{fs, path::Path, sync::Arc};

use wire::{
    Event, EventMessage, ExecutorId,
    executor_now::{AttemptNow, ExecutorNow, NOW_BYTES_MAX, NOW_LINE_BYTES_MAX, NOW_LINES_MAX},
    task::{LeaseRef, to_bytes},
};

use crate::publish::Insight;

/// What the answer is made of.
pub(crate) struct Asked {
    pub(crate) executor: ExecutorId,
    pub(crate) slots: u32,
    pub(crate) running: Vec<LeaseRef>,
    pub(crate) attempts: Vec<Arc<Insight>>,
    /// Lines of each attempt.
    pub(crate) lines: u32,
}

/// The answer, at most [`NOW_BYTES_MAX`] long. It reads files and decodes what is unconfirmed: not for a task that others
/// wait for.
pub(crate) fn answer(asked: &Asked, work_dir: &Path) -> ExecutorNow {
    let used = u32::try_from(asked.running.len()).unwrap_or(u32::MAX);
    let lines = usize::try_from(asked.lines.min(NOW_LINES_MAX)).unwrap_or(0);
    let now = ExecutorNow {
        executor: asked.executor,
        slots: asked.slots,
        running: asked.running.clone(),
        free_slots: Some(asked.slots.saturating_sub(used)),
        attempts: asked.attempts.iter().map(|insight| attempt(insight, lines)).collect(),
        disk_free: rustix::fs::statvfs(work_dir).ok().map(|room| room.f_bavail.saturating_mul(room.f_frsize)),
        load: fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok()),
        left_out: None,
    };
    fitted(now)
}

fn attempt(insight: &Insight, lines_max: usize) -> AttemptNow {
    let grant = insight.grant();
    let unconfirmed = insight.unconfirmed();
    let mut lines: Vec<String> = Vec::new();
    let mut count = 0;
    for body in &unconfirmed {
        if let Ok(Event::Log { lines: logged, .. }) = EventMessage::decode(body).and_then(|message| message.parse()) {
            count += logged.len() as u64;
            lines.extend(logged.into_iter().map(|line| shortened(line.text)));
            lines.drain(..lines.len().saturating_sub(lines_max));
        }
    }
    AttemptNow {
        job: grant.lease.job,
        attempt: grant.lease.attempt,
        build: grant.build,
        number: grant.number,
        pipeline: grant.pipeline.clone(),
        name: grant.job_name.clone(),
        since: insight.since(),
        step: insight.step(),
        unconfirmed_events: unconfirmed.len() as u64,
        unconfirmed_lines: count,
        lines,
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > NOW_LINE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(NOW_LINE_BYTES_MAX));
        text.push('…');
    }
    text
}

/// Leaves out what does not fit: lines, the oldest first and of each attempt alike, then whole attempts.
fn fitted(mut now: ExecutorNow) -> ExecutorNow {
    let (lines, attempts) = (line_count(&now), now.attempts.len());
    while to_bytes(&now).len() > NOW_BYTES_MAX - SENTENCE_BYTES {
        if line_count(&now) > 0 {
            for attempt in &mut now.attempts {
                attempt.lines.drain(..attempt.lines.len().div_ceil(2));
            }
        } else {
            now.attempts.truncate(now.attempts.len() / 2);
            if now.attempts.is_empty() {
                now.running.truncate(now.running.len() / 2);
            }
        }
    }
    let (lines, attempts) = (lines - line_count(&now), attempts - now.attempts.len());
    if lines + attempts > 0 {
        let kib = NOW_BYTES_MAX / 1024;
        now.left_out =
            Some(format!("{lines} lines and {attempts} attempts are left out: an answer has at most {kib} KiB"));
    }
    now
}

/// Room for what says that something was left out, and for the version.
const SENTENCE_BYTES: usize = 256;

fn line_count(now: &ExecutorNow) -> usize {
    now.attempts.iter().map(|attempt| attempt.lines.len()).sum()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use wire::{BuildId, JobId, Timestamp};

    use super::*;

    fn running(attempts: u128, lines: usize, text: &str) -> ExecutorNow {
        let attempt = |n: u128| AttemptNow {
            job: JobId(Uuid::from_u128(n)),
            attempt: 1,
            build: BuildId(Uuid::from_u128(n)),
            number: 7,
            pipeline: "site".parse().unwrap(),
            name: "build".to_owned(),
            since: Timestamp(0),
            step: None,
            unconfirmed_events: 1,
            unconfirmed_lines: 20,
            lines: (0..lines).map(|line| format!("{line} {text}")).collect(),
        };
        ExecutorNow {
            executor: ExecutorId(Uuid::nil()),
            slots: 4,
            running: (0..attempts).map(|n| LeaseRef { job: JobId(Uuid::from_u128(n)), attempt: 1 }).collect(),
            free_slots: Some(0),
            attempts: (0..attempts).map(attempt).collect(),
            disk_free: Some(1),
            load: Some(0.5),
            left_out: None,
        }
    }

    #[test]
    fn what_fits_is_said_whole() {
        let now = running(4, 20, "a line");
        assert_eq!(fitted(now.clone()), now);
    }

    #[test]
    fn an_answer_that_would_be_too_long_loses_old_lines_first_and_says_so() {
        let cut = fitted(running(16, 20, &"x".repeat(4_000)));
        assert!(to_bytes(&cut).len() <= NOW_BYTES_MAX);
        assert_eq!(cut.attempts.len(), 16);
        assert!(cut.attempts.iter().all(|attempt| attempt.lines.last().is_some_and(|line| line.starts_with("19 "))));
        assert!(cut.left_out.unwrap().contains("lines and 0 attempts are left out"));
        let many = fitted(running(3_000, 0, ""));
        assert!(to_bytes(&many).len() <= NOW_BYTES_MAX);
        assert!(many.left_out.unwrap().contains("attempts are left out"));
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let text = shortened("é".repeat(NOW_LINE_BYTES_MAX));
        assert!(text.ends_with("é…") && text.len() <= NOW_LINE_BYTES_MAX + 3);
        assert_eq!(shortened("short".to_owned()), "short");
    }
}
