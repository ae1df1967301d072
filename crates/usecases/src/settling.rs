//! What time makes due: closing, expiry, decisions, and payouts in batches that can be interrupted anywhere.

use bellwether_domain::ids::MarketId;

use crate::{Context, Error};

/// What one tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Markets closed at their time.
    pub closed: usize,
    /// Orders that expired or whose owner is gone.
    pub ended_orders: usize,
    /// Proposals decided because nobody challenged them.
    pub decided: usize,
    /// Markets settled to the end.
    pub settled: usize,
    /// Whether there is more to do right away.
    pub more: bool,
}

/// Does what is due now, a bounded amount at a time. Each step is a unit of work of its own, so a
/// crash anywhere loses nothing and pays nobody twice; several instances may tick at once.
pub async fn tick(ctx: &Context) -> Result<Ticked, Error> {
    todo!("{ctx:p}")
}

/// Works a market that no longer trades to its end: cancels what is open, and, once decided, pays
/// every position once, empties the collateral and refunds the maker's funder. In batches; returns
/// whether it is done. May be run again after any interruption.
pub async fn settle_market(ctx: &Context, market: MarketId) -> Result<bool, Error> {
    todo!("{ctx:p} {market:?}")
}
