//! Reads for which a replica was chosen: lists and sums go to it, all else to the primary. What a replica cannot
//! answer the primary does.

use std::sync::Arc;

use async_trait::async_trait;
use bellwether_domain::api_key::ApiKey;
use bellwether_domain::audit_log::{Entry, Head};
use bellwether_domain::cancel_switch::{CancelSwitch, Sender};
use bellwether_domain::ids::{AccountId, MarketId, OrderGroupId, OrderId, SessionId, TransferId, UserId};
use bellwether_domain::ledger::{Account, Transfer};
use bellwether_domain::mail::MailToken;
use bellwether_domain::market::{Market, OutcomeId};
use bellwether_domain::order::Order;
use bellwether_domain::order_group::OrderGroup;
use bellwether_domain::ports::{
    AuditFilter, AuditSort, BestPrices, BookLevel, Candle, CandleRequest, KeyOfUser, Link, Look, MarketFilter,
    MarketKey, MarketSort, OrderFilter, OrderSort, Page, PageRequest, PositionFilter, PositionInMarket, PositionSort,
    Queries, SessionOfUser, StandingSort, StoreError, TradeFilter, TradeSort, TransferFilter, TransferSort, UserFilter,
    UserSort, UserStatistics, Violation,
};
use bellwether_domain::position::Position;
use bellwether_domain::score::Standing;
use bellwether_domain::session::Session;
use bellwether_domain::trade::Trade;
use bellwether_domain::user::User;
use jiff::Timestamp;

use crate::replicas::Replica;
use crate::store::PgStore;

/// A replica, and the primary behind it.
pub(crate) struct ReadsOf {
    replica: Arc<Replica>,
    primary: Arc<PgStore>,
}

impl ReadsOf {
    pub(crate) const fn new(replica: Arc<Replica>, primary: Arc<PgStore>) -> Self {
        Self { replica, primary }
    }

    /// What the replica answered, if it did. One that cannot be reached is left out from now on; an error of any
    /// other kind may be its own too: it has cancelled a query that was in the way of what it replays, or has not
    /// heard of a table yet.
    fn heard<T>(&self, answer: Result<T, StoreError>) -> Option<T> {
        if let Err(StoreError::Unavailable(why)) = &answer {
            self.replica.leave_out(&why.to_string());
        }
        answer.ok()
    }
}

macro_rules! reads {
    ($($from:ident $name:ident($($value:ident: $kind:ty),*) -> $answer:ty;)+) => {
        #[async_trait]
        impl Queries for ReadsOf {
            $(async fn $name(&self, $($value: $kind),*) -> Result<$answer, StoreError> {
                reads!(@ $from self $name $($value),*)
            })+
        }
    };
    (@ primary $self:ident $name:ident $($value:ident),*) => {
        $self.primary.$name($($value),*).await
    };
    (@ replica $self:ident $name:ident $($value:ident),*) => {{
        let answer = $self.replica.store.$name($($value),*).await;
        match $self.heard(answer) {
            Some(answer) => Ok(answer),
            None => $self.primary.$name($($value),*).await,
        }
    }};
}

reads! {
    primary ping() -> ();
    primary user(id: UserId) -> Option<User>;
    primary user_by_email(key: &str) -> Option<User>;
    replica users_by_ids(ids: &[UserId]) -> Vec<User>;
    replica users(filter: &UserFilter, page: &PageRequest<UserSort>) -> Page<User>;
    primary bots_of(owner: UserId) -> Vec<User>;
    primary session(id: SessionId) -> Option<SessionOfUser>;
    primary sessions_of(user: UserId, now: Timestamp, limit: u32) -> Vec<Session>;
    primary api_key(hash: [u8; 32]) -> Option<KeyOfUser>;
    primary api_keys_of(user: UserId) -> Vec<ApiKey>;
    primary mail_token(hash: [u8; 32]) -> Option<MailToken>;
    primary account(id: AccountId) -> Option<Account>;
    primary transfer(id: TransferId) -> Option<Transfer>;
    replica transfers(filter: &TransferFilter, page: &PageRequest<TransferSort>) -> Page<Transfer>;
    primary market(key: &MarketKey) -> Option<Market>;
    replica markets_by_ids(ids: &[MarketId]) -> Vec<Market>;
    replica markets(filter: &MarketFilter, page: &PageRequest<MarketSort>) -> Page<Market>;
    replica best_prices(books: &[(MarketId, OutcomeId)]) -> Vec<BestPrices>;
    primary order(id: OrderId) -> Option<Order>;
    replica orders(filter: &OrderFilter, page: &PageRequest<OrderSort>) -> Page<Order>;
    primary book(market: MarketId, book: OutcomeId, depth: u32) -> (Vec<BookLevel>, i64);
    replica trades(filter: &TradeFilter, page: &PageRequest<TradeSort>) -> Page<Trade>;
    replica candles(request: &CandleRequest) -> Vec<Candle>;
    primary position(user: UserId, market: MarketId) -> Option<Position>;
    replica positions(filter: &PositionFilter, page: &PageRequest<PositionSort>) -> Page<PositionInMarket>;
    primary markets_to_close(now: Timestamp, limit: u32) -> Vec<MarketId>;
    primary orders_to_expire(now: Timestamp, limit: u32) -> Vec<(MarketId, OrderId)>;
    primary proposals_to_decide(now: Timestamp, limit: u32) -> Vec<MarketId>;
    primary markets_to_pay(limit: u32) -> Vec<MarketId>;
    primary closed_with_orders(after: Option<MarketId>, limit: u32) -> Look<MarketId>;
    primary deactivated_with_orders(after: Option<UserId>, limit: u32) -> Look<UserId>;
    primary order_group(id: OrderGroupId) -> Option<OrderGroup>;
    primary order_groups_of(user: UserId) -> Vec<OrderGroup>;
    primary cancel_switches_of(sender: Sender) -> Vec<CancelSwitch>;
    primary due_cancel_switches(now: Timestamp, limit: u32) -> Vec<Sender>;
    primary violations(limit: u32) -> Vec<Violation>;
    primary chains(after: Option<(AccountId, Timestamp, TransferId)>, limit: u32) -> Vec<Transfer>;
    replica statistics(user: UserId) -> UserStatistics;
    replica standings(page: &PageRequest<StandingSort>) -> Page<Standing>;
    primary markets_to_count(after: Option<MarketId>, limit: u32) -> Vec<MarketId>;
    replica audit_log(filter: &AuditFilter, page: &PageRequest<AuditSort>) -> Page<Entry>;
    primary audit_head() -> Head;
    primary audit_chain(after: i64, limit: u32) -> Vec<Link>;
    primary accounts_after(after: Option<AccountId>, limit: u32) -> Vec<Account>;
}
