//! One row of a log. Text from builds becomes text nodes here, and nothing else.

use leptos::{either::Either, prelude::*};

use super::{ansi, connection::grouped};
use crate::live::log::Line;

/// A longer line is cut on screen, and says so; bytes of UTF-8. The raw log has it whole.
pub const SHOWN_BYTES_MAX: usize = 4_096;

/// A row with its number; a placeholder of the same height while its line is not held.
pub fn log_row(n: u64, line: Option<Line>, is_lost: bool) -> impl IntoView {
    let class = match (&line, is_lost) {
        (None, _) => "row absent",
        (_, true) => "row lost",
        (Some(line), _) if line.open => "row open",
        _ => "row",
    };
    let text = line.map(|line| {
        let cut = line.text.floor_char_boundary(SHOWN_BYTES_MAX);
        let hidden = line.text.len() - cut;
        let runs = ansi::runs(&line.text[..cut]);
        let more = (hidden > 0).then(|| {
            let told = format!(" … {} more bytes in the raw log", grouped(hidden as u64));
            view! { <span class="more">{told}</span> }
        });
        let split = line
            .split
            .then(|| view! { <span class="more" title="The line goes on below: it was too long for one">"↩"</span> });
        (runs.into_iter().map(run).collect::<Vec<_>>(), more, split)
    });
    view! {
        <div class=class data-n=n.to_string()>
            <span class="n" data-n=(n + 1).to_string()></span>
            <span class="t">{text}</span>
        </div>
    }
}

fn run(run: ansi::Run) -> impl IntoView {
    if run.style.is_plain() {
        Either::Left(run.text)
    } else {
        Either::Right(view! { <span class=run.style.class() style=run.style.properties()>{run.text}</span> })
    }
}
