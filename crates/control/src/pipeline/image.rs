//! The image whose containers the steps of a job run in: `image`, of the pipeline for all its jobs, and of a job.

use wire::{ImageName, LabelSet, Problem, image::CONTAINERS_LABEL};

use super::{
    check_value,
    fields::{Fields, shown, text},
    yaml::Place,
};

/// Reads `image`.
pub(super) fn read(fields: &Fields<'_>) -> Result<Option<ImageName>, Problem> {
    let Some(node) = fields.get("image") else { return Ok(None) };
    let what = fields.name_of("image");
    let written = text(node, &what)?;
    check_value(node, written, &what)?;
    let name: Result<ImageName, String> = written.parse();
    name.map(Some).map_err(|_| {
        node.at.problem(format!(
            "{what} must be the name of an image, such as `rust:1.95`, `ghcr.io/team/tools:2` or `name@sha256:<64 hex digits>`, \
             not `{}`",
            shown(written)
        ))
    })
}

/// What a job asks of its executor: that it has containers, if its steps run in one.
pub(super) fn with_label(labels: LabelSet, image: Option<&ImageName>, at: Place) -> Result<LabelSet, Problem> {
    if image.is_none() {
        return Ok(labels);
    }
    let all = labels.labels().iter().cloned().chain([CONTAINERS_LABEL.to_owned()]);
    LabelSet::new(all).map_err(|sentence| {
        at.problem(format!("{sentence}, and a job with an image asks for `{CONTAINERS_LABEL}` by itself"))
    })
}
