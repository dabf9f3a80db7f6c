//! The forms under which a secret is known: what each of its characters may look like, in order.
//!
//! A form is a row of units. A text has a unit for each character, with all the ways in which programs write it: as it is,
//! percent-encoded, escaped for JSON, a shell, HTML or a log. They may be mixed at will. Base64 has a unit for each of its
//! digits, hex one for each byte. Between units something may stand that is not the secret's: see [`super::states`].

use std::collections::{HashMap, HashSet};

use wire::secret;

use super::class::Class;

/// After so many units a form is taken for the secret, whatever follows: so a long one needs no long wait, and one that was
/// cut short is known too. What follows is masked as far as it goes on.
const HEAD_UNITS: usize = 32;
/// A line of a secret is known by itself if it has so many bytes.
const LINE_BYTES_MIN: usize = 4;
/// Base64 may be wrapped behind its third digit at the earliest; for what is wrapped before, the rest is known by itself.
pub(super) const UNWRAPPED_DIGITS: usize = 3;
/// Fewer digits of base64 are nobody's secret.
const DIGITS_MIN: usize = 4;

/// What may stand between the units of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Gap {
    /// Colours and the like.
    Text,
    /// The same, and line breaks.
    Base64,
    /// The same, and separators.
    Hex,
}

/// One form of one secret.
#[derive(Debug)]
pub(super) struct Form {
    /// Indexes into [`Forms::units`].
    pub(super) units: Box<[u32]>,
    pub(super) gap: Gap,
    /// From so many units on it counts.
    pub(super) head: usize,
}

/// All forms of all secrets.
#[derive(Debug, Default)]
pub(super) struct Forms {
    pub(super) forms: Vec<Form>,
    /// Indexes into `ways`: what a unit may look like.
    pub(super) units: Vec<Vec<u32>>,
    pub(super) ways: Vec<Box<[Class]>>,
    known: HashMap<Kind, u32>,
    /// The forms that are there.
    added: HashSet<(Gap, Box<[u32]>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    Character(char),
    /// One of several digits of base64, as a set of their values.
    Digit(u64),
    Hex(u8),
}

impl Forms {
    /// Adds what a value may look like: its core ([`secret::core`]) and, where that has other line ends, the value as steps
    /// get it. In base64 and hex each of its bytes counts, so that the one is not known by the other.
    pub(super) fn add(&mut self, value: &str) {
        let (core, whole) = (secret::core(value), value.trim());
        self.add_text(&core);
        if core.contains('\n') {
            let lines = core.lines().map(str::trim).filter(|line| line.len() >= LINE_BYTES_MIN);
            lines.for_each(|line| self.add_text(line));
        }
        self.add_bytes(core.as_bytes());
        if whole != core {
            self.add_text(whole);
            self.add_bytes(whole.as_bytes());
        }
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        for alignment in 0..3 {
            let digits = base64_digits(bytes, alignment);
            for from in 0..UNWRAPPED_DIGITS {
                if digits.len() >= from + DIGITS_MIN {
                    let units = digits[from..].iter().map(|digit| self.unit(Kind::Digit(*digit))).collect();
                    self.push(units, Gap::Base64);
                }
            }
        }
        let units = bytes.iter().map(|byte| self.unit(Kind::Hex(*byte))).collect();
        self.push(units, Gap::Hex);
    }

    fn add_text(&mut self, text: &str) {
        let units = text.chars().map(|character| self.unit(Kind::Character(character))).collect();
        self.push(units, Gap::Text);
    }

    fn push(&mut self, units: Box<[u32]>, gap: Gap) {
        if self.added.insert((gap, units.clone())) {
            let head = units.len().min(HEAD_UNITS);
            self.forms.push(Form { units, gap, head });
        }
    }

    fn unit(&mut self, kind: Kind) -> u32 {
        if let Some(known) = self.known.get(&kind) {
            return *known;
        }
        let mut ways = match kind {
            Kind::Character(character) => ways_of_character(character),
            Kind::Digit(digits) => ways_of_digit(digits),
            Kind::Hex(byte) => vec![hex(u32::from(byte), 2)],
        };
        ways.sort_by_key(Vec::len);
        let mut unit: Vec<u32> = Vec::new();
        for way in ways {
            if unit.iter().all(|known| self.ways[*known as usize][..] != way[..]) {
                unit.push(number(self.ways.len()));
                self.ways.push(way.into());
            }
        }
        let index = number(self.units.len());
        self.units.push(unit);
        self.known.insert(kind, index);
        index
    }
}

pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn plain(text: &str) -> Vec<Class> {
    text.bytes().map(|byte| Class::of(&[byte])).collect()
}

/// So many hexadecimal digits, each in either case.
fn hex(value: u32, digits: usize) -> Vec<Class> {
    format!("{value:0digits$x}").bytes().map(Class::either_case).collect()
}

/// `prefix` and the hexadecimal digits of each byte.
fn each_hex(bytes: &[u8], prefix: &str) -> Vec<Class> {
    bytes.iter().flat_map(|byte| [plain(prefix), hex(u32::from(*byte), 2)].concat()).collect()
}

/// The letter of an escape such as `\n`.
fn escape_of(character: char) -> Option<char> {
    Some(match character {
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\u{b}' => 'v',
        '\u{7}' => 'a',
        '\u{1b}' => 'e',
        _ => return None,
    })
}

fn ways_of_character(character: char) -> Vec<Vec<Class>> {
    let mut buffer = [0; 4];
    let text = character.encode_utf8(&mut buffer);
    let bytes = text.as_bytes();
    let mut ways = vec![
        plain(text),
        each_hex(bytes, "%"),
        each_hex(bytes, "%25"),
        each_hex(bytes, r"\x"),
        each_hex(bytes, r"\\x"),
        bytes.iter().flat_map(|byte| plain(&format!(r"\{byte:03o}"))).collect(),
    ];
    for escape in [r"\u", r"\\u"] {
        let units = character.encode_utf16(&mut [0; 2]).to_vec();
        ways.push(units.iter().flat_map(|unit| [plain(escape), hex(u32::from(*unit), 4)].concat()).collect());
        // As Rust writes it.
        ways.push([plain(escape), plain("{"), hex(u32::from(character), 1), plain("}")].concat());
    }
    // Decimal and hexadecimal references of HTML and XML.
    if !character.is_ascii_alphanumeric() {
        let code = u32::from(character);
        ways.push(plain(&format!("&#{code};")));
        ways.push([plain("&#"), vec![Class::either_case(b'x')], hex(code, 1), plain(";")].concat());
        ways.push([plain("&#"), vec![Class::either_case(b'x')], hex(code, 2), plain(";")].concat());
    }
    if character.is_ascii_punctuation() || character == ' ' {
        ways.push(plain(&format!(r"\{character}")));
    }
    if let Some(letter) = escape_of(character) {
        ways.extend([format!(r"\{letter}"), format!(r"\\{letter}")].iter().map(|text| plain(text)));
    }
    let others: &[&str] = match character {
        // What a shell makes of it when nobody quoted it, and what other systems end a line with.
        '\n' => &[" ", "\r\n", r"\r\n", r"\\r\\n", "%0D%0A", "%0d%0a"],
        ' ' => &["+", "&nbsp;"],
        '\'' => &[r"'\''", r#"'"'"'"#, "''", "&apos;"],
        '"' => &[r#"\\""#, r#"\\\""#, r#"'"'"#, r#""""#, "&quot;"],
        '\\' => &[r"\\\\"],
        '/' => &[r"\\/", r"\\\/"],
        '&' => &["&amp;"],
        '<' => &["&lt;"],
        '>' => &["&gt;"],
        '$' => &["$$"],
        '%' => &["%%"],
        _ => &[],
    };
    ways.extend(others.iter().map(|text| plain(text)));
    ways
}

const BASE64: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The base64 digits that hold a part of `bytes`, when `alignment` bytes of something else stand before them: each as the
/// set of values that it may have, since the first and the last one hold bits of their neighbours.
fn base64_digits(bytes: &[u8], alignment: usize) -> Vec<u64> {
    let (first, end) = (alignment * 8, (alignment + bytes.len()) * 8);
    // None is any bit.
    let bit = |at: usize| (first..end).contains(&at).then(|| bytes[at / 8 - alignment] >> (7 - at % 8) & 1 == 1);
    let digit = |n: usize| {
        let fits = |value: &u64| {
            (0..6).all(|place| bit(n * 6 + place).is_none_or(|wanted| (value >> (5 - place) & 1 == 1) == wanted))
        };
        (0..64_u64).filter(fits).fold(0, |set, value| set | 1 << value)
    };
    (first / 6..end.div_ceil(6)).map(digit).collect()
}

/// Both alphabets, and what is left of `/` and `+` in URLs and JSON.
fn ways_of_digit(values: u64) -> Vec<Vec<Class>> {
    let letters: Vec<u8> =
        (0..62_u8).filter(|value| values >> value & 1 == 1).map(|v| BASE64[usize::from(v)]).collect();
    let (has_plus, has_slash) = (values >> 62 & 1 == 1, values >> 63 == 1);
    let mut single = Class::of(&letters);
    let mut ways = Vec::new();
    if has_plus {
        single = single.or(Class::of(b"+- "));
        ways.extend([each_hex(b"+", "%"), each_hex(b"+", r"\u00")]);
    }
    if has_slash {
        single = single.or(Class::of(b"/_"));
        ways.extend([each_hex(b"/", "%"), each_hex(b"/", r"\u00"), plain(r"\/")]);
    }
    ways.push(vec![single]);
    ways
}
