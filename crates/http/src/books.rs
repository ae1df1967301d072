//! Order books.

use bellwether_domain::market::{Market, OutcomeId};
use bellwether_domain::ports::MarketKey;
use bellwether_domain::refusal::Refusal;
use bellwether_usecases::Context;
use bellwether_usecases::caching::book_key;

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::Fields;
use crate::remembered::{Answer, Shown, remembered};
use crate::wire::book::BookWire;

const DEPTH: i64 = 50;
const DEEPEST: i64 = 200;

/// An outcome, the book in which it trades, and whether it stands mirrored there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Viewed {
    pub(crate) outcome: OutcomeId,
    pub(crate) book: OutcomeId,
    pub(crate) mirrored: bool,
}

impl Viewed {
    /// The outcome of that name, or the first.
    pub(crate) fn named(market: &Market, name: Option<&str>) -> Result<Self, Refusal> {
        let outcome = match name {
            None => OutcomeId::FIRST,
            Some(name) => market.outcome_named(name).ok_or_else(|| Refusal::OutcomeNotFound {
                name: name.to_owned(),
                known: market.outcomes.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(", "),
            })?,
        };
        let mirrored = market.is_binary() && outcome != OutcomeId::FIRST;
        Ok(Self { outcome, book: if mirrored { OutcomeId::FIRST } else { outcome }, mirrored })
    }
}

/// Reads `outcome`.
pub(crate) fn outcome_name(query: &Fields<'_>) -> Option<Option<String>> {
    query.optional("outcome", |n| n.string().map(str::to_owned))
}

/// Reads of which outcome, and how deep.
pub(crate) fn asked(query: &Fields<'_>) -> Option<(Option<String>, i64)> {
    let depth = query.or("depth", DEPTH, |n| n.whole(1, DEEPEST));
    Some((outcome_name(query)?, depth?))
}

/// `GET /markets/{id}/book`.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    let key = call.market_key()?;
    let (name, depth) = call.query(asked)?;
    let shown = match key {
        MarketKey::Id(id) if name.is_none() && depth == DEPTH => {
            remembered(&call, book_key(id), |ctx| async move { book(&ctx, &key, None, depth).await }).await?
        }
        key => {
            let (ctx, turns) = (call.ctx(), call.app().loads());
            let work = async move { turns.in_turn(book(&ctx, &key, name.as_deref(), depth)).await };
            call.app().run(work).await?.map(Answer::reply)
        }
    };
    shown.ok_or_else(|| Refusal::MarketNotFound.into())
}

/// The book of the outcome of that name, or of the first; none where there is no such market.
async fn book(ctx: &Context, key: &MarketKey, outcome: Option<&str>, depth: i64) -> Result<Shown, Fault> {
    let Some(market) = ctx.queries.market(key).await? else { return Ok(None) };
    let viewed = Viewed::named(&market, outcome)?;
    let depth = u32::try_from(depth).map_err(Fault::internal)?;
    let (levels, sequence) = ctx.queries.book(market.id, viewed.book, depth).await?;
    let name = market.outcomes.get(viewed.outcome.index()).map_or("", |outcome| outcome.name.as_str());
    let wire = BookWire::of(market.id, name, &levels, viewed.mirrored, sequence);
    let data = serde_json::to_string(&wire).map_err(Fault::internal)?;
    Ok(Some(Answer::of(sequence, data)))
}
