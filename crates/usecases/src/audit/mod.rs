//! The check of every invariant on a live store.

mod chains;

use std::collections::BTreeMap;

use bellwether_domain::audit_log;
use bellwether_domain::exchange::crosses_maker;
use bellwether_domain::ids::MarketId;
use bellwether_domain::market::{Market, MarketStatus};
use bellwether_domain::order::Side;
use bellwether_domain::ports::{
    BestPrices, Direction, Link, MarketFilter, MarketKey, MarketSort, PageRequest, SortValue, Start, Violation,
};

use self::chains::{Chain, End};
use crate::{Context, Error};

/// How many rows are read at a time.
const PAGE: u32 = 1000;
/// How often a market that changes while it is looked at is looked at again.
const LOOKS: u32 = 5;

/// All broken invariants, at most `limit`: the store's own sums, the hash chains of the ledger
/// and of the audit log, and open orders that cross each other or the market maker. Right on a server at work too: what is
/// compared was read in one snapshot, or in an order in which changes meanwhile do not show as breaches.
pub async fn audit(ctx: &Context, limit: u32) -> Result<Vec<Violation>, Error> {
    let mut violations = ctx.queries.violations(limit).await?;
    let room = |found: &[Violation]| usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(found.len());
    let broken_chains = check_chains(ctx, room(&violations)).await?;
    violations.extend(broken_chains);
    let broken_log = check_log(ctx, room(&violations)).await?;
    violations.extend(broken_log);
    let crossed = check_crossings(ctx, room(&violations)).await?;
    violations.extend(crossed);
    Ok(violations)
}

/// Follows every payer's chain of transfers. The accounts are read first, and what they do not count yet was made
/// meanwhile: it is left out.
async fn check_chains(ctx: &Context, limit: usize) -> Result<Vec<Violation>, Error> {
    let mut ends = BTreeMap::new();
    let mut after = None;
    loop {
        let page = ctx.queries.accounts_after(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        ends.extend(page.iter().filter(|account| account.paid_count > 0).map(|account| (account.id, End::of(account))));
    }
    let mut found = Vec::new();
    let mut chain: Option<Chain> = None;
    let mut after = None;
    while found.len() < limit {
        let page = ctx.queries.chains(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some((last.from, last.created_at, last.id));
        for transfer in page {
            let payer = transfer.from;
            let mut followed = match chain.take() {
                Some(chain) if chain.payer == payer => chain,
                before => {
                    found.extend(before.into_iter().flat_map(Chain::finish));
                    Chain::of(payer, ends.remove(&payer).unwrap_or_default())
                }
            };
            found.extend(followed.take(transfer));
            chain = Some(followed);
        }
    }
    if found.len() < limit {
        found.extend(chain.into_iter().flat_map(Chain::finish));
        // Of those who are left no transfer was come to.
        found.extend(ends.into_iter().flat_map(|(payer, end)| Chain::of(payer, end).finish()));
    }
    found.truncate(limit);
    Ok(found)
}

/// Follows the chain of the audit log to the first entry that does not fit. The end is read first, so
/// entries that come meanwhile only make the chain longer than it said.
async fn check_log(ctx: &Context, limit: usize) -> Result<Option<Violation>, Error> {
    if limit == 0 {
        return Ok(None);
    }
    let end = ctx.queries.audit_head().await?;
    let mut walk = audit_log::Head::default();
    let mut after = 0;
    loop {
        let page = ctx.queries.audit_chain(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.number;
        for link in &page {
            let is_whole = link.entry.as_ref().is_some_and(|entry| walk.follow(entry));
            if !is_whole || (walk.entries == end.entries && walk.hash != end.hash) {
                return Ok(Some(broken_log(link)));
            }
        }
    }
    let is_short = walk.entries < end.entries;
    Ok(is_short.then(|| {
        let message =
            format!("the audit log has {} entries, and those after {} are missing", end.entries, walk.entries);
        Violation { invariant: 9, message, subject: None }
    }))
}

fn broken_log(link: &Link) -> Violation {
    let what = link.entry.as_ref().map_or_else(
        || "which cannot be read".to_owned(),
        |entry| format!("{} at {}", entry.event.action.as_str(), entry.event.at),
    );
    let message = format!(
        "entry {} of the audit log ({what}) does not fit its hash chain: it was changed, or what was before it was \
         changed, removed or put elsewhere",
        link.number
    );
    Violation { invariant: 9, message, subject: link.entry.as_ref().map(|entry| entry.event.id.0) }
}

/// Looks for open orders that cross each other or the maker's price.
async fn check_crossings(ctx: &Context, limit: usize) -> Result<Vec<Violation>, Error> {
    let mut found = Vec::new();
    for status in [MarketStatus::Open, MarketStatus::Halted] {
        let filter = MarketFilter { status: Some(status), ..MarketFilter::default() };
        let mut start = Start::First;
        loop {
            let sort = vec![(MarketSort::CreatedAt, Direction::Ascending)];
            let page = ctx.queries.markets(&filter, &PageRequest { sort, start, limit: 100 }).await?;
            let books: Vec<_> = page.items.iter().flat_map(Market::books).collect();
            let best = ctx.queries.best_prices(&books).await?;
            for market in &page.items {
                if crossing(market, &best).is_some() {
                    found.extend(look_again(ctx, market.id).await?);
                }
            }
            let Some(last) = page.items.last().filter(|_| page.has_more && found.len() < limit) else { break };
            start = Start::After(vec![SortValue::Int(last.created_at.as_microsecond())], last.id.0);
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// Market and prices were read one after the other: a breach counts only where the market's
/// sequence shows that nothing happened in between.
async fn look_again(ctx: &Context, id: MarketId) -> Result<Option<Violation>, Error> {
    for _ in 0..LOOKS {
        let Some(before) = ctx.queries.market(&MarketKey::Id(id)).await? else { return Ok(None) };
        let books: Vec<_> = before.books().collect();
        let best = ctx.queries.best_prices(&books).await?;
        let Some(after) = ctx.queries.market(&MarketKey::Id(id)).await? else { return Ok(None) };
        if before.sequence == after.sequence {
            return Ok(crossing(&after, &best));
        }
    }
    Ok(None)
}

fn crossing(market: &Market, best: &[BestPrices]) -> Option<Violation> {
    let violation = |message: String| Violation { invariant: 7, message, subject: Some(market.id.0) };
    best.iter().filter(|b| b.market == market.id).find_map(|b| {
        if let (Some(bid), Some(ask)) = (b.bid, b.ask)
            && bid >= ask
        {
            return Some(violation(format!("the book of outcome {} is crossed: bid {bid}, ask {ask}", b.book.index())));
        }
        let lmsr = &market.maker.as_ref()?.lmsr;
        let crossed = [(Side::Buy, b.bid), (Side::Sell, b.ask)]
            .into_iter()
            .find_map(|(side, price)| price.filter(|p| crosses_maker(lmsr, b.book, side, *p)).map(|p| (side, p)))?;
        let (side, price) = crossed;
        Some(violation(format!(
            "an order to {} outcome {} at {price} crosses the market maker",
            side.as_str(),
            b.book.index()
        )))
    })
}
