//! Books and open orders: as decisions load them, and as readers see them.

use anyhow::{Context as _, ensure};
use bellwether_domain::ids::{MarketId, OrderId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::order::{EndReason, Order, OrderStatus, Side};
use bellwether_domain::ports::{BestPrices, BookLevel, BookRequest, Changes};

use crate::fixtures::{self, at, nth, outcome, price, shares};
use crate::world::World;

/// Orders on both sides of two books of one market, some at the same price, some ended, out of
/// order of price and of id; and some in another market.
struct Books {
    user: UserId,
    market: Market,
    orders: Vec<Order>,
}

async fn books(world: &World) -> anyhow::Result<Books> {
    let (user, mut market) = fixtures::trader_and_market(world, 5).await?;
    let (_, mut other) = fixtures::trader_and_market(world, 5).await?;
    let mut orders = Vec::new();
    let prices = [(Side::Buy, [300, 420, 300, 410, 420, 100]), (Side::Sell, [700, 510, 700, 600, 510, 999])];
    for book in [1, 3] {
        for (side, prices) in prices {
            for limit in prices {
                orders.push(fixtures::order(world, &mut market, user.id, (book, side, limit, 10))?);
            }
            let mut ended = fixtures::order(world, &mut market, user.id, (book, side, 505, 10))?;
            ended.end(OrderStatus::Cancelled, Some(EndReason::Requested), at(1)?);
            orders.push(ended);
        }
    }
    // Priority follows the sequence, not the id: an amended order keeps its id and goes to the end.
    if let Some(first) = orders.first_mut() {
        first.sequence = market.next_sequence();
    }
    let elsewhere = fixtures::order(world, &mut other, user.id, (1, Side::Buy, 999, 1))?;
    let mut new_orders = orders.clone();
    new_orders.push(elsewhere);
    world.write(&Changes { new_orders, markets: vec![market.clone(), other], ..Changes::default() }).await?;
    Ok(Books { user: user.id, market, orders })
}

/// What a request must be answered with, worked out from the rows.
fn wanted(books: &Books, request: &BookRequest) -> Vec<OrderId> {
    let mut found: Vec<&Order> = books
        .orders
        .iter()
        .filter(|o| o.is_open() && o.market == request.market && o.book == request.book && o.book_side == request.side)
        .filter(|o| match (request.limit, o.book_price, request.side) {
            (None, _, _) => true,
            (Some(limit), Some(price), Side::Buy) => price >= limit,
            (Some(limit), Some(price), Side::Sell) => price <= limit,
            (Some(_), None, _) => false,
        })
        .collect();
    found.sort_by_key(|o| {
        let mills = o.book_price.map_or(0, |p| p.mills());
        (if request.side == Side::Buy { -mills } else { mills }, o.sequence)
    });
    found.iter().take(usize::try_from(request.depth).unwrap_or(usize::MAX)).map(|o| o.id).collect()
}

/// Threat 36. Each side from its best price, then by sequence; within the limit and the depth; the
/// answers in the order of the requests.
pub async fn a_book_comes_best_price_first_then_by_sequence(world: World) -> anyhow::Result<()> {
    let books = books(&world).await?;
    let mut requests = Vec::new();
    for book in [3, 1, 0] {
        for side in [Side::Sell, Side::Buy] {
            for limit in [None, Some(300), Some(420), Some(421), Some(510), Some(509), Some(700)] {
                for depth in [100, 1, 3] {
                    let limit = limit.map(price).transpose()?;
                    requests.push(BookRequest { market: books.market.id, book: outcome(book)?, side, limit, depth });
                }
            }
        }
    }
    requests.push(BookRequest {
        market: MarketId(world.id()),
        book: outcome(1)?,
        side: Side::Buy,
        limit: None,
        depth: 5,
    });
    let twice = nth(&requests, 0)?;
    requests.push(*twice);
    let mut unit = world.begin().await?;
    let answers = unit.orders().book(&requests).await?;
    unit.rollback().await?;
    ensure!(answers.len() == requests.len(), "{} answers came to {} requests", answers.len(), requests.len());
    for (request, answer) in requests.iter().zip(&answers) {
        let ids: Vec<OrderId> = answer.iter().map(|o| o.id).collect();
        let wanted = wanted(&books, request);
        ensure!(ids == wanted, "{request:?} was answered with {ids:?} where {wanted:?} was right");
    }
    ensure!(
        answers.first().is_some_and(|first| first.iter().all(|o| books.orders.contains(o))),
        "a loaded order is not the one written"
    );
    Ok(())
}

/// All books and both sides, only of that market, only open ones, at most the limit.
pub async fn open_orders_of_a_market_are_found(world: World) -> anyhow::Result<()> {
    let books = books(&world).await?;
    let open: Vec<Order> = books.orders.iter().filter(|o| o.is_open()).cloned().collect();
    let mut unit = world.begin().await?;
    let mut found = unit.orders().open_in_market(books.market.id, 1000).await?;
    found.sort_by_key(|order| order.id);
    ensure!(found == open);
    let some = unit.orders().open_in_market(books.market.id, 4).await?;
    let ids: std::collections::BTreeSet<_> = some.iter().map(|order| order.id).collect();
    ensure!((some.len(), ids.len()) == (4, 4) && some.iter().all(|order| open.contains(order)));
    ensure!(unit.orders().open_in_market(MarketId(world.id()), 4).await?.is_empty());
    unit.rollback().await?;
    Ok(())
}

/// In the order of the pairs; zero where there is none; a pair named twice is answered twice.
pub async fn open_orders_are_counted_in_the_order_of_the_pairs(world: World) -> anyhow::Result<()> {
    let books = books(&world).await?;
    let stranger = UserId(world.id());
    let mine = (books.user, books.market.id);
    let pairs = [(stranger, books.market.id), mine, (books.user, MarketId(world.id())), mine];
    let mut unit = world.begin().await?;
    let counts = unit.orders().count_open(&pairs).await?;
    unit.rollback().await?;
    ensure!(counts == [0, 24, 0, 24], "the counts are {counts:?}");
    Ok(())
}

/// Exactly the pairs that exist: not another user's order of the same name, not another name of
/// the same user, not a name that matches as a pattern or in another case.
pub async fn orders_are_found_by_client_order_ids(world: World) -> anyhow::Result<()> {
    let (first, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let second = fixtures::trader(&world).await?;
    let mut orders = Vec::new();
    for (user, name) in [(first.id, "a"), (first.id, "b"), (second.id, "a"), (second.id, "%"), (second.id, "A")] {
        let mut order = fixtures::order(&world, &mut market, user, (0, Side::Buy, 10, 1))?;
        order.client_order_id = Some(name.to_owned());
        orders.push(order);
    }
    world.write(&Changes { new_orders: orders.clone(), markets: vec![market], ..Changes::default() }).await?;
    let mut unit = world.begin().await?;
    let pairs = [(first.id, "a"), (second.id, "%"), (second.id, "b"), (first.id, "_")]
        .map(|(user, name)| (user, name.to_owned()));
    let mut found = unit.orders().with_client_ids(&pairs).await?;
    unit.rollback().await?;
    found.sort_by_key(|o| o.id);
    ensure!(found == [nth(&orders, 0)?.clone(), nth(&orders, 3)?.clone()], "{found:#?} was found");
    Ok(())
}

/// One row for each book with open orders: the highest bid and the lowest ask.
pub async fn best_prices_are_those_of_the_open_orders(world: World) -> anyhow::Result<()> {
    let books = books(&world).await?;
    let (user, mut one_sided) = fixtures::trader_and_market(&world, 2).await?;
    let bid = fixtures::order(&world, &mut one_sided, user.id, (1, Side::Sell, 250, 3))?;
    world.write(&Changes { new_orders: vec![bid], markets: vec![one_sided.clone()], ..Changes::default() }).await?;
    let (_, quiet) = fixtures::trader_and_market(&world, 2).await?;
    ensure!(quiet.books().count() == 1, "two outcomes have a book in common");
    let mut wanted: Vec<_> = books.market.books().chain(one_sided.books()).chain(quiet.books()).collect();
    wanted.push((MarketId(world.id()), outcome(0)?));
    let best = world.queries.best_prices(&wanted).await?;
    let row = |market: MarketId, book: usize, bid: Option<i64>, ask: Option<i64>| -> anyhow::Result<BestPrices> {
        Ok(BestPrices {
            market,
            book: outcome(book)?,
            bid: bid.map(price).transpose()?,
            ask: ask.map(price).transpose()?,
        })
    };
    let wanted = [
        row(books.market.id, 1, Some(420), Some(510))?,
        row(books.market.id, 3, Some(420), Some(510))?,
        row(one_sided.id, 0, Some(750), None)?,
    ];
    ensure!(best == wanted, "{best:?} where {wanted:?} was right");
    Ok(())
}

/// The open orders of each price, summed; each side from its best, at most the depth; with the
/// market's sequence.
pub async fn the_levels_of_a_book_are_summed_from_the_best_price(world: World) -> anyhow::Result<()> {
    let books = books(&world).await?;
    let (levels, sequence) = world.queries.book(books.market.id, outcome(1)?, 3).await?;
    ensure!(
        sequence == books.market.sequence,
        "the sequence is {sequence} where {} was written",
        books.market.sequence
    );
    for (side, wanted) in [(Side::Buy, [(420, 2), (410, 1), (300, 2)]), (Side::Sell, [(510, 2), (600, 1), (700, 2)])] {
        let of_side: Vec<BookLevel> = levels.iter().filter(|l| l.side == side).copied().collect();
        let mut right = Vec::new();
        for (mills, orders) in wanted {
            let quantity = shares(i64::try_from(orders)? * 10);
            right.push(BookLevel { book: outcome(1)?, side, price: price(mills)?, quantity, orders });
        }
        ensure!(of_side == right, "{of_side:?} where {right:?} was right");
    }
    ensure!(levels.len() == 6, "there are {} levels", levels.len());
    let (all, _) = world.queries.book(books.market.id, outcome(3)?, 100).await?;
    ensure!(all.len() == 8, "there are {} levels without a bound", all.len());
    let (empty, sequence) = world.queries.book(books.market.id, outcome(0)?, 100).await?;
    ensure!(empty.is_empty() && sequence == books.market.sequence);
    Ok(())
}

/// Whatever becomes of orders, the levels are the sum of those that are open: orders that go to another price, are filled in part
/// or whole, or end, several of one level in one unit too, and one that is written as it was.
pub async fn levels_follow_what_becomes_of_orders(world: World) -> anyhow::Result<()> {
    const ROUNDS: u64 = 40;
    let mut books = books(&world).await?;
    for round in 0..ROUNDS {
        let count = u64::try_from(books.orders.len())?;
        let mut changed = Vec::new();
        for nth in (round % 5..count).step_by(5) {
            let order = books.orders.get_mut(usize::try_from(nth)?).filter(|order| order.is_open());
            let Some(order) = order else { continue };
            match (round / 5 + nth) % 5 {
                0 => order.book_price = Some(price(200 + i64::try_from((round * 37 + nth * 3) % 6)? * 100)?),
                1 | 2 if order.remaining > shares(1) => {
                    order.filled = shares(order.filled.count() + 1);
                    order.remaining = shares(order.remaining.count() - 1);
                }
                3 if nth % 2 == 0 => order.end(OrderStatus::Cancelled, Some(EndReason::Requested), at(1)?),
                _ => {}
            }
            order.reserved = order.reserve_for(order.remaining)?;
            changed.push(order.clone());
        }
        let new = fixtures::order(&world, &mut books.market, books.user, (1, Side::Buy, 300, 7))?;
        books.orders.push(new.clone());
        let markets = vec![books.market.clone()];
        world.write(&Changes { new_orders: vec![new], orders: changed, markets, ..Changes::default() }).await?;
        for book in [1, 3] {
            let (levels, _) = world.queries.book(books.market.id, outcome(book)?, 1000).await?;
            let wanted = summed(&books, book)?;
            ensure!(levels == wanted, "{levels:?} where {wanted:?} was right after round {round}");
        }
    }
    let ended = books.orders.iter().filter(|order| !order.is_open()).count();
    ensure!(ended > 10, "only {ended} orders ended");
    Ok(())
}

/// The levels of a book, worked out from the rows.
fn summed(books: &Books, book: usize) -> anyhow::Result<Vec<BookLevel>> {
    let book = outcome(book)?;
    let mut levels: Vec<BookLevel> = Vec::new();
    for order in books.orders.iter().filter(|order| order.is_open() && order.book == book) {
        let (side, remaining) = (order.book_side, order.remaining);
        let at = order.book_price.context("an open order rests at no price")?;
        match levels.iter_mut().find(|level| level.side == side && level.price == at) {
            Some(level) => {
                level.quantity = shares(level.quantity.count() + remaining.count());
                level.orders += 1;
            }
            None => levels.push(BookLevel { book, side, price: at, quantity: remaining, orders: 1 }),
        }
    }
    levels.sort_by_key(|level| {
        let mills = level.price.mills();
        (level.side, if level.side == Side::Buy { -mills } else { mills })
    });
    Ok(levels)
}

/// Readers of a book see the levels and the sequence of one moment: here each write makes both
/// the same number.
pub async fn levels_and_sequence_are_of_one_snapshot(world: World) -> anyhow::Result<()> {
    const ROUNDS: i64 = 60;
    let (user, mut market) = fixtures::trader_and_market(&world, 2).await?;
    market.sequence = 0;
    let mut order = fixtures::order(&world, &mut market, user.id, (0, Side::Buy, 500, 1))?;
    let id = market.id;
    world
        .write(&Changes { new_orders: vec![order.clone()], markets: vec![market.clone()], ..Changes::default() })
        .await?;
    let writer = {
        let world = world.clone();
        tokio::spawn(async move {
            for quantity in 2..=ROUNDS {
                market.sequence = quantity;
                (order.quantity, order.remaining) = (shares(quantity), shares(quantity));
                order.reserved = order.reserve_for(order.remaining)?;
                let changes =
                    Changes { orders: vec![order.clone()], markets: vec![market.clone()], ..Changes::default() };
                world.write(&changes).await?;
            }
            anyhow::Ok(())
        })
    };
    let mut last = 0;
    while last < ROUNDS {
        let (levels, sequence) = world.queries.book(id, outcome(0)?, 5).await?;
        let quantity = nth(&levels, 0)?.quantity;
        ensure!(quantity == shares(sequence), "{quantity} shares were read with the sequence {sequence}");
        ensure!(sequence >= last, "the sequence went back from {last} to {sequence}");
        last = sequence;
        ensure!(
            last == ROUNDS || !writer.is_finished() || world.queries.book(id, outcome(0)?, 5).await?.1 == ROUNDS,
            "the writer failed"
        );
    }
    writer.await?
}
