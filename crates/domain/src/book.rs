//! One side of an order book, in price-time priority, possibly loaded only in part.
//!
//! A store loads the best orders of a side, not all of them. What lies beyond the [`Horizon`] is
//! unknown, and a walk that would have to look there says [`Beyond`] instead of guessing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::ids::{OrderGroupId, OrderId, UserId};
use crate::money::{Price, Shares};
use crate::order::{Backing, Order, Side};

/// Where an order stands on its side: the best price first, then the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Smaller is better: asks count up from 1, bids count down from 999.
    distance: u16,
    /// The order's place in time.
    sequence: i64,
}

impl Rank {
    /// The rank of an order at `price` with that place in time.
    #[must_use]
    pub fn new(side: Side, price: Price, sequence: i64) -> Self {
        let distance = match side {
            Side::Buy => price.complement().mills(),
            Side::Sell => price.mills(),
        };
        Self { distance: u16::try_from(distance).unwrap_or(u16::MAX), sequence }
    }

    /// The rank of an order on its side; none where it has no price.
    #[must_use]
    pub fn of(order: &Order) -> Option<Self> {
        order.book_price.map(|price| Self::new(order.book_side, price, order.sequence))
    }

    /// Behind every order at that price or a better one.
    #[must_use]
    pub fn last_at(side: Side, price: Price) -> Self {
        Self::new(side, price, i64::MAX)
    }
}

/// A resting order, as matching sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resting {
    /// The order.
    pub id: OrderId,
    /// Whose it is.
    pub user: UserId,
    /// Its price.
    pub price: Price,
    /// How many shares still rest.
    pub remaining: Shares,
    /// What it pays with.
    pub backing: Backing,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
    /// The group that it is in.
    pub group: Option<OrderGroupId>,
}

/// How far a side is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Horizon {
    /// All of it.
    Everything,
    /// Every order up to and including this rank.
    UpTo(Rank),
}

impl Horizon {
    /// How far a side is known of which so many orders were found, the best ones within `limit`, the `last` being the worst
    /// of them, where at most `depth` were asked for.
    #[must_use]
    pub fn loaded(side: Side, found: usize, last: Option<Rank>, limit: Option<Price>, depth: u32) -> Self {
        let is_full = u32::try_from(found).unwrap_or(u32::MAX) >= depth;
        match (is_full, last, limit) {
            (true, Some(last), _) => Self::UpTo(last),
            (_, _, Some(limit)) => Self::UpTo(Rank::last_at(side, limit)),
            (_, _, None) => Self::Everything,
        }
    }
}

/// The walk came to where the side is not loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond;

/// One side of one book.
#[derive(Debug, Clone)]
pub struct BookSide {
    side: Side,
    orders: BTreeMap<Rank, Resting>,
    horizon: Horizon,
}

impl BookSide {
    /// An empty side that is known entirely.
    #[must_use]
    pub const fn empty(side: Side) -> Self {
        Self { side, orders: BTreeMap::new(), horizon: Horizon::Everything }
    }

    /// A side of which nothing is known.
    #[must_use]
    pub const fn unknown(side: Side) -> Self {
        let horizon = Horizon::UpTo(Rank { distance: 0, sequence: i64::MIN });
        Self { side, orders: BTreeMap::new(), horizon }
    }

    /// The side as a store loaded it: `loaded` were the best orders within `limit`, and at most
    /// `depth` were asked for.
    #[must_use]
    pub fn loaded(side: Side, loaded: &[Order], limit: Option<Price>, depth: u32) -> Self {
        let mut this = Self::empty(side);
        let mut last = None;
        for order in loaded {
            last = this.insert(order).or(last);
        }
        this.horizon = Horizon::loaded(side, loaded.len(), last, limit, depth);
        this
    }

    /// Puts an open limit order in its place; its rank, if it has a price.
    pub fn insert(&mut self, order: &Order) -> Option<Rank> {
        let price = order.book_price?;
        let rank = Rank::new(self.side, price, order.sequence);
        let resting = Resting {
            id: order.id,
            user: order.user,
            price,
            remaining: order.remaining,
            backing: order.backing,
            expires_at: order.expires_at,
            group: order.group,
        };
        self.orders.insert(rank, resting);
        Some(rank)
    }

    /// Takes an order out, or leaves it with what now remains.
    pub fn update(&mut self, order: &Order) {
        let Some(price) = order.book_price else { return };
        let rank = Rank::new(self.side, price, order.sequence);
        if !order.is_open() {
            self.orders.remove(&rank);
        } else if let Some(resting) = self.orders.get_mut(&rank) {
            resting.remaining = order.remaining;
            resting.expires_at = order.expires_at;
        }
    }

    /// Takes out an order that stood at `price` with that place in time.
    pub fn remove(&mut self, price: Price, sequence: i64) {
        self.orders.remove(&Rank::new(self.side, price, sequence));
    }

    /// The orders that are loaded, best first.
    pub fn iter(&self) -> impl Iterator<Item = &Resting> {
        self.orders.values()
    }

    /// The best order worse than `after` (any, for none) whose price is within `limit` for whoever
    /// takes it; [`Beyond`] where that cannot be known.
    pub fn next(&self, after: Option<Rank>, limit: Price) -> Result<Option<(Rank, Resting)>, Beyond> {
        use std::ops::Bound::{Excluded, Unbounded};
        let lower = after.map_or(Unbounded, Excluded);
        let last_within = Rank::last_at(self.side, limit);
        let found = self.orders.range((lower, Unbounded)).next().map(|(rank, resting)| (*rank, *resting));
        match (found, self.horizon) {
            (Some((rank, _)), Horizon::UpTo(known)) if rank > known && known < last_within => Err(Beyond),
            (None, Horizon::UpTo(known)) if known < last_within => Err(Beyond),
            (Some((rank, resting)), _) if rank <= last_within => Ok(Some((rank, resting))),
            _ => Ok(None),
        }
    }
}
