//! Letters that make a text read as another one than it is.

/// Whether a letter turns the direction in which what follows is written: `a<U+202E>gpj.exe` reads as a picture (CVE-2021-42574).
#[must_use]
pub fn turns_direction(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a letter is not seen, or changes how others are: such a name looks like another one. Joiners are none: Persian and
/// Hindi need them.
#[must_use]
pub fn is_invisible(letter: char) -> bool {
    turns_direction(letter)
        || matches!(letter, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}
