//! Markets that a store keeps in memory between units of work, with what their locks guard: the best orders of their
//! books, positions, and how many orders users have open.
//!
//! **Why it is right.** Each market has a [`Stamp`], a number that is drawn at random whenever its row, an order, a position
//! or a trade of it is written, and is written in the same transaction. A unit of work reads it under the lock. Where it is
//! the one under which memory knows the market, nothing has been written since: neither by this process nor by another
//! one, since whoever writes draws a new stamp. Nor was what memory knows undone, by a transaction that failed or by a
//! crash of the database: the stamp would be gone with it, and is never drawn again. So nothing has to be told to
//! anybody, and what memory has of a market may be wrong as long as nobody uses it. With another stamp, or none, the
//! market is loaded as if there were no memory.
//!
//! A unit has a [`Lent`] part of the memory: it takes markets out when it has locked them, learns from what it loads,
//! follows what it writes, and gives them back before it commits.

mod known;
mod lent;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::ids::MarketId;
use crate::market::Market;
use known::KnownMarket;
pub use lent::{FromMemory, Lent, stamped_besides};

/// What a market has anew, of 122 random bits or more, whenever its row, an order, a position or a trade of it is written.
/// What else its lock guards (groups of orders, what is counted of it) has no part in this, and is not remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(pub Uuid);

/// What a store read of markets that it has locked.
#[derive(Debug, Default)]
pub struct Locked {
    /// Their stamps, read under their locks, in id order: none of a market that has none yet, or none any more.
    pub stamps: Vec<(MarketId, Option<Stamp>)>,
    /// A stamp that nothing has yet.
    pub next_stamp: Option<Stamp>,
    /// Those of the markets that were loaded as well.
    pub loaded: Vec<Market>,
}

/// One market has at most such a part of the memory.
const MOST_SHARE: usize = 8;

/// The markets that a store remembers, those used last, up to a number of bytes.
#[derive(Debug)]
pub struct MarketMemory {
    remembered: Mutex<Remembered>,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct Remembered {
    markets: HashMap<MarketId, Entry>,
    /// Those used longest ago come first.
    by_use: BTreeMap<u64, MarketId>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    market: Box<KnownMarket>,
    used: u64,
    bytes: usize,
}

impl Default for MarketMemory {
    /// Some hundred thousand orders or positions.
    fn default() -> Self {
        Self::of_bytes(64 << 20)
    }
}

impl MarketMemory {
    /// A memory of about so many bytes at most; of none, it remembers nothing.
    #[must_use]
    pub fn of_bytes(most_bytes: usize) -> Self {
        Self { remembered: Mutex::default(), most_bytes }
    }

    /// How many markets it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().markets.len()
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it remembers a market that is likely to be as it was.
    fn is_likely_current(&self, id: MarketId) -> bool {
        self.lock().markets.get(&id).is_some_and(|entry| !entry.market.is_contended())
    }

    /// Takes out what it remembers of a market.
    fn take(&self, id: MarketId) -> Option<Box<KnownMarket>> {
        self.lock().remove(id)
    }

    /// Remembers a market, in the place of what it knew of it, and forgets others where there is no room. One that would
    /// take the room of very many others is forgotten itself.
    fn put(&self, market: Box<KnownMarket>) {
        let (id, bytes) = (market.id(), market.bytes());
        // They are dropped when others can go on.
        let mut forgotten = Vec::new();
        let mut remembered = self.lock();
        forgotten.extend(remembered.remove(id));
        if bytes > self.most_bytes.div_euclid(MOST_SHARE) {
            return;
        }
        let used = remembered.uses;
        remembered.uses = used.saturating_add(1);
        remembered.bytes = remembered.bytes.saturating_add(bytes);
        remembered.by_use.insert(used, id);
        remembered.markets.insert(id, Entry { market, used, bytes });
        while remembered.bytes > self.most_bytes {
            let Some((_, oldest)) = remembered.by_use.pop_first() else { break };
            forgotten.extend(remembered.remove(oldest));
        }
        drop(remembered);
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn remove(&mut self, id: MarketId) -> Option<Box<KnownMarket>> {
        let entry = self.markets.remove(&id)?;
        self.by_use.remove(&entry.used);
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        Some(entry.market)
    }
}
