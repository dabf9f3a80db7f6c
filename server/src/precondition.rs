//! On what a write of a pipeline depends: `If-Match` and `If-None-Match` of RFC 9110, checked by the store in the
//! transaction that writes.

use store::MayPut;
use wire::{PipelineName, Problem, pipeline::etag};

/// What the request asks of the text that is there. Empty, it asks nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Precondition {
    /// One of these tags must be the text's; `*` is any text's.
    pub(crate) if_match: Option<String>,
    /// None of these tags may be the text's; `*` is any text's.
    pub(crate) if_none_match: Option<String>,
}

/// Whether a list of tags names a text.
fn names(tags: &str, present: Option<&str>) -> bool {
    let Some(present) = present else { return false };
    let tag = etag(present);
    tags.split(',').map(str::trim).any(|one| one == "*" || one == tag)
}

impl Precondition {
    /// The rule for the store. Where the text is there already, a write that depended on a former one has been done: its
    /// answer was lost.
    pub(crate) fn rule(&self, text: &str) -> MayPut {
        let (asked, text) = (self.clone(), text.to_owned());
        Box::new(move |present| {
            asked.if_match.as_ref().is_none_or(|tags| names(tags, present) || present == Some(text.as_str()))
                && !asked.if_none_match.as_ref().is_some_and(|tags| names(tags, present))
        })
    }

    /// Why the rule said no. `exists` says whether there is a pipeline of that name.
    pub(crate) fn failed(&self, name: &PipelineName, exists: bool) -> Problem {
        let sentence = if !exists {
            format!("There is no pipeline `{name}` that could be changed: to create it, send no If-Match.")
        } else if self.if_none_match.is_some() {
            format!(
                "There is a pipeline `{name}` already: open /pipelines/{name} and change it there, or take another name."
            )
        } else {
            "The pipeline was changed meanwhile: load it anew, or save again to overwrite it.".to_owned()
        };
        Problem::new(412, "Precondition failed", sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_over_what_was_meant_and_over_nothing_else() {
        let (one, two) = (etag("one"), format!("\"other\", {}", etag("two")));
        let may = |if_match: Option<&str>, if_none_match: Option<&str>, present: Option<&str>| {
            let owned = |tags: Option<&str>| tags.map(str::to_owned);
            Precondition { if_match: owned(if_match), if_none_match: owned(if_none_match) }.rule("new")(present)
        };
        assert!(may(None, None, None) && may(None, None, Some("one")));
        assert!(may(Some(&one), None, Some("one")) && may(Some(&two), None, Some("two")));
        assert!(!may(Some(&one), None, Some("two")) && !may(Some(&one), None, None) && !may(Some("*"), None, None));
        assert!(may(Some("*"), None, Some("one")) && may(Some(&one), None, Some("new")));
        assert!(may(None, Some("*"), None) && !may(None, Some("*"), Some("one")) && !may(None, Some("*"), Some("new")));
    }
}
