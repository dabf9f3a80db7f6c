//! A warning that many messages give cause for: it is said now and then, with how often it was not said. Pure.

use std::time::{Duration, Instant};

/// So long it is not said again.
const QUIET: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Default)]
pub(crate) struct Seldom {
    said: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// How often there was cause since the last time, this one included; none if it is not to be said now.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        self.unsaid += 1;
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < QUIET) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_and_then_with_the_number_of_those_that_were_not() {
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.due(start), Some(1));
        assert_eq!((seldom.due(start), seldom.due(start + QUIET / 2)), (None, None));
        assert_eq!(seldom.due(start + QUIET), Some(3));
    }
}
