//! A range of log lines as a link names it: `#L120-L140`, counted from 1 as on screen. Pure.

/// Lines `first..=last`, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRange {
    /// The first line.
    pub first: u64,
    /// The last one, which belongs to it.
    pub last: u64,
}

impl LineRange {
    /// From one line to another, whichever comes first.
    #[must_use]
    pub fn between(one: u64, other: u64) -> Self {
        Self { first: one.min(other), last: one.max(other) }
    }

    /// Reads a fragment, with or without its `#`; none when it names no lines.
    #[must_use]
    pub fn parse(fragment: &str) -> Option<Self> {
        let line = |text: &str| text.strip_prefix('L')?.parse::<u64>().ok()?.checked_sub(1);
        let text = fragment.strip_prefix('#').unwrap_or(fragment);
        match text.split_once('-') {
            Some((first, last)) => Some(Self::between(line(first)?, line(last)?)),
            None => line(text).map(|n| Self { first: n, last: n }),
        }
    }

    /// Whether a line belongs to it.
    #[must_use]
    pub fn contains(self, n: u64) -> bool {
        (self.first..=self.last).contains(&n)
    }

    /// How many lines it has.
    #[must_use]
    pub fn lines(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// The fragment that names it, with its `#`.
    #[must_use]
    pub fn fragment(self) -> String {
        let (first, last) = (self.first.saturating_add(1), self.last.saturating_add(1));
        if first == last { format!("#L{first}") } else { format!("#L{first}-L{last}") }
    }
}

#[cfg(test)]
mod tests {
    use super::LineRange;

    #[test]
    fn a_link_to_lines_is_read_and_written_the_same() {
        for fragment in ["#L1", "#L120-L140", "#L1000000"] {
            assert_eq!(LineRange::parse(fragment).map(LineRange::fragment).as_deref(), Some(fragment));
        }
        assert_eq!(LineRange::parse("L9-L3"), Some(LineRange { first: 2, last: 8 }));
        for wrong in ["", "#", "#L0", "#L", "#main", "#L1-", "#L1-2", "#L-1", "#L99999999999999999999"] {
            assert_eq!(LineRange::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn both_ends_belong_to_it() {
        let range = LineRange::between(5, 3);
        assert_eq!((range.lines(), range.contains(3), range.contains(5), range.contains(6)), (3, true, true, false));
    }
}
