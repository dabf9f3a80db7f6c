//! What builds a pipeline by itself: `on`.

use wire::{
    Problem,
    pipeline::{OnSpec, PullRequestSpec, PushSpec},
};

use super::{
    fields::{Fields, shown, text},
    yaml::Node,
};

/// Patterns of one list.
const PATTERNS_MAX: usize = 100;
/// Characters of a pattern.
const PATTERN_CHARS_MAX: usize = 200;

/// Reads the mapping.
pub(super) fn read(node: &Node) -> Result<OnSpec, Problem> {
    let parts = Fields::of(node, node.at, "`on`", &["push", "pull_request"])?;
    // An empty place means all of it, so being named is what counts.
    let push = parts.named("push").map(|node| {
        let parts = Fields::of(node, node.at, "`push` of `on`", &["branches", "tags"])?;
        Ok::<_, Problem>(PushSpec { branches: patterns(&parts, "branches")?, tags: patterns(&parts, "tags")? })
    });
    let pull_request = parts.named("pull_request").map(|node| {
        let parts = Fields::of(node, node.at, "`pull_request` of `on`", &["branches"])?;
        Ok::<_, Problem>(PullRequestSpec { branches: patterns(&parts, "branches")? })
    });
    let on = OnSpec { push: push.transpose()?, pull_request: pull_request.transpose()? };
    if on == OnSpec::default() {
        return Err(node.at.problem("`on` is empty: name `push` or `pull_request`"));
    }
    Ok(on)
}

fn patterns(parts: &Fields<'_>, key: &str) -> Result<Vec<String>, Problem> {
    let mut patterns = Vec::new();
    for node in parts.list(key, "[main, \"release/*\"]")? {
        let what = parts.name_of(key);
        let pattern = text(node, &what)?;
        let is_pattern = (1..=PATTERN_CHARS_MAX).contains(&pattern.chars().count())
            && !pattern.chars().any(|c| c.is_control() || c.is_whitespace() || "?[]{}^~:\\$!".contains(c));
        if !is_pattern || patterns.len() == PATTERNS_MAX {
            return Err(node.at.problem(format!(
                "{what} must be at most {PATTERNS_MAX} names such as `main` or `release/*`, where `*` is any text without `/` and \
                 `**` any text, not `{}`",
                shown(pattern)
            )));
        }
        patterns.push(pattern.to_owned());
    }
    Ok(patterns)
}
