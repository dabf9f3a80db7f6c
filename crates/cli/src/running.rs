//! The steps that run, since when by the server's clock, and how that is put into one line. Nothing is drawn here.

use wire::{JobId, Timestamp};

use crate::{
    terminal::{cut, width},
    words::counting,
};

/// Between two steps in the line.
const BETWEEN: &str = " · ";

/// What runs in a build.
pub(crate) struct Running {
    /// In the order in which they began.
    steps: Vec<Step>,
    /// By how many microseconds this machine's clock is ahead of the server's: an event arrives after it was written, so
    /// the least difference seen is the best guess. None until an event has come.
    ahead: Option<i64>,
    /// What is done while no step runs.
    pub(crate) idle: &'static str,
}

struct Step {
    job: JobId,
    step: u32,
    label: String,
    since: Timestamp,
}

impl Running {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { steps: Vec::new(), ahead: None, idle: "waiting for a step to begin" }
    }

    /// An event that was written `at` has just come.
    pub(crate) fn heard(&mut self, at: Timestamp, here: Timestamp) {
        let ahead = here.0.saturating_sub(at.0);
        self.ahead = Some(self.ahead.map_or(ahead, |former| former.min(ahead)));
    }

    /// A step runs.
    pub(crate) fn begin(&mut self, job: JobId, step: u32, label: String, since: Timestamp) {
        self.end(job, step);
        self.steps.push(Step { job, step, label, since });
    }

    /// A step runs no more; tells since when it ran.
    pub(crate) fn end(&mut self, job: JobId, step: u32) -> Option<Timestamp> {
        let at = self.steps.iter().position(|known| known.job == job && known.step == step)?;
        Some(self.steps.remove(at).since)
    }

    /// Nothing of a job runs any more.
    pub(crate) fn end_job(&mut self, job: JobId) {
        self.steps.retain(|step| step.job != job);
    }

    /// As many steps as have place in so many columns, and how many more there are.
    pub(crate) fn status(&self, columns: usize, here: Timestamp) -> String {
        let now = Timestamp(here.0.saturating_sub(self.ahead.unwrap_or(0)));
        let Some(first) = self.steps.first() else { return cut(self.idle, columns).into_owned() };
        let time = |step: &Step| counting(now.since(step.since));
        let more = |count: usize| if count == 0 { String::new() } else { format!("  +{count} more") };
        // The name of the first gives way, not its time.
        let mut beside = self.steps.len() - 1;
        let taken = 1 + width(&time(first)) + width(&more(beside));
        let mut line = format!("{} {}", cut(&first.label, columns.saturating_sub(taken)), time(first));
        for step in &self.steps[1..] {
            let next = format!("{line}{BETWEEN}{} {}", step.label, time(step));
            if width(&next) + width(&more(beside - 1)) > columns {
                break;
            }
            line = next;
            beside -= 1;
        }
        line.push_str(&more(beside));
        cut(&line, columns).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(n: u8) -> JobId {
        format!("00000000-0000-0000-0000-{n:012}").parse().unwrap()
    }

    fn three() -> Running {
        let mut running = Running::new();
        for (n, label) in [(0, "build › compile"), (1, "check › unit"), (2, "check › web")] {
            running.begin(job(n), 0, label.to_owned(), Timestamp(i64::from(n) * 1_000_000));
        }
        running
    }

    const NOW: Timestamp = Timestamp(12_340_000);

    #[test]
    fn steps_stand_side_by_side_with_their_times() {
        let line = three().status(100, NOW);
        assert_eq!(line, "build › compile 12.3 s · check › unit 11.3 s · check › web 10.3 s");
    }

    #[test]
    fn what_has_no_place_is_counted_and_no_width_is_passed() {
        assert_eq!(three().status(40, NOW), "build › compile 12.3 s  +2 more");
        assert_eq!(three().status(53, NOW), "build › compile 12.3 s · check › unit 11.3 s  +1 more");
        assert_eq!(three().status(24, NOW), "build ›… 12.3 s  +2 more");
        for columns in 0..100 {
            assert!(width(&three().status(columns, NOW)) <= columns, "{columns}");
        }
    }

    #[test]
    fn a_step_that_ended_is_gone_and_tells_when_it_began() {
        let mut running = three();
        assert_eq!(running.end(job(1), 0), Some(Timestamp(1_000_000)));
        assert_eq!(running.end(job(1), 0), None);
        running.end_job(job(0));
        assert_eq!(running.status(100, NOW), "check › web 10.3 s");
        running.end_job(job(2));
        assert_eq!(running.status(100, NOW), "waiting for a step to begin");
    }

    #[test]
    fn times_count_by_the_clock_of_the_server() {
        let mut running = Running::new();
        running.begin(job(0), 0, "compile".to_owned(), Timestamp(1_000_000));
        // A minute ahead; the second event took longer to come.
        running.heard(Timestamp(1_000_000), Timestamp(61_000_000));
        running.heard(Timestamp(2_000_000), Timestamp(63_000_000));
        assert_eq!(running.status(80, Timestamp(64_500_000)), "compile 3.5 s");
    }
}
