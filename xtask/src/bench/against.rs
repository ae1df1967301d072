//! Two binaries beside each other: what a change is worth, on a machine whose speed differs from minute to minute.
//!
//! Both servers run, each on a store of its own, and are loaded in turns; what is told is the median of each one's rounds.

use crate::bench::latency::median;
use crate::bench::load::Load;
use crate::bench::measured::{Measured, Name};
use crate::bench::subject::{Pace, Subject};
use crate::bench::tables::table;
use crate::bench::targets::HALF_LOAD;
use crate::bench::{Bench, orders_of};

/// How often each is loaded: an odd number, of which one is in the middle.
const ROUNDS: usize = 7;

/// The two servers of one store.
pub(super) struct Two {
    pub(super) this: Subject,
    pub(super) other: Subject,
}

/// Both under one load at one pace.
pub(super) struct Compared {
    subject: Name,
    load: Load,
    pace: String,
    this: Vec<Measured>,
    other: Vec<Measured>,
}

impl Bench<'_> {
    /// Loads both in turns: with each number of clients, then with half of the most that the other one answered.
    pub(super) async fn compare(&self, two: &Two) -> anyhow::Result<Vec<Compared>> {
        let mut all = Vec::new();
        for load in orders_of(two.this.name).iter().copied() {
            let mut most = 0.0_f64;
            for clients in self.options.clients.iter().copied() {
                let compared = self.rounds(two, load, Pace::Closed(clients)).await?;
                most = most.max(median(compared.other.iter().map(|row| row.answered_per_second)));
                all.push(compared);
            }
            let pace = Pace::Open { per_second: most * HALF_LOAD, of_knee: HALF_LOAD };
            all.push(self.rounds(two, load, pace).await?);
        }
        Ok(all)
    }

    async fn rounds(&self, two: &Two, load: Load, pace: Pace) -> anyhow::Result<Compared> {
        let (mut this, mut other) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            this.push(self.measure(&two.this, load, pace).await?);
            other.push(self.measure(&two.other, load, pace).await?);
        }
        Ok(Compared { subject: two.this.name, load, pace: pace.text(), this, other })
    }
}

/// The page; it is not written anywhere, since it says nothing of the project as it is.
pub(super) fn text(all: &[Compared]) -> String {
    let heads = ["load", "pace", "", "this", "other", "this of other"];
    format!("# Benchmarks: one binary against another\n\n{}", table(&heads, all.iter().flat_map(rows)))
}

fn rows(compared: &Compared) -> Vec<Vec<String>> {
    let Compared { subject, load, pace, this, other } = compared;
    let row = |what: &str, figure: fn(&Measured) -> Option<f64>| {
        let [this, other] = [this, other].map(|rows| median(rows.iter().filter_map(figure)));
        if this.is_nan() || other.is_nan() {
            return None; // It was not measured.
        }
        let load = format!("{}, {}", subject.text(), load.name());
        let figures = [format!("{this:.1}"), format!("{other:.1}"), format!("{:.2}", this / other)];
        Some([load, pace.clone(), what.to_owned()].into_iter().chain(figures).collect())
    };
    let rows = [
        row("orders/s", |row| Some(row.per_second).filter(|_| row.clients.is_some())),
        row("p50 in ms", |row| Some(row.latency.p50_ms)),
        row("p99 in ms", |row| Some(row.latency.p99_ms)),
        row("its own µs", |row| row.server_us_per_order),
        row("PostgreSQL's µs", |row| row.database_us_per_order),
        row("bytes written for an order", |row| row.bytes_per_order),
    ];
    rows.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measured::tests::row;

    #[test]
    fn compares_the_medians_and_leaves_out_what_was_not_measured() {
        let of = |figures: [f64; 3]| figures.map(|figure| row(Name::Sqlite, Load::Pairs, 8, figure)).to_vec();
        let (this, other) = (of([900.0, 300.0, 600.0]), of([200.0, 100.0, 300.0]));
        let compared = Compared { subject: Name::Sqlite, load: Load::Pairs, pace: "8 clients".to_owned(), this, other };
        let text = text(&[compared]);
        assert!(text.contains("| SQLite, orders in pairs | 8 clients | orders/s | 600.0 | 200.0 | 3.00 |"), "{text}");
        assert!(!text.contains("µs"), "{text}");
    }
}
