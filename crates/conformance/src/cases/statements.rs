//! The number of statements of each operation is the same for one row as for many; and very many
//! rows at once are no different.

use std::time::Duration;

use anyhow::ensure;
use bellwether_domain::ids::{AccountId, MarketId, OrderId, UserId};
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::market::Market;
use bellwether_domain::order::{Order, Side};
use bellwether_domain::ports::{
    AnswerKey, BookRequest, CandleRequest, Changes, Found, KeptAnswer, MOST_COUNTED, MarketFilter, OrderFilter,
    PageRequest, PositionFilter, Start, StoreError, TradeFilter, TransferFilter, UnitOfWork, UserFilter, Wanted,
};
use bellwether_domain::position::Position;
use bellwether_domain::trade::Trade;
use bellwether_domain::user::{Role, User};
use uuid::Uuid;

use crate::fixtures::{self, Draft, at, nth, outcome};
use crate::pages::first_page;
use crate::world::World;

const MANY: usize = 50;

/// Rows of every kind, that many of each.
#[derive(Debug, Default)]
struct Rows {
    users: Vec<User>,
    markets: Vec<Market>,
    orders: Vec<Order>,
    trades: Vec<Trade>,
    positions: Vec<Position>,
    answers: Vec<KeptAnswer>,
    changes: Changes,
}

async fn rows(world: &World, count: usize, creator: UserId) -> anyhow::Result<Rows> {
    let mut rows = Rows::default();
    let payer = AccountId::of_user(creator);
    let mut draft = Draft::with(world, &[payer]).await?;
    for number in 0..count {
        let user = fixtures::user(world)?;
        draft.open(AccountId::of_user(user.id), Owner::User(user.id))?;
        draft.pay(
            world,
            payer,
            AccountId::of_user(user.id),
            1,
            bellwether_domain::ledger::TransferKind::Payment,
            None,
        )?;
        let mut market = fixtures::market(world, creator, 2 + number % 4)?;
        market.tags = (0..=number % 5).map(|n| format!("tag {n}")).collect();
        if number % 2 == 0 {
            market.maker =
                Some(fixtures::maker(world, creator, fixtures::mills(1000), &vec![0; market.outcomes.len()])?);
        }
        let mut taking = fixtures::order(world, &mut market, user.id, (0, Side::Buy, 500, 10))?;
        taking.client_order_id = Some("mine".to_owned());
        let mut resting = fixtures::order(world, &mut market, creator, (0, Side::Sell, 500, 10))?;
        rows.trades.push(fixtures::fill(world, &mut market, &mut taking, &mut resting, 3)?);
        rows.positions.push(fixtures::position(user.id, &market, &vec![1; market.outcomes.len()]));
        rows.answers.push(KeptAnswer {
            key: AnswerKey { user: user.id, route: "POST /".to_owned(), key: "key".to_owned() },
            fingerprint: [0; 32],
            status: 200,
            location: None,
            body: String::new(),
            created_at: at(0)?,
        });
        rows.orders.extend([taking, resting]);
        rows.users.push(user);
        rows.markets.push(market);
    }
    let mut changes = draft.finish();
    changes.new_users = rows.users.clone();
    changes.new_markets = rows.markets.clone();
    changes.new_orders = rows.orders.clone();
    changes.trades = rows.trades.clone();
    changes.positions = rows.positions.clone();
    changes.answers = rows.answers.clone();
    rows.changes = changes;
    Ok(rows)
}

/// The rows again, as changes of what exists.
fn changed(rows: &Rows) -> Changes {
    let mut accounts: Vec<Account> = rows.changes.new_accounts.clone();
    accounts.extend(rows.changes.accounts.iter().cloned());
    Changes {
        users: rows.users.clone(),
        accounts,
        markets: rows.markets.clone(),
        orders: rows.orders.clone(),
        positions: rows.positions.clone(),
        ..Changes::default()
    }
}

/// How many statements a step takes.
async fn cost<T>(world: &World, step: impl AsyncFn() -> anyhow::Result<T>) -> anyhow::Result<u64> {
    let before = world.statements();
    step().await?;
    Ok(world.statements() - before)
}

/// The same operation on few rows and on many, each after a run that warms up.
async fn does_not_grow<T>(
    world: &World,
    what: &str,
    few: impl AsyncFn() -> anyhow::Result<T>,
    many: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<()> {
    few().await?;
    many().await?;
    let (of_few, of_many) = (cost(world, few).await?, cost(world, many).await?);
    ensure!(of_few > 0, "{what}: no statement was counted");
    ensure!(of_many <= of_few, "{what}: {of_few} statements for one row, {of_many} for {MANY}");
    Ok(())
}

/// Locking and writing in a unit of its own.
async fn in_a_unit(world: &World, changes: &Changes) -> anyhow::Result<()> {
    Ok(world.write(changes).await?)
}

/// New rows and changed rows of every kind, alone and all at once.
pub async fn the_statements_of_a_write_do_not_grow_with_its_rows(world: World) -> anyhow::Result<()> {
    let creator = fixtures::trader(&world).await?.id;
    let mut costs = Vec::new();
    for count in [1, 1, MANY, MANY] {
        let rows = rows(&world, count, creator).await?;
        let new = cost(&world, async || in_a_unit(&world, &rows.changes).await).await?;
        let again = cost(&world, async || in_a_unit(&world, &changed(&rows)).await).await?;
        costs.push((count, new, again));
    }
    let (few, many) = (nth(&costs, 1)?, nth(&costs, 3)?);
    ensure!(few.1 > 0 && few.2 > 0, "no statement was counted: {costs:?}");
    ensure!(many.1 <= few.1, "writing new rows: (rows, new, changed) took {costs:?} statements");
    ensure!(many.2 <= few.2, "writing changed rows: (rows, new, changed) took {costs:?} statements");
    Ok(())
}

/// Deleting one market or many.
pub async fn the_statements_of_a_deletion_do_not_grow_with_its_rows(world: World) -> anyhow::Result<()> {
    let creator = fixtures::trader(&world).await?.id;
    let mut costs = Vec::new();
    for count in [1, MANY, 1, MANY] {
        let mut markets = Vec::new();
        for _ in 0..count {
            markets.push(fixtures::market(&world, creator, 3)?);
        }
        let deleted_markets = markets.iter().map(|m| m.id).collect();
        world.write(&Changes { new_markets: markets, ..Changes::default() }).await?;
        let changes = Changes { deleted_markets, ..Changes::default() };
        costs.push(cost(&world, async || in_a_unit(&world, &changes).await).await?);
    }
    ensure!(nth(&costs, 3)? <= nth(&costs, 2)?, "deletions of 1 and {MANY} markets took {costs:?} statements");
    Ok(())
}

/// What the repositories of a unit load, for so many rows.
struct Loads {
    users: Vec<UserId>,
    accounts: Vec<AccountId>,
    markets: Vec<MarketId>,
    orders: Vec<OrderId>,
    books: Vec<BookRequest>,
    pairs: Vec<(UserId, MarketId)>,
    names: Vec<(UserId, String)>,
    keys: Vec<AnswerKey>,
}

fn loads(rows: &Rows, count: usize) -> anyhow::Result<Loads> {
    let book = outcome(0)?;
    Ok(Loads {
        users: rows.users.iter().take(count).map(|u| u.id).collect(),
        accounts: rows.users.iter().take(count).map(|u| AccountId::of_user(u.id)).collect(),
        markets: rows.markets.iter().take(count).map(|m| m.id).collect(),
        orders: rows.orders.iter().take(count).map(|o| o.id).collect(),
        books: rows
            .markets
            .iter()
            .take(count)
            .map(|m| BookRequest { market: m.id, book, side: Side::Buy, limit: None, depth: 10 })
            .collect(),
        pairs: rows.positions.iter().take(count).map(|p| (p.user, p.market)).collect(),
        names: rows.users.iter().take(count).map(|u| (u.id, "mine".to_owned())).collect(),
        keys: rows.answers.iter().take(count).map(|a| a.key.clone()).collect(),
    })
}

const LOADS: [&str; 11] = [
    "users.lock",
    "users.load",
    "users.statuses",
    "accounts.lock",
    "markets.lock",
    "orders.load",
    "orders.book",
    "orders.count_open",
    "orders.with_client_ids",
    "positions.load",
    "answers.find",
];

async fn load(unit: &mut dyn UnitOfWork, what: &str, loads: &Loads) -> Result<usize, StoreError> {
    Ok(match what {
        "users.lock" => unit.users().lock(&loads.users).await?.len(),
        "users.load" => unit.users().load(&loads.users).await?.len(),
        "users.statuses" => unit.users().statuses(&loads.users).await?.len(),
        "accounts.lock" => unit.accounts().lock(&loads.accounts).await?.len(),
        "markets.lock" => unit.markets().lock(&loads.markets).await?.len(),
        "orders.load" => unit.orders().load(&loads.orders).await?.len(),
        "orders.book" => unit.orders().book(&loads.books).await?.iter().filter(|b| !b.is_empty()).count(),
        "orders.count_open" => unit.orders().count_open(&loads.pairs).await?.iter().filter(|n| **n > 0).count(),
        "orders.with_client_ids" => unit.orders().with_client_ids(&loads.names).await?.len(),
        "positions.load" => unit.positions().load(&loads.pairs).await?.len(),
        _ => unit.answers().find(&loads.keys).await?.len(),
    })
}

/// Every load and lock of a unit, by one id and by many.
pub async fn the_statements_of_a_load_do_not_grow_with_its_rows(world: World) -> anyhow::Result<()> {
    let creator = fixtures::trader(&world).await?.id;
    let rows = rows(&world, MANY, creator).await?;
    world.write(&rows.changes).await?;
    let (one, many) = (loads(&rows, 1)?, loads(&rows, MANY)?);
    for what in LOADS {
        let run = async |loads: &Loads, wanted: usize| {
            let mut unit = world.begin().await?;
            let loaded = load(&mut *unit, what, loads).await?;
            unit.rollback().await?;
            ensure!(loaded == wanted, "{what} loaded {loaded} rows of {wanted}");
            Ok(())
        };
        does_not_grow(&world, what, async || run(&one, 1).await, async || run(&many, MANY).await).await?;
    }
    Ok(())
}

impl Loads {
    fn wanted(&self) -> Wanted {
        Wanted {
            answers: self.keys.clone(),
            users: self.users.clone(),
            lock_markets: self.markets.clone(),
            orders: self.orders.clone(),
            books: self.books.clone(),
            client_ids: self.names.clone(),
            open_counts: self.pairs.clone(),
            lock_accounts: self.accounts.clone(),
            positions: self.pairs.clone(),
            key_usages: Vec::new(),
            order_groups: Vec::new(),
        }
    }
}

/// What is asked for at once is what the questions find one by one: all of it, or some, or nothing.
pub async fn everything_at_once_is_what_each_question_finds(world: World) -> anyhow::Result<()> {
    let creator = fixtures::trader(&world).await?.id;
    let rows = rows(&world, 7, creator).await?;
    world.write(&rows.changes).await?;
    let loads = loads(&rows, 5)?;
    let mut unit = world.begin().await?;
    let mut found = unit.load(loads.wanted()).await?;
    ensure!(found.statuses == unit.users().statuses(&loads.users).await?);
    let users = unit.users().load(&loads.users).await?;
    ensure!(found.statuses == users.iter().map(|user| (user.id, user.status)).collect::<Vec<_>>());
    ensure!(found.accounts == unit.accounts().lock(&loads.accounts).await?);
    ensure!(found.markets == unit.markets().lock(&loads.markets).await?);
    ensure!(found.orders == unit.orders().load(&loads.orders).await?);
    ensure!(found.books == unit.orders().book(&loads.books).await?);
    ensure!(found.open_counts == unit.orders().count_open(&loads.pairs).await?);
    let mut named = unit.orders().with_client_ids(&loads.names).await?;
    named.sort_by_key(|order| order.id);
    found.with_client_ids.sort_by_key(|order| order.id);
    ensure!(found.with_client_ids == named);
    let mut positions = unit.positions().load(&loads.pairs).await?;
    positions.sort_by_key(|position| (position.market, position.user));
    found.positions.sort_by_key(|position| (position.market, position.user));
    ensure!(found.positions == positions);
    let mut answers = unit.answers().find(&loads.keys).await?;
    answers.sort_by_key(|answer| answer.key.user);
    found.answers.sort_by_key(|answer| answer.key.user);
    ensure!(found.answers == answers);
    ensure!([found.statuses.len(), found.accounts.len(), found.positions.len(), found.answers.len()] == [5; 4]);
    ensure!(unit.load(Wanted::default()).await? == Found::default());
    unit.rollback().await?;

    // A unit that begins with it has the locks.
    let mut unit = world.begin().await?;
    let account = nth(&loads.accounts, 0)?.to_owned();
    unit.load(Wanted { lock_accounts: vec![account], ..Wanted::default() }).await?;
    let other = async {
        let mut other = world.begin().await?;
        other.accounts().lock(&[account]).await?;
        anyhow::Ok(other.rollback().await?)
    };
    ensure!(tokio::time::timeout(Duration::from_millis(200), other).await.map_or(true, |r| r.is_err()));
    unit.rollback().await?;
    Ok(())
}

/// Everything at once, for one row and for many.
pub async fn the_statements_of_everything_at_once_do_not_grow_with_its_rows(world: World) -> anyhow::Result<()> {
    let creator = fixtures::trader(&world).await?.id;
    let rows = rows(&world, MANY, creator).await?;
    world.write(&rows.changes).await?;
    let (one, many) = (loads(&rows, 1)?, loads(&rows, MANY)?);
    let run = async |loads: &Loads| {
        let mut unit = world.begin().await?;
        unit.load(loads.wanted()).await?;
        Ok(unit.rollback().await?)
    };
    does_not_grow(&world, "load", async || run(&one).await, async || run(&many).await).await
}

/// Jobs' batches: administrators, open orders, unpaid positions, answers to forget.
pub async fn the_statements_of_a_batch_do_not_grow_with_its_rows(world: World) -> anyhow::Result<()> {
    let (creator, mut market) = fixtures::trader_and_market(&world, 5).await?;
    let mut users = Vec::new();
    let (mut orders, mut positions) = (Vec::new(), Vec::new());
    for _ in 0..MANY {
        let mut user = fixtures::user(&world)?;
        user.role = Role::Admin;
        positions.push(fixtures::position(user.id, &market, &[1; 5]));
        orders.push(fixtures::order(&world, &mut market, creator.id, (3, Side::Buy, 5, 1))?);
        users.push(user);
    }
    let run = async |what: &str, limit: u32| -> anyhow::Result<()> {
        let mut unit = world.begin().await?;
        match what {
            "users.lock_admins" => drop(unit.users().lock_admins().await?),
            "orders.open_in_market" => drop(unit.orders().open_in_market(market.id, limit).await?),
            "positions.unsettled" => drop(unit.positions().unsettled(market.id, UserId(Uuid::nil()), limit).await?),
            _ => drop(unit.answers().forget_before(at(1)?, limit).await?),
        }
        Ok(unit.rollback().await?)
    };
    let mut before = Vec::new();
    let batches = ["users.lock_admins", "orders.open_in_market", "positions.unsettled", "answers.forget_before"];
    let first = Changes {
        new_users: users.drain(..1).collect(),
        new_orders: orders.drain(..1).collect(),
        positions: positions.drain(..1).collect(),
        ..Changes::default()
    };
    world.write(&first).await?;
    for what in batches {
        run(what, 100).await?;
        before.push(cost(&world, async || run(what, 100).await).await?);
    }
    world.write(&Changes { new_users: users, new_orders: orders, positions, ..Changes::default() }).await?;
    for (what, of_few) in batches.into_iter().zip(before) {
        let of_many = cost(&world, async || run(what, 100).await).await?;
        ensure!(of_few > 0 && of_many <= of_few, "{what}: {of_few} statements for one row, {of_many} for {MANY}");
    }
    Ok(())
}

/// A page of `limit` rows, not counted.
fn page<K>(limit: u32) -> PageRequest<K> {
    PageRequest { sort: Vec::new(), start: Start::First, limit }
}

const READS: [&str; 20] = [
    "users",
    "users_by_ids",
    "transfers",
    "markets",
    "markets_by_ids",
    "best_prices",
    "orders",
    "book",
    "trades",
    "candles",
    "positions of a user",
    "positions of a market",
    "markets_to_close",
    "orders_to_expire",
    "proposals_to_decide",
    "markets_to_pay",
    "closed_with_orders",
    "deactivated_with_orders",
    "chains",
    "accounts_after",
];

async fn read(world: &World, what: &str, loads: &Loads, place: &Place) -> anyhow::Result<()> {
    let queries = &world.queries;
    let limit = u32::try_from(loads.users.len())?;
    match what {
        "users" => drop(queries.users(&UserFilter::default(), &page(limit)).await?),
        "users_by_ids" => drop(queries.users_by_ids(&loads.users).await?),
        "transfers" => drop(queries.transfers(&TransferFilter::default(), &page(limit)).await?),
        "markets" => drop(queries.markets(&MarketFilter::default(), &page(limit)).await?),
        "markets_by_ids" => drop(queries.markets_by_ids(&loads.markets).await?),
        "best_prices" => {
            let books: Vec<_> = loads.books.iter().map(|request| (request.market, request.book)).collect();
            drop(queries.best_prices(&books).await?);
        }
        "orders" => drop(queries.orders(&OrderFilter::default(), &page(limit)).await?),
        "book" => drop(queries.book(place.market, outcome(0)?, limit).await?),
        "trades" => drop(queries.trades(&TradeFilter::default(), &page(limit)).await?),
        "candles" => drop(
            queries
                .candles(&CandleRequest {
                    market: place.market,
                    book: outcome(0)?,
                    interval_s: 60,
                    from: at(-90_000)?,
                    to: at(90_000)?,
                    limit,
                })
                .await?,
        ),
        "positions of a user" => {
            drop(queries.positions(&PositionFilter { user: Some(place.user), market: None }, &page(limit)).await?)
        }
        "positions of a market" => {
            drop(queries.positions(&PositionFilter { user: None, market: Some(place.market) }, &page(limit)).await?)
        }
        "markets_to_close" => drop(queries.markets_to_close(at(1_000_000)?, limit).await?),
        "orders_to_expire" => drop(queries.orders_to_expire(at(1_000_000)?, limit).await?),
        "proposals_to_decide" => drop(queries.proposals_to_decide(at(1_000_000)?, limit).await?),
        "markets_to_pay" => drop(queries.markets_to_pay(limit).await?),
        "closed_with_orders" => drop(queries.closed_with_orders(None, limit).await?),
        "deactivated_with_orders" => drop(queries.deactivated_with_orders(None, limit).await?),
        "chains" => drop(queries.chains(None, limit).await?),
        _ => drop(queries.accounts_after(None, limit).await?),
    }
    Ok(())
}

/// The market and the user that much is in.
struct Place {
    market: MarketId,
    user: UserId,
}

/// Every read, of one row and of many.
pub async fn the_statements_of_a_read_do_not_grow_with_its_rows(world: World) -> anyhow::Result<()> {
    let creator = fixtures::trader(&world).await?.id;
    let mut rows = rows(&world, MANY, creator).await?;
    let busy = rows.markets.first_mut().ok_or_else(|| anyhow::anyhow!("no market was made"))?;
    let place = Place { market: busy.id, user: creator };
    for (user, level) in rows.users.iter().zip(1..) {
        rows.changes.new_orders.push(fixtures::order(&world, busy, user.id, (0, Side::Buy, level, 1))?);
        let mut taking = fixtures::order(&world, busy, user.id, (0, Side::Buy, 500, 1))?;
        let mut trade = fixtures::fill_by_maker(&world, busy, &mut taking, 1, fixtures::mills(5), fixtures::price(5)?)?;
        trade.created_at = at(level * 60)?;
        rows.changes.trades.push(trade);
        rows.changes.new_orders.push(taking);
        if user.id != nth(&rows.positions, 0)?.user {
            rows.changes.positions.push(fixtures::position(user.id, busy, &vec![1; busy.outcomes.len()]));
        }
    }
    rows.changes
        .positions
        .extend(rows.markets.iter().map(|m| fixtures::position(creator, m, &vec![2; m.outcomes.len()])));
    world.write(&rows.changes).await?;
    let (one, many) = (loads(&rows, 1)?, loads(&rows, MANY)?);
    for what in READS {
        does_not_grow(
            &world,
            what,
            async || read(&world, what, &one, &place).await,
            async || read(&world, what, &many, &place).await,
        )
        .await?;
    }
    Ok(())
}

/// The audit asks a bounded number of questions, however large the database.
pub async fn the_statements_of_an_audit_do_not_grow_with_the_database(world: World) -> anyhow::Result<()> {
    crate::scene::set(&world).await?;
    world.queries.violations(100).await?;
    let small = cost(&world, async || Ok(world.queries.violations(100).await?)).await?;
    let creator = fixtures::trader(&world).await?.id;
    world.write(&rows(&world, MANY, creator).await?.changes).await?;
    let large = cost(&world, async || Ok(world.queries.violations(100).await?)).await?;
    ensure!(small > 0 && large <= small, "{small} statements for a small database, {large} for a larger one");
    Ok(())
}

/// More values in one write than any database takes parameters.
pub async fn thousands_of_rows_are_written_and_loaded_at_once(world: World) -> anyhow::Result<()> {
    const THOUSANDS: usize = 7000;
    let mut users = Vec::new();
    let mut new_accounts = Vec::new();
    for _ in 0..THOUSANDS {
        let user = fixtures::user(&world)?;
        new_accounts.push(Account::open(AccountId::of_user(user.id), Owner::User(user.id), at(0)?));
        users.push(user);
    }
    world
        .write(&Changes { new_users: users.clone(), new_accounts: new_accounts.clone(), ..Changes::default() })
        .await?;
    for user in &mut users {
        user.touch(at(1)?);
    }
    let mut ids: Vec<UserId> = users.iter().map(|u| u.id).collect();
    world.write(&Changes { users: users.clone(), ..Changes::default() }).await?;
    ids.extend(users.iter().map(|_| UserId(world.id())));
    ensure!(world.queries.users_by_ids(&ids).await? == users, "the users came back changed");
    let mut unit = world.begin().await?;
    ensure!(unit.users().lock(&ids).await? == users, "the locked users came back changed");
    let account_ids: Vec<AccountId> = ids.iter().map(|u| AccountId::of_user(*u)).collect();
    ensure!(unit.accounts().lock(&account_ids).await? == new_accounts, "the accounts came back changed");
    unit.rollback().await?;
    let counted = world.queries.users(&UserFilter::default(), &first_page()).await?;
    ensure!(counted.total == Some(MOST_COUNTED) && counted.has_more, "{:?} are counted", counted.total);
    Ok(())
}

/// The largest batch of a payout: five hundred positions with a holding for each of twenty outcomes.
pub async fn the_largest_batch_of_a_payout_is_loaded_and_written_at_once(world: World) -> anyhow::Result<()> {
    const BATCH: u32 = 500;
    let (_, market) = fixtures::trader_and_market(&world, 20).await?;
    let users = fixtures::sign_up(&world, usize::try_from(BATCH)?, 0).await?;
    let positions: Vec<Position> = users.iter().map(|u| fixtures::position(u.id, &market, &[3; 20])).collect();
    world.write(&Changes { positions: positions.clone(), ..Changes::default() }).await?;
    let mut unit = world.begin().await?;
    unit.markets().lock(&[market.id]).await?;
    let mut batch = unit.positions().unsettled(market.id, UserId(Uuid::nil()), BATCH).await?;
    ensure!(batch == positions, "the batch came back changed");
    for position in &mut batch {
        position.settled_at = Some(at(1)?);
    }
    unit.write(&Changes { positions: batch.clone(), ..Changes::default() }).await?;
    let pairs: Vec<(UserId, MarketId)> = batch.iter().map(|p| (p.user, p.market)).collect();
    let mut loaded = unit.positions().load(&pairs).await?;
    loaded.sort_by_key(|p| p.user);
    ensure!(loaded == batch, "the paid positions came back changed");
    ensure!(
        unit.positions().unsettled(market.id, UserId(Uuid::nil()), BATCH).await?.is_empty(),
        "a paid position is still to be paid"
    );
    unit.commit().await?;
    Ok(())
}
