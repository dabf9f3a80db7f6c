//! Pipelines, as they were written and as they are valid.

use std::collections::BTreeMap;

use wire::{
    PipelineName,
    audit::Action,
    pipeline::PipelineSpec,
    view::{BuildSummary, PipelineSummary, PipelineView},
};

use super::{Details, SqlStore, audit, connection::query, labels, now, rows, text, view, writer::Rank};
use crate::{Answer, MayPut, Pipelines, StoreError, audit::NewEntry, model::Put};

/// The last builds of each pipeline. The inner query walks an index for each pipeline; numbering all builds by a window would
/// read them all.
const LAST_SQLITE: &str = "pipelines CROSS JOIN builds ON builds.id IN (SELECT last.id FROM builds AS last \
    WHERE last.pipeline = pipelines.name ORDER BY last.queued_at DESC, last.id DESC LIMIT 10) \
    ORDER BY builds.queued_at DESC, builds.id DESC";

/// The same for PostgreSQL, whose way to say it SQLite does not know.
const LAST_POSTGRES: &str = "pipelines CROSS JOIN LATERAL (SELECT * FROM builds WHERE builds.pipeline = pipelines.name \
    ORDER BY builds.queued_at DESC, builds.id DESC LIMIT 10) AS builds \
    ORDER BY builds.queued_at DESC, builds.id DESC";

impl<D: Details> Pipelines for SqlStore<D> {
    fn put_pipeline<'a>(
        &'a self,
        spec: &'a PipelineSpec,
        yaml: &'a str,
        may: MayPut,
        by: Option<NewEntry>,
    ) -> Answer<'a, Put> {
        let (spec, yaml) = (spec.clone(), yaml.to_owned());
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let name = spec.name.as_str();
                let before = query("SELECT yaml FROM pipelines WHERE name = ?")
                    .bind(name)
                    .fetch_optional(&mut *connection)
                    .await?;
                let before: Option<&str> = before.as_ref().map(|row| row.try_get(0)).transpose()?;
                if !may(before) {
                    return Ok(Put::Refused { exists: before.is_some() });
                }
                if before == Some(yaml.as_str()) {
                    return Ok(Put::Replaced);
                }
                let at = now(&mut *connection).await?;
                query(
                    "INSERT INTO pipelines (name, spec, yaml, revision, updated_at) VALUES (?, ?, ?, 1, ?) \
                     ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, yaml = excluded.yaml, \
                     revision = pipelines.revision + 1, updated_at = excluded.updated_at",
                )
                .bind(name)
                .bind(rows::to_json(&spec)?)
                .bind(&yaml)
                .bind(at.0)
                .execute(&mut *connection)
                .await?;
                if let Some(by) = by {
                    let action = if before.is_none() { Action::PipelineCreated } else { Action::PipelineChanged };
                    let entry = NewEntry { action, pipeline: Some(spec.name.clone()), ..by };
                    audit::insert(&mut *connection, &entry).await?;
                }
                labels::note(connection, spec.jobs.iter().map(|job| &job.labels)).await?;
                Ok(if before.is_none() { Put::Created } else { Put::Replaced })
            })
        }))
    }

    fn pipeline<'a>(&'a self, name: &'a PipelineName) -> Answer<'a, Option<(PipelineView, PipelineSpec)>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query("SELECT spec, yaml, revision, updated_at FROM pipelines WHERE name = ?")
                .bind(name.as_str())
                .fetch_optional(&mut reader)
                .await?;
            let Some(row) = found else { return Ok(None) };
            let spec: PipelineSpec = rows::json(&row, 0)?;
            let view = PipelineView {
                name: name.clone(),
                description: spec.description.clone(),
                revision: rows::number(&row, 2)?,
                inputs: spec.inputs.clone(),
                yaml: row.try_get(1)?,
                updated_at: rows::time(&row, 3)?,
                warnings: Vec::new(),
            };
            Ok(Some((view, spec)))
        })
    }

    fn pipelines(&self) -> Answer<'_, Vec<PipelineSummary>> {
        Box::pin(async move {
            let mut snapshot = self.snapshot().await?;
            let pipelines = query("SELECT name, spec FROM pipelines ORDER BY name").fetch_all(&mut snapshot).await?;
            let sql =
                format!("SELECT {} FROM {}", view::SUMMARY, text::pick(snapshot.dialect(), LAST_SQLITE, LAST_POSTGRES));
            let mut builds: BTreeMap<PipelineName, Vec<BuildSummary>> = BTreeMap::new();
            for row in query(&sql).fetch_all(&mut snapshot).await? {
                let summary = view::summary(&row)?;
                builds.entry(summary.pipeline.clone()).or_default().push(summary);
            }
            pipelines
                .iter()
                .map(|row| {
                    let spec: PipelineSpec = rows::json(row, 1)?;
                    Ok(PipelineSummary {
                        builds: builds.remove(&spec.name).unwrap_or_default(),
                        needs_inputs: spec.inputs.iter().any(|input| input.default.is_none()),
                        name: spec.name,
                        description: spec.description,
                    })
                })
                .collect::<Result<_, StoreError>>()
        })
    }
}
