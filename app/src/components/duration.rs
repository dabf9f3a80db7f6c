//! How long something took, or has been taking.

use leptos::prelude::*;
use wire::Timestamp;

use super::{clock::Clock, derived::derived};

/// As people say it: `85 ms`, `4.2 s`, `1 m 04 s`, `2 h 05 m`. While it counts, milliseconds would only flicker.
#[must_use]
pub fn text(micros: u64, counting: bool) -> String {
    let (millis, seconds) = (micros / 1_000, micros / 1_000_000);
    match seconds {
        0 if !counting => format!("{millis} ms"),
        0..10 => format!("{seconds}.{} s", millis % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A duration from `from` to `until`, or counting when `until` is absent. Nothing while `from` is absent.
#[component]
pub fn Duration(
    /// When it began.
    #[prop(into)]
    from: Signal<Option<Timestamp>>,
    /// When it ended.
    #[prop(into)]
    until: Signal<Option<Timestamp>>,
) -> impl IntoView {
    let clock = Clock::get();
    let shown = derived(move || match (from.get(), until.get()) {
        (None, _) => String::new(),
        (Some(from), Some(until)) => text(until.since(from), false),
        (Some(from), None) => text(clock.now().since(from), true),
    });
    view! { <span class="duration">{move || shown.get()}</span> }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn durations_read_as_people_say_them() {
        let shown = |millis: u64| text(millis * 1_000, false);
        assert_eq!(shown(85), "85 ms");
        assert_eq!(shown(4_250), "4.2 s");
        assert_eq!(shown(59_999), "59 s");
        assert_eq!(shown(64_000), "1 m 04 s");
        assert_eq!(shown(7_500_000), "2 h 05 m");
        assert_eq!(text(85_000, true), "0.0 s");
    }
}
