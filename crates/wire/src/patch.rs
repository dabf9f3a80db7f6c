//! The difference of two JSON values as a JSON Patch (RFC 6902), and its application: how the result of a live query
//! changes. Pure. Of the RFC's operations those are written, and read, that a difference needs: `add`, `remove`,
//! `replace`, `move`.
//!
//! The items of a list are told apart by the first of `KEYS` that all of them have, so that a build which comes to
//! the head of a list is one `add`. Lists without such a key are compared place by place.

use serde::Serialize;
use serde_json::{Map, Value};

/// Members that name an item of a list, the best one first.
const KEYS: [&str; 4] = ["id", "name", "instance", "server_id"];

/// One change. Paths are JSON Pointers (RFC 6901).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Change {
    /// A member is set; an item is put before the one that has this place, or at the end.
    Add {
        /// Where.
        path: String,
        /// What.
        value: Value,
    },
    /// A member or an item goes.
    Remove {
        /// Which.
        path: String,
    },
    /// Something takes the place of what is there.
    Replace {
        /// Where.
        path: String,
        /// What.
        value: Value,
    },
    /// As a `remove` and an `add` of what was removed.
    Move {
        /// From where.
        from: String,
        /// To where.
        path: String,
    },
}

/// A patch does not fit the value: it was made for another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the patch does not fit: there is nothing at {0:?}")]
pub struct Misfit(pub String);

/// The changes that make `new` of `old`, in order; none if they are equal.
#[must_use]
pub fn difference(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(old, new, &mut String::new(), &mut changes);
    changes
}

fn compare(old: &Value, new: &Value, path: &mut String, changes: &mut Vec<Change>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => objects(old, new, path, changes),
        (Value::Array(old), Value::Array(new)) => {
            let key = KEYS.into_iter().find(|key| is_key(old, key) && is_key(new, key));
            match key {
                Some(key) => items(old, new, key, path, changes),
                None if old.len() == new.len() => {
                    for (place, (old, new)) in old.iter().zip(new).enumerate() {
                        below(path, &place.to_string(), |path| compare(old, new, path, changes));
                    }
                }
                None => changes.push(Change::Replace { path: path.clone(), value: Value::Array(new.clone()) }),
            }
        }
        _ if old == new => {}
        _ => changes.push(Change::Replace { path: path.clone(), value: new.clone() }),
    }
}

fn objects(old: &Map<String, Value>, new: &Map<String, Value>, path: &mut String, changes: &mut Vec<Change>) {
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        below(path, name, |path| changes.push(Change::Remove { path: path.clone() }));
    }
    for (name, value) in new {
        below(path, name, |path| match old.get(name) {
            Some(old) => compare(old, value, path, changes),
            None => changes.push(Change::Add { path: path.clone(), value: value.clone() }),
        });
    }
}

/// Whether each item has `key`, and no two the same.
fn is_key(items: &[Value], key: &str) -> bool {
    let mut seen = std::collections::HashSet::new();
    items.iter().all(|item| item.get(key).and_then(Value::as_str).is_some_and(|name| seen.insert(name)))
}

fn items(old: &[Value], new: &[Value], key: &str, path: &mut String, changes: &mut Vec<Change>) {
    let kept: std::collections::HashSet<_> = new.iter().map(|item| &item[key]).collect();
    let mut now: Vec<&Value> = Vec::with_capacity(old.len());
    for (place, item) in old.iter().enumerate().rev() {
        if kept.contains(&item[key]) {
            now.push(item);
        } else {
            below(path, &place.to_string(), |path| changes.push(Change::Remove { path: path.clone() }));
        }
    }
    now.reverse();
    for (place, item) in new.iter().enumerate() {
        let found = now.iter().skip(place).position(|one| one[key] == item[key]).map(|behind| place + behind);
        below(path, &place.to_string(), |at| match found {
            None => {
                changes.push(Change::Add { path: at.clone(), value: item.clone() });
                now.insert(place, item);
            }
            Some(from) => {
                if from != place {
                    let stem = at.len() - place.to_string().len();
                    changes.push(Change::Move { from: format!("{}{from}", &at[..stem]), path: at.clone() });
                    let moved = now.remove(from);
                    now.insert(place, moved);
                }
                compare(now[place], item, at, changes);
            }
        });
    }
}

/// Does something with the path of a member or an item.
fn below(path: &mut String, name: &str, work: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push('/');
    path.push_str(&name.replace('~', "~0").replace('/', "~1"));
    work(path);
    path.truncate(length);
}

/// Makes the new value of the old one. The changes are read as they came, which is small where it is loaded by everybody.
///
/// # Errors
/// When the changes were made for another value, which is left half changed, or hold an operation that is not written here.
pub fn apply(value: &mut Value, changes: &mut [Value]) -> Result<(), Misfit> {
    for change in changes {
        let text = |name: &str| change.get(name).and_then(Value::as_str).map(str::to_owned);
        let (op, from) = (text("op").unwrap_or_default(), text("from"));
        let Some(path) = text("path") else { return Err(Misfit(op)) };
        let new = change.get_mut("value").map(Value::take).unwrap_or_default();
        match (op.as_str(), from) {
            ("add", _) => add(value, path, new)?,
            ("remove", _) => drop(remove(value, path)?),
            ("replace", _) => match value.pointer_mut(&path) {
                Some(place) => *place = new,
                None => return Err(Misfit(path)),
            },
            ("move", Some(from)) => {
                let moved = remove(value, from)?;
                add(value, path, moved)?;
            }
            _ => return Err(Misfit(path)),
        }
    }
    Ok(())
}

/// What holds the place that a path names, and the place's name in it.
fn holder<'v>(value: &'v mut Value, path: &str) -> Option<(&'v mut Value, String)> {
    let (stem, name) = path.rsplit_once('/')?;
    Some((value.pointer_mut(stem)?, name.replace("~1", "/").replace("~0", "~")))
}

fn add(value: &mut Value, path: String, new: Value) -> Result<(), Misfit> {
    if path.is_empty() {
        *value = new;
        return Ok(());
    }
    match holder(value, &path) {
        Some((Value::Object(members), name)) => {
            members.insert(name, new);
            Ok(())
        }
        Some((Value::Array(items), name)) => match name.parse() {
            Ok(place) if place <= items.len() => {
                items.insert(place, new);
                Ok(())
            }
            _ => Err(Misfit(path)),
        },
        _ => Err(Misfit(path)),
    }
}

fn remove(value: &mut Value, path: String) -> Result<Value, Misfit> {
    let removed = match holder(value, &path) {
        Some((Value::Object(members), name)) => members.remove(&name),
        Some((Value::Array(items), name)) => {
            name.parse().ok().filter(|place| *place < items.len()).map(|place: usize| items.remove(place))
        }
        _ => None,
    };
    removed.ok_or(Misfit(path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The difference, as JSON, after it was shown to be one, here and by another reader of RFC 6902.
    fn told(old: &Value, new: &Value) -> Value {
        let told = serde_json::to_value(difference(old, new)).unwrap();
        let mut made = old.clone();
        apply(&mut made, told.clone().as_array_mut().unwrap()).unwrap();
        assert_eq!(made, *new, "{told}");
        let mut elsewhere = old.clone();
        let patch: json_patch::Patch = serde_json::from_value(told.clone()).unwrap();
        json_patch::patch(&mut elsewhere, &patch).unwrap();
        assert_eq!(elsewhere, *new, "{told}");
        told
    }

    #[test]
    fn a_build_at_the_head_of_a_list_is_one_addition_and_its_end_one_replacement() {
        let old = json!([{"id": "b", "state": "running"}, {"id": "a", "state": "finished"}]);
        let new = json!([{"id": "c", "state": "queued"}, {"id": "b", "state": "finished"}]);
        assert_eq!(
            told(&old, &new),
            json!([
                {"op": "remove", "path": "/1"},
                {"op": "add", "path": "/0", "value": {"id": "c", "state": "queued"}},
                {"op": "replace", "path": "/1/state", "value": "finished"},
            ])
        );
        assert_eq!(told(&old, &old), json!([]));
    }

    #[test]
    fn members_come_go_and_change_under_any_name() {
        let old = json!({"a/b": 1, "c~d": {"": [1, 2]}, "gone": null});
        let new = json!({"a/b": 2, "c~d": {"": [1, 3], "e": []}});
        assert_eq!(
            told(&old, &new),
            json!([
                {"op": "remove", "path": "/gone"},
                {"op": "replace", "path": "/a~1b", "value": 2},
                {"op": "replace", "path": "/c~0d//1", "value": 3},
                {"op": "add", "path": "/c~0d/e", "value": []},
            ])
        );
        assert_eq!(told(&json!([1]), &json!({})), json!([{"op": "replace", "path": "", "value": {}}]));
    }

    #[test]
    fn any_two_lists_differ_by_what_makes_one_of_the_other() {
        // Every list of distinct names out of four, in every order, against every other one.
        let mut lists = vec![Vec::new()];
        for _ in 0..4 {
            let longer: Vec<Vec<&str>> = lists
                .iter()
                .flat_map(|list: &Vec<&str>| {
                    let more = ["p", "q", "r", "s"].into_iter().filter(|name| !list.contains(name));
                    more.map(|name| list.iter().copied().chain([name]).collect()).collect::<Vec<_>>()
                })
                .collect();
            lists.extend(longer);
            lists.sort();
            lists.dedup();
        }
        assert_eq!(lists.len(), 65);
        let value = |list: &Vec<&str>, n: usize| {
            Value::Array(list.iter().map(|name| json!({"name": name, "n": [n, name]})).collect())
        };
        for old in &lists {
            for new in &lists {
                told(&json!({"l": value(old, 1)}), &json!({"l": value(new, old.len() % 2)}));
            }
        }
        told(&json!([{"id": "x"}, {"id": "x"}]), &json!([{"id": "x"}]));
    }

    #[test]
    fn a_patch_for_another_value_is_told() {
        for mut misfit in [
            json!([{"op": "remove", "path": "/1"}]),
            json!([{"op": "add", "path": "/2", "value": 0}]),
            json!([{"op": "replace", "path": "/0/a", "value": 0}]),
            json!([{"op": "move", "from": "/3", "path": "/0"}]),
            json!([{"op": "move", "path": "/0"}]),
            json!([{"op": "add", "path": "0", "value": 0}]),
            json!([{"op": "test", "path": "/0", "value": 1}]),
            json!([{"op": "remove"}]),
        ] {
            assert!(apply(&mut json!([1]), misfit.as_array_mut().unwrap()).is_err(), "{misfit}");
        }
    }
}
