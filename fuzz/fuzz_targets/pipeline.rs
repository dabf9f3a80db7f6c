//! The text of a pipeline: refused with a place that is in the text, or valid; and what is valid can be built.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uuid::Uuid;
use wire::{BuildId, command::Trigger};

fuzz_target!(|text: &str| {
    match control::pipeline::parse(text) {
        Err(problem) => assert!(problem.status == 422 && !problem.detail.is_empty(), "{problem:?}"),
        Ok(spec) => {
            let written = serde_json::to_string(&spec).expect("a pipeline can be kept");
            assert_eq!(serde_json::from_str::<wire::pipeline::PipelineSpec>(&written).expect("and read again"), spec);
            // An input without a default, or too much text in all jobs together, is refused with a sentence.
            match control::plan::plan(&spec, &Trigger::default(), BuildId(Uuid::nil()), None) {
                Ok((build, _)) => assert!(!build.jobs.is_empty() && build.jobs.len() <= control::pipeline::JOBS_MAX),
                Err(problem) => assert_eq!(problem.status, 422, "{problem:?}"),
            }
        }
    }
});
