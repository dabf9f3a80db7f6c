//! Which pipeline a build, a job or a file is of, and whether somebody may see it. A build never changes its pipeline and a
//! job never its build, so what was looked up once is remembered, in bounded memory; what a deleted one was, too.
//!
//! What may not be seen is answered as if it were not there, in the words for what is not there.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use store::StoreError;
use uuid::Uuid;
use wire::{Authority, BuildId, JobId, PipelineName, Problem, Topic, authority::Need};

use crate::{
    core::Core,
    queries::{not_found, store_problem},
};

/// Builds and jobs that are remembered at a time: about 10 MB.
const REMEMBERED_MAX: usize = 100_000;

/// See the module.
#[derive(Default)]
pub(crate) struct Places {
    /// By the id of a build or a job: both are random, and of one space. A std mutex: held for a map operation.
    pipelines: Mutex<HashMap<Uuid, PipelineName>>,
}

impl Places {
    /// The pipeline, if it is remembered.
    fn get(&self, id: Uuid) -> Option<PipelineName> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Remembers it.
    pub(crate) fn put(&self, id: Uuid, pipeline: PipelineName) {
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        if pipelines.len() >= REMEMBERED_MAX {
            pipelines.clear();
        }
        pipelines.insert(id, pipeline);
    }
}

/// The pipeline of a topic's build or job; none if there is none.
pub(crate) async fn pipeline_of(core: &Core, topic: Topic) -> Result<Option<PipelineName>, StoreError> {
    let id = match topic {
        Topic::Build(build) => build.0,
        Topic::Job(job) => job.0,
    };
    if let Some(known) = core.places.get(id) {
        return Ok(Some(known));
    }
    let found = match topic {
        Topic::Build(build) => core.store.pipeline_of_build(build).await?,
        Topic::Job(job) => core.store.pipeline_of_job(job).await?,
    };
    if let Some(pipeline) = &found {
        core.places.put(id, pipeline.clone());
    }
    Ok(found)
}

/// Whether `who` may watch a topic, if that is known without asking the store.
pub(crate) fn may_watch_now(core: &Core, who: &Authority, topic: Topic) -> Option<bool> {
    if who.everywhere().is_some() {
        return Some(true);
    }
    let id = match topic {
        Topic::Build(build) => build.0,
        Topic::Job(job) => job.0,
    };
    core.places.get(id).map(|pipeline| who.sees(&pipeline))
}

/// Whether `who` may watch a topic: what is not there is nobody's.
pub(crate) async fn may_watch(core: &Core, who: &Authority, topic: Topic) -> Result<bool, StoreError> {
    match may_watch_now(core, who, topic) {
        Some(may) => Ok(may),
        None => Ok(pipeline_of(core, topic).await?.is_some_and(|pipeline| who.sees(&pipeline))),
    }
}

/// Demands to see a pipeline's build.
pub(crate) async fn see_build(core: &Core, who: &Authority, build: BuildId) -> Result<PipelineName, Problem> {
    let found = pipeline_of(core, Topic::Build(build)).await.map_err(store_problem)?;
    found.filter(|pipeline| who.sees(pipeline)).ok_or_else(|| not_found("build", build))
}

/// Demands to see a job.
pub(crate) async fn see_job(core: &Core, who: &Authority, job: JobId) -> Result<PipelineName, Problem> {
    let found = pipeline_of(core, Topic::Job(job)).await.map_err(store_problem)?;
    found.filter(|pipeline| who.sees(pipeline)).ok_or_else(|| not_found("job", job))
}

/// Demands to do something with a build; `need` says what of its pipeline.
pub(crate) async fn need_of_build(
    core: &Core,
    who: &Authority,
    build: BuildId,
    need: impl FnOnce(&PipelineName) -> Need<'_>,
) -> Result<PipelineName, Problem> {
    let pipeline = see_build(core, who, build).await?;
    who.need(need(&pipeline))?;
    Ok(pipeline)
}
