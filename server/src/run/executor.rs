//! The executor of this process.

use executor::ExecutorConfig;

use super::{Parts, Running};
use crate::config::isolation::guard_program;

/// Starts it.
pub(super) fn start(running: &mut Running, parts: &Parts) -> Result<(), String> {
    let config = config(parts)?;
    let (broker, stop) = (parts.broker.clone(), parts.stop.clone());
    running.spawn(async move {
        executor::run(broker, config, stop.shutdown.clone()).await.map_err(|failure| failure.to_string())?;
        stop.executor_ended.cancel();
        if stop.draining.is_cancelled() {
            stop.shutdown.cancelled().await;
        }
        Ok(())
    });
    Ok(())
}

fn config(parts: &Parts) -> Result<ExecutorConfig, String> {
    let Parts { options, data_dir, .. } = parts;
    let id = data_dir.executor_id()?;
    let short = id.to_string();
    Ok(ExecutorConfig {
        id,
        secret: Some(data_dir.executor_secret()?),
        name: format!("ex-{}", &short[..4]),
        labels: options.labels(),
        slots: options.slots(),
        log_limit: options.log_limit,
        upload: options.upload.into(),
        isolation: options.isolation.isolation.into(),
        containers: options.isolation.containers.clone(),
        sandbox: options.sandbox([Some(data_dir.path()), options.artifacts.as_deref()]),
        limits: options.isolation.limits(),
        git_allowed: options.git_allow.clone(),
        step_files: parts.step_files,
        work_dir: data_dir.work(),
        draining: parts.stop.draining.clone(),
        guard_program: guard_program()?,
    })
}
