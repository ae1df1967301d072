//! The audit: silent while the invariants hold, and naming each that is broken.

use anyhow::{Context, ensure};
use bellwether_domain::ids::{AccountId, MarketId, TradeId, TransferId};
use bellwether_domain::ledger::{Account, Owner, TransferKind};
use bellwether_domain::market::Market;
use bellwether_domain::money::Credits;
use bellwether_domain::order::{Backing, Side};
use bellwether_domain::ports::{Changes, Violation};
use bellwether_domain::position::Position;
use bellwether_domain::score::{Counting, Figures, MarketScore, Score};

use crate::fixtures::{self, Draft, at, mills, nth, shares};
use crate::scene::{self, Scene};
use crate::world::World;

/// An empty store, and a whole exchange in the midst of its work.
pub async fn a_good_database_has_no_violations(world: World) -> anyhow::Result<()> {
    let empty = world.queries.violations(100).await?;
    ensure!(empty.is_empty(), "an empty store has the violations {empty:#?}");
    scene::set(&world).await?;
    let found = world.queries.violations(100).await?;
    ensure!(found.is_empty(), "a good database has the violations {found:#?}");
    Ok(())
}

/// Plants a breach, which must be found and named, and takes it back, after which nothing is.
async fn found(world: &World, what: &str, invariant: u8, bad: Changes, good: Changes) -> anyhow::Result<()> {
    world.write(&bad).await.with_context(|| format!("planting {what}"))?;
    named(world, what, invariant).await?;
    world.write(&good).await.with_context(|| format!("taking back {what}"))?;
    let left = world.queries.violations(100).await?;
    ensure!(left.is_empty(), "after {what} was taken back there is {left:#?}");
    Ok(())
}

async fn named(world: &World, what: &str, invariant: u8) -> anyhow::Result<Vec<Violation>> {
    let violations = world.queries.violations(100).await?;
    let of_it: Vec<Violation> = violations.iter().filter(|v| v.invariant == invariant).cloned().collect();
    ensure!(!of_it.is_empty(), "{what} breaks invariant {invariant}, but the audit found {violations:#?}");
    ensure!(of_it.iter().all(|v| !v.message.trim().is_empty()), "a violation says nothing: {of_it:?}");
    let one = world.queries.violations(1).await?;
    ensure!(one.len() == 1, "with a limit of 1 there are {} violations", one.len());
    Ok(of_it)
}

fn accounts(accounts: &[&Account]) -> Changes {
    Changes { accounts: accounts.iter().map(|a| (*a).clone()).collect(), ..Changes::default() }
}

fn markets(market: &Market) -> Changes {
    Changes { markets: vec![market.clone()], ..Changes::default() }
}

fn positions(position: &Position) -> Changes {
    Changes { positions: vec![position.clone()], ..Changes::default() }
}

async fn position(
    world: &World,
    scene: &Scene,
    user: usize,
    market: bellwether_domain::ids::MarketId,
) -> anyhow::Result<Position> {
    world.queries.position(*nth(&scene.users, user)?, market).await?.context("the scene lacks a position")
}

/// Invariant 1: money out of nothing, money moved without a transfer, a chain that lost its end.
pub async fn balances_that_are_not_the_sum_of_their_transfers_are_found(world: World) -> anyhow::Result<()> {
    let scene = scene::set(&world).await?;
    let first = fixtures::account(&world, AccountId::of_user(*nth(&scene.users, 0)?)).await?;
    let second = fixtures::account(&world, AccountId::of_user(*nth(&scene.users, 1)?)).await?;
    let good = accounts(&[&first, &second]);
    let richer = |account: &Account, by: i64| -> anyhow::Result<Account> {
        Ok(Account { balance: account.balance.plus(mills(by))?, ..account.clone() })
    };
    found(&world, "a mill out of nothing", 1, accounts(&[&richer(&first, 1)?]), good.clone()).await?;
    let moved = accounts(&[&richer(&first, 1)?, &richer(&second, -1)?]);
    found(&world, "a mill moved without a transfer", 1, moved, good.clone()).await?;
    let longer = Account { paid_count: first.paid_count + 1, ..first.clone() };
    let written = world.write(&accounts(&[&longer])).await;
    ensure!(written.is_err(), "an account was written that counts a transfer which is not there");
    let torn = Account { chain: [9; 32], ..first.clone() };
    found(&world, "a chain without its last transfer", 1, accounts(&[&torn]), good).await?;
    let never = fixtures::account(&world, AccountId::FEES).await?;
    let spoiled = Account { chain: [1; 32], ..never.clone() };
    found(&world, "a chain of an account that paid nothing", 1, accounts(&[&spoiled]), accounts(&[&never])).await?;
    let market = MarketId(world.id());
    let opened = Account::open(AccountId::of_market(market), Owner::Market(market), at(0)?);
    let new_accounts = vec![Account { paid_count: 1, ..opened }];
    world.write(&Changes { new_accounts, ..Changes::default() }).await?;
    named(&world, "a count beyond the transfers", 1).await?;
    Ok(())
}

/// Invariant 3: cash and shares that are held for no order, or for more than it needs.
pub async fn holds_that_are_not_the_sum_of_the_open_orders_are_found(world: World) -> anyhow::Result<()> {
    let scene = scene::set(&world).await?;
    let user = fixtures::account(&world, AccountId::of_user(*nth(&scene.users, 1)?)).await?;
    let held =
        |by: i64| -> anyhow::Result<Account> { Ok(Account { held: user.held.plus(mills(by))?, ..user.clone() }) };
    for by in [1, -1] {
        found(&world, "a hold without an order", 3, accounts(&[&held(by)?]), accounts(&[&user])).await?;
    }
    for id in [scene.maker_account, AccountId::of_market(scene.binary), AccountId::FEES] {
        let good = fixtures::account(&world, id).await?;
        let bad = Account { held: mills(1), ..good.clone() };
        found(&world, "a hold of an account that has no orders", 3, accounts(&[&bad]), accounts(&[&good])).await?;
    }
    let order = fixtures::order_now(&world, scene.cash_order).await?;
    let mut greedy = order.clone();
    greedy.reserved = order.reserved.plus(mills(1))?;
    let bad = Changes { orders: vec![greedy], accounts: vec![held(1)?], ..Changes::default() };
    let good = Changes { orders: vec![order], accounts: vec![user.clone()], ..Changes::default() };
    found(&world, "an order that reserves more than it can cost", 3, bad, good).await?;

    for (who, market, index) in
        [(0, scene.binary, 0), (0, scene.binary, 1), (1, scene.binary, 1), (1, scene.several, 0), (1, scene.several, 2)]
    {
        let good = position(&world, &scene, who, market).await?;
        let mut bad = good.clone();
        let holding = bad.holdings.get_mut(index).context("no such outcome")?;
        if holding.quantity == holding.held {
            continue;
        }
        holding.held = holding.held.plus(shares(1))?;
        found(&world, "shares held without an order", 3, positions(&bad), positions(&good)).await?;
    }
    let order = fixtures::order_now(&world, scene.shares_order).await?;
    ensure!(order.backing == Backing::Shares && order.book_side == Side::Sell);
    let mut smaller = order.clone();
    (smaller.quantity, smaller.remaining) = (shares(3), shares(3));
    let bad = Changes { orders: vec![smaller], ..Changes::default() };
    found(
        &world,
        "an order that needs fewer shares than are held",
        3,
        bad,
        Changes { orders: vec![order], ..Changes::default() },
    )
    .await
}

/// Invariant 4: shares out of nothing, collateral that is too much or too little, money left
/// in a settled market.
pub async fn collateral_that_does_not_cover_the_shares_exactly_is_found(world: World) -> anyhow::Result<()> {
    let scene = scene::set(&world).await?;
    for market in [scene.binary, scene.several] {
        let good = position(&world, &scene, 0, market).await?;
        let mut one = good.clone();
        let mut set = good.clone();
        for (index, holding) in set.holdings.iter_mut().enumerate() {
            holding.quantity = holding.quantity.plus(shares(1))?;
            if let (0, Some(first)) = (index, one.holdings.get_mut(0)) {
                first.quantity = holding.quantity;
            }
        }
        found(&world, "a share out of nothing", 4, positions(&one), positions(&good)).await?;
        found(&world, "a set without collateral", 4, positions(&set), positions(&good)).await?;
    }
    let good = fixtures::market_now(&world, scene.several).await?;
    let mut oversold = good.clone();
    let maker = oversold.maker.as_mut().context("it has a maker")?;
    maker.lmsr =
        bellwether_domain::lmsr::Lmsr::restore(maker.lmsr.liquidity(), &maker.probabilities, &[5, 0, 0, 3, 0])?;
    found(&world, "a share that the maker sold to nobody", 4, markets(&oversold), markets(&good)).await?;

    let user = AccountId::of_user(*nth(&scene.users, 0)?);
    for account in [
        AccountId::of_market(scene.binary),
        AccountId::of_market(scene.settled),
        scene.settled_maker,
        AccountId::of_market(scene.in_payout),
    ] {
        let market = None;
        let mut in_draft = Draft::with(&world, &[user, account]).await?;
        in_draft.pay(&world, user, account, 1000, TransferKind::Mint, market)?;
        let bad = in_draft.finish();
        world.write(&bad).await?;
        let of_it = named(&world, "money that covers no share", 4).await?;
        ensure!(of_it.len() == 1, "one breach was planted and found as {of_it:#?}");
        let mut back = Draft::with(&world, &[user, account]).await?;
        back.pay(&world, account, user, 1000, TransferKind::Redeem, market)?;
        world.write(&back.finish()).await?;
        let left = world.queries.violations(100).await?;
        ensure!(left.is_empty(), "after the money went back there is {left:#?}");
    }
    Ok(())
}

/// Invariant 5: fills that no trade made, volume and count that the trades do not add up to.
pub async fn fills_that_do_not_match_the_trades_are_found(world: World) -> anyhow::Result<()> {
    let scene = scene::set(&world).await?;
    for id in [scene.cash_order, scene.filled_order] {
        let good = fixtures::order_now(&world, id).await?;
        for by in [1, -1] {
            let mut bad = good.clone();
            bad.quantity = bad.quantity.plus(shares(1))?;
            bad.filled = bad.filled.plus(shares(by))?;
            let (bad, good) = (
                Changes { orders: vec![bad], ..Changes::default() },
                Changes { orders: vec![good.clone()], ..Changes::default() },
            );
            found(&world, "a fill without a trade", 5, bad, good).await?;
        }
    }
    for market in [scene.binary, scene.several, scene.settled] {
        let good = fixtures::market_now(&world, market).await?;
        let bad = Market { volume: good.volume.plus(mills(1))?, ..good.clone() };
        found(&world, "volume without a trade", 5, markets(&bad), markets(&good)).await?;
        let bad = Market { trade_count: good.trade_count - 1, ..good.clone() };
        let written = world.write(&markets(&bad)).await;
        ensure!(written.is_err(), "a market was written that counts other trades than are there");
    }
    Ok(())
}

/// Invariant 5: a trade against an order costs exactly price times quantity.
pub async fn a_trade_at_another_cost_than_its_price_is_found(world: World) -> anyhow::Result<()> {
    let (user, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let maker = fixtures::trader(&world).await?;
    let mut resting = fixtures::order(&world, &mut market, maker.id, (0, Side::Sell, 500, 2))?;
    let mut taking = fixtures::order(&world, &mut market, user.id, (0, Side::Buy, 500, 2))?;
    let mut trade = fixtures::fill(&world, &mut market, &mut taking, &mut resting, 2)?;
    trade.cost = mills(1001);
    market.volume = trade.cost;
    let changes =
        Changes { new_orders: vec![resting, taking], trades: vec![trade], markets: vec![market], ..Changes::default() };
    world.write(&changes).await?;
    let violations = world.queries.violations(100).await?;
    ensure!(violations.len() == 1 && nth(&violations, 0)?.invariant == 5, "a wrong cost was found as {violations:#?}");
    Ok(())
}

/// Invariant 5: a trade that the market does not know of, though both orders do.
pub async fn a_trade_that_its_market_does_not_count_is_found(world: World) -> anyhow::Result<()> {
    let scene = scene::set(&world).await?;
    let mut market = fixtures::market_now(&world, scene.binary).await?;
    let taker = fixtures::order_now(&world, scene.filled_order).await?;
    let mut order = fixtures::order(&world, &mut market, taker.user, (0, Side::Buy, 1, 1))?;
    let mut trade = fixtures::fill_by_maker(&world, &mut market, &mut order, 1, mills(1), fixtures::price(1)?)?;
    trade.id = TradeId(world.id());
    world.write(&Changes { new_orders: vec![order], trades: vec![trade], ..Changes::default() }).await?;
    named(&world, "a trade that the market does not count", 5).await?;
    Ok(())
}

/// Invariant 5: two trades of a market that claim the same place in its sequence.
pub async fn a_sequence_that_two_trades_have_is_found(world: World) -> anyhow::Result<()> {
    let (user, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let mut taking = fixtures::order(&world, &mut market, user.id, (0, Side::Buy, 500, 2))?;
    let mut trades = Vec::new();
    for _ in 0..2 {
        trades.push(fixtures::fill_by_maker(&world, &mut market, &mut taking, 1, mills(500), fixtures::price(500)?)?);
    }
    let first = nth(&trades, 0)?.sequence;
    trades.iter_mut().for_each(|trade| trade.sequence = first);
    world.write(&Changes { new_orders: vec![taking], trades, markets: vec![market], ..Changes::default() }).await?;
    let found = named(&world, "a sequence twice", 5).await?;
    ensure!(found.iter().any(|violation| violation.message.contains("sequence")), "it was found as {found:#?}");
    Ok(())
}

/// A decision that was made of a market in which somebody traded since is not written, and nothing of it: locks rule that
/// out, and this is what would be left were one forgotten.
pub async fn a_market_that_has_traded_meanwhile_is_not_written(world: World) -> anyhow::Result<()> {
    let (user, market) = fixtures::trader_and_market(&world, 2).await?;
    let mut decisions = Vec::new();
    for _ in 0..2 {
        let mut market = market.clone();
        let mut taking = fixtures::order(&world, &mut market, user.id, (0, Side::Buy, 500, 1))?;
        let trade = fixtures::fill_by_maker(&world, &mut market, &mut taking, 1, mills(500), fixtures::price(500)?)?;
        let changes =
            Changes { new_orders: vec![taking], trades: vec![trade], markets: vec![market], ..Changes::default() };
        decisions.push(changes);
    }
    world.write(nth(&decisions, 0)?).await?;
    let before = fixtures::market_now(&world, market.id).await?;
    let written = world.write(nth(&decisions, 1)?).await;
    ensure!(written.is_err(), "a trade was written that was decided before another one");
    ensure!(fixtures::market_now(&world, market.id).await? == before, "something of it was written");
    Ok(())
}

/// Invariant 6: a market that is called settled with an unpaid position, a position that is
/// called paid and was not, and one that is not called paid and was.
pub async fn positions_that_were_not_paid_exactly_once_are_found(world: World) -> anyhow::Result<()> {
    let scene = scene::set(&world).await?;
    let good = position(&world, &scene, 2, scene.settled).await?;
    let unpaid = Position { settled_at: None, ..good.clone() };
    found(&world, "an unpaid position in a settled market", 6, positions(&unpaid), positions(&good)).await?;
    let good = position(&world, &scene, 2, scene.in_payout).await?;
    let claimed = Position { settled_at: Some(at(100)?), ..good.clone() };
    found(&world, "a paid position without a payout", 6, positions(&claimed), positions(&good)).await?;
    let good = position(&world, &scene, 0, scene.in_payout).await?;
    let forgotten = Position { settled_at: None, ..good.clone() };
    // The money is gone, and the shares are to be paid again.
    found(&world, "a payout that its position does not know of", 4, positions(&forgotten), positions(&good)).await
}

/// Invariant 6: two payouts to one position.
pub async fn a_second_payout_is_found(world: World) -> anyhow::Result<()> {
    let scene = scene::set(&world).await?;
    pay_out(&world, &scene, 0, 1).await?;
    named(&world, "a second payout", 6).await?;
    Ok(())
}

/// Invariant 6: a payout of another amount than the shares are worth.
pub async fn a_payout_of_a_wrong_amount_is_found(world: World) -> anyhow::Result<()> {
    let scene = scene::set(&world).await?;
    // Four shares at 400 mills; one mill less is paid.
    pay_out(&world, &scene, 2, 1599).await?;
    let paid = Position { settled_at: Some(at(100)?), ..position(&world, &scene, 2, scene.in_payout).await? };
    world.write(&positions(&paid)).await?;
    named(&world, "a payout of a mill less", 6).await?;
    Ok(())
}

async fn pay_out(world: &World, scene: &Scene, user: usize, amount: i64) -> anyhow::Result<()> {
    let collateral = AccountId::of_market(scene.in_payout);
    let account = AccountId::of_user(*nth(&scene.users, user)?);
    let mut draft = Draft::with(world, &[collateral, account]).await?;
    draft.pay(world, collateral, account, amount, TransferKind::Payout, Some(scene.in_payout))?;
    world.write(&draft.finish()).await?;
    Ok(())
}

/// Threat 33. What went in and out of one account adds up to more than 64 bits hold, and so does the whole:
/// the audit neither fails nor finds what is not there.
pub async fn an_audit_of_sums_beyond_64_bits_is_exact(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 2, 0).await?;
    let (first, second) = (AccountId::of_user(nth(&users, 0)?.id), AccountId::of_user(nth(&users, 1)?.id));
    let largest = i64::MAX;
    let mut draft = Draft::with(&world, &[first, second]).await?;
    draft.pay(&world, AccountId::TREASURY, first, largest, TransferKind::Grant, None)?;
    for _ in 0..2 {
        draft.pay(&world, first, second, largest, TransferKind::Payment, None)?;
        draft.pay(&world, second, first, largest, TransferKind::Payment, None)?;
    }
    world.write(&draft.finish()).await?;
    let violations = world.queries.violations(100).await?;
    ensure!(violations.is_empty(), "sums beyond 64 bits are called {violations:#?}");

    // A whole turn of 2^64 mills too much in all, which a wrapped sum does not see.
    let third = fixtures::sign_up(&world, 1, 0).await?;
    let third = fixtures::account(&world, AccountId::of_user(nth(&third, 0)?.id)).await?;
    let second = fixtures::account(&world, second).await?;
    let rich = |account: &Account, balance: i64| Account { balance: mills(balance), ..account.clone() };
    let fees = fixtures::account(&world, AccountId::FEES).await?;
    let bad = accounts(&[&rich(&third, largest), &rich(&second, largest), &rich(&fees, 2)]);
    found(&world, "2^64 mills too much", 1, bad, accounts(&[&third, &second, &fees])).await
}

/// Threat 33. The same for volumes and for shares.
pub async fn an_audit_of_volumes_and_shares_beyond_64_bits_is_exact(world: World) -> anyhow::Result<()> {
    let (user, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let mut orders = Vec::new();
    let mut trades = Vec::new();
    for cost in [i64::MAX, i64::MAX, 3] {
        let mut order = fixtures::order(&world, &mut market, user.id, (0, Side::Buy, 500, 1))?;
        let mut trade =
            fixtures::fill_by_maker(&world, &mut market, &mut order, 1, Credits::ZERO, fixtures::price(500)?)?;
        trade.cost = mills(cost);
        trades.push(trade);
        orders.push(order);
    }
    // 2^64 + 1, of which a wrapped sum keeps 1.
    market.volume = mills(1);
    let positions = vec![
        fixtures::position(user.id, &market, &[i64::MAX, i64::MAX]),
        fixtures::position(fixtures::trader(&world).await?.id, &market, &[i64::MAX, i64::MAX]),
        fixtures::position(fixtures::trader(&world).await?.id, &market, &[2, 2]),
    ];
    world
        .write(&Changes { new_orders: orders, trades, positions, markets: vec![market], ..Changes::default() })
        .await?;
    named(&world, "a volume 2^64 too small", 5).await?;
    named(&world, "2^64 sets without collateral", 4).await?;
    Ok(())
}

/// A transfer that the payer's account does not know of.
pub async fn a_transfer_that_moved_nothing_is_found(world: World) -> anyhow::Result<()> {
    let user = fixtures::trader(&world).await?;
    let mut from = fixtures::account(&world, AccountId::of_user(user.id)).await?;
    let mut to = fixtures::account(&world, AccountId::FEES).await?;
    let transfer = fixtures::payment(&mut from, &mut to, TransferId(world.id()), 5)?;
    world.write(&Changes { transfers: vec![transfer], ..Changes::default() }).await?;
    named(&world, "a transfer that moved nothing", 1).await?;
    Ok(())
}

/// What is kept of how users trade: a score that its positions or its trades do not come to, figures of a market
/// that its trades do not come to, a position that was passed over.
pub async fn scores_that_are_not_what_trades_and_positions_come_to_are_found(world: World) -> anyhow::Result<()> {
    let scene = scene::set(&world).await?;
    super::scores::count(&world, scene.settled).await?;
    let user = *nth(&scene.users, 0)?;
    let score = |by: i64| Score { user, figures: Figures::default(), profit: mills(by), markets: 0, judged_markets: 0 };
    let scores = |score: Score| Changes { scores: vec![score], ..Changes::default() };
    found(&world, "a profit out of nothing", 10, scores(score(1)), scores(score(-1))).await?;
    let markets = |by: i64| scores(Score { markets: by, ..score(0) });
    found(&world, "a market that was counted twice", 10, markets(1), markets(-1)).await?;
    let judged = |by: i64| scores(Score { judged_markets: by, ..score(0) });
    found(&world, "a forecast out of nothing", 10, judged(1), judged(-1)).await?;
    let figures = |by: i64| {
        [
            Figures { trades: by, ..Figures::default() },
            Figures { volume: mills(by), ..Figures::default() },
            Figures { judged_shares: by, ..Figures::default() },
            Figures { missed: by, ..Figures::default() },
        ]
    };
    for (bad, good) in figures(1).into_iter().zip(figures(-1)) {
        let of_user = |figures| scores(Score { figures, ..score(0) });
        found(&world, "figures out of nothing", 10, of_user(bad), of_user(good)).await?;
        let of_market = |figures| {
            let market_score = MarketScore { market: scene.settled, user, figures };
            Changes {
                market_scores: vec![market_score],
                scores: vec![Score { figures, ..score(0) }],
                ..Changes::default()
            }
        };
        found(&world, "figures that the trades do not come to", 10, of_market(bad), of_market(good)).await?;
    }
    let done = |is_done| {
        let counting = Counting { is_done, ..Counting::of(scene.in_payout) };
        Changes { countings: vec![counting], ..Changes::default() }
    };
    found(&world, "a market that was not counted to the end", 10, done(true), done(false)).await
}
