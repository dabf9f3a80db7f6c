//! YAML as a tree in which every node knows its place. What a pipeline means by it is not known here.
//!
//! The text may come from anyone, so the tree is bounded while it is made: its depth, and its size with every alias
//! written out.

use std::collections::HashMap;

use saphyr_parser::{Event, Input, Parser, ScalarStyle, Span, Tag};
use wire::{Problem, text::is_invisible};

use super::fields::shown;

/// Levels of lists and mappings; a pipeline needs seven. A deeper text could exhaust the stack.
const DEPTH_MAX: usize = 20;
/// Bytes of text plus one for each node, aliases written out: a few lines of aliases could ask for terabytes.
const SIZE_MAX: usize = 8 * 1024 * 1024;
/// Characters of a sentence about what is wrong.
const DETAIL_CHARS_MAX: usize = 2000;

/// Where something stands in the file, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The line.
    pub(super) line: u32,
    /// The column.
    pub(super) column: u32,
}

impl Place {
    /// Where a file begins.
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// What is wrong here.
    pub(super) fn problem(self, detail: impl Into<String>) -> Problem {
        let detail = detail.into();
        // A stranger's words may stand in it.
        let clean =
            detail.chars().take(DETAIL_CHARS_MAX).map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c });
        Problem::new(422, "Invalid pipeline", clean.collect::<String>()).at(self.line, self.column)
    }
}

impl From<&saphyr_parser::Marker> for Place {
    fn from(mark: &saphyr_parser::Marker) -> Self {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: count(mark.line()).max(1), column: count(mark.col()).saturating_add(1) }
    }
}

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it begins.
    pub(super) at: Place,
    /// What it is.
    pub(super) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing: an empty place, `~` or `null`.
    Null,
    /// Text as it was written: `1.10` stays `1.10`.
    Text(String),
    /// In order.
    List(Vec<Node>),
    /// In order; no key stands twice.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// Its text.
    pub(super) name: String,
    /// Where it stands.
    pub(super) at: Place,
}

impl Node {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Null => 0,
            Value::Text(text) => text.len(),
            Value::List(items) => items.iter().map(Node::size).sum(),
            Value::Map(entries) => entries.iter().map(|(key, node)| key.name.len() + node.size()).sum(),
        }
    }
}

/// The one document of a text.
pub(super) fn load(text: &str) -> Result<Node, Problem> {
    let mut loader = Loader { parser: Parser::new_from_str(text), anchors: HashMap::new(), size: 0 };
    let mut root: Option<Node> = None;
    loop {
        let (event, at) = loader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) if root.is_some() => {
                return Err(at.problem("a second document begins here: one file holds one pipeline"));
            }
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => root = Some(loader.node(event, at, 0)?),
        }
    }
    root.ok_or_else(|| Place::START.problem("the file is empty: a pipeline needs at least `name` and `jobs`"))
}

struct Loader<'t, I: Input> {
    parser: Parser<'t, I>,
    anchors: HashMap<usize, Node>,
    size: usize,
}

impl<'t, I: Input> Loader<'t, I> {
    fn next(&mut self) -> Result<(Event<'t>, Place), Problem> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, .. }))) => Ok((event, Place::from(&start))),
            Some(Err(error)) => {
                Err(Place::from(error.marker()).problem(format!("this is not valid YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, Place::START)),
        }
    }

    fn node(&mut self, event: Event<'t>, at: Place, depth: usize) -> Result<Node, Problem> {
        if depth > DEPTH_MAX {
            return Err(at.problem(format!("lists and mappings stand in each other more than {DEPTH_MAX} levels deep")));
        }
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(at.problem("this alias stands within the very thing that it names"));
                };
                self.spend(node.size(), at)?;
                return Ok(Node { at, value: node.value });
            }
            Event::Scalar(text, style, anchor, tag) => {
                check_tag(tag.as_deref(), at)?;
                self.spend(1 + text.len(), at)?;
                let is_null = style == ScalarStyle::Plain
                    && tag.is_none()
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                (anchor, if is_null { Value::Null } else { Value::Text(text.into_owned()) })
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), at)?;
                self.spend(1, at)?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, at) => items.push(self.node(event, at, depth + 1)?),
                    }
                }
                (anchor, Value::List(items))
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), at)?;
                self.spend(1, at)?;
                (anchor, Value::Map(self.entries(depth)?))
            }
            other => return Err(at.problem(format!("this is not valid YAML: {other:?} was not expected"))),
        };
        let node = Node { at, value };
        if anchor != 0 {
            self.spend(node.size(), at)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Problem> {
        let mut entries = Vec::new();
        let mut seen: HashMap<String, Place> = HashMap::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            let Value::Text(name) = self.node(event, at, depth + 1)?.value else {
                return Err(at.problem("a key must be text"));
            };
            if let Some(first) = seen.insert(name.clone(), at) {
                return Err(at.problem(format!(
                    "key `{}` stands twice in the same mapping: it is in line {} already",
                    shown(&name),
                    first.line
                )));
            }
            let (event, value_at) = self.next()?;
            let node = self.node(event, value_at, depth + 1)?;
            entries.push((Key { name, at }, node));
        }
    }

    fn spend(&mut self, size: usize, at: Place) -> Result<(), Problem> {
        self.size = self.size.saturating_add(size);
        if self.size > SIZE_MAX {
            return Err(at.problem(format!("with its aliases written out the file is larger than {SIZE_MAX} bytes")));
        }
        Ok(())
    }
}

/// `!!str` and the like say what is taken for granted here: every scalar is text.
fn check_tag(tag: Option<&Tag>, at: Place) -> Result<(), Problem> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            Err(at.problem(format!("the tag `{}` means nothing in a pipeline: leave it out", shown(&tag.to_string()))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_text_is_refused_before_it_can_exhaust_the_stack() {
        for text in ["- ".repeat(200_000), "[".repeat(200), "? ".repeat(100_000)] {
            let problem = load(&text).unwrap_err();
            assert!(problem.detail.contains("levels deep"), "{}", problem.detail);
        }
    }

    #[test]
    fn aliases_are_bounded_by_what_they_become() {
        let mut text = format!("a0: &a0 {}\n", "x".repeat(1000));
        for n in 1..9 {
            let before = vec![format!("*a{}", n - 1); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{before}]\n"));
        }
        let problem = load(&text).unwrap_err();
        assert!(problem.detail.contains("aliases written out"), "{}", problem.detail);
        assert!(load("a: &x [1]\nb: *x\n").is_ok());
        assert!(load("a: &x [*x]\n").is_err());
    }

    #[test]
    fn broken_text_of_any_kind_gets_a_problem_and_no_panic() {
        let pieces = [
            "a", ":", " ", "\n", "- ", "[", "]", "{", "}", "&x", "*x", "\"", "'", "|", ">", "!", "%", "#", "\t", "é",
            "---", "?",
        ];
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[usize::try_from(seed >> 33).unwrap() % pieces.len()]);
            }
            if let Err(problem) = load(&text) {
                assert!(problem.line.is_some() && !problem.detail.is_empty());
            }
        }
    }
}
