//! Searching: the index names blocks, newest first; their lines are read from the record and looked at once more. What the
//! index is made of stands in [`super::search_index`].

use std::time::{Duration, Instant};

use wire::{
    BuildId, JobId, PipelineName,
    authority::Grants,
    log::plain,
    search::{Found, SEARCH_LIMIT, SEARCH_LIMIT_MAX, SearchCursor, SearchHit, SearchKind, SearchPage, SearchQuery},
};

use super::{
    Details, SqlStore,
    connection::{Connection, Row, query},
    lines,
    rows::{self, bytes, signed},
    search_index::{self, KIND_BUILD, KIND_LOG, Known, filter_of},
    text::{self, Dialect},
    writer::Rank,
};
use crate::{
    Answer, StoreError,
    search::{BuildPlace, IndexBatch, Search, wanted::Wanted, words},
};

/// Blocks that are asked for at once.
const LOOK_BLOCKS: i64 = 64;
/// Blocks that one search looks at: where words stand near each other in many blocks and in no line, it ends here.
const BLOCKS_MAX: usize = 2_000;
/// How long one search looks.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Of the line of a hit, so much is told, in letters.
const TOLD_LETTERS_MAX: usize = 256;
/// Of them, so many stand before the first word that was looked for.
const TOLD_BEFORE: usize = 64;

impl<D: Details> Search for SqlStore<D> {
    fn index(&self, batch: IndexBatch) -> Answer<'_, ()> {
        Box::pin(search_index::index(self, batch))
    }

    fn index_record(&self, after: Option<BuildPlace>) -> Answer<'_, Option<(BuildPlace, u64)>> {
        Box::pin(search_index::index_record(self, after))
    }

    fn index_is_whole(&self) -> Answer<'_, bool> {
        Box::pin(async move {
            let found = query("SELECT is_whole FROM search_state").fetch_one(&mut self.reader().await?).await?;
            rows::flag(&found, 0)
        })
    }

    fn index_made_whole(&self) -> Answer<'_, ()> {
        Box::pin(self.writer.run(Rank::Record, |connection| {
            Box::pin(async move { connection.execute("UPDATE search_state SET is_whole = 1").await })
        }))
    }

    fn empty_index(&self) -> Answer<'_, bool> {
        Box::pin(self.writer.run(Rank::Record, |connection| Box::pin(search_index::empty(connection))))
    }

    fn search<'a>(&'a self, wanted: &'a Wanted, query: &'a SearchQuery, seen_by: &'a Grants) -> Answer<'a, SearchPage> {
        Box::pin(find(self, wanted, query, seen_by))
    }
}

/// A block that may hold a hit.
struct Candidate {
    id: u64,
    is_log: bool,
    job: JobId,
    attempt: u32,
    first: u64,
    lines: u64,
    build: BuildId,
    pipeline: PipelineName,
    number: u64,
}

async fn find<D: Details>(
    store: &SqlStore<D>,
    wanted: &Wanted,
    asked: &SearchQuery,
    seen_by: &Grants,
) -> Result<SearchPage, StoreError> {
    let began = Instant::now();
    let limit = asked.limit.unwrap_or(SEARCH_LIMIT).clamp(1, SEARCH_LIMIT_MAX) as usize;
    let mut page = SearchPage::default();
    // As a pipeline that is not there.
    let sees = |pipeline: &PipelineName| seen_by.role_in(pipeline).is_some();
    if seen_by.is_empty() || !asked.pipeline.as_ref().is_none_or(sees) {
        return Ok(page);
    }
    // Within the block of the cursor, lines before its own are still to be told.
    let mut before = asked.before;
    let mut looked = 0;
    loop {
        let mut snapshot = store.snapshot().await?;
        let candidates = candidates(&mut snapshot, wanted, asked, seen_by, before).await?;
        for candidate in &candidates {
            let end = before.filter(|before| before.block == candidate.id).map_or(u64::MAX, |before| before.line);
            if !sees(&candidate.pipeline) {
                continue;
            }
            let hits = candidate.hits(&mut snapshot, wanted, end).await?;
            for (n, hit) in hits {
                if page.hits.len() == limit {
                    page.next = before.map(|before| before.to_string());
                    return Ok(page);
                }
                page.hits.push(hit);
                before = Some(SearchCursor { block: candidate.id, line: n });
            }
            looked += 1;
            before = Some(SearchCursor { block: candidate.id, line: 0 });
            if looked >= BLOCKS_MAX || began.elapsed() > TIME_MAX {
                (page.next, page.stopped) = (before.map(|before| before.to_string()), true);
                return Ok(page);
            }
        }
        if signed(candidates.len() as u64) < LOOK_BLOCKS {
            return Ok(page);
        }
    }
}

/// The next blocks that have all words, of pipelines that may be seen: what is looked at beside them would tell by where it
/// ends, and how soon, that there is more.
async fn candidates(
    connection: &mut Connection,
    wanted: &Wanted,
    asked: &SearchQuery,
    seen_by: &Grants,
    before: Option<SearchCursor>,
) -> Result<Vec<Candidate>, StoreError> {
    let sql = text::pick(
        connection.dialect(),
        "SELECT search_blocks.id, kind, owner, attempt, first_line, line_count, builds.id, builds.pipeline, builds.number \
         FROM search_words CROSS JOIN search_blocks ON search_blocks.id = search_words.rowid \
         JOIN builds ON builds.id = search_blocks.build \
         WHERE search_words MATCH ?1 AND search_words.rowid <= ?2 ORDER BY search_words.rowid DESC LIMIT ?3",
        "SELECT search_blocks.id, kind, owner, attempt, first_line, line_count, builds.id, builds.pipeline, builds.number \
         FROM search_words JOIN search_blocks ON search_blocks.id = search_words.id \
         JOIN builds ON builds.id = search_blocks.build \
         WHERE search_words.words @@ CAST(?1 AS tsquery) AND search_words.id <= ?2 ORDER BY search_words.id DESC LIMIT ?3",
    );
    // A block of which everything was told is behind the cursor.
    let last = before.map_or(i64::MAX, |before| signed(before.block) - i64::from(before.line == 0));
    let found = query(sql)
        .bind(terms(connection.dialect(), wanted, asked, seen_by))
        .bind(last)
        .bind(LOOK_BLOCKS)
        .fetch_all(connection)
        .await?;
    let of = |row: &Row| {
        Ok(Candidate {
            id: rows::number(row, 0)?,
            is_log: rows::flag(row, 1)?,
            job: JobId(rows::uuid(row, 2)?),
            attempt: rows::number(row, 3)?,
            first: rows::number(row, 4)?,
            lines: rows::number(row, 5)?,
            build: BuildId(rows::uuid(row, 6)?),
            pipeline: rows::parsed(row, 7)?,
            number: rows::number(row, 8)?,
        })
    };
    found.iter().map(of).collect()
}

/// The words that a block must have, as each database is asked for them. They are letters and digits: nothing in them is
/// a sign of its language.
fn terms(dialect: Dialect, wanted: &Wanted, asked: &SearchQuery, seen_by: &Grants) -> String {
    let kind = asked.kind.map(|kind| match kind {
        SearchKind::Build => KIND_BUILD.to_owned(),
        SearchKind::Log => KIND_LOG.to_owned(),
    });
    let filters = kind.into_iter().chain(asked.pipeline.as_ref().map(filter_of)).map(|filter| (filter, false));
    let words = wanted.terms().map(|(word, prefix)| (word.to_owned(), prefix));
    let terms = words.chain(filters).map(|(word, prefix)| {
        let (quoted, starred) = text_of(dialect, &word);
        if prefix { starred } else { quoted }
    });
    let any = match seen_by.everywhere {
        Some(_) => None,
        None => {
            let of = seen_by.pipelines.keys().map(|pipeline| text_of(dialect, &filter_of(pipeline)).0);
            Some(format!("({})", of.collect::<Vec<_>>().join(text::pick(dialect, " OR ", " | "))))
        }
    };
    terms.chain(any).collect::<Vec<_>>().join(text::pick(dialect, " AND ", " & "))
}

/// A word, and a word that only begins so.
fn text_of(dialect: Dialect, word: &str) -> (String, String) {
    let quote = text::pick(dialect, "\"", "'");
    let star = text::pick(dialect, "*", ":*");
    let quoted = format!("{quote}{word}{quote}");
    (quoted.clone(), quoted + star)
}

impl Candidate {
    /// Its hits before line (or field) `end`, the last one first.
    async fn hits(
        &self,
        connection: &mut Connection,
        wanted: &Wanted,
        end: u64,
    ) -> Result<Vec<(u64, SearchHit)>, StoreError> {
        if self.is_log {
            self.hits_in_log(connection, wanted, end).await
        } else {
            self.hits_in_build(connection, wanted, end).await
        }
    }

    async fn hits_in_log(
        &self,
        connection: &mut Connection,
        wanted: &Wanted,
        end: u64,
    ) -> Result<Vec<(u64, SearchHit)>, StoreError> {
        let to = self.first.saturating_add(self.lines).min(end);
        let lines = lines::read(&mut *connection, self.job, self.attempt, self.first, to).await?;
        let (mut text, mut found) = (String::new(), Vec::new());
        for line in lines.iter().rev() {
            plain(&line.line.text, &mut text);
            if let Some(ranges) = wanted.find(&text) {
                found.push((line.line.n, told(&text, &ranges)));
            }
        }
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let Some((job_name, last)) = job(connection, self.job).await? else { return Ok(Vec::new()) };
        let (job, attempt, earlier) = (self.job, self.attempt, self.attempt < last);
        let hit = |(n, (text, ranges))| {
            // The page of a build shows the last attempt of a job.
            let url = if earlier {
                format!("/api/v1/jobs/{job}/log.txt?attempt={attempt}")
            } else {
                format!("/builds/{}?job={job}#L{}", self.build, n + 1)
            };
            let found = Found::Log { job, job_name: job_name.clone(), attempt, earlier, n };
            (n, self.hit(found, text, ranges, url))
        };
        Ok(found.into_iter().map(hit).collect())
    }

    async fn hits_in_build(
        &self,
        connection: &mut Connection,
        wanted: &Wanted,
        end: u64,
    ) -> Result<Vec<(u64, SearchHit)>, StoreError> {
        let Some(known) = Known::read(connection, self.build).await? else { return Ok(Vec::new()) };
        let texts: Vec<&str> = known.texts.iter().map(|(_, text)| text.as_str()).collect();
        let Some(found) = wanted.find_in(&texts) else { return Ok(Vec::new()) };
        let mut hits = Vec::new();
        for (n, ((field, text), ranges)) in (0_u64..).zip(known.texts.iter().zip(found)) {
            if n < end && !ranges.is_empty() {
                let (text, ranges) = told(text, &ranges);
                let found = Found::Build { field: (*field).to_owned() };
                hits.push((n, self.hit(found, text, ranges, format!("/builds/{}", self.build))));
            }
        }
        hits.reverse();
        Ok(hits)
    }

    fn hit(&self, found: Found, text: String, ranges: Vec<(u32, u32)>, url: String) -> SearchHit {
        SearchHit { build: self.build, pipeline: self.pipeline.clone(), number: self.number, found, text, ranges, url }
    }
}

/// A job's name, and its last attempt.
async fn job(connection: &mut Connection, id: JobId) -> Result<Option<(String, u32)>, StoreError> {
    #[derive(serde::Deserialize)]
    struct Plan {
        name: String,
    }
    let found =
        query("SELECT plan, attempt FROM jobs WHERE id = ?").bind(bytes(&id.0)).fetch_optional(connection).await?;
    found.map(|row| Ok((rows::json::<Plan>(&row, 0)?.name, rows::number(&row, 1)?))).transpose()
}

/// The text as it is told, cut around the first place, and the places in it.
fn told(text: &str, ranges: &[(usize, usize)]) -> (String, Vec<(u32, u32)>) {
    let text = words::searched(text);
    let letters = text.chars().count();
    let from = match ranges.first() {
        Some((first, _)) if letters > TOLD_LETTERS_MAX => {
            first.saturating_sub(TOLD_BEFORE).min(letters - TOLD_LETTERS_MAX)
        }
        _ => 0,
    };
    let to = letters.min(from + TOLD_LETTERS_MAX);
    let within = ranges.iter().filter(|(first, last)| *first < to && *last > from).map(|(first, last)| {
        let place = |at: usize| u32::try_from(at.clamp(from, to) - from).unwrap_or(u32::MAX);
        (place(*first), place(*last))
    });
    (text.chars().skip(from).take(to - from).collect(), within.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_told_around_the_first_word() {
        let line = format!("{} needle {} needle", "ä".repeat(500), "ö".repeat(500));
        let ranges = Wanted::parse("needle").unwrap().find(&line).unwrap();
        let (text, ranges) = told(&line, &ranges);
        assert_eq!((text.chars().count(), ranges.as_slice()), (TOLD_LETTERS_MAX, &[(64, 70)][..]));
        let cut: String = text.chars().skip(64).take(6).collect();
        assert_eq!(cut, "needle");
        let (whole, ranges) = told("a needle", &[(2, 8)]);
        assert_eq!((whole.as_str(), ranges), ("a needle", vec![(2, 8)]));
    }
}
