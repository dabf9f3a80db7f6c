//! What a line is made of: its runs, taken apart where the text stands that is searched for, and where an address does.
//! Pure; which lines a text stands in is found by the server.

use super::{
    ansi::{Run, runs},
    log_links::links,
    log_row::SHOWN_BYTES_MAX,
};

/// So many places are marked in one line at most: a letter that is looked for may stand in it thousands of times.
const PLACES_MAX: usize = 100;

/// A part of a run that is found, or is not, and leads somewhere, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How it looks, and what it says.
    pub run: Run,
    /// It belongs to what is searched for.
    pub found: bool,
    /// It belongs to this address.
    pub link: Option<String>,
}

/// The runs of a text, taken apart where `wanted` stands in them and where addresses do. Whatever the case, as the server
/// looks; nothing is found where nothing is wanted.
#[must_use]
pub fn pieces(text: &str, wanted: &str) -> Vec<Piece> {
    let runs = runs(text);
    let places = places(&runs, wanted);
    let whole: String = runs.iter().map(|run| run.text.as_str()).collect();
    let links = links(&whole);
    let mut cuts: Vec<usize> = places.iter().chain(&links).flat_map(|(first, last)| [*first, *last]).collect();
    cuts.sort_unstable();
    let mut cuts = cuts.into_iter().peekable();
    let around =
        |ranges: &[(usize, usize)], at| ranges.iter().find(|(first, last)| (*first..*last).contains(&at)).copied();
    let mut pieces = Vec::with_capacity(runs.len());
    let mut end = 0;
    for run in runs {
        let mut at = end;
        end += run.text.len();
        while at < end {
            while cuts.next_if(|cut| *cut <= at).is_some() {}
            let next = cuts.peek().map_or(end, |cut| (*cut).min(end));
            let found = around(&places, at).is_some();
            let link = around(&links, at).map(|(first, last)| whole[first..last].to_owned());
            pieces.push(Piece { run: Run { style: run.style, text: whole[at..next].to_owned() }, found, link });
            at = next;
        }
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
    fn an_address_is_whole_wherever_it_is_taken_apart() {
        let pieces = pieces("at \u{1b}[4mhttps://a.b\u{1b}[0m/c now", "b/c");
        let told: Vec<_> =
            pieces.iter().map(|piece| (piece.run.text.as_str(), piece.found, piece.link.as_deref())).collect();
        let link = Some("https://a.b/c");
        let parts = [
            ("at ", false, None),
            ("https://a.", false, link),
            ("b", true, link),
            ("/c", true, link),
            (" now", false, None),
        ];
        assert_eq!(told, parts);
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
