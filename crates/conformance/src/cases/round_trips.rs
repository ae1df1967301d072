//! What is written is read back the same: every field, at its extremes and where it is missing.

use anyhow::ensure;
use bellwether_domain::ids::{AccountId, ApiKeyId, MarketId, OrderGroupId, TradeId, TransferId, UserId};
use bellwether_domain::ledger::{Account, Owner, Reference, TransferKind};
use bellwether_domain::market::{FeeRecipient, Market, MarketStatus, Proposal, Resolution, Weights};
use bellwether_domain::money::{Credits, FeeRate, Price};
use bellwether_domain::order::{
    Backing, EndReason, Order, OrderStatus, OrderType, SelfTradePrevention, Side, TimeInForce,
};
use bellwether_domain::ports::{AnswerKey, Changes, KeptAnswer, MarketKey};
use bellwether_domain::position::{Holding, Position};
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::trade::{Settlement, Trade};
use bellwether_domain::user::{PasswordHash, Role, User, UserStatus};
use jiff::Timestamp;

use crate::fixtures::{self, at, mills, nth, price, shares};
use crate::pages::first_page;
use crate::world::World;

/// Texts that a careless store changes: quotes, escapes, wildcards, line breaks, composed and
/// wide characters, characters outside the basic plane, right-to-left script.
const TEXTS: [&str; 8] = [
    "it's \"quoted\" \\ and $1 ? :name; -- '); DROP TABLE users;",
    "100 % of a_b \\% [a-z]*",
    "line one\nline two\ttabbed",
    "Ünïcödé İıſß ΑΣΣ ς",
    "👩‍👩‍👧‍👦 🏳 𝕏 \u{10FFFD}",
    "שלום مرحبا 你好",
    "{\"json\": [null, 1e400]}",
    "e\u{301} ｆｕｌｌ ﬁ",
];

/// Times at the ends of what both PostgreSQL and jiff hold, around 1970, and with odd microseconds.
fn times() -> anyhow::Result<Vec<Timestamp>> {
    // The last microsecond that jiff holds is beyond what its `from_microsecond` takes.
    let latest = Timestamp::new(Timestamp::MAX.as_second(), 999_999_000)?;
    [0, -1, 1, -62_135_596_800_000_000, 253_402_207_200_000_000, 1_795_000_000_999_999]
        .into_iter()
        .map(|us| Ok(Timestamp::from_microsecond(us)?))
        .chain([Ok(latest)])
        .collect()
}

/// Users of every role and status, with every field and with none that may be missing.
pub async fn users_round_trip(world: World) -> anyhow::Result<()> {
    let mut users = Vec::new();
    for (number, time) in times()?.into_iter().enumerate() {
        let mut user = fixtures::user(&world)?;
        user.role = *nth(&Role::ALL, number % 3)?;
        user.status = *nth(&UserStatus::ALL, number / 2 % 3)?;
        user.email_verified = number % 2 == 0;
        user.version = i64::MAX - i64::try_from(number)?;
        user.created_at = time;
        user.updated_at = time;
        users.push(user);
    }
    for text in TEXTS {
        let mut user = fixtures::user(&world)?;
        user.display_name = DisplayName::parse(&text.replace(['\n', '\t', '\u{200d}'], " "))?;
        user.password_hash = Some(PasswordHash::new(text.to_owned()));
        users.push(user);
    }
    let mut gone = fixtures::user(&world)?;
    gone.deactivate(at(3)?);
    users.push(gone);
    write_and_read_users(&world, &Changes { new_users: users.clone(), ..Changes::default() }, &users).await?;

    for user in &mut users {
        user.email = match user.email {
            None => Some(Email::parse("back@example.org")?),
            Some(_) => None,
        };
        user.password_hash = None;
        user.display_name = DisplayName::parse("changed")?;
        user.role = Role::Moderator;
        user.status = UserStatus::Suspended;
        user.email_verified = !user.email_verified;
        user.version -= 1;
        user.updated_at = at(9)?;
    }
    write_and_read_users(&world, &Changes { users: users.clone(), ..Changes::default() }, &users).await
}

async fn write_and_read_users(world: &World, changes: &Changes, users: &[User]) -> anyhow::Result<()> {
    world.write(changes).await?;
    let ids: Vec<UserId> = users.iter().map(|u| u.id).collect();
    let read = world.queries.users_by_ids(&ids).await?;
    ensure!(read == users, "{read:#?} was read where {users:#?} was written");
    for user in users {
        let alone = world.queries.user(user.id).await?;
        ensure!(alone.as_ref() == Some(user), "{alone:#?} was read where {user:#?} was written");
    }
    let mut unit = world.begin().await?;
    let loaded = unit.users().load(&ids).await?;
    unit.rollback().await?;
    ensure!(loaded == users, "{loaded:#?} was loaded where {users:#?} was written");
    Ok(())
}

/// Accounts of every owner, at the ends of their range.
pub async fn accounts_round_trip(world: World) -> anyhow::Result<()> {
    let (user, market) = (UserId(world.id()), MarketId(world.id()));
    let mut accounts = vec![
        Account::open(AccountId::of_user(user), Owner::User(user), at(0)?),
        Account::open(AccountId::of_market(market), Owner::Market(market), at(-1)?),
        Account::open(AccountId(world.id()), Owner::Maker(market), at(1)?),
    ];
    accounts.iter_mut().for_each(|account| account.paid_count = i64::MAX);
    world.write(&Changes { new_accounts: accounts.clone(), ..Changes::default() }).await?;
    read_accounts(&world, &accounts).await?;
    for (account, byte) in accounts.iter_mut().zip([0_u8, 127, 255]) {
        account.balance = Credits::MAX;
        account.held = if byte == 0 { Credits::MAX } else { mills(i64::from(byte)) };
        account.chain = [byte; 32];
    }
    let mut treasury = fixtures::account(&world, AccountId::TREASURY).await?;
    ensure!(treasury.owner == Owner::Treasury && treasury.balance == Credits::ZERO && treasury.chain == [0; 32]);
    ensure!(fixtures::account(&world, AccountId::FEES).await?.owner == Owner::Fees);
    treasury.balance = mills(i64::MIN);
    accounts.push(treasury);
    world.write(&Changes { accounts: accounts.clone(), ..Changes::default() }).await?;
    read_accounts(&world, &accounts).await
}

async fn read_accounts(world: &World, accounts: &[Account]) -> anyhow::Result<()> {
    for account in accounts {
        let read = fixtures::account(world, account.id).await?;
        ensure!(read == *account, "{read:#?} was read where {account:#?} was written");
        let mut unit = world.begin().await?;
        let locked = unit.accounts().lock(&[account.id]).await?;
        unit.rollback().await?;
        ensure!(locked == [account.clone()], "{locked:#?} was locked where {account:#?} was written");
    }
    ensure!(world.queries.account(AccountId(world.id())).await?.is_none(), "an unknown account was found");
    Ok(())
}

/// Transfers of every kind; their hashes still fit what is read.
pub async fn transfers_round_trip(world: World) -> anyhow::Result<()> {
    let user = fixtures::trader(&world).await?;
    let mut from = fixtures::account(&world, AccountId::of_user(user.id)).await?;
    from.balance = Credits::MAX;
    let mut to = fixtures::account(&world, AccountId::FEES).await?;
    let mut transfers = Vec::new();
    let mut chain = from.chain;
    for (number, kind) in TransferKind::ALL.into_iter().enumerate() {
        let amount = if number == 0 { i64::MAX / 2 } else { 1 };
        let mut transfer = fixtures::payment(&mut from, &mut to, TransferId(world.id()), amount)?;
        transfer.kind = kind;
        transfer.memo = TEXTS.get(number).map(|t| (*t).to_owned());
        transfer.created_at = *nth(&times()?, number % times()?.len())?;
        if number % 2 == 0 {
            transfer.reference = Reference { market: Some(MarketId(world.id())), trade: Some(TradeId(world.id())) };
        }
        transfer.hash = transfer.expected_hash(&chain);
        chain = transfer.hash;
        transfers.push(transfer);
    }
    world.write(&Changes { transfers: transfers.clone(), ..Changes::default() }).await?;
    for transfer in &transfers {
        let read = world.queries.transfer(transfer.id).await?;
        ensure!(read.as_ref() == Some(transfer), "{read:#?} was read where {transfer:#?} was written");
    }
    let mut listed = world.queries.transfers(&Default::default(), &first_page()).await?.items;
    listed.retain(|t| t.from == from.id);
    ensure!(listed == transfers, "{listed:#?} was listed where {transfers:#?} was written");
    ensure!(world.queries.transfer(TransferId(world.id())).await?.is_none());
    Ok(())
}

async fn read_market(world: &World, market: &Market) -> anyhow::Result<()> {
    let read = fixtures::market_now(world, market.id).await?;
    ensure!(read == *market, "{read:#?} was read where {market:#?} was written");
    let by_slug = world.queries.market(&MarketKey::Slug(market.slug.clone())).await?;
    ensure!(by_slug.as_ref() == Some(market), "the slug found {by_slug:#?}");
    let mut unit = world.begin().await?;
    let locked = unit.markets().lock(&[market.id]).await?;
    unit.rollback().await?;
    ensure!(locked == [market.clone()], "{locked:#?} was locked where {market:#?} was written");
    Ok(())
}

/// Every field of a market: the longest description, all tags, twenty outcomes, a maker that sold
/// and bought back, a disputed proposal, a resolution.
pub async fn markets_round_trip(world: World) -> anyhow::Result<()> {
    let creator = fixtures::sign_up(&world, 1, i64::MAX / 2).await?.remove(0);
    let bare = fixtures::market(&world, creator.id, 2)?;
    let mut full = fixtures::market(&world, creator.id, 20)?;
    full.question = "👍".repeat(300);
    full.description = "𝕏'%\n".repeat(5000);
    full.category = Some("weather & 'rain'".to_owned());
    full.tags = TEXTS.iter().map(|t| t.to_lowercase()).chain(["z".to_owned(), "a".to_owned()]).collect();
    for (outcome, number) in full.outcomes.iter_mut().zip(0_i64..) {
        outcome.name = format!("{} {number}", nth(&TEXTS, usize::try_from(number)? % TEXTS.len())?);
        outcome.last_price = Price::from_mills(number * 52);
    }
    full.fee_rate = FeeRate::MAX;
    full.fee_recipient = FeeRecipient::Creator;
    let sold: Vec<i64> = (0..20).map(|n| (n - 10) * 1_234_567).collect();
    full.maker = Some(fixtures::maker(&world, creator.id, mills(123_456_789_012), &sold)?);
    full.volume = Credits::MAX;
    full.trade_count = i64::MAX;
    full.sequence = i64::MAX;
    full.closes_at = *nth(&times()?, 6)?;
    full.created_at = *nth(&times()?, 3)?;
    fixtures::open_markets(&world, &[bare.clone(), full.clone()]).await?;
    read_market(&world, &bare).await?;
    read_market(&world, &full).await
}

/// A market through its life: each status, with a proposal, a dispute, a resolution; edited and
/// traded; and back to few fields.
pub async fn changed_markets_round_trip(world: World) -> anyhow::Result<()> {
    let creator = fixtures::sign_up(&world, 1, 10_000_000).await?.remove(0);
    let mut market = fixtures::market(&world, creator.id, 3)?;
    market.tags = vec!["one".to_owned(), "two".to_owned(), "three".to_owned()];
    market.maker = Some(fixtures::maker(&world, creator.id, mills(50_000), &[0, 0, 0])?);
    fixtures::open_markets(&world, std::slice::from_ref(&market)).await?;
    let proposal = Proposal {
        weights: Weights::new(vec![0, 999, 1], 3)?,
        evidence_url: Some("https://example.org/?a=%20&b='".to_owned()),
        proposed_by: creator.id,
        proposed_at: at(10)?,
        challenge_until: at(20)?,
        disputed_by: Some(creator.id),
        dispute_reason: Some(nth(&TEXTS, 0)?.to_string()),
    };
    let bare = Proposal { evidence_url: None, disputed_by: None, dispute_reason: None, ..proposal.clone() };
    let resolution = Resolution {
        weights: Weights::new(vec![333, 333, 334], 3)?,
        decided_by: Some(creator.id),
        decided_at: at(30)?,
        reason: Some("called off".to_owned()),
    };
    let unnamed = Resolution {
        decided_by: None,
        reason: None,
        weights: Weights::new(vec![1000, 0, 0], 3)?,
        ..resolution.clone()
    };
    let steps = [
        (MarketStatus::Open, None, None),
        (MarketStatus::Halted, None, None),
        (MarketStatus::Closed, None, None),
        (MarketStatus::Proposed, Some(bare.clone()), None),
        (MarketStatus::Disputed, Some(proposal.clone()), None),
        (MarketStatus::Resolved, Some(bare), Some(unnamed)),
        (MarketStatus::Voided, Some(proposal), Some(resolution.clone())),
        (MarketStatus::Voided, None, Some(resolution)),
    ];
    for (number, (status, proposal, resolution)) in steps.into_iter().enumerate() {
        let places = i64::try_from(number)?;
        market.status = status;
        market.settled_at = if status == MarketStatus::Voided { Some(at(40)?) } else { None };
        (market.proposal, market.resolution) = (proposal, resolution);
        market.question = format!("Edited {number}?");
        market.description = nth(&TEXTS, number)?.to_string();
        market.category = if number % 2 == 0 { Some(format!("category {number}")) } else { None };
        market.tags = (0..number % 4).rev().map(|n| format!("tag {n}")).collect();
        market.closes_at = at(places)?;
        market.volume = mills(places * 1000);
        if let Some(maker) = &mut market.maker {
            let sold = [places, -places, places * 1_000_000];
            maker.lmsr = bellwether_domain::lmsr::Lmsr::restore(maker.lmsr.liquidity(), &maker.probabilities, &sold)?;
        }
        for outcome in &mut market.outcomes {
            outcome.last_price = Price::from_mills(places);
        }
        market.touch(at(50 + places)?);
        world.write(&Changes { markets: vec![market.clone()], ..Changes::default() }).await?;
        read_market(&world, &market).await?;
    }
    Ok(())
}

async fn read_orders(world: &World, orders: &[Order]) -> anyhow::Result<()> {
    let mut unit = world.begin().await?;
    let ids: Vec<_> = orders.iter().map(|o| o.id).collect();
    let loaded = unit.orders().load(&ids).await?;
    unit.rollback().await?;
    ensure!(loaded == orders, "{loaded:#?} was loaded where {orders:#?} was written");
    for order in orders {
        let read = fixtures::order_now(world, order.id).await?;
        ensure!(read == *order, "{read:#?} was read where {order:#?} was written");
    }
    ensure!(world.queries.order(bellwether_domain::ids::OrderId(world.id())).await?.is_none());
    Ok(())
}

/// Orders with each value of each choice, with every field and with none that may be missing; and
/// amended.
pub async fn orders_round_trip(world: World) -> anyhow::Result<()> {
    let (user, mut market) = fixtures::trader_and_market(&world, 5).await?;
    let mut orders = Vec::new();
    for (number, end_reason) in EndReason::ALL.iter().enumerate() {
        let side = *nth(Side::ALL, number % 2)?;
        let mut order = fixtures::order(
            &world,
            &mut market,
            user.id,
            (number % 5, side, 1 + i64::try_from(number)? * 124, i64::MAX / 2000),
        )?;
        order.time_in_force = *nth(TimeInForce::ALL, number % 4)?;
        order.self_trade_prevention = *nth(SelfTradePrevention::ALL, number % 3)?;
        order.post_only = number % 2 == 0;
        order.group = (number % 3 == 1).then(|| OrderGroupId(world.id()));
        order.placed_by = (number % 3 == 0).then(|| ApiKeyId(world.id()));
        order.expires_at = Some(*nth(&times()?, number % 7)?);
        order.max_spend = Some(Credits::MAX);
        order.client_order_id = Some(format!("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{{|}}~ {number}"));
        order.cost = Credits::MAX;
        order.fee = Credits::MAX;
        order.created_at = *nth(&times()?, number % 7)?;
        order.updated_at = *nth(&times()?, number % 7)?;
        if number % 2 == 1 {
            order = fixtures::backed_by_shares(order);
        }
        orders.push(order.clone());
        let status = *nth(&[OrderStatus::Filled, OrderStatus::Cancelled, OrderStatus::Expired], number % 3)?;
        let mut ended = Order { id: bellwether_domain::ids::OrderId(world.id()), client_order_id: None, ..order };
        ended.end(status, Some(*end_reason), at(1)?);
        ended.order_type = OrderType::Market;
        (ended.price, ended.book_price, ended.max_spend, ended.expires_at) = (None, None, None, None);
        orders.push(ended);
    }
    world.write(&Changes { new_orders: orders.clone(), markets: vec![market.clone()], ..Changes::default() }).await?;
    read_orders(&world, &orders).await?;

    for order in orders.iter_mut().filter(|o| o.is_open()) {
        (order.quantity, order.filled, order.remaining) = (shares(50), shares(20), shares(30));
        order.price = Some(price(7)?);
        order.book_price = order.price;
        order.reserved =
            if order.backing == Backing::Cash { order.reserve_for(order.remaining)? } else { Credits::ZERO };
        order.expires_at = Some(at(77)?);
        (order.cost, order.fee) = (mills(5), mills(6));
        order.sequence = market.next_sequence();
        order.updated_at = at(78)?;
    }
    if let Some(order) = orders.iter_mut().find(|o| o.is_open()) {
        order.end(OrderStatus::Cancelled, Some(EndReason::Requested), at(79)?);
    }
    world.write(&Changes { orders: orders.clone(), markets: vec![market], ..Changes::default() }).await?;
    read_orders(&world, &orders).await
}

/// Trades of every settlement, against an order and against the market maker.
pub async fn trades_round_trip(world: World) -> anyhow::Result<()> {
    let (user, mut market) = fixtures::trader_and_market(&world, 5).await?;
    let maker = fixtures::trader(&world).await?;
    let mut orders = Vec::new();
    let mut trades = Vec::new();
    for (number, settlement) in Settlement::ALL.into_iter().enumerate() {
        let mut resting = fixtures::order(
            &world,
            &mut market,
            maker.id,
            (number, Side::Sell, 999 - i64::try_from(number)?, 1_000_000_000),
        )?;
        let mut taking = fixtures::order(&world, &mut market, user.id, (number, Side::Buy, 999, 1_000_000_000))?;
        let trade = fixtures::fill(&world, &mut market, &mut taking, &mut resting, 1_000_000_000)?;
        let against_order = Trade { settlement, fee: Credits::MAX, created_at: *nth(&times()?, number + 1)?, ..trade };
        market.trade_count += 1;
        let against_maker = Trade {
            id: TradeId(world.id()),
            sequence: market.next_sequence(),
            maker_order: None,
            maker: None,
            cost: Credits::ZERO,
            fee: Credits::ZERO,
            taker_side: Side::Sell,
            quantity: shares(1),
            price: Price::MIN,
            ..against_order.clone()
        };
        trades.extend([against_order, against_maker]);
        orders.extend([resting, taking]);
    }
    world
        .write(&Changes { new_orders: orders, trades: trades.clone(), markets: vec![market], ..Changes::default() })
        .await?;
    let read = world.queries.trades(&Default::default(), &first_page()).await?.items;
    ensure!(read == trades, "{read:#?} was read where {trades:#?} was written");
    Ok(())
}

/// Positions: all outcomes in order, also those without shares; changed and paid.
pub async fn positions_round_trip(world: World) -> anyhow::Result<()> {
    let (user, market) = fixtures::trader_and_market(&world, 20).await?;
    let empty = Position::empty(user.id, market.id, 20);
    let mut full = empty.clone();
    for (holding, number) in full.holdings.iter_mut().zip(0_i64..) {
        *holding = Holding {
            quantity: shares(i64::MAX - number),
            held: shares(if number % 2 == 0 { 0 } else { i64::MAX - 20 }),
        };
    }
    (full.spent, full.received, full.settled_at) = (Credits::MAX, Credits::MAX, Some(*nth(&times()?, 4)?));
    for position in [empty.clone(), full, empty] {
        world.write(&Changes { positions: vec![position.clone()], ..Changes::default() }).await?;
        let read = world.queries.position(user.id, market.id).await?;
        ensure!(read.as_ref() == Some(&position), "{read:#?} was read where {position:#?} was written");
        let mut unit = world.begin().await?;
        let loaded = unit.positions().load(&[(user.id, market.id)]).await?;
        unit.rollback().await?;
        ensure!(loaded == [position.clone()], "{loaded:#?} was loaded where {position:#?} was written");
    }
    Ok(())
}

/// Kept answers: every byte of the fingerprint, the longest key, a large body.
pub async fn answers_round_trip(world: World) -> anyhow::Result<()> {
    let mut answers = Vec::new();
    for (number, time) in times()?.into_iter().enumerate() {
        let byte = u8::try_from(number)?;
        let ends = [0, 255, b'\'', b'\\'];
        let mut fingerprint = [byte; 32];
        for (place, end) in fingerprint.iter_mut().zip(ends) {
            *place = end;
        }
        answers.push(KeptAnswer {
            key: AnswerKey {
                user: if number == 0 { UserId(uuid::Uuid::nil()) } else { UserId(world.id()) },
                route: "POST /api/v1/markets/{id}/orders".to_owned(),
                key: format!("{byte}{}", "~'%_\\".repeat(50)),
            },
            fingerprint,
            status: if number == 0 { 100 } else { 599 },
            location: if number % 2 == 0 { None } else { Some("/api/v1/orders/1?a=b".to_owned()) },
            body: if number == 1 { String::new() } else { nth(&TEXTS, number % 7)?.repeat(5000) },
            created_at: time,
        });
    }
    world.write(&Changes { answers: answers.clone(), ..Changes::default() }).await?;
    let mut unit = world.begin().await?;
    for answer in answers {
        let found = unit.answers().find(std::slice::from_ref(&answer.key)).await?;
        ensure!(found == [answer.clone()], "{:?} was found where {:?} was written", found, answer);
    }
    unit.rollback().await?;
    Ok(())
}
