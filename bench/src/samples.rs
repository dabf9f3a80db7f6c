//! Samples of one quantity, and how they are written: p50, p99, with a unit. What is sampled is the figures' business.

use std::{fmt::Write as _, time::Duration};

/// Milliseconds, in order once asked for.
#[derive(Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1e3);
    }

    /// A difference of two readings of the machine's clock, in microseconds.
    pub(crate) fn add_micros(&mut self, micros: i64) {
        self.0.push(micros as f64 / 1e3);
    }

    /// A quantity of another unit.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Those of another one as well.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest sample that at least `percent` of all samples do not exceed; 0 if there are none.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(0.0)
    }

    /// `p50 / p99 ms`
    pub(crate) fn p50_p99(&self) -> String {
        format!("{} / {} ms", millis(self.percentile(50)), millis(self.percentile(99)))
    }

    /// The median in milliseconds.
    pub(crate) fn p50_millis(&self) -> String {
        format!("{} ms", millis(self.percentile(50)))
    }

    /// The median and the extremes in seconds, for few and long samples.
    pub(crate) fn seconds(&self) -> String {
        let mut text = format!("{:.2} s", self.percentile(50) / 1e3);
        if self.count() > 1 {
            let _ = write!(text, " ({:.2} to {:.2})", self.percentile(0) / 1e3, self.percentile(100) / 1e3);
        }
        text
    }
}

fn millis(millis: f64) -> String {
    if millis.abs() < 10.0 { format!("{millis:.2}") } else { format!("{millis:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let mut samples = Samples::default();
        (1..=200).rev().for_each(|millis| samples.add(Duration::from_millis(millis)));
        let at = |percent| samples.percentile(percent);
        assert_eq!((at(0), at(50), at(99), at(100)), (1.0, 100.0, 198.0, 200.0));
        assert_eq!(Samples::default().percentile(50), 0.0);
    }
}
