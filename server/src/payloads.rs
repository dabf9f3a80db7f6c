//! Payloads as inputs of builds: what a trigger names is looked up before anything is planned.

use std::borrow::Cow;

use object_store::path::Path as ObjectPath;
use wire::{
    ClaimCheck, PayloadId, Problem,
    command::Trigger,
    payload::Named,
    pipeline::{InputKind, PipelineSpec},
};

use crate::{core::Core, queries::store_problem};

/// Where payloads are among the objects.
pub(crate) const FOLDER: &str = "payloads";

/// Where one is.
pub(crate) fn object_path(id: PayloadId) -> ObjectPath {
    ObjectPath::from(format!("{FOLDER}/{id}"))
}

/// The trigger with the claim checks of its files, as they are kept.
pub(crate) async fn settled<'t>(
    core: &Core,
    spec: &PipelineSpec,
    trigger: &'t Trigger,
) -> Result<Cow<'t, Trigger>, Problem> {
    let mut settled = Cow::Borrowed(trigger);
    for input in spec.inputs.iter().filter(|input| input.kind == InputKind::File) {
        let Some(value) = trigger.inputs.get(&input.name) else { continue };
        let invalid = |sentence: String| {
            Problem::new(422, "Invalid inputs", format!("input `{}` is a file: {sentence}", input.name))
        };
        let named = Named::parse(value).map_err(invalid)?;
        let kept = core.store.payload(named.reference()).await.map_err(store_problem)?;
        let kept = kept.ok_or_else(|| gone(named.reference()))?;
        if let Named::Claimed(ClaimCheck { size, sha256, .. }) = &named {
            kept.verify(*size, sha256).map_err(|_| {
                invalid(format!(
                    "its claim check says {size} bytes and SHA-256 {sha256}, what is kept has {} bytes and {}",
                    kept.size, kept.sha256
                ))
            })?;
        }
        settled.to_mut().inputs.insert(input.name.clone(), kept.to_text());
    }
    Ok(settled)
}

/// Nothing is kept under that name.
pub(crate) fn gone(id: PayloadId) -> Problem {
    let sentence = format!(
        "There is no payload {id}, or not any more: what no build uses is kept for a day; bring the file again by POST /api/v1/payloads."
    );
    Problem::new(422, "No such payload", sentence)
}
