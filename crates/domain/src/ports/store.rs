//! The writing half of storage: units of work.

use std::collections::HashMap;
use std::hash::Hash;

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

use super::{JobControl, Webhooks};
use crate::api_key::{ApiKey, KeySpending, KeyUsage};
use crate::audit_log::{Event, FailedSignIns, FailureKey};
use crate::cancel_switch::{CancelSwitch, Sender};
use crate::event;
use crate::ids::{
    AccountId, ApiKeyId, MarketId, OrderGroupId, OrderId, SessionId, SwitchId, TradeId, UserId, WebhookId,
};
use crate::job::Job;
use crate::ledger::{Account, Transfer};
use crate::mail::MailToken;
use crate::market::{Market, OutcomeId};
use crate::money::Price;
use crate::order::{Order, Side};
use crate::order_group::OrderGroup;
use crate::position::Position;
use crate::score::{Counting, MarketScore, PaidPosition, Score};
use crate::session::{RefreshToken, Session};
use crate::trade::Trade;
use crate::user::{User, UserStatus};
use crate::webhook::{Delivery, Webhook};

/// The source of an adapter's error: for logs, never for a client.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why storage failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The store cannot be reached, is overloaded or refuses to write. Nothing was done; trying
    /// again later may help.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
    /// Another unit of work got in the way (deadlock, serialisation, busy). Nothing was done;
    /// the same unit may be run again from its start.
    #[error("the unit of work conflicted with another")]
    Conflict(#[source] Source),
    /// A uniqueness rule would be broken. The statement did nothing; the unit can still be rolled back.
    #[error("{0:?} exists already")]
    Duplicate(Unique),
    /// The connection was lost while committing: it may have been committed or not.
    #[error("it is unknown whether the unit of work was committed")]
    OutcomeUnknown(#[source] Source),
    /// The store holds, or was told to hold, what must not be: a broken constraint, an unreadable row.
    #[error("the store holds or was given what must not be: {0}")]
    Corrupt(String),
}

/// The uniqueness rules that a caller can run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unique {
    /// A user's e-mail key.
    Email,
    /// A market's slug.
    Slug,
    /// A user's client order id.
    ClientOrderId,
    /// An idempotency key of a user and route.
    IdempotencyKey,
    /// An id that exists.
    Id,
}

/// Opens units of work.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Store: Send + Sync {
    /// Begins a unit of work. [`StoreError::Unavailable`] within a bounded time when no connection can be had.
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError>;
}

/// Told once that a commit is decided; see [`UnitOfWork::commit_telling`].
pub type Decided = Box<dyn FnOnce() + Send>;

/// One database transaction. Dropped without [`commit`](Self::commit), it leaves nothing behind
/// and its locks are free at once. Row locks are always taken in id order within one call; a unit
/// locks markets before accounts.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait UnitOfWork: Send {
    /// Users.
    fn users(&mut self) -> &mut dyn Users;
    /// Accounts.
    fn accounts(&mut self) -> &mut dyn Accounts;
    /// Markets.
    fn markets(&mut self) -> &mut dyn Markets;
    /// Orders.
    fn orders(&mut self) -> &mut dyn Orders;
    /// Positions.
    fn positions(&mut self) -> &mut dyn Positions;
    /// Answers kept for idempotency keys.
    fn answers(&mut self) -> &mut dyn Answers;
    /// Signed-in sessions.
    fn sessions(&mut self) -> &mut dyn Sessions;
    /// Tokens that were sent by mail.
    fn mail_tokens(&mut self) -> &mut dyn MailTokens;
    /// What the audit log is about to tell.
    fn failures(&mut self) -> &mut dyn Failures;
    /// Webhooks.
    fn webhooks(&mut self) -> &mut dyn Webhooks;
    /// API keys.
    fn api_keys(&mut self) -> &mut dyn ApiKeys;
    /// How far those who act on events have come.
    fn event_cursors(&mut self) -> &mut dyn EventCursors;
    /// Groups of orders.
    fn order_groups(&mut self) -> &mut dyn OrderGroups;
    /// Dead-man switches.
    fn cancel_switches(&mut self) -> &mut dyn CancelSwitches;
    /// The queue of jobs.
    fn jobs(&mut self) -> &mut dyn JobControl;
    /// What is kept of how users trade.
    fn scores(&mut self) -> &mut dyn Scores;
    /// Locks and loads all of this, in the order of the fields of [`Wanted`]: what stands later is
    /// read under the locks of what stands before. The same as asking one after the other, which is
    /// what this does by itself; an adapter for which each question is a round trip asks all at once.
    async fn load(&mut self, wanted: Wanted) -> Result<Found, StoreError> {
        let mut found = Found::default();
        if !wanted.answers.is_empty() {
            found.answers = self.answers().find(&wanted.answers).await?;
        }
        if !wanted.users.is_empty() {
            found.statuses = self.users().statuses(&wanted.users).await?;
        }
        if !wanted.lock_markets.is_empty() {
            found.markets = self.markets().lock(&wanted.lock_markets).await?;
        }
        if !wanted.orders.is_empty() {
            found.orders = self.orders().load(&wanted.orders).await?;
        }
        if !wanted.books.is_empty() {
            found.books = self.orders().book(&wanted.books).await?;
        }
        if !wanted.order_groups.is_empty() {
            found.order_groups = self.order_groups().load(&wanted.order_groups).await?;
            found.grouped_orders = self.order_groups().open_orders(&wanted.order_groups).await?;
        }
        if !wanted.client_ids.is_empty() {
            found.with_client_ids = self.orders().with_client_ids(&wanted.client_ids).await?;
        }
        if !wanted.open_counts.is_empty() {
            found.open_counts = self.orders().count_open(&wanted.open_counts).await?;
        }
        if !wanted.lock_accounts.is_empty() {
            found.accounts = self.accounts().lock(&wanted.lock_accounts).await?;
        }
        if !wanted.positions.is_empty() {
            found.positions = self.positions().load(&wanted.positions).await?;
        }
        if !wanted.key_usages.is_empty() {
            found.key_usages = self.api_keys().usages(&wanted.key_usages).await?;
        }
        Ok(found)
    }
    /// Writes everything that was decided, each table with one statement however many rows.
    /// All rows must have been locked, or be new. [`StoreError::Duplicate`] names the rule that
    /// new rows broke; after any error the unit can only be rolled back.
    ///
    /// Events are chained to the end of the audit log in their order. Its end is one row, which is
    /// locked after everything else, so a unit that tells of events does so in its last write.
    ///
    /// What [`event::batch`] makes of the changes is put into the outbox, for
    /// [`Outbox::after`](super::Outbox::after): of two units that lock the same market, the later one's
    /// come later.
    async fn write(&mut self, changes: &Changes) -> Result<(), StoreError>;
    /// Makes everything durable. After `Ok` it survives a crash of the process and of the machine.
    ///
    /// What a unit of work read is durable too when its commit is: so a unit that only repeats what another
    /// one did commits before it answers, rather than rolling back.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
    /// [`commit`](Self::commit), and calls `decided` as soon as no other unit has to wait for this one's
    /// locks: at the latest when it is durable, never when it fails before. An adapter that can give its
    /// locks up before the disk has answered tells so, and the next unit is under way meanwhile.
    async fn commit_telling(self: Box<Self>, decided: Decided) -> Result<(), StoreError> {
        self.commit().await?;
        decided();
        Ok(())
    }
    /// Undoes everything.
    async fn rollback(self: Box<Self>) -> Result<(), StoreError>;
}

/// What to lock and load in one go. Empty lists cost nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Answers to find: [`Answers::find`].
    pub answers: Vec<AnswerKey>,
    /// Users whose status to load: [`Users::statuses`].
    pub users: Vec<UserId>,
    /// Markets to lock: [`Markets::lock`].
    pub lock_markets: Vec<MarketId>,
    /// Orders to load: [`Orders::load`].
    pub orders: Vec<OrderId>,
    /// Sides of books to load: [`Orders::book`].
    pub books: Vec<BookRequest>,
    /// Groups of orders to load, with their open orders: [`OrderGroups::load`] and [`OrderGroups::open_orders`].
    pub order_groups: Vec<OrderGroupId>,
    /// Client order ids to look for: [`Orders::with_client_ids`].
    pub client_ids: Vec<(UserId, String)>,
    /// Open orders to count: [`Orders::count_open`].
    pub open_counts: Vec<(UserId, MarketId)>,
    /// Accounts to lock: [`Accounts::lock`].
    pub lock_accounts: Vec<AccountId>,
    /// Positions to load: [`Positions::load`].
    pub positions: Vec<(UserId, MarketId)>,
    /// API keys whose usage to load: [`ApiKeys::usages`].
    pub key_usages: Vec<ApiKeyId>,
}

/// What was found of what was [`Wanted`], each list as its own method gives it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Kept answers, in no certain order.
    pub answers: Vec<KeptAnswer>,
    /// Users and their status, in id order.
    pub statuses: Vec<(UserId, UserStatus)>,
    /// Locked markets, in id order.
    pub markets: Vec<Market>,
    /// Orders, in id order.
    pub orders: Vec<Order>,
    /// The best orders of each side, in the order of the requests.
    pub books: Vec<Vec<Order>>,
    /// Groups of orders, in id order.
    pub order_groups: Vec<OrderGroup>,
    /// The open orders of those groups, in id order.
    pub grouped_orders: Vec<Order>,
    /// Orders with the client order ids, in no certain order.
    pub with_client_ids: Vec<Order>,
    /// Numbers of open orders, in the order of the pairs.
    pub open_counts: Vec<u64>,
    /// Locked accounts, in id order.
    pub accounts: Vec<Account>,
    /// Positions, in no certain order.
    pub positions: Vec<Position>,
    /// API keys and what is used of them, in id order.
    pub key_usages: Vec<KeyUsage>,
}

/// What a decision changed: whole rows in their new state. Empty lists cost nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Users who signed up.
    pub new_users: Vec<User>,
    /// Users that changed.
    pub users: Vec<User>,
    /// Accounts that were opened, with their final balance.
    pub new_accounts: Vec<Account>,
    /// Accounts that changed, with all transfers that they paid since they were loaded or written last.
    /// [`StoreError::Corrupt`] where an account paid something meanwhile, which its lock rules out.
    pub accounts: Vec<Account>,
    /// Markets that were opened.
    pub new_markets: Vec<Market>,
    /// Markets that changed, with their outcomes and their maker's state, and with all trades that were made in them since
    /// they were loaded or written last. [`StoreError::Corrupt`] where one was made meanwhile, which the lock rules out.
    pub markets: Vec<Market>,
    /// Markets that are deleted, with their ended orders and empty positions. One with trades cannot be:
    /// [`StoreError::Corrupt`].
    pub deleted_markets: Vec<MarketId>,
    /// Orders that were accepted, in their final state.
    pub new_orders: Vec<Order>,
    /// Orders that changed.
    pub orders: Vec<Order>,
    /// Positions that are new or changed: written whole.
    pub positions: Vec<Position>,
    /// Trades made.
    pub trades: Vec<Trade>,
    /// Transfers made.
    pub transfers: Vec<Transfer>,
    /// Answers to keep for idempotency keys.
    pub answers: Vec<KeptAnswer>,
    /// Sessions that began.
    pub new_sessions: Vec<Session>,
    /// Sessions that changed.
    pub sessions: Vec<Session>,
    /// Refresh tokens that were issued.
    pub new_refresh_tokens: Vec<RefreshToken>,
    /// Refresh tokens that were spent.
    pub refresh_tokens: Vec<RefreshToken>,
    /// Tokens that are about to be sent by mail.
    pub new_mail_tokens: Vec<MailToken>,
    /// Hashes of tokens that are good for nothing any more; some may be gone already.
    pub deleted_mail_tokens: Vec<[u8; 32]>,
    /// Jobs that were put aside, each with a key of its own where it has one. Where a job of its kind has that key and
    /// is not done, a new one joins it: one that runs is done once more; one that waits is due as soon as the earlier
    /// of the two, unless it waits since it failed; and one that is dead waits again.
    pub new_jobs: Vec<Job>,
    /// What the audit log shall tell of this.
    pub events: Vec<Event>,
    /// What happened, as far as the rows themselves do not say so: see [`event::batch`].
    pub news: Vec<event::Event>,
    /// When, where no row that is written says so.
    pub at: Option<Timestamp>,
    /// Webhooks that were made.
    pub new_webhooks: Vec<Webhook>,
    /// Webhooks that changed.
    pub webhooks: Vec<Webhook>,
    /// Webhooks that are deleted, with what they were sent.
    pub deleted_webhooks: Vec<WebhookId>,
    /// What webhooks are to be told.
    pub new_deliveries: Vec<Delivery>,
    /// What became of it.
    pub deliveries: Vec<Delivery>,
    /// API keys that were made.
    pub new_api_keys: Vec<ApiKey>,
    /// API keys that were revoked.
    pub api_keys: Vec<ApiKey>,
    /// When API keys were last used.
    pub api_key_uses: Vec<(ApiKeyId, Timestamp)>,
    /// What was spent by API keys: written whole, one for each key.
    pub key_spending: Vec<KeySpending>,
    /// Groups of orders that were made.
    pub new_order_groups: Vec<OrderGroup>,
    /// Groups of orders that changed.
    pub order_groups: Vec<OrderGroup>,
    /// Groups of orders that are deleted. Their orders stay.
    pub deleted_order_groups: Vec<OrderGroupId>,
    /// Dead-man switches that are new or changed: written whole.
    pub cancel_switches: Vec<CancelSwitch>,
    /// Dead-man switches that are over; some may be gone already.
    pub deleted_cancel_switches: Vec<SwitchId>,
    /// How far the counting of markets is: written whole.
    pub countings: Vec<Counting>,
    /// What is *added* to the figures of users in markets, one for each pair.
    pub market_scores: Vec<MarketScore>,
    /// What is *added* to the scores of users, one for each.
    pub scores: Vec<Score>,
    /// Positions that are counted in those scores. [`StoreError::Corrupt`] where one was before.
    pub counted_positions: Vec<(MarketId, UserId)>,
}

impl Changes {
    /// Accounts that changed, each with how many transfers it had paid before these. Stores write an account only where
    /// that is what its row still says: so no decision is written that was made of an account which has paid since,
    /// and no number of a chain is given twice.
    #[must_use]
    pub fn accounts_since(&self) -> Vec<(&Account, i64)> {
        let paid = counts(self.transfers.iter().map(|transfer| transfer.from));
        let before = |account: &Account| account.paid_count.saturating_sub(count_of(&paid, &account.id));
        self.accounts.iter().map(|account| (account, before(account))).collect()
    }

    /// Markets that changed, each with how many trades it had before these. As with accounts: so none of a market's
    /// trades has the sequence of another.
    #[must_use]
    pub fn markets_since(&self) -> Vec<(&Market, i64)> {
        let traded = counts(self.trades.iter().map(|trade| trade.market));
        let before = |market: &Market| market.trade_count.saturating_sub(count_of(&traded, &market.id));
        self.markets.iter().map(|market| (market, before(market))).collect()
    }
}

fn counts<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> HashMap<K, i64> {
    let mut counts = HashMap::new();
    for key in keys {
        let count: &mut i64 = counts.entry(key).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

fn count_of<K: Eq + Hash>(counts: &HashMap<K, i64>, key: &K) -> i64 {
    counts.get(key).copied().unwrap_or_default()
}

/// Users, for decisions.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Users: Send {
    /// Locks and loads those that exist, in id order.
    async fn lock(&mut self, ids: &[UserId]) -> Result<Vec<User>, StoreError>;
    /// Loads those that exist, in id order, without a lock.
    async fn load(&mut self, ids: &[UserId]) -> Result<Vec<User>, StoreError>;
    /// The status of those that exist, in id order, without a lock.
    async fn statuses(&mut self, ids: &[UserId]) -> Result<Vec<(UserId, UserStatus)>, StoreError>;
    /// Locks the bots of a user that were not deactivated, in id order. Their owner's row lock guards
    /// their number.
    async fn lock_bots_of(&mut self, owner: UserId) -> Result<Vec<User>, StoreError>;
    /// Locks all active administrators, in id order.
    async fn lock_admins(&mut self) -> Result<Vec<User>, StoreError>;
}

/// Accounts, for decisions.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Accounts: Send {
    /// Locks and loads those that exist, in id order.
    async fn lock(&mut self, ids: &[AccountId]) -> Result<Vec<Account>, StoreError>;
}

/// Markets, for decisions. A market's row lock guards its orders, its positions and its trades too.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Markets: Send {
    /// Locks and loads those that exist, in id order.
    async fn lock(&mut self, ids: &[MarketId]) -> Result<Vec<Market>, StoreError>;
}

/// Which part of a book is wanted: the best open orders of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookRequest {
    /// The market.
    pub market: MarketId,
    /// The book's outcome.
    pub book: OutcomeId,
    /// The side of the book.
    pub side: Side,
    /// Only prices at least as good for whoever takes them: bids at or above, asks at or below.
    pub limit: Option<Price>,
    /// At most so many orders.
    pub depth: u32,
}

/// Orders, for decisions. The caller holds the locks of their markets.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Orders: Send {
    /// Loads those that exist, in id order.
    async fn load(&mut self, ids: &[OrderId]) -> Result<Vec<Order>, StoreError>;
    /// For each request, in the order of the requests, the best open orders first: by price, then
    /// by sequence. One statement however many requests.
    async fn book(&mut self, requests: &[BookRequest]) -> Result<Vec<Vec<Order>>, StoreError>;
    /// The open orders of a market, in no certain order, at most `limit`.
    async fn open_in_market(&mut self, market: MarketId, limit: u32) -> Result<Vec<Order>, StoreError>;
    /// How many open orders each user has in the market of the pair, in the order of the pairs.
    async fn count_open(&mut self, pairs: &[(UserId, MarketId)]) -> Result<Vec<u64>, StoreError>;
    /// The orders of these users with these client order ids, in no certain order.
    async fn with_client_ids(&mut self, pairs: &[(UserId, String)]) -> Result<Vec<Order>, StoreError>;
}

/// Positions, for decisions. The caller holds the locks of their markets.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Positions: Send {
    /// Loads those that exist, with a holding for every outcome, in no certain order.
    async fn load(&mut self, pairs: &[(UserId, MarketId)]) -> Result<Vec<Position>, StoreError>;
    /// Positions of the market that were not paid yet, in order of users, of those after that one (the nil user is before
    /// all), at most `limit`. Those that were paid are passed over, so that each batch should begin where the last ended.
    async fn unsettled(&mut self, market: MarketId, after: UserId, limit: u32) -> Result<Vec<Position>, StoreError>;
}

/// An idempotency key: unique for a user and a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AnswerKey {
    /// Whose key it is; a nil UUID for callers without an account.
    pub user: UserId,
    /// Method and route, such as `POST /api/v1/orders`.
    pub route: String,
    /// The key that the client chose, 1 to 255 printable ASCII characters.
    pub key: String,
}

/// The answer that was given to a request with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The key.
    pub key: AnswerKey,
    /// SHA-256 of the request: the same key with another request is refused.
    pub fingerprint: [u8; 32],
    /// The HTTP-like status of the answer.
    pub status: u16,
    /// The answer's `Location`, if it had one.
    pub location: Option<String>,
    /// The answer's data as JSON text.
    pub body: String,
    /// When.
    pub created_at: Timestamp,
}

/// Kept answers.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Answers: Send {
    /// Those that exist, in no certain order.
    async fn find(&mut self, keys: &[AnswerKey]) -> Result<Vec<KeptAnswer>, StoreError>;
    /// Forgets those made before a moment, at most `limit`; returns how many.
    async fn forget_before(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// Signed-in sessions, for decisions. A session's row lock guards its refresh tokens. A unit that
/// locks a user too locks the user first.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Sessions: Send {
    /// Locks and loads those that exist, in id order.
    async fn lock(&mut self, ids: &[SessionId]) -> Result<Vec<Session>, StoreError>;
    /// Locks and loads the session that the refresh token with this hash belongs to.
    async fn lock_by_token(&mut self, hash: [u8; 32]) -> Result<Option<Session>, StoreError>;
    /// Locks and loads the sessions of a user that were not ended, expired ones included, in id order.
    async fn lock_of_user(&mut self, user: UserId) -> Result<Vec<Session>, StoreError>;
    /// Loads the refresh tokens with these hashes that exist, in no certain order. The caller holds
    /// the lock of their session.
    async fn refresh_tokens(&mut self, hashes: &[[u8; 32]]) -> Result<Vec<RefreshToken>, StoreError>;
    /// Forgets sessions that expired or were ended before a moment, with their refresh tokens, and
    /// refresh tokens that expired before it: at most `limit` of each. Returns how many of both,
    /// not counting the refresh tokens that went with their sessions.
    async fn forget_before(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// Tokens that were sent by mail, for decisions. Their user's row lock guards them.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait MailTokens: Send {
    /// The token with this hash, if there is one.
    async fn find(&mut self, hash: [u8; 32]) -> Result<Option<MailToken>, StoreError>;
    /// All tokens of a user, in no certain order.
    async fn of_user(&mut self, user: UserId) -> Result<Vec<MailToken>, StoreError>;
    /// Forgets those that expired before a moment, at most `limit`; returns how many.
    async fn forget_before(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// Failed sign-ins that the audit log has not told of in full yet, for decisions.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Failures: Send {
    /// Counts one more at a moment. Where there are `most` sums of others already, it is counted
    /// [among the rest](FailureKey::of_the_rest) instead, so that there are about as many at most. Locks the sum; returns it.
    async fn count(&mut self, key: &FailureKey, at: Timestamp, most: u32) -> Result<FailedSignIns, StoreError>;
    /// Removes sums whose window began before a moment, at most `limit`, and returns them in no certain
    /// order. Those that another unit holds may be passed over.
    async fn take_before(&mut self, before: Timestamp, limit: u32) -> Result<Vec<FailedSignIns>, StoreError>;
}

/// API keys, for decisions.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait ApiKeys: Send {
    /// The keys of a user that were not revoked, expired ones included, in id order. Their user's row lock
    /// guards their number.
    async fn of_user(&mut self, user: UserId) -> Result<Vec<ApiKey>, StoreError>;
    /// Locks and loads a key, revoked or not.
    async fn lock(&mut self, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError>;
    /// Those that exist, in id order, with what they have spent and what their open orders come to. The
    /// caller holds the locks of their users' accounts, which guard both.
    async fn usages(&mut self, ids: &[ApiKeyId]) -> Result<Vec<KeyUsage>, StoreError>;
}

/// Groups of orders, for decisions. Their market's row lock guards them and their orders.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait OrderGroups: Send {
    /// Loads those that exist, in id order.
    async fn load(&mut self, ids: &[OrderGroupId]) -> Result<Vec<OrderGroup>, StoreError>;
    /// All open orders of these groups, in id order.
    async fn open_orders(&mut self, ids: &[OrderGroupId]) -> Result<Vec<Order>, StoreError>;
    /// How many groups a user has. Their owner's row lock guards that.
    async fn count_of(&mut self, user: UserId) -> Result<u64, StoreError>;
}

/// Dead-man switches, for decisions.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait CancelSwitches: Send {
    /// Locks and loads all switches of a sender of orders, in id order. One that is made meanwhile is not waited for.
    async fn lock_of(&mut self, sender: Sender) -> Result<Vec<CancelSwitch>, StoreError>;
}

/// How far those who act on events have come, for decisions.
///
/// A consumer locks its cursor, acts on the events after it, and moves it, all in one unit of work: so each
/// event is acted on once, however often the process dies. What it does outside of the unit happens at least once.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait EventCursors: Send {
    /// Locks a consumer's cursor and reads the position of the last batch that it has acted on. One that is
    /// new begins at the `start`. None, at once, where another unit of work holds it: somebody else is at it.
    async fn lock(&mut self, consumer: &str, start: i64) -> Result<Option<i64>, StoreError>;
    /// Moves a cursor that this unit has locked.
    async fn advance(&mut self, consumer: &str, position: i64) -> Result<(), StoreError>;
}

/// What is kept of how users trade, for whoever counts it. The caller holds the lock of the market, which guards
/// how far its counting is.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Scores: Send {
    /// How far the counting of a market is; none where it has not paid everybody.
    async fn counting(&mut self, market: MarketId) -> Result<Option<Counting>, StoreError>;
    /// The trades of a market in the order of time and id, after the one of which that is, at most `limit`.
    async fn trades_after(
        &mut self,
        market: MarketId,
        after: Option<(Timestamp, TradeId)>,
        limit: u32,
    ) -> Result<Vec<Trade>, StoreError>;
    /// The positions of a market of users after that id, in order, at most `limit`.
    async fn positions_after(
        &mut self,
        market: MarketId,
        user: UserId,
        limit: u32,
    ) -> Result<Vec<PaidPosition>, StoreError>;
}
