//! Places on a leaderboard.

use bellwether_domain::ids::UserId;
use bellwether_domain::money::Credits;
use bellwether_domain::score::Standing;
use schemars::JsonSchema;
use serde::Serialize;

use crate::decimal::Shown;

/// The fields of a place, for `fields=`.
pub(crate) const FIELDS: &[&str] =
    &["userId", "displayName", "profit", "brierScore", "trades", "volume", "markets", "judgedMarkets"];

/// A place.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StandingWire<'a> {
    user_id: Shown<UserId>,
    display_name: &'a str,
    profit: Shown<Credits>,
    brier_score: Option<f64>,
    trades: i64,
    volume: Shown<Credits>,
    markets: i64,
    judged_markets: i64,
}

impl<'a> StandingWire<'a> {
    pub(crate) fn of(standing: &'a Standing) -> Self {
        let score = &standing.score;
        let millionths = standing.brier.and_then(|brier| i32::try_from(brier).ok());
        Self {
            user_id: Shown(score.user),
            display_name: standing.display_name.as_str(),
            profit: Shown(score.profit),
            brier_score: millionths.map(|millionths| f64::from(millionths) / 1e6),
            trades: score.figures.trades,
            volume: Shown(score.figures.volume),
            markets: score.markets,
            judged_markets: score.judged_markets,
        }
    }
}
