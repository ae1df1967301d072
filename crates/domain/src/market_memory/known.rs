//! What is known of one market.

use std::collections::{BTreeMap, HashMap};

use super::Stamp;
use crate::book::{Horizon, Rank};
use crate::ids::{MarketId, UserId};
use crate::market::{Market, OutcomeId};
use crate::order::{Order, Side};
use crate::ports::BookRequest;
use crate::position::{Holding, Position};

/// How many orders of a side are kept, and how many of these are left when it has more.
const MOST_ORDERS: usize = 512;
const ORDERS_LEFT: usize = 256;
/// How many users' positions and numbers of orders are kept; where there are more, they begin anew.
const MOST_USERS: usize = 4096;
/// How many orders are asked for of a side that is known, but not far enough: so that fills do not soon use them up.
const WIDE_DEPTH: u32 = 128;

/// A market as it stood when it had its stamp, with some of what its lock guards.
#[derive(Debug)]
pub(super) struct KnownMarket {
    /// None where it is not to be remembered: it is new, or has no stamp that is known.
    stamp: Option<Stamp>,
    /// When it was locked last, others had written it.
    is_contended: bool,
    pub(super) market: Market,
    sides: BTreeMap<(OutcomeId, Side), KnownSide>,
    /// None for those who have no position.
    positions: HashMap<UserId, Option<Position>>,
    open_counts: HashMap<UserId, u64>,
}

impl KnownMarket {
    pub(super) fn new(market: Market, stamp: Option<Stamp>) -> Self {
        let (sides, positions, open_counts) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self { stamp, is_contended: false, market, sides, positions, open_counts }
    }

    pub(super) const fn id(&self) -> MarketId {
        self.market.id
    }

    pub(super) const fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    pub(super) const fn set_stamp(&mut self, stamp: Option<Stamp>) {
        self.stamp = stamp;
    }

    pub(super) const fn is_contended(&self) -> bool {
        self.is_contended
    }

    pub(super) const fn set_contended(&mut self, is_so: bool) {
        self.is_contended = is_so;
    }

    /// About how much memory it takes, a little more rather than less.
    pub(super) fn bytes(&self) -> usize {
        const OF_A_MARKET: usize = 4096;
        const OF_AN_ORDER: usize = size_of::<Order>() + 128;
        const OF_A_COUNT: usize = 64;
        let of_a_position = size_of::<Holding>().saturating_mul(self.market.outcomes.len());
        let of_a_position = of_a_position.saturating_add(size_of::<Position>() + 64);
        let orders = self.sides.values().map(|side| side.orders.len()).fold(0, usize::saturating_add);
        let of = |count: usize, size: usize| count.saturating_mul(size);
        [
            OF_A_MARKET,
            self.market.description.len(),
            of(orders, OF_AN_ORDER),
            of(self.positions.len(), of_a_position),
            of(self.open_counts.len(), OF_A_COUNT),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// What is asked for, if so much of that side is known.
    pub(super) fn book(&self, request: &BookRequest) -> Option<Vec<Order>> {
        self.sides.get(&(request.book, request.side))?.best(request)
    }

    /// What to ask a store for, where that is not known: more than that of a side that is wanted again, unless it is much.
    pub(super) fn to_ask(&self, request: &BookRequest) -> BookRequest {
        let is_wanted_again = self.sides.contains_key(&(request.book, request.side));
        if is_wanted_again && request.depth < WIDE_DEPTH {
            BookRequest { limit: None, depth: WIDE_DEPTH, ..*request }
        } else {
            *request
        }
    }

    /// A store was asked for this, and these are the orders.
    pub(super) fn learn_side(&mut self, asked: &BookRequest, orders: &[Order]) {
        self.sides.insert((asked.book, asked.side), KnownSide::loaded(asked, orders));
    }

    /// A user's position, if it is known: none for no position.
    pub(super) fn position(&self, user: UserId) -> Option<Option<&Position>> {
        self.positions.get(&user).map(Option::as_ref)
    }

    pub(super) fn learn_position(&mut self, user: UserId, position: Option<Position>) {
        if self.positions.len() >= MOST_USERS && !self.positions.contains_key(&user) {
            self.positions.clear();
        }
        self.positions.insert(user, position);
    }

    pub(super) fn open_count(&self, user: UserId) -> Option<u64> {
        self.open_counts.get(&user).copied()
    }

    pub(super) fn learn_open_count(&mut self, user: UserId, count: u64) {
        if self.open_counts.len() >= MOST_USERS && !self.open_counts.contains_key(&user) {
            self.open_counts.clear();
        }
        self.open_counts.insert(user, count);
    }

    /// An order that is new was written.
    pub(super) fn add_order(&mut self, order: &Order) {
        if !order.is_open() {
            return;
        }
        if let Some(side) = self.side_of(order) {
            side.put(order);
        }
        if let Some(count) = self.open_counts.get_mut(&order.user) {
            *count = count.saturating_add(1);
        }
    }

    /// An order that was there was written.
    pub(super) fn change_order(&mut self, order: &Order) {
        let was_seen = self.side_of(order).is_some_and(|side| side.change(order));
        if order.is_open() {
            // What has ended never opens again, so it was open before.
            return;
        }
        match self.open_counts.get_mut(&order.user) {
            Some(count) if was_seen => *count = count.saturating_sub(1),
            // It may have ended before, as far as is known here.
            _ => drop(self.open_counts.remove(&order.user)),
        }
    }

    fn side_of(&mut self, order: &Order) -> Option<&mut KnownSide> {
        self.sides.get_mut(&(order.book, order.book_side))
    }
}

/// The best orders of one side of a book: all of those up to the horizon.
#[derive(Debug)]
struct KnownSide {
    side: Side,
    orders: BTreeMap<Rank, Order>,
    horizon: Horizon,
}

impl KnownSide {
    /// The side, where these are the orders that a store found.
    fn loaded(asked: &BookRequest, found: &[Order]) -> Self {
        let side = asked.side;
        let ranked = found.iter().filter_map(|order| Some((Rank::of(order)?, order.clone())));
        let orders: BTreeMap<Rank, Order> = ranked.collect();
        let last = orders.last_key_value().map(|(rank, _)| *rank);
        let horizon = Horizon::loaded(side, found.len(), last, asked.limit, asked.depth);
        let mut this = Self { side, orders, horizon };
        this.forget_the_worst();
        this
    }

    /// Where it has very many orders.
    fn forget_the_worst(&mut self) {
        if self.orders.len() <= MOST_ORDERS {
            return;
        }
        while self.orders.len() > ORDERS_LEFT {
            self.orders.pop_last();
        }
        if let Some((last, _)) = self.orders.last_key_value() {
            self.horizon = Horizon::UpTo(*last);
        }
    }

    /// The orders that are asked for, unless there may be some beyond the horizon.
    fn best(&self, request: &BookRequest) -> Option<Vec<Order>> {
        let worst = request.limit.map(|limit| Rank::last_at(self.side, limit));
        let depth = usize::try_from(request.depth).unwrap_or(usize::MAX);
        let within = self.orders.iter().take_while(|(rank, _)| worst.is_none_or(|worst| **rank <= worst));
        let best: Vec<Order> = within.take(depth).map(|(_, order)| order.clone()).collect();
        let has_all = match self.horizon {
            Horizon::Everything => true,
            Horizon::UpTo(known) => worst.is_some_and(|worst| worst <= known),
        };
        (has_all || best.len() >= depth).then_some(best)
    }

    fn put(&mut self, order: &Order) {
        let Some(rank) = Rank::of(order) else { return };
        if matches!(self.horizon, Horizon::UpTo(known) if rank > known) {
            return;
        }
        self.orders.insert(rank, order.clone());
        self.forget_the_worst();
    }

    /// Puts the order where it stands now, or takes it out. Whether it was there.
    fn change(&mut self, order: &Order) -> bool {
        let stood = Rank::of(order).filter(|rank| self.orders.get(rank).is_some_and(|known| known.id == order.id));
        // One that was amended stood elsewhere.
        let stood = stood.or_else(|| Some(*self.orders.iter().find(|(_, known)| known.id == order.id)?.0));
        if let Some(rank) = stood {
            self.orders.remove(&rank);
        }
        if order.is_open() {
            self.put(order);
        }
        stood.is_some()
    }
}
