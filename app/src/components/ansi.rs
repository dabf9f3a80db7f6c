//! Terminal colours in a line of a log: SGR becomes spans, every other escape sequence and control character is dropped.
//! Pure; colours carry over from span to span but never from line to line, because any line may be shown alone.

/// A colour as an escape sequence names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// The log's own.
    #[default]
    Own,
    /// One of the sixteen, which the theme chooses.
    Named(u8),
    /// Red, green, blue.
    Rgb(u8, u8, u8),
}

impl Colour {
    /// Whether black is read better on it than white; none for the log's own.
    fn is_light(self) -> Option<bool> {
        match self {
            Self::Own => None,
            // As the style sheet draws them behind text.
            Self::Named(n) => Some(!matches!(n, 0 | 1 | 4 | 5 | 8)),
            Self::Rgb(r, g, b) => {
                // The luminance by the weights of WCAG, with squares in the place of its curve; black and white contrast
                // alike with a grey of 117.
                let square = |part: u8| u32::from(part) * u32::from(part);
                Some(2_126 * square(r) + 7_152 * square(g) + 722 * square(b) > 10_000 * 117 * 117)
            }
        }
    }
}

/// How a run of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    front: Colour,
    back: Colour,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    struck: bool,
    inverse: bool,
}

/// A run of text in one style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// How it looks.
    pub style: Style,
    /// What it says; never markup.
    pub text: String,
}

impl Style {
    /// Whether it looks like the log itself.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Style::default()
    }

    /// Classes for the style sheet.
    #[must_use]
    pub fn class(&self) -> String {
        let (front, back) = self.colours();
        let mut class = String::new();
        let mut add = |part: &str| {
            class.push_str(part);
            class.push(' ');
        };
        match front {
            Colour::Named(n) => add(&format!("f{n}")),
            Colour::Rgb(..) => add("fx"),
            // Text without a colour of its own is one that can be read on its ground.
            Colour::Own => match back.is_light() {
                Some(true) => add("bk"),
                Some(false) => add("wt"),
                None => {}
            },
        }
        match back {
            Colour::Named(n) => add(&format!("on b{n}")),
            Colour::Rgb(..) => add("on bx"),
            Colour::Own if self.inverse => add("inv"),
            Colour::Own => {}
        }
        let flags =
            [(self.bold, "bo"), (self.dim, "di"), (self.italic, "it"), (self.underline, "un"), (self.struck, "st")];
        for (_, name) in flags.into_iter().filter(|(set, _)| *set) {
            add(name);
        }
        class.truncate(class.trim_end().len());
        class
    }

    /// Custom properties for colours that have no class; none when there are none.
    #[must_use]
    pub fn properties(&self) -> Option<String> {
        let (front, back) = self.colours();
        let mut text = String::new();
        for (name, colour) in [("--f", front), ("--b", back)] {
            if let Colour::Rgb(r, g, b) = colour {
                text.push_str(&format!("{name}:rgb({r} {g} {b});"));
            }
        }
        (!text.is_empty()).then_some(text)
    }

    fn colours(&self) -> (Colour, Colour) {
        if self.inverse { (self.back, self.front) } else { (self.front, self.back) }
    }

    /// Applies the parameters of one SGR sequence.
    fn apply(&mut self, parameters: &str) {
        let mut codes = parameters.split([';', ':']).map(|code| code.parse::<u16>().unwrap_or(0)).peekable();
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Style::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underline = true,
                7 => self.inverse = true,
                9 => self.struck = true,
                21 | 22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                27 => self.inverse = false,
                29 => self.struck = false,
                30..=37 => self.front = Colour::Named(low(code - 30)),
                38 => self.front = extended(&mut codes, parameters).unwrap_or(self.front),
                39 => self.front = Colour::Own,
                40..=47 => self.back = Colour::Named(low(code - 40)),
                48 => self.back = extended(&mut codes, parameters).unwrap_or(self.back),
                49 => self.back = Colour::Own,
                90..=97 => self.front = Colour::Named(low(code - 90 + 8)),
                100..=107 => self.back = Colour::Named(low(code - 100 + 8)),
                _ => {}
            }
        }
    }
}

fn low(code: u16) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// `5;n` or `2;r;g;b`; with colons, an empty colour space may stand before the red.
fn extended(codes: &mut impl Iterator<Item = u16>, parameters: &str) -> Option<Colour> {
    match codes.next()? {
        5 => Some(indexed(low(codes.next()?))),
        2 => {
            if parameters.contains("2::") {
                codes.next();
            }
            Some(Colour::Rgb(low(codes.next()?), low(codes.next()?), low(codes.next()?)))
        }
        _ => None,
    }
}

/// One of the 256: the sixteen, a cube of 6 by 6 by 6, then 24 greys.
fn indexed(n: u8) -> Colour {
    let level = |step: u8| if step == 0 { 0 } else { 55 + step * 40 };
    match n {
        0..=15 => Colour::Named(n),
        16..=231 => {
            let n = n - 16;
            Colour::Rgb(level(n / 36), level(n / 6 % 6), level(n % 6))
        }
        232..=255 => {
            let grey = 8 + (n - 232) * 10;
            Colour::Rgb(grey, grey, grey)
        }
    }
}

/// Reads one line.
#[must_use]
pub fn runs(line: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut style = Style::default();
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_control() && c != '\t').unwrap_or(rest.len());
        let (text, tail) = rest.split_at(end);
        if !text.is_empty() {
            match runs.last_mut().filter(|run| run.style == style) {
                Some(run) => run.text.push_str(text),
                None => runs.push(Run { style, text: text.to_owned() }),
            }
        }
        rest = after_control(tail, &mut style);
    }
    runs
}

/// Skips the control character or escape sequence that `text` begins with.
fn after_control<'a>(text: &'a str, style: &mut Style) -> &'a str {
    let mut chars = text.chars();
    match chars.next() {
        Some('\u{1b}') => {}
        Some('\u{9b}') => return after_sequence(chars.as_str(), style),
        _ => return chars.as_str(),
    }
    let rest = chars.as_str();
    match chars.next() {
        Some('[') => after_sequence(chars.as_str(), style),
        // A string: it ends with BEL or ESC \; one without end takes the rest of the line.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let body = chars.as_str();
            match body.find(['\u{7}', '\u{1b}', '\u{9c}']) {
                Some(end) if body[end..].starts_with("\u{1b}\\") => &body[end + 2..],
                Some(end) if body[end..].starts_with('\u{1b}') => &body[end..],
                Some(end) => body[end..].strip_prefix(['\u{7}', '\u{9c}']).unwrap_or(""),
                None => "",
            }
        }
        // Two-part sequences, such as a choice of character set.
        Some(' '..='/') => {
            let rest = chars.as_str().trim_start_matches(|c| (' '..='/').contains(&c));
            let mut rest = rest.chars();
            rest.next();
            rest.as_str()
        }
        Some('0'..='~') => chars.as_str(),
        _ => rest,
    }
}

/// Skips `parameters, final` of a control sequence, applying it when it is SGR.
fn after_sequence<'a>(text: &'a str, style: &mut Style) -> &'a str {
    let Some(end) = text.find(|c: char| !(' '..='?').contains(&c)) else { return "" };
    let (parameters, tail) = text.split_at(end);
    let mut tail = tail.chars();
    match tail.next() {
        Some('m') if !parameters.starts_with(['?', '>', '<', '=']) => style.apply(parameters),
        Some('@'..='~') => {}
        // Broken off: what follows is text again.
        _ => return &text[end..],
    }
    tail.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &str) -> Vec<(String, String)> {
        runs(line).into_iter().map(|run| (run.style.class(), run.text)).collect()
    }

    fn pair(class: &str, text: &str) -> (String, String) {
        (class.to_owned(), text.to_owned())
    }

    #[test]
    fn colours_and_weights_become_runs() {
        assert_eq!(seen("a\u{1b}[1;31mb\u{1b}[0mc"), [pair("", "a"), pair("f1 bo", "b"), pair("", "c")]);
        assert_eq!(seen("\u{1b}[2;3;4;9mx\u{1b}[22;23;24;29my"), [pair("di it un st", "x"), pair("", "y")]);
        assert_eq!(seen("\u{1b}[97;104mx\u{1b}[39;49my"), [pair("f15 on b12", "x"), pair("", "y")]);
        assert_eq!(seen("\u{1b}[7mx\u{1b}[31my"), [pair("inv", "x"), pair("wt on b1", "y")]);
        assert_eq!(seen("\u{1b}[7;41mx"), [pair("f1 inv", "x")]);
        assert_eq!(seen("\u{1b}[32mx\u{1b}[my"), [pair("f2", "x"), pair("", "y")]);
    }

    #[test]
    fn text_without_a_colour_of_its_own_is_black_or_white_on_a_ground() {
        assert_eq!(seen("\u{1b}[1;44mx\u{1b}[42my"), [pair("wt on b4 bo", "x"), pair("bk on b2 bo", "y")]);
        assert_eq!(seen("\u{1b}[48;5;231mx\u{1b}[48;5;19my"), [pair("bk on bx", "x"), pair("wt on bx", "y")]);
        assert_eq!(
            seen("\u{1b}[48;2;117;117;117mx\u{1b}[48;2;118;118;118my"),
            [pair("wt on bx", "x"), pair("bk on bx", "y")]
        );
    }

    #[test]
    fn many_colours_become_properties() {
        let of = |line: &str| runs(line)[0].style.properties();
        assert_eq!(of("\u{1b}[38;5;208mx").as_deref(), Some("--f:rgb(255 135 0);"));
        assert_eq!(of("\u{1b}[48;5;240mx").as_deref(), Some("--b:rgb(88 88 88);"));
        assert_eq!(of("\u{1b}[38;2;1;2;3mx").as_deref(), Some("--f:rgb(1 2 3);"));
        assert_eq!(of("\u{1b}[38:2::1:2:3mx").as_deref(), Some("--f:rgb(1 2 3);"));
        assert_eq!(of("\u{1b}[38;5;9mx"), None);
    }

    #[test]
    fn every_other_sequence_is_dropped_and_text_stays_text() {
        assert_eq!(seen("a\u{1b}[2K\u{1b}[1Gb\u{1b}[?25lc"), [pair("", "abc")]);
        assert_eq!(seen("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{7}."), [pair("", "link.")]);
        assert_eq!(seen("\u{1b}(Ba\u{8}\u{7}\tb\u{1b}Mc"), [pair("", "a\tbc")]);
        assert_eq!(seen("<b onclick=x>&amp;"), [pair("", "<b onclick=x>&amp;")]);
    }

    #[test]
    fn broken_sequences_end_quietly() {
        for line in [
            "\u{1b}",
            "\u{1b}[",
            "\u{1b}[38;5m",
            "\u{1b}]0;title",
            "\u{1b}[1",
            "\u{1b}[38;2;1m",
            "\u{1b}[é",
            "\u{9b}",
            "\u{1b}(",
        ] {
            let _ = runs(line);
        }
        assert_eq!(seen("\u{1b}[1é"), [pair("", "é")]);
        assert_eq!(seen("\u{1b}[99999999999mx"), [pair("", "x")]);
    }
}
