//! Tells code from comments and strings in a Rust file, so that a rule about code does not stumble over prose. It knows
//! just enough of the language for that; rustc has the last word on everything else.

/// A text of the same lines, of which one kind is kept and the other is blank.
pub(super) struct Split {
    /// Without comments and without what stands in strings.
    pub(super) code: String,
    /// Only what stands in comments.
    pub(super) comments: String,
}

/// Splits a Rust file.
pub(super) fn split(text: &str) -> Split {
    let mut split = Split { code: String::new(), comments: String::new() };
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, kind) = token(rest, first, split.code.chars().next_back());
        let (token, after) = rest.split_at(length);
        rest = after;
        for character in token.chars() {
            let blank = if character == '\n' { '\n' } else { ' ' };
            split.code.push(if kind == Kind::Code { character } else { blank });
            split.comments.push(if kind == Kind::Comment { character } else { blank });
        }
    }
    split
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Text,
}

/// How many bytes of `rest` belong to the next token, and what it is.
fn token(rest: &str, first: char, before: Option<char>) -> (usize, Kind) {
    let in_word = before.is_some_and(|before| before.is_alphanumeric() || before == '_');
    match first {
        '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), Kind::Comment),
        '/' if rest.starts_with("/*") => (block_comment(rest), Kind::Comment),
        '"' => (string(rest), Kind::Text),
        'r' if !in_word || before == Some('b') => match raw_string(rest) {
            Some(length) => (length, Kind::Text),
            None => (1, Kind::Code),
        },
        '\'' => match character(rest) {
            Some(length) => (length, Kind::Text),
            None => (1, Kind::Code),
        },
        other => (other.len_utf8(), Kind::Code),
    }
}

/// Block comments nest in Rust.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"…"` and `r#"…"#`; `None` for any other word that begins with r.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    let body = rest[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = rest.len() - body.len();
    Some(body.find(&end).map_or(rest.len(), |at| begin + at + end.len()))
}

/// `'x'` and `'\n'`; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        characters.next()?;
        return rest[1..].char_indices().skip(2).find(|(_, c)| *c == '\'').map(|(at, _)| at + 2);
    }
    characters.next().filter(|(_, second)| *second == '\'').map(|(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn comments_and_strings_are_no_code() {
        let text = "let a = \"x // \\\" y\"; // say /* it\nlet b = r#\"todo \" in\"#; /* one /* two */ */ let c = 'd';";
        let split = split(text);
        assert_eq!(split.code.split_whitespace().collect::<Vec<_>>().join(" "), "let a = ; let b = ; let c = ;");
        assert_eq!(split.code.lines().count(), 2);
        assert!(split.comments.contains("// say /* it"));
        assert!(split.comments.contains("/* one /* two */ */"));
    }

    #[test]
    fn a_lifetime_opens_no_character_and_a_quote_in_quotes_opens_no_string() {
        let split = split("fn f<'a>(x: &'a str) -> char { let q = '\"'; let n = '\\''; let u = '\\u{1F600}'; stay }");
        assert!(split.code.contains("<'a>(x: &'a str)"));
        assert!(split.code.contains("stay }"));
    }
}
