//! Letters that make a text read as another one than it is.

/// Whether a letter turns the direction in which what follows is written: `a<U+202E>gpj.exe` reads as a picture (CVE-2021-42574).
#[must_use]
pub fn turns_direction(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a letter is not seen, or changes how others are: such a name looks like another one. Joiners are none: Persian and
/// Hindi need them, and so is U+FE0F, which emoji end with.
#[must_use]
pub fn is_invisible(letter: char) -> bool {
    turns_direction(letter)
        || matches!(letter,
            // Fillers and separators without a width.
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}'
            | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            // Marks of direction, ends of lines, and what was meant to steer a printer.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            // Variants of the letter before, and tags.
            | '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0e}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a name or a note in one line would be shown as it is: nothing in it is unseen, not even joiners or U+FE0F.
#[must_use]
pub fn is_plain_line(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || is_invisible(c) || matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe0f}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_told_from_what_people_write() {
        for letter in ['\u{ad}', '\u{115f}', '\u{3164}', '\u{ffa0}', '\u{2028}', '\u{202e}', '\u{e0041}', '\u{fe01}'] {
            assert!(is_invisible(letter), "{letter:?}");
            assert!(!is_plain_line(&format!("Ada{letter}")), "{letter:?}");
        }
        for text in ["Ada Lovelace", "Ада", "エイダ", "عايدة", "R&D", "é"] {
            assert!(is_plain_line(text) && !text.chars().any(is_invisible), "{text}");
        }
        assert!(!"می\u{200c}خواهم ❤\u{fe0f}".chars().any(is_invisible));
        assert!(!is_plain_line("Ada\u{200d}") && !is_plain_line("Ada\u{fe0f}") && !is_plain_line("a\nb"));
    }
}
