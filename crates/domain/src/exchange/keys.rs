//! What commands come to for the API keys that orders count against.

use std::collections::BTreeMap;

use super::Stop;
use super::draft::Draft;
use super::state::State;
use crate::api_key::KeyUsage;
use crate::ids::{AccountId, ApiKeyId, OrderId};
use crate::ledger::Transfer;
use crate::order::Order;

impl State {
    /// How the loaded keys would be used after the draft.
    pub(super) fn usages_after(&self, draft: &Draft) -> Result<Vec<KeyUsage>, Stop> {
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut usages: BTreeMap<ApiKeyId, KeyUsage> = BTreeMap::new();
        for (id, now) in draft.orders.iter() {
            if let Some((usage, before)) = self.orders.get(*id).and_then(|o| Some((self.usage(&mut usages, o)?, o))) {
                usage.reserved = usage.reserved.minus(before.reserved)?;
                usage.open_orders = usage.open_orders.saturating_sub(u64::from(before.is_open()));
            }
            if let Some(usage) = self.usage(&mut usages, now) {
                usage.reserved = usage.reserved.plus(now.reserved)?;
                usage.open_orders = usage.open_orders.saturating_add(u64::from(now.is_open()));
            }
        }
        for transfer in &draft.transfers {
            let order = payer_of(transfer, draft).and_then(|id| draft.orders.get(id));
            if let Some(usage) = order.and_then(|order| self.usage(&mut usages, order)) {
                usage.spend(transfer.amount)?;
            }
        }
        Ok(usages.into_values().collect())
    }

    /// Refuses where the key that sent the command would go beyond its limits.
    pub(super) fn check_key(&self, usages: &[KeyUsage], key: ApiKeyId) -> Result<(), Stop> {
        let before = self.keys.get(&key).ok_or(Stop::NotLoaded("API key"))?;
        match usages.iter().find(|usage| usage.key.id == key) {
            Some(after) => Ok(after.check_limits(before)?),
            None => Ok(()),
        }
    }

    /// The usage, to be changed, of the key that the order counts against, if it is loaded.
    fn usage<'a>(&self, usages: &'a mut BTreeMap<ApiKeyId, KeyUsage>, order: &Order) -> Option<&'a mut KeyUsage> {
        let key = order.counted_by?;
        let loaded = self.keys.get(&key)?;
        Some(usages.entry(key).or_insert_with(|| loaded.clone()))
    }
}

/// The order for which a user pays.
fn payer_of(transfer: &Transfer, draft: &Draft) -> Option<OrderId> {
    let trade = draft.trades.iter().find(|trade| Some(trade.id) == transfer.reference.trade)?;
    if transfer.from == AccountId::of_user(trade.taker) {
        return Some(trade.taker_order);
    }
    trade.maker.filter(|maker| transfer.from == AccountId::of_user(*maker)).and(trade.maker_order)
}
