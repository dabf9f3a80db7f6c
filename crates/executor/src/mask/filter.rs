//! Where a form may begin, found fast: by pairs of bytes that stand at its beginning. It finds too much, never too little.
//!
//! No form is shorter than four bytes. The pair at the third and fourth byte of a place is looked up first: where no form
//! has it anywhere in its first four bytes, none begins at this place or the next two (as Wu and Manber's algorithm does it).

use std::collections::{HashMap, HashSet};

use super::{class::Class, forms::Forms, states::State};

/// Bytes at the beginning of a form that are known here.
pub(super) const DEPTH: usize = 4;

/// A set of pairs of bytes.
struct Pairs(Box<[u64; 1024]>);

impl Pairs {
    fn new() -> Self {
        Self(Box::new([0; 1024]))
    }

    fn add(&mut self, first: Class, second: Class) {
        for a in first.bytes() {
            for b in second.bytes() {
                let pair = usize::from(u16::from_be_bytes([a, b]));
                self.0[pair >> 6] |= 1 << (pair & 63);
            }
        }
    }

    #[inline]
    fn has(&self, a: u8, b: u8) -> bool {
        let pair = usize::from(u16::from_be_bytes([a, b]));
        self.0[pair >> 6] >> (pair & 63) & 1 == 1
    }
}

/// The beginnings of all forms.
pub(super) struct Filter {
    first: Class,
    /// Bytes 1 and 2, and bytes 3 and 4.
    front: Pairs,
    back: Pairs,
    /// Any two neighbours of the first four.
    any: Pairs,
    /// The forms that may begin with a byte.
    starts: Vec<Vec<State>>,
    /// Where the first four bytes of forms lead.
    begun: HashMap<[u8; DEPTH], Vec<State>>,
}

impl Filter {
    pub(super) fn new(forms: &Forms) -> Self {
        let (front, back, any) = (Pairs::new(), Pairs::new(), Pairs::new());
        let (first, starts, begun) = (Class::of(b""), vec![Vec::new(); 256], HashMap::new());
        let mut filter = Self { first, front, back, any, starts, begun };
        let mut ways = HashSet::new();
        for index in 0..forms.forms.len() {
            let start = State::start(index);
            let mut first = Class::of(b"");
            start.next(forms, &mut |class, _| first = first.or(class));
            filter.first = filter.first.or(first);
            first.bytes().for_each(|byte| filter.starts[usize::from(byte)].push(start));
            filter.descend(forms, start, &mut Vec::with_capacity(DEPTH), &mut ways);
        }
        for states in filter.begun.values_mut() {
            states.sort_unstable();
            states.dedup();
        }
        filter
    }

    /// Follows a form through its first bytes. `ways` are those of which all pairs are known.
    fn descend(&mut self, forms: &Forms, state: State, path: &mut Vec<Class>, ways: &mut HashSet<[Class; DEPTH]>) {
        if let [a, b, c, d] = path[..] {
            let is_new = ways.insert([a, b, c, d]);
            if is_new {
                self.front.add(a, b);
                self.back.add(c, d);
                [(a, b), (b, c), (c, d)].into_iter().for_each(|(one, two)| self.any.add(one, two));
            }
            let pairs = |one: Class, two: Class| one.bytes().flat_map(move |x| two.bytes().map(move |y| [x, y]));
            for [a, b] in pairs(a, b) {
                for [c, d] in pairs(c, d) {
                    self.begun.entry([a, b, c, d]).or_default().push(state);
                }
            }
            return;
        }
        let mut nexts = Vec::new();
        state.next(forms, &mut |class, next| nexts.push((class, next)));
        for (class, next) in nexts {
            path.push(class);
            self.descend(forms, next, path, ways);
            path.pop();
        }
    }

    /// The forms that may begin with this byte, nothing of them read.
    pub(super) fn starts(&self, byte: u8) -> &[State] {
        &self.starts[usize::from(byte)]
    }

    /// The forms that begin with these bytes, so much of them read.
    pub(super) fn begun(&self, bytes: &[u8]) -> &[State] {
        let key: Option<[u8; DEPTH]> = bytes.try_into().ok();
        key.and_then(|key| self.begun.get(&key)).map_or(&[], Vec::as_slice)
    }

    /// Whether a text of which nothing follows may hold a form.
    pub(super) fn may_hold(&self, text: &[u8]) -> bool {
        self.find_whole(text, 0).is_ok()
    }

    /// Whether a form may begin at `at`, as far as can be told from what is there.
    pub(super) fn may_begin(&self, bytes: &[u8], at: usize) -> bool {
        match bytes[at..] {
            [] => false,
            [a] => self.first.has(a),
            [a, b] | [a, b, _] => self.front.has(a, b),
            [a, b, c, d, ..] => self.front.has(a, b) && self.back.has(c, d),
        }
    }

    /// The first place from `at` on where a form may begin.
    pub(super) fn find(&self, bytes: &[u8], at: usize) -> Option<usize> {
        match self.find_whole(bytes, at) {
            Ok(found) => Some(found),
            Err(rest) => (rest.min(bytes.len())..bytes.len()).find(|at| self.may_begin(bytes, *at)),
        }
    }

    /// The same as far as there are bytes enough to tell; or where there are not.
    fn find_whole(&self, bytes: &[u8], mut at: usize) -> Result<usize, usize> {
        while let Some([a, b, c, d]) = bytes.get(at..at + DEPTH) {
            if !self.any.has(*c, *d) {
                at += 3;
            } else if self.front.has(*a, *b) && self.back.has(*c, *d) {
                return Ok(at);
            } else {
                at += 1;
            }
        }
        Err(at)
    }
}
