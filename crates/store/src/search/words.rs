//! How a text is told apart into words: the same for what is indexed, what is asked and what is found. Pure.

use std::{borrow::Cow, collections::HashSet};

/// Of a line, so much is searched, in bytes of UTF-8 without its colours: what is longer is seldom read by anyone.
pub const LINE_BYTES_MAX: usize = 4096;
/// A longer word is known by its beginning. Long enough for a SHA-256 in hex.
pub const WORD_LETTERS_MAX: usize = 64;

/// A run of letters and digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'t> {
    /// As it is written.
    pub text: &'t str,
    /// How many letters stand before it in the text.
    pub from: usize,
}

/// The part of a line that is searched.
#[must_use]
pub fn searched(plain: &str) -> &str {
    &plain[..plain.floor_char_boundary(LINE_BYTES_MAX)]
}

/// The runs of a text, in order.
pub fn runs(text: &str) -> impl Iterator<Item = Run<'_>> {
    let mut letters = text.char_indices().enumerate().peekable();
    std::iter::from_fn(move || {
        let (from, (first, letter)) = letters.find(|(_, (_, letter))| letter.is_alphanumeric())?;
        let mut end = first + letter.len_utf8();
        if !is_word_alone(letter) {
            while let Some((_, (at, letter))) =
                letters.next_if(|(_, (_, letter))| letter.is_alphanumeric() && !is_word_alone(*letter))
            {
                end = at + letter.len_utf8();
            }
        }
        Some(Run { text: &text[first..end], from })
    })
}

/// Letters of scripts that do not separate words: kana and ideographs.
fn is_word_alone(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// A word as it is compared: in lower case, and not too long.
#[must_use]
pub fn folded(text: &str) -> Cow<'_, str> {
    if text.len() <= WORD_LETTERS_MAX && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().flat_map(char::to_lowercase).take(WORD_LETTERS_MAX).collect())
}

/// The parts of a name in camel case, if it has more than one.
pub fn humps<'t>(run: &Run<'t>) -> impl Iterator<Item = Run<'t>> {
    let (text, from) = (run.text, run.from);
    let has_humps =
        text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) && text.chars().any(char::is_lowercase);
    let mut rest = if has_humps { text } else { "" };
    let mut before = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = hump_end(rest);
        if before == 0 && end == rest.len() {
            rest = ""; // One part is the whole.
            return None;
        }
        let hump = Run { text: &rest[..end], from: from + before };
        before += hump.text.chars().count();
        rest = &rest[end..];
        Some(hump)
    })
}

/// Where the first part ends: before a capital behind a small letter, and before the last of several capitals that a small
/// letter follows.
fn hump_end(text: &str) -> usize {
    let mut letters = text.char_indices().peekable();
    let mut before: Option<char> = None;
    while let Some((at, letter)) = letters.next() {
        if let Some(before) = before
            && letter.is_uppercase()
        {
            let small_follows = letters.peek().is_some_and(|(_, next)| next.is_lowercase());
            if before.is_lowercase() || (before.is_uppercase() && small_follows) {
                return at;
            }
        }
        before = Some(letter);
    }
    text.len()
}

/// Adds the words of a text, as they are compared.
pub fn add(text: &str, words: &mut HashSet<String>) {
    let mut put = |run: &Run<'_>| {
        let word = folded(run.text);
        if !words.contains(word.as_ref()) {
            words.insert(word.into_owned());
        }
    };
    for run in runs(text) {
        put(&run);
        humps(&run).for_each(|hump| put(&hump));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        let mut words = HashSet::new();
        add(text, &mut words);
        let mut words: Vec<String> = words.into_iter().collect();
        words.sort();
        words
    }

    #[test]
    fn names_and_paths_are_told_apart_into_words() {
        assert_eq!(of("/usr/lib/libssl.so.3: No such_file"), ["3", "file", "lib", "libssl", "no", "so", "such", "usr"]);
        assert_eq!(of("TimeoutException"), ["exception", "timeout", "timeoutexception"]);
        assert_eq!(of("parseHTTPRequest2"), ["http", "parse", "parsehttprequest2", "request2"]);
        assert_eq!(of("ERROR Error error"), ["error"]);
        assert_eq!(of("größeÄnderung ΣΑΣ"), ["größe", "größeänderung", "änderung", "σασ"]);
        assert_eq!(of(" -> :: \u{e000} "), [""; 0]);
    }

    #[test]
    fn scripts_without_spaces_are_found_by_letter() {
        let found: Vec<(&str, usize)> = runs("再構築 ok").map(|run| (run.text, run.from)).collect();
        assert_eq!(found, [("再", 0), ("構", 1), ("築", 2), ("ok", 4)]);
    }

    #[test]
    fn places_are_counted_in_letters() {
        let run = runs("ü: fooBar").last().unwrap();
        assert_eq!((run.text, run.from), ("fooBar", 3));
        let parts: Vec<(&str, usize)> = humps(&run).map(|hump| (hump.text, hump.from)).collect();
        assert_eq!(parts, [("foo", 3), ("Bar", 6)]);
    }

    #[test]
    fn what_is_very_long_is_known_by_its_beginning() {
        assert_eq!(folded(&"x".repeat(100)).len(), WORD_LETTERS_MAX);
        assert_eq!(searched(&"ä".repeat(5_000)).len(), LINE_BYTES_MAX);
    }
}
