//! Reads a topic from the record for a reader that misses something, one page at a time. What is done with a page is in
//! `watcher.rs` and `verify.rs`.

use std::time::Duration;

use wire::{Topic, log::RecordedLine};

use crate::{
    api::{Answer, Api},
    failure::{Explain as _, Failure, Result},
};

/// Lines in one answer: as many as there can be.
pub(crate) const PAGE_LINES: usize = 10_000;

/// A page of the record.
pub(crate) enum Page {
    /// Of an attempt's log.
    Lines(LogPage),
    /// Events of a build's own topic, as they stand there.
    Events(Vec<serde_json::Value>),
}

/// See [`Page::Lines`].
pub(crate) struct LogPage {
    pub(crate) lines: Vec<RecordedLine>,
    /// Lines recorded.
    pub(crate) total: u64,
    /// The last event of the record.
    pub(crate) offset: Option<u64>,
    /// Nothing more will come.
    pub(crate) sealed: bool,
}

/// Where to read on.
pub(crate) struct Place {
    pub(crate) topic: Topic,
    pub(crate) epoch: u32,
    /// The next line of a job, or the next event of a build.
    pub(crate) next: u64,
}

/// Waits for `wait`, and reads.
pub(crate) async fn read(api: Api, place: Place, wait: Duration) -> Result<Page> {
    tokio::time::sleep(wait).await;
    match place.topic {
        Topic::Job(job) => {
            let path = format!("/jobs/{job}/log?attempt={}&from={}&limit={PAGE_LINES}", place.epoch, place.next);
            log_page(&api.get(&path).await).map(Page::Lines)
        }
        Topic::Build(build) => {
            let after = place.next.checked_sub(1).map_or_else(String::new, |last| last.to_string());
            api.read(&format!("/builds/{build}/events?after={after}")).await.map(Page::Events)
        }
    }
}

pub(crate) fn log_page(answer: &Answer) -> Result<LogPage> {
    // The attempt has not said anything yet, as far as the record knows.
    if answer.status == 404 {
        return Ok(LogPage { lines: Vec::new(), total: 0, offset: None, sealed: false });
    }
    if answer.status != 200 {
        return Err(Failure(format!("a log was answered {}: {}", answer.status, answer.text)));
    }
    let lines = answer.text.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>();
    let lines = lines.explain(|| "a line of the record cannot be read".to_owned())?;
    Ok(LogPage { lines, total: answer.total, offset: answer.offset, sealed: answer.sealed })
}
