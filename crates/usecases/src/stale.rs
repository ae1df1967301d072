//! Which entries of the cache a change makes stale: one table for who commits it, and for who hears of it from the
//! outbox.

use std::collections::BTreeSet;

use bellwether_domain::event::Event;
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::market::MarketStatus;
use bellwether_domain::order::Order;
use bellwether_domain::ports::{CacheKey, Changes, StandingSort};

use crate::caching::{FRONT_ORDERS, book_key, front_page_key, leaderboard_key, market_key, user_key};

/// Entries that go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stale {
    /// A market with its best prices, and its book.
    Market(MarketId),
    /// The first pages of the list of markets.
    FrontPages,
    /// The leaderboards.
    Leaderboards,
    /// What everybody sees of a user.
    User(UserId),
}

impl Stale {
    /// The keys of these, each once.
    pub(crate) fn keys(all: &BTreeSet<Self>) -> Vec<CacheKey> {
        let mut keys = Vec::new();
        for stale in all {
            match stale {
                Self::Market(id) => keys.extend([market_key(*id), book_key(*id)]),
                Self::FrontPages => keys.extend(front_page_keys()),
                Self::Leaderboards => keys.extend([StandingSort::Profit, StandingSort::Brier].map(leaderboard_key)),
                Self::User(id) => keys.push(user_key(*id)),
            }
        }
        keys
    }

    /// What a unit of work with these changes makes stale. Whether they are such that lists of markets show them, only
    /// the unit of work knows, which has seen what there was before.
    pub(crate) fn of_changes(changes: &Changes, is_shown_in_lists: bool) -> BTreeSet<Self> {
        let markets = changes.new_markets.iter().chain(&changes.markets).map(|market| market.id);
        // The best prices are shown with a market.
        let orders = changes.new_orders.iter().chain(&changes.orders).map(|order: &Order| order.market);
        let markets = markets.chain(orders).chain(changes.deleted_markets.iter().copied()).map(Self::Market);
        let ranks = !changes.scores.is_empty() || !changes.users.is_empty();
        let lists = is_shown_in_lists.then_some(Self::FrontPages);
        let users = changes.new_users.iter().chain(&changes.users).map(|user| Self::User(user.id));
        markets.chain(lists).chain(ranks.then_some(Self::Leaderboards)).chain(users).collect()
    }

    /// What had become stale when this happened, of what events tell: a market that was counted for the leaderboards
    /// is none.
    pub(crate) fn of_event(event: &Event) -> BTreeSet<Self> {
        let market = event.market().map(Self::Market);
        let others = match event {
            Event::MarketOpened(_)
            | Event::MarketUpdated(_)
            | Event::MarketHalted(_)
            | Event::MarketReopened(_)
            | Event::MarketClosed(_)
            | Event::MarketProposed(_)
            | Event::MarketDisputed(_)
            | Event::MarketResolved(_)
            | Event::MarketVoided(_)
            | Event::MarketPaid(_)
            | Event::MarketDeleted(_) => vec![Self::FrontPages],
            Event::UserCreated(user) => vec![Self::User(user.user_id)],
            Event::UserUpdated(user) => vec![Self::Leaderboards, Self::User(user.user_id)],
            // Trading shows in its market alone.
            Event::OrderAccepted(_)
            | Event::OrderAmended(_)
            | Event::OrderFilled(_)
            | Event::OrderCancelled(_)
            | Event::OrderExpired(_)
            | Event::TradeExecuted(_)
            | Event::BookChanged(_) => Vec::new(),
            // What is somebody's own is not cached.
            Event::SessionEnded(_)
            | Event::KeyRevoked(_)
            | Event::TransferExecuted(_)
            | Event::BalanceChanged(_)
            | Event::PositionChanged(_) => return BTreeSet::new(),
        };
        market.into_iter().chain(others).collect()
    }
}

/// All of them.
fn front_page_keys() -> impl Iterator<Item = CacheKey> {
    let statuses = std::iter::once(None).chain(MarketStatus::ALL.map(Some));
    statuses.flat_map(|status| FRONT_ORDERS.iter().filter_map(move |order| front_page_key(status, &[*order])))
}
