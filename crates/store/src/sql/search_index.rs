//! Writing the search index from the record: lines become blocks, each with the words in it; a build becomes one block of
//! what is known of it. Read and told apart where nobody waits for it, and written in short transactions, in which it is
//! looked once more whether the build is still there and nobody else was quicker. What is found by it stands in
//! [`super::search`].

use std::collections::HashSet;

use serde::Deserialize;
use uuid::Uuid;
use wire::{BuildId, JobId, PipelineName, log::plain};

use super::{
    Details, SqlStore,
    connection::{Connection, query},
    insert, lines,
    rows::{self, bytes, signed},
    text::{self, Dialect},
    writer::Rank,
};
use crate::{
    StoreError,
    search::{BuildPlace, IndexBatch, words},
};

/// Lines in one block: what has to be read again for a hit in it.
const BLOCK_LINES: usize = 64;
/// Bytes of text after which a block is full.
const BLOCK_BYTES: usize = 16 * 1024;
/// Blocks that are written in one transaction: below the 10 ms that one may take.
const PART_BLOCKS: usize = 24;
/// Pages (4 KiB) that SQLite's index merges after each of them, in a transaction of its own: enough to keep up, measured (14
/// segments after a million lines), and below the 10 ms as well.
const MERGE: &str = "INSERT INTO search_words (search_words, rank) VALUES ('merge', 16)";
/// Lines that are read at once.
const READ_LINES: u64 = (PART_BLOCKS * BLOCK_LINES) as u64;
/// A line without an end is waited for until so many have come behind it.
const OPEN_LINES_MAX: u64 = 1000;
/// Builds that are looked at in one step where the index is made of the record.
const STEP_BUILDS: i64 = 16;
/// Blocks that go in one transaction.
const FORGET_BLOCKS: i64 = 128;
/// Texts of one kind that are found of a build: jobs, artifacts.
const TEXTS_MAX: i64 = 500;

/// Which block, if it is there already, and what it holds.
struct Block {
    /// Where it grows.
    id: Option<i64>,
    first: u64,
    lines: u64,
    is_full: bool,
    words: String,
}

/// What is to be written of one owner.
enum Piece {
    Log {
        job: JobId,
        attempt: u32,
        build: BuildId,
        /// What the index had when this was read, and has then.
        from: u64,
        to: u64,
        blocks: Vec<Block>,
    },
    Build {
        id: BuildId,
        words: String,
    },
}

impl Piece {
    fn blocks(&self) -> usize {
        match self {
            Piece::Log { blocks, .. } => blocks.len(),
            Piece::Build { .. } => 1,
        }
    }

    fn build(&self) -> BuildId {
        match self {
            Piece::Log { build, .. } => *build,
            Piece::Build { id, .. } => *id,
        }
    }
}

/// The group's place, kept with the last part of a batch.
type Place = (String, Uuid, u64);

/// See [`crate::search::Search::index`].
pub(super) async fn index<D: Details>(store: &SqlStore<D>, batch: IndexBatch) -> Result<(), StoreError> {
    let mut parts = Parts { store, gathered: Vec::new() };
    for build in batch.builds {
        parts.build(build).await?;
    }
    for (job, attempt) in batch.attempts {
        parts.attempt(job, attempt).await?;
    }
    parts.write(Some((batch.group, batch.incarnation, batch.offset))).await
}

/// See [`crate::search::Search::index_record`].
pub(super) async fn index_record<D: Details>(
    store: &SqlStore<D>,
    after: Option<BuildPlace>,
) -> Result<Option<(BuildPlace, u64)>, StoreError> {
    let (at, id) = after.map_or((i64::MIN, Uuid::nil()), |(at, id)| (at.0, id.0));
    let found = query(
        "SELECT queued_at, id FROM builds WHERE queued_at > ?1 OR (queued_at = ?1 AND id > ?2) \
         ORDER BY queued_at, id LIMIT ?3",
    )
    .bind(at)
    .bind(bytes(&id))
    .bind(STEP_BUILDS)
    .fetch_all(&mut store.reader().await?)
    .await?;
    let mut parts = Parts { store, gathered: Vec::new() };
    let mut last = None;
    for row in &found {
        let build = BuildId(rows::uuid(row, 1)?);
        parts.build(build).await?;
        for (job, attempt) in lacking(&mut store.reader().await?, build).await? {
            parts.attempt(job, attempt).await?;
        }
        last = Some((rows::time(row, 0)?, build));
    }
    parts.write(None).await?;
    Ok(last.map(|place| (place, found.len() as u64)))
}

/// Attempts of which the record has more lines than the index.
async fn lacking(connection: &mut Connection, build: BuildId) -> Result<Vec<(JobId, u32)>, StoreError> {
    let found = query(
        "SELECT jobs.id, topics.epoch FROM jobs JOIN topics ON topics.kind = 1 AND topics.id = jobs.id \
         LEFT JOIN search_logs ON search_logs.job = jobs.id AND search_logs.attempt = topics.epoch \
         WHERE jobs.build = ? AND topics.lines > COALESCE(search_logs.next_line, 0) ORDER BY jobs.place, topics.epoch",
    );
    let found = found.bind(bytes(&build.0)).fetch_all(connection).await?;
    found.iter().map(|row| Ok((JobId(rows::uuid(row, 0)?), rows::number(row, 1)?))).collect()
}

/// What has been read and is not yet written.
struct Parts<'s, D> {
    store: &'s SqlStore<D>,
    gathered: Vec<Piece>,
}

impl<D: Details> Parts<'_, D> {
    async fn add(&mut self, piece: Piece) -> Result<(), StoreError> {
        self.gathered.push(piece);
        let blocks: usize = self.gathered.iter().map(Piece::blocks).sum();
        if blocks >= PART_BLOCKS { self.write(None).await } else { Ok(()) }
    }

    async fn build(&mut self, id: BuildId) -> Result<(), StoreError> {
        let Some(known) = Known::read(&mut self.store.reader().await?, id).await? else { return Ok(()) };
        let mut set = HashSet::from([filter_of(&known.pipeline), KIND_BUILD.to_owned()]);
        known.texts.iter().for_each(|(_, text)| words::add(words::searched(text), &mut set));
        self.add(Piece::Build { id, words: joined(set) }).await
    }

    async fn attempt(&mut self, job: JobId, attempt: u32) -> Result<(), StoreError> {
        loop {
            let read = read(&mut self.store.snapshot().await?, job, attempt).await?;
            let Some((piece, more)) = read else { return Ok(()) };
            self.add(piece).await?;
            if !more {
                return Ok(());
            }
            // What follows begins where this one has ended.
            self.write(None).await?;
        }
    }

    async fn write(&mut self, place: Option<Place>) -> Result<(), StoreError> {
        let pieces = std::mem::take(&mut self.gathered);
        if pieces.is_empty() && place.is_none() {
            return Ok(());
        }
        let grows = self.store.writer.run(Rank::Record, move |connection| Box::pin(write(connection, pieces, place)));
        // PostgreSQL looks after its index by itself.
        if grows.await? != Some(Dialect::Sqlite) {
            return Ok(());
        }
        self.store.writer.run(Rank::Record, |connection| Box::pin(connection.execute(MERGE))).await
    }
}

/// Reads what comes next of an attempt; and whether there is more.
async fn read(connection: &mut Connection, job: JobId, attempt: u32) -> Result<Option<(Piece, bool)>, StoreError> {
    let found = query(
        "SELECT builds.id, builds.pipeline, topics.lines, topics.sealed, topics.open, \
         COALESCE(search_logs.next_line, 0), \
         (SELECT MIN(n) FROM open_lines WHERE open_lines.job = jobs.id AND open_lines.attempt = topics.epoch) \
         FROM jobs JOIN builds ON builds.id = jobs.build \
         JOIN topics ON topics.kind = 1 AND topics.id = jobs.id AND topics.epoch = ?2 \
         LEFT JOIN search_logs ON search_logs.job = jobs.id AND search_logs.attempt = topics.epoch WHERE jobs.id = ?1",
    )
    .bind(bytes(&job.0))
    .bind(i64::from(attempt))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = found else { return Ok(None) };
    let (build, pipeline): (_, PipelineName) = (BuildId(rows::uuid(&row, 0)?), rows::parsed(&row, 1)?);
    let (total, sealed, from): (u64, bool, u64) =
        (rows::number(&row, 2)?, rows::flag(&row, 3)?, rows::number(&row, 5)?);
    let end = match rows::number_if::<u64>(&row, 6)? {
        Some(open) if !sealed && total.saturating_sub(open) <= OPEN_LINES_MAX => open.min(total),
        _ => total,
    };
    if from >= end {
        return Ok(None);
    }
    let grows = query(
        "SELECT id, first_line FROM search_blocks WHERE kind = 1 AND owner = ? AND attempt = ? AND is_full = 0 \
         AND first_line + line_count = ? ORDER BY first_line DESC LIMIT 1",
    )
    .bind(bytes(&job.0))
    .bind(i64::from(attempt))
    .bind(signed(from))
    .fetch_optional(&mut *connection)
    .await?;
    let (mut id, first) = match &grows {
        Some(row) => (Some(row.try_get(0)?), rows::number(row, 1)?),
        None => (None, from),
    };
    let to = end.min(from.saturating_add(READ_LINES));
    let lines = lines::read(connection, job, attempt, first, to).await?;
    let filter = filter_of(&pipeline);
    let new_set = || HashSet::from([filter.clone(), KIND_LOG.to_owned()]);
    let (mut blocks, mut set, mut begin, mut count, mut size) = (Vec::new(), new_set(), first, 0, 0);
    let mut text = String::new();
    for line in &lines {
        plain(&line.line.text, &mut text);
        let searched = words::searched(&text);
        words::add(searched, &mut set);
        (count, size) = (line.line.n + 1 - begin, size + searched.len());
        if count >= BLOCK_LINES as u64 || size >= BLOCK_BYTES {
            let words = joined(std::mem::replace(&mut set, new_set()));
            blocks.push(Block { id: id.take(), first: begin, lines: count, is_full: true, words });
            (begin, count, size) = (begin + count, 0, 0);
        }
    }
    if count > 0 {
        blocks.push(Block { id: id.take(), first: begin, lines: count, is_full: false, words: joined(set) });
    }
    let to = begin + count;
    // Nothing new was to be had, though it was promised: the next word of this attempt asks again.
    if to <= from {
        return Ok(None);
    }
    Ok(Some((Piece::Log { job, attempt, build, from, to, blocks }, to < end)))
}

/// What stands in every block beside the words of its text, so that a search of one kind or pipeline passes over the
/// others. No word of a text has such a letter.
pub(super) const KIND_BUILD: &str = "\u{e000}b";
pub(super) const KIND_LOG: &str = "\u{e000}l";

/// The same for a pipeline. Of the signs that its name may have none stands in a word: they are one here.
pub(super) fn filter_of(pipeline: &PipelineName) -> String {
    let letters = pipeline.as_str().chars().map(|letter| match letter {
        letter if letter.is_ascii_alphanumeric() => letter.to_ascii_lowercase(),
        _ => '\u{e002}',
    });
    std::iter::once('\u{e001}').chain(letters).collect()
}

fn joined(words: HashSet<String>) -> String {
    let mut words: Vec<String> = words.into_iter().collect();
    words.sort_unstable(); // Neighbours in the index are written one after the other.
    words.join(" ")
}

/// What is known of a build, in the order in which it is told.
pub(super) struct Known {
    pipeline: PipelineName,
    /// What it is, and its text.
    pub(super) texts: Vec<(&'static str, String)>,
}

impl Known {
    pub(super) async fn read(connection: &mut Connection, id: BuildId) -> Result<Option<Self>, StoreError> {
        let found = query("SELECT pipeline, number, inputs, outcome FROM builds WHERE id = ?")
            .bind(bytes(&id.0))
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = found else { return Ok(None) };
        let (pipeline, number): (PipelineName, u64) = (rows::parsed(&row, 0)?, rows::number(&row, 1)?);
        let mut texts = vec![("pipeline", pipeline.to_string()), ("number", format!("#{number}"))];
        let inputs: std::collections::BTreeMap<String, String> = rows::json(&row, 2)?;
        texts.extend(inputs.into_iter().map(|(name, value)| ("input", format!("{name}={value}"))));
        if let Some(outcome) = rows::outcome_if(&row, 3)? {
            texts.push(("outcome", outcome.as_str().to_owned()));
        }
        #[derive(Deserialize)]
        struct Plan {
            name: String,
        }
        let jobs = query("SELECT plan FROM jobs WHERE build = ? ORDER BY place LIMIT ?");
        for row in &jobs.bind(bytes(&id.0)).bind(TEXTS_MAX).fetch_all(&mut *connection).await? {
            texts.push(("job", rows::json::<Plan>(row, 0)?.name));
        }
        let artifacts = query(
            "SELECT DISTINCT artifacts.name FROM jobs JOIN artifacts ON artifacts.job = jobs.id WHERE jobs.build = ? \
             ORDER BY artifacts.name LIMIT ?",
        );
        for row in &artifacts.bind(bytes(&id.0)).bind(TEXTS_MAX).fetch_all(connection).await? {
            texts.push(("artifact", row.try_get(0)?));
        }
        Ok(Some(Self { pipeline, texts }))
    }
}

/// A row of `search_blocks`.
struct BlockRow {
    id: i64,
    kind: i64,
    owner: Uuid,
    attempt: u32,
    first: u64,
    lines: u64,
    build: Uuid,
    is_full: bool,
}

/// Writes pieces, and the group's place. Whose index has grown by that, if it has.
async fn write(
    connection: &mut Connection,
    pieces: Vec<Piece>,
    place: Option<Place>,
) -> Result<Option<Dialect>, StoreError> {
    let dialect = connection.dialect();
    let there = still_there(&mut *connection, &pieces).await?;
    let state = query("SELECT next_block FROM search_state").fetch_one(&mut *connection).await?;
    let first_id: i64 = state.try_get(0)?;
    let mut next_id = first_id;
    let mut take = || {
        next_id += 1;
        next_id - 1
    };
    let (mut blocks, mut words, mut logs) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces.into_iter().filter(|piece| there.contains(&piece.build())) {
        match piece {
            Piece::Log { job, attempt, build, from, to, blocks: of } => {
                if next_line(&mut *connection, job, attempt).await? != from {
                    continue;
                }
                logs.push((job, attempt, to));
                for block in of {
                    let id = block.id.unwrap_or_else(&mut take);
                    words.push((id, block.words));
                    let Block { first, lines, is_full, .. } = block;
                    blocks.push(BlockRow { id, kind: 1, owner: job.0, attempt, first, lines, build: build.0, is_full });
                }
            }
            Piece::Build { id: build, words: of } => {
                let known = query("SELECT id FROM search_blocks WHERE kind = 0 AND owner = ?").bind(bytes(&build.0));
                let known = known.fetch_optional(&mut *connection).await?;
                let id = known.map(|row| row.try_get(0)).transpose()?.unwrap_or_else(&mut take);
                words.push((id, of));
                let (owner, build) = (build.0, build.0);
                blocks.push(BlockRow { id, kind: 0, owner, attempt: 0, first: 0, lines: 0, build, is_full: true });
            }
        }
    }
    let head = "INSERT INTO search_blocks (id, kind, owner, attempt, first_line, line_count, build, is_full)";
    let tail = "ON CONFLICT (id) DO UPDATE SET line_count = excluded.line_count, is_full = excluded.is_full";
    insert::rows(&mut *connection, head, 8, tail, &blocks, |query, row| {
        let query = query.bind(row.id).bind(row.kind).bind(bytes(&row.owner)).bind(i64::from(row.attempt));
        let query = query.bind(signed(row.first)).bind(signed(row.lines)).bind(bytes(&row.build));
        query.bind(i64::from(row.is_full))
    })
    .await?;
    if !words.is_empty() {
        let put = text::pick(
            connection.dialect(),
            "INSERT OR REPLACE INTO search_words (rowid, words) SELECT value ->> 0, value ->> 1 FROM {each}",
            "INSERT INTO search_words (id, words) SELECT CAST(value ->> 0 AS BIGINT), \
             array_to_tsvector(string_to_array(value ->> 1, ' ')) FROM {each} \
             ON CONFLICT (id) DO UPDATE SET words = excluded.words",
        );
        query(put).bind(rows::to_json(&words)?).execute(&mut *connection).await?;
    }
    let head = "INSERT INTO search_logs (job, attempt, next_line)";
    let tail = "ON CONFLICT (job, attempt) DO UPDATE SET next_line = excluded.next_line";
    insert::rows(&mut *connection, head, 3, tail, &logs, |query, (job, attempt, next)| {
        query.bind(bytes(&job.0)).bind(i64::from(*attempt)).bind(signed(*next))
    })
    .await?;
    if next_id > first_id {
        query("UPDATE search_state SET next_block = ?").bind(next_id).execute(&mut *connection).await?;
    }
    if let Some((group, incarnation, offset)) = place {
        query(
            "INSERT INTO groups (name, incarnation, place) VALUES (?, ?, ?) ON CONFLICT (name) \
             DO UPDATE SET incarnation = excluded.incarnation, place = excluded.place",
        )
        .bind(&group)
        .bind(bytes(&incarnation))
        .bind(signed(offset))
        .execute(connection)
        .await?;
    }
    Ok((!words.is_empty()).then_some(dialect))
}

/// Builds that were not deleted since they were read.
async fn still_there(connection: &mut Connection, pieces: &[Piece]) -> Result<HashSet<BuildId>, StoreError> {
    let builds: HashSet<BuildId> = pieces.iter().map(Piece::build).collect();
    let each: Vec<[String; 1]> = builds.iter().map(|build| [build.0.as_simple().to_string()]).collect();
    let found = query("SELECT id FROM builds WHERE id IN (SELECT unhex(value ->> 0) FROM {each})");
    let found = found.bind(rows::to_json(&each)?).fetch_all(connection).await?;
    found.iter().map(|row| rows::uuid(row, 0).map(BuildId)).collect()
}

async fn next_line(connection: &mut Connection, job: JobId, attempt: u32) -> Result<u64, StoreError> {
    let found = query("SELECT next_line FROM search_logs WHERE job = ? AND attempt = ?")
        .bind(bytes(&job.0))
        .bind(i64::from(attempt))
        .fetch_optional(connection)
        .await?;
    found.map_or(Ok(0), |row| rows::number(&row, 0))
}

/// Forgets some blocks of a deleted build (kind 0) or job (kind 1); whether that were all.
pub(super) async fn forget(connection: &mut Connection, is_job: bool, owner: &Uuid) -> Result<bool, StoreError> {
    let gone = query(
        "DELETE FROM search_blocks WHERE id IN (SELECT id FROM search_blocks WHERE kind = ? AND owner = ? LIMIT ?) \
         RETURNING id",
    );
    let gone = gone.bind(i64::from(is_job)).bind(bytes(owner)).bind(FORGET_BLOCKS).fetch_all(&mut *connection).await?;
    forget_words(&mut *connection, &gone).await?;
    let is_clean = signed(gone.len() as u64) < FORGET_BLOCKS;
    if is_clean && is_job {
        query("DELETE FROM search_logs WHERE job = ?").bind(bytes(owner)).execute(connection).await?;
    }
    Ok(is_clean)
}

async fn forget_words(connection: &mut Connection, gone: &[super::connection::Row]) -> Result<(), StoreError> {
    if gone.is_empty() {
        return Ok(());
    }
    let ids = gone.iter().map(|row| Ok([row.try_get::<i64>(0)?])).collect::<Result<Vec<_>, StoreError>>()?;
    let forget = text::pick(
        connection.dialect(),
        "DELETE FROM search_words WHERE rowid IN (SELECT value ->> 0 FROM {each})",
        "DELETE FROM search_words WHERE id IN (SELECT CAST(value ->> 0 AS BIGINT) FROM {each})",
    );
    query(forget).bind(rows::to_json(&ids)?).execute(connection).await?;
    Ok(())
}

/// See [`crate::search::Search::empty_index`].
pub(super) async fn empty(connection: &mut Connection) -> Result<bool, StoreError> {
    connection.execute("UPDATE search_state SET is_whole = 0 WHERE is_whole = 1").await?;
    // Places first: what is indexed anew meanwhile begins at the beginning.
    let logs = "DELETE FROM search_logs WHERE (job, attempt) IN (SELECT job, attempt FROM search_logs LIMIT ?)";
    let logs = query(logs).bind(FORGET_BLOCKS).execute(&mut *connection).await?;
    let gone = "DELETE FROM search_blocks WHERE id IN (SELECT id FROM search_blocks ORDER BY id LIMIT ?) RETURNING id";
    let gone = query(gone).bind(FORGET_BLOCKS).fetch_all(&mut *connection).await?;
    forget_words(connection, &gone).await?;
    Ok(logs > 0 || !gone.is_empty())
}
