//! What the database itself refuses: duplicates by name, and what must never be.

use anyhow::{Context, ensure};
use bellwether_domain::ids::{AccountId, MarketId, TransferId, UserId};
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::money::Credits;
use bellwether_domain::order::{Order, Side};
use bellwether_domain::ports::{AnswerKey, Changes, KeptAnswer, StoreError, Unique};
use bellwether_domain::position::Holding;
use bellwether_domain::text::Email;

use crate::fixtures::{self, at, mills, nth, shares};
use crate::world::World;

/// Writes what breaks a rule: it is named, the unit rolls back, and the next works.
async fn refused_as(world: &World, unique: Unique, changes: &Changes) -> anyhow::Result<()> {
    match world.write(changes).await {
        Err(StoreError::Duplicate(named)) => ensure!(named == unique, "{named:?} was named where {unique:?} exists"),
        other => anyhow::bail!("a second {unique:?} gave {other:?}"),
    }
    let next = Changes { new_users: vec![fixtures::user(world)?], ..Changes::default() };
    world.write(&next).await.context("the next unit does not work")?;
    Ok(())
}

/// Compared by the key: in another spelling, in one batch with itself, and where a user changes it.
pub async fn a_second_user_with_the_same_email_is_a_duplicate(world: World) -> anyhow::Result<()> {
    let mut first = fixtures::user(&world)?;
    first.email = Some(Email::parse("Ärger@Example.org")?);
    world.write(&Changes { new_users: vec![first], ..Changes::default() }).await?;
    let mut second = fixtures::user(&world)?;
    let own = second.email.clone();
    second.email = Some(Email::parse("äRGER@EXAMPLE.org")?);
    refused_as(&world, Unique::Email, &Changes { new_users: vec![second.clone()], ..Changes::default() }).await?;

    let (mut twin, mut other) = (fixtures::user(&world)?, fixtures::user(&world)?);
    twin.email = Some(Email::parse("twin@example.org")?);
    other.email = twin.email.clone();
    refused_as(&world, Unique::Email, &Changes { new_users: vec![twin, other], ..Changes::default() }).await?;

    let taken = second.email.take();
    second.email = own;
    world.write(&Changes { new_users: vec![second.clone()], ..Changes::default() }).await?;
    second.email = taken;
    refused_as(&world, Unique::Email, &Changes { users: vec![second], ..Changes::default() }).await
}

/// Users without an address are no duplicates of each other.
pub async fn any_number_of_users_have_no_email(world: World) -> anyhow::Result<()> {
    let mut users = vec![fixtures::user(&world)?, fixtures::user(&world)?];
    for user in &mut users {
        user.deactivate(at(0)?);
    }
    world.write(&Changes { new_users: users.clone(), ..Changes::default() }).await?;
    ensure!(world.queries.users_by_ids(&[nth(&users, 0)?.id, nth(&users, 1)?.id]).await? == users);
    Ok(())
}

/// A market's readable address belongs to one market.
pub async fn a_second_market_with_the_same_slug_is_a_duplicate(world: World) -> anyhow::Result<()> {
    let (creator, market) = fixtures::trader_and_market(&world, 2).await?;
    let mut second = fixtures::market(&world, creator.id, 3)?;
    second.slug = market.slug.clone();
    refused_as(&world, Unique::Slug, &Changes { new_markets: vec![second], ..Changes::default() }).await
}

/// A user's own id for an order is unique in all markets; another user may have the same, and
/// orders without one are no duplicates of each other.
pub async fn a_second_order_with_the_same_client_order_id_is_a_duplicate(world: World) -> anyhow::Result<()> {
    let (creator, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let (other, mut elsewhere) = fixtures::trader_and_market(&world, 2).await?;
    let named = |mut order: Order| {
        order.client_order_id = Some("mine".to_owned());
        order
    };
    let terms = (0, Side::Buy, 500, 1);
    let orders = vec![
        named(fixtures::order(&world, &mut market, creator.id, terms)?),
        named(fixtures::order(&world, &mut market, other.id, terms)?),
        fixtures::order(&world, &mut market, creator.id, terms)?,
        fixtures::order(&world, &mut market, creator.id, terms)?,
    ];
    world.write(&Changes { new_orders: orders, markets: vec![market], ..Changes::default() }).await?;
    let second = named(fixtures::order(&world, &mut elsewhere, creator.id, terms)?);
    refused_as(&world, Unique::ClientOrderId, &Changes { new_orders: vec![second], ..Changes::default() }).await
}

/// Threat 31. A key is unique for one user and route only, by its exact bytes.
pub async fn a_second_answer_for_the_same_key_is_a_duplicate(world: World) -> anyhow::Result<()> {
    let answer = |user: u128, route: &str, key: &str| -> anyhow::Result<KeptAnswer> {
        Ok(KeptAnswer {
            key: AnswerKey { user: UserId(uuid::Uuid::from_u128(user)), route: route.to_owned(), key: key.to_owned() },
            fingerprint: [1; 32],
            status: 201,
            location: None,
            body: "{}".to_owned(),
            created_at: at(0)?,
        })
    };
    let kept = vec![
        answer(0, "POST /a", "key")?,
        answer(9, "POST /a", "key")?,
        answer(0, "POST /b", "key")?,
        answer(0, "POST /a", "KEY")?,
        answer(0, "POST /a", "key ")?,
    ];
    world.write(&Changes { answers: kept, ..Changes::default() }).await?;
    refused_as(
        &world,
        Unique::IdempotencyKey,
        &Changes { answers: vec![answer(0, "POST /a", "key")?], ..Changes::default() },
    )
    .await
}

/// For every kind of row that has an id.
pub async fn a_second_row_with_the_same_id_is_a_duplicate(world: World) -> anyhow::Result<()> {
    let (creator, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let mut user = fixtures::user(&world)?;
    user.id = creator.id;
    refused_as(&world, Unique::Id, &Changes { new_users: vec![user], ..Changes::default() }).await?;
    let mut second = fixtures::market(&world, creator.id, 2)?;
    second.id = market.id;
    refused_as(&world, Unique::Id, &Changes { new_markets: vec![second], ..Changes::default() }).await?;
    let account = Account::open(AccountId::of_user(creator.id), Owner::Maker(market.id), at(0)?);
    refused_as(&world, Unique::Id, &Changes { new_accounts: vec![account], ..Changes::default() }).await?;

    let maker = fixtures::trader(&world).await?;
    let mut resting = fixtures::order(&world, &mut market, maker.id, (0, Side::Sell, 500, 9))?;
    let mut taking = fixtures::order(&world, &mut market, creator.id, (0, Side::Buy, 500, 9))?;
    let trade = fixtures::fill(&world, &mut market, &mut taking, &mut resting, 2)?;
    let orders =
        Changes { new_orders: vec![resting.clone(), taking], trades: vec![trade.clone()], ..Changes::default() };
    world.write(&orders).await?;
    resting.sequence = market.next_sequence();
    refused_as(&world, Unique::Id, &Changes { new_orders: vec![resting], ..Changes::default() }).await?;
    let again = bellwether_domain::trade::Trade { sequence: market.next_sequence(), ..trade };
    refused_as(&world, Unique::Id, &Changes { trades: vec![again], ..Changes::default() }).await?;

    let mut from = fixtures::account(&world, AccountId::of_user(creator.id)).await?;
    let mut to = fixtures::account(&world, AccountId::FEES).await?;
    let id = TransferId(world.id());
    for round in 0..2 {
        let transfer = fixtures::payment(&mut from, &mut to, id, 1)?;
        let changes =
            Changes { transfers: vec![transfer], accounts: vec![from.clone(), to.clone()], ..Changes::default() };
        match round {
            0 => world.write(&changes).await?,
            _ => refused_as(&world, Unique::Id, &changes).await?,
        }
    }
    Ok(())
}

/// The database refuses what it was told to hold, and nothing of the unit stays.
async fn refused(world: &World, what: &str, changes: &Changes) -> anyhow::Result<()> {
    let answer = world.write(changes).await;
    ensure!(matches!(answer, Err(StoreError::Corrupt(_))), "{what} gave {answer:?}");
    Ok(())
}

/// Threat 28. Even where the code asks for it, no account but the treasury's goes below zero or
/// holds more than it has.
pub async fn the_database_refuses_negative_balances_and_holds_beyond_the_balance(world: World) -> anyhow::Result<()> {
    let (creator, market) = fixtures::trader_and_market(&world, 2).await?;
    let good = fixtures::account(&world, AccountId::of_user(creator.id)).await?;
    let (fees, treasury) =
        (fixtures::account(&world, AccountId::FEES).await?, fixtures::account(&world, AccountId::TREASURY).await?);
    let collateral = fixtures::account(&world, market.collateral()).await?;
    let bad = |account: &Account, balance: i64, held: i64| Account {
        balance: mills(balance),
        held: mills(held),
        ..account.clone()
    };
    for (what, account) in [
        ("a user's negative balance", bad(&good, -1, 0)),
        ("the lowest balance", bad(&good, i64::MIN, 0)),
        ("a hold beyond the balance", bad(&good, 10, 11)),
        ("a negative hold", bad(&good, 10, -1)),
        ("a negative balance of the fees", bad(&fees, -1, 0)),
        ("negative collateral", bad(&collateral, -1, 0)),
        ("a hold of the treasury", bad(&treasury, 10, 1)),
    ] {
        refused(&world, what, &Changes { accounts: vec![account], ..Changes::default() }).await?;
    }
    let mut fresh = Account::open(AccountId(world.id()), Owner::Maker(market.id), at(0)?);
    fresh.balance = mills(-5);
    refused(&world, "a new account below zero", &Changes { new_accounts: vec![fresh], ..Changes::default() }).await?;
    ensure!(fixtures::account(&world, good.id).await? == good, "a refused change stayed");
    Ok(())
}

/// Neither a user's shares nor what is held of them leave their range.
pub async fn the_database_refuses_negative_holdings_and_holds_beyond_them(world: World) -> anyhow::Result<()> {
    let (creator, market) = fixtures::trader_and_market(&world, 2).await?;
    for (quantity, held) in [(-1, 0), (5, 6), (5, -1)] {
        let mut position = fixtures::position(creator.id, &market, &[3, 3]);
        if let Some(holding) = position.holdings.get_mut(1) {
            *holding = Holding { quantity: shares(quantity), held: shares(held) };
        }
        let what = format!("{quantity} shares, {held} of them held,");
        refused(&world, &what, &Changes { positions: vec![position], ..Changes::default() }).await?;
    }
    ensure!(world.queries.position(creator.id, market.id).await?.is_none(), "a refused position stayed");
    let mut position = fixtures::position(creator.id, &market, &[0, 0]);
    position.spent = mills(-1);
    refused(&world, "a negative spending", &Changes { positions: vec![position], ..Changes::default() }).await
}

/// Transfers are of something, from one account to another, and of accounts that exist.
pub async fn the_database_refuses_transfers_that_are_none(world: World) -> anyhow::Result<()> {
    let creator = fixtures::trader(&world).await?;
    let mut from = fixtures::account(&world, AccountId::of_user(creator.id)).await?;
    let mut to = fixtures::account(&world, AccountId::FEES).await?;
    let good = fixtures::payment(&mut from, &mut to, TransferId(world.id()), 10)?;
    let variants = [
        ("a transfer of nothing", good.from, good.to, Credits::ZERO),
        ("a negative transfer", good.from, good.to, mills(-1)),
        ("a transfer to the payer", good.from, good.from, good.amount),
        ("a transfer from nowhere", AccountId(world.id()), good.to, good.amount),
        ("a transfer to nowhere", good.from, AccountId(world.id()), good.amount),
    ];
    for (what, from, to, amount) in variants {
        let mut bad = good.clone();
        (bad.from, bad.to, bad.amount) = (from, to, amount);
        refused(&world, what, &Changes { transfers: vec![bad], ..Changes::default() }).await?;
    }
    Ok(())
}

/// An order's numbers fit each other, and its market and user exist.
pub async fn the_database_refuses_orders_that_do_not_add_up(world: World) -> anyhow::Result<()> {
    let (creator, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let good = fixtures::order(&world, &mut market, creator.id, (0, Side::Buy, 500, 10))?;
    type Spoil = fn(&mut Order);
    let variants: [(&str, Spoil); 6] = [
        ("more filled and remaining than there was", |o| o.filled = shares(1)),
        ("an order of nothing", |o| (o.quantity, o.remaining) = (shares(0), shares(0))),
        ("a negative fill", |o| o.filled = shares(-1)),
        ("an open order that has nothing left", |o| (o.remaining, o.reserved) = (shares(0), Credits::ZERO)),
        ("an ended order that still rests", |o| o.status = bellwether_domain::order::OrderStatus::Cancelled),
        ("an ended order that reserves", |o| {
            o.status = bellwether_domain::order::OrderStatus::Cancelled;
            o.remaining = shares(0);
        }),
    ];
    for (what, spoil) in variants {
        let mut bad = good.clone();
        spoil(&mut bad);
        refused(&world, what, &Changes { new_orders: vec![bad], ..Changes::default() }).await?;
    }
    let stray = Order { market: MarketId(world.id()), ..good.clone() };
    refused(&world, "an order in no market", &Changes { new_orders: vec![stray], ..Changes::default() }).await?;
    let stray = Order { user: UserId(world.id()), ..good };
    refused(&world, "an order of nobody", &Changes { new_orders: vec![stray], ..Changes::default() }).await
}

/// Deleting a market that somebody holds money for, or that has traded, would lose what the ledger
/// rests on.
pub async fn the_database_refuses_to_delete_a_market_with_open_orders_or_trades(world: World) -> anyhow::Result<()> {
    let (creator, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let open = fixtures::order(&world, &mut market, creator.id, (0, Side::Buy, 500, 10))?;
    let (_, mut traded) = fixtures::trader_and_market(&world, 2).await?;
    let mut filled = fixtures::order(&world, &mut traded, creator.id, (0, Side::Buy, 500, 10))?;
    let trade = fixtures::fill_by_maker(&world, &mut traded, &mut filled, 10, mills(5000), fixtures::price(500)?)?;
    let markets = vec![market, traded];
    let changes = Changes {
        new_orders: vec![open.clone(), filled.clone()],
        trades: vec![trade],
        markets: markets.clone(),
        ..Changes::default()
    };
    world.write(&changes).await?;
    for (what, market) in
        ["deleting a market with open orders", "deleting a market with trades"].into_iter().zip(&markets)
    {
        refused(&world, what, &Changes { deleted_markets: vec![market.id], ..Changes::default() }).await?;
        let kept = fixtures::market_now(&world, market.id).await?;
        ensure!(kept == *market, "{what} was refused and left {kept:#?}");
    }
    for order in [open, filled] {
        ensure!(fixtures::order_now(&world, order.id).await? == order, "a refused deletion changed an order");
    }
    Ok(())
}
