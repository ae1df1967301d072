//! The books of markets that somebody follows, kept in step with their events.
//!
//! Orders are matched on as much of a book as they need, so nobody who writes an event knows the book's best
//! ten prices. Who follows does: a book is read whole once, and every later change of it is an event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bellwether_domain::event::{BookData, LevelData};
use bellwether_domain::ids::MarketId;
use bellwether_domain::money::Price;
use bellwether_domain::order::Side;
use bellwether_domain::ports::BookLevel;
use jiff::Timestamp;

use super::message::{BookChecksum, BookSnapshot, Message, SNAPSHOT, Snapshot};

/// A checksum is over so many prices of each side.
const CHECKED: usize = 10;

/// One book: how many shares and orders rest at each price.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    /// The sequence of the last change that is in it.
    sequence: i64,
    bids: BTreeMap<Price, (i64, i64)>,
    asks: BTreeMap<Price, (i64, i64)>,
}

/// What is known of a market's books.
enum Known {
    /// They are being read; what has changed meanwhile, and who waits for them.
    Loading { load: u64, changes: Vec<BookData>, waiting: Vec<u64> },
    /// Whole, by the place of their outcome; and what is told of them as they are, where somebody has asked since the last
    /// change: many follow the same market, and come back at once.
    Whole { books: BTreeMap<u8, Book>, told: Option<Arc<Message>> },
}

/// What is to be done for who wants a market's books.
pub(super) enum Wanted {
    /// They are to be read, and handed in with [`Books::loaded`] by this number.
    Load(u64),
    /// Somebody else reads them; one is told when they are there.
    Wait,
    /// Here they are.
    Here(Arc<Message>),
}

/// The books of markets that are followed.
#[derive(Default)]
pub(super) struct Books {
    known: HashMap<MarketId, Known>,
    /// How often books were asked for. Each load has its number: one that was given up, and what it has read, is not taken
    /// for the next one of the same market, although both may be for the same stream.
    loads: u64,
}

impl Book {
    /// A book that was read.
    pub(super) fn of(levels: &[BookLevel], sequence: i64) -> Self {
        let mut book = Self { sequence, ..Self::default() };
        for level in levels {
            let orders = i64::try_from(level.orders).unwrap_or(i64::MAX);
            book.side(level.side).insert(level.price, (level.quantity.count(), orders));
        }
        book
    }

    fn side(&mut self, side: Side) -> &mut BTreeMap<Price, (i64, i64)> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    fn change(&mut self, level: &LevelData) {
        let side = self.side(level.side);
        let (shares, orders) = side.entry(level.price).or_default();
        (*shares, *orders) = (shares.saturating_add(level.change), orders.saturating_add(level.orders));
        if *orders <= 0 {
            side.remove(&level.price);
        }
    }

    /// As `GET /markets/{id}/book` sums a book of this depth.
    fn checksum(&self) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        let bids = self.bids.iter().rev().take(CHECKED).map(|level| ("bid", level));
        let asks = self.asks.iter().take(CHECKED).map(|level| ("ask", level));
        for (side, (price, (shares, _))) in bids.chain(asks) {
            sum.update(format!("{side}:{price}:{shares};").as_bytes());
        }
        sum.finalize()
    }

    fn snapshot(&self, book: u8) -> BookSnapshot {
        let level = |side| {
            move |(price, (change, orders)): (&Price, &(i64, i64))| LevelData {
                book,
                side,
                price: *price,
                change: *change,
                orders: *orders,
            }
        };
        let bids = self.bids.iter().rev().map(level(Side::Buy));
        let levels = bids.chain(self.asks.iter().map(level(Side::Sell))).collect();
        BookSnapshot { book, sequence: self.sequence, levels, checksum: self.checksum() }
    }
}

fn snapshot(market_id: MarketId, books: &BTreeMap<u8, Book>, now: Timestamp) -> Arc<Message> {
    let books = books.iter().map(|(number, book)| book.snapshot(*number)).collect();
    Message::notice(SNAPSHOT, now, Snapshot { market_id, books })
}

/// Applies a change to the books that it is newer than; the checksums of those that it changed. What was read
/// may be ahead of the events.
fn apply(books: &mut BTreeMap<u8, Book>, change: &BookData) -> Vec<BookChecksum> {
    let mut changed = Vec::new();
    for (number, book) in books.iter_mut().filter(|(_, book)| book.sequence < change.sequence) {
        let mut levels = change.levels.iter().filter(|level| level.book == *number).peekable();
        let is_changed = levels.peek().is_some();
        levels.for_each(|level| book.change(level));
        book.sequence = change.sequence;
        if is_changed {
            changed.push(BookChecksum { book: *number, checksum: book.checksum() });
        }
    }
    changed
}

impl Books {
    /// Somebody wants the books of a market.
    pub(super) fn want(&mut self, market: MarketId, who: u64, now: Timestamp) -> Wanted {
        match self.known.get_mut(&market) {
            Some(Known::Whole { books, told }) => {
                Wanted::Here(Arc::clone(told.get_or_insert_with(|| snapshot(market, books, now))))
            }
            Some(Known::Loading { waiting, .. }) => {
                waiting.push(who);
                Wanted::Wait
            }
            None => {
                self.loads = self.loads.wrapping_add(1);
                let load = self.loads;
                self.known.insert(market, Known::Loading { load, changes: Vec::new(), waiting: vec![who] });
                Wanted::Load(load)
            }
        }
    }

    /// Whether a load of a market's books is still wanted.
    pub(super) fn is_loading(&self, market: MarketId, number: u64) -> bool {
        matches!(self.known.get(&market), Some(Known::Loading { load, .. }) if *load == number)
    }

    /// The books of a market were read by the load of that number; what to tell, and all who wait for it. None
    /// where they were forgotten meanwhile: then what has changed since is not known.
    pub(super) fn loaded(
        &mut self,
        market: MarketId,
        number: u64,
        mut books: BTreeMap<u8, Book>,
        now: Timestamp,
    ) -> Option<(Arc<Message>, Vec<u64>)> {
        if !self.is_loading(market, number) {
            return None;
        }
        let Some(Known::Loading { changes, waiting, .. }) = self.known.remove(&market) else { return None };
        for change in &changes {
            apply(&mut books, change);
        }
        let snapshot = snapshot(market, &books, now);
        self.known.insert(market, Known::Whole { books, told: Some(Arc::clone(&snapshot)) });
        Some((snapshot, waiting))
    }

    /// One who waits for the books of a market wants them no longer.
    pub(super) fn no_longer_wanted(&mut self, market: MarketId, who: u64) {
        if let Some(Known::Loading { waiting, .. }) = self.known.get_mut(&market) {
            waiting.retain(|number| *number != who);
        }
    }

    /// Nobody follows the market any more, or its books could not be read.
    pub(super) fn forget(&mut self, market: MarketId) {
        self.known.remove(&market);
    }

    /// Nobody follows anything: what happens from now on is not heard of.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    /// Hears of a change; the checksums after it, where the books are known and were not ahead of it.
    pub(super) fn hear(&mut self, change: &BookData) -> Vec<BookChecksum> {
        match self.known.get_mut(&change.market_id) {
            Some(Known::Whole { books, told }) => {
                *told = None;
                apply(books, change)
            }
            Some(Known::Loading { changes, .. }) => {
                changes.push(change.clone());
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bellwether_domain::market::OutcomeId;
    use bellwether_domain::money::Shares;
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    const MARKET: MarketId = MarketId(Uuid::nil());

    fn level(side: Side, mills: i64, change: i64, orders: i64) -> LevelData {
        LevelData { book: 0, side, price: Price::from_mills(mills).unwrap(), change, orders }
    }

    fn change(sequence: i64, levels: Vec<LevelData>) -> BookData {
        BookData { market_id: MARKET, sequence, levels }
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    /// The sequence and the checksum of the first book in a snapshot.
    fn first_of(snapshot: &Message) -> (i64, u32) {
        let told: Value = serde_json::from_str(&snapshot.json).unwrap();
        let book = &told["data"]["books"][0];
        let checksum = book["checksum"].as_u64().and_then(|sum| u32::try_from(sum).ok());
        (book["sequence"].as_i64().unwrap(), checksum.unwrap())
    }

    fn read(side: Side, mills: i64, count: i64) -> BookLevel {
        let price = Price::from_mills(mills).unwrap();
        BookLevel { book: OutcomeId::FIRST, side, price, quantity: Shares::new(count), orders: 1 }
    }

    #[test]
    fn a_book_that_was_read_ahead_of_events_is_changed_by_later_ones_alone() {
        let mut books = Books::default();
        assert!(matches!(books.want(MARKET, 1, now()), Wanted::Load(1)));
        assert!(matches!(books.want(MARKET, 2, now()), Wanted::Wait));
        assert_eq!(books.hear(&change(5, vec![level(Side::Buy, 400, 7, 1)])), []);
        assert_eq!(books.hear(&change(9, vec![level(Side::Buy, 400, -2, 0)])), []);
        // Read at 6: the first change is in it, the second is not.
        let read = Book::of(&[read(Side::Buy, 400, 7), read(Side::Sell, 450, 1)], 6);
        let (snapshot, waiting) = books.loaded(MARKET, 1, BTreeMap::from([(0, read)]), now()).unwrap();
        assert_eq!(waiting, [1, 2]);
        assert_eq!(first_of(&snapshot), (9, crc32fast::hash(b"bid:0.400:5;ask:0.450:1;")));
        let sums = books.hear(&change(12, vec![level(Side::Buy, 400, -5, -1), level(Side::Buy, 390, 1, 1)]));
        assert_eq!(sums, [BookChecksum { book: 0, checksum: crc32fast::hash(b"bid:0.390:1;ask:0.450:1;") }]);
        assert_eq!(books.hear(&change(12, vec![level(Side::Buy, 390, 1, 1)])), [], "it was heard of before");
    }

    #[test]
    fn a_load_that_was_given_up_is_not_taken_for_the_next_one_of_the_same_stream() {
        let mut books = Books::default();
        assert!(matches!(books.want(MARKET, 7, now()), Wanted::Load(1)));
        books.forget(MARKET);
        // Nobody follows it now, so that this is heard by nobody.
        assert_eq!(books.hear(&change(5, vec![level(Side::Buy, 400, 7, 1)])), []);
        assert!(matches!(books.want(MARKET, 7, now()), Wanted::Load(2)));
        assert!(!books.is_loading(MARKET, 1));
        assert!(books.loaded(MARKET, 1, BTreeMap::from([(0, Book::of(&[], 4))]), now()).is_none());
        let read = Book::of(&[read(Side::Buy, 400, 7)], 5);
        let (snapshot, waiting) = books.loaded(MARKET, 2, BTreeMap::from([(0, read)]), now()).unwrap();
        assert_eq!((first_of(&snapshot).0, waiting), (5, vec![7]));
    }

    #[test]
    fn all_who_come_between_two_changes_are_told_of_a_book_by_one_message_and_who_comes_later_by_another() {
        let mut books = Books::default();
        let here = |books: &mut Books, who| match books.want(MARKET, who, now()) {
            Wanted::Here(snapshot) => snapshot,
            Wanted::Load(_) | Wanted::Wait => panic!("the books are not there"),
        };
        assert!(matches!(books.want(MARKET, 1, now()), Wanted::Load(1)));
        let read = Book::of(&[read(Side::Buy, 400, 7)], 5);
        let (first, _) = books.loaded(MARKET, 1, BTreeMap::from([(0, read)]), now()).unwrap();
        assert!(Arc::ptr_eq(&first, &here(&mut books, 2)) && Arc::ptr_eq(&first, &here(&mut books, 3)));
        books.hear(&change(9, vec![level(Side::Buy, 400, -2, 0)]));
        let second = here(&mut books, 4);
        assert_eq!(first_of(&second), (9, crc32fast::hash(b"bid:0.400:5;")));
        assert!(Arc::ptr_eq(&second, &here(&mut books, 5)));
    }
}
