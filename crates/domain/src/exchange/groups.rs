//! What groups of orders allow, and what becomes of theirs when their cap is reached.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Stop;
use super::clearing::Clearing;
use super::state::State;
use crate::ids::{OrderGroupId, OrderId};
use crate::order::{EndReason, Order, OrderStatus, PlaceOrder};
use crate::refusal::Refusal;

impl State {
    /// Refuses an order whose group is another's, for another market, or has nothing left.
    pub(super) fn check_group(&self, command: &PlaceOrder, now: Timestamp) -> Result<(), Stop> {
        let Some(id) = command.group else { return Ok(()) };
        let group = self.groups.get(id).filter(|group| group.user == command.user);
        let group = group.ok_or(Refusal::OrderGroupNotFound)?;
        if group.market != command.market {
            return Err(Refusal::OrderGroupOfOtherMarket { market: group.market }.into());
        }
        // Of a window whose cap is almost reached something may be left again later; nothing is left of a full group.
        if group.is_full() || !group.left(now).is_positive() {
            return Err(Refusal::OrderGroupFull { cap: group.fill_cap }.into());
        }
        Ok(())
    }

    /// Cancels what is still open of the groups whose cap the draft has reached.
    pub(super) fn end_full_groups(&self, clearing: &mut Clearing<'_>) -> Result<(), Stop> {
        let full: BTreeSet<OrderGroupId> =
            clearing.draft.groups.iter().filter(|(_, group)| group.is_full()).map(|(id, _)| *id).collect();
        if full.is_empty() {
            return Ok(());
        }
        let is_meant = |order: &&Order| order.is_open() && order.group.is_some_and(|group| full.contains(&group));
        let known = self.orders.values().filter(is_meant).map(|order| order.id);
        let drafted = clearing.draft.orders.iter().map(|(_, order)| order).filter(is_meant).map(|order| order.id);
        let ids: BTreeSet<OrderId> = known.chain(drafted).collect();
        for id in ids {
            if clearing.draft.order(self, id)?.is_open() {
                clearing.end(id, OrderStatus::Cancelled, EndReason::GroupFull)?;
            }
        }
        Ok(())
    }
}
