//! Groups of orders.

use anyhow::ensure;
use bellwether_domain::ids::OrderGroupId;
use bellwether_domain::market::Market;
use bellwether_domain::money::Shares;
use bellwether_domain::order::{EndReason, Order, OrderStatus, Side};
use bellwether_domain::order_group::{OrderGroup, RecentFills};
use bellwether_domain::ports::{Changes, Wanted};
use bellwether_domain::user::User;

use crate::fixtures::{self, at};
use crate::world::World;

fn group(world: &World, user: &User, market: &Market) -> anyhow::Result<OrderGroup> {
    Ok(OrderGroup {
        id: OrderGroupId(world.id()),
        user: user.id,
        market: market.id,
        fill_cap: Shares::new(1_000_000_000),
        window_s: None,
        filled: Shares::ZERO,
        recent: Vec::new(),
        full_at: None,
        created_at: at(0)?,
        updated_at: at(0)?,
    })
}

/// Every field, as it was made and as it changed; and those of a user in the order in which they were made.
pub async fn groups_round_trip_and_are_deleted(world: World) -> anyhow::Result<()> {
    let (user, market) = fixtures::trader_and_market(&world, 2).await?;
    let plain = group(&world, &user, &market)?;
    let recent = vec![
        RecentFills { first_at: at(-5)?, last_at: at(1)?, quantity: Shares::new(7) },
        RecentFills { first_at: at(2)?, last_at: at(2)?, quantity: Shares::new(i64::MAX) },
    ];
    let full = OrderGroup {
        window_s: Some(86_400),
        filled: Shares::new(i64::MAX),
        recent,
        full_at: Some(at(3)?),
        ..group(&world, &user, &market)?
    };
    world.write(&Changes { new_order_groups: vec![full.clone(), plain.clone()], ..Changes::default() }).await?;
    ensure!(world.queries.order_groups_of(user.id).await? == [plain.clone(), full.clone()]);
    ensure!(world.queries.order_group(full.id).await? == Some(full.clone()));
    let mut unit = world.begin().await?;
    ensure!(unit.order_groups().load(&[full.id, plain.id, full.id]).await? == [plain.clone(), full.clone()]);
    ensure!(unit.order_groups().count_of(user.id).await? == 2);
    unit.rollback().await?;
    let changed = OrderGroup { filled: Shares::new(9), recent: Vec::new(), full_at: None, updated_at: at(9)?, ..full };
    world.write(&Changes { order_groups: vec![changed.clone()], ..Changes::default() }).await?;
    ensure!(world.queries.order_group(changed.id).await? == Some(changed.clone()));
    world.write(&Changes { deleted_order_groups: vec![plain.id], ..Changes::default() }).await?;
    ensure!(world.queries.order_groups_of(user.id).await? == std::slice::from_ref(&changed));
    // They go with their market.
    world.write(&Changes { deleted_markets: vec![market.id], ..Changes::default() }).await?;
    ensure!(world.queries.order_group(changed.id).await?.is_none());
    Ok(())
}

/// All that are open, and none of another group or of none; one by one and all at once.
pub async fn the_open_orders_of_groups_are_found(world: World) -> anyhow::Result<()> {
    let (user, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let groups = [group(&world, &user, &market)?, group(&world, &user, &market)?, group(&world, &user, &market)?];
    let [one, two, other] = groups.each_ref().map(|group| group.id);
    let mut orders = Vec::new();
    for of in [Some(one), Some(one), Some(two), Some(other), None] {
        let order = fixtures::order(&world, &mut market, user.id, (0, Side::Buy, 10, 1))?;
        orders.push(Order { group: of, ..order });
    }
    let mut ended = Order { group: Some(one), ..fixtures::order(&world, &mut market, user.id, (0, Side::Buy, 10, 1))? };
    ended.end(OrderStatus::Cancelled, Some(EndReason::GroupFull), at(1)?);
    let new_orders = [orders.clone(), vec![ended]].concat();
    let changes =
        Changes { new_order_groups: groups.to_vec(), new_orders, markets: vec![market], ..Changes::default() };
    world.write(&changes).await?;
    let mut unit = world.begin().await?;
    let expected: Vec<Order> = orders.into_iter().take(3).collect();
    ensure!(unit.order_groups().open_orders(&[two, one]).await? == expected);
    let found = unit.load(Wanted { order_groups: vec![two, one], ..Wanted::default() }).await?;
    ensure!(found.grouped_orders == expected && found.order_groups.len() == 2);
    unit.rollback().await?;
    Ok(())
}
