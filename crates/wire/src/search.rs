//! Searching in all logs and builds: what is asked, and what is found. How words are told apart stands in the store.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{BuildId, JobId, PipelineName};

/// Hits in one answer: at most.
pub const SEARCH_LIMIT_MAX: u32 = 200;
/// Hits in one answer unless asked otherwise.
pub const SEARCH_LIMIT: u32 = 50;

/// What is searched in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchKind {
    /// Lines of logs.
    Log,
    /// Pipelines, numbers, inputs, jobs, artifacts and outcomes of builds.
    Build,
}

impl SearchKind {
    /// The word, as on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Build => "build",
        }
    }
}

impl FromStr for SearchKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "log" => Ok(Self::Log),
            "build" => Ok(Self::Build),
            _ => Err("it must be log or build".to_owned()),
        }
    }
}

/// Where a page of hits ended: the next one goes on behind it. New builds do not move it; an index that is built anew
/// forgets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchCursor {
    /// The place in the index.
    pub block: u64,
    /// The line, or the field of a build, that was told last.
    pub line: u64,
}

impl fmt::Display for SearchCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.block, self.line)
    }
}

impl FromStr for SearchCursor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "it must be the `next` of an answer".to_owned();
        let (block, line) = text.split_once('.').ok_or_else(wrong)?;
        Ok(Self { block: block.parse().map_err(|_| wrong())?, line: line.parse().map_err(|_| wrong())? })
    }
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchQuery {
    /// Words, all of which must stand in a line; `"a phrase"`; `prefix*`.
    pub q: String,
    /// Of this pipeline only.
    pub pipeline: Option<PipelineName>,
    /// Of this kind only.
    pub kind: Option<SearchKind>,
    /// What was told before.
    pub before: Option<SearchCursor>,
    /// [`SEARCH_LIMIT`] unless given, at most [`SEARCH_LIMIT_MAX`].
    pub limit: Option<u32>,
}

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Found {
    /// In a line of a log.
    Log {
        /// The job.
        job: JobId,
        /// Its name.
        job_name: String,
        /// The attempt that printed it.
        attempt: u32,
        /// Whether the job ran again since: its page shows the last attempt.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        earlier: bool,
        /// The line's number within the attempt, from 0.
        n: u64,
    },
    /// In what is known of the build itself.
    Build {
        /// Which of it: pipeline, number, input, job, artifact, outcome.
        field: String,
    },
}

/// A hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchHit {
    /// The build.
    pub build: BuildId,
    /// Its pipeline.
    pub pipeline: PipelineName,
    /// Its number within the pipeline.
    pub number: u64,
    /// Where.
    #[serde(flatten)]
    pub found: Found,
    /// The text without colours; of a long line what stands around the first match.
    pub text: String,
    /// From where to where words stand in `text`, in Unicode characters, in order.
    pub ranges: Vec<(u32, u32)>,
    /// The address that shows it, on this server.
    pub url: String,
}

/// Hits, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPage {
    /// The hits.
    pub hits: Vec<SearchHit>,
    /// There may be more: ask with this as `before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The search has ended before the page was full, because it had looked at as much as one search may.
    #[serde(default)]
    pub stopped: bool,
    /// How many events the index is behind; approximate.
    #[serde(default)]
    pub behind: u64,
    /// The index is being made of the record: not everything can be found yet.
    #[serde(default)]
    pub building: bool,
}

impl SearchHit {
    /// The text in pieces; true for those that were looked for.
    #[must_use]
    pub fn pieces(&self) -> Vec<(bool, String)> {
        let mut pieces: Vec<(bool, String)> = Vec::new();
        for (at, letter) in (0_u32..).zip(self.text.chars()) {
            let is_found = self.ranges.iter().any(|(from, to)| (*from..*to).contains(&at));
            match pieces.last_mut() {
                Some((same, piece)) if *same == is_found => piece.push(letter),
                _ => pieces.push((is_found, letter.to_string())),
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let cursor = SearchCursor { block: 7, line: 12 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in ["", "7", "7.", ".1", "a.b", "7.-1"] {
            assert!(wrong.parse::<SearchCursor>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hit_is_cut_where_words_begin_and_end() {
        let hit = SearchHit {
            build: BuildId(Uuid::nil()),
            pipeline: "p".parse().unwrap(),
            number: 1,
            found: Found::Build { field: "input".to_owned() },
            text: "für alle".to_owned(),
            ranges: vec![(0, 3), (7, 8)],
            url: String::new(),
        };
        let pieces = hit.pieces();
        let told: Vec<(bool, &str)> = pieces.iter().map(|(is, text)| (*is, text.as_str())).collect();
        assert_eq!(told, [(true, "für"), (false, " all"), (true, "e")]);
        let json = serde_json::to_value(&hit).unwrap();
        assert_eq!((&json["kind"], &json["field"]), (&"build".into(), &"input".into()));
        assert_eq!(serde_json::from_value::<SearchHit>(json).unwrap(), hit);
    }
}
