//! The reading half of the ports: each on a connection of the pool.

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
use crate::store::PgStore;
use crate::{
    accounts, api_keys, audit, audit_log, cancel_switches, due, mail_tokens, markets, order_groups, orders, positions,
    scores, sessions, statistics, trades, users,
};

/// How an audit begins: it sees one moment, and reads whole tables however that is done best.
const AUDIT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; \
                     SET LOCAL plan_cache_mode = auto; SET LOCAL enable_seqscan = on; \
                     SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on";

#[async_trait]
impl Queries for PgStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.connection().await?.rows(Sql::new("SELECT 1")).await.map(drop)
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        Ok(users::by_ids(&mut self.connection().await?, &[id]).await?.pop())
    }

    async fn user_by_email(&self, key: &str) -> Result<Option<User>, StoreError> {
        users::by_email(&mut self.connection().await?, key).await
    }

    async fn users_by_ids(&self, ids: &[UserId]) -> Result<Vec<User>, StoreError> {
        users::by_ids(&mut self.connection().await?, ids).await
    }

    async fn users(&self, filter: &UserFilter, page: &PageRequest<UserSort>) -> Result<Page<User>, StoreError> {
        users::list(&mut self.connection().await?, filter, page).await
    }

    async fn bots_of(&self, owner: UserId) -> Result<Vec<User>, StoreError> {
        users::bots_of(&mut self.connection().await?, owner).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<SessionOfUser>, StoreError> {
        sessions::of_user(&mut self.connection().await?, id).await
    }

    async fn sessions_of(&self, user: UserId, now: Timestamp, limit: u32) -> Result<Vec<Session>, StoreError> {
        sessions::list(&mut self.connection().await?, user, now, limit).await
    }

    async fn api_key(&self, hash: [u8; 32]) -> Result<Option<KeyOfUser>, StoreError> {
        api_keys::of_hash(&mut self.connection().await?, hash).await
    }

    async fn api_keys_of(&self, user: UserId) -> Result<Vec<ApiKey>, StoreError> {
        api_keys::list(&mut self.connection().await?, user).await
    }

    async fn mail_token(&self, hash: [u8; 32]) -> Result<Option<MailToken>, StoreError> {
        mail_tokens::by_hash(&mut self.connection().await?, hash).await
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        Ok(accounts::by_ids(&mut self.connection().await?, &[id]).await?.pop())
    }

    async fn transfer(&self, id: TransferId) -> Result<Option<Transfer>, StoreError> {
        accounts::transfer(&mut self.connection().await?, id).await
    }

    async fn transfers(
        &self,
        filter: &TransferFilter,
        page: &PageRequest<TransferSort>,
    ) -> Result<Page<Transfer>, StoreError> {
        accounts::transfers(&mut self.connection().await?, filter, page).await
    }

    async fn market(&self, key: &MarketKey) -> Result<Option<Market>, StoreError> {
        markets::one(&mut self.connection().await?, key).await
    }

    async fn markets_by_ids(&self, ids: &[MarketId]) -> Result<Vec<Market>, StoreError> {
        markets::by_ids(&mut self.connection().await?, ids).await
    }

    async fn markets(&self, filter: &MarketFilter, page: &PageRequest<MarketSort>) -> Result<Page<Market>, StoreError> {
        markets::list(&mut self.connection().await?, filter, page).await
    }

    async fn best_prices(&self, books: &[(MarketId, OutcomeId)]) -> Result<Vec<BestPrices>, StoreError> {
        orders::best_prices(&mut self.connection().await?, books).await
    }

    async fn order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        Ok(orders::by_ids(&mut self.connection().await?, &[id]).await?.pop())
    }

    async fn orders(&self, filter: &OrderFilter, page: &PageRequest<OrderSort>) -> Result<Page<Order>, StoreError> {
        orders::list(&mut self.connection().await?, filter, page).await
    }

    async fn book(&self, market: MarketId, book: OutcomeId, depth: u32) -> Result<(Vec<BookLevel>, i64), StoreError> {
        orders::levels(&mut self.connection().await?, market, book, depth).await
    }

    async fn trades(&self, filter: &TradeFilter, page: &PageRequest<TradeSort>) -> Result<Page<Trade>, StoreError> {
        trades::list(&mut self.connection().await?, filter, page).await
    }

    async fn candles(&self, request: &CandleRequest) -> Result<Vec<Candle>, StoreError> {
        trades::candles(&mut self.connection().await?, request).await
    }

    async fn position(&self, user: UserId, market: MarketId) -> Result<Option<Position>, StoreError> {
        Ok(positions::by_pairs(&mut self.connection().await?, &[(user, market)]).await?.pop())
    }

    async fn positions(
        &self,
        filter: &PositionFilter,
        page: &PageRequest<PositionSort>,
    ) -> Result<Page<PositionInMarket>, StoreError> {
        positions::list(&mut self.connection().await?, filter, page).await
    }

    async fn markets_to_close(&self, now: Timestamp, limit: u32) -> Result<Vec<MarketId>, StoreError> {
        due::to_close(&mut self.connection().await?, now, limit).await
    }

    async fn orders_to_expire(&self, now: Timestamp, limit: u32) -> Result<Vec<(MarketId, OrderId)>, StoreError> {
        due::to_expire(&mut self.connection().await?, now, limit).await
    }

    async fn proposals_to_decide(&self, now: Timestamp, limit: u32) -> Result<Vec<MarketId>, StoreError> {
        due::to_decide(&mut self.connection().await?, now, limit).await
    }

    async fn markets_to_pay(&self, limit: u32) -> Result<Vec<MarketId>, StoreError> {
        due::to_pay(&mut self.connection().await?, limit).await
    }

    async fn closed_with_orders(&self, after: Option<MarketId>, limit: u32) -> Result<Look<MarketId>, StoreError> {
        due::closed_with_orders(&mut self.connection().await?, after, limit).await
    }

    async fn deactivated_with_orders(&self, after: Option<UserId>, limit: u32) -> Result<Look<UserId>, StoreError> {
        due::deactivated_with_orders(&mut self.connection().await?, after, limit).await
    }

    async fn order_group(&self, id: OrderGroupId) -> Result<Option<OrderGroup>, StoreError> {
        Ok(order_groups::found(self.connection().await?.rows(order_groups::wanted(&[id])).await?)?.pop())
    }

    async fn order_groups_of(&self, user: UserId) -> Result<Vec<OrderGroup>, StoreError> {
        order_groups::found(self.connection().await?.rows(order_groups::wanted_of(user)).await?)
    }

    async fn cancel_switches_of(&self, sender: Sender) -> Result<Vec<CancelSwitch>, StoreError> {
        cancel_switches::of(&mut self.connection().await?, sender).await
    }

    async fn due_cancel_switches(&self, now: Timestamp, limit: u32) -> Result<Vec<Sender>, StoreError> {
        cancel_switches::due(&mut self.connection().await?, now, limit).await
    }

    async fn violations(&self, limit: u32) -> Result<Vec<Violation>, StoreError> {
        let mut connection = self.connection().await?;
        connection.begin(AUDIT);
        connection.lift_time_limit();
        let found = audit::violations(&mut connection, limit).await?;
        connection.end("COMMIT").await?;
        Ok(found)
    }

    async fn chains(
        &self,
        after: Option<(AccountId, Timestamp, TransferId)>,
        limit: u32,
    ) -> Result<Vec<Transfer>, StoreError> {
        accounts::chains(&mut self.connection().await?, after, limit).await
    }

    async fn statistics(&self, user: UserId) -> Result<UserStatistics, StoreError> {
        statistics::of_user(&mut self.connection().await?, user).await
    }

    async fn standings(&self, page: &PageRequest<StandingSort>) -> Result<Page<Standing>, StoreError> {
        scores::standings(&mut self.connection().await?, page).await
    }

    async fn markets_to_count(&self, after: Option<MarketId>, limit: u32) -> Result<Vec<MarketId>, StoreError> {
        scores::markets_to_count(&mut self.connection().await?, after, limit).await
    }

    async fn audit_log(&self, filter: &AuditFilter, page: &PageRequest<AuditSort>) -> Result<Page<Entry>, StoreError> {
        audit_log::list(&mut self.connection().await?, filter, page).await
    }

    async fn audit_head(&self) -> Result<Head, StoreError> {
        audit_log::head(&mut self.connection().await?).await
    }

    async fn audit_chain(&self, after: i64, limit: u32) -> Result<Vec<Link>, StoreError> {
        audit_log::chain(&mut self.connection().await?, after, limit).await
    }

    async fn accounts_after(&self, after: Option<AccountId>, limit: u32) -> Result<Vec<Account>, StoreError> {
        accounts::after(&mut self.connection().await?, after, limit).await
    }
}
