//! The part of the memory that a unit of work has.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::known::KnownMarket;
use super::{Locked, MarketMemory, Stamp};
use crate::book::Rank;
use crate::ids::{MarketId, UserId};
use crate::market::Market;
use crate::order::Order;
use crate::ports::{BookRequest, Changes, Found, Wanted};
use crate::position::Position;

/// The markets that a unit of work has locked, and what it knows of them.
#[derive(Debug)]
pub struct Lent {
    memory: Arc<MarketMemory>,
    markets: HashMap<MarketId, Box<KnownMarket>>,
    /// What is written next has this stamp.
    next_stamp: Option<Stamp>,
    /// Something was written, or was about to be.
    is_written: bool,
}

/// What of something that is wanted is known.
#[derive(Debug, Default)]
pub struct FromMemory {
    requests: Vec<BookRequest>,
    /// None where a store has to be asked.
    books: Vec<Option<Vec<Order>>>,
    open_counts: Vec<Option<u64>>,
    positions: Vec<Position>,
}

impl Lent {
    /// Nothing yet.
    #[must_use]
    pub fn of(memory: &Arc<MarketMemory>) -> Self {
        Self { memory: Arc::clone(memory), markets: HashMap::new(), next_stamp: None, is_written: false }
    }

    /// Which of these markets to load when they are locked: those that are not known, or that others write too.
    #[must_use]
    pub fn to_load(&self, ids: &[MarketId]) -> Vec<MarketId> {
        let is_known = |id: &MarketId| self.markets.contains_key(id) || self.memory.is_likely_current(*id);
        ids.iter().copied().filter(|id| !is_known(id)).collect()
    }

    /// These markets were locked. Returns the stamps of those that turn out not to be known and were not loaded: the unit
    /// has to [load](Self::loaded) them.
    pub fn locked(&mut self, locked: Locked) -> Vec<(MarketId, Option<Stamp>)> {
        self.next_stamp = locked.next_stamp.or(self.next_stamp);
        let mut loaded: HashMap<MarketId, Market> =
            locked.loaded.into_iter().map(|market| (market.id, market)).collect();
        let mut missing = Vec::new();
        for (id, stamp) in locked.stamps {
            let remembered = self.markets.remove(&id).or_else(|| self.memory.take(id));
            let is_good = stamp.is_some() && remembered.as_ref().is_some_and(|known| known.stamp() == stamp);
            let is_contended = remembered.is_some() && !is_good;
            let known = if is_good {
                remembered
            } else {
                loaded.remove(&id).map(|market| Box::new(KnownMarket::new(market, stamp)))
            };
            match known {
                Some(mut known) => {
                    known.set_contended(is_contended);
                    self.markets.insert(id, known);
                }
                None => missing.push((id, stamp)),
            }
        }
        missing
    }

    /// Markets that others had written were loaded, under their locks and with these stamps.
    pub fn loaded(&mut self, stamps: Vec<(MarketId, Option<Stamp>)>, loaded: Vec<Market>) {
        let stamps: HashMap<MarketId, Option<Stamp>> = stamps.into_iter().collect();
        for market in loaded {
            let stamp = stamps.get(&market.id).copied().flatten();
            let mut known = Box::new(KnownMarket::new(market, stamp));
            known.set_contended(true);
            self.markets.insert(known.id(), known);
        }
    }

    /// Those of these markets that were locked, as they stand now.
    #[must_use]
    pub fn markets(&self, ids: &[MarketId]) -> Vec<Market> {
        ids.iter().filter_map(|id| self.market(*id).cloned()).collect()
    }

    /// A market that was locked, as it stands now.
    #[must_use]
    pub fn market(&self, id: MarketId) -> Option<&Market> {
        self.markets.get(&id).map(|known| &known.market)
    }

    /// What a store has still to be asked of what is wanted, and what is known of the rest.
    #[must_use]
    pub fn answer(&self, mut wanted: Wanted) -> (Wanted, FromMemory) {
        let mut known = FromMemory { requests: wanted.books.clone(), ..FromMemory::default() };
        wanted.books.retain_mut(|request| {
            let of = self.markets.get(&request.market);
            let book = of.and_then(|market| market.book(request));
            let asks = book.is_none();
            if let Some(market) = of.filter(|_| asks) {
                *request = market.to_ask(request);
            }
            known.books.push(book);
            asks
        });
        wanted.open_counts.retain(|(user, market)| {
            let count = self.markets.get(market).and_then(|known| known.open_count(*user));
            known.open_counts.push(count);
            count.is_none()
        });
        // One that is asked for twice is answered once.
        let mut answered = HashSet::with_capacity(wanted.positions.len());
        wanted.positions.retain(|(user, market)| {
            let Some(position) = self.markets.get(market).and_then(|known| known.position(*user)) else { return true };
            if answered.insert((*user, *market)) {
                known.positions.extend(position.cloned());
            }
            false
        });
        (wanted, known)
    }

    /// Makes what was found of what was `asked` for the whole of what was wanted, and learns from it.
    pub fn complete(&mut self, known: FromMemory, asked: &Wanted, found: &mut Found) {
        let FromMemory { requests, books, open_counts, positions } = known;
        let mut loaded = asked.books.iter().zip(std::mem::take(&mut found.books));
        for (request, book) in requests.iter().zip(books) {
            let book = book.or_else(|| loaded.next().map(|(asked, orders)| self.learn_side(request, asked, orders)));
            found.books.extend(book);
        }
        let mut counted = asked.open_counts.iter().zip(std::mem::take(&mut found.open_counts));
        for count in open_counts {
            let count = count.or_else(|| counted.next().map(|(pair, count)| self.learn_count(*pair, count)));
            found.open_counts.extend(count);
        }
        self.learn_positions(asked, &found.positions);
        found.positions.extend(positions);
    }

    fn learn_side(&mut self, request: &BookRequest, asked: &BookRequest, mut orders: Vec<Order>) -> Vec<Order> {
        if let Some(known) = self.markets.get_mut(&request.market) {
            known.learn_side(asked, &orders);
            let worst = request.limit.map(|limit| Rank::last_at(request.side, limit));
            orders.retain(|order| worst.is_none_or(|worst| Rank::of(order).is_some_and(|rank| rank <= worst)));
            orders.truncate(usize::try_from(request.depth).unwrap_or(usize::MAX));
        }
        orders
    }

    fn learn_count(&mut self, (user, market): (UserId, MarketId), count: u64) -> u64 {
        if let Some(known) = self.markets.get_mut(&market) {
            known.learn_open_count(user, count);
        }
        count
    }

    fn learn_positions(&mut self, asked: &Wanted, found: &[Position]) {
        for (user, market) in &asked.positions {
            if let Some(known) = self.markets.get_mut(market) {
                known.learn_position(*user, None);
            }
        }
        for position in found {
            if let Some(known) = self.markets.get_mut(&position.market) {
                known.learn_position(position.user, Some(position.clone()));
            }
        }
    }

    /// The stamp that markets have when what is written now is written. None where no market was locked: then they have
    /// none, and are not remembered.
    #[must_use]
    pub const fn next_stamp(&self) -> Option<Stamp> {
        self.next_stamp
    }

    /// Something is about to be written. Unless it is known to be [written](Self::wrote), and the unit commits, what is
    /// known here is not given back.
    pub const fn begin_to_write(&mut self) {
        self.is_written = true;
    }

    /// Follows what was written, under the [next stamp](Self::next_stamp).
    pub fn wrote(&mut self, changes: &Changes) {
        for market in &changes.deleted_markets {
            self.markets.remove(market);
        }
        for market in &changes.markets {
            if let Some(known) = self.written(market.id) {
                known.market.clone_from(market);
            }
        }
        for order in &changes.new_orders {
            if let Some(known) = self.written(order.market) {
                known.add_order(order);
            }
        }
        for order in &changes.orders {
            if let Some(known) = self.written(order.market) {
                known.change_order(order);
            }
        }
        for position in &changes.positions {
            if let Some(known) = self.written(position.market) {
                known.learn_position(position.user, Some(position.clone()));
            }
        }
        for trade in &changes.trades {
            self.written(trade.market);
        }
        // So that what the unit writes of it later is held against it. It has no stamp, and is not remembered.
        for market in &changes.new_markets {
            self.markets.insert(market.id, Box::new(KnownMarket::new(market.clone(), None)));
        }
    }

    /// What is known of a market of which something was written: it has the next stamp.
    fn written(&mut self, id: MarketId) -> Option<&mut KnownMarket> {
        let known = self.markets.get_mut(&id)?;
        known.set_stamp(self.next_stamp);
        Some(known)
    }

    /// Gives the markets back: before the unit commits, so that the next one that locks them finds them. Should the commit
    /// fail, their stamps are never found in the store.
    pub fn give_back(&mut self) {
        for known in std::mem::take(&mut self.markets).into_values().filter(|known| known.stamp().is_some()) {
            self.memory.put(known);
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_written {
            self.give_back();
        }
    }
}

/// The markets that have to have a new stamp with these changes, but for those that are themselves among them, new,
/// changed or deleted: in id order.
#[must_use]
pub fn stamped_besides(changes: &Changes) -> Vec<MarketId> {
    let Changes { new_markets, markets, deleted_markets, new_orders, orders, positions, trades, .. } = changes;
    let themselves = new_markets.iter().chain(markets).map(|market| market.id);
    let themselves: HashSet<MarketId> = themselves.chain(deleted_markets.iter().copied()).collect();
    let of_orders = new_orders.iter().chain(orders).map(|order| order.market);
    let others = positions.iter().map(|position| position.market).chain(trades.iter().map(|trade| trade.market));
    let besides = of_orders.chain(others).filter(|market| !themselves.contains(market));
    besides.collect::<BTreeSet<_>>().into_iter().collect()
}
