//! A store's memory of markets, held against the rows whenever something is loaded, while other processes write too and
//! commits are lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::market::{Market, OutcomeId};
use bellwether_domain::market_memory::{Lent, Locked, MarketMemory, Stamp, stamped_besides};
use bellwether_domain::money::Price;
use bellwether_domain::order::{Order, Side};
use bellwether_domain::ports::{BookRequest, Changes, Found, Wanted};
use bellwether_domain::position::Position;
use uuid::Uuid;

use crate::world::price;

#[derive(Default)]
pub struct Remembered {
    memory: Arc<MarketMemory>,
    /// As they stand in the database.
    stamps: BTreeMap<MarketId, Stamp>,
    drawn: u128,
    /// The unit of work that loaded last.
    unit: Option<Lent>,
    turns: u64,
    /// Nobody else writes, and no commit is lost.
    pub is_alone: bool,
    pub answered_from_memory: u64,
    pub asked: u64,
}

/// The rows of one market.
pub struct Rows<'a> {
    pub market: &'a Market,
    /// All open orders, best first on each side.
    pub sides: BTreeMap<(OutcomeId, Side), Vec<Order>>,
    pub positions: BTreeMap<UserId, Position>,
    pub open_counts: BTreeMap<UserId, u64>,
}

impl Remembered {
    /// Loads some of a market as a store does: what is remembered, and the rest from the rows. Both must be what the rows say.
    pub fn load(&mut self, rows: &Rows<'_>) {
        self.turns += 1;
        let unit = self.lock(rows.market);
        let wanted = self.wanted(rows);
        let unit = self.unit.insert(unit);
        let (asked, known) = unit.answer(wanted.clone());
        self.asked += (wanted.books.len() + wanted.positions.len()) as u64;
        self.answered_from_memory +=
            (wanted.books.len() + wanted.positions.len() - asked.books.len() - asked.positions.len()) as u64;
        let mut found = rows.found(&asked);
        unit.complete(known, &asked, &mut found);
        let mut right = rows.found(&wanted);
        for positions in [&mut found.positions, &mut right.positions] {
            positions.sort_by_key(|position| position.user);
        }
        assert_eq!(found, right, "what is remembered is what is written");
        assert_eq!(unit.market(rows.market.id), Some(rows.market));
    }

    fn lock(&mut self, market: &Market) -> Lent {
        let mut unit = Lent::of(&self.memory);
        let stamps = vec![(market.id, self.stamps.get(&market.id).copied())];
        let to_load = unit.to_load(&[market.id]);
        let loaded = to_load.iter().map(|_| market.clone()).collect();
        let missing = unit.locked(Locked { stamps, next_stamp: Some(self.draw()), loaded });
        if !missing.is_empty() {
            unit.loaded(missing, vec![market.clone()]);
        }
        unit
    }

    /// Other limits and depths at each turn, and not everybody.
    fn wanted(&self, rows: &Rows<'_>) -> Wanted {
        let limits: [Option<Price>; 5] = [None, Some(price(500)), Some(price(1)), Some(price(999)), Some(price(300))];
        let mut wanted = Wanted::default();
        for (number, (book, side)) in (self.turns..).zip(rows.sides.keys()) {
            if number % 3 != 0 {
                let (limit, depth) = (limits[number as usize % 5], [1, 2, 64, 5][number as usize % 4]);
                wanted.books.push(BookRequest { market: rows.market.id, book: *book, side: *side, limit, depth });
            }
        }
        let pairs = rows.open_counts.keys().map(|user| (*user, rows.market.id));
        let some: Vec<(UserId, MarketId)> = pairs.skip(self.turns as usize % 3).collect();
        (wanted.positions, wanted.open_counts) = (some.clone(), some);
        wanted
    }

    /// What was decided on what was loaded is written: mostly by the unit that loaded it; or its commit is lost, and it is
    /// decided again; or another process does it.
    pub fn write(&mut self, changes: &Changes) {
        let mut unit = self.unit.take();
        let market = changes.markets.first().map(|market| market.id);
        let besides = stamped_besides(changes);
        assert!(besides.iter().all(|id| Some(*id) != market), "each market has its stamp once");
        match (unit.as_mut(), if self.is_alone { 4 } else { self.turns % 5 }) {
            (Some(unit), 0) => {
                unit.begin_to_write();
                unit.wrote(changes);
                unit.give_back();
                self.written_by_others(market.into_iter().chain(besides));
            }
            (Some(unit), 1) => {
                unit.begin_to_write();
                self.written_by_others(market.into_iter().chain(besides));
            }
            (Some(unit), _) => {
                unit.begin_to_write();
                unit.wrote(changes);
                let stamp = unit.next_stamp().unwrap();
                unit.give_back();
                self.stamps.extend(market.into_iter().chain(besides).map(|id| (id, stamp)));
            }
            (None, _) => self.written_by_others(market.into_iter().chain(besides)),
        }
    }

    /// Something of these markets was written, of which this memory does not hear.
    pub fn written_by_others(&mut self, markets: impl IntoIterator<Item = MarketId>) {
        for market in markets {
            let stamp = self.draw();
            self.stamps.insert(market, stamp);
        }
    }

    fn draw(&mut self) -> Stamp {
        self.drawn += 1;
        Stamp(Uuid::from_u128(self.drawn))
    }
}

impl Rows<'_> {
    /// What a store answers.
    fn found(&self, wanted: &Wanted) -> Found {
        let book = |request: &BookRequest| {
            let within = |order: &&Order| match (request.limit, request.side) {
                (None, _) => true,
                (Some(limit), Side::Buy) => order.book_price.unwrap() >= limit,
                (Some(limit), Side::Sell) => order.book_price.unwrap() <= limit,
            };
            let side = self.sides[&(request.book, request.side)].iter().filter(within);
            side.take(request.depth as usize).cloned().collect()
        };
        Found {
            books: wanted.books.iter().map(book).collect(),
            open_counts: wanted.open_counts.iter().map(|(user, _)| self.open_counts[user]).collect(),
            positions: wanted.positions.iter().filter_map(|(user, _)| self.positions.get(user).cloned()).collect(),
            ..Found::default()
        }
    }
}

fn market(number: u128) -> Market {
    let mut world = crate::world::World::new(1, 1_000_000);
    let id = world.open_market(2, 0, None, None);
    let mut market = world.markets[&id].clone();
    market.id = MarketId(Uuid::from_u128(number));
    market
}

/// Locks a market, gives it back; whether it had to be loaded.
fn touch(memory: &Arc<MarketMemory>, number: u128) -> bool {
    let (market, stamp) = (market(number), Stamp(Uuid::from_u128(number)));
    let mut unit = Lent::of(memory);
    let had_to = !unit.to_load(&[market.id]).is_empty();
    let loaded = if had_to { vec![market.clone()] } else { Vec::new() };
    let locked = Locked { stamps: vec![(market.id, Some(stamp))], next_stamp: None, loaded };
    assert!(unit.locked(locked).is_empty());
    had_to
}

#[test]
fn a_memory_that_is_full_forgets_what_was_used_longest_ago() {
    let memory = Arc::new(MarketMemory::of_bytes(40_000));
    for number in 1..=100 {
        assert!(touch(&memory, number), "market {number} is new");
        assert!(number == 1 || !touch(&memory, 1), "market 1 is used all the time");
    }
    assert!((5..100).contains(&memory.len()), "{} of 100 are remembered", memory.len());
    assert!(!touch(&memory, 100), "the newest is remembered");
    assert!(touch(&memory, 2), "the oldest is not");
}

#[test]
fn a_memory_of_no_bytes_remembers_nothing() {
    let memory = Arc::new(MarketMemory::of_bytes(0));
    assert!(touch(&memory, 1) && touch(&memory, 1));
    assert!(memory.is_empty());
}

#[test]
fn a_side_with_very_many_orders_is_remembered_in_part() {
    let mut world = crate::world::World::new(2, 1_000_000_000);
    world.limits.max_open_orders = 10_000;
    world.remembered.is_alone = true;
    world.depth = 64;
    let id = world.open_market(2, 0, None, None);
    for number in 0..1500 {
        let order = world.limit(id, number as usize % 2, 0, Side::Buy, 1 + (number * 37) % 900, 1);
        world.place(&order).unwrap();
    }
    // Fills from the best price on, so far that more has to be loaded again and again.
    for _ in 0..200 {
        let order = world.limit(id, 0, 1, Side::Buy, 999, 4);
        drop(world.place(&order));
    }
    let (answered, asked) = (world.remembered.answered_from_memory, world.remembered.asked);
    assert!(answered * 10 > asked * 9, "{answered} of {asked} came from memory");
}
