//! Which rows a unit of work has made sure of by itself.

use std::collections::HashSet;

use bellwether_domain::ids::{AccountId, MarketId, OrderId, UserId};
use bellwether_domain::ledger::{Owner, Transfer};
use bellwether_domain::order::Order;
use bellwether_domain::ports::Changes;
use bellwether_domain::position::Position;
use bellwether_domain::trade::Trade;

/// The rows that changes insert, or change and count: where all that a new row refers to is among them, nobody has to look
/// whether it is there. So it is for nearly everything that orders write, since whoever trades pays or is paid.
pub(crate) struct Present {
    accounts: HashSet<AccountId>,
    /// An account of a user is made with the user.
    users: HashSet<UserId>,
    markets: HashSet<MarketId>,
    orders: HashSet<OrderId>,
}

impl Present {
    pub(crate) fn of(changes: &Changes) -> Self {
        let accounts = || changes.new_accounts.iter().chain(&changes.accounts);
        let users = changes.new_users.iter().chain(&changes.users).map(|user| user.id);
        let with_accounts = accounts().filter_map(|account| match account.owner {
            Owner::User(user) => Some(user),
            _ => None,
        });
        Self {
            accounts: accounts().map(|account| account.id).collect(),
            users: users.chain(with_accounts).collect(),
            markets: changes.new_markets.iter().chain(&changes.markets).map(|market| market.id).collect(),
            orders: changes.new_orders.iter().chain(&changes.orders).map(|order| order.id).collect(),
        }
    }

    pub(crate) fn has_all_of_orders(&self, orders: &[Order]) -> bool {
        orders.iter().all(|order| self.markets.contains(&order.market) && self.users.contains(&order.user))
    }

    pub(crate) fn has_all_of_positions(&self, positions: &[Position]) -> bool {
        positions.iter().all(|held| self.markets.contains(&held.market) && self.users.contains(&held.user))
    }

    pub(crate) fn has_all_of_trades(&self, trades: &[Trade]) -> bool {
        trades.iter().all(|trade| {
            self.markets.contains(&trade.market)
                && self.orders.contains(&trade.taker_order)
                && trade.maker_order.is_none_or(|order| self.orders.contains(&order))
                && self.users.contains(&trade.taker)
        })
    }

    pub(crate) fn has_all_of_transfers(&self, transfers: &[Transfer]) -> bool {
        transfers.iter().all(|transfer| self.accounts.contains(&transfer.from) && self.accounts.contains(&transfer.to))
    }
}
