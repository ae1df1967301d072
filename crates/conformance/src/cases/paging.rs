//! Lists: every order, both ways of paging, and what happens while rows change.
//!
//! What a list must be is worked out here from the rows themselves; what the store gives is
//! compared with that, page by page.

use anyhow::ensure;
use bellwether_domain::ids::{AccountId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::order::{Order, Side};
use bellwether_domain::ports::Direction::{Ascending, Descending};
use bellwether_domain::ports::{
    Changes, MarketFilter, MarketSort, OrderFilter, OrderSort, Page, PageRequest, PositionFilter, PositionInMarket,
    PositionSort, Start, TradeFilter, TradeSort, TransferFilter, TransferSort, UserFilter, UserSort,
};
use bellwether_domain::text::DisplayName;
use bellwether_domain::user::User;
use uuid::Uuid;

use crate::fixtures::{self, Draft, at, nth};
use crate::pages::{InOneMarket, OfOneUser, after, first_page, holds, in_order};
use crate::world::World;

const USER_KEYS: [UserSort; 2] = [UserSort::CreatedAt, UserSort::DisplayName];
const MARKET_KEYS: [MarketSort; 3] = [MarketSort::CreatedAt, MarketSort::ClosesAt, MarketSort::Volume];
const ORDER_KEYS: [OrderSort; 2] = [OrderSort::CreatedAt, OrderSort::UpdatedAt];

/// Names that sort differently by bytes than by any language, many of them more than once.
const NAMES: [&str; 12] = ["a", "A", "b", "Z", "é", "e", "zebra", "Ärger", "_", "👍", "1", "ｆ"];

async fn named_users(world: &World) -> anyhow::Result<Vec<User>> {
    let mut users = Vec::new();
    for (name, number) in NAMES.iter().cycle().zip(0..29) {
        let mut user = fixtures::user(world)?;
        user.display_name = DisplayName::parse(name)?;
        user.created_at = at(-(number % 7))?;
        users.push(user);
    }
    world.write(&Changes { new_users: users.clone(), ..Changes::default() }).await?;
    Ok(users)
}

/// Users by each key and both, texts by their bytes.
pub async fn users_come_in_every_order(world: World) -> anyhow::Result<()> {
    let users = named_users(&world).await?;
    holds(&users, &USER_KEYS, async |page| world.queries.users(&UserFilter::default(), &page).await).await
}

/// Markets by each key and every two.
pub async fn markets_come_in_every_order(world: World) -> anyhow::Result<()> {
    let creator = fixtures::trader(&world).await?;
    let mut markets = Vec::new();
    for number in 0..23 {
        let mut market = fixtures::market(&world, creator.id, 2)?;
        market.created_at = at(number % 3)?;
        market.closes_at = at(1000 - number % 5)?;
        market.volume = fixtures::mills(number % 4 * 1_000_000_000_000_000);
        market.tags = vec!["a".to_owned(), "b".to_owned(), format!("c{number}")];
        markets.push(market);
    }
    world.write(&Changes { new_markets: markets.clone(), ..Changes::default() }).await?;
    holds(&markets, &MARKET_KEYS, async |page| world.queries.markets(&MarketFilter::default(), &page).await).await
}

async fn many_orders(world: &World, count: i64) -> anyhow::Result<(User, Market, Vec<Order>)> {
    let (user, mut market) = fixtures::trader_and_market(world, 3).await?;
    let mut orders = Vec::new();
    for number in 0..count {
        let mut order = fixtures::order(world, &mut market, user.id, (1, Side::Buy, 10 + number, 1))?;
        order.created_at = at(number % 4)?;
        order.updated_at = at(10 - number % 3)?;
        orders.push(order);
    }
    world.write(&Changes { new_orders: orders.clone(), markets: vec![market.clone()], ..Changes::default() }).await?;
    Ok((user, market, orders))
}

/// Orders by each key and both.
pub async fn orders_come_in_every_order(world: World) -> anyhow::Result<()> {
    let (user, market, orders) = many_orders(&world, 23).await?;
    for filter in [
        OrderFilter::default(),
        OrderFilter { user: Some(user.id), ..OrderFilter::default() },
        OrderFilter { market: Some(market.id), ..OrderFilter::default() },
    ] {
        holds(&orders, &ORDER_KEYS, async |page| world.queries.orders(&filter, &page).await).await?;
    }
    Ok(())
}

/// Trades, alone and under each filter, from the taker's side and from the maker's.
pub async fn trades_come_in_every_order(world: World) -> anyhow::Result<()> {
    let (user, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let maker = fixtures::trader(&world).await?;
    let mut resting = fixtures::order(&world, &mut market, maker.id, (0, Side::Sell, 500, 100))?;
    let mut taking = fixtures::order(&world, &mut market, user.id, (0, Side::Buy, 500, 100))?;
    let mut trades = Vec::new();
    for number in 0..17 {
        let mut trade = fixtures::fill(&world, &mut market, &mut taking, &mut resting, 1)?;
        trade.created_at = at(number % 4)?;
        trades.push(trade);
    }
    let order = resting.id;
    let changes = Changes {
        new_orders: vec![resting, taking],
        trades: trades.clone(),
        markets: vec![market.clone()],
        ..Changes::default()
    };
    world.write(&changes).await?;
    for filter in [
        TradeFilter::default(),
        TradeFilter { user: Some(user.id), ..TradeFilter::default() },
        TradeFilter { user: Some(maker.id), ..TradeFilter::default() },
        TradeFilter { market: Some(market.id), ..TradeFilter::default() },
        TradeFilter { order: Some(order), ..TradeFilter::default() },
    ] {
        holds(&trades, &[TradeSort::CreatedAt], async |page| world.queries.trades(&filter, &page).await).await?;
    }
    Ok(())
}

/// Transfers, alone and of an account that pays some and is paid by others.
pub async fn transfers_come_in_every_order(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 2, 0).await?;
    let ids: Vec<AccountId> = users.iter().map(|u| AccountId::of_user(u.id)).collect();
    let (first, second) = (*nth(&ids, 0)?, *nth(&ids, 1)?);
    let mut transfers = Vec::new();
    for number in 0..5 {
        let mut draft = Draft::with(&world, &ids).await?;
        for _ in 0..2 {
            draft.pay(&world, AccountId::TREASURY, first, 10, bellwether_domain::ledger::TransferKind::Grant, None)?;
            draft.pay(&world, first, second, 5, bellwether_domain::ledger::TransferKind::Payment, None)?;
        }
        for transfer in &mut draft.changes.transfers {
            transfer.created_at = at(number % 3)?;
        }
        transfers.extend(draft.changes.transfers.iter().cloned());
        world.write(&draft.finish()).await?;
    }
    for account in [None, Some(first)] {
        let filter = TransferFilter { account, ..TransferFilter::default() };
        holds(&transfers, &[TransferSort::CreatedAt], async |page| world.queries.transfers(&filter, &page).await)
            .await?;
    }
    Ok(())
}

fn mapped<A, B>(page: Page<A>, wrap: impl Fn(A) -> B) -> Page<B> {
    Page { items: page.items.into_iter().map(wrap).collect(), total: page.total, has_more: page.has_more }
}

/// Positions of one user, where the market's id breaks ties, and of one market, where the user's does.
pub async fn positions_come_in_every_order(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 13, 1000).await?;
    let one = nth(&users, 0)?.id;
    let mut markets = Vec::new();
    for number in 0..13 {
        markets.push(fixtures::market(&world, one, if number % 2 == 0 { 2 } else { 5 })?);
    }
    fixtures::open_markets(&world, &markets).await?;
    let single = nth(&markets, 0)?.clone();
    let spent = |mut position: bellwether_domain::position::Position, number: i64| {
        position.spent = fixtures::mills(number % 3);
        position
    };
    let of_user: Vec<PositionInMarket> = markets
        .iter()
        .zip(0..)
        .map(|(market, number)| PositionInMarket {
            position: spent(fixtures::position(one, market, &vec![number; market.outcomes.len()]), number),
            market: market.clone(),
        })
        .collect();
    let mut in_market: Vec<PositionInMarket> = users
        .iter()
        .zip(0..)
        .skip(1)
        .map(|(user, number)| PositionInMarket {
            position: spent(fixtures::position(user.id, &single, &[number, 0]), number),
            market: single.clone(),
        })
        .collect();
    let all = of_user.iter().chain(&in_market).map(|row| row.position.clone()).collect();
    world.write(&Changes { positions: all, ..Changes::default() }).await?;
    in_market.push(nth(&of_user, 0)?.clone());

    let filter = PositionFilter { user: Some(one), market: None };
    let rows: Vec<OfOneUser> = of_user.into_iter().map(OfOneUser).collect();
    holds(&rows, &[PositionSort::Spent], async |page| {
        world.queries.positions(&filter, &page).await.map(|page| mapped(page, OfOneUser))
    })
    .await?;
    let filter = PositionFilter { user: None, market: Some(single.id) };
    let rows: Vec<InOneMarket> = in_market.into_iter().map(InOneMarket).collect();
    holds(&rows, &[PositionSort::Spent], async |page| {
        world.queries.positions(&filter, &page).await.map(|page| mapped(page, InOneMarket))
    })
    .await
}

/// Threat 22. While somebody walks the list by cursor, rows are added before and after the cursor, and
/// rows that were passed (the cursor's own too) change their place: what stayed comes exactly once.
pub async fn a_cursor_of_users_resumes_after_the_last_row_while_rows_change(world: World) -> anyhow::Result<()> {
    let users = named_users(&world).await?;
    let sort = vec![(UserSort::DisplayName, Ascending), (UserSort::CreatedAt, Descending)];
    let wanted = in_order(&users, &sort);
    let mut seen: Vec<Uuid> = Vec::new();
    let mut start = Start::First;
    loop {
        let page =
            world.queries.users(&UserFilter::default(), &PageRequest { sort: sort.clone(), start, limit: 4 }).await?;
        seen.extend(page.items.iter().map(|u| u.id.0));
        let Some(last) = page.items.last().filter(|_| page.has_more) else { break };
        start = after(last, &sort);
        let mut before = fixtures::user(&world)?;
        before.display_name = DisplayName::parse("!")?;
        let mut passed = nth(&page.items, 0)?.clone();
        let mut cursor = last.clone();
        for user in [&mut passed, &mut cursor] {
            user.display_name = DisplayName::parse("\"")?;
        }
        let changed = if passed.id == cursor.id { vec![passed] } else { vec![passed, cursor] };
        world.write(&Changes { new_users: vec![before], users: changed, ..Changes::default() }).await?;
    }
    ensure!(seen == wanted, "the walk saw {seen:?} where {wanted:?} stayed");
    Ok(())
}

/// Threat 22. The row of the cursor is deleted, and so are others: the walk goes on behind it.
pub async fn a_cursor_of_markets_resumes_after_the_last_row_was_deleted(world: World) -> anyhow::Result<()> {
    let creator = fixtures::trader(&world).await?;
    let mut markets = Vec::new();
    for number in 0..20 {
        let mut market = fixtures::market(&world, creator.id, 2)?;
        market.closes_at = at(number / 4)?;
        markets.push(market);
    }
    world.write(&Changes { new_markets: markets.clone(), ..Changes::default() }).await?;
    let sort = vec![(MarketSort::ClosesAt, Descending)];
    let wanted = in_order(&markets, &sort);
    let mut seen: Vec<Uuid> = Vec::new();
    let mut start = Start::First;
    loop {
        let page = world
            .queries
            .markets(&MarketFilter::default(), &PageRequest { sort: sort.clone(), start, limit: 3 })
            .await?;
        seen.extend(page.items.iter().map(|m| m.id.0));
        let Some(last) = page.items.last().filter(|_| page.has_more) else { break };
        start = after(last, &sort);
        let mut earlier = fixtures::market(&world, creator.id, 2)?;
        earlier.closes_at = at(100)?;
        let changes = Changes { deleted_markets: vec![last.id], new_markets: vec![earlier], ..Changes::default() };
        world.write(&changes).await?;
    }
    ensure!(seen == wanted, "the walk saw {seen:?} where {wanted:?} was right");
    Ok(())
}

/// Threat 22. Orders change while they are listed by their last change: those that did not are
/// neither left out nor doubled, and those that did come again at their new place.
pub async fn a_cursor_of_orders_resumes_while_orders_change(world: World) -> anyhow::Result<()> {
    let (_, mut market, orders) = many_orders(&world, 20).await?;
    let sort = vec![(OrderSort::UpdatedAt, Ascending)];
    let wanted = in_order(&orders, &sort);
    let mut seen: Vec<Uuid> = Vec::new();
    let mut moved: Vec<Uuid> = Vec::new();
    let mut start = Start::First;
    loop {
        let page =
            world.queries.orders(&OrderFilter::default(), &PageRequest { sort: sort.clone(), start, limit: 6 }).await?;
        seen.extend(page.items.iter().map(|o| o.id.0));
        let Some(last) = page.items.last().filter(|_| page.has_more) else { break };
        start = after(last, &sort);
        let mut changed = nth(&page.items, 0)?.clone();
        if last.updated_at == at(1000)? {
            continue;
        }
        changed.updated_at = at(1000)?;
        moved.push(changed.id.0);
        market.next_sequence();
        world.write(&Changes { orders: vec![changed], markets: vec![market.clone()], ..Changes::default() }).await?;
    }
    ensure!(seen.get(..wanted.len()) == Some(wanted.as_slice()), "the walk saw {seen:?} where {wanted:?} was first");
    moved.sort_unstable();
    ensure!(
        seen.get(wanted.len()..) == Some(moved.as_slice()),
        "the walk ended with {seen:?} where {moved:?} had moved to the end"
    );
    Ok(())
}

/// A user that nothing is known of has empty lists.
pub async fn lists_of_nothing_are_empty_pages(world: World) -> anyhow::Result<()> {
    let nobody = UserId(world.id());
    let filter = OrderFilter { user: Some(nobody), ..OrderFilter::default() };
    let counted = world.queries.orders(&filter, &first_page()).await?;
    ensure!(counted == Page { items: Vec::new(), total: Some(0), has_more: false });
    let walked =
        world.queries.orders(&filter, &PageRequest { sort: Vec::new(), start: Start::First, limit: 5 }).await?;
    ensure!(walked == Page { items: Vec::new(), total: None, has_more: false });
    let far = PageRequest { sort: Vec::new(), start: Start::Offset(u64::try_from(i64::MAX)?), limit: 100 };
    ensure!(world.queries.users(&UserFilter::default(), &far).await?.items.is_empty());
    let positions =
        world.queries.positions(&PositionFilter { user: Some(nobody), market: None }, &first_page()).await?;
    ensure!(positions.items.is_empty() && positions.total == Some(0));
    Ok(())
}
