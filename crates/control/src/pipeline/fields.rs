//! Reading mappings with known keys, and the sentences for what is wrong with them.

use wire::{
    Problem,
    text::{is_invisible, turns_direction},
};

use super::yaml::{Key, Node, Place, Value};

/// A mapping whose keys are all known.
pub(super) struct Fields<'n> {
    /// For sentences: "job `build`".
    what: String,
    /// Where it is named.
    at: Place,
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    /// `node` as a mapping that holds nothing but `known` keys. `at` is where the thing is named.
    pub(super) fn of(node: &'n Node, at: Place, what: impl Into<String>, known: &[&str]) -> Result<Self, Problem> {
        let what = what.into();
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return Err(node.at.problem(format!("{what} must be a mapping, not {}", node.kind()))),
        };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !known.contains(&key.name.as_str())) {
            let right = match nearest(&key.name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it may hold {}", listed(known)),
            };
            return Err(key.at.problem(format!("unknown key `{}` in {what}: {right}", shown(&key.name))));
        }
        Ok(Self { what, at, entries })
    }

    /// The value of a key, unless it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        let (_, node) = self.entries.iter().find(|(key, _)| key.name == name)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// The value of a key, empty or not, unless it is absent.
    pub(super) fn named(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// The value of a key that must be there; `right` ends the sentence.
    pub(super) fn required(&self, name: &str, right: &str) -> Result<&'n Node, Problem> {
        self.get(name).ok_or_else(|| {
            let empty = self.entries.iter().find(|(key, _)| key.name == name);
            let at = empty.map_or(self.at, |(key, _)| key.at);
            at.problem(format!("{} has no `{name}`: {right}", self.what))
        })
    }

    /// What a sentence about one of its keys calls it: "`timeout` of job `build`".
    pub(super) fn name_of(&self, key: &str) -> String {
        format!("`{key}` of {}", self.what)
    }

    /// Text, if the key is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'n str>, Problem> {
        self.get(name).map(|node| text(node, &self.name_of(name))).transpose()
    }

    /// A list, if the key is there; `example` shows what is meant.
    pub(super) fn list(&self, name: &str, example: &str) -> Result<&'n [Node], Problem> {
        let Some(node) = self.get(name) else { return Ok(&[]) };
        let Value::List(items) = &node.value else {
            let what = self.name_of(name);
            return Err(node.at.problem(format!("{what} must be a list such as `{example}`, not {}", node.kind())));
        };
        Ok(items)
    }

    /// A mapping with keys of the writer's own choice, if the key is there.
    pub(super) fn map(&self, name: &str) -> Result<&'n [(Key, Node)], Problem> {
        let Some(node) = self.get(name) else { return Ok(&[]) };
        let Value::Map(entries) = &node.value else {
            let what = self.name_of(name);
            return Err(node.at.problem(format!("{what} must be a mapping, not {}", node.kind())));
        };
        Ok(entries)
    }

    /// A whole number within a range, or `default`.
    pub(super) fn count(&self, name: &str, default: u32, range: std::ops::RangeInclusive<u32>) -> Result<u32, Problem> {
        let Some(node) = self.get(name) else { return Ok(default) };
        let what = self.name_of(name);
        let number = text(node, &what)?.parse::<u32>().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            node.at.problem(format!("{what} must be a whole number from {} to {}", range.start(), range.end()))
        })
    }
}

/// A node as text.
pub(super) fn text<'n>(node: &'n Node, what: &str) -> Result<&'n str, Problem> {
    match &node.value {
        Value::Text(text) if text.contains('\0') => Err(node.at.problem(format!("{what} must not hold NUL bytes"))),
        Value::Text(text) if text.contains(turns_direction) => Err(node.at.problem(format!(
            "{what} must not hold letters that turn the direction of writing (U+202A to U+202E, U+2066 to U+2069): people would \
             read another text than the one that runs"
        ))),
        Value::Text(text) => Ok(text),
        _ => Err(node.at.problem(format!("{what} must be text, not {}", node.kind()))),
    }
}

/// A word in a sentence, shortened where it is absurd.
pub(super) fn shown(word: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let clean = word.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c });
    if word.chars().count() <= SHOWN_CHARS_MAX {
        clean.collect()
    } else {
        clean.take(SHOWN_CHARS_MAX).chain("…".chars()).collect()
    }
}

/// "`a`, `b` and `c`".
pub(super) fn listed(words: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{}`", shown(word.as_ref()))).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "nothing".to_owned(),
    }
}

/// The same, or `none` in its place.
pub(super) fn listed_or(words: &[impl AsRef<str>], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { listed(words) }
}

/// The known word that `word` was probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const WORD_CHARS_MAX: usize = 100;
    let length = word.chars().count();
    if length > WORD_CHARS_MAX {
        return None;
    }
    let allowed = if length <= 3 { 1 } else { 2 };
    known.map(|other| (distance(word, other), other)).filter(|(far, _)| *far <= allowed).min().map(|(_, other)| other)
}

/// How many letters must be put in, taken away or changed to make `b` of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_the_one_that_was_meant_and_a_strange_one_none() {
        let known = ["steps", "needs", "labels", "if"];
        assert_eq!(nearest("stesp", known.into_iter()), Some("steps"));
        assert_eq!(nearest("label", known.into_iter()), Some("labels"));
        assert_eq!(nearest("on", known.into_iter()), None);
        assert_eq!(nearest("permissions", known.into_iter()), None);
    }
}
