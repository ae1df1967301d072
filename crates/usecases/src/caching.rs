//! What is cached follows what is committed.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::market::{Market, MarketStatus};
use bellwether_domain::ports::{
    Accounts, Answers, ApiKeys, Cache, CacheKey, CacheKind, CacheUnreachable, CancelSwitches, Changes, Decided,
    Direction, EventCursors, Failures, Found, JobControl, MailTokens, MarketSort, Markets, Meter, OrderGroups, Orders,
    Positions, Scores, Sessions, StandingSort, Store, StoreError, UnitOfWork, Unmetered, Users, Wanted, Webhooks,
};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::stale::Stale;

/// The pause before an invalidation is repeated; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So many keys wait for an invalidation that could not be carried out. The entries of further ones live
/// until their time is up.
const MOST_WAITING: usize = 100_000;

/// What is cached of a market: as everybody sees it, by its id.
#[must_use]
pub fn market_key(id: MarketId) -> CacheKey {
    CacheKey::new(CacheKind::Market, &id)
}

/// What is cached of a market's book: that of its first outcome, as deep as it is shown to who asks for no
/// certain depth.
#[must_use]
pub fn book_key(id: MarketId) -> CacheKey {
    CacheKey::new(CacheKind::Book, &id)
}

/// In which orders the first page of the list of markets is cached.
pub(crate) const FRONT_ORDERS: [(MarketSort, Direction); 3] = [
    (MarketSort::CreatedAt, Direction::Descending),
    (MarketSort::Volume, Direction::Descending),
    (MarketSort::ClosesAt, Direction::Ascending),
];

/// What is cached of the list of markets: its first page, of markets in any status or in one, in the orders that are asked
/// for most, as long and as whole as who asks for nothing else gets it. None for another order.
///
/// A write ends it that opens, deletes or changes a market. Trades do not: they would end it all the time. So
/// prices and volumes in it, and the order by volume, may be as old as the kind lives.
#[must_use]
pub fn front_page_key(status: Option<MarketStatus>, sort: &[(MarketSort, Direction)]) -> Option<CacheKey> {
    let [order] = sort else { return None };
    let place = FRONT_ORDERS.iter().position(|known| known == order)?;
    let status = status.map_or("any", MarketStatus::as_str);
    Some(CacheKey::new(CacheKind::MarketList, &format_args!("{status}/{place}")))
}

/// What is cached of a market's candles: the newest ones. No write ends them, so they may be as old as the kind lives.
#[must_use]
pub fn candles_key(id: MarketId, outcome: Option<&str>, interval_s: i64, newest: Timestamp, count: u32) -> CacheKey {
    let newest = newest.as_second();
    // As an option, since none is not the same as one without a name, which there is not.
    CacheKey::new(CacheKind::Candles, &format_args!("{id}/{interval_s}/{newest}/{count}/{outcome:?}"))
}

/// What is cached of a leaderboard: its first page, as long and as whole as who asks for nothing else gets it. Whatever
/// changes a score or a user ends it.
#[must_use]
pub fn leaderboard_key(by: StandingSort) -> CacheKey {
    let by = match by {
        StandingSort::Profit => "profit",
        StandingSort::Brier => "brier",
    };
    CacheKey::new(CacheKind::Leaderboard, by)
}

/// What is cached of a user: what everybody may see, by its id. Whatever changes the user ends it.
#[must_use]
pub fn user_key(id: UserId) -> CacheKey {
    CacheKey::new(CacheKind::User, &id)
}

/// A store whose commits end what is cached of what they changed.
///
/// The entries go after the commit: a reader who missed before it, and read the old row, has a lease that the
/// invalidation voids. They go whatever came of the commit, since it may have been carried out where that is unknown.
/// Until they have gone, which is before the commit is told, others may still be shown what was before.
pub struct InvalidatingStore {
    store: Arc<dyn Store>,
    cache: Invalidations,
    meter: Arc<dyn Meter>,
}

impl std::fmt::Debug for InvalidatingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InvalidatingStore(..)")
    }
}

impl InvalidatingStore {
    /// Over a store and the cache of what is read from it.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, cache: Arc<dyn Cache>) -> Self {
        Self { store, cache: Invalidations { cache, waiting: Arc::default() }, meter: Arc::new(Unmetered) }
    }

    /// The same, which tells how long commits take.
    #[must_use]
    pub fn metered(self, meter: Arc<dyn Meter>) -> Self {
        Self { meter, ..self }
    }
}

#[async_trait]
impl Store for InvalidatingStore {
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        let unit = self.store.begin().await?;
        let (cache, meter) = (self.cache.clone(), Arc::clone(&self.meter));
        Ok(Box::new(Unit { unit, cache, meter, stale: BTreeSet::new(), versions: HashMap::new() }))
    }
}

/// A unit of work that knows what it makes stale.
struct Unit {
    unit: Box<dyn UnitOfWork>,
    cache: Invalidations,
    meter: Arc<dyn Meter>,
    stale: BTreeSet<Stale>,
    /// Of the markets that were loaded.
    versions: HashMap<MarketId, i64>,
}

impl Unit {
    /// Whether changes are such that lists of markets show them: all but what trading does. That leaves a market's
    /// version as it was; where nobody saw which that was, an open market with changed orders has been traded in.
    fn is_shown_in_lists(&self, changes: &Changes) -> bool {
        let is_traded = |id| changes.new_orders.iter().chain(&changes.orders).any(|order| order.market == id);
        let is_edited = |market: &Market| match self.versions.get(&market.id) {
            Some(version) => *version != market.version,
            None => market.status != MarketStatus::Open || !is_traded(market.id),
        };
        !changes.new_markets.is_empty() || !changes.deleted_markets.is_empty() || changes.markets.iter().any(is_edited)
    }
}

#[async_trait]
impl UnitOfWork for Unit {
    fn users(&mut self) -> &mut dyn Users {
        self.unit.users()
    }

    fn accounts(&mut self) -> &mut dyn Accounts {
        self.unit.accounts()
    }

    fn markets(&mut self) -> &mut dyn Markets {
        self.unit.markets()
    }

    fn orders(&mut self) -> &mut dyn Orders {
        self.unit.orders()
    }

    fn positions(&mut self) -> &mut dyn Positions {
        self.unit.positions()
    }

    fn answers(&mut self) -> &mut dyn Answers {
        self.unit.answers()
    }

    fn sessions(&mut self) -> &mut dyn Sessions {
        self.unit.sessions()
    }

    fn mail_tokens(&mut self) -> &mut dyn MailTokens {
        self.unit.mail_tokens()
    }

    fn failures(&mut self) -> &mut dyn Failures {
        self.unit.failures()
    }

    fn api_keys(&mut self) -> &mut dyn ApiKeys {
        self.unit.api_keys()
    }

    fn webhooks(&mut self) -> &mut dyn Webhooks {
        self.unit.webhooks()
    }

    fn event_cursors(&mut self) -> &mut dyn EventCursors {
        self.unit.event_cursors()
    }

    fn order_groups(&mut self) -> &mut dyn OrderGroups {
        self.unit.order_groups()
    }

    fn jobs(&mut self) -> &mut dyn JobControl {
        self.unit.jobs()
    }

    fn cancel_switches(&mut self) -> &mut dyn CancelSwitches {
        self.unit.cancel_switches()
    }

    fn scores(&mut self) -> &mut dyn Scores {
        self.unit.scores()
    }

    async fn load(&mut self, wanted: Wanted) -> Result<Found, StoreError> {
        let found = self.unit.load(wanted).await?;
        self.versions.extend(found.markets.iter().map(|market| (market.id, market.version)));
        Ok(found)
    }

    async fn write(&mut self, changes: &Changes) -> Result<(), StoreError> {
        self.stale.extend(Stale::of_changes(changes, self.is_shown_in_lists(changes)));
        self.unit.write(changes).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.commit_telling(Box::new(|| {})).await
    }

    /// In a task of its own, which runs to its end even if whoever commits is stopped: the store may go through with it
    /// all the same, and what it made stale has to end after it.
    async fn commit_telling(self: Box<Self>, decided: Decided) -> Result<(), StoreError> {
        let Self { unit, cache, meter, stale, .. } = *self;
        let committing = tokio::spawn(async move {
            let begun = Instant::now();
            let result = unit.commit_telling(decided).await;
            cache.end(stale).await;
            meter.committed(begun.elapsed());
            result
        });
        committing.await.unwrap_or_else(|error| Err(StoreError::OutcomeUnknown(error.into())))
    }

    async fn rollback(self: Box<Self>) -> Result<(), StoreError> {
        self.unit.rollback().await
    }
}

/// Ends entries, and goes on trying where the cache cannot be reached. Clones are the same.
#[derive(Clone)]
struct Invalidations {
    cache: Arc<dyn Cache>,
    waiting: Arc<Mutex<Waiting>>,
}

/// What could not be ended yet.
#[derive(Default)]
struct Waiting {
    keys: BTreeSet<CacheKey>,
    /// Whether a task tries again.
    is_tried: bool,
}

impl Invalidations {
    async fn end(&self, stale: BTreeSet<Stale>) {
        let keys = Stale::keys(&stale);
        if keys.is_empty() || self.cache.invalidate(&keys).await.is_ok() {
            return;
        }
        let mut waiting = self.waiting();
        waiting.put(keys);
        if !std::mem::replace(&mut waiting.is_tried, true) {
            tracing::warn!("the cache cannot be reached; what it holds of what was written is ended when it can");
            tokio::spawn(self.clone().repeat());
        }
    }

    /// Until all have gone.
    async fn repeat(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            // They are taken out before they are ended: one that is put aside meanwhile was committed after
            // this began, maybe, and has to be ended once more.
            let keys: Vec<CacheKey> = std::mem::take(&mut self.waiting().keys).into_iter().collect();
            let result = self.cache.invalidate(&keys).await;
            let mut waiting = self.waiting();
            match result {
                Ok(()) if waiting.keys.is_empty() => {
                    waiting.is_tried = false;
                    tracing::info!("the cache can be reached again, and holds nothing stale");
                    return;
                }
                Ok(()) => pause = FIRST_PAUSE,
                Err(CacheUnreachable) => {
                    waiting.put(keys);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn put(&mut self, keys: Vec<CacheKey>) {
        let room = MOST_WAITING.saturating_sub(self.keys.len());
        self.keys.extend(keys.into_iter().take(room));
    }
}
