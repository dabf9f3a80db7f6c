//! How jobs come to their executors: `priority` and `concurrency`, of a pipeline or of a job.

use wire::{
    Problem,
    concurrency::{CONCURRENCY_LIMIT_MAX, ConcurrencySpec, WhenFull, check_priority},
    text::is_invisible,
};

use super::{
    fields::{Fields, shown, text},
    yaml::{Node, Value},
};

/// A priority, or what counts where none is given.
pub(super) fn priority(fields: &Fields<'_>, default: i32) -> Result<i32, Problem> {
    let Some(node) = fields.get("priority") else { return Ok(default) };
    let what = fields.name_of("priority");
    let number = text(node, &what)?.parse().unwrap_or(i64::MAX);
    check_priority(number).map_err(|sentence| node.at.problem(format!("{what} {sentence}")))
}

/// A concurrency group, as a mapping or by its name alone; `read` checks the holes of the name.
pub(super) fn concurrency(
    fields: &Fields<'_>,
    read: &mut dyn FnMut(&Node, &str, &str) -> Result<(), Problem>,
) -> Result<Option<ConcurrencySpec>, Problem> {
    let Some(node) = fields.get("concurrency") else { return Ok(None) };
    let what = fields.name_of("concurrency");
    if let Value::Text(_) = node.value {
        let group = group(node, &what, read)?;
        return Ok(Some(ConcurrencySpec { group, limit: 1, when_full: WhenFull::Queue }));
    }
    let parts = Fields::of(node, node.at, &what, &["group", "limit", "when_full"])?;
    let named = parts.required("group", "name the group, such as `group: deploy`")?;
    let group = group(named, &parts.name_of("group"), read)?;
    let limit = parts.count("limit", 1, 1..=CONCURRENCY_LIMIT_MAX)?;
    Ok(Some(ConcurrencySpec { group, limit, when_full: when_full(&parts)? }))
}

fn group(
    node: &Node,
    what: &str,
    read: &mut dyn FnMut(&Node, &str, &str) -> Result<(), Problem>,
) -> Result<String, Problem> {
    let written = text(node, what)?;
    if written.trim().is_empty() {
        return Err(node.at.problem(format!("{what} is empty: name the group, such as `deploy`")));
    }
    if written.trim().chars().any(|c| c.is_control() || is_invisible(c)) {
        let detail = format!("{what} must be one line of letters that can be seen, not `{}`", shown(written));
        return Err(node.at.problem(detail));
    }
    read(node, written, what)?;
    Ok(written.trim().to_owned())
}

fn when_full(parts: &Fields<'_>) -> Result<WhenFull, Problem> {
    let Some(node) = parts.get("when_full") else { return Ok(WhenFull::Queue) };
    let what = parts.name_of("when_full");
    match text(node, &what)? {
        "queue" => Ok(WhenFull::Queue),
        "newest_wins" => Ok(WhenFull::NewestWins),
        "cancel_running" => Ok(WhenFull::CancelRunning),
        other => {
            let detail = format!("{what} must be `queue`, `newest_wins` or `cancel_running`, not `{}`", shown(other));
            Err(node.at.problem(detail))
        }
    }
}
