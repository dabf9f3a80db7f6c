//! What a file that a job leaves behind may be called. Executors ask before they send it, servers before they take it.

use crate::text::is_invisible;

/// The path of a file has at most so many bytes, and each of its parts as many as file systems take.
pub const NAME_BYTES_MAX: usize = 1024;
const PART_BYTES_MAX: usize = 255;

/// Whether a file may have this name: it must stay within the folder that somebody unpacks it into, on any system, and read as
/// what it is.
///
/// # Errors
/// One sentence, without its full stop.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= PART_BYTES_MAX;
    let is_plain = |letter: char| letter != '\\' && !letter.is_control() && !is_invisible(letter);
    if name.len() <= NAME_BYTES_MAX && name.split('/').all(is_part) && name.chars().all(is_plain) {
        return Ok(());
    }
    const SHOWN_CHARS_MAX: usize = 60;
    let shown: String = name.chars().take(SHOWN_CHARS_MAX).map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect();
    Err(format!(
        "the artifact's name \"{shown}\" must be a relative path of at most {NAME_BYTES_MAX} bytes ({PART_BYTES_MAX} in each part), \
         without `..`, backslashes, control characters and letters that are not seen"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_but_below_where_it_is_unpacked() {
        for name in ["out.tgz", "a/b/c.txt", "..a/b..", "é ü.txt", "C:a", "-rf", "~", "a b"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let long = format!("{}/x", "a/".repeat(NAME_BYTES_MAX / 2));
        for name in [
            "",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "..\\..\\a",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{1b}[2J",
            "a\u{202e}gpj.exe",
            "a\u{200b}",
            &"x".repeat(PART_BYTES_MAX + 1),
            &long,
        ] {
            let why = check_name(name).unwrap_err();
            assert!(
                why.contains("must be a relative path") && why.len() < 400 && !why.contains(char::is_control),
                "{why}"
            );
        }
    }
}
