//! The reading half of the ports: each a hop to one of the reading connections.

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

use crate::sql::Sql;
use crate::store::SqliteStore;
use crate::{
    accounts, api_keys, audit, audit_log, cancel_switches, due, mail_tokens, markets, order_groups, orders, positions,
    scores, sessions, statistics, trades, users,
};

#[async_trait]
impl Queries for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.writer.check()?;
        self.readers.read(|connection| connection.rows(Sql::new("SELECT count(*) FROM sqlite_schema")).map(drop)).await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.readers.read(move |connection| Ok(users::by_ids(connection, &[id])?.pop())).await
    }

    async fn user_by_email(&self, key: &str) -> Result<Option<User>, StoreError> {
        let key = key.to_owned();
        self.readers.read(move |connection| users::by_email(connection, &key)).await
    }

    async fn users_by_ids(&self, ids: &[UserId]) -> Result<Vec<User>, StoreError> {
        let ids = ids.to_vec();
        self.readers.read(move |connection| users::by_ids(connection, &ids)).await
    }

    async fn users(&self, filter: &UserFilter, page: &PageRequest<UserSort>) -> Result<Page<User>, StoreError> {
        let (filter, page) = (filter.clone(), page.clone());
        self.readers.read(move |connection| users::list(connection, &filter, &page)).await
    }

    async fn bots_of(&self, owner: UserId) -> Result<Vec<User>, StoreError> {
        self.readers.read(move |connection| users::bots_of(connection, owner)).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<SessionOfUser>, StoreError> {
        self.readers.read(move |connection| sessions::of_user(connection, id)).await
    }

    async fn sessions_of(&self, user: UserId, now: Timestamp, limit: u32) -> Result<Vec<Session>, StoreError> {
        self.readers.read(move |connection| sessions::list(connection, user, now, limit)).await
    }

    async fn api_key(&self, hash: [u8; 32]) -> Result<Option<KeyOfUser>, StoreError> {
        self.readers.read(move |connection| api_keys::of_hash(connection, hash)).await
    }

    async fn api_keys_of(&self, user: UserId) -> Result<Vec<ApiKey>, StoreError> {
        self.readers.read(move |connection| api_keys::list(connection, user)).await
    }

    async fn mail_token(&self, hash: [u8; 32]) -> Result<Option<MailToken>, StoreError> {
        self.readers.read(move |connection| mail_tokens::by_hash(connection, hash)).await
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.readers.read(move |connection| Ok(accounts::by_ids(connection, &[id])?.pop())).await
    }

    async fn transfer(&self, id: TransferId) -> Result<Option<Transfer>, StoreError> {
        self.readers.read(move |connection| accounts::transfer(connection, id)).await
    }

    async fn transfers(
        &self,
        filter: &TransferFilter,
        page: &PageRequest<TransferSort>,
    ) -> Result<Page<Transfer>, StoreError> {
        let (filter, page) = (filter.clone(), page.clone());
        self.readers.read(move |connection| accounts::transfers(connection, &filter, &page)).await
    }

    async fn market(&self, key: &MarketKey) -> Result<Option<Market>, StoreError> {
        let key = key.clone();
        self.readers.read(move |connection| markets::one(connection, &key)).await
    }

    async fn markets_by_ids(&self, ids: &[MarketId]) -> Result<Vec<Market>, StoreError> {
        let ids = ids.to_vec();
        self.readers.read(move |connection| markets::by_ids(connection, &ids)).await
    }

    async fn markets(&self, filter: &MarketFilter, page: &PageRequest<MarketSort>) -> Result<Page<Market>, StoreError> {
        let (filter, page) = (filter.clone(), page.clone());
        self.readers.read(move |connection| markets::list(connection, &filter, &page)).await
    }

    async fn best_prices(&self, books: &[(MarketId, OutcomeId)]) -> Result<Vec<BestPrices>, StoreError> {
        let books = books.to_vec();
        self.readers.read(move |connection| orders::best_prices(connection, &books)).await
    }

    async fn order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.readers.read(move |connection| Ok(orders::by_ids(connection, &[id])?.pop())).await
    }

    async fn orders(&self, filter: &OrderFilter, page: &PageRequest<OrderSort>) -> Result<Page<Order>, StoreError> {
        let (filter, page) = (filter.clone(), page.clone());
        self.readers.read(move |connection| orders::list(connection, &filter, &page)).await
    }

    async fn book(&self, market: MarketId, book: OutcomeId, depth: u32) -> Result<(Vec<BookLevel>, i64), StoreError> {
        self.readers.read(move |connection| orders::levels(connection, market, book, depth)).await
    }

    async fn trades(&self, filter: &TradeFilter, page: &PageRequest<TradeSort>) -> Result<Page<Trade>, StoreError> {
        let (filter, page) = (filter.clone(), page.clone());
        self.readers.read(move |connection| trades::list(connection, &filter, &page)).await
    }

    async fn candles(&self, request: &CandleRequest) -> Result<Vec<Candle>, StoreError> {
        let request = *request;
        self.readers.read(move |connection| trades::candles(connection, &request)).await
    }

    async fn position(&self, user: UserId, market: MarketId) -> Result<Option<Position>, StoreError> {
        self.readers.read(move |connection| Ok(positions::by_pairs(connection, &[(user, market)])?.pop())).await
    }

    async fn positions(
        &self,
        filter: &PositionFilter,
        page: &PageRequest<PositionSort>,
    ) -> Result<Page<PositionInMarket>, StoreError> {
        let (filter, page) = (filter.clone(), page.clone());
        self.readers.read(move |connection| positions::list(connection, &filter, &page)).await
    }

    async fn markets_to_close(&self, now: Timestamp, limit: u32) -> Result<Vec<MarketId>, StoreError> {
        self.readers.read(move |connection| due::to_close(connection, now, limit)).await
    }

    async fn orders_to_expire(&self, now: Timestamp, limit: u32) -> Result<Vec<(MarketId, OrderId)>, StoreError> {
        self.readers.read(move |connection| due::to_expire(connection, now, limit)).await
    }

    async fn proposals_to_decide(&self, now: Timestamp, limit: u32) -> Result<Vec<MarketId>, StoreError> {
        self.readers.read(move |connection| due::to_decide(connection, now, limit)).await
    }

    async fn markets_to_pay(&self, limit: u32) -> Result<Vec<MarketId>, StoreError> {
        self.readers.read(move |connection| due::to_pay(connection, limit)).await
    }

    async fn closed_with_orders(&self, after: Option<MarketId>, limit: u32) -> Result<Look<MarketId>, StoreError> {
        self.readers.read(move |connection| due::closed_with_orders(connection, after, limit)).await
    }

    async fn deactivated_with_orders(&self, after: Option<UserId>, limit: u32) -> Result<Look<UserId>, StoreError> {
        self.readers.read(move |connection| due::deactivated_with_orders(connection, after, limit)).await
    }

    async fn order_group(&self, id: OrderGroupId) -> Result<Option<OrderGroup>, StoreError> {
        self.readers.read(move |connection| Ok(order_groups::by_ids(connection, &[id])?.pop())).await
    }

    async fn order_groups_of(&self, user: UserId) -> Result<Vec<OrderGroup>, StoreError> {
        self.readers.read(move |connection| order_groups::of_user(connection, user)).await
    }

    async fn cancel_switches_of(&self, sender: Sender) -> Result<Vec<CancelSwitch>, StoreError> {
        self.readers.read(move |connection| cancel_switches::of(connection, sender)).await
    }

    async fn due_cancel_switches(&self, now: Timestamp, limit: u32) -> Result<Vec<Sender>, StoreError> {
        self.readers.read(move |connection| cancel_switches::due(connection, now, limit)).await
    }

    async fn violations(&self, limit: u32) -> Result<Vec<Violation>, StoreError> {
        audit::violations(&self.readers, limit).await
    }

    async fn chains(
        &self,
        after: Option<(AccountId, Timestamp, TransferId)>,
        limit: u32,
    ) -> Result<Vec<Transfer>, StoreError> {
        self.readers.read(move |connection| accounts::chains(connection, after, limit)).await
    }

    async fn statistics(&self, user: UserId) -> Result<UserStatistics, StoreError> {
        self.readers.read(move |connection| statistics::of_user(connection, user)).await
    }

    async fn standings(&self, page: &PageRequest<StandingSort>) -> Result<Page<Standing>, StoreError> {
        let page = page.clone();
        self.readers.read(move |connection| scores::standings(connection, &page)).await
    }

    async fn markets_to_count(&self, after: Option<MarketId>, limit: u32) -> Result<Vec<MarketId>, StoreError> {
        self.readers.read(move |connection| scores::markets_to_count(connection, after, limit)).await
    }

    async fn audit_log(&self, filter: &AuditFilter, page: &PageRequest<AuditSort>) -> Result<Page<Entry>, StoreError> {
        let (filter, page) = (filter.clone(), page.clone());
        self.readers.read(move |connection| audit_log::list(connection, &filter, &page)).await
    }

    async fn audit_head(&self) -> Result<Head, StoreError> {
        self.readers.read(audit_log::head).await
    }

    async fn audit_chain(&self, after: i64, limit: u32) -> Result<Vec<Link>, StoreError> {
        self.readers.read(move |connection| audit_log::chain(connection, after, limit)).await
    }

    async fn accounts_after(&self, after: Option<AccountId>, limit: u32) -> Result<Vec<Account>, StoreError> {
        self.readers.read(move |connection| accounts::after(connection, after, limit)).await
    }
}
