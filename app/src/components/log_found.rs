//! Where in a line the text stands that is searched for. Pure; which lines it stands in is found by the server.

use super::{
    ansi::{Run, runs},
    log_row::SHOWN_BYTES_MAX,
};

/// So many places are marked in one line at most: a letter that is looked for may stand in it thousands of times.
const PLACES_MAX: usize = 100;

/// A part of a run that is found, or is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How it looks, and what it says.
    pub run: Run,
    /// It belongs to what is searched for.
    pub found: bool,
}

/// The runs of a text, those in which `wanted` stands taken apart there. Whatever the case, as the server looks; nothing is
/// found where nothing is wanted.
#[must_use]
pub fn pieces(text: &str, wanted: &str) -> Vec<Piece> {
    let runs = runs(text);
    let places = places(&runs, wanted);
    let mut pieces = Vec::with_capacity(runs.len() + places.len());
    let mut put = |run: &Run, text: &str, found| {
        if !text.is_empty() {
            pieces.push(Piece { run: Run { style: run.style, text: text.to_owned() }, found });
        }
    };
    let mut begin = 0;
    for run in &runs {
        let end = begin + run.text.len();
        let mut at = begin;
        for (first, last) in places.iter().filter(|(first, last)| *first < end && *last > begin) {
            let (first, last) = ((*first).max(begin), (*last).min(end));
            put(run, &run.text[at - begin..first - begin], false);
            put(run, &run.text[first - begin..last - begin], true);
            at = last;
        }
        put(run, &run.text[at - begin..], false);
        begin = end;
    }
    pieces
}

/// Whether it stands only in the part of a long line that is not shown.
#[must_use]
pub fn is_out_of_sight(line: &str, wanted: &str) -> bool {
    let cut = line.floor_char_boundary(SHOWN_BYTES_MAX);
    cut < line.len() && places(&runs(&line[..cut]), wanted).is_empty()
}

/// From where to where it stands in the text of the runs, in bytes.
fn places(runs: &[Run], wanted: &str) -> Vec<(usize, usize)> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let text: String = runs.iter().flat_map(|run| run.text.chars()).map(folded).collect();
    let wanted: String = wanted.chars().map(folded).collect();
    text.match_indices(&wanted).map(|(at, _)| (at, at + wanted.len())).take(PLACES_MAX).collect()
}

/// The small letter of a capital, where it takes as many bytes.
fn folded(c: char) -> char {
    let mut small = c.to_lowercase();
    match (small.next(), small.next()) {
        (Some(small), None) if small.len_utf8() == c.len_utf8() => small,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &str, wanted: &str) -> Vec<(String, String, bool)> {
        pieces(line, wanted).into_iter().map(|piece| (piece.run.style.class(), piece.run.text, piece.found)).collect()
    }

    fn part(class: &str, text: &str, found: bool) -> (String, String, bool) {
        (class.to_owned(), text.to_owned(), found)
    }

    #[test]
    fn what_is_found_is_taken_apart_whatever_its_case() {
        assert_eq!(
            seen("An error, an ERROR", "Error"),
            [part("", "An ", false), part("", "error", true), part("", ", an ", false), part("", "ERROR", true)]
        );
        assert_eq!(seen("wird GRÜN", "grün"), [part("", "wird ", false), part("", "GRÜN", true)]);
        // Its small letter is longer: what stands behind it is found at its place.
        assert_eq!(seen("İx", "X"), [part("", "İ", false), part("", "x", true)]);
        assert_eq!(seen("text", ""), [part("", "text", false)]);
        assert_eq!(seen("", "x"), []);
    }

    #[test]
    fn colours_stay_where_they_are() {
        assert_eq!(
            seen("an \u{1b}[31mer\u{1b}[0mror \u{1b}[32mgone", "error"),
            [
                part("", "an ", false),
                part("f1", "er", true),
                part("", "ror", true),
                part("", " ", false),
                part("f2", "gone", false)
            ]
        );
        assert_eq!(seen("\u{1b}[31mred", "31m"), [part("f1", "red", false)]);
    }

    #[test]
    fn a_letter_that_stands_everywhere_is_marked_so_often_and_no_more() {
        let found = pieces(&"ab".repeat(3_000), "a").into_iter().filter(|piece| piece.found).count();
        assert_eq!(found, PLACES_MAX);
    }

    #[test]
    fn what_stands_behind_the_shown_part_only_is_out_of_sight() {
        let long = "x".repeat(SHOWN_BYTES_MAX);
        assert!(is_out_of_sight(&format!("{long} Needle"), "needle"));
        assert!(!is_out_of_sight(&format!("needle {long} needle"), "needle"));
        assert!(!is_out_of_sight("needle", "needle"));
    }
}
