//! The log lines of one attempt while a batch is applied: which are new, which replace an open one, and how they are
//! written in chunks.

use std::collections::{BTreeMap, BTreeSet};

use wire::{JobId, LogLine, Timestamp, log::RecordedLine};

use super::{
    chunk,
    connection::{Connection, query},
    insert,
    rows::{self, bytes, signed},
};
use crate::{LOG_PAGE_BYTES_MAX, StoreError};

/// What a batch makes of an attempt's log.
pub(super) struct Lines {
    job: JobId,
    attempt: u32,
    /// The number that comes next.
    pub(super) next: u64,
    open: BTreeMap<u64, RecordedLine>,
    /// Open lines that came, changed or went.
    touched: BTreeSet<u64>,
    closed: Vec<RecordedLine>,
    /// Each step's first line in this batch.
    firsts: BTreeMap<u32, u64>,
    /// Lines whose events the stream has lost: the first, and how many.
    missing: Vec<(u64, u64)>,
}

impl Lines {
    /// As the record has it: `next`, and the lines that have no end yet (`open` of them).
    pub(super) async fn load(
        connection: &mut Connection,
        (job, attempt): (JobId, u32),
        next: u64,
        open: u64,
    ) -> Result<Self, StoreError> {
        let open = if open == 0 {
            Vec::new()
        } else {
            open_lines(connection, (job, attempt), 0, i64::MAX, usize::MAX).await?
        };
        let open = open.into_iter().map(|line| (line.line.n, line)).collect();
        let (touched, closed, firsts, missing) = (BTreeSet::new(), Vec::new(), BTreeMap::new(), Vec::new());
        Ok(Self { job, attempt, next, open, touched, closed, firsts, missing })
    }

    /// How many lines have no end.
    pub(super) fn open(&self) -> u64 {
        self.open.len() as u64
    }

    /// A line, in the order of the topic. A number that is recorded with its end stays as it is: only open lines are
    /// replaced, so a writer that repeats itself changes nothing.
    pub(super) fn push(&mut self, step: u32, line: LogLine) {
        let n = line.n;
        if n >= self.next {
            if n > self.next {
                self.missing.push((self.next, n - self.next));
            }
            self.next = n.saturating_add(1);
            self.firsts.entry(step).or_insert(n);
        } else if self.open.remove(&n).is_some() {
            self.touched.insert(n);
        } else {
            return;
        }
        let line = RecordedLine { step, line, missing: false };
        if line.line.open {
            self.touched.insert(n);
            self.open.insert(n, line);
        } else {
            self.closed.push(line);
        }
    }

    /// Writes the open lines, and adds the rest to what is written for all attempts together.
    pub(super) async fn write(
        mut self,
        connection: &mut Connection,
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        for n in &self.touched {
            self.write_open(connection, *n).await?;
        }
        let (job, attempt) = (self.job, self.attempt);
        let id = job.0.as_simple().to_string();
        gathered.firsts.extend(self.firsts.iter().map(|(step, first)| (id.clone(), attempt, *step, *first)));
        gathered.missing.extend(self.missing.iter().map(|(first, count)| (job, attempt, *first, *count)));
        self.closed.sort_by_key(|line| line.line.n);
        for run in runs(&self.closed) {
            let (t0, packed) = chunk::pack(run);
            let (first, count) = (run.first().map_or(0, |line| line.line.n), run.len() as u64);
            gathered.chunks.push(Chunk { job, attempt, first, count, t0, packed });
        }
        Ok(())
    }

    async fn write_open(&self, connection: &mut Connection, n: u64) -> Result<(), StoreError> {
        let Some(RecordedLine { step, line, .. }) = self.open.get(&n) else {
            query("DELETE FROM open_lines WHERE job = ? AND attempt = ? AND n = ?")
                .bind(bytes(&self.job.0))
                .bind(i64::from(self.attempt))
                .bind(signed(n))
                .execute(connection)
                .await?;
            return Ok(());
        };
        query(
            "INSERT INTO open_lines (job, attempt, n, step, t, split, err, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (job, attempt, n) DO UPDATE SET step = excluded.step, t = excluded.t, \
             split = excluded.split, err = excluded.err, text = excluded.text",
        )
        .bind(bytes(&self.job.0))
        .bind(i64::from(self.attempt))
        .bind(signed(n))
        .bind(i64::from(*step))
        .bind(line.t.0)
        .bind(i64::from(line.split))
        .bind(i64::from(line.err))
        .bind(&line.text)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// What a batch makes of all attempts' logs, so that few statements write it.
#[derive(Default)]
pub(super) struct Gathered {
    chunks: Vec<Chunk>,
    /// Job (in hex), attempt, step, and the number of the step's first line in the batch.
    firsts: Vec<(String, u32, u32, u64)>,
    /// Job, attempt, the first line that is missing, and how many are.
    missing: Vec<(JobId, u32, u64, u64)>,
}

struct Chunk {
    job: JobId,
    attempt: u32,
    first: u64,
    count: u64,
    t0: Timestamp,
    packed: Vec<u8>,
}

impl Gathered {
    /// Writes all of it; the steps must be there already.
    pub(super) async fn write(self, connection: &mut Connection) -> Result<(), StoreError> {
        if !self.firsts.is_empty() {
            query(
                "UPDATE steps SET first_line = said.first FROM (SELECT unhex(value ->> 0) AS job, \
                 CAST(value ->> 1 AS BIGINT) AS attempt, CAST(value ->> 2 AS BIGINT) AS step, \
                 CAST(value ->> 3 AS BIGINT) AS first FROM {each}) AS said \
                 WHERE steps.job = said.job AND steps.attempt = said.attempt AND steps.step = said.step \
                 AND steps.first_line IS NULL",
            )
            .bind(rows::to_json(&self.firsts)?)
            .execute(&mut *connection)
            .await?;
        }
        let head = "INSERT INTO missing_lines (job, attempt, first_line, line_count)";
        insert::rows(
            connection,
            head,
            4,
            "ON CONFLICT DO NOTHING",
            &self.missing,
            |query, (job, attempt, first, count)| {
                query.bind(bytes(&job.0)).bind(i64::from(*attempt)).bind(signed(*first)).bind(signed(*count))
            },
        )
        .await?;
        let head = "INSERT INTO log_chunks (job, attempt, first_line, line_count, t0, body)";
        insert::rows(connection, head, 6, "", &self.chunks, |query, chunk| {
            let query = query.bind(bytes(&chunk.job.0)).bind(i64::from(chunk.attempt)).bind(signed(chunk.first));
            query.bind(signed(chunk.count)).bind(chunk.t0.0).bind(chunk.packed.as_slice())
        })
        .await
    }
}

/// Cuts sorted lines into chunks: numbers without gaps, bounded in lines and bytes.
fn runs(lines: &[RecordedLine]) -> impl Iterator<Item = &[RecordedLine]> {
    let (mut count, mut size) = (0, 0);
    lines.chunk_by(move |before, line| {
        (count, size) = (count + 1, size + before.line.text.len());
        let follows = before.line.n.checked_add(1) == Some(line.line.n);
        let same = follows && count < chunk::LINES_MAX && size + line.line.text.len() <= chunk::BYTES_MAX;
        if !same {
            (count, size) = (0, 0);
        }
        same
    })
}

/// Lines `from..to` of an attempt, in order: as many as have [`LOG_PAGE_BYTES_MAX`] of text together, at least one.
pub(super) async fn read(
    connection: &mut Connection,
    job: JobId,
    attempt: u32,
    from: u64,
    to: u64,
) -> Result<Vec<RecordedLine>, StoreError> {
    let mut lines = closed_lines(connection, (job, attempt), from, to).await?;
    // Each of the two kinds ends by itself where it is too long; what lies behind the nearer end may be incomplete.
    let to = end(&lines, to);
    let open = open_lines(connection, (job, attempt), signed(from), signed(to), LOG_PAGE_BYTES_MAX).await?;
    if !open.is_empty() {
        let to = end(&open, to);
        lines.retain(|line| line.line.n < to);
        lines.extend(open);
        lines.sort_by_key(|line| line.line.n);
    }
    let missing = missing_lines(connection, (job, attempt), from, to).await?;
    if !missing.is_empty() {
        lines.extend(missing);
        lines.sort_by_key(|line| line.line.n);
    }
    let mut size = 0;
    let fits = lines.iter().take_while(|line| {
        size += line.line.text.len();
        size <= LOG_PAGE_BYTES_MAX
    });
    let fits = fits.count().max(1);
    lines.truncate(fits);
    Ok(lines)
}

/// A line of its own for each of the lines `from..to` that will never be recorded.
async fn missing_lines(
    connection: &mut Connection,
    (job, attempt): (JobId, u32),
    from: u64,
    to: u64,
) -> Result<Vec<RecordedLine>, StoreError> {
    let found = query(
        "SELECT first_line, line_count FROM missing_lines WHERE job = ? AND attempt = ? AND first_line < ? \
         AND first_line + line_count > ? ORDER BY first_line",
    )
    .bind(bytes(&job.0))
    .bind(i64::from(attempt))
    .bind(signed(to))
    .bind(signed(from))
    .fetch_all(connection)
    .await?;
    let mut lines = Vec::new();
    for row in &found {
        let (first, count): (u64, u64) = (rows::number(row, 0)?, rows::number(row, 1)?);
        let (first, end) = (first.max(from), first.saturating_add(count).min(to));
        lines.extend((first..end).map(RecordedLine::missing));
    }
    Ok(lines)
}

/// Where lines that were asked for up to `to` end: sooner if they are more than a page holds.
fn end(lines: &[RecordedLine], to: u64) -> u64 {
    let is_cut = lines.iter().map(|line| line.line.text.len()).sum::<usize>() > LOG_PAGE_BYTES_MAX;
    lines.last().filter(|_| is_cut).map_or(to, |last| last.line.n.saturating_add(1))
}

/// Rows in one look: what lies behind the end of a page is not brought from a server in vain.
const LOOK_ROWS: i64 = 16;

/// The lines `from..to` that have their end, up to the one that is too much for a page.
async fn closed_lines(
    connection: &mut Connection,
    (job, attempt): (JobId, u32),
    from: u64,
    to: u64,
) -> Result<Vec<RecordedLine>, StoreError> {
    let (mut lines, mut size) = (Vec::new(), 0);
    // Chunks do not overlap: the first one that may hold `from` is the last one that begins at or before it.
    let first = query("SELECT MAX(first_line) FROM log_chunks WHERE job = ? AND attempt = ? AND first_line <= ?")
        .bind(bytes(&job.0))
        .bind(i64::from(attempt))
        .bind(signed(from))
        .fetch_one(&mut *connection)
        .await?;
    let mut next = first.try_get::<Option<i64>>(0)?.unwrap_or(0);
    loop {
        let found = query(
            "SELECT first_line, t0, body FROM log_chunks WHERE job = ? AND attempt = ? AND first_line >= ? \
             AND first_line < ? ORDER BY first_line LIMIT ?",
        )
        .bind(bytes(&job.0))
        .bind(i64::from(attempt))
        .bind(next)
        .bind(signed(to))
        .bind(LOOK_ROWS)
        .fetch_all(&mut *connection)
        .await?;
        for row in &found {
            next = row.try_get::<i64>(0)?.saturating_add(1);
            let unpacked = chunk::unpack(rows::number(row, 0)?, rows::time(row, 1)?, row.try_get(2)?)?;
            for line in unpacked.into_iter().filter(|line| (from..to).contains(&line.line.n)) {
                size += line.line.text.len();
                lines.push(line);
                if size > LOG_PAGE_BYTES_MAX {
                    return Ok(lines);
                }
            }
        }
        if (found.len() as u64) < LOOK_ROWS.unsigned_abs() {
            return Ok(lines);
        }
    }
}

/// The lines `from..to` that have no end yet, up to the one with which their text exceeds `bytes_max`.
async fn open_lines(
    connection: &mut Connection,
    (job, attempt): (JobId, u32),
    from: i64,
    to: i64,
    bytes_max: usize,
) -> Result<Vec<RecordedLine>, StoreError> {
    let (mut lines, mut size, mut next) = (Vec::new(), 0, from);
    loop {
        let found = query(
            "SELECT n, step, t, split, text, err FROM open_lines WHERE job = ? AND attempt = ? AND n >= ? AND n < ? \
             ORDER BY n LIMIT ?",
        )
        .bind(bytes(&job.0))
        .bind(i64::from(attempt))
        .bind(next)
        .bind(to)
        .bind(LOOK_ROWS)
        .fetch_all(&mut *connection)
        .await?;
        for row in &found {
            next = row.try_get::<i64>(0)?.saturating_add(1);
            let (n, t, split) = (rows::number(row, 0)?, Timestamp(row.try_get(2)?), rows::flag(row, 3)?);
            let line =
                LogLine { n, t, text: row.try_get(4)?, open: true, split, err: rows::flag(row, 5)?, note: false };
            size += line.text.len();
            lines.push(RecordedLine { step: rows::number(row, 1)?, line, missing: false });
            if size > bytes_max {
                return Ok(lines);
            }
        }
        if (found.len() as u64) < LOOK_ROWS.unsigned_abs() {
            return Ok(lines);
        }
    }
}
