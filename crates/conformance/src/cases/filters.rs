//! Filters: each alone and together, and how they count.

use anyhow::ensure;
use bellwether_domain::ids::{AccountId, MarketId, OrderId, UserId};
use bellwether_domain::ledger::{Transfer, TransferKind};
use bellwether_domain::market::{Market, MarketStatus};
use bellwether_domain::order::{EndReason, Order, OrderStatus, Side};
use bellwether_domain::ports::{
    Changes, MarketFilter, OrderFilter, PositionFilter, TradeFilter, TransferFilter, UserFilter,
};
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::trade::Trade;
use bellwether_domain::user::{Role, User, UserStatus};

use crate::fixtures::{self, Draft, at, mills, nth, price};
use crate::pages::first_page;
use crate::world::World;

/// Compares a list with the rows that should match.
fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    page: &bellwether_domain::ports::Page<T>,
    wanted: &[T],
) -> anyhow::Result<()> {
    ensure!(page.items == wanted, "{what} gave {:#?} where {wanted:#?} was right", page.items);
    ensure!(page.total == Some(u64::try_from(wanted.len())?), "{what} counted {:?}", page.total);
    Ok(())
}

/// By role, by status, and by both.
pub async fn users_are_filtered(world: World) -> anyhow::Result<()> {
    let mut users = Vec::new();
    for number in 0..18 {
        let mut user = fixtures::user(&world)?;
        user.role = *nth(&Role::ALL, number % 3)?;
        user.status = *nth(&UserStatus::ALL, number / 3 % 3)?;
        users.push(user);
    }
    world.write(&Changes { new_users: users.clone(), ..Changes::default() }).await?;
    for role in [None].into_iter().chain(Role::ALL.map(Some)) {
        for status in [None].into_iter().chain(UserStatus::ALL.map(Some)) {
            let matching: Vec<User> = users
                .iter()
                .filter(|u| role.is_none_or(|r| r == u.role) && status.is_none_or(|s| s == u.status))
                .cloned()
                .collect();
            let filter = UserFilter { role, status, ..UserFilter::default() };
            same(&format!("{filter:?}"), &world.queries.users(&filter, &first_page()).await?, &matching)?;
        }
    }
    Ok(())
}

/// By when they signed up, and by how their names and addresses begin, never by patterns.
pub async fn users_are_searched(world: World) -> anyhow::Result<()> {
    let people = [
        ("Ann", "ann@example.org"),
        ("annika", "other@example.org"),
        ("Ben", "ANNE@example.org"),
        ("Zoë", "Zoë@example.org"),
        ("%nn", "a_n@example.org"),
        ("Joann", "jo@example.org"),
    ];
    let mut users = Vec::new();
    for ((name, address), second) in people.into_iter().zip(0..) {
        let mut user = fixtures::user(&world)?;
        user.display_name = DisplayName::parse(name)?;
        user.email = Some(Email::parse(address)?);
        user.created_at = at(second)?;
        users.push(user);
    }
    let mut deleted = fixtures::user(&world)?;
    deleted.deactivate(at(9)?);
    deleted.created_at = at(9)?;
    users.push(deleted);
    world.write(&Changes { new_users: users.clone(), ..Changes::default() }).await?;
    let searches: [(&str, &[usize]); 12] = [
        ("ann", &[0, 1, 2]),
        ("ANN", &[0, 1, 2]),
        ("Annika", &[1]),
        ("ann@", &[0]),
        ("zoë@", &[3]),
        ("ZO", &[3]),
        ("%", &[4]),
        ("a_n", &[4]),
        ("_", &[]),
        ("nn", &[]),
        ("deleted", &[6]),
        ("'; --", &[]),
    ];
    for (text, wanted) in searches {
        let filter = UserFilter { search: Some(text.to_owned()), ..UserFilter::default() };
        let wanted = wanted.iter().map(|index| nth(&users, *index).cloned()).collect::<anyhow::Result<Vec<_>>>()?;
        same(&format!("{filter:?}"), &world.queries.users(&filter, &first_page()).await?, &wanted)?;
    }
    let times = UserFilter { created_after: Some(at(1)?), created_before: Some(at(3)?), ..UserFilter::default() };
    same("a time", &world.queries.users(&times, &first_page()).await?, users.get(1..3).unwrap_or_default())?;
    let both = UserFilter { search: Some("ann".to_owned()), ..times };
    same("both", &world.queries.users(&both, &first_page()).await?, users.get(1..3).unwrap_or_default())
}

fn matches(filter: &MarketFilter, market: &Market) -> bool {
    filter.status.is_none_or(|s| s == market.status)
        && filter.category.as_ref().is_none_or(|c| market.category.as_ref() == Some(c))
        && filter.tag.as_ref().is_none_or(|t| market.tags.contains(t))
        && filter.creator.is_none_or(|c| c == market.creator)
        && filter.closes_before.is_none_or(|t| market.closes_at < t)
        && filter.closes_after.is_none_or(|t| market.closes_at >= t)
}

/// By each field and by all; texts match whole and exactly, never as patterns.
pub async fn markets_are_filtered(world: World) -> anyhow::Result<()> {
    let creators = fixtures::sign_up(&world, 2, 0).await?;
    let categories = [None, Some("sports"), Some("sport"), Some("%"), Some("größe")];
    let mut markets = Vec::new();
    for number in 0..70 {
        let mut market = fixtures::market(&world, nth(&creators, number % 2)?.id, 2)?;
        market.status = *nth(&MarketStatus::ALL, number % 7)?;
        market.category = nth(&categories, number % 5)?.map(str::to_owned);
        market.tags = ["rain", "rainy", "_ain", "👍"].into_iter().skip(number % 4).map(str::to_owned).collect();
        market.closes_at = at(i64::try_from(number % 10)?)?;
        markets.push(market);
    }
    world.write(&Changes { new_markets: markets.clone(), ..Changes::default() }).await?;
    let mut filters = vec![MarketFilter::default()];
    filters.extend(MarketStatus::ALL.map(|s| MarketFilter { status: Some(s), ..MarketFilter::default() }));
    for text in ["sports", "sport", "%", "größe", "GRÖSSE", "s%", ""] {
        filters.push(MarketFilter { category: Some(text.to_owned()), ..MarketFilter::default() });
    }
    for text in ["rain", "rainy", "_ain", "👍", "%", "Rain"] {
        filters.push(MarketFilter { tag: Some(text.to_owned()), ..MarketFilter::default() });
    }
    for creator in [nth(&creators, 1)?.id, UserId(world.id())] {
        filters.push(MarketFilter { creator: Some(creator), ..MarketFilter::default() });
    }
    filters.push(MarketFilter { closes_before: Some(at(4)?), ..MarketFilter::default() });
    filters.push(MarketFilter { closes_after: Some(at(4)?), ..MarketFilter::default() });
    let several = MarketFilter {
        closes_before: Some(at(8)?),
        closes_after: Some(at(2)?),
        tag: Some("rainy".to_owned()),
        ..MarketFilter::default()
    };
    filters.push(MarketFilter { creator: Some(nth(&creators, 0)?.id), ..several.clone() });
    filters.push(MarketFilter {
        category: Some("sport".to_owned()),
        status: Some(MarketStatus::Proposed),
        ..several.clone()
    });
    filters.push(several);
    for filter in filters {
        let matching: Vec<Market> = markets.iter().filter(|m| matches(&filter, m)).cloned().collect();
        same(&format!("{filter:?}"), &world.queries.markets(&filter, &first_page()).await?, &matching)?;
    }
    Ok(())
}

/// By user, market, status and client order id, and by all.
pub async fn orders_are_filtered(world: World) -> anyhow::Result<()> {
    let (first, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let (second, mut other) = fixtures::trader_and_market(&world, 2).await?;
    let mut orders: Vec<Order> = Vec::new();
    for number in 0..32 {
        let user = if number % 2 == 0 { first.id } else { second.id };
        let place = if number / 2 % 2 == 0 { &mut market } else { &mut other };
        let mut order = fixtures::order(&world, place, user, (0, Side::Buy, 5, 1))?;
        if number % 3 == 0 {
            order.client_order_id = Some(format!("c{}", number / 6));
        }
        let status = *nth(OrderStatus::ALL, number / 4 % 4)?;
        if status != OrderStatus::Open {
            order.end(status, Some(EndReason::Requested), at(0)?);
        }
        orders.push(order);
    }
    world.write(&Changes { new_orders: orders.clone(), ..Changes::default() }).await?;
    for user in [None, Some(first.id), Some(UserId(world.id()))] {
        for place in [None, Some(market.id), Some(other.id), Some(MarketId(world.id()))] {
            for status in [None].into_iter().chain(OrderStatus::ALL.iter().map(|s| Some(*s))) {
                for name in [None, Some("c1"), Some("C1"), Some("c_")] {
                    let filter = OrderFilter { user, market: place, status, client_order_id: name.map(str::to_owned) };
                    let matching: Vec<Order> = orders
                        .iter()
                        .filter(|o| user.is_none_or(|u| u == o.user) && place.is_none_or(|m| m == o.market))
                        .filter(|o| status.is_none_or(|s| s == o.status))
                        .filter(|o| name.is_none_or(|n| o.client_order_id.as_deref() == Some(n)))
                        .cloned()
                        .collect();
                    same(&format!("{filter:?}"), &world.queries.orders(&filter, &first_page()).await?, &matching)?;
                }
            }
        }
    }
    Ok(())
}

/// By market, by user and by order on either side, and by all.
pub async fn trades_are_filtered(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 3, 0).await?;
    let mut markets = Vec::new();
    for user in &users {
        markets.push(fixtures::market(&world, user.id, 2)?);
    }
    fixtures::open_markets(&world, &markets).await?;
    let (mut orders, mut trades): (Vec<Order>, Vec<Trade>) = (Vec::new(), Vec::new());
    for number in 0..12 {
        let Some(market) = markets.get_mut(number % 2) else { continue };
        let mut taking = fixtures::order(&world, market, nth(&users, number % 3)?.id, (0, Side::Buy, 5, 1))?;
        if number % 4 == 0 {
            trades.push(fixtures::fill_by_maker(&world, market, &mut taking, 1, mills(5), price(5)?)?);
        } else {
            let maker = nth(&users, (number + 1 + number / 6) % 3)?.id;
            let mut resting = fixtures::order(&world, market, maker, (0, Side::Sell, 5, 1))?;
            trades.push(fixtures::fill(&world, market, &mut taking, &mut resting, 1)?);
            orders.push(resting);
        }
        orders.push(taking);
    }
    let some_orders: Vec<OrderId> = orders.iter().map(|o| o.id).collect();
    world.write(&Changes { new_orders: orders, trades: trades.clone(), ..Changes::default() }).await?;
    let order_choices = [None].into_iter().chain(some_orders.into_iter().map(Some)).chain([Some(OrderId(world.id()))]);
    for order in order_choices {
        for user in [None].into_iter().chain(users.iter().map(|u| Some(u.id))) {
            for market in [None].into_iter().chain(markets.iter().map(|m| Some(m.id))) {
                let filter = TradeFilter { market, user, order };
                let matching: Vec<Trade> = trades
                    .iter()
                    .filter(|t| market.is_none_or(|m| m == t.market))
                    .filter(|t| user.is_none_or(|u| t.taker == u || t.maker == Some(u)))
                    .filter(|t| order.is_none_or(|o| t.taker_order == o || t.maker_order == Some(o)))
                    .cloned()
                    .collect();
                same(&format!("{filter:?}"), &world.queries.trades(&filter, &first_page()).await?, &matching)?;
            }
        }
    }
    Ok(())
}

/// By account on either side, by kind and by market, and by all.
pub async fn transfers_are_filtered(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 3, 0).await?;
    let ids: Vec<AccountId> = users.iter().map(|u| AccountId::of_user(u.id)).collect();
    let markets = [MarketId(world.id()), MarketId(world.id())];
    let mut draft = Draft::with(&world, &ids).await?;
    for (number, kind) in TransferKind::ALL.into_iter().cycle().take(27).enumerate() {
        let market = if number % 3 == 0 { None } else { Some(*nth(&markets, number % 2)?) };
        let to = *nth(&ids, number % 3)?;
        draft.pay(&world, AccountId::TREASURY, to, 10, kind, market)?;
        draft.pay(&world, to, *nth(&ids, (number + 1) % 3)?, 5, kind, market)?;
    }
    let transfers: Vec<Transfer> = draft.changes.transfers.clone();
    world.write(&draft.finish()).await?;
    for account in
        [None, Some(*nth(&ids, 0)?), Some(AccountId::TREASURY), Some(AccountId::FEES), Some(AccountId(world.id()))]
    {
        for kind in [None].into_iter().chain(TransferKind::ALL.map(Some)) {
            for market in [None, Some(*nth(&markets, 0)?), Some(MarketId(world.id()))] {
                let filter = TransferFilter { account, kind, market };
                let matching: Vec<Transfer> = transfers
                    .iter()
                    .filter(|t| account.is_none_or(|a| t.from == a || t.to == a))
                    .filter(|t| {
                        kind.is_none_or(|k| k == t.kind) && market.is_none_or(|m| t.reference.market == Some(m))
                    })
                    .cloned()
                    .collect();
                same(&format!("{filter:?}"), &world.queries.transfers(&filter, &first_page()).await?, &matching)?;
            }
        }
    }
    Ok(())
}

/// By user, by market, and by both; each row with its market as it is now.
pub async fn positions_are_filtered(world: World) -> anyhow::Result<()> {
    let (first, market) = fixtures::trader_and_market(&world, 2).await?;
    let (second, mut other) = fixtures::trader_and_market(&world, 4).await?;
    other.tags = vec!["b".to_owned(), "a".to_owned()];
    other.question = "Changed?".to_owned();
    let positions = vec![
        fixtures::position(first.id, &market, &[1, 0]),
        fixtures::position(first.id, &other, &[1, 2, 3, 4]),
        fixtures::position(second.id, &other, &[0, 0, 0, 9]),
    ];
    world.write(&Changes { positions: positions.clone(), markets: vec![other.clone()], ..Changes::default() }).await?;
    for user in [Some(first.id), Some(second.id), None] {
        for place in [Some(market.id), Some(other.id), None] {
            if user.is_none() && place.is_none() {
                continue;
            }
            let filter = PositionFilter { user, market: place };
            let page = world.queries.positions(&filter, &first_page()).await?;
            let matching: Vec<_> = positions
                .iter()
                .filter(|p| user.is_none_or(|u| u == p.user) && place.is_none_or(|m| m == p.market))
                .cloned()
                .collect();
            let found: Vec<_> = page.items.iter().map(|row| row.position.clone()).collect();
            ensure!(found == matching, "{filter:?} gave {found:#?} where {matching:#?} was right");
            ensure!(page.total == Some(u64::try_from(matching.len())?));
            for row in &page.items {
                let right = if row.position.market == market.id { &market } else { &other };
                ensure!(row.market == *right, "{:#?} came with {:#?}", row.position, row.market);
            }
        }
    }
    Ok(())
}
