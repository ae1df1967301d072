//! What the server should reach, and whether it did.

use serde::Serialize;

use crate::bench::load::Load;
use crate::bench::measured::{Figures, Measured, Name};

/// The loads of an open loop, as shares of the knee.
pub(super) const HALF_LOAD: f64 = 0.5;
pub(super) const HIGH_LOAD: f64 = 0.9;

/// A ratio of two figures of the same run, and its bound.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    pub(super) what: &'static str,
    pub(super) wanted: Bound,
    /// `None` when the run did not measure it.
    pub(super) ratio: Option<f64>,
    pub(super) is_met: Option<bool>,
}

/// What a ratio must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Bound {
    AtLeast(f64),
    Below(f64),
}

impl Bound {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::Below(bound) => ratio < bound,
        }
    }

    /// As the table says it.
    pub(super) fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("at least {bound}"),
            Self::Below(bound) => format!("below {bound}"),
        }
    }
}

/// All targets, held against a run.
pub(super) fn targets(figures: &Figures) -> Vec<Target> {
    let best = |subject| figures.best(subject, Load::Pairs).map(|row| row.per_second);
    let of = |one, other| Some(best(one)? / best(other)?);
    let wait = |subject| Some(half_load(figures, subject)?.latency.p99_ms / figures.commit_ms()?);
    [
        (
            "orders/s on PostgreSQL, of pgbench, each at its best (the aim is 5)",
            Bound::AtLeast(3.0),
            of(Name::Postgres, Name::Pgbench),
        ),
        ("orders/s on SQLite, of PostgreSQL, each at its best", Bound::AtLeast(1.0), of(Name::Sqlite, Name::Postgres)),
        (
            "orders/s on PostgreSQL with groups of 1, of pgbench, each at its best",
            Bound::AtLeast(0.7),
            of(Name::PostgresAlone, Name::Pgbench),
        ),
        ("p99 of orders on PostgreSQL at half load, of one commit", Bound::Below(5.0), wait(Name::Postgres)),
        ("p99 of orders on SQLite at half load, of one commit", Bound::Below(5.0), wait(Name::Sqlite)),
    ]
    .map(|(what, wanted, ratio)| Target { what, wanted, ratio, is_met: ratio.map(|ratio| wanted.holds(ratio)) })
    .into()
}

fn half_load(figures: &Figures, subject: Name) -> Option<&Measured> {
    let mut rows = figures.open.iter().filter(|row| row.subject == subject && row.load == Load::Pairs);
    rows.find(|row| row.of_knee == Some(HALF_LOAD))
}

#[cfg(test)]
mod tests {
    use super::{Bound, targets};
    use crate::bench::measured::tests::figures;

    #[test]
    fn ratios_are_of_the_best_of_each() {
        let targets = targets(&figures());
        let found: Vec<_> = targets.iter().map(|target| (target.ratio, target.is_met)).collect();
        let expected = [
            (Some(3.0), Some(true)),
            (Some(0.5), Some(false)),
            // Not measured in this run.
            (None, None),
            (Some(4.0), Some(true)),
            (None, None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_bound_holds_on_its_own_side() {
        assert!(Bound::AtLeast(3.0).holds(3.0) && !Bound::AtLeast(3.0).holds(2.9));
        assert!(Bound::Below(5.0).holds(4.9) && !Bound::Below(5.0).holds(5.0));
    }
}
