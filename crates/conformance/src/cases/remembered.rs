//! A store may remember markets between units of work. Nobody notices: what a unit is told is what is written, whoever wrote
//! it, and whatever was undone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bellwether_domain::ids::UserId;
use bellwether_domain::market::Market;
use bellwether_domain::order::{EndReason, Order, OrderStatus, Side};
use bellwether_domain::ports::{BookRequest, Changes, Store, StoreError, UnitOfWork, Wanted};
use bellwether_domain::position::Position;
use tokio::time::timeout;

use crate::fixtures::{self, at, outcome, price, shares};
use crate::world::{World, retried};

/// The same numbers in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(sides).unwrap_or(0)
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> anyhow::Result<&'a T> {
        let index = self.throw(u64::try_from(items.len())?);
        items.get(usize::try_from(index)?).context("there is none")
    }
}

/// What is written of a market.
#[derive(Clone)]
struct Rows {
    market: Market,
    orders: Vec<Order>,
    users: Vec<UserId>,
}

impl Rows {
    async fn of(world: &World) -> anyhow::Result<Self> {
        let (user, market) = fixtures::trader_and_market(world, 3).await?;
        let mut users = vec![user.id];
        users.extend(fixtures::sign_up(world, 2, 0).await?.into_iter().map(|user| user.id));
        Ok(Self { market, orders: Vec::new(), users })
    }

    /// Something that a trader, or an editor, may do.
    fn change(&mut self, world: &World, dice: &mut Dice) -> anyhow::Result<Changes> {
        let mut changes = Changes::default();
        let open: Vec<usize> = (0..).zip(&self.orders).filter(|(_, order)| order.is_open()).map(|(i, _)| i).collect();
        match dice.throw(8) {
            0..=2 => changes.new_orders.push(self.place(world, dice)?),
            kind @ 3..=5 if !open.is_empty() => {
                let order = self.orders.get_mut(*dice.one_of(&open)?).context("it is there")?;
                match kind {
                    3 => order.end(OrderStatus::Cancelled, Some(EndReason::Requested), at(1)?),
                    4 => order.remaining = shares(1),
                    _ => {
                        let limit = price(i64::try_from(dice.throw(998))?.saturating_add(1))?;
                        (order.price, order.book_price) = (Some(limit), Some(limit));
                        order.sequence = self.market.next_sequence();
                    }
                }
                changes.orders.push(order.clone());
            }
            6 => {
                let user = *dice.one_of(&self.users)?;
                changes.positions.push(self.position(user, dice)?);
                // Which leaves the market's own row alone, as complete sets do.
                return Ok(changes);
            }
            _ => {
                self.market.description = format!("described by {}", dice.throw(1000));
                self.market.version = self.market.version.saturating_add(1);
            }
        }
        changes.markets.push(self.market.clone());
        Ok(changes)
    }

    fn place(&mut self, world: &World, dice: &mut Dice) -> anyhow::Result<Order> {
        let (book, user) = (usize::try_from(dice.throw(3))?, *dice.one_of(&self.users)?);
        let (side, limit) = (*dice.one_of(&[Side::Buy, Side::Sell])?, i64::try_from(dice.throw(20))?);
        let order = fixtures::order(world, &mut self.market, user, (book, side, limit.saturating_add(490), 5))?;
        self.orders.push(order.clone());
        Ok(order)
    }

    fn position(&self, user: UserId, dice: &mut Dice) -> anyhow::Result<Position> {
        let quantities = [i64::try_from(dice.throw(9))?, 1, 0];
        Ok(fixtures::position(user, &self.market, &quantities))
    }

    /// Some sides to some depth, some users.
    fn wanted(&self, dice: &mut Dice) -> anyhow::Result<Wanted> {
        let mut wanted = Wanted::default();
        for book in 0..3 {
            for side in [Side::Buy, Side::Sell] {
                let limit = *dice.one_of(&[None, Some(495), Some(500), Some(999), Some(1)])?;
                let (limit, depth) = (limit.map(price).transpose()?, *dice.one_of(&[1, 2, 64])?);
                if dice.throw(3) > 0 {
                    wanted.books.push(BookRequest { market: self.market.id, book: outcome(book)?, side, limit, depth });
                }
            }
        }
        wanted.positions = self.users.iter().map(|user| (*user, self.market.id)).collect();
        wanted.positions.truncate(usize::try_from(dice.throw(4))?);
        wanted.open_counts = wanted.positions.clone();
        Ok(wanted)
    }
}

/// What a unit is told at once, and what it is told one after the other, which no store remembers.
async fn look(unit: &mut dyn UnitOfWork, wanted: &Wanted) -> Result<Result<(), String>, StoreError> {
    let mut told = unit.load(wanted.clone()).await?;
    let books = unit.orders().book(&wanted.books).await?;
    let open_counts = unit.orders().count_open(&wanted.open_counts).await?;
    let mut positions = unit.positions().load(&wanted.positions).await?;
    positions.sort_by_key(|position| position.user);
    told.positions.sort_by_key(|position| position.user);
    let is_same = told.books == books && told.open_counts == open_counts && told.positions == positions;
    let differs =
        || format!("for {wanted:?} {told:?} was told where {books:?}, {open_counts:?}, {positions:?} is written");
    Ok(if is_same { Ok(()) } else { Err(differs()) })
}

/// Fails where what a unit is told differs from what is written.
async fn told_rightly(unit: &mut dyn UnitOfWork, wanted: &Wanted) -> anyhow::Result<()> {
    look(unit, wanted).await?.map_err(anyhow::Error::msg)
}

/// Locks these markets as one question; they must be as they were written.
async fn lock(unit: &mut dyn UnitOfWork, of: &[Rows]) -> anyhow::Result<()> {
    let lock_markets = of.iter().map(|rows| rows.market.id).collect();
    let found = unit.load(Wanted { lock_markets, ..Wanted::default() }).await?.markets;
    let written: Vec<Market> = of.iter().map(|rows| rows.market.clone()).collect();
    ensure!(found == written, "{found:?} was told of the markets where {written:?} is written");
    Ok(())
}

/// Two processes change two markets by turns, now one and now both; units look again at what they wrote, are undone, or
/// fail half way.
pub async fn what_is_told_is_what_is_written_by_whomever(world: World) -> anyhow::Result<()> {
    let mut written = [Rows::of(&world).await?, Rows::of(&world).await?];
    written.sort_by_key(|rows| rows.market.id);
    let mut dice = Dice(1);
    for step in 0..400 {
        let store: &Arc<dyn Store> = if dice.throw(3) == 0 { &world.elsewhere } else { &world.store };
        let mut unit = store.begin().await?;
        let which = dice.one_of(&[0..1, 1..2, 0..2])?.clone();
        let mut rows = written.get(which.clone()).context("there are two")?.to_vec();
        lock(&mut *unit, &rows).await.with_context(|| format!("in step {step}"))?;
        for _ in 0..dice.throw(4) {
            let one = usize::try_from(dice.throw(u64::try_from(rows.len())?))?;
            let of = rows.get_mut(one).context("it is there")?;
            told_rightly(&mut *unit, &of.wanted(&mut dice)?).await.with_context(|| format!("in step {step}"))?;
            unit.write(&of.change(&world, &mut dice)?).await?;
            told_rightly(&mut *unit, &of.wanted(&mut dice)?).await.with_context(|| format!("in step {step}"))?;
            if dice.throw(3) == 0 {
                lock(&mut *unit, &rows).await.with_context(|| format!("again, in step {step}"))?;
            }
        }
        match dice.throw(6) {
            0 => unit.rollback().await?,
            1 => drop(unit),
            2 => {
                let market = Market { sequence: -1, ..rows.swap_remove(0).market };
                ensure!(unit.write(&Changes { markets: vec![market], ..Changes::default() }).await.is_err());
                ensure!(unit.commit().await.is_err(), "what failed half way was committed");
            }
            _ => {
                unit.commit().await?;
                for (place, rows) in written.get_mut(which).context("there are two")?.iter_mut().zip(rows) {
                    *place = rows;
                }
            }
        }
    }
    Ok(())
}

/// Both have seen the market before; the one that waits is told what the other wrote meanwhile.
pub async fn who_waited_for_a_market_is_told_what_was_written_meanwhile(world: World) -> anyhow::Result<()> {
    let mut rows = Rows::of(&world).await?;
    let mut dice = Dice(2);
    for step in 0..8 {
        let (one, other) = if step % 2 == 0 {
            (Arc::clone(&world.store), Arc::clone(&world.elsewhere))
        } else {
            (Arc::clone(&world.elsewhere), Arc::clone(&world.store))
        };
        let mut first = one.begin().await?;
        lock(&mut *first, std::slice::from_ref(&rows)).await?;
        let (market, wanted) = (rows.market.id, rows.wanted(&mut dice)?);
        let mut second = tokio::spawn(async move {
            retried(|| async {
                let mut unit = other.begin().await?;
                let found = unit.load(Wanted { lock_markets: vec![market], ..Wanted::default() }).await?;
                let same = look(&mut *unit, &wanted).await?;
                unit.commit().await?;
                Ok((found.markets, same))
            })
            .await
        });
        // Long enough for it to come to the lock; however long, it must not come beyond it.
        ensure!(timeout(Duration::from_millis(30), &mut second).await.is_err(), "the second unit did not wait");
        first.write(&rows.change(&world, &mut dice)?).await?;
        first.commit().await?;
        let (seen, same) = second.await??;
        ensure!(seen == [rows.market.clone()], "the second unit was told of {seen:?}");
        same.map_err(|told| anyhow::anyhow!("in step {step}: {told}"))?;
    }
    Ok(())
}

/// Whatever was asked for twice, is remembered in part, or is not there any more.
pub async fn what_is_remembered_is_told_in_the_order_of_asking_until_it_is_gone(world: World) -> anyhow::Result<()> {
    let mut rows = Rows::of(&world).await?;
    let mut dice = Dice(3);
    for _ in 0..20 {
        let order = rows.place(&world, &mut dice)?;
        let markets = vec![rows.market.clone()];
        world.write(&Changes { new_orders: vec![order], markets, ..Changes::default() }).await?;
    }
    for _ in 0..3 {
        let mut unit = world.begin().await?;
        lock(&mut *unit, std::slice::from_ref(&rows)).await?;
        let wanted = Wanted {
            books: [rows.wanted(&mut dice)?.books, rows.wanted(&mut dice)?.books].concat(),
            open_counts: rows.users.iter().chain(&rows.users).map(|user| (*user, rows.market.id)).collect(),
            ..Wanted::default()
        };
        told_rightly(&mut *unit, &wanted).await?;
        unit.rollback().await?;
    }
    let market = rows.market.id;
    let mut orders = std::mem::take(&mut rows.orders);
    orders.iter_mut().try_for_each(|order| {
        order.end(OrderStatus::Cancelled, Some(EndReason::Requested), at(1)?);
        anyhow::Ok(())
    })?;
    world.write(&Changes { orders, ..Changes::default() }).await?;
    let mut unit = world.elsewhere.begin().await?;
    unit.markets().lock(&[market]).await?;
    unit.write(&Changes { deleted_markets: vec![market], ..Changes::default() }).await?;
    unit.commit().await?;
    let mut unit = world.begin().await?;
    ensure!(unit.markets().lock(&[market]).await?.is_empty(), "a market that is gone was locked");
    unit.rollback().await?;
    Ok(())
}
