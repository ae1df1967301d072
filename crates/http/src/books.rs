//! Order books.

use bellwether_domain::market::{Market, OutcomeId};
use bellwether_domain::refusal::Refusal;
use bellwether_usecases::{Error, markets};

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::Fields;
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

/// `GET /markets/{id}/book`.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    let key = call.market_key()?;
    let (name, depth) = call.query(|query| {
        let depth = query.or("depth", DEPTH, |n| n.whole(1, DEEPEST));
        Some((outcome_name(query)?, depth?))
    })?;
    let depth = u32::try_from(depth).map_err(Fault::internal)?;
    let ctx = call.ctx();
    let work = async move {
        let market = markets::get_market(&ctx, &key).await?;
        let viewed = Viewed::named(&market, name.as_deref())?;
        let (levels, sequence) = ctx.queries.book(market.id, viewed.book, depth).await?;
        Ok::<_, Error>((market, viewed, levels, sequence))
    };
    let (market, viewed, levels, sequence) = call.app().run(work).await?;
    let name = market.outcomes.get(viewed.outcome.index()).map_or("", |outcome| outcome.name.as_str());
    let wire = BookWire::of(market.id, name, &levels, viewed.mirrored, sequence);
    Ok(Reply::ok(&wire)?.tagged(sequence).public())
}
