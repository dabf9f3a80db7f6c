//! The pipelines of the load, and what each of them must come to. Every step writes under a fence (`notes.rs`) and prints
//! numbered lines, so that the load knows what must be in the record.

use std::path::Path;

use wire::Outcome;

use crate::random::Random;

/// Lines of a build that prints many.
const MANY: u64 = 100_000;
/// How often a job may be lost: more often than a run's faults manage.
const LOST_ATTEMPTS: u32 = 20;

/// A kind of build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// Five steps in two jobs, one after the other.
    Short,
    /// 100,000 lines as fast as they come.
    Many,
    /// Lines over some seconds.
    Steady,
    /// One step that takes longer than a lease: only its guard can end it where the executor is stopped.
    Long,
    /// Fails twice, and succeeds.
    Flaky,
    /// Fails as often as it may; a person runs it again, and it fails again.
    Doomed,
    /// Runs until it is cancelled.
    Cancelled,
}

/// A job of a pipeline and how many lines each of its steps prints; none where that depends.
pub(crate) type Jobs = &'static [(&'static str, &'static [Option<u64>])];

impl Work {
    pub(crate) const ALL: [Self; 7] =
        [Self::Short, Self::Many, Self::Steady, Self::Long, Self::Flaky, Self::Doomed, Self::Cancelled];

    /// By chance: many short ones, few with many lines.
    pub(crate) fn any(random: &mut Random) -> Self {
        match random.below(100) {
            0..50 => Self::Short,
            50..57 => Self::Many,
            57..67 => Self::Steady,
            67..73 => Self::Long,
            73..82 => Self::Flaky,
            82..88 => Self::Doomed,
            _ => Self::Cancelled,
        }
    }

    /// Also the pipeline's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Many => "many-lines",
            Self::Steady => "steady",
            Self::Long => "long",
            Self::Flaky => "flaky",
            Self::Doomed => "doomed",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a build of it must come to.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Short | Self::Many | Self::Steady | Self::Long | Self::Flaky => Outcome::Succeeded,
            Self::Doomed => Outcome::Failed,
            Self::Cancelled => Outcome::Cancelled,
        }
    }

    pub(crate) fn jobs(self) -> Jobs {
        match self {
            Self::Short => &[("first", &[Some(3); 3]), ("second", &[Some(3); 2])],
            Self::Many => &[("print", &[Some(MANY)])],
            Self::Steady => &[("talk", &[Some(80), Some(80)])],
            Self::Long => &[("work", &[Some(100)])],
            Self::Flaky => &[("try", &[Some(3), Some(3)])],
            Self::Doomed => &[("fail", &[Some(3)])],
            Self::Cancelled => &[("wait", &[None])],
        }
    }

    /// The text of the pipeline. Steps write into `notes`.
    pub(crate) fn yaml(self, notes: &Path) -> String {
        let mut text =
            format!("name: {}\ninputs: {{key: {{default: none}}}}\nenv: {{NOTES: {notes:?}}}\njobs:\n", self.name());
        let mut needs = "";
        for (job, steps) in self.jobs() {
            let attempts = match self {
                Self::Flaky => 20,
                Self::Doomed => 2,
                _ => 1,
            };
            text += &format!(
                "  {job}:\n    needs: [{needs}]\n    attempts: {attempts}\n    lost_attempts: {LOST_ATTEMPTS}\n    steps:\n"
            );
            for (step, lines) in steps.iter().enumerate() {
                text += &format!("      - name: step {step}\n        run: |\n");
                for line in self.script(step, lines.unwrap_or(0)).lines() {
                    text += &format!("          {line}\n");
                }
            }
            needs = job;
        }
        text
    }

    fn script(self, step: usize, lines: u64) -> String {
        let last = lines.saturating_sub(1);
        let slowly = |last: u64, pause: &str| {
            format!("for n in $(seq 0 {last}); do echo \"line {step} $n\"; sleep {pause}; done")
        };
        let print = match self {
            Self::Short | Self::Flaky | Self::Doomed | Self::Many => format!("seq -f 'line {step} %.0f' 0 {last}"),
            Self::Steady => slowly(last, "0.05"),
            Self::Long => slowly(last, "0.2"),
            Self::Cancelled => slowly(9_999, "0.2"),
        };
        let then = match self {
            // Counts itself: an attempt that is lost after this has failed all the same.
            Self::Flaky if step == 1 => {
                "if [ \"$(grep -c '^fail' \"$notes\")\" -lt 2 ]; then echo \"fail $STEPCAST_ATTEMPT\" >> \"$notes\"; exit 1; fi\n"
            }
            Self::Doomed => "exit 1\n",
            _ => "",
        };
        format!(
            "notes=\"$NOTES/$STEPCAST_JOB\"\n\
             exec 9>>\"$notes.fence\"\n\
             flock -n 9 || echo \"overlap $STEPCAST_ATTEMPT {step}\" >> \"$notes\"\n\
             echo \"begin $STEPCAST_ATTEMPT {step}\" >> \"$notes\"\n\
             {print}\n\
             echo \"end $STEPCAST_ATTEMPT {step}\" >> \"$notes\"\n\
             {then}"
        )
    }
}
