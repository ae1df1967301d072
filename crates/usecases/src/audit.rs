//! The check of every invariant on a live store.

use bellwether_domain::ports::Violation;

use crate::{Context, Error};

/// All broken invariants, at most `limit`: the store's own sums, the hash chains of the ledger, and
/// open orders that cross each other or the market maker.
pub async fn audit(ctx: &Context, limit: u32) -> Result<Vec<Violation>, Error> {
    todo!("{ctx:p} {limit}")
}
