//! A market's life: opened, edited, halted, closed, proposed, disputed, resolved, voided. What is given a version is refused
//! with [`StaleVersion`](Refusal::StaleVersion) where the market has another.

mod change;
mod delete;
mod independence;
mod open;
mod preview;

use bellwether_domain::audit_log::{Action, Actor, Event, Target};
use bellwether_domain::ids::MarketId;
use bellwether_domain::market::{FeeRecipient, Market, Weights};
use bellwether_domain::money::{Credits, FeeRate};
use bellwether_domain::order::{Backing, SelfTradePrevention, Side, Terms};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{MarketKey, StoreError, Unique};
use bellwether_domain::refusal::Refusal;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::atomically::atomically;
use crate::settling::settle_soon;
use crate::trading::Placed;
use crate::{Answered, Caller, Context, Error, Keyed, audit_log};
pub(crate) use change::decide;
use change::{Change, ChangeMarket};
use delete::DeleteScript;
pub use independence::Independence;
use open::OpenScript;
pub use preview::{ResolutionPreview, preview_resolution};

/// How many slugs are tried where the first is taken.
const SLUG_TRIES: u32 = 5;

/// A new market. Its texts are already clean and within their limits.
#[derive(Debug, Clone)]
pub struct OpenMarket {
    /// The question.
    pub question: String,
    /// What decides it.
    pub description: String,
    /// A category.
    pub category: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// The outcomes' names, 2 to 20, distinct without regard to case.
    pub outcomes: Vec<String>,
    /// When trading ends; must lie ahead.
    pub closes_at: Timestamp,
    /// What takers pay.
    pub fee_rate: FeeRate,
    /// Who gets that.
    pub fee_recipient: FeeRecipient,
    /// The market maker's endowment.
    pub liquidity: Option<Liquidity>,
    /// The creator's first order, in the same step.
    pub opening_order: Option<OpeningOrder>,
}

/// A market maker's endowment.
#[derive(Debug, Clone)]
pub struct Liquidity {
    /// What the creator gives it: the most that it can lose. Mills, above zero.
    pub subsidy: Credits,
    /// The opening probabilities in mills, one for each outcome, adding up to 1000; none for equal ones.
    pub probabilities: Option<Vec<u16>>,
}

/// The creator's first order: as any order, in the market that is being opened.
#[derive(Debug, Clone)]
pub struct OpeningOrder {
    /// The outcome's name.
    pub outcome: String,
    /// Buy or sell.
    pub side: Side,
    /// The terms.
    pub terms: Terms,
    /// What it pays with.
    pub backing: Option<Backing>,
    /// What happens where it meets the creator's own orders.
    pub self_trade_prevention: SelfTradePrevention,
    /// The creator's own id for it.
    pub client_order_id: Option<String>,
}

/// A market that was opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The market.
    pub market: Market,
    /// What became of the opening order.
    pub opening_order: Option<Placed>,
}

/// A change of a market's texts and times; what is not named stays.
#[derive(Debug, Clone, Default)]
pub struct MarketPatch {
    /// The question; only before the first trade.
    pub question: Option<String>,
    /// What decides it; only before the first trade.
    pub description: Option<String>,
    /// A category; `Some(None)` removes it.
    pub category: Option<Option<String>>,
    /// Tags.
    pub tags: Option<Vec<String>>,
    /// When trading ends; must lie ahead, and the market must not have closed.
    pub closes_at: Option<Timestamp>,
}

/// How a market shall be decided.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// One outcome wins, by name.
    Outcome(String),
    /// Each named outcome's weight in mills, none named twice; those not named get nothing. They add up to 1000.
    Weights(Vec<(String, u16)>),
}

/// Opens a market, endows its maker and places the opening order: all or nothing, in one unit of work. The opening order
/// needs the permission to place orders.
pub async fn open_market(
    ctx: &Context,
    caller: Caller,
    request: OpenMarket,
    keyed: Option<Keyed<Opened>>,
) -> Result<Answered<Opened>, Error> {
    if request.opening_order.is_some() {
        caller.require(Permission::PlaceOrder, true)?;
    }
    let mut tries = 1;
    loop {
        let script = OpenScript { caller, request: request.clone(), keyed: keyed.clone() };
        match atomically(ctx, script).await {
            // Each try draws a fresh id, and with it another end of the slug.
            Err(Error::Store(StoreError::Duplicate(Unique::Slug))) if tries < SLUG_TRIES => tries += 1,
            other => return other,
        }
    }
}

/// A market by id or slug.
pub async fn get_market(ctx: &Context, key: &MarketKey) -> Result<Market, Error> {
    Ok(ctx.queries.market(key).await?.ok_or(Refusal::MarketNotFound)?)
}

/// Changes texts and times: the creator's own, or any for moderators.
pub async fn edit_market(
    ctx: &Context,
    caller: Caller,
    id: MarketId,
    patch: MarketPatch,
    version: Option<i64>,
) -> Result<Market, Error> {
    atomically(ctx, ChangeMarket { caller, id, version, change: Change::Edit(patch) }).await
}

/// Deletes a market that never traded, of which nobody has shares and that was not decided: its orders are cancelled
/// and removed with it, its subsidy goes back. Refused with [`MarketHasTraded`](Refusal::MarketHasTraded),
/// [`MarketDecided`](Refusal::MarketDecided) or [`MarketHasShares`](Refusal::MarketHasShares).
pub async fn delete_market(ctx: &Context, caller: Caller, id: MarketId, version: Option<i64>) -> Result<(), Error> {
    while !atomically(ctx, DeleteScript { caller, id, version }).await? {}
    Ok(())
}

/// Stops trading; orders rest. Moderators.
pub async fn halt_market(ctx: &Context, caller: Caller, id: MarketId, version: Option<i64>) -> Result<Market, Error> {
    change(ctx, caller, id, version, Change::Halt).await
}

/// Lets a halted market trade again. Moderators.
pub async fn reopen_market(ctx: &Context, caller: Caller, id: MarketId, version: Option<i64>) -> Result<Market, Error> {
    change(ctx, caller, id, version, Change::Reopen).await
}

/// Ends trading early and cancels open orders. The creator or moderators.
pub async fn close_market(ctx: &Context, caller: Caller, id: MarketId, version: Option<i64>) -> Result<Market, Error> {
    change(ctx, caller, id, version, Change::Close).await
}

/// Names the outcome; the challenge window begins, and a window of zero decides at once. The creator or moderators.
pub async fn propose_resolution(
    ctx: &Context,
    caller: Caller,
    id: MarketId,
    verdict: Verdict,
    evidence_url: Option<String>,
    version: Option<i64>,
) -> Result<Market, Error> {
    change(ctx, caller, id, version, Change::Propose { verdict, evidence_url }).await
}

/// Challenges a proposal within its window. Anybody who is signed in.
pub async fn dispute_resolution(
    ctx: &Context,
    caller: Caller,
    id: MarketId,
    reason: String,
    version: Option<i64>,
) -> Result<Market, Error> {
    change(ctx, caller, id, version, Change::Dispute { reason }).await
}

/// Decides a market: moderators at any point after the close; the creator where the challenge window is zero.
pub async fn resolve_market(
    ctx: &Context,
    caller: Caller,
    id: MarketId,
    verdict: Verdict,
    version: Option<i64>,
) -> Result<Market, Error> {
    change(ctx, caller, id, version, Change::Resolve { verdict }).await
}

/// Calls a market off: every share pays the last price. Moderators; the creator before the first trade.
pub async fn void_market(
    ctx: &Context,
    caller: Caller,
    id: MarketId,
    reason: String,
    version: Option<i64>,
) -> Result<Market, Error> {
    change(ctx, caller, id, version, Change::Void { reason }).await
}

/// The markets of these ids, each named once. Refused where one is not there.
pub(crate) async fn all_of(ctx: &Context, ids: &[MarketId]) -> Result<Vec<Market>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found = ctx.queries.markets_by_ids(ids).await?;
    if found.len() < ids.len() { Err(Refusal::MarketNotFound.into()) } else { Ok(found) }
}

/// Changes the market, then does at once what little there may be to settle; the rest is for the ticks.
async fn change(
    ctx: &Context,
    caller: Caller,
    id: MarketId,
    version: Option<i64>,
    change: Change,
) -> Result<Market, Error> {
    let market = atomically(ctx, ChangeMarket { caller, id, version, change }).await?;
    if market.status.has_live_orders() {
        return Ok(market);
    }
    settle_soon(ctx, id).await;
    get_market(ctx, &MarketKey::Id(id)).await
}

/// Whether the caller may act on the market with that permission.
fn require(permission: Permission, caller: Caller, market: &Market) -> Result<(), Refusal> {
    caller.require(permission, market.creator == caller.user)
}

/// What the audit log is told of what somebody who moderates did to a market; that others did something
/// to their own is nothing to tell. What is left of it is none where it was deleted.
fn moderation(ctx: &Context, by: Caller, action: Action, before: &Market, after: Option<&Market>) -> Option<Event> {
    if !by.may(Permission::HaltMarket, false) {
        return None;
    }
    let (mut old, mut new) = (told(before), after.map_or_else(Map::new, told));
    if after.is_some() {
        // What stayed as it was is not repeated.
        let changed: Vec<String> = old.keys().filter(|key| old.get(*key) != new.get(*key)).cloned().collect();
        old.retain(|key, _| changed.contains(key));
        new.retain(|key, _| changed.contains(key));
    }
    let (old, new) = (Value::Object(old), Value::Object(new));
    Some(audit_log::change(ctx, Actor::User(by.user), action, Target::Market(before.id), &old, &new))
}

/// What the audit log tells of a market.
fn told(market: &Market) -> Map<String, Value> {
    let weights = |weights: &Weights| -> Value {
        let named = market.outcomes.iter().zip(weights.as_slice());
        named.map(|(outcome, mills)| (outcome.name.clone(), json!(mills))).collect::<Map<_, _>>().into()
    };
    let resolution = market.resolution.as_ref();
    let fields = [
        ("status", json!(market.status.as_str())),
        ("question", json!(market.question)),
        ("description", json!(market.description)),
        ("category", json!(market.category)),
        ("tags", json!(market.tags)),
        ("closesAt", json!(market.closes_at.to_string())),
        ("proposedMills", json!(market.proposal.as_ref().map(|proposal| weights(&proposal.weights)))),
        ("decidedMills", json!(resolution.map(|resolution| weights(&resolution.weights)))),
        ("reason", json!(resolution.and_then(|resolution| resolution.reason.as_ref()))),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
