//! `GET /api/v1/jobs/{id}/log/group`: the lines of the group that a line begins, so that a page can fold them without
//! having read them.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use wire::{
    JobId, Problem,
    log::{Group, Marker, RecordedLine, marker},
};

use crate::{
    core::Core,
    http::{
        parameters::{Path, Query},
        problem::{Answer, parse},
        who::Who,
    },
    queries,
};

/// Lines that are read at once: most groups are short.
const LINES: u32 = 1_000;

/// What stands behind the `?`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    line: u64,
    attempt: Option<u32>,
}

/// Reads on from the line until the group ends.
pub(crate) async fn group(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
    Query(Wanted { line, attempt }): Query<Wanted>,
) -> Answer<Json<Group>> {
    let job: JobId = parse("The job's id", &id)?;
    let page = queries::log(&core, &who, job, attempt, line, LINES).await?;
    let attempt = page.attempt;
    let Some(mut search) = Search::begin(line, &page.lines) else {
        let sentence =
            format!("Line {line} (counted from 0) of attempt {attempt} begins no group: `::group::title` does.");
        return Err(Problem::new(404, "No such group", sentence).into());
    };
    let mut lines = page.lines;
    while !search.take(&lines) {
        lines = queries::log(&core, &who, job, Some(attempt), search.last + 1, LINES).await?.lines;
        if lines.is_empty() {
            break;
        }
    }
    Ok(Json(Group { first: line, last: search.last }))
}

/// The group as far as it was read.
struct Search {
    first: u64,
    last: u64,
    step: u32,
}

impl Search {
    /// None when the first of these lines begins no group.
    fn begin(first: u64, lines: &[RecordedLine]) -> Option<Self> {
        let head = lines.first().filter(|head| head.line.n == first)?;
        let begins = matches!(marker(&head.line.text), Some(Marker::Begin(_)));
        begins.then_some(Self { first, last: first, step: head.step })
    }

    /// Takes the next lines. Says whether the group ends among them.
    fn take(&mut self, lines: &[RecordedLine]) -> bool {
        for RecordedLine { step, line, missing } in lines.iter().filter(|line| line.line.n > self.first) {
            match marker(&line.text) {
                _ if *missing => self.last = line.n,
                _ if *step != self.step => return true,
                Some(Marker::Begin(_)) => return true,
                Some(Marker::End) => {
                    self.last = line.n;
                    return true;
                }
                None => self.last = line.n,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use wire::{LogLine, Timestamp};

    use super::*;

    fn lines(of: &[(u32, &str)]) -> Vec<RecordedLine> {
        let line = |(n, (step, text)): (u64, &(u32, &str))| RecordedLine {
            step: *step,
            line: LogLine {
                n,
                t: Timestamp(0),
                text: (*text).to_owned(),
                open: false,
                split: false,
                err: false,
                note: false,
            },
            missing: false,
        };
        (0..).zip(of).map(line).collect()
    }

    fn last(first: u64, of: &[(u32, &str)]) -> Option<(u64, bool)> {
        let lines = lines(of);
        let mut search = Search::begin(first, &lines[usize::try_from(first).unwrap()..])?;
        let ended = search.take(&lines);
        Some((search.last, ended))
    }

    #[test]
    fn a_group_ends_with_its_marker_the_next_group_its_step_or_not_yet() {
        assert_eq!(last(1, &[(0, "x"), (0, "::group::a"), (0, "b"), (0, "::endgroup::"), (0, "c")]), Some((3, true)));
        assert_eq!(last(0, &[(0, "::group::a"), (0, "b"), (0, "::group::c")]), Some((1, true)));
        assert_eq!(last(0, &[(0, "::group::a"), (0, "b"), (1, "c")]), Some((1, true)));
        assert_eq!(last(0, &[(0, "::group::a"), (0, "b")]), Some((1, false)));
        assert_eq!(last(0, &[(0, "a"), (0, "::endgroup::")]), None);
    }
}
