//! What is looked for, read from what a person has written, and where it stands in a line. Pure.

use super::words::{self, Run, folded, humps, runs};

/// The longest search, in bytes of UTF-8.
pub const WANTED_BYTES_MAX: usize = 200;
/// Words in one search.
const WORDS_MAX: usize = 16;
/// Letters before `*`: fewer would be half of the log.
const PREFIX_LETTERS_MIN: usize = 2;

/// Words that must stand in a row; of the last one only the beginning where `prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    words: Vec<String>,
    prefix: bool,
}

/// A search that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    rows: Vec<Row>,
}

impl Wanted {
    /// From what a person has written.
    ///
    /// # Errors
    /// The sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("`q` is empty: write the words to look for.".to_owned());
        }
        if text.len() > WANTED_BYTES_MAX {
            return Err(format!("`q` is longer than {WANTED_BYTES_MAX} bytes: look for fewer words."));
        }
        let mut rows = Vec::new();
        for (place, part) in text.split('"').enumerate() {
            let is_quoted = place % 2 == 1;
            if is_quoted {
                rows.extend(row(part)?);
            } else {
                for word in part.split_whitespace() {
                    rows.extend(row(word)?);
                }
            }
        }
        if text.matches('"').count() % 2 == 1 {
            return Err("`q` opens a quotation mark and does not close it: write \"a phrase\".".to_owned());
        }
        if rows.is_empty() {
            return Err("`q` holds no word: words are made of letters and digits.".to_owned());
        }
        if rows.iter().map(|row| row.words.len()).sum::<usize>() > WORDS_MAX {
            return Err(format!("`q` holds more than {WORDS_MAX} words: look for fewer."));
        }
        Ok(Self { rows })
    }

    /// Words that a block must have, each with whether a word that begins so is enough.
    pub(crate) fn terms(&self) -> impl Iterator<Item = (&str, bool)> {
        self.rows.iter().flat_map(|row| {
            let last = row.words.len().saturating_sub(1);
            row.words.iter().enumerate().map(move |(place, word)| (word.as_str(), row.prefix && place == last))
        })
    }

    /// Where the words stand in a line, in letters, in order; none if one of them does not.
    #[must_use]
    pub fn find(&self, line: &str) -> Option<Vec<(usize, usize)>> {
        self.find_in(&[line])?.pop().filter(|ranges| !ranges.is_empty())
    }

    /// The same in several texts together, each with its own; none if one of the words stands in none of them.
    #[must_use]
    pub fn find_in(&self, texts: &[&str]) -> Option<Vec<Vec<(usize, usize)>>> {
        let texts: Vec<Vec<Run<'_>>> = texts.iter().map(|text| runs(words::searched(text)).collect()).collect();
        let mut found = vec![Vec::new(); texts.len()];
        for row in &self.rows {
            let mut stands = false;
            for (runs, found) in texts.iter().zip(&mut found) {
                let before = found.len();
                for at in 0..runs.len() {
                    row.find_at(&runs[at..], found);
                }
                stands |= found.len() > before;
            }
            if !stands {
                return None;
            }
        }
        Some(found.into_iter().map(joined).collect())
    }
}

impl Row {
    /// Where the row stands if it begins with the first of `runs`: at once, or in a part of it where it is a single word.
    fn find_at(&self, runs: &[Run<'_>], found: &mut Vec<(usize, usize)>) {
        let Some((last, before)) = self.words.split_last() else { return };
        let Some(here) = runs.get(..self.words.len()) else { return };
        let Some((end, begin)) = here.split_last() else { return };
        if before.iter().zip(begin).all(|(word, run)| folded(run.text) == word.as_str())
            && let Some(to) = self.end_of(last, end)
        {
            found.push((here[0].from, to));
        } else if before.is_empty() {
            let parts = humps(end).filter_map(|hump| Some((hump.from, self.end_of(last, &hump)?)));
            found.extend(parts);
        }
    }

    /// Where the word ends in a run that it is, or that begins with it.
    fn end_of(&self, word: &str, run: &Run<'_>) -> Option<usize> {
        let own = folded(run.text);
        let length = run.text.chars().count();
        if own == word {
            return Some(run.from + length);
        }
        (self.prefix && own.starts_with(word)).then(|| run.from + word.chars().count().min(length))
    }
}

/// A word or a phrase as a person has written it; none if it has no letter.
fn row(text: &str) -> Result<Option<Row>, String> {
    let (begin, prefix) = match text.trim_end().strip_suffix('*') {
        Some(begin) => (begin, begin.ends_with(char::is_alphanumeric)),
        None => (text, false),
    };
    let words: Vec<String> = runs(begin).map(|run| folded(run.text).into_owned()).collect();
    match words.last() {
        Some(last) if prefix && last.chars().count() < PREFIX_LETTERS_MIN => {
            Err(format!("`{}` is too short: at least {PREFIX_LETTERS_MIN} letters stand before `*`.", text.trim()))
        }
        Some(_) => Ok(Some(Row { words, prefix })),
        None => Ok(None),
    }
}

/// Sorted, and without overlaps.
fn joined(mut ranges: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    ranges.sort_unstable();
    let mut joined: Vec<(usize, usize)> = Vec::new();
    for (from, to) in ranges {
        match joined.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => joined.push((from, to)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(wanted: &str, line: &str) -> Option<Vec<String>> {
        let letters: Vec<char> = line.chars().collect();
        let ranges = Wanted::parse(wanted).unwrap().find(line)?;
        Some(ranges.into_iter().map(|(from, to)| letters[from..to].iter().collect()).collect())
    }

    #[test]
    fn all_words_must_stand_in_the_line_whatever_their_case_and_order() {
        let line = "2026-01-02 ERROR db: connection refused by 10.0.0.7";
        assert_eq!(found("refused error", line).unwrap(), ["ERROR", "refused"]);
        assert_eq!(found("error accepted", line), None);
        assert_eq!(found("conn", line), None, "a whole word");
        assert_eq!(found("conn* 10.0.0.7", line).unwrap(), ["conn", "10.0.0.7"]);
    }

    #[test]
    fn a_phrase_and_a_path_stand_in_a_row() {
        let line = "at src/net/pool.rs:12 in fn open_pool()";
        assert_eq!(found("src/net/pool.rs", line).unwrap(), ["src/net/pool.rs"]);
        assert_eq!(found("\"pool rs\" open_po*", line).unwrap(), ["pool.rs", "open_po"]);
        assert_eq!(found("\"rs pool\"", line), None);
        assert_eq!(found("pool", line).unwrap(), ["pool", "pool"]);
    }

    #[test]
    fn a_part_of_a_name_in_camel_case_is_a_word() {
        let line = "java.net.SocketTimeoutException: größeÄnderung";
        assert_eq!(found("timeout", line).unwrap(), ["Timeout"]);
        assert_eq!(found("sockettimeoutexception except*", line).unwrap(), ["SocketTimeoutException"]);
        assert_eq!(found("änderung", line).unwrap(), ["Änderung"]);
        assert_eq!(found("tim*", line).unwrap(), ["Tim"]);
    }

    #[test]
    fn what_can_not_be_asked_is_told_in_a_sentence() {
        let refused = |text: &str| Wanted::parse(text).unwrap_err();
        assert!(refused("  ").contains("is empty"));
        assert!(refused("-> ::").contains("holds no word"));
        assert!(refused("e*").contains("`e*` is too short"));
        assert!(refused("say \"hello").contains("does not close it"));
        assert!(refused(&"ab ".repeat(17)).contains("more than 16 words"));
        assert!(refused(&"x".repeat(201)).contains("longer than 200 bytes"));
    }

    #[test]
    fn what_stands_in_no_word_is_left_out() {
        assert_eq!(found("a -> b", "a, b").unwrap(), ["a", "b"]);
        assert_eq!(found("a *", "a").unwrap(), ["a"]);
    }

    #[test]
    fn words_of_a_build_may_stand_in_several_of_its_texts() {
        let found = Wanted::parse("site failed").unwrap().find_in(&["site", "main", "failed"]).unwrap();
        assert_eq!(found, [vec![(0, 4)], vec![], vec![(0, 6)]]);
        assert_eq!(Wanted::parse("site other").unwrap().find_in(&["site", "main"]), None);
    }
}
