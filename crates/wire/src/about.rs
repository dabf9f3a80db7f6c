//! What control's events say beside the fact itself, so that a reader of the stream needs nobody else: the field `about` of
//! an event. It is optional: events that an older Stepcast wrote lack it, and a reader of facts alone does not look at it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Event, Outcome, PipelineName, Timestamp, event};

/// Of which build and job the fact is. Which fields are there follows from the kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The build's pipeline.
    pub pipeline: PipelineName,
    /// The build's number within it.
    pub number: u64,
    /// On `job_started`, `job_finished` and `job_lost`: the job's name, with its matrix values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// On `job_started`: since when the job waited for an executor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Timestamp>,
    /// On `job_finished` and `job_lost`: attempts that failed since a person last queued the job, this one included.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// The same of attempts that were lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub losses: u32,
    /// On `build_finished` the end; on the `build_queued` of a retry the end that counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<BuildEnd>,
}

/// How and when a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildEnd {
    /// The build's outcome.
    pub outcome: Outcome,
    /// When its first job was taken, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When its last job ended.
    pub finished_at: Timestamp,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An event as raw JSON with what there is to say about it.
#[must_use]
pub fn raw(event: &Event, about: Option<&About>) -> Box<RawValue> {
    #[derive(Serialize)]
    struct Told<'a> {
        #[serde(flatten)]
        event: &'a Event,
        about: &'a About,
    }
    match about {
        None => event::raw(event),
        Some(about) => serde_json::value::to_raw_value(&Told { event, about }).unwrap_or_else(|_| event::raw(event)),
    }
}

/// What an event says about itself, if it does.
#[must_use]
pub fn of(event: &RawValue) -> Option<About> {
    #[derive(Deserialize)]
    struct Told {
        about: Option<About>,
    }
    serde_json::from_str::<Told>(event.get()).ok()?.about
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_with_and_without_what_is_said_about_it() {
        let fact = Event::BuildFinished { outcome: Outcome::Failed };
        let end = BuildEnd { outcome: Outcome::Failed, started_at: None, finished_at: Timestamp(9) };
        let about = About {
            pipeline: "site".parse().unwrap(),
            number: 7,
            job: None,
            queued_at: None,
            failures: 0,
            losses: 0,
            end: Some(end),
        };
        let (bare, told) = (raw(&fact, None), raw(&fact, Some(&about)));
        assert_eq!((of(&bare), of(&told)), (None, Some(about)));
        for text in [bare, told] {
            assert_eq!(serde_json::from_str::<Event>(text.get()).unwrap(), fact);
        }
    }
}
