//! Markets with their outcomes, their tags and their maker.

use std::collections::HashMap;

use async_trait::async_trait;
use bellwether_domain::ids::{AccountId, MarketId, UserId};
use bellwether_domain::lmsr::Lmsr;
use bellwether_domain::market::{FeeRecipient, Maker, Market, MarketStatus, Outcome, Proposal, Resolution, Weights};
use bellwether_domain::market_memory::{Locked, Stamp};
use bellwether_domain::money::{Credits, FeeRate, Price};
use bellwether_domain::ports::{
    MarketFilter, MarketKey, MarketSort, Markets, Page, PageRequest, StoreError, UnitOfWork, Wanted,
};
use bellwether_domain::text::Slug;

use crate::connection::Connection;
use crate::lists::{List, NUMBER, TIME};
use crate::schema::MARKETS;
use crate::sql::{Row, Sql, Values};
use crate::unit::SqliteUnitOfWork;

/// The columns of a new market.
pub(crate) fn bind(market: &Market, row: &mut Values) {
    bind_terms(market, row, Some(market.creator));
    bind_state(market, row);
    row.add(market.version).add(market.created_at).add(market.updated_at);
}

/// The columns of a market that change.
pub(crate) fn bind_change(market: &Market, row: &mut Values) {
    bind_terms(market, row, None);
    bind_state(market, row);
    row.add(market.version).add(market.updated_at);
}

/// The columns of a market's counters.
pub(crate) fn bind_counters(market: &Market, row: &mut Values) {
    row.add(market.id).add(market.volume).add(market.trade_count).add(market.sequence);
}

fn bind_terms(market: &Market, row: &mut Values, creator: Option<UserId>) {
    row.add(market.id)
        .add(market.slug.as_str())
        .add(&market.question)
        .add(&market.description)
        .add(market.category.as_ref());
    if let Some(creator) = creator {
        row.add(creator);
    }
    row.add(market.status.as_str()).add(market.closes_at).add(market.fee_rate.bps()).add(market.fee_recipient.as_str());
}

fn bind_state(market: &Market, row: &mut Values) {
    let (maker, proposal, resolution) = (market.maker.as_ref(), market.proposal.as_ref(), market.resolution.as_ref());
    row.add(maker.map(|m| m.account))
        .add(maker.map(|m| m.funder))
        .add(maker.map(|m| m.subsidy))
        .add(maker.map(|m| m.lmsr.liquidity()))
        .add(proposal.and_then(|p| p.evidence_url.as_ref()))
        .add(proposal.map(|p| p.proposed_by))
        .add(proposal.map(|p| p.proposed_at))
        .add(proposal.map(|p| p.challenge_until))
        .add(proposal.and_then(|p| p.disputed_by))
        .add(proposal.and_then(|p| p.dispute_reason.as_ref()))
        .add(resolution.and_then(|r| r.decided_by))
        .add(resolution.map(|r| r.decided_at))
        .add(resolution.and_then(|r| r.reason.as_ref()))
        .add(market.settled_at);
}

/// A row of `outcomes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutcomeRow<'m> {
    market: MarketId,
    outcome: usize,
    name: &'m str,
    last_price: Option<Price>,
    probability: Option<u16>,
    sold: i64,
    proposed_weight: Option<u16>,
    weight: Option<u16>,
}

/// The rows of a market's outcomes.
pub(crate) fn outcome_rows(market: &Market) -> impl Iterator<Item = OutcomeRow<'_>> {
    let weight_at = |weights: Option<&Weights>, index: usize| weights.and_then(|w| w.as_slice().get(index).copied());
    market.outcomes.iter().enumerate().map(move |(index, outcome)| OutcomeRow {
        market: market.id,
        outcome: index,
        name: &outcome.name,
        last_price: outcome.last_price,
        probability: market.maker.as_ref().and_then(|m| m.probabilities.get(index).copied()),
        sold: market.maker.as_ref().and_then(|m| m.lmsr.sold().get(index).copied()).unwrap_or(0),
        proposed_weight: weight_at(market.proposal.as_ref().map(|p| &p.weights), index),
        weight: weight_at(market.resolution.as_ref().map(|r| &r.weights), index),
    })
}

/// The columns of an outcome.
pub(crate) fn bind_outcome(outcome: &OutcomeRow<'_>, row: &mut Values) {
    row.add(outcome.market)
        .add(i64::try_from(outcome.outcome).unwrap_or(i64::MAX))
        .add(outcome.name)
        .add(outcome.last_price)
        .add(outcome.probability)
        .add(outcome.sold)
        .add(outcome.proposed_weight)
        .add(outcome.weight);
}

/// Whether the row of `markets` differs in nothing but what [`bind_counters`] writes. Everything is
/// compared, rather than the version alone, so that nothing is lost whatever a caller changed.
pub(crate) fn same_but_for_counters(before: &Market, now: &Market) -> bool {
    // Named one by one, so that a new field cannot be forgotten.
    let Market {
        id,
        slug,
        question,
        description,
        category,
        tags: _,
        creator,
        outcomes: _,
        status,
        closes_at,
        fee_rate,
        fee_recipient,
        maker,
        volume: _,
        trade_count: _,
        sequence: _,
        proposal,
        resolution,
        settled_at,
        version,
        created_at,
        updated_at,
    } = before;
    let maker_row = |maker: &Maker| (maker.account, maker.funder, maker.subsidy, maker.lmsr.liquidity().to_bits());
    *id == now.id
        && *status == now.status
        && *version == now.version
        && *updated_at == now.updated_at
        && *created_at == now.created_at
        && *closes_at == now.closes_at
        && *settled_at == now.settled_at
        && *creator == now.creator
        && *fee_rate == now.fee_rate
        && *fee_recipient == now.fee_recipient
        && maker.as_ref().map(maker_row) == now.maker.as_ref().map(maker_row)
        && *slug == now.slug
        && *category == now.category
        && *proposal == now.proposal
        && *resolution == now.resolution
        && *question == now.question
        && *description == now.description
}

/// What `outcomes` and `market_tags` hold of one market.
#[derive(Debug, Default)]
struct Parts {
    outcomes: Vec<StoredOutcome>,
    tags: Vec<(i64, String)>,
}

#[derive(Debug)]
struct StoredOutcome {
    place: i64,
    outcome: Outcome,
    probability: Option<u16>,
    sold: i64,
    proposed_weight: Option<u16>,
    weight: Option<u16>,
}

/// Both tables in one statement: the first column after the market tells which.
const PARTS: &str = "SELECT market_id, 0, outcome, name, last_price, probability, sold, proposed_weight, weight \
                     FROM outcomes WHERE market_id IN ";
const TAG_PARTS: &str =
    " UNION ALL SELECT market_id, 1, position, tag, NULL, NULL, NULL, NULL, NULL FROM market_tags WHERE market_id IN ";

fn load_parts(connection: &mut Connection, ids: &[MarketId]) -> Result<HashMap<MarketId, Parts>, StoreError> {
    let mut parts: HashMap<MarketId, Parts> = HashMap::with_capacity(ids.len());
    let sql = Sql::new(PARTS).list(ids.iter().copied()).then(TAG_PARTS).list(ids.iter().copied());
    for mut row in connection.rows(sql)? {
        let of = parts.entry(MarketId(row.id()?)).or_default();
        let is_tag = row.flag()?;
        let (place, text) = (row.int()?, row.text()?);
        if is_tag {
            of.tags.push((place, text));
        } else {
            of.outcomes.push(StoredOutcome {
                place,
                outcome: Outcome { name: text, last_price: row.opt_price()? },
                probability: row.opt_mills()?,
                sold: row.int()?,
                proposed_weight: row.opt_mills()?,
                weight: row.opt_mills()?,
            });
        }
    }
    for of in parts.values_mut() {
        of.outcomes.sort_unstable_by_key(|o| o.place);
        of.tags.sort_unstable();
    }
    Ok(parts)
}

/// What is read of a market: its own columns, and its counters.
fn columns() -> String {
    format!("{}, volume, trade_count, sequence", MARKETS.columns)
}

/// The tables that [`columns`] are of.
const TABLES: &str = "markets JOIN market_counters ON market_counters.market_id = markets.id";

fn select() -> String {
    format!("SELECT {} FROM {TABLES}", columns())
}

/// Runs a query for rows of `markets` and adds their parts: two statements, however many markets.
fn load(connection: &mut Connection, sql: Sql) -> Result<Vec<Market>, StoreError> {
    connection.snapshot(|connection| {
        let mut rows = connection.rows(sql)?;
        let ids = rows.iter_mut().map(|row| row.id().map(MarketId)).collect::<Result<Vec<_>, _>>()?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut parts = load_parts(connection, &ids)?;
        let of = ids.into_iter().zip(rows);
        of.map(|(id, row)| {
            let parts = parts.remove(&id).unwrap_or_default();
            read(id, row, parts).map_err(|e| StoreError::Corrupt(format!("market {id}: {e}")))
        })
        .collect()
    })
}

/// Reads a row of `markets` whose id has been read.
fn read(id: MarketId, mut row: Row, parts: Parts) -> Result<Market, StoreError> {
    let row = &mut row;
    Ok(Market {
        id,
        slug: row.text_as("a slug", |text| Slug::parse(text).ok())?,
        question: row.text()?,
        description: row.text()?,
        category: row.opt_text()?,
        creator: UserId(row.id()?),
        status: row.text_as("a market's status", MarketStatus::from_name)?,
        closes_at: row.time()?,
        fee_rate: row.int_as("a fee rate", FeeRate::from_bps)?,
        fee_recipient: row.text_as("a recipient of fees", FeeRecipient::from_name)?,
        maker: read_maker(row, &parts)?,
        proposal: read_proposal(row, &parts)?,
        resolution: read_resolution(row, &parts)?,
        settled_at: row.opt_time()?,
        version: row.int()?,
        created_at: row.time()?,
        updated_at: row.time()?,
        volume: row.credits()?,
        trade_count: row.int()?,
        sequence: row.int()?,
        outcomes: parts.outcomes.into_iter().map(|o| o.outcome).collect(),
        tags: parts.tags.into_iter().map(|(_, tag)| tag).collect(),
    })
}

fn read_maker(row: &mut Row, parts: &Parts) -> Result<Option<Maker>, StoreError> {
    let (account, funder, subsidy) = (row.opt_id()?.map(AccountId), row.opt_id()?.map(UserId), row.opt_int()?);
    let liquidity = row.opt_real()?;
    let (Some(account), Some(funder), Some(subsidy), Some(liquidity)) = (account, funder, subsidy, liquidity) else {
        return Ok(None);
    };
    let probabilities: Option<Vec<u16>> = parts.outcomes.iter().map(|o| o.probability).collect();
    let probabilities =
        probabilities.ok_or_else(|| StoreError::Corrupt("an outcome has no opening probability".to_owned()))?;
    let sold: Vec<i64> = parts.outcomes.iter().map(|o| o.sold).collect();
    let lmsr = Lmsr::restore(liquidity, &probabilities, &sold)
        .map_err(|e| StoreError::Corrupt(format!("the market maker cannot be restored: {e}")))?;
    Ok(Some(Maker { account, funder, subsidy: Credits::from_mills(subsidy), probabilities, lmsr }))
}

fn read_proposal(row: &mut Row, parts: &Parts) -> Result<Option<Proposal>, StoreError> {
    let evidence_url = row.opt_text()?;
    let (by, at, until) = (row.opt_id()?.map(UserId), row.opt_time()?, row.opt_time()?);
    let (disputed_by, dispute_reason) = (row.opt_id()?.map(UserId), row.opt_text()?);
    let (Some(proposed_by), Some(proposed_at), Some(challenge_until)) = (by, at, until) else { return Ok(None) };
    let weights = read_weights(parts, |o| o.proposed_weight)?;
    Ok(Some(Proposal { weights, evidence_url, proposed_by, proposed_at, challenge_until, disputed_by, dispute_reason }))
}

fn read_resolution(row: &mut Row, parts: &Parts) -> Result<Option<Resolution>, StoreError> {
    let (decided_by, at, reason) = (row.opt_id()?.map(UserId), row.opt_time()?, row.opt_text()?);
    let Some(decided_at) = at else { return Ok(None) };
    Ok(Some(Resolution { weights: read_weights(parts, |o| o.weight)?, decided_by, decided_at, reason }))
}

fn read_weights(parts: &Parts, of: impl Fn(&StoredOutcome) -> Option<u16>) -> Result<Weights, StoreError> {
    let weights: Option<Vec<u16>> = parts.outcomes.iter().map(of).collect();
    weights
        .and_then(|weights| Weights::new(weights, parts.outcomes.len()).ok())
        .ok_or_else(|| StoreError::Corrupt("the weights of the outcomes do not add up".to_owned()))
}

/// Markets by ids, in id order.
pub(crate) fn by_ids(connection: &mut Connection, ids: &[MarketId]) -> Result<Vec<Market>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    load(connection, Sql::new(select()).then(" WHERE id IN ").list(ids.iter().copied()).then(" ORDER BY id"))
}

/// The stamps of markets by ids, one to come, and those of the markets that are `to_load`.
pub(crate) fn locked(
    connection: &mut Connection,
    ids: &[MarketId],
    to_load: &[MarketId],
) -> Result<Locked, StoreError> {
    if ids.is_empty() {
        return Ok(Locked::default());
    }
    let sql = Sql::new("SELECT market_id, stamp, (SELECT randomblob(16)) FROM market_counters WHERE market_id IN ");
    let sql = sql.list(ids.iter().copied()).then(" ORDER BY market_id");
    let read = |row: &mut Row| Ok((MarketId(row.id()?), row.opt_id()?.map(Stamp), row.id().map(Stamp)?));
    let rows = connection.read("a market's stamp", sql, read)?;
    let next_stamp = rows.first().map(|(.., next)| *next);
    let stamps = rows.into_iter().map(|(id, stamp, _)| (id, stamp)).collect();
    Ok(Locked { stamps, next_stamp, loaded: by_ids(connection, to_load)? })
}

/// A market.
pub(crate) fn one(connection: &mut Connection, key: &MarketKey) -> Result<Option<Market>, StoreError> {
    let sql = Sql::new(select());
    let sql = match key {
        MarketKey::Id(id) => sql.then(" WHERE id = ?").bind(*id),
        MarketKey::Slug(slug) => sql.then(" WHERE slug = ?").bind(slug.as_str()),
    };
    Ok(load(connection, sql)?.pop())
}

/// A page of markets.
pub(crate) fn list(
    connection: &mut Connection,
    filter: &MarketFilter,
    page: &PageRequest<MarketSort>,
) -> Result<Page<Market>, StoreError> {
    // Ties are broken by the id that is in the index of the order.
    let by_volume = page.sort.iter().any(|(key, _)| *key == MarketSort::Volume);
    let id = if by_volume { "market_counters.market_id" } else { "id" };
    let mut list = List::of(TABLES, columns(), id).counted_in(MARKETS.name, "id");
    list.filter("status = ?", filter.status.map(MarketStatus::as_str));
    list.filter("category = ?", filter.category.as_ref());
    let is_filtered = *filter != MarketFilter::default();
    let closes_at_a_time = (filter.closes_before.is_some() || filter.closes_after.is_some())
        && page.sort.first().is_none_or(|(key, _)| *key != MarketSort::ClosesAt);
    list.out_of_order(is_filtered && (by_volume || filter.tag.is_some() || closes_at_a_time));
    // Of a row it is asked by a count, since a planner may answer EXISTS by all that have the tag.
    list.filter_by_names(
        "id IN (SELECT market_id FROM market_tags WHERE tag = ?)",
        "(SELECT count(*) FROM market_tags WHERE market_id = markets.id AND tag = ?) > 0",
        "SELECT market_id FROM market_tags WHERE tag = ?",
        filter.tag.as_ref(),
    );
    list.filter("creator_id = ?", filter.creator);
    list.filter("closes_at < ?", filter.closes_before);
    list.filter("closes_at >= ?", filter.closes_after);
    let keys = |sort: &MarketSort| match sort {
        MarketSort::CreatedAt => ("created_at", TIME),
        MarketSort::ClosesAt => ("closes_at", TIME),
        MarketSort::Volume => ("volume", NUMBER),
    };
    connection.snapshot(|connection| list.page(connection, page, keys, load))
}

#[async_trait]
impl Markets for SqliteUnitOfWork {
    async fn lock(&mut self, ids: &[MarketId]) -> Result<Vec<Market>, StoreError> {
        let wanted = Wanted { lock_markets: ids.to_vec(), ..Wanted::default() };
        Ok(UnitOfWork::load(self, wanted).await?.markets)
    }
}
