//! A whole exchange in the midst of its work, in which every invariant holds: resting orders of
//! both backings, fills of orders and of market makers, a settled market and one that is being paid.

use std::collections::BTreeMap;

use anyhow::Context;
use bellwether_domain::ids::{AccountId, MarketId, OrderId, UserId};
use bellwether_domain::ledger::TransferKind;
use bellwether_domain::market::{Market, MarketStatus, Resolution, Weights};
use bellwether_domain::money::Price;
use bellwether_domain::order::{Order, Side};
use bellwether_domain::position::Position;

use crate::fixtures::{self, Draft, at, mills, nth, outcome, shares};
use crate::world::World;

/// The ids of what a scene is made of.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Three traders.
    pub(crate) users: Vec<UserId>,
    /// Two outcomes, open, no maker.
    pub(crate) binary: MarketId,
    /// Five outcomes, open, with a maker that has sold.
    pub(crate) several: MarketId,
    /// The account of that maker.
    pub(crate) maker_account: AccountId,
    /// Resolved and paid out.
    pub(crate) settled: MarketId,
    /// The account of its maker, empty again.
    pub(crate) settled_maker: AccountId,
    /// Resolved in parts; one of three positions was paid.
    pub(crate) in_payout: MarketId,
    /// A resting bid of the second user in the binary market, backed by cash, partly filled.
    pub(crate) cash_order: OrderId,
    /// A resting ask of the first user in the binary market, backed by shares.
    pub(crate) shares_order: OrderId,
    /// A filled order of the first user in the binary market.
    pub(crate) filled_order: OrderId,
}

/// What is gathered while the scene is set.
struct Stage<'a> {
    world: &'a World,
    draft: Draft,
    users: Vec<UserId>,
    positions: BTreeMap<(MarketId, UserId), Position>,
}

impl Stage<'_> {
    fn user(&self, index: usize) -> anyhow::Result<UserId> {
        nth(&self.users, index).copied()
    }

    fn position(&mut self, user: UserId, market: &Market) -> &mut Position {
        let empty = Position::empty(user, market.id, market.outcomes.len());
        self.positions.entry((market.id, user)).or_insert(empty)
    }

    fn give(&mut self, user: UserId, market: &Market, index: usize, count: i64) -> anyhow::Result<()> {
        let holding = self.position(user, market).holdings.get_mut(index).context("no such outcome")?;
        holding.quantity = holding.quantity.plus(shares(count))?;
        Ok(())
    }

    fn pay(
        &mut self,
        user: UserId,
        market: &Market,
        to: AccountId,
        amount: i64,
        kind: TransferKind,
    ) -> anyhow::Result<()> {
        let spent = self.position(user, market);
        spent.spent = spent.spent.plus(mills(amount))?;
        self.draft.pay(self.world, AccountId::of_user(user), to, amount, kind, Some(market.id))
    }

    /// Reserves what an open order needs.
    fn rest(&mut self, market: &Market, order: Order) -> anyhow::Result<OrderId> {
        self.draft.account(AccountId::of_user(order.user))?.hold(order.reserved)?;
        if order.backing == bellwether_domain::order::Backing::Shares {
            let book = order.book.index();
            for (index, holding) in self.position(order.user, market).holdings.iter_mut().enumerate() {
                if (order.book_side == Side::Sell) == (index == book) {
                    holding.held = holding.held.plus(order.remaining)?;
                }
            }
        }
        let id = order.id;
        self.draft.changes.new_orders.push(order);
        Ok(id)
    }

    /// The taker bids cash for an outcome, the maker pays the rest of each set: new shares for both.
    /// The maker's order may rest with more than that.
    fn mint(
        &mut self,
        market: &mut Market,
        (taker, maker): (usize, usize),
        index: usize,
        mills_per_share: i64,
        (count, resting): (i64, i64),
    ) -> anyhow::Result<(OrderId, OrderId)> {
        let (taker, maker) = (self.user(taker)?, self.user(maker)?);
        let mut ask = fixtures::order(self.world, market, maker, (index, Side::Sell, mills_per_share, resting))?;
        let mut bid = fixtures::order(self.world, market, taker, (index, Side::Buy, mills_per_share, count))?;
        let trade = fixtures::fill(self.world, market, &mut bid, &mut ask, count)?;
        self.pay(taker, market, market.collateral(), trade.cost.mills(), TransferKind::Mint)?;
        self.pay(maker, market, market.collateral(), count * 1000 - trade.cost.mills(), TransferKind::Mint)?;
        self.give(taker, market, index, count)?;
        for other in (0..market.outcomes.len()).filter(|other| *other != index) {
            self.give(maker, market, other, count)?;
        }
        self.draft.changes.trades.push(trade);
        Ok((self.rest(market, bid)?, self.rest(market, ask)?))
    }

    /// A user buys an outcome of the market maker, which mints `sets` for that.
    fn sell_by_maker(
        &mut self,
        market: &mut Market,
        account: AccountId,
        (user, index, count, cost, sets): (usize, usize, i64, i64, i64),
    ) -> anyhow::Result<()> {
        let user = self.user(user)?;
        let at_price = Price::from_mills(cost / count).context("not a price")?;
        let mut bid = fixtures::order(self.world, market, user, (index, Side::Buy, at_price.mills(), count))?;
        let trade = fixtures::fill_by_maker(self.world, market, &mut bid, count, mills(cost), at_price)?;
        self.pay(user, market, account, cost, TransferKind::Trade)?;
        if sets > 0 {
            self.draft.pay(
                self.world,
                account,
                market.collateral(),
                sets * 1000,
                TransferKind::Mint,
                Some(market.id),
            )?;
        }
        self.give(user, market, index, count)?;
        self.draft.changes.trades.push(trade);
        self.rest(market, bid)?;
        Ok(())
    }

    fn pay_out(&mut self, market: &Market, user: usize, amount: i64) -> anyhow::Result<()> {
        let user = self.user(user)?;
        if amount > 0 {
            self.draft.pay(
                self.world,
                market.collateral(),
                AccountId::of_user(user),
                amount,
                TransferKind::Payout,
                Some(market.id),
            )?;
        }
        let position = self.position(user, market);
        position.received = position.received.plus(mills(amount))?;
        position.settled_at = Some(at(100)?);
        Ok(())
    }

    async fn write(mut self) -> anyhow::Result<()> {
        self.draft.changes.positions = self.positions.into_values().collect();
        self.world.write(&self.draft.finish()).await?;
        Ok(())
    }
}

/// Sets the scene in a fresh store.
pub(crate) async fn set(world: &World) -> anyhow::Result<Scene> {
    let mut stage =
        Stage { world, draft: Draft::with(world, &[]).await?, users: Vec::new(), positions: BTreeMap::new() };
    for _ in 0..3 {
        let user = fixtures::user(world)?;
        stage.users.push(user.id);
        stage.draft.sign_up(world, user, 10_000_000)?;
    }
    let (binary, orders) = set_binary(&mut stage)?;
    let (several, maker_account) = set_several(&mut stage)?;
    let (settled, settled_maker) = set_settled(&mut stage)?;
    let in_payout = set_in_payout(&mut stage)?;
    let users = stage.users.clone();
    stage.write().await?;
    let [cash_order, shares_order, filled_order] = orders;
    Ok(Scene {
        users,
        binary,
        several,
        maker_account,
        settled,
        settled_maker,
        in_payout,
        cash_order,
        shares_order,
        filled_order,
    })
}

/// An open market of two outcomes; a resting order backed by cash, one by shares, and a filled one.
fn set_binary(stage: &mut Stage<'_>) -> anyhow::Result<(MarketId, [OrderId; 3])> {
    let mut market = fixtures::market(stage.world, stage.user(0)?, 2)?;
    stage.draft.open_market(stage.world, market.clone())?;
    let (filled_order, cash_order) = stage.mint(&mut market, (0, 1), 0, 600, (10, 30))?;
    stage.draft.pay(
        stage.world,
        AccountId::of_user(stage.user(0)?),
        AccountId::FEES,
        24,
        TransferKind::Fee,
        Some(market.id),
    )?;
    let ask = fixtures::order(stage.world, &mut market, stage.user(0)?, (0, Side::Sell, 700, 4))?;
    let shares_order = stage.rest(&market, fixtures::backed_by_shares(ask))?;
    let rest_of_set = fixtures::order(stage.world, &mut market, stage.user(1)?, (1, Side::Sell, 500, 3))?;
    stage.rest(&market, fixtures::backed_by_shares(rest_of_set))?;
    let id = market.id;
    replace(stage, market)?;
    Ok((id, [cash_order, shares_order, filled_order]))
}

/// An open market of five outcomes, a maker that has sold two of them, sets held by users, and
/// resting orders of both backings on both sides.
fn set_several(stage: &mut Stage<'_>) -> anyhow::Result<(MarketId, AccountId)> {
    let mut market = fixtures::market(stage.world, stage.user(2)?, 5)?;
    let maker = fixtures::maker(stage.world, stage.user(2)?, mills(100_000), &[5, 0, 0, 2, 0])?;
    let account = maker.account;
    market.maker = Some(maker);
    stage.draft.open_market(stage.world, market.clone())?;
    stage.sell_by_maker(&mut market, account, (2, 0, 5, 1503, 5))?;
    stage.sell_by_maker(&mut market, account, (0, 3, 2, 451, 0))?;
    stage.mint(&mut market, (0, 1), 0, 300, (3, 3))?;
    let cash_ask = fixtures::order(stage.world, &mut market, stage.user(0)?, (2, Side::Sell, 800, 10))?;
    stage.rest(&market, cash_ask)?;
    let sets_bid = fixtures::order(stage.world, &mut market, stage.user(1)?, (0, Side::Buy, 100, 2))?;
    stage.rest(&market, fixtures::backed_by_shares(sets_bid))?;
    let shares_ask = fixtures::order(stage.world, &mut market, stage.user(1)?, (4, Side::Sell, 900, 1))?;
    stage.rest(&market, fixtures::backed_by_shares(shares_ask))?;
    let id = market.id;
    replace(stage, market)?;
    Ok((id, account))
}

/// A resolved market whose positions and maker were paid.
fn set_settled(stage: &mut Stage<'_>) -> anyhow::Result<(MarketId, AccountId)> {
    let mut market = fixtures::market(stage.world, stage.user(0)?, 2)?;
    let maker = fixtures::maker(stage.world, stage.user(0)?, mills(20_000), &[4, 0])?;
    let (account, funder) = (maker.account, maker.funder);
    market.maker = Some(maker);
    stage.draft.open_market(stage.world, market.clone())?;
    stage.sell_by_maker(&mut market, account, (1, 0, 4, 2100, 4))?;
    stage.mint(&mut market, (0, 2), 0, 500, (10, 10))?;
    market.resolution = Some(Resolution {
        weights: Weights::winner(outcome(0)?, 2),
        decided_by: None,
        decided_at: at(90)?,
        reason: None,
    });
    (market.status, market.settled_at) = (MarketStatus::Resolved, Some(at(100)?));
    stage.pay_out(&market, 0, 10_000)?;
    stage.pay_out(&market, 1, 4000)?;
    stage.pay_out(&market, 2, 0)?;
    let rest = stage.draft.account(account)?.balance.mills();
    stage.draft.pay(stage.world, account, AccountId::of_user(funder), rest, TransferKind::Refund, Some(market.id))?;
    let id = market.id;
    replace(stage, market)?;
    Ok((id, account))
}

/// A market that was resolved 60 to 40, one of whose three positions was paid so far.
fn set_in_payout(stage: &mut Stage<'_>) -> anyhow::Result<MarketId> {
    let mut market = fixtures::market(stage.world, stage.user(1)?, 2)?;
    market.maker = Some(fixtures::maker(stage.world, stage.user(1)?, mills(5000), &[0, 3])?);
    let account = market.maker.as_ref().context("just set")?.account;
    stage.draft.open_market(stage.world, market.clone())?;
    stage.sell_by_maker(&mut market, account, (1, 1, 3, 1200, 3))?;
    stage.mint(&mut market, (0, 1), 0, 700, (6, 6))?;
    stage.mint(&mut market, (0, 2), 0, 710, (4, 4))?;
    market.resolution = Some(Resolution {
        weights: Weights::new(vec![600, 400], 2)?,
        decided_by: Some(stage.user(2)?),
        decided_at: at(90)?,
        reason: None,
    });
    market.status = MarketStatus::Resolved;
    stage.pay_out(&market, 0, 6000)?;
    let id = market.id;
    replace(stage, market)?;
    Ok(id)
}

/// Puts the market's final state in the place of the one that it was opened with.
fn replace(stage: &mut Stage<'_>, market: Market) -> anyhow::Result<()> {
    let opened = stage.draft.changes.new_markets.iter_mut().find(|m| m.id == market.id).context("it was opened")?;
    *opened = market;
    Ok(())
}
