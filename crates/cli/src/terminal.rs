//! Lines, colours, and the status line under them that is drawn again and again in its place. What goes on and since
//! when stands in `running.rs`: nothing here knows of builds.
//!
//! On a terminal each change is one write: the status line is cleared, lines take its place, and it is drawn anew
//! below them. The cursor rests at its first column, so that whatever comes after an interruption writes over it.
//! Where no terminal is, there is no status line, and no escape sequence unless colours are asked for.

use std::{
    borrow::Cow,
    fs::File,
    io::{IsTerminal, Write as _},
    os::fd::AsFd as _,
    time::Instant,
};

use rustix::termios::tcgetwinsize;
use wire::Outcome;

/// To the first column, and nothing from there on.
const CLEAR: &str = "\r\u{1b}[K";
/// Ends every colour.
const RESET: &str = "\u{1b}[0m";
/// What turns while something goes on, one picture after the other.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// A picture of the spinner stands so long. Milliseconds.
pub(crate) const PICTURE_MILLIS: u64 = 100;
/// Lines are gathered up to so many bytes before they are written.
const PENDING_BYTES_MAX: usize = 64 * 1024;
/// The width of a terminal that does not tell its own.
const COLUMNS: usize = 80;

/// How a line of ours stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A head: bold.
    Head,
    /// It went well: green.
    Good,
    /// It failed: red.
    Bad,
    /// It was interrupted: yellow.
    Warning,
    /// Of little weight: dim.
    Faint,
}

impl Tone {
    /// For something that ended so.
    pub(crate) fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Tone::Good,
            Outcome::Skipped => Tone::Faint,
            Outcome::Failed | Outcome::TimedOut => Tone::Bad,
            Outcome::Cancelled => Tone::Warning,
        }
    }

    fn code(self) -> u8 {
        match self {
            Tone::Head => 1,
            Tone::Faint => 2,
            Tone::Bad => 31,
            Tone::Good => 32,
            Tone::Warning => 33,
        }
    }
}

/// What an output may be given beside plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowed {
    /// Ours, and those of the build.
    colours: bool,
    /// A line that is drawn again in its place.
    status: bool,
}

impl Allowed {
    /// `NO_COLOR` and `CLICOLOR_FORCE` as <https://no-color.org> and <https://bixense.com/clicolors> have them; the former
    /// wins. A terminal that calls itself dumb gets plain lines.
    fn on(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let forced = variable("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
        let capable = is_terminal && variable("TERM").is_none_or(|value| value != "dumb");
        Self { colours: !refused && (capable || (forced && !is_terminal)), status: capable }
    }

    fn of(output: &impl IsTerminal) -> Self {
        let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Self::on(output.is_terminal(), variable)
    }
}

/// Standard output, and standard error for what is said aside.
pub(crate) struct Terminal {
    /// Unbuffered, so that a change is one write; none if standard output is closed.
    out: Option<File>,
    allowed: Allowed,
    aside: Allowed,
    /// Whole lines that were not written yet.
    pending: String,
    /// The status line that stands on the screen, without its colours; empty when none does.
    drawn: String,
    begun: Instant,
}

impl Terminal {
    /// Of this process.
    pub(crate) fn new() -> Self {
        let stdout = std::io::stdout();
        Self {
            out: stdout.as_fd().try_clone_to_owned().ok().map(File::from),
            allowed: Allowed::of(&stdout),
            aside: Allowed::of(&std::io::stderr()),
            pending: String::new(),
            drawn: String::new(),
            begun: Instant::now(),
        }
    }

    /// How many columns a status has; none where there is no status line.
    pub(crate) fn status_columns(&self) -> Option<usize> {
        let out = self.out.as_ref().filter(|_| self.allowed.status)?;
        let told = tcgetwinsize(out).map_or(0, |size| usize::from(size.ws_col));
        let columns = if told == 0 { COLUMNS } else { told };
        // The spinner with its space, and the last column, behind which some terminals go to the next line.
        Some(columns.saturating_sub(3))
    }

    /// A line of ours, to be written with the next [`Terminal::show`].
    pub(crate) fn say(&mut self, tone: Tone, text: &str) {
        let line = toned(tone, &printable(text), self.allowed.colours);
        self.gather(&line);
    }

    /// A line of the build, to be written with the next [`Terminal::show`].
    pub(crate) fn pass(&mut self, text: &str) {
        let line = passed(text, self.allowed);
        self.gather(&line);
    }

    /// Writes the gathered lines and draws the status under them; none clears it.
    pub(crate) fn show(&mut self, status: Option<&str>) {
        let line = match (status, self.status_columns()) {
            (Some(status), Some(columns)) => {
                format!("{} {}", picture(self.begun.elapsed().as_millis()), cut(&printable(status), columns))
            }
            _ => String::new(),
        };
        if !self.pending.is_empty() || line != self.drawn {
            let change = change(&self.pending, &self.drawn, &line, self.allowed.colours);
            self.pending.clear();
            self.drawn = line;
            self.write(&change);
        }
    }

    /// Something about the command itself: a line on standard error, without a status line below.
    pub(crate) fn tell_aside(&mut self, text: &str) {
        self.show(None);
        let _ = writeln!(std::io::stderr(), "{}", toned(Tone::Warning, &printable(text), self.aside.colours));
    }

    fn gather(&mut self, line: &str) {
        self.pending.push_str(line);
        self.pending.push('\n');
        if self.pending.len() > PENDING_BYTES_MAX {
            let drawn = self.drawn.clone();
            let change = change(&self.pending, &drawn, &drawn, self.allowed.colours);
            self.pending.clear();
            self.write(&change);
        }
    }

    /// Whoever reads may have gone: the exit status still tells how the build ended.
    fn write(&mut self, text: &str) {
        if let Some(out) = &mut self.out {
            let _ = out.write_all(text.as_bytes());
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.show(None);
    }
}

/// What turns a screen that ends with the status line `drawn` into one that has `lines` there and ends with `line`.
fn change(lines: &str, drawn: &str, line: &str, colours: bool) -> String {
    // A status line that stays is written over, not cleared first: no moment without it.
    let clear = if drawn.is_empty() || (lines.is_empty() && !line.is_empty()) { "" } else { CLEAR };
    if line.is_empty() {
        return format!("{clear}{lines}");
    }
    let line = match line.char_indices().nth(1).filter(|_| colours) {
        Some((end, _)) => Cow::from(format!("\u{1b}[36m{}{RESET}{}", &line[..end], &line[end..])),
        None => Cow::from(line),
    };
    format!("{clear}{lines}{line}\u{1b}[K\r")
}

/// The spinner's picture so many milliseconds after its begin.
fn picture(millis: u128) -> char {
    let turn = millis / u128::from(PICTURE_MILLIS) % SPINNER.len() as u128;
    SPINNER[turn as usize]
}

fn toned(tone: Tone, text: &str, colours: bool) -> String {
    if colours { format!("\u{1b}[{}m{text}{RESET}", tone.code()) } else { text.to_owned() }
}

/// A line of the build as an output may have it. On a terminal it keeps to its line: a cursor that it moved, or a screen
/// that it cleared, would take other lines with it.
fn passed(text: &str, allowed: Allowed) -> String {
    let mut line = String::new();
    if allowed.colours {
        line = coloured(text);
        if line.contains('\u{1b}') {
            line.push_str(RESET);
        }
    } else {
        wire::log::plain(text, &mut line);
    }
    if allowed.status {
        line.retain(|c| !c.is_control() || matches!(c, '\t' | '\r' | '\u{1b}'));
    }
    line
}

/// `text` with its colours, without any other escape sequence.
fn coloured(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut between = String::new();
    let mut rest = text;
    while let Some(colour) = first_colour(rest) {
        wire::log::plain(&rest[..colour.start], &mut between);
        kept.push_str(&between);
        kept.push_str(&rest[colour.clone()]);
        rest = &rest[colour.end..];
    }
    wire::log::plain(rest, &mut between);
    kept.push_str(&between);
    kept
}

/// Where `ESC [ … m` stands.
fn first_colour(text: &str) -> Option<std::ops::Range<usize>> {
    text.match_indices("\u{1b}[").find_map(|(at, start)| {
        let numbers = &text[at + start.len()..];
        let end = numbers.find(|c: char| !matches!(c, '0'..='9' | ';' | ':'))?;
        numbers[end..].starts_with('m').then_some(at..at + start.len() + end + 1)
    })
}

/// Without what moves the cursor or turns on colours: names and commands come from other people.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::from(text);
    }
    Cow::from(text.replace('\t', " ").replace(char::is_control, ""))
}

/// `text`, or its begin and `…` where it is wider than so many columns.
pub(crate) fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::from(text);
    }
    let Some(room) = columns.checked_sub(1) else { return Cow::from("") };
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += columns_of(*c);
        taken > room
    });
    Cow::from(format!("{}…", &text[..end.map_or(text.len(), |(at, _)| at)]))
}

/// How many columns a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// The simple rule: marks above others take none, ideographs and pictures two, everything else one.
fn columns_of(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        '\u{2705}' | '\u{274c}' | '\u{2728}' | '\u{26a1}' | '\u{2b50}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Allowed = Allowed { colours: false, status: false };
    const FULL: Allowed = Allowed { colours: true, status: true };

    fn allowed(is_terminal: bool, variables: &[(&str, &str)]) -> Allowed {
        Allowed::on(is_terminal, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_decides_on_colours_and_the_terminal_on_the_status_line() {
        let status = Allowed { colours: false, status: true };
        let colours = Allowed { colours: true, status: false };
        let cases = [
            (true, &[("TERM", "xterm")][..], FULL),
            (true, &[], FULL),
            (false, &[("TERM", "xterm")], PLAIN),
            (true, &[("TERM", "dumb")], PLAIN),
            (true, &[("NO_COLOR", "1")], status),
            (true, &[("NO_COLOR", "")], FULL),
            (false, &[("CLICOLOR_FORCE", "1")], colours),
            (false, &[("CLICOLOR_FORCE", "0")], PLAIN),
            (false, &[("CLICOLOR_FORCE", "")], PLAIN),
            (false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], PLAIN),
        ];
        for (is_terminal, variables, expected) in cases {
            assert_eq!(allowed(is_terminal, variables), expected, "{is_terminal} {variables:?}");
        }
    }

    #[test]
    fn the_status_line_is_cleared_before_a_line_and_drawn_after_it() {
        let drawn = change("one\ntwo\n", "⠋ build 1.0 s", "⠙ build 1.1 s", false);
        assert_eq!(drawn, "\r\u{1b}[Kone\ntwo\n⠙ build 1.1 s\u{1b}[K\r");
    }

    #[test]
    fn the_status_line_is_written_over_in_place_and_cleared_at_the_end() {
        assert_eq!(change("", "⠋ a", "⠙ a", false), "⠙ a\u{1b}[K\r");
        assert_eq!(change("", "⠋ a", "⠙ a", true), "\u{1b}[36m⠙\u{1b}[0m a\u{1b}[K\r");
        assert_eq!(change("", "⠋ a", "", true), "\r\u{1b}[K");
    }

    #[test]
    fn without_a_status_line_nothing_but_the_lines_is_written() {
        assert_eq!(change("one\n", "", "", false), "one\n");
        assert_eq!(toned(Tone::Bad, "✗ failed", false), "✗ failed");
        assert_eq!(passed("\u{1b}[31mred\u{1b}[0m", PLAIN), "red");
    }

    #[test]
    fn a_line_of_the_build_keeps_its_colours_and_no_cursor() {
        let line = "\u{1b}[1;31mred\u{1b}[2J\u{1b}[3A \u{1b}]8;;https://example.org\u{7}link\u{b}\u{1b}[38:5:1m";
        assert_eq!(passed(line, FULL), "\u{1b}[1;31mred link\u{1b}[38:5:1m\u{1b}[0m");
        assert_eq!(passed("10 %\r20 %\tdone", FULL), "10 %\r20 %\tdone");
        assert_eq!(passed("cut \u{1b}[31", FULL), "cut ");
        assert_eq!(passed("\u{1b}[31mred", Allowed { colours: false, status: true }), "red");
    }

    #[test]
    fn a_text_is_cut_by_columns_and_never_in_a_character() {
        let cases = [
            ("build", 5, "build"),
            ("build", 4, "bui…"),
            ("build", 1, "…"),
            ("build", 0, ""),
            ("naïve", 3, "na…"),
            ("建造者", 6, "建造者"),
            ("建造者", 5, "建造…"),
            ("建造者", 4, "建…"),
            ("e\u{301}e\u{301}", 2, "e\u{301}e\u{301}"),
        ];
        for (text, columns, expected) in cases {
            assert_eq!(cut(text, columns), expected, "{text} {columns}");
            assert!(width(&cut(text, columns)) <= columns, "{text} {columns}");
        }
    }

    #[test]
    fn a_name_with_escapes_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J\r\nb\tc\u{9b}d"), "a[2Jb cd");
    }

    #[test]
    fn the_spinner_turns_every_tenth_of_a_second() {
        assert_eq!([picture(0), picture(99), picture(100), picture(1000)], ['⠋', '⠋', '⠙', '⠋']);
    }
}
