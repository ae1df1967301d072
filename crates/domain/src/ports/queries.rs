//! The reading half of storage: lists, single things and sums that decide nothing.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::StoreError;
use crate::api_key::ApiKey;
use crate::audit_log::{Action, Entry, Head};
use crate::cancel_switch::{CancelSwitch, Sender};
use crate::ids::{AccountId, MarketId, OrderGroupId, OrderId, SessionId, TransferId, UserId};
use crate::ledger::{Account, Transfer, TransferKind};
use crate::mail::MailToken;
use crate::market::{Market, MarketStatus, OutcomeId};
use crate::money::{Credits, Price, Shares};
use crate::order::{Order, OrderStatus, Side};
use crate::order_group::OrderGroup;
use crate::position::Position;
use crate::score::Standing;
use crate::session::Session;
use crate::text::Slug;
use crate::trade::Trade;
use crate::user::{Role, User, UserStatus};

/// Ascending or descending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// A value that a list is sorted by, as a cursor carries it. Missing values sort as `Int(i64::MIN)`
/// never occur: every sort key is a column that is never null.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SortValue {
    /// A number: mills, a count, or microseconds since 1970 for a time.
    Int(i64),
    /// A text, compared by its bytes.
    Text(String),
}

/// From where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// After so many rows, all of which are gone through: whoever asks for strangers asks for [`DEEPEST_OFFSET`] at most.
    /// The page is counted in total, as far as [`MOST_COUNTED`].
    Offset(u64),
    /// After the row with these sort values (one for each sort key) and this id. Not counted.
    /// Rows that are added or removed meanwhile shift nothing.
    After(Vec<SortValue>, Uuid),
    /// From the first row, not counted: the beginning of a walk by cursor.
    First,
}

/// Which page of a list: its order by `sort`, the id (in the direction of the last sort key;
/// ascending where there is none) always breaking ties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest<K> {
    /// The order.
    pub sort: Vec<(K, Direction)>,
    /// The beginning.
    pub start: Start,
    /// At most so many, 1..=100.
    pub limit: u32,
}

/// Rows are counted up to so many: what counting costs does not grow with the store.
pub const MOST_COUNTED: u64 = 1000;

/// After how many rows a page may begin at most that is asked for by its number: what lies further is for cursors, which
/// cost the same anywhere.
pub const DEEPEST_OFFSET: u64 = 10_000;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// How many rows the filters match, or [`MOST_COUNTED`] where there are more; only for [`Start::Offset`].
    pub total: Option<u64>,
    /// Whether rows follow.
    pub has_more: bool,
}

/// What users can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserSort {
    /// When they signed up.
    CreatedAt,
    /// Their name, by its bytes.
    DisplayName,
}

/// Which users; unset fields match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// With this role.
    pub role: Option<Role>,
    /// With this status.
    pub status: Option<UserStatus>,
    /// Who signed up at or after this moment.
    pub created_after: Option<Timestamp>,
    /// Who signed up before this moment.
    pub created_before: Option<Timestamp>,
    /// Whose name or address begins so: names without regard to the case of the letters A to Z,
    /// addresses as they are looked up.
    pub search: Option<String>,
}

/// What markets can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarketSort {
    /// When they were opened.
    CreatedAt,
    /// When they close.
    ClosesAt,
    /// The sum of their trades' cost.
    Volume,
}

/// Which markets; unset fields match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MarketFilter {
    /// In this status.
    pub status: Option<MarketStatus>,
    /// In this category.
    pub category: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Opened by this user.
    pub creator: Option<UserId>,
    /// That close before this moment.
    pub closes_before: Option<Timestamp>,
    /// That close at or after this moment.
    pub closes_after: Option<Timestamp>,
}

/// What orders can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderSort {
    /// When they were accepted.
    CreatedAt,
    /// When they last changed.
    UpdatedAt,
}

/// Which orders; unset fields match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Of this user.
    pub user: Option<UserId>,
    /// In this market.
    pub market: Option<MarketId>,
    /// In this status.
    pub status: Option<OrderStatus>,
    /// With this client order id.
    pub client_order_id: Option<String>,
}

/// What trades can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TradeSort {
    /// When they were made.
    CreatedAt,
}

/// Which trades; unset fields match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TradeFilter {
    /// In this market.
    pub market: Option<MarketId>,
    /// Taken or made by this user.
    pub user: Option<UserId>,
    /// Filling this order on either side.
    pub order: Option<OrderId>,
}

/// What transfers can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferSort {
    /// When they were made.
    CreatedAt,
}

/// Which transfers; unset fields match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransferFilter {
    /// From or to this account.
    pub account: Option<AccountId>,
    /// Of this kind.
    pub kind: Option<TransferKind>,
    /// Concerning this market.
    pub market: Option<MarketId>,
}

/// What positions can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PositionSort {
    /// What was spent.
    Spent,
}

/// Which positions; unset fields match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PositionFilter {
    /// Of this user.
    pub user: Option<UserId>,
    /// In this market.
    pub market: Option<MarketId>,
}

/// A position and its market: prices and names are needed to show it. Its id in pages is the
/// market's where the filter names a user, else the user's.
#[derive(Debug, Clone, PartialEq)]
pub struct PositionInMarket {
    /// The position.
    pub position: Position,
    /// Its market.
    pub market: Market,
}

/// What entries of the audit log can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditSort {
    /// When it happened.
    CreatedAt,
}

/// Which entries of the audit log; unset fields match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Done by this user.
    pub actor: Option<UserId>,
    /// Of this action.
    pub action: Option<Action>,
    /// Done to what has this id.
    pub target: Option<Uuid>,
    /// At or after this moment.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// An entry of the audit log as the check of its chain sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub number: i64,
    /// All of it; none where it says what no entry can say.
    pub entry: Option<Entry>,
}

/// A session, and what its user may do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOfUser {
    /// The session.
    pub session: Session,
    /// Its user's role.
    pub role: Role,
    /// Its user's status.
    pub status: UserStatus,
}

/// An API key, and what its user may do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOfUser {
    /// The key.
    pub key: ApiKey,
    /// Its user's role.
    pub role: Role,
    /// Its user's status.
    pub status: UserStatus,
    /// Its user's owner and that one's status, where the user is a bot.
    pub owner: Option<(UserId, UserStatus)>,
}

/// A market by its id or its slug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarketKey {
    /// By id.
    Id(MarketId),
    /// By slug.
    Slug(Slug),
}

/// The open orders of one price in a book, summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookLevel {
    /// The book's outcome.
    pub book: OutcomeId,
    /// The side.
    pub side: Side,
    /// The price.
    pub price: Price,
    /// All that rests there.
    pub quantity: Shares,
    /// How many orders.
    pub orders: u64,
}

/// The best bid and ask of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BestPrices {
    /// The market.
    pub market: MarketId,
    /// The book's outcome.
    pub book: OutcomeId,
    /// The highest bid.
    pub bid: Option<Price>,
    /// The lowest ask.
    pub ask: Option<Price>,
}

/// The trades of one interval, summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candle {
    /// When the interval begins.
    pub start: Timestamp,
    /// The first price.
    pub open: Price,
    /// The highest price.
    pub high: Price,
    /// The lowest price.
    pub low: Price,
    /// The last price.
    pub close: Price,
    /// The sum of the trades' cost, in mills.
    pub volume: Credits,
    /// How many trades.
    pub trades: u64,
}

/// Which candles: of the book's outcome, as trades are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CandleRequest {
    /// The market.
    pub market: MarketId,
    /// The book's outcome.
    pub book: OutcomeId,
    /// The length of an interval in seconds; intervals begin at multiples of it since 1970.
    pub interval_s: i64,
    /// From this moment.
    pub from: Timestamp,
    /// Until before this moment.
    pub to: Timestamp,
    /// At most so many, the earliest first.
    pub limit: u32,
}

impl CandleRequest {
    /// Whether there are more intervals between the two moments than candles are wanted, so that not all of it need be
    /// summed up.
    #[must_use]
    pub fn is_beyond_limit(&self) -> bool {
        self.to.duration_since(self.from).as_secs() > self.interval_s.saturating_mul(i64::from(self.limit))
    }

    /// The same to the end of the interval that a moment is in, at the latest.
    #[must_use]
    pub fn to_end_of_interval_at(&self, moment: Timestamp) -> Self {
        let end = || {
            let length = self.interval_s.checked_mul(1_000_000)?;
            let next = moment.as_microsecond().checked_div_euclid(length)?.checked_add(1)?;
            Timestamp::from_microsecond(next.checked_mul(length)?).ok()
        };
        Self { to: end().map_or(self.to, |end| end.min(self.to)), ..*self }
    }
}

/// What a look at a bounded part of many things found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look<T> {
    /// Those that were looked for, in id order.
    pub found: Vec<T>,
    /// After which the next look goes on; none where there was nothing left to look at, and it begins anew.
    pub next: Option<T>,
}

impl<T: Copy> Look<T> {
    /// A look at most at `limit` things: those that it came to, in id order, each with whether it is looked for.
    #[must_use]
    pub fn at(things: &[(T, bool)], limit: u32) -> Self {
        let is_full = u32::try_from(things.len()).map_or(true, |count| count >= limit);
        Self {
            found: things.iter().filter(|(_, is_wanted)| *is_wanted).map(|(id, _)| *id).collect(),
            next: things.last().filter(|_| is_full).map(|(id, _)| *id),
        }
    }
}

/// How a user has traded.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UserStatistics {
    /// Fills that it was a side of; one with itself is one.
    pub trades: u64,
    /// What the shares of those cost, in mills.
    pub volume: Credits,
    /// What it received less what it spent, over the markets that have paid it, in mills.
    pub profit: Credits,
    /// Markets that have not paid it yet in which it has shares.
    pub open_positions: u64,
    /// The mean over the shares that it took in markets that were resolved (not voided) of `(price - weight)²`,
    /// both as parts of one: 0 is best, 1 worst. None where there are no such shares.
    pub brier_score: Option<f64>,
}

/// By what users are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandingSort {
    /// By what they received less what they spent.
    Profit,
    /// By how well the prices foretold that they took. Only who took shares in
    /// [`LEAST_JUDGED`](crate::score::LEAST_JUDGED) markets that were resolved.
    Brier,
}

/// A broken invariant: which, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The number of the invariant in the domain's list, 1..=8; 9 is the chain of the audit log, and 10 that what is
    /// kept of how users trade is what their trades and positions come to.
    pub invariant: u8,
    /// What is broken, in a sentence.
    pub message: String,
    /// The id of the row concerned, if there is one.
    pub subject: Option<Uuid>,
}

/// Reads that decide nothing, outside of units of work. Each sees what was committed before it
/// began. Every list is answered by a bounded number of statements, whatever its length.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Queries: Send + Sync {
    /// Whether the store answers, and (for stores that can tell) writes durably.
    async fn ping(&self) -> Result<(), StoreError>;

    /// A user by id.
    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError>;
    /// A user by its e-mail key ([`Email::key`](crate::text::Email::key)).
    async fn user_by_email(&self, key: &str) -> Result<Option<User>, StoreError>;
    /// Users by ids, in id order; for joins.
    async fn users_by_ids(&self, ids: &[UserId]) -> Result<Vec<User>, StoreError>;
    /// A list of users.
    async fn users(&self, filter: &UserFilter, page: &PageRequest<UserSort>) -> Result<Page<User>, StoreError>;

    /// The bots of a user that were not deactivated, in id order.
    async fn bots_of(&self, owner: UserId) -> Result<Vec<User>, StoreError>;

    /// A session, and what its user may do now; none where it was forgotten.
    async fn session(&self, id: SessionId) -> Result<Option<SessionOfUser>, StoreError>;
    /// The sessions of a user that are live at `now`, the one seen last first, at most `limit`.
    async fn sessions_of(&self, user: UserId, now: Timestamp, limit: u32) -> Result<Vec<Session>, StoreError>;

    /// The API key with this hash, and what its user may do now; revoked and expired ones too.
    async fn api_key(&self, hash: [u8; 32]) -> Result<Option<KeyOfUser>, StoreError>;
    /// The API keys of a user that were not revoked, the newest first.
    async fn api_keys_of(&self, user: UserId) -> Result<Vec<ApiKey>, StoreError>;

    /// The token that was sent by mail with this hash.
    async fn mail_token(&self, hash: [u8; 32]) -> Result<Option<MailToken>, StoreError>;

    /// An account.
    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError>;
    /// A transfer.
    async fn transfer(&self, id: TransferId) -> Result<Option<Transfer>, StoreError>;
    /// A list of transfers.
    async fn transfers(
        &self,
        filter: &TransferFilter,
        page: &PageRequest<TransferSort>,
    ) -> Result<Page<Transfer>, StoreError>;

    /// A market.
    async fn market(&self, key: &MarketKey) -> Result<Option<Market>, StoreError>;
    /// Markets by ids, in id order; for joins.
    async fn markets_by_ids(&self, ids: &[MarketId]) -> Result<Vec<Market>, StoreError>;
    /// A list of markets.
    async fn markets(&self, filter: &MarketFilter, page: &PageRequest<MarketSort>) -> Result<Page<Market>, StoreError>;
    /// The best prices of those of these books that have open orders, in the order of the books; see [`Market::books`].
    async fn best_prices(&self, books: &[(MarketId, OutcomeId)]) -> Result<Vec<BestPrices>, StoreError>;

    /// An order.
    async fn order(&self, id: OrderId) -> Result<Option<Order>, StoreError>;
    /// A list of orders.
    async fn orders(&self, filter: &OrderFilter, page: &PageRequest<OrderSort>) -> Result<Page<Order>, StoreError>;
    /// The levels of one book, each side from its best price, at most `depth` a side; and the
    /// market's sequence, read in the same snapshot.
    async fn book(&self, market: MarketId, book: OutcomeId, depth: u32) -> Result<(Vec<BookLevel>, i64), StoreError>;

    /// A list of trades.
    async fn trades(&self, filter: &TradeFilter, page: &PageRequest<TradeSort>) -> Result<Page<Trade>, StoreError>;
    /// Candles, only for intervals with trades.
    async fn candles(&self, request: &CandleRequest) -> Result<Vec<Candle>, StoreError>;

    /// A position.
    async fn position(&self, user: UserId, market: MarketId) -> Result<Option<Position>, StoreError>;
    /// A list of positions.
    async fn positions(
        &self,
        filter: &PositionFilter,
        page: &PageRequest<PositionSort>,
    ) -> Result<Page<PositionInMarket>, StoreError>;

    /// Markets that are open or halted past their closing time at `now`, at most `limit`.
    async fn markets_to_close(&self, now: Timestamp, limit: u32) -> Result<Vec<MarketId>, StoreError>;
    /// Good-till-date orders past their date at `now`, each with its market, at most `limit`.
    async fn orders_to_expire(&self, now: Timestamp, limit: u32) -> Result<Vec<(MarketId, OrderId)>, StoreError>;
    /// Markets whose proposals are past their challenge window at `now`, at most `limit`.
    async fn proposals_to_decide(&self, now: Timestamp, limit: u32) -> Result<Vec<MarketId>, StoreError>;
    /// Markets that are decided but not settled, at most `limit`.
    async fn markets_to_pay(&self, limit: u32) -> Result<Vec<MarketId>, StoreError>;
    /// Looks at the next `limit` markets in id order after that one that no longer trade and are not settled, for those
    /// with open orders.
    async fn closed_with_orders(&self, after: Option<MarketId>, limit: u32) -> Result<Look<MarketId>, StoreError>;
    /// Looks at the next `limit` deactivated users in id order after that one, for those with open orders.
    async fn deactivated_with_orders(&self, after: Option<UserId>, limit: u32) -> Result<Look<UserId>, StoreError>;

    /// A group of orders.
    async fn order_group(&self, id: OrderGroupId) -> Result<Option<OrderGroup>, StoreError>;
    /// The groups of a user, the oldest first.
    async fn order_groups_of(&self, user: UserId) -> Result<Vec<OrderGroup>, StoreError>;
    /// The dead-man switches of a sender of orders, in id order.
    async fn cancel_switches_of(&self, sender: Sender) -> Result<Vec<CancelSwitch>, StoreError>;
    /// Whose dead-man switches have passed their deadline at `now`, those who wait longest first, at most so many switches; a
    /// sender may stand there more than once.
    async fn due_cancel_switches(&self, now: Timestamp, limit: u32) -> Result<Vec<Sender>, StoreError>;

    /// Every breach of the invariants 1 to 6 and 10 that the store can find by itself, at most `limit`.
    /// Each check is read in one snapshot.
    async fn violations(&self, limit: u32) -> Result<Vec<Violation>, StoreError>;
    /// Transfers in order of payer, of time and of id, after the one of which that is; for the check of the chains.
    async fn chains(
        &self,
        after: Option<(AccountId, Timestamp, TransferId)>,
        limit: u32,
    ) -> Result<Vec<Transfer>, StoreError>;
    /// How a user has traded, in one query; all zero for one that has not, or that there is not.
    async fn statistics(&self, user: UserId) -> Result<UserStatistics, StoreError>;
    /// The users who may act and of whom something is counted, ranked by one thing.
    async fn standings(&self, page: &PageRequest<StandingSort>) -> Result<Page<Standing>, StoreError>;
    /// Markets that have paid everybody and are not counted to the end, in id order after that one, at most `limit`.
    async fn markets_to_count(&self, after: Option<MarketId>, limit: u32) -> Result<Vec<MarketId>, StoreError>;
    /// A list of entries of the audit log.
    async fn audit_log(&self, filter: &AuditFilter, page: &PageRequest<AuditSort>) -> Result<Page<Entry>, StoreError>;
    /// The end of the audit log's chain.
    async fn audit_head(&self) -> Result<Head, StoreError>;
    /// Entries of the audit log in order of their numbers after that one; for the check of the chain.
    async fn audit_chain(&self, after: i64, limit: u32) -> Result<Vec<Link>, StoreError>;
    /// Accounts in id order after that one.
    async fn accounts_after(&self, after: Option<AccountId>, limit: u32) -> Result<Vec<Account>, StoreError>;
}

/// Copies of a store that follow it, for reads that may lag behind it.
pub trait Replicas: Send + Sync {
    /// The reading half for whoever reads; nobody for strangers. Its lists and sums may lag as far as was
    /// configured, but not behind what was committed for that user through this process: so nobody misses what
    /// was answered. Nothing that it answers may be put into a cache, which would outlive the lag, nor decide a write.
    fn queries_of(&self, reader: Option<UserId>) -> Arc<dyn Queries>;
}
