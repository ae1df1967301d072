//! Sums over trades and over orders: candles, and what does not fit 64 bits.

use anyhow::ensure;
use bellwether_domain::order::Side;
use bellwether_domain::ports::{Candle, CandleRequest, Changes};
use bellwether_domain::trade::Trade;
use jiff::Timestamp;

use crate::fixtures::{self, at, mills, nth, outcome, price, shares};
use crate::world::World;

/// Trades in an interval in order of sequence: also where several share a microsecond, or their
/// ids are in another order.
pub async fn candles_sum_the_trades_of_each_interval(world: World) -> anyhow::Result<()> {
    let (user, mut market) = fixtures::trader_and_market(&world, 3).await?;
    let maker = fixtures::trader(&world).await?;
    let start = 1_795_000_020;
    let mut orders = Vec::new();
    let mut trades: Vec<Trade> = Vec::new();
    // (microseconds from the start, price, quantity): out of order of time, with equal times.
    let made = [
        (0, 500, 1),
        (0, 900, 2),
        (0, 100, 3),
        (0, 450, 4),
        (59_999_999, 451, 5),
        (60_000_000, 300, 6),
        (200_000_000, 700, 7),
        (-1, 999, 8),
    ];
    for (offset, mills_per_share, quantity) in made {
        let mut resting = fixtures::order(&world, &mut market, maker.id, (1, Side::Sell, mills_per_share, quantity))?;
        let mut taking = fixtures::order(&world, &mut market, user.id, (1, Side::Buy, mills_per_share, quantity))?;
        let mut trade = fixtures::fill(&world, &mut market, &mut taking, &mut resting, quantity)?;
        trade.created_at = Timestamp::from_microsecond(start * 1_000_000 + offset)?;
        trades.push(trade);
        orders.extend([resting, taking]);
    }
    let mut elsewhere = fixtures::order(&world, &mut market, user.id, (2, Side::Buy, 5, 9))?;
    let mut other = fixtures::fill_by_maker(&world, &mut market, &mut elsewhere, 9, mills(45), price(5)?)?;
    other.created_at = Timestamp::from_second(start)?;
    trades.push(other);
    orders.push(elsewhere);
    trades.reverse();
    world.write(&Changes { new_orders: orders, trades, markets: vec![market.clone()], ..Changes::default() }).await?;

    let candle = |second: i64, prices: [i64; 4], volume: i64, count: u64| -> anyhow::Result<Candle> {
        let [open, high, low, close] = prices;
        Ok(Candle {
            start: Timestamp::from_second(second)?,
            open: price(open)?,
            high: price(high)?,
            low: price(low)?,
            close: price(close)?,
            volume: mills(volume),
            trades: count,
        })
    };
    let request = CandleRequest {
        market: market.id,
        book: outcome(1)?,
        interval_s: 60,
        from: Timestamp::from_second(start)?,
        to: Timestamp::from_second(start + 240)?,
        limit: 100,
    };
    let minute = start - start % 60;
    ensure!(minute == start, "the start is on a minute");
    let whole = vec![
        candle(start, [500, 900, 100, 451], 500 + 1800 + 300 + 1800 + 2255, 5)?,
        candle(start + 60, [300; 4], 1800, 1)?,
        candle(start + 180, [700; 4], 4900, 1)?,
    ];
    let read = world.queries.candles(&request).await?;
    ensure!(read == whole, "{read:#?} where {whole:#?} was right");
    let two = world.queries.candles(&CandleRequest { limit: 2, ..request }).await?;
    ensure!(Some(two.as_slice()) == whole.get(..2), "with a limit of 2: {two:#?}");
    let cut = world.queries.candles(&CandleRequest { to: Timestamp::from_second(start + 60)?, ..request }).await?;
    ensure!(Some(cut.as_slice()) == whole.get(..1), "the end does not count: {cut:#?}");
    let before =
        CandleRequest { from: Timestamp::from_second(start - 60)?, to: Timestamp::from_second(start)?, ..request };
    let read = world.queries.candles(&before).await?;
    ensure!(read == [candle(start - 60, [999; 4], 7992, 1)?], "before the start: {read:#?}");
    let none = CandleRequest { book: outcome(0)?, ..request };
    ensure!(world.queries.candles(&none).await?.is_empty());
    // Long before there was any trade, and long after: as many as are wanted, and no interval less than whole.
    let ever = CandleRequest { from: Timestamp::UNIX_EPOCH, to: Timestamp::from_second(start + 9_999_999)?, ..request };
    let read = world.queries.candles(&ever).await?;
    ensure!(read.get(1..) == Some(whole.as_slice()), "of all time: {read:#?}");
    for limit in 1..4_u32 {
        let some = world.queries.candles(&CandleRequest { limit, ..ever }).await?;
        ensure!(Some(some.as_slice()) == read.get(..usize::try_from(limit)?), "the first {limit}: {some:#?}");
    }
    let middle =
        CandleRequest { from: Timestamp::from_second(start + 30)?, to: Timestamp::from_second(start + 205)?, ..ever };
    let some = world.queries.candles(&CandleRequest { limit: 2, ..middle }).await?;
    ensure!(
        some == [candle(start, [451; 4], 2255, 1)?, candle(start + 60, [300; 4], 1800, 1)?],
        "from within an interval: {some:#?}"
    );
    let last =
        world.queries.candles(&CandleRequest { limit: 3, to: Timestamp::from_second(start + 200)?, ..ever }).await?;
    ensure!(Some(last.as_slice()) == read.get(..3), "up to where the next begins: {last:#?}");
    let hours = world
        .queries
        .candles(&CandleRequest { interval_s: 3600, from: Timestamp::from_second(start - 3600)?, ..request })
        .await?;
    ensure!(hours.iter().map(|c| c.trades).sum::<u64>() == 8, "{hours:#?}");
    ensure!(hours.iter().all(|c| c.start.as_second() % 3600 == 0), "{hours:#?}");
    Ok(())
}

/// Rows before 1970 still fall into the interval that holds them.
pub async fn candles_begin_at_multiples_of_the_interval_before_1970_too(world: World) -> anyhow::Result<()> {
    let (user, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let mut order = fixtures::order(&world, &mut market, user.id, (0, Side::Buy, 500, 1))?;
    let mut trade = fixtures::fill_by_maker(&world, &mut market, &mut order, 1, mills(500), price(500)?)?;
    trade.created_at = Timestamp::from_microsecond(-1)?;
    world.write(&Changes { new_orders: vec![order], trades: vec![trade], ..Changes::default() }).await?;
    let request = CandleRequest {
        market: market.id,
        book: outcome(0)?,
        interval_s: 60,
        from: Timestamp::from_second(-3600)?,
        to: Timestamp::from_second(3600)?,
        limit: 10,
    };
    let read = world.queries.candles(&request).await?;
    ensure!(nth(&read, 0)?.start == Timestamp::from_second(-60)?, "{read:?}");
    let one = world.queries.candles(&CandleRequest { limit: 1, ..request }).await?;
    ensure!(one == read, "the first alone is {one:?}");
    Ok(())
}

/// Threat 33. What does not fit 64 bits is refused or the largest number, never a wrapped one.
pub async fn sums_beyond_64_bits_never_wrap(world: World) -> anyhow::Result<()> {
    let (user, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let (mut taken, mut rest, mut trades) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let mut resting =
            fixtures::backed_by_shares(fixtures::order(&world, &mut market, user.id, (0, Side::Buy, 500, 1))?);
        (resting.quantity, resting.remaining) = (shares(i64::MAX), shares(i64::MAX));
        let mut taking = fixtures::order(&world, &mut market, user.id, (0, Side::Buy, 500, 1))?;
        let mut trade = fixtures::fill_by_maker(&world, &mut market, &mut taking, 1, mills(1), price(500)?)?;
        trade.cost = mills(i64::MAX);
        trades.push(trade);
        rest.push(resting);
        taken.push(taking);
    }
    world.write(&Changes { new_orders: taken, trades, ..Changes::default() }).await?;
    // A store that keeps the sums of levels cannot take these.
    let is_taken = world.write(&Changes { new_orders: rest, ..Changes::default() }).await.is_ok();
    let found = world.queries.book(market.id, outcome(0)?, 10).await;
    if let (true, Ok((levels, _))) = (is_taken, found) {
        ensure!(nth(&levels, 0)?.quantity == shares(i64::MAX), "the level's quantity is {}", nth(&levels, 0)?.quantity);
    }
    let request = CandleRequest {
        market: market.id,
        book: outcome(0)?,
        interval_s: 86_400,
        from: at(-90_000)?,
        to: at(90_000)?,
        limit: 5,
    };
    if let Ok(candles) = world.queries.candles(&request).await {
        ensure!(nth(&candles, 0)?.volume == mills(i64::MAX), "the candle's volume is {}", nth(&candles, 0)?.volume);
    }
    Ok(())
}
