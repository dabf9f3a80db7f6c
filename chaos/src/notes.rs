//! What steps wrote under their fence: when each attempt began and ended a step. Attempts that overlap show here, whatever
//! the servers believe.

use std::path::Path;

/// Reads the notes of a job, which has none if no step of it ever began.
pub(crate) fn read(folder: &Path, job: &str) -> String {
    std::fs::read_to_string(folder.join(job)).unwrap_or_default()
}

/// The first thing in some notes that must not be: an attempt that goes on beside a later one, or a step twice.
pub(crate) fn wrong(notes: &str) -> Option<String> {
    let mut last = (0, None);
    for (number, line) in (1..).zip(notes.lines()) {
        let mut words = line.split(' ');
        let (word, attempt) =
            (words.next().unwrap_or_default(), words.next().and_then(|word| word.parse::<u32>().ok()));
        let step = words.next().and_then(|word| word.parse::<u32>().ok());
        let Some(attempt) = attempt else { return Some(format!("line {number} is torn: {line:?}")) };
        match word {
            "overlap" => {
                return Some(format!("attempt {attempt} found the fence of another attempt closed (line {number})"));
            }
            "begin" | "end" if attempt < last.0 => {
                return Some(format!("attempt {attempt} went on after attempt {} had begun (line {number})", last.0));
            }
            "begin" if (attempt, step) <= last => {
                return Some(format!("attempt {attempt} began step {step:?} twice (line {number})"));
            }
            "begin" => last = (attempt, step),
            _ => {}
        }
    }
    None
}

/// Whether the notes say that this attempt ended this step.
pub(crate) fn has_ended(notes: &str, attempt: u32, step: usize) -> bool {
    let wanted = format!("end {attempt} {step}");
    notes.lines().any(|line| line == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_one_after_the_other_are_right() {
        let notes = "begin 1 0\nend 1 0\nbegin 1 1\nfail 1\nbegin 2 0\nend 2 0\nbegin 2 1\nend 2 1\n";
        assert_eq!(wrong(notes), None);
        assert!(has_ended(notes, 2, 1) && !has_ended(notes, 1, 1));
        assert_eq!(wrong(""), None);
    }

    #[test]
    fn attempts_that_overlap_and_steps_that_come_twice_are_found() {
        assert!(wrong("begin 1 0\nbegin 2 0\nend 1 0\n").is_some_and(|told| told.contains("attempt 1 went on")));
        assert!(wrong("begin 1 0\noverlap 2 0\nbegin 2 0\n").is_some_and(|told| told.contains("fence")));
        assert!(wrong("begin 1 0\nend 1 0\nbegin 1 0\n").is_some_and(|told| told.contains("twice")));
        assert!(wrong("begin 1 0\nbeg").is_some_and(|told| told.contains("torn")));
    }
}
