//! What is kept of how users trade.

use async_trait::async_trait;
use bellwether_domain::ids::{MarketId, TradeId, UserId};
use bellwether_domain::ports::{Page, PageRequest, Scores, StandingSort, StoreError};
use bellwether_domain::score::{Counting, Figures, MarketScore, PaidPosition, Score, Standing};
use bellwether_domain::text::DisplayName;
use bellwether_domain::trade::Trade;
use jiff::Timestamp;
use uuid::Uuid;

use crate::connection::Connection;
use crate::lists::{List, NUMBER};
use crate::schema::COUNTINGS;
use crate::sql::{Row, Sql, Values};
use crate::trades;
use crate::unit::PgUnitOfWork;

/// The columns of how far a counting is.
pub(crate) fn bind_counting(counting: &Counting, row: &mut Values) {
    let (at, trade) = counting.last_trade.unzip();
    row.add(counting.market).add(counting.users_through).add(counting.is_done).add(at).add(trade);
}

/// The columns of what is added to a user's figures in a market.
pub(crate) fn bind_of_market(score: &MarketScore, row: &mut Values) {
    row.add(score.market).add(score.user);
    bind_figures(&score.figures, row);
}

/// The columns of what is added to a user's score.
pub(crate) fn bind(score: &Score, row: &mut Values) {
    row.add(score.user);
    bind_figures(&score.figures, row);
    row.add(score.profit).add(score.markets).add(score.judged_markets);
}

fn bind_figures(figures: &Figures, row: &mut Values) {
    row.add(figures.trades).add(figures.volume).add(figures.judged_shares).add(figures.missed);
}

fn read_figures(row: &mut Row) -> Result<Figures, StoreError> {
    Ok(Figures { trades: row.int()?, volume: row.credits()?, judged_shares: row.int()?, missed: row.int()? })
}

fn read_counting(row: &mut Row) -> Result<Counting, StoreError> {
    Ok(Counting {
        market: MarketId(row.id()?),
        users_through: UserId(row.id()?),
        is_done: row.flag()?,
        last_trade: row.opt_time()?.zip(row.opt_id()?.map(TradeId)),
    })
}

fn read_position(row: &mut Row) -> Result<PaidPosition, StoreError> {
    let (user, spent, received) = (UserId(row.id()?), row.credits()?, row.credits()?);
    Ok(PaidPosition { user, spent, received, figures: read_figures(row)? })
}

fn read_standing(row: &mut Row) -> Result<Standing, StoreError> {
    let user = UserId(row.id()?);
    let display_name = row.text_as("a display name", |text| DisplayName::parse(text).ok())?;
    let figures = read_figures(row)?;
    let (profit, markets, judged_markets) = (row.credits()?, row.int()?, row.int()?);
    let score = Score { user, figures, profit, markets, judged_markets };
    Ok(Standing { display_name, score, brier: row.opt_int()? })
}

const STANDING: &str =
    "user_id, display_name, trades, volume, judged_shares, missed, profit, markets, judged_markets, brier";

/// A page of a leaderboard: along the index of what it is by, each user looked up.
pub(crate) async fn standings(
    connection: &mut Connection,
    page: &PageRequest<StandingSort>,
) -> Result<Page<Standing>, StoreError> {
    let mut list = List::of("scores JOIN users ON users.id = scores.user_id", STANDING, "user_id");
    list.always("users.status = 'active'");
    if page.sort.iter().any(|(by, _)| *by == StandingSort::Brier) {
        // In these figures, so that the planner sees that the index fits.
        list.always("judged_markets >= 5");
    }
    let keys = |sort: &StandingSort| match sort {
        StandingSort::Profit => ("profit", NUMBER),
        StandingSort::Brier => ("brier", NUMBER),
    };
    list.page(connection, page, keys, "a standing", read_standing).await
}

/// Markets that are not counted to the end, in id order.
pub(crate) async fn markets_to_count(
    connection: &mut Connection,
    after: Option<MarketId>,
    limit: u32,
) -> Result<Vec<MarketId>, StoreError> {
    let sql = Sql::new("SELECT market_id FROM countings WHERE NOT done AND market_id > ? ORDER BY market_id LIMIT ?");
    let sql = sql.bind(after.map_or(Uuid::nil(), |market| market.0)).bind(limit);
    connection.read("a market", sql, |row| Ok(MarketId(row.id()?))).await
}

const PAID_POSITIONS: &str = "\
    SELECT p.user_id, p.spent, p.received, coalesce(s.trades, 0), coalesce(s.volume, 0), coalesce(s.judged_shares, 0), \
        coalesce(s.missed, 0) \
    FROM positions AS p LEFT JOIN market_scores AS s ON s.market_id = p.market_id AND s.user_id = p.user_id \
    WHERE p.market_id = ? AND p.user_id > ? ORDER BY p.user_id LIMIT ?";

#[async_trait]
impl Scores for PgUnitOfWork {
    async fn counting(&mut self, market: MarketId) -> Result<Option<Counting>, StoreError> {
        let sql = Sql::new(COUNTINGS.select()).then(" WHERE market_id = ?").bind(market);
        Ok(self.connection.read("a counting", sql, read_counting).await?.pop())
    }

    async fn trades_after(
        &mut self,
        market: MarketId,
        after: Option<(Timestamp, TradeId)>,
        limit: u32,
    ) -> Result<Vec<Trade>, StoreError> {
        trades::of_market_after(&mut self.connection, market, after, limit).await
    }

    async fn positions_after(
        &mut self,
        market: MarketId,
        user: UserId,
        limit: u32,
    ) -> Result<Vec<PaidPosition>, StoreError> {
        let sql = Sql::new(PAID_POSITIONS).bind(market).bind(user).bind(limit);
        self.connection.read("a position", sql, read_position).await
    }
}
