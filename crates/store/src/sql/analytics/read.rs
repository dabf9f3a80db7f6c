//! Reading the counters: sums of them, and nothing else.

use std::collections::BTreeMap;

use wire::{
    PipelineName,
    statistics::{DAY_MICROS, DAYS_MAX, DayStats, Ends, JobStats, ROWS_MAX, Spread, StatsView, StepStats, day_text},
};

use super::fold::{Fate, Kind, outcome_of};
use crate::{
    StoreError,
    sql::{
        connection::{Connection, Query, query},
        now, rows,
    },
};

/// Which counters.
struct Asked<'a> {
    pipeline: Option<&'a PipelineName>,
    from: i64,
    until: i64,
}

impl Asked<'_> {
    /// A query whose first three values are the pipeline and the days. Written in two ways, so that each has its index.
    fn query<'q>(&'q self, of_one: &'q str, of_all: &'q str) -> Query<'q> {
        let query = match self.pipeline {
            Some(pipeline) => query(of_one).bind(pipeline.as_str()),
            None => query(of_all).bind(""),
        };
        query.bind(self.from).bind(self.until)
    }
}

/// Statistics of the last `days`, the present one included.
pub(super) async fn statistics(
    connection: &mut Connection,
    pipeline: Option<&PipelineName>,
    days: u32,
) -> Result<StatsView, StoreError> {
    let until = now(&mut *connection).await?.0.div_euclid(DAY_MICROS);
    let from = until + 1 - i64::from(days.clamp(1, DAYS_MAX));
    let asked = Asked { pipeline, from, until };
    let mut view = by_day(connection, &asked).await?;
    view.slowest_steps = slowest_steps(connection, &asked).await?;
    view.flaky_jobs = flaky_jobs(connection, &asked).await?;
    Ok(view)
}

type Histogram = BTreeMap<u32, u64>;

fn spread(histogram: &Histogram) -> Spread {
    Spread::of(&histogram.iter().map(|(bucket, count)| (*bucket, *count)).collect::<Vec<_>>())
}

async fn by_day(connection: &mut Connection, asked: &Asked<'_>) -> Result<StatsView, StoreError> {
    let found = asked
        .query(
            "SELECT kind, day, bucket, CAST(SUM(count) AS BIGINT) FROM analytics_counts WHERE pipeline = ?1 AND kind <= 2 \
             AND day BETWEEN ?2 AND ?3 GROUP BY kind, day, bucket",
            "SELECT kind, day, bucket, CAST(SUM(count) AS BIGINT) FROM analytics_counts WHERE ?1 = '' AND kind <= 2 \
             AND day BETWEEN ?2 AND ?3 GROUP BY kind, day, bucket",
        )
        .fetch_all(connection)
        .await?;
    let mut days: BTreeMap<i64, (Ends, Histogram, Histogram)> =
        (asked.from..=asked.until).map(|day| (day, Default::default())).collect();
    let (mut duration, mut queue) = (Histogram::new(), Histogram::new());
    for row in &found {
        let (kind, day): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let (bucket, count) = (rows::number::<u32>(row, 2)?, rows::number::<u64>(row, 3)?);
        let Some((ends, durations, queues)) = days.get_mut(&day) else { continue };
        match kind {
            kind if kind == Kind::Builds as i64 => {
                if let Some(outcome) = outcome_of(bucket) {
                    *ends.of(outcome) += count;
                }
            }
            kind if kind == Kind::Duration as i64 => {
                *durations.entry(bucket).or_default() += count;
                *duration.entry(bucket).or_default() += count;
            }
            _ => {
                *queues.entry(bucket).or_default() += count;
                *queue.entry(bucket).or_default() += count;
            }
        }
    }
    let mut builds = Ends::default();
    let days = days.into_iter().map(|(day, (ends, durations, queues))| {
        for (sum, count) in [
            (&mut builds.succeeded, ends.succeeded),
            (&mut builds.failed, ends.failed),
            (&mut builds.timed_out, ends.timed_out),
            (&mut builds.cancelled, ends.cancelled),
            (&mut builds.skipped, ends.skipped),
        ] {
            *sum += count;
        }
        DayStats {
            day: day_text(day),
            builds: ends,
            duration_micros: spread(&durations),
            queue_micros: spread(&queues),
        }
    });
    let days = days.collect();
    let (duration_micros, queue_micros) = (spread(&duration), spread(&queue));
    Ok(StatsView { days, builds, duration_micros, queue_micros, ..StatsView::default() })
}

async fn slowest_steps(connection: &mut Connection, asked: &Asked<'_>) -> Result<Vec<StepStats>, StoreError> {
    let sums = "SELECT pipeline, job, step, CAST(SUM(CASE WHEN kind = 3 THEN count ELSE 0 END) AS BIGINT) AS counted, \
                CAST(SUM(CASE WHEN kind = 4 THEN count ELSE 0 END) AS BIGINT) AS micros FROM analytics_counts";
    let rest = "AND kind IN (3, 4) AND day BETWEEN ?2 AND ?3 GROUP BY pipeline, job, step";
    let shown = |of: &str| {
        format!(
            "SELECT pipeline, job, step, counted, micros / counted FROM ({sums} WHERE {of} {rest}) AS summed \
             WHERE counted > 0 ORDER BY micros / counted DESC, pipeline, job, step LIMIT ?4"
        )
    };
    let (of_one, of_all) = (shown("pipeline = ?1"), shown("?1 = ''"));
    let found = asked.query(&of_one, &of_all).bind(i64::from(ROWS_MAX)).fetch_all(&mut *connection).await?;
    let mut steps = Vec::with_capacity(found.len());
    for row in &found {
        let (pipeline, job, step): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let counted = query(
            "SELECT bucket, CAST(SUM(count) AS BIGINT) FROM analytics_counts WHERE pipeline = ? AND kind = 3 \
             AND day BETWEEN ? AND ? AND job = ? AND step = ? GROUP BY bucket ORDER BY bucket",
        )
        .bind(&pipeline)
        .bind(asked.from)
        .bind(asked.until)
        .bind(&job)
        .bind(&step)
        .fetch_all(&mut *connection)
        .await?;
        let counts = counted.iter().map(|row| Ok((rows::number(row, 0)?, rows::number(row, 1)?)));
        let duration_micros = Spread::of(&counts.collect::<Result<Vec<_>, StoreError>>()?);
        let (pipeline, mean_micros) = (rows::parsed(row, 0)?, rows::number(row, 4)?);
        steps.push(StepStats { pipeline, job, step, mean_micros, duration_micros });
    }
    Ok(steps)
}

async fn flaky_jobs(connection: &mut Connection, asked: &Asked<'_>) -> Result<Vec<JobStats>, StoreError> {
    let of = |fate: Fate| format!("CAST(SUM(CASE WHEN bucket = {} THEN count ELSE 0 END) AS BIGINT)", fate as u32);
    let [succeeded, flaky, failed, lost] = [Fate::Succeeded, Fate::Flaky, Fate::Failed, Fate::Lost].map(of);
    let shown = |which: &str| {
        format!(
            "SELECT * FROM (SELECT pipeline, job, {succeeded} AS succeeded, {flaky} AS flaky, {failed} AS failed, \
             {lost} AS lost FROM analytics_counts WHERE {which} AND kind = 5 AND day BETWEEN ?2 AND ?3 \
             GROUP BY pipeline, job) AS summed WHERE flaky + lost > 0 \
             ORDER BY flaky DESC, lost DESC, pipeline, job LIMIT ?4"
        )
    };
    let (of_one, of_all) = (shown("pipeline = ?1"), shown("?1 = ''"));
    let found = asked.query(&of_one, &of_all).bind(i64::from(ROWS_MAX)).fetch_all(connection).await?;
    let job = |row: &crate::sql::connection::Row| {
        Ok(JobStats {
            pipeline: rows::parsed(row, 0)?,
            job: row.try_get(1)?,
            succeeded: rows::number(row, 2)?,
            flaky: rows::number(row, 3)?,
            failed_attempts: rows::number(row, 4)?,
            lost_attempts: rows::number(row, 5)?,
        })
    };
    found.iter().map(job).collect()
}
