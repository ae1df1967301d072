//! How long requests took, as the figures that are printed.

use std::time::Duration;

use serde::Serialize;

/// Latencies in milliseconds: the mean, and percentiles by nearest rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) mean_ms: f64,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
}

impl Latency {
    /// The figures of these latencies, which are sorted on the way; zeros when there are none.
    pub(super) fn of(latencies: &mut [Duration]) -> Self {
        latencies.sort_unstable();
        let at = |per_mille| ms(nearest_rank(latencies, per_mille));
        let sum: Duration = latencies.iter().sum();
        let count = float(latencies.len());
        Self {
            mean_ms: if latencies.is_empty() { 0.0 } else { ms(sum) / count },
            p50_ms: at(500),
            p90_ms: at(900),
            p99_ms: at(990),
            p999_ms: at(999),
        }
    }
}

/// The smallest of the sorted values that `per_mille` of them do not exceed.
fn nearest_rank(sorted: &[Duration], per_mille: usize) -> Duration {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The upper one of the middle figures; NaN where there is none.
pub(super) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A count as a number to divide; exact up to four milliards.
pub(super) fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Latency;

    #[test]
    fn percentiles_are_nearest_ranks_of_the_sorted_latencies() {
        let mut latencies: Vec<Duration> = (1..=1000).rev().map(Duration::from_millis).collect();
        let expected = Latency { mean_ms: 500.5, p50_ms: 500.0, p90_ms: 900.0, p99_ms: 990.0, p999_ms: 999.0 };
        assert_eq!(Latency::of(&mut latencies), expected);
    }

    #[test]
    fn a_single_latency_is_every_percentile() {
        let expected = Latency { mean_ms: 7.0, p50_ms: 7.0, p90_ms: 7.0, p99_ms: 7.0, p999_ms: 7.0 };
        assert_eq!(Latency::of(&mut [Duration::from_millis(7)]), expected);
    }

    #[test]
    fn nothing_has_zeros() {
        assert_eq!(Latency::of(&mut []), Latency::default());
    }
}
