//! Streaming replicas: which of them is near enough for whom.
//!
//! Every tenth of a second each replica is asked how far it has replayed the log, and the primary how far it has
//! written it. A replica that does not answer, that is none, or that was left behind is not read from. Who wrote
//! something through this process, or whom it has read an event of, is remembered with the place in the log that he has to
//! be read at: his reads go to a replica that has passed it, else to the primary. So nobody waits, and nobody misses what
//! this process told him.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_domain::event::{Event, EventBatch};
use bellwether_domain::ids::UserId;
use bellwether_domain::ledger::Owner;
use bellwether_domain::ports::{Changes, Queries, Replicas, StoreError};
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::error::Trouble;
use crate::reads::ReadsOf;
use crate::sql::Sql;
use crate::store::{PgOptions, PgStore};

/// How often all are asked where they are.
const POLL: Duration = Duration::from_millis(100);
/// How long one may take to say so.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a read waits for a replica before it goes to the primary.
const READ_PATIENCE: Duration = Duration::from_secs(1);
/// So many writers are remembered before those are forgotten whom every replica must have passed.
const MANY_WRITERS: usize = 10_000;
/// Where the primary is counts for what was written so long before it was heard: longer than it takes to say so, and
/// than a commit may be under way that nobody waits for any more.
const HEARSAY: Duration = Duration::from_secs(1);
/// Where a replica is that is not read from.
const OUT: i64 = i64::MIN;
/// A place that no replica reaches: for what may have been written, nobody knows where.
const NOWHERE: i64 = i64::MAX;

const PRIMARY_AT: &str =
    "SELECT (pg_current_wal_lsn() - '0/0')::bigint, (SELECT system_identifier FROM pg_control_system())";
const REPLICA_AT: &str = "SELECT coalesce((pg_last_wal_replay_lsn() - '0/0')::bigint, 0), \
                          (SELECT system_identifier FROM pg_control_system()), pg_is_in_recovery()";

/// The places in the log that writers have to be read at.
#[derive(Debug, Default)]
pub(crate) struct RecentWrites(Mutex<Writers>);

#[derive(Debug, Default)]
struct Writers {
    places: HashMap<UserId, (i64, Instant)>,
    /// Every replica that is read from has what was written until then; none where that is not known yet.
    passed: Option<Instant>,
    /// Of all batches of events above the first position and up to the second it is remembered whom they are about: so
    /// of several who follow the outbox only one looks into each.
    told: (i64, i64),
}

impl Writers {
    fn is_told(&self, position: i64) -> bool {
        let (after, last) = self.told;
        after < position && position <= last
    }

    /// All above one position, up to another, are known. Where that is apart from what was known, the later of both stays.
    fn add_told(&mut self, after: i64, last: i64) {
        let (known_after, known_last) = self.told;
        if after <= known_last && known_after <= last {
            self.told = (known_after.min(after), known_last.max(last));
        } else if known_last < after {
            self.told = (after, last);
        }
    }

    fn has_passed(&self, written: Instant) -> bool {
        self.passed.is_some_and(|passed| written <= passed)
    }

    fn forget_passed(&mut self) {
        let Some(passed) = self.passed else { return };
        self.places.retain(|_, (_, written)| *written > passed);
    }
}

impl RecentWrites {
    /// Every replica that is read from has passed the place that was heard of the primary at that moment. Moments come
    /// in their order; none does while the primary is not heard of, however long that is.
    fn passed(&self, heard: Instant) {
        self.writers().passed = heard.checked_sub(HEARSAY);
    }

    /// Remembers what was committed for these users at that place; none where nobody knows whether it was.
    pub(crate) fn put(&self, users: &HashSet<UserId>, place: Option<i64>) {
        let (place, now) = (place.unwrap_or(NOWHERE), Instant::now());
        let mut writers = self.writers();
        if writers.places.len() > MANY_WRITERS {
            writers.forget_passed();
        }
        for user in users {
            let written = writers.places.entry(*user).or_insert((place, now));
            *written = (written.0.max(place), now);
        }
    }

    /// Remembers whom these batches are about, which are all that follow that position and were committed, wherever that
    /// was, before the log reached that place.
    pub(crate) fn told(&self, after: i64, batches: &[EventBatch], place: i64) {
        let Some(last) = batches.last() else { return };
        let is_new: Vec<bool> = {
            let writers = self.writers();
            batches.iter().map(|batch| !writers.is_told(batch.position)).collect()
        };
        let new = batches.iter().zip(is_new).filter_map(|(batch, is_new)| is_new.then_some(batch));
        let users: HashSet<UserId> = new.flat_map(told_of).collect();
        self.put(&users, Some(place));
        // Not sooner: who finds them known may tell of them.
        self.writers().add_told(after, last.position);
    }

    /// Where a reader has to be read at.
    fn of(&self, reader: Option<UserId>) -> i64 {
        let Some(reader) = reader else { return 0 };
        let mut writers = self.writers();
        match writers.places.get(&reader) {
            Some((_, at)) if writers.has_passed(*at) => {
                writers.places.remove(&reader);
                0
            }
            Some((place, _)) => *place,
            None => 0,
        }
    }

    fn writers(&self) -> MutexGuard<'_, Writers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose things changes are, and who made them.
pub(crate) fn concerned(changes: &Changes) -> impl Iterator<Item = UserId> {
    let accounts = changes.accounts.iter().chain(&changes.new_accounts).filter_map(|account| match account.owner {
        Owner::User(user) => Some(user),
        _ => None,
    });
    let orders = changes.new_orders.iter().chain(&changes.orders).map(|order| order.user);
    let users = changes.new_users.iter().chain(&changes.users).map(|user| user.id);
    let makers = changes.events.iter().filter_map(|event| event.actor.user());
    let creators = changes.new_markets.iter().map(|market| market.creator).chain(creators_told(&changes.news));
    // Where something is proposed nobody trades any more, so these are few.
    let proposals = changes.markets.iter().filter_map(|market| market.proposal.as_ref());
    let proposers = proposals.flat_map(|proposal| [Some(proposal.proposed_by), proposal.disputed_by]).flatten();
    let positions = changes.positions.iter().map(|position| position.user);
    accounts.chain(orders).chain(users).chain(makers).chain(creators).chain(proposers).chain(positions)
}

/// Whom a batch tells of something that is theirs. What this version cannot read it tells nobody.
fn told_of(batch: &EventBatch) -> HashSet<UserId> {
    let events: Vec<Event> = batch.events().unwrap_or_default().into_iter().map(|recorded| recorded.event).collect();
    events.iter().flat_map(Event::users).flatten().chain(creators_told(&events)).collect()
}

/// Whose markets went on, were edited or deleted. Orders and trades change markets too, but tell of themselves alone: so
/// whoever opened a busy market may still be answered by a replica.
fn creators_told(news: &[Event]) -> impl Iterator<Item = UserId> {
    news.iter().filter_map(|event| match event {
        Event::MarketUpdated(data)
        | Event::MarketHalted(data)
        | Event::MarketReopened(data)
        | Event::MarketClosed(data)
        | Event::MarketProposed(data)
        | Event::MarketDisputed(data)
        | Event::MarketResolved(data)
        | Event::MarketVoided(data)
        | Event::MarketPaid(data)
        | Event::MarketDeleted(data) => Some(data.creator_id),
        _ => None,
    })
}

/// One replica.
pub(crate) struct Replica {
    /// Its number in the list, from 1: what logs call it.
    number: usize,
    pub(crate) store: PgStore,
    /// How far it has replayed the log.
    place: AtomicI64,
}

impl Replica {
    /// Is not read from until it was heard of again.
    pub(crate) fn leave_out(&self, why: &str) {
        if self.place.swap(OUT, Ordering::Relaxed) != OUT {
            tracing::warn!(replica = self.number, why, "a replica is left out; the primary answers");
        }
    }

    fn take_in(&self, place: i64) {
        if self.place.swap(place, Ordering::Relaxed) == OUT {
            tracing::info!(replica = self.number, "a replica is read from");
        }
    }

    /// How far it is, if it is a replica of that system.
    async fn ask(&self, system: i64) -> Result<i64, String> {
        let asked = async {
            let row = self.store.connection().await?.one(Sql::new(REPLICA_AT)).await?;
            let mut row = row.ok_or_else(|| StoreError::Corrupt("no answer".to_owned()))?;
            Ok::<_, StoreError>((row.int()?, row.int()?, row.flag()?))
        };
        match timeout(PATIENCE, asked).await {
            Err(_) => Err("it does not answer".to_owned()),
            Ok(Err(error)) => Err(told(&error)),
            Ok(Ok((_, of, _))) if of != system => Err("it is a copy of another database".to_owned()),
            Ok(Ok((_, _, false))) => Err("it is no replica: it takes writes".to_owned()),
            Ok(Ok((place, ..))) => Ok(place),
        }
    }
}

fn told(error: &StoreError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// A primary and its replicas.
pub struct PgReplicas {
    primary: Arc<PgStore>,
    replicas: Vec<Arc<Replica>>,
    recent: Arc<RecentWrites>,
    turn: AtomicUsize,
    watching: JoinHandle<()>,
}

impl std::fmt::Debug for PgReplicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgReplicas").field("replicas", &self.replicas.len()).finish_non_exhaustive()
    }
}

impl PgReplicas {
    /// Reads from the replicas at these URLs as soon as they were heard of, and from none that lags further than
    /// `max_lag`. A replica need not be there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] where a URL cannot be used at all.
    pub fn start(
        primary: Arc<PgStore>,
        urls: &[String],
        options: PgOptions,
        max_lag: Duration,
    ) -> Result<Self, StoreError> {
        let options = PgOptions { pool_timeout: READ_PATIENCE, io_timeout: READ_PATIENCE, ..options };
        let replica = |(number, url): (usize, &String)| {
            let store = PgStore::lazy(url, options)?;
            Ok(Arc::new(Replica { number, store, place: AtomicI64::new(OUT) }))
        };
        let replicas = (1..).zip(urls).map(replica).collect::<Result<Vec<_>, StoreError>>()?;
        let recent = Arc::new(RecentWrites::default());
        if !primary.remember_writes(Arc::clone(&recent)) {
            return Err(Trouble::Unfit("the primary has replicas already".to_owned()).into());
        }
        let watch = Watch {
            primary: Arc::clone(&primary),
            replicas: replicas.clone(),
            recent: Arc::clone(&recent),
            max_lag,
            samples: VecDeque::new(),
        };
        let watching = tokio::spawn(watch.run());
        Ok(Self { primary, replicas, recent, turn: AtomicUsize::new(0), watching })
    }

    /// The next replica in turn that has passed that place.
    fn past(&self, place: i64) -> Option<Arc<Replica>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..self.replicas.len()).map(|n| first.wrapping_add(n) % self.replicas.len());
        let mut replicas = in_turn.filter_map(|index| self.replicas.get(index));
        replicas.find(|replica| replica.place.load(Ordering::Relaxed) >= place).cloned()
    }
}

impl Replicas for PgReplicas {
    fn queries_of(&self, reader: Option<UserId>) -> Arc<dyn Queries> {
        match self.past(self.recent.of(reader)) {
            Some(replica) => Arc::new(ReadsOf::new(replica, Arc::clone(&self.primary))),
            None => self.primary.clone(),
        }
    }
}

impl Drop for PgReplicas {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// Asks all where they are, again and again.
struct Watch {
    primary: Arc<PgStore>,
    replicas: Vec<Arc<Replica>>,
    recent: Arc<RecentWrites>,
    max_lag: Duration,
    /// Where the primary was when, the oldest first; no older than may be lagged behind.
    samples: VecDeque<(Instant, i64)>,
}

impl Watch {
    async fn run(mut self) {
        let mut system = None;
        loop {
            if let Some((place, of)) = self.ask_primary().await {
                system = Some(of);
                self.samples.push_back((Instant::now(), place));
            }
            if let Some(system) = system {
                self.look_at_replicas(system).await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Where it is, and which system it is. Where it does not answer its replicas are as near as can be.
    async fn ask_primary(&self) -> Option<(i64, i64)> {
        let asked = async {
            let mut row = self.primary.connection().await.ok()?.one(Sql::new(PRIMARY_AT)).await.ok()??;
            Some((row.int().ok()?, row.int().ok()?))
        };
        timeout(PATIENCE, asked).await.ok()?
    }

    async fn look_at_replicas(&mut self, system: i64) {
        let places = join_all(self.replicas.iter().map(|replica| replica.ask(system))).await;
        while self.samples.len() > 1 && self.samples.front().is_some_and(|(at, _)| at.elapsed() > self.max_lag) {
            self.samples.pop_front();
        }
        let Some((heard, oldest)) = self.samples.front().copied() else { return };
        for (replica, place) in self.replicas.iter().zip(places) {
            match place {
                Ok(place) if place >= oldest => replica.take_in(place),
                Ok(_) => replica.leave_out("it lags too far behind"),
                Err(why) => replica.leave_out(&why),
            }
        }
        self.recent.passed(heard);
    }
}

#[cfg(test)]
mod tests {
    use bellwether_conformance::opened_market;
    use bellwether_domain::event::{BalanceData, MarketData};
    use bellwether_domain::ids::MarketId;
    use bellwether_domain::market::{OutcomeId, Proposal, Weights};
    use bellwether_domain::money::Credits;
    use bellwether_domain::text::Slug;
    use jiff::Timestamp;

    use super::*;

    fn user(number: u128) -> UserId {
        UserId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_market_is_the_business_of_who_opened_it_and_who_named_or_disputed_its_outcome_but_trades_in_it_are_not() {
        let whose = |changes: Changes| concerned(&changes).collect::<HashSet<_>>();
        let (id, slug) = (MarketId(user(1).0), Slug::parse("rain").unwrap());
        let mut market = opened_market(id, slug, user(1), Timestamp::UNIX_EPOCH);
        let markets = vec![market.clone()];
        assert_eq!(whose(Changes { markets: markets.clone(), ..Changes::default() }), HashSet::new());
        let news = vec![Event::MarketUpdated(MarketData::of(&market))];
        assert_eq!(whose(Changes { markets, news, ..Changes::default() }), HashSet::from([user(1)]));
        let news = vec![Event::MarketDeleted(MarketData::of(&market))];
        let deleted = Changes { deleted_markets: vec![market.id], news, ..Changes::default() };
        assert_eq!(whose(deleted), HashSet::from([user(1)]));
        market.proposal = Some(Proposal {
            weights: Weights::winner(OutcomeId::FIRST, 2),
            evidence_url: None,
            proposed_by: user(2),
            proposed_at: Timestamp::UNIX_EPOCH,
            challenge_until: Timestamp::UNIX_EPOCH,
            disputed_by: Some(user(3)),
            dispute_reason: None,
        });
        let news = vec![Event::MarketDisputed(MarketData::of(&market))];
        let disputed = Changes { markets: vec![market], news, ..Changes::default() };
        assert_eq!(whose(disputed), HashSet::from([user(1), user(2), user(3)]));
    }

    #[test]
    fn whoever_is_told_is_read_behind_what_he_is_told_of() {
        let batch = |position: i64, who: u128| {
            let none = Credits::ZERO;
            let data = Box::new(BalanceData { user_id: user(who), balance: none, held: none, available: none });
            let payload = serde_json::to_string(&[Event::BalanceChanged(data)]).unwrap();
            EventBatch { position, at: Timestamp::UNIX_EPOCH, payload }
        };
        let recent = RecentWrites::default();
        let read_at = || [1, 2, 3].map(|who| recent.of(Some(user(who))));
        recent.told(10, &[batch(11, 1), batch(13, 2)], 500);
        assert_eq!(read_at(), [500, 500, 0]);
        // Another follower reads them again, and one more.
        recent.told(11, &[batch(13, 2), batch(14, 1)], 700);
        assert_eq!(read_at(), [700, 500, 0]);
        // One that is behind.
        recent.told(3, &[batch(4, 3)], 800);
        assert_eq!(read_at(), [700, 500, 800]);
        let unread = EventBatch { payload: "[{}]".to_owned(), ..batch(15, 2) };
        recent.told(14, &[unread], 900);
        assert_eq!(read_at(), [700, 500, 800]);
    }

    /// However long that takes: a primary that is too busy to say where it is does not make replicas nearer.
    #[test]
    fn a_writer_is_read_where_it_wrote_until_every_replica_is_past_that() {
        let recent = RecentWrites::default();
        recent.put(&HashSet::from([user(1)]), Some(500));
        recent.put(&HashSet::from([user(1)]), Some(400));
        recent.put(&HashSet::from([user(2)]), None);
        let read_at = || [Some(user(1)), Some(user(2)), Some(user(3)), None].map(|who| recent.of(who));
        assert_eq!(read_at(), [500, NOWHERE, 0, 0]);
        recent.passed(Instant::now());
        assert_eq!(read_at(), [500, NOWHERE, 0, 0], "it may have been said before, and heard only now");
        recent.passed(Instant::now() + HEARSAY);
        assert_eq!(read_at(), [0; 4]);
    }
}
