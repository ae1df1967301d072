//! What is kept of how users trade, and who is ranked by it.

use anyhow::{Context, ensure};
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::ports::{
    Changes, Direction, PageRequest, SortValue, StandingSort, Start, StoreError, UserStatistics,
};
use bellwether_domain::score::{self, Counting, Figures, LEAST_JUDGED, PaidPosition, Score, Standing};
use bellwether_domain::user::{User, UserStatus};
use uuid::Uuid;

use crate::fixtures::{self, mills, nth};
use crate::scene;
use crate::world::World;

/// Counts a market that has paid, in one unit of work, from the rows as the store gives them one by one.
pub(crate) async fn count(world: &World, market: MarketId) -> anyhow::Result<()> {
    world.write(&Changes { countings: vec![Counting::of(market)], ..Changes::default() }).await?;
    let mut unit = world.begin().await?;
    let market = unit.markets().lock(&[market]).await?.pop().context("there is no such market")?;
    let mut counting = unit.scores().counting(market.id).await?.context("nothing was noted")?;
    ensure!(counting == Counting::of(market.id), "{counting:?}");
    while let Some(trade) = unit.scores().trades_after(market.id, counting.last_trade, 1).await?.pop() {
        let place = Some((trade.created_at, trade.id));
        ensure!(trade.market == market.id && place > counting.last_trade, "{trade:?}");
        counting.last_trade = place;
        let market_scores = score::of_trades(&market, &[trade])?;
        unit.write(&Changes { countings: vec![counting], market_scores, ..Changes::default() }).await?;
    }
    let mut last = counting.users_through;
    while let Some(position) = unit.scores().positions_after(market.id, last, 1).await?.pop() {
        ensure!(position.user > last, "{position:?} after {last}");
        last = position.user;
        unit.write(&counted(market.id, &[position])?).await?;
    }
    let done = Counting { users_through: last, is_done: true, ..counting };
    unit.write(&Changes { countings: vec![done], ..Changes::default() }).await?;
    ensure!(unit.scores().counting(market.id).await? == Some(done), "what was noted is not there");
    Ok(unit.commit().await?)
}

fn counted(market: MarketId, positions: &[PaidPosition]) -> anyhow::Result<Changes> {
    let scores = positions.iter().map(PaidPosition::score).collect::<Result<Vec<_>, _>>()?;
    let counted_positions = positions.iter().map(|position| (market, position.user)).collect();
    Ok(Changes { scores, counted_positions, ..Changes::default() })
}

async fn all_statistics(world: &World, users: &[UserId]) -> anyhow::Result<Vec<UserStatistics>> {
    let mut all = Vec::new();
    for user in users {
        all.push(world.queries.statistics(*user).await?);
    }
    Ok(all)
}

/// Before, while some markets are counted and others are not, and after.
pub async fn what_is_counted_of_a_market_leaves_the_statistics_as_they_were(world: World) -> anyhow::Result<()> {
    let scene = scene::set(&world).await?;
    ensure!(world.queries.markets_to_count(None, 10).await?.is_empty(), "something is to be counted");
    let before = all_statistics(&world, &scene.users).await?;
    count(&world, scene.settled).await?;
    for (before, after) in before.iter().zip(all_statistics(&world, &scene.users).await?) {
        let scores = before.brier_score.zip(after.brier_score);
        ensure!(scores.is_none_or(|(before, after)| (before - after).abs() < 1e-9), "{before:?} became {after:?}");
        ensure!(before.brier_score.is_some() == after.brier_score.is_some(), "{before:?} became {after:?}");
        let but_score = |of: UserStatistics| UserStatistics { brier_score: None, ..of };
        ensure!(but_score(*before) == but_score(after), "{before:?} became {after:?}");
    }
    let standings = board(&world, StandingSort::Profit).await?;
    let seen: Vec<_> = standings.iter().map(|place| (place.score.user, place.score.profit, place.brier)).collect();
    let [first, second, third] = [0, 1, 2].map(|number| nth(&scene.users, number).copied());
    let wanted =
        [(first?, mills(5000), Some(250_000)), (second?, mills(1900), Some(225_625)), (third?, mills(-5000), None)];
    ensure!(seen == wanted, "{standings:#?}");
    let found = world.queries.violations(100).await?;
    ensure!(found.is_empty(), "what was counted right has the violations {found:#?}");
    Ok(())
}

/// What waits to be counted is listed until it is; a position counts once.
pub async fn nothing_is_counted_twice(world: World) -> anyhow::Result<()> {
    let scene = scene::set(&world).await?;
    let mut markets = [scene.settled, scene.in_payout];
    markets.sort_unstable();
    let [first, second] = markets;
    world.write(&Changes { countings: markets.map(Counting::of).to_vec(), ..Changes::default() }).await?;
    ensure!(world.queries.markets_to_count(None, 10).await? == markets);
    ensure!(world.queries.markets_to_count(None, 1).await? == [first]);
    ensure!(world.queries.markets_to_count(Some(first), 10).await? == [second]);
    count(&world, scene.settled).await?;
    ensure!(world.queries.markets_to_count(None, 10).await? == [scene.in_payout]);
    let before = all_statistics(&world, &scene.users).await?;
    let mut unit = world.begin().await?;
    let position = unit.scores().positions_after(scene.settled, UserId(Uuid::nil()), 1).await?;
    let again = unit.write(&counted(scene.settled, &position)?).await;
    ensure!(matches!(again, Err(StoreError::Corrupt(_))), "a position was counted twice: {again:?}");
    unit.rollback().await?;
    ensure!(all_statistics(&world, &scene.users).await? == before);
    Ok(())
}

/// The first hundred.
async fn board(world: &World, by: StandingSort) -> anyhow::Result<Vec<Standing>> {
    let page = world.queries.standings(&request(by, Start::Offset(0), 100)).await?;
    ensure!(page.total == Some(u64::try_from(page.items.len())?) && !page.has_more, "{page:?}");
    Ok(page.items)
}

fn request(by: StandingSort, start: Start, limit: u32) -> PageRequest<StandingSort> {
    let best = if by == StandingSort::Profit { Direction::Descending } else { Direction::Ascending };
    PageRequest { sort: vec![(by, best)], start, limit }
}

/// Writes a score, as if so much had been counted.
async fn give(world: &World, user: &User, profit: i64, judged_markets: i64, missed: i64) -> anyhow::Result<()> {
    let figures = Figures { trades: 1, volume: mills(10), judged_shares: 2, missed };
    let score = Score { user: user.id, figures, profit: mills(profit), markets: judged_markets, judged_markets };
    Ok(world.write(&Changes { scores: vec![score], ..Changes::default() }).await?)
}

/// Equals by id; who has too few markets is on one of the two boards alone.
pub async fn standings_come_in_order_without_those_who_may_not_act(world: World) -> anyhow::Result<()> {
    let mut users = fixtures::sign_up(&world, 6, 0).await?;
    let given = [(50, LEAST_JUDGED, 5), (70, LEAST_JUDGED, 1), (-10, 9, 3), (70, LEAST_JUDGED - 1, 0), (90, 9, 0)];
    for (user, (profit, judged, missed)) in users.iter().zip(given) {
        give(&world, user, profit, judged, missed).await?;
    }
    let suspended = users.get_mut(4).context("the fifth")?;
    suspended.status = UserStatus::Suspended;
    world.write(&Changes { users: vec![suspended.clone()], ..Changes::default() }).await?;
    for (by, wanted) in [(StandingSort::Profit, vec![3, 1, 0, 2]), (StandingSort::Brier, vec![1, 2, 0])] {
        let standings = board(&world, by).await?;
        let seen: Vec<UserId> = standings.iter().map(|place| place.score.user).collect();
        let wanted =
            wanted.into_iter().map(|number| Ok(nth(&users, number)?.id)).collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(seen == wanted, "by {by:?}: {standings:#?}");
        for place in &standings {
            let user = users.iter().find(|user| user.id == place.score.user).context("somebody else")?;
            ensure!(user.display_name == place.display_name, "{place:?}");
        }
    }
    // Half a millionth is rounded up.
    let briers: Vec<_> = board(&world, StandingSort::Brier).await?.iter().map(|place| place.brier).collect();
    ensure!(briers == [Some(1), Some(2), Some(3)], "{briers:?}");
    // What is added is added.
    give(&world, nth(&users, 2)?, 100, 0, 1).await?;
    let first = board(&world, StandingSort::Profit).await?.into_iter().next().context("nobody")?;
    let score = first.score;
    ensure!(
        (score.profit, score.markets, score.figures.missed, score.figures.trades) == (mills(90), 9, 4, 2),
        "{score:?}"
    );
    Ok(())
}

/// Page by page, where many are equal.
pub async fn a_walk_along_the_standings_misses_nobody(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 11, 0).await?;
    for (number, user) in (0..).zip(&users) {
        give(&world, user, number / 4, LEAST_JUDGED, number / 4).await?;
    }
    for by in [StandingSort::Profit, StandingSort::Brier] {
        let (whole, mut walked, mut start) = (board(&world, by).await?, Vec::new(), Start::First);
        loop {
            let page = world.queries.standings(&request(by, start, 2)).await?;
            walked.extend(page.items);
            let Some(last) = walked.last().filter(|_| page.has_more) else { break };
            let value = match by {
                StandingSort::Profit => last.score.profit.mills(),
                StandingSort::Brier => last.brier.context("everybody is judged")?,
            };
            start = Start::After(vec![SortValue::Int(value)], last.score.user.0);
        }
        ensure!(walked == whole && walked.len() == users.len(), "by {by:?}: {walked:#?}");
    }
    Ok(())
}
