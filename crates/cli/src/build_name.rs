//! A build as people name it: by its id, by `PIPELINE#NUMBER`, or by its pipeline alone for the last one.

use std::str::FromStr;

use wire::{
    BuildId, PipelineName,
    view::{BuildSummary, PipelineView},
};

use crate::client::{Client, Failure};

/// What stands on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BuildName {
    /// The id.
    Id(BuildId),
    /// A pipeline, and the number of one of its builds; the last one unless given.
    Of(PipelineName, Option<u64>),
}

impl FromStr for BuildName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let (pipeline, number) = match text.split_once('#') {
            Some((pipeline, number)) => (pipeline, number.parse().ok().map(Some)),
            None => (text, Some(None)),
        };
        match (pipeline.parse(), number) {
            (Ok(pipeline), Some(number)) => Ok(Self::Of(pipeline, number)),
            _ => Err("it must be a build's id, or PIPELINE#NUMBER such as site#12"),
        }
    }
}

impl BuildName {
    /// The build's id, for which the server is asked unless it was given.
    pub(crate) fn find(&self, client: &Client) -> Result<BuildId, Failure> {
        let (pipeline, number) = match self {
            Self::Id(id) => return Ok(*id),
            Self::Of(pipeline, number) => (pipeline, *number),
        };
        let which = number.map(|number| format!("&number={number}")).unwrap_or_default();
        let found: Vec<BuildSummary> = client.get(&format!("/builds?pipeline={pipeline}&limit=1{which}"))?;
        if let Some(build) = found.first() {
            return Ok(build.id);
        }
        // Where the pipeline itself is not there, that is said.
        client.get::<PipelineView>(&format!("/pipelines/{pipeline}"))?;
        let which = number.map(|number| format!(" #{number}")).unwrap_or_default();
        Err(Failure::Usage(format!("Pipeline {pipeline} has no build{which}: its page shows those that it has.")))
    }
}

#[cfg(test)]
mod tests {
    use super::BuildName;

    #[test]
    fn a_build_is_named_by_its_id_its_number_or_its_pipeline() {
        let pipeline = || "site".parse().unwrap();
        assert_eq!("site#12".parse(), Ok(BuildName::Of(pipeline(), Some(12))));
        assert_eq!("site".parse(), Ok(BuildName::Of(pipeline(), None)));
        let id = "01a1f8d6-831d-7039-bae4-20cac630a59a";
        assert_eq!(id.parse(), Ok(BuildName::Id(id.parse().unwrap())));
        for wrong in ["", "#1", "site#", "site#x", "site#-1", "a b", "a b#1"] {
            assert!(wrong.parse::<BuildName>().is_err(), "{wrong}");
        }
    }
}
