//! One row of a log. Text from builds becomes text nodes here, and nothing else.

use leptos::{either::EitherOf3, prelude::*};
use wire::log::{Marker, marker};

use super::{
    connection::grouped,
    log_found::{Piece, pieces},
};
use crate::live::log::Line;

/// A longer line is cut on screen, and says so; bytes of UTF-8. The raw log has it whole.
pub const SHOWN_BYTES_MAX: usize = 4_096;

/// A row: what it shows, and by what it is told apart.
#[derive(Clone, PartialEq)]
pub struct Row {
    /// Its number, from 0.
    pub n: u64,
    /// What was printed; none while it is not held.
    pub line: Option<Line>,
    /// How it is marked.
    pub marks: Marks,
}

/// How a row is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks {
    /// It was seen and never recorded.
    pub lost: bool,
    /// A link, or the person, points at it.
    pub marked: bool,
    /// The search, by its number, whose text stands in it.
    pub hit: Option<u64>,
    /// The search stands at it.
    pub current: bool,
    /// Its time is shown.
    pub timed: bool,
    /// So many rows are folded away behind it; none where nothing can be folded.
    pub hides: Option<u64>,
}

impl Row {
    fn class(&self) -> String {
        let Marks { lost, marked, hit, current, .. } = self.marks;
        let words = [
            (self.line.is_none(), " unread"),
            (self.line.as_ref().is_some_and(|line| line.err), " err"),
            (self.line.as_ref().is_some_and(|line| line.note), " note"),
            (lost || self.line.as_ref().is_some_and(|line| line.missing), " lost"),
            (self.line.as_ref().is_some_and(|line| line.open), " open"),
            (marked, " marked"),
            (hit.is_some(), " hit"),
            (current, " current"),
        ];
        words.iter().filter(|(is, _)| *is).fold("row".to_owned(), |class, (_, word)| class + word)
    }
}

/// A row with its number; a placeholder of the same height while its line is not held. In the line of a hit, what is
/// `wanted` is marked.
pub fn log_row(row: Row, wanted: &str) -> impl IntoView + use<> {
    let (class, n) = (row.class(), row.n);
    let wanted = if row.marks.hit.is_some() { wanted } else { "" };
    let is_missing = row.line.as_ref().is_some_and(|line| line.missing);
    let title = row.line.as_ref().and_then(|line| match (line.note, line.err) {
        (true, _) => Some("Said by the executor: no step printed it"),
        (_, true) => Some("Printed to standard error"),
        _ => None,
    });
    let at = row.line.as_ref().filter(|_| row.marks.timed && !is_missing).map(|line| super::time::of_line(line.t));
    let at = at.map(|(text, exact)| view! { <time class="at" title=exact>{text}</time> });
    let head = row
        .line
        .as_ref()
        .and_then(|line| marker(&line.text))
        .map(|marker| marked_group(n, marker, wanted, row.marks.hides));
    let text = row.line.filter(|_| head.is_none()).map(|line| {
        let cut = line.text.floor_char_boundary(SHOWN_BYTES_MAX);
        let hidden = line.text.len() - cut;
        let more = (hidden > 0).then(|| {
            let told = format!(" … {} more bytes in the raw log", grouped(hidden as u64));
            view! { <span class="more">{told}</span> }
        });
        let split = line
            .split
            .then(|| view! { <span class="more" title="The line goes on below: it was too long for one">"↩"</span> });
        (shown(&line.text[..cut], wanted), more, split)
    });
    view! {
        <div class=class data-n=n.to_string() title=title>
            <a class="n" href=format!("#L{}", n + 1) data-n=(n + 1).to_string() tabindex="-1" aria-hidden="true"></a>
            {at}
            <span class="t">{is_missing.then(|| view! { <span class="more">"never recorded"</span> })}{head}{text}</span>
        </div>
    }
}

/// The head of a group, which folds it; or its end.
fn marked_group(n: u64, marker: Marker<'_>, wanted: &str, hides: Option<u64>) -> AnyView {
    match marker {
        Marker::Begin(title) => {
            let title = titled(&title[..title.floor_char_boundary(SHOWN_BYTES_MAX)], wanted);
            let title = view! { <span class="group">{title}</span> };
            let Some(hides) = hides else { return title.into_any() };
            let told = (hides > 0).then(|| format!(" {} lines", grouped(hides)));
            view! {
                <button type="button" class="fold" data-n=n.to_string() aria-expanded=(hides == 0).to_string()>
                    {title}
                    <span class="more">{told}</span>
                </button>
            }
            .into_any()
        }
        Marker::End => view! { <span class="more">"end of the group"</span> }.into_any(),
    }
}

fn shown(text: &str, wanted: &str) -> Vec<impl IntoView + use<>> {
    let piece = |Piece { run, found, link }: Piece| {
        if run.style.is_plain() && !found && link.is_none() {
            return EitherOf3::A(run.text);
        }
        let mut class = run.style.class();
        if found {
            class.push_str(" wanted");
        }
        let style = run.style.properties();
        match link {
            None => EitherOf3::B(view! { <span class=class style=style>{run.text}</span> }),
            Some(link) => EitherOf3::C(view! {
                <a class=class style=style href=link target="_blank" rel="noopener noreferrer nofollow">{run.text}</a>
            }),
        }
    };
    pieces(text, wanted).into_iter().map(piece).collect()
}

/// As [`shown`], within something that is pressed itself.
fn titled(text: &str, wanted: &str) -> Vec<impl IntoView + use<>> {
    let piece = |Piece { run, found, .. }: Piece| {
        let class = run.style.class() + if found { " wanted" } else { "" };
        view! { <span class=class style=run.style.properties()>{run.text}</span> }
    };
    pieces(text, wanted).into_iter().map(piece).collect()
}
