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
            Some(("secrets", name)) => {
                let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
                return Err(format!(
                    "`${{{{ secrets.{name} }}}}` stands for nothing here: list the secret as `secrets: [{name}]` in the job, and its \
                     steps see it as `${name}`"
                ));
            }
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

/// The first secret that a text names in `${{ }}`.
pub(crate) fn secret_in(text: &str) -> Option<&str> {
    let holes = text.split("${{").skip(1).filter_map(|after| after.split_once("}}"));
    holes.filter_map(|(inside, _)| inside.trim().strip_prefix("secrets.")).next()
}

/// Whether a word can name an input or an axis: 1 to 60 letters, digits and `_`.
pub(crate) fn is_name(word: &str) -> bool {
    (1..=60).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The text with its holes filled; `value` gives what stands for one. Or one sentence about a hole that has no value, or
/// about more than `bytes_max` bytes: a text of many holes may come to far more than it and all values have.
pub(crate) fn fill<'v>(
    text: &str,
    bytes_max: usize,
    value: impl Fn(Part<'_>) -> Option<&'v str>,
) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    for part in parts(text)? {
        let next = match part {
            Part::Plain(plain) => plain,
            hole => value(hole).ok_or_else(|| format!("{} has no value", name(hole)))?,
        };
        if filled.len() + next.len() > bytes_max {
            return Err(format!("a value becomes longer than {bytes_max} bytes once its `${{{{ }}}}` are replaced"));
        }
        filled.push_str(next);
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
        assert_eq!(fill("a ${{ inputs.ref }} b${{matrix.os}}", 100, value).unwrap(), "a ${{ matrix.os }} blinux");
        assert!(fill("${{ inputs.other }}", 100, value).unwrap_err().contains("`inputs.other`"));
    }

    #[test]
    fn what_is_filled_is_bounded_to_the_byte() {
        let value = |_: Part<'_>| Some("12345");
        assert_eq!(fill("${{ inputs.a }}-${{ inputs.a }}", 11, value).unwrap(), "12345-12345");
        assert!(fill("${{ inputs.a }}-${{ inputs.a }}", 10, value).unwrap_err().contains("longer than 10 bytes"));
        assert!(fill("plain", 4, value).is_err());
    }

    #[test]
    fn anything_else_between_the_braces_is_refused() {
        for bad in ["${{ secrets.x }}", "${{ inputs.a || 1 }}", "${{ inputs }}", "${{ }}", "${{ inputs.a"] {
            assert!(parts(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
