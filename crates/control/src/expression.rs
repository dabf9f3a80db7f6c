//! `${{ inputs.<name> }}` and `${{ matrix.<axis> }}`: text with holes, read when a pipeline is and filled when a build is
//! planned. Nothing else is known between the braces, and scripts hold none: what a stranger typed would become code.

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    /// As it stands.
    Plain(&'t str),
    /// An input of the build.
    Input(&'t str),
    /// This combination's value of an axis.
    Matrix(&'t str),
}

/// The parts of a text, in order; or one sentence about the first hole that cannot be read.
pub(crate) fn parts(text: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        let Some((inside, behind)) = after.split_once("}}") else {
            return Err("`${{` has no `}}` behind it".to_owned());
        };
        let word = inside.trim();
        let hole = match word.split_once('.') {
            Some(("inputs", name)) if is_name(name) => Part::Input(name),
            Some(("matrix", axis)) if is_name(axis) => Part::Matrix(axis),
            _ => {
                let word: String = word.chars().filter(|c| !c.is_control()).take(60).collect();
                return Err(format!("`${{{{ {word} }}}}` is not known: it may be `inputs.<name>` or `matrix.<axis>`"));
            }
        };
        parts.push(Part::Plain(before));
        parts.push(hole);
        rest = behind;
    }
    parts.push(Part::Plain(rest));
    Ok(parts)
}

/// Whether a text has a hole, readable or not.
pub(crate) fn has_hole(text: &str) -> bool {
    text.contains("${{")
}

/// Whether a word can name an input or an axis: 1 to 60 letters, digits and `_`.
pub(crate) fn is_name(word: &str) -> bool {
    (1..=60).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The text with its holes filled; `value` gives what stands for one. Or one sentence about a hole that has no value.
pub(crate) fn fill<'v>(text: &str, value: impl Fn(Part<'_>) -> Option<&'v str>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    for part in parts(text)? {
        match part {
            Part::Plain(plain) => filled.push_str(plain),
            hole => match value(hole) {
                Some(value) => filled.push_str(value),
                None => return Err(format!("{} has no value", name(hole))),
            },
        }
    }
    Ok(filled)
}

fn name(part: Part<'_>) -> String {
    match part {
        Part::Plain(plain) => plain.to_owned(),
        Part::Input(name) => format!("`inputs.{name}`"),
        Part::Matrix(axis) => format!("`matrix.{axis}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_once_and_their_values_are_not_read_again() {
        let value = |part: Part<'_>| match part {
            Part::Input("ref") => Some("${{ matrix.os }}"),
            Part::Matrix("os") => Some("linux"),
            _ => None,
        };
        assert_eq!(fill("a ${{ inputs.ref }} b${{matrix.os}}", value).unwrap(), "a ${{ matrix.os }} blinux");
        assert!(fill("${{ inputs.other }}", value).unwrap_err().contains("`inputs.other`"));
    }

    #[test]
    fn anything_else_between_the_braces_is_refused() {
        for bad in ["${{ secrets.x }}", "${{ inputs.a || 1 }}", "${{ inputs }}", "${{ }}", "${{ inputs.a"] {
            assert!(parts(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
