//! A dead letter: when, what, where from, why, its body when that is asked for, and what a person decides.

use leptos::{prelude::*, task::spawn_local};
use wire::{
    Problem,
    authority::Role,
    dead_letter::{Cause, DeadLetterBody, DeadLetterOrigin, DeadLetterState, DeadLetterView},
};

use super::{
    ask_first::AskFirst, at_once::AtOnce, connection::grouped, deed::Deed, own::Own, problem_note::ProblemNote,
    time::Time,
};
use crate::rest;

/// Characters of a body that are shown: some screens of them.
const SHOWN_MAX: usize = 64 * 1024;

fn title(cause: Cause) -> &'static str {
    match cause {
        Cause::NotJson => "Not JSON",
        Cause::UnknownVersion => "Unknown version",
        Cause::Refused => "Refused",
        Cause::NeverSettled => "Never settled",
        Cause::JobLost => "Job given up",
    }
}

/// Where a message came from, for people.
fn place(origin: Option<&DeadLetterOrigin>) -> String {
    match origin.map(|origin| (origin.exchange.as_str(), origin.key.as_str())) {
        None => "from somewhere unknown".to_owned(),
        Some(("", "events")) => "from the stream events".to_owned(),
        Some(("", queue)) => format!("from the queue {queue}"),
        Some((exchange, key)) => format!("from {exchange}, key {key}"),
    }
}

/// The row.
#[component]
pub fn DeadLetterRow(
    /// The letter.
    letter: DeadLetterView,
    /// Told when it was decided on.
    on_done: Callback<()>,
) -> impl IntoView {
    let is_job = letter.cause == Cause::JobLost;
    let times = (letter.deaths > 1).then(|| format!("{} times", letter.deaths));
    let build = letter.build.map(|build| {
        let address = letter.job.map_or_else(|| format!("/builds/{build}"), |job| format!("/builds/{build}?job={job}"));
        let name = match (&letter.pipeline, letter.number) {
            (Some(pipeline), Some(number)) => format!("{pipeline} #{number}"),
            _ => "its build".to_owned(),
        };
        AtOnce(view! { <a href=address>{name}</a> })
    });
    let origin = (!is_job).then(|| place(letter.origin.as_ref()));
    let settled = letter.settled_at.map(|at| {
        let word = if letter.state == DeadLetterState::Retried { "Retried " } else { "Discarded " };
        AtOnce(view! { <p class="settled muted">{word}<Time at/>{letter.settled_by.clone().map(|by| format!(" by {by}"))}</p> })
    });
    let message = (!is_job).then(|| message(&letter));
    let decision = (letter.state == DeadLetterState::Open).then(|| decision(&letter, on_done));
    AtOnce(view! {
        <li class="letter">
            <div class="when"><Time at=letter.died_at/> <span class="muted">{times}</span></div>
            <div class="what"><span class="name">{title(letter.cause)}</span> <span class="muted">{origin}</span> {build}</div>
            <p class="reason">{letter.reason.clone()}</p>
            {settled}
            {message}
            {decision}
        </li>
    })
}

/// The message, opened on demand: its body is read then.
fn message(letter: &DeadLetterView) -> impl IntoView + use<> {
    let id = letter.id;
    let body = RwSignal::new(None::<Result<DeadLetterBody, Problem>>);
    let asked = StoredValue::new(false);
    let read = move |_| {
        if asked.get_value() {
            return;
        }
        asked.set_value(true);
        spawn_local(async move {
            let answer = rest::dead_letter(id).await;
            // One that could not be read is asked for again the next time.
            let _ = asked.try_set_value(answer.is_ok());
            // The person may have left the page meanwhile.
            let _ = body.try_set(Some(answer));
        });
    };
    let shown = move || {
        body.get().map(|body| match body {
            Ok(body) => {
                let (text, note) = shown(&body);
                AtOnce(view! {
                    <pre class="code" tabindex="0" role="region" aria-label="Body">{text}</pre>
                    <p class="note">{note}</p>
                })
                .into_any()
            }
            Err(problem) => view! { <ProblemNote problem/> }.into_any(),
        })
    };
    let summary = format!("Message, {} {}", grouped(letter.size), if letter.size == 1 { "byte" } else { "bytes" });
    let correlation = letter.correlation_id.clone().map(|id| format!(", correlation {id}"));
    view! {
        <details class="message" on:toggle=read>
            <summary>{summary}</summary>
            <p class="muted">
                {format!("Id {}", letter.message_id)} {correlation} ", first taken " <Time at=letter.first_at/> ". "
                <a href=format!("/api/v1/dead-letters/{id}") rel="external">"As JSON"</a>
            </p>
            {shown}
        </details>
    }
}

/// The two buttons. Discarding asks first, in place.
fn decision(letter: &DeadLetterView, on_done: Callback<()>) -> impl IntoView + use<> {
    let id = letter.id;
    let deed = Deed::new();
    let run = move |retry: bool| {
        let asked =
            async move { if retry { rest::retry_dead_letter(id).await } else { rest::discard_dead_letter(id).await } };
        deed.then(asked, on_done);
    };
    let own = Own::get();
    let of = format!("{}, {}", title(letter.cause), letter.message_id);
    let (retry_label, discard_label) = (format!("Retry: {of}"), format!("Discard: {of}"));
    let not = letter.not_retriable.clone();
    let may_retry = not.is_none();
    let does = if letter.cause == Cause::JobLost {
        "Run what failed of its build again"
    } else {
        "Hand it in again where it came from"
    };
    view! {
        <div class="decision needs-js" class:absent=move || !own.everywhere(Role::Admin)>
            <button
                class="small"
                type="button"
                aria-label=retry_label
                title=does
                disabled=move || deed.busy.get() || !may_retry
                on:click=move |_| run(true)
            >
                "Retry"
            </button>
            <AskFirst
                label="Discard"
                spoken=Some(discard_label)
                question="Discard it?"
                yes="Discard it"
                no="Keep it"
                small=true
                busy=deed.busy
                run=Callback::new(move |()| run(false))
            />
            <span class="muted">{not}</span>
            {deed.note()}
        </div>
    }
}

/// A body as it is shown, and what is not shown of it.
fn shown(body: &DeadLetterBody) -> (String, Option<String>) {
    let (text, is_text) = match (&body.body, &body.body_base64) {
        (Some(text), _) => (pretty(text), true),
        (None, Some(base64)) => (base64.clone(), false),
        (None, None) => return (String::new(), None),
    };
    let cut = text.char_indices().nth(SHOWN_MAX).map(|(at, _)| at);
    let note = match (cut, body.whole, is_text) {
        (_, false, _) => Some("Only its beginning was kept.".to_owned()),
        (Some(_), ..) => Some("Its beginning: the rest is in the JSON.".to_owned()),
        (None, true, false) => Some("It is no text: this is base64.".to_owned()),
        (None, true, true) => None,
    };
    (cut.map_or_else(|| text.clone(), |at| text[..at].to_owned()), note)
}

/// JSON on lines of its own, every value as it was written; what is no JSON stays as it is.
fn pretty(text: &str) -> String {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return text.to_owned();
    }
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0_usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let mut letters = text.chars().filter(|letter| !letter.is_control() || *letter == '\n').peekable();
    while let Some(letter) = letters.next() {
        if in_string {
            out.push(letter);
            in_string = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            continue;
        }
        match letter {
            '{' | '[' => {
                out.push(letter);
                while letters.next_if(|next| next.is_whitespace()).is_some() {}
                if letters.peek().is_some_and(|next| matches!(next, '}' | ']')) {
                    out.extend(letters.next());
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            letter if letter.is_whitespace() => {}
            '"' => {
                in_string = true;
                out.push(letter);
            }
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_and_every_value_stays_as_it_was_written() {
        let text = r#"{"b":1.0e0,"a":[ ],"s":"x: {\"\\\",[]}","n":{"deep":[1,  2]},"big":12345678901234567890123}"#;
        let laid_out = "{\n  \"b\": 1.0e0,\n  \"a\": [],\n  \"s\": \"x: {\\\"\\\\\\\",[]}\",\n  \"n\": {\n    \"deep\": [\n      1,\n      2\n    ]\n  },\n  \"big\": 12345678901234567890123\n}";
        assert_eq!(pretty(text), laid_out);
        assert_eq!(pretty(laid_out), laid_out);
        for text in ["nonsense {", "", "[1,"] {
            assert_eq!(pretty(text), text);
        }
    }

    #[test]
    fn a_place_is_told_in_words() {
        let origin = |exchange: &str, key: &str| Some(DeadLetterOrigin { exchange: exchange.into(), key: key.into() });
        assert_eq!(place(origin("", "control").as_ref()), "from the queue control");
        assert_eq!(place(origin("", "events").as_ref()), "from the stream events");
        assert_eq!(place(origin("utils", "north-0").as_ref()), "from utils, key north-0");
        assert_eq!(place(None), "from somewhere unknown");
    }
}
