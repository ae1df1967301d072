//! Markets with their outcomes, their tags and their maker.

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

use crate::connection::{Connection, read_rows};
use crate::lists::{List, NUMBER, TIME};
use crate::schema::MARKETS;
use crate::sql::{Row, Sql, Values};
use crate::unit::PgUnitOfWork;

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
    tags: Vec<String>,
}

#[derive(Debug)]
struct StoredOutcome {
    outcome: Outcome,
    probability: Option<u16>,
    sold: i64,
    proposed_weight: Option<u16>,
    weight: Option<u16>,
}

/// The parts of a market as columns of its row: one statement, and so one snapshot. Each list is a
/// JSON text; in order it is put where it is read, which spares the server a sort for each of two lists of each market.
const PARTS: &str = "\
    (SELECT json_agg(json_build_array(outcome, name, last_price, probability, sold, proposed_weight, weight))::text \
        FROM outcomes WHERE market_id = markets.id), \
    (SELECT json_agg(json_build_array(position, tag))::text FROM market_tags WHERE market_id = markets.id)";

/// An outcome as it stands in [`PARTS`], its number first.
type OutcomeParts = (i64, String, Option<i64>, Option<u16>, i64, Option<u16>, Option<u16>);

fn read_parts(row: &mut Row) -> Result<Parts, StoreError> {
    let mut outcomes: Vec<OutcomeParts> = from_json(row.opt_text()?)?;
    let mut tags: Vec<(i64, String)> = from_json(row.opt_text()?)?;
    outcomes.sort_unstable_by_key(|(number, ..)| *number);
    tags.sort_unstable_by_key(|(position, _)| *position);
    let tags = tags.into_iter().map(|(_, tag)| tag).collect();
    let outcomes = outcomes.into_iter().map(|(_, name, last_price, probability, sold, proposed_weight, weight)| {
        let outcome = Outcome { name, last_price: last_price.and_then(Price::from_mills) };
        StoredOutcome { outcome, probability, sold, proposed_weight, weight }
    });
    Ok(Parts { outcomes: outcomes.collect(), tags })
}

fn from_json<T: serde::de::DeserializeOwned + Default>(text: Option<String>) -> Result<T, StoreError> {
    let parsed = text.map(|text| serde_json::from_str(&text)).transpose();
    parsed.map(Option::unwrap_or_default).map_err(|e| StoreError::Corrupt(format!("the parts of a market: {e}")))
}

/// What is read of a market: the parts, its own columns, and its counters.
fn columns() -> String {
    format!("{PARTS}, {}, volume, trade_count, sequence", MARKETS.columns)
}

/// The tables that [`columns`] are of.
const TABLES: &str = "markets JOIN market_counters ON market_counters.market_id = markets.id";

fn select() -> String {
    format!("SELECT {} FROM {TABLES}", columns())
}

fn read(row: &mut Row) -> Result<Market, StoreError> {
    let parts = read_parts(row)?;
    Ok(Market {
        id: MarketId(row.id()?),
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
        tags: parts.tags,
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
pub(crate) async fn by_ids(connection: &mut Connection, ids: &[MarketId]) -> Result<Vec<Market>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    found(connection.rows(wanted(ids)).await?)
}

/// The query for markets by ids, in id order.
pub(crate) fn wanted(ids: &[MarketId]) -> Sql {
    Sql::new(select()).then(" WHERE id = ANY(?) ORDER BY id").ids(ids.iter().map(|id| id.0))
}

/// The query that locks markets by ids, in id order, and reads their stamps, with one to come, which is drawn once. What is
/// locked is the row of a market's counters, where the stamp is: a query that waits for a lock sees the row anew, but of
/// other rows what was there before, so that whatever else is read of the market is read by a later query.
pub(crate) fn locked(ids: &[MarketId]) -> Sql {
    let sql = Sql::new(
        "SELECT market_id, stamp, (SELECT gen_random_uuid()) FROM market_counters WHERE market_id = ANY(?) \
         ORDER BY market_id FOR NO KEY UPDATE",
    );
    sql.ids(ids.iter().map(|id| id.0))
}

/// What it found: the stamps of the markets, and the one to come.
pub(crate) fn found_locked(rows: Vec<Row>) -> Result<Locked, StoreError> {
    let read = |row: &mut Row| Ok((MarketId(row.id()?), row.opt_id()?.map(Stamp), row.id().map(Stamp)?));
    let rows = read_rows("a market's stamp", rows, read)?;
    let next_stamp = rows.first().map(|(.., next)| *next);
    let stamps = rows.into_iter().map(|(id, stamp, _)| (id, stamp)).collect();
    Ok(Locked { stamps, next_stamp, loaded: Vec::new() })
}

/// What the query for markets found.
pub(crate) fn found(rows: Vec<Row>) -> Result<Vec<Market>, StoreError> {
    read_rows("a market", rows, read)
}

/// A market.
pub(crate) async fn one(connection: &mut Connection, key: &MarketKey) -> Result<Option<Market>, StoreError> {
    let sql = Sql::new(select());
    let sql = match key {
        MarketKey::Id(id) => sql.then(" WHERE id = ?").bind(*id),
        MarketKey::Slug(slug) => sql.then(" WHERE slug = ?").bind(slug.as_str()),
    };
    Ok(connection.read("a market", sql, read).await?.pop())
}

/// The condition that a market is in a status, in a text of its own for each: a few statuses have nearly all markets,
/// and of a value that is not known the planner would expect as many.
const fn is_in(status: MarketStatus) -> &'static str {
    match status {
        MarketStatus::Open => "status = 'open'",
        MarketStatus::Halted => "status = 'halted'",
        MarketStatus::Closed => "status = 'closed'",
        MarketStatus::Proposed => "status = 'proposed'",
        MarketStatus::Disputed => "status = 'disputed'",
        MarketStatus::Resolved => "status = 'resolved'",
        MarketStatus::Voided => "status = 'voided'",
    }
}

/// A page of markets.
pub(crate) async fn list(
    connection: &mut Connection,
    filter: &MarketFilter,
    page: &PageRequest<MarketSort>,
) -> Result<Page<Market>, StoreError> {
    // Ties are broken by the id that is in the index of the order.
    let by_volume = page.sort.iter().any(|(key, _)| *key == MarketSort::Volume);
    let id = if by_volume { "market_counters.market_id" } else { "id" };
    let mut list = List::of(TABLES, columns(), id).counted_in(MARKETS.name, "id");
    if let Some(status) = filter.status {
        list.always(is_in(status));
    }
    list.filter("category = ?", filter.category.as_ref());
    let is_filtered = *filter != MarketFilter::default();
    let closes_at_a_time = (filter.closes_before.is_some() || filter.closes_after.is_some())
        && page.sort.first().is_none_or(|(key, _)| *key != MarketSort::ClosesAt);
    let is_out_of_order = is_filtered && (by_volume || filter.tag.is_some() || closes_at_a_time);
    list.out_of_order(is_out_of_order);
    list.counted_in_order(is_filtered && !is_out_of_order);
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
    list.page(connection, page, keys, "a market", read).await
}

#[async_trait]
impl Markets for PgUnitOfWork {
    async fn lock(&mut self, ids: &[MarketId]) -> Result<Vec<Market>, StoreError> {
        let wanted = Wanted { lock_markets: ids.to_vec(), ..Wanted::default() };
        Ok(UnitOfWork::load(self, wanted).await?.markets)
    }
}
