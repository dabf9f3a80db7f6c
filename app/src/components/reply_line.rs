//! How the result of a build is told to who asked for it, in one line, with a button to try again where that failed.

use leptos::{either::EitherOf3, prelude::*};
use wire::{
    BuildId, Timestamp,
    command::Query,
    reply::{ReplyKind, ReplyState, ReplyView, host_of},
};

use super::{deed::Deed, time::Time};
use crate::{live::keep_live, rest};

/// To whom, as the beginning of a sentence.
fn receiver(reply: &ReplyView) -> String {
    match reply.mode {
        ReplyKind::Callback => "Result".to_owned(),
        ReplyKind::Webhook => format!("Webhook to {}", host_of(&reply.address).unwrap_or(&reply.address)),
        ReplyKind::Queue => format!("Message to {}", reply.address),
    }
}

/// The sentence, and the time that ends it.
fn told(reply: &ReplyView) -> (String, Option<Timestamp>) {
    let to = receiver(reply);
    let times = if reply.attempts == 1 { "once".to_owned() } else { format!("{} times", reply.attempts) };
    let why = reply.last_error.as_deref().unwrap_or("no reason was told");
    match (reply.state, reply.mode) {
        (ReplyState::Waiting, ReplyKind::Callback) => (String::new(), None),
        (ReplyState::Waiting, _) => (format!("{to} follows when the build ends"), None),
        (ReplyState::Received, ReplyKind::Callback) => {
            (format!("{to} received by the browser that asked, "), reply.received_at)
        }
        (ReplyState::Due | ReplyState::Sent, _) if reply.last_error.is_some() => {
            (format!("{to} failed {times}: {why}; tried again at "), reply.next_at)
        }
        (ReplyState::Sent, _) => (format!("{to} sent to the browser that asked, which has not taken it yet"), None),
        (ReplyState::Due, _) => (format!("{to} is being sent"), None),
        (ReplyState::Delivered | ReplyState::Received, _) => (format!("{to} delivered, "), reply.delivered_at),
        (ReplyState::Stopped, _) => (format!("{to} failed {times}: {why}; not tried any more"), None),
    }
}

/// The line; nothing where nobody asked to be told.
#[component]
pub fn ReplyLine(
    /// The build.
    id: BuildId,
    /// Whether it may be told once more.
    #[prop(into)]
    may: Signal<bool>,
    /// As it was read with the page.
    reply: Option<ReplyView>,
) -> impl IntoView {
    let first = reply?;
    let replies = RwSignal::new(vec![first]);
    keep_live(Query::Reply { build: id }, replies);
    let deed = Deed::new();
    let run = move |_| deed.ask(rest::try_reply(id), move |fresh| replies.set(vec![fresh]));
    let has_failed =
        Memo::new(move |_| replies.with(|replies| replies.first().is_some_and(|reply| reply.last_error.is_some())));
    let line = move || {
        let Some((text, at)) = replies.with(|replies| replies.first().map(told)) else { return EitherOf3::A(()) };
        match at {
            None => EitherOf3::B(text),
            Some(at) => EitherOf3::C(view! { {text} <Time at/> }),
        }
    };
    Some(view! {
        <div class="reply muted">
            <span role="status">{line}</span>
            <Show when=move || may.get() && has_failed.get()>
                <button type="button" class="small needs-js" disabled=move || deed.busy.get() on:click=run>
                    "Try now"
                </button>
            </Show>
            {deed.note()}
        </div>
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(mode: ReplyKind, address: &str, state: ReplyState, attempts: u32, error: Option<&str>) -> ReplyView {
        let (address, last_error, at) = (address.to_owned(), error.map(str::to_owned), Some(Timestamp(1)));
        ReplyView { mode, address, state, attempts, last_error, next_at: at, delivered_at: at, received_at: at }
    }

    #[test]
    fn a_line_says_in_words_how_far_the_result_has_come() {
        let hook = "https://example.org:8443/hook";
        let webhook = |state, attempts, error| told(&reply(ReplyKind::Webhook, hook, state, attempts, error)).0;
        assert_eq!(webhook(ReplyState::Waiting, 0, None), "Webhook to example.org:8443 follows when the build ends");
        assert_eq!(webhook(ReplyState::Delivered, 1, None), "Webhook to example.org:8443 delivered, ");
        let refused = Some("connection refused");
        assert_eq!(
            webhook(ReplyState::Due, 3, refused),
            "Webhook to example.org:8443 failed 3 times: connection refused; tried again at "
        );
        assert_eq!(
            webhook(ReplyState::Stopped, 1, refused),
            "Webhook to example.org:8443 failed once: connection refused; not tried any more"
        );
        let callback = |state| told(&reply(ReplyKind::Callback, "id", state, 1, None)).0;
        assert_eq!(callback(ReplyState::Waiting), "");
        assert_eq!(callback(ReplyState::Received), "Result received by the browser that asked, ");
    }
}
