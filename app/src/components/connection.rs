//! The pill that tells how the page stands to the server.

use leptos::prelude::*;
pub use wire::size::grouped;

use super::clock::Clock;
use crate::{
    browser,
    live::{Connection, Live, Recovered},
};

/// Always there, always true. Its text changes for screen readers only when the state does, not each second.
#[component]
pub fn ConnectionPill() -> impl IntoView {
    let clock = Clock::get();
    let connection = move || use_context::<Live>().map_or(Connection::Connecting, |live| live.connection.get());
    let connection = Memo::new(move |_| connection());
    // What was missed while the page was not live is told late, which is no delay of now.
    Effect::new(move |_| {
        if connection.get() == Connection::Live {
            clock.listens();
        }
    });
    let refusal = move || use_context::<Live>().and_then(|live| live.refusal.get());
    let refusal = Memo::new(move |_| refusal());
    let title = move || {
        let refusal = refusal.get().filter(|_| connection.get() == Connection::Partial);
        refusal.map(|refusal| refusal.detail)
    };
    let word = move || match connection.get() {
        Connection::Connecting => "connecting".to_owned(),
        Connection::Live => "live".to_owned(),
        Connection::Reconnecting { .. } => "reconnecting".to_owned(),
        Connection::Resuming => "resuming".to_owned(),
        Connection::Resumed(recovered) => resumed(recovered),
        Connection::Partial => match refusal.get() {
            Some(refusal) => format!("not live ({})", refusal.title),
            None => "not live".to_owned(),
        },
        Connection::Offline => "offline".to_owned(),
        Connection::Refused { code: 4500 } => "signed out".to_owned(),
        Connection::Refused { code: 4502 } => "reload: new version".to_owned(),
        Connection::Refused { code } => format!("not live (refused, {code})"),
    };
    let class = move || match connection.get() {
        Connection::Connecting | Connection::Resuming => "pill waiting",
        Connection::Live => "pill live",
        Connection::Resumed(_) => "pill resumed",
        Connection::Reconnecting { .. } | Connection::Partial => "pill away",
        Connection::Offline | Connection::Refused { .. } => "pill off",
    };
    let seconds = Memo::new(move |_| {
        let Connection::Reconnecting { since } = connection.get() else { return 0 };
        // Read the clock's tick, then the person's own clock: `since` is theirs.
        let _ = clock.now();
        (browser::now_millis() as i64).saturating_sub(since) / 1_000
    });
    view! {
        <span class=class title=title>
            <span class="dot" aria-hidden="true"></span>
            <span role="status" aria-live="polite">{word}</span>
            <span class="delay" aria-hidden="true" title="From the executor to this screen">
                {move || clock.delay().filter(|_| connection.get() == Connection::Live).map(|delay| format!("{delay} ms"))}
            </span>
            <span class="since" aria-hidden="true">
                {move || (seconds.get() > 0).then(|| format!("{} s", seconds.get()))}
            </span>
        </span>
    }
}

fn resumed(Recovered { lines, from_record }: Recovered) -> String {
    let source = if from_record { "the record" } else { "replay" };
    match lines {
        0 => "resumed, nothing missed".to_owned(),
        1 => format!("resumed, 1 line from {source}"),
        lines => format!("resumed, {} lines from {source}", grouped(lines)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Recovered, resumed};

    #[test]
    fn what_was_recovered_is_told_with_where_it_came_from() {
        let told = |lines, from_record| resumed(Recovered { lines, from_record });
        assert_eq!(told(0, true), "resumed, nothing missed");
        assert_eq!(told(1, false), "resumed, 1 line from replay");
        assert_eq!(told(1_200, true), "resumed, 1,200 lines from the record");
    }
}
