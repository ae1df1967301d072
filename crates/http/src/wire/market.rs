//! Markets as they are answered.

use std::collections::{BTreeMap, HashMap};

use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::market::{Market, MarketStatus, Outcome, OutcomeId, Proposal, Resolution, Weights};
use bellwether_domain::money::{Credits, FeeRate, Price};
use bellwether_domain::order::Side;
use bellwether_domain::ports::BestPrices;
use bellwether_domain::user::User;
use bellwether_usecases::Rendered;
use bellwether_usecases::markets::Opened;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::decimal::{Shown, mills};
use crate::wire::order::PlacedWire;
use crate::wire::trade::seen;
use crate::wire::user::UserBrief;

/// The fields of a market, for `fields=`.
pub(crate) const FIELDS: &[&str] = &[
    "id",
    "slug",
    "question",
    "description",
    "category",
    "tags",
    "outcomes",
    "status",
    "creatorId",
    "volume",
    "liquidity",
    "tradeCount",
    "feeRate",
    "feeRecipient",
    "closesAt",
    "proposal",
    "resolution",
    "settledAt",
    "createdAt",
    "updatedAt",
    "version",
];

/// What can be shown with a market, for `include=`.
pub(crate) const INCLUDES: &[&str] = &["creator"];

/// The best prices of some books.
#[derive(Debug, Default)]
pub(crate) struct Best(HashMap<(MarketId, OutcomeId), BestPrices>);

impl Best {
    pub(crate) fn of(prices: Vec<BestPrices>) -> Self {
        Self(prices.into_iter().map(|p| ((p.market, p.book), p)).collect())
    }

    /// Bid and ask of an outcome; those of the second of two are the first's, mirrored.
    fn of_outcome(&self, market: &Market, outcome: OutcomeId) -> (Option<Price>, Option<Price>) {
        let mirrored = market.is_binary() && outcome != OutcomeId::FIRST;
        let book = if mirrored { OutcomeId::FIRST } else { outcome };
        let Some(best) = self.0.get(&(market.id, book)) else { return (None, None) };
        let shown = |price: Option<Price>| price.map(|p| seen(p, mirrored));
        if mirrored { (shown(best.ask), shown(best.bid)) } else { (best.bid, best.ask) }
    }
}

/// A market.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MarketWire<'a> {
    id: Shown<MarketId>,
    slug: &'a str,
    question: &'a str,
    description: &'a str,
    category: Option<&'a str>,
    tags: &'a [String],
    outcomes: Vec<OutcomeWire<'a>>,
    #[schemars(with = "MarketStatus")]
    status: &'static str,
    creator_id: Shown<UserId>,
    volume: Shown<Credits>,
    liquidity: Option<LiquidityWire>,
    trade_count: i64,
    fee_rate: Shown<FeeRate>,
    fee_recipient: &'static str,
    closes_at: Timestamp,
    proposal: Option<ProposalWire<'a>>,
    resolution: Option<ResolutionWire<'a>>,
    settled_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    creator: Option<Option<UserBrief<'a>>>,
}

/// An outcome. Bid and ask are the book's, also where a market maker stands beside it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OutcomeWire<'a> {
    name: &'a str,
    price: Option<Shown<Credits>>,
    best_bid: Option<Shown<Price>>,
    best_ask: Option<Shown<Price>>,
}

/// A market maker's endowment; `b` is its liquidity in shares.
#[derive(Serialize, JsonSchema)]
struct LiquidityWire {
    subsidy: Shown<Credits>,
    probabilities: Vec<Shown<Credits>>,
    b: f64,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ProposalWire<'a> {
    #[schemars(with = "BTreeMap<String, Credits>")]
    weights: WeightsWire<'a>,
    evidence_url: Option<&'a str>,
    proposed_by: Shown<UserId>,
    proposed_at: Timestamp,
    challenge_until: Timestamp,
    disputed_by: Option<Shown<UserId>>,
    dispute_reason: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ResolutionWire<'a> {
    /// The outcome that gets everything, if one does.
    outcome: Option<&'a str>,
    #[schemars(with = "BTreeMap<String, Credits>")]
    weights: WeightsWire<'a>,
    decided_by: Option<Shown<UserId>>,
    decided_at: Timestamp,
    reason: Option<&'a str>,
}

/// Outcomes' names and weights, in the order of the outcomes.
struct WeightsWire<'a> {
    outcomes: &'a [Outcome],
    weights: &'a Weights,
}

impl WeightsWire<'_> {
    fn winner(&self) -> Option<usize> {
        self.weights.as_slice().iter().position(|weight| *weight == 1000)
    }
}

impl Serialize for WeightsWire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.outcomes.len()))?;
        for (outcome, weight) in self.outcomes.iter().zip(self.weights.as_slice()) {
            map.serialize_entry(&outcome.name, &mills(*weight))?;
        }
        map.end()
    }
}

impl<'a> MarketWire<'a> {
    /// A market with the best prices of its books.
    pub(crate) fn of(market: &'a Market, best: &Best) -> Self {
        let prices = market.prices();
        let outcome = |(index, outcome): (usize, &'a Outcome)| {
            let (bid, ask) = OutcomeId::new(index).map_or((None, None), |id| best.of_outcome(market, id));
            let price = prices.get(index).copied().flatten().map(mills);
            OutcomeWire { name: &outcome.name, price, best_bid: bid.map(Shown), best_ask: ask.map(Shown) }
        };
        let outcomes = market.outcomes.iter().enumerate().map(outcome).collect();
        let liquidity = market.maker.as_ref().map(|maker| LiquidityWire {
            subsidy: Shown(maker.subsidy),
            probabilities: maker.probabilities.iter().copied().map(mills).collect(),
            b: maker.lmsr.liquidity(),
        });
        Self {
            id: Shown(market.id),
            slug: market.slug.as_str(),
            question: &market.question,
            description: &market.description,
            category: market.category.as_deref(),
            tags: &market.tags,
            outcomes,
            status: market.status.as_str(),
            creator_id: Shown(market.creator),
            volume: Shown(market.volume),
            liquidity,
            trade_count: market.trade_count,
            fee_rate: Shown(market.fee_rate),
            fee_recipient: market.fee_recipient.as_str(),
            closes_at: market.closes_at,
            proposal: market.proposal.as_ref().map(|p| proposal(p, &market.outcomes)),
            resolution: market.resolution.as_ref().map(|r| resolution(r, &market.outcomes)),
            settled_at: market.settled_at,
            created_at: market.created_at,
            updated_at: market.updated_at,
            version: market.version,
            creator: None,
        }
    }

    /// With its creator; `null` where that is no longer known.
    pub(crate) fn with_creator(self, creator: Option<&'a User>) -> Self {
        Self { creator: Some(creator.map(UserBrief::of)), ..self }
    }
}

fn proposal<'a>(proposal: &'a Proposal, outcomes: &'a [Outcome]) -> ProposalWire<'a> {
    ProposalWire {
        weights: WeightsWire { outcomes, weights: &proposal.weights },
        evidence_url: proposal.evidence_url.as_deref(),
        proposed_by: Shown(proposal.proposed_by),
        proposed_at: proposal.proposed_at,
        challenge_until: proposal.challenge_until,
        disputed_by: proposal.disputed_by.map(Shown),
        dispute_reason: proposal.dispute_reason.as_deref(),
    }
}

fn resolution<'a>(resolution: &'a Resolution, outcomes: &'a [Outcome]) -> ResolutionWire<'a> {
    let weights = WeightsWire { outcomes, weights: &resolution.weights };
    ResolutionWire {
        outcome: weights.winner().and_then(|index| outcomes.get(index)).map(|o| o.name.as_str()),
        weights,
        decided_by: resolution.decided_by.map(Shown),
        decided_at: resolution.decided_at,
        reason: resolution.reason.as_deref(),
    }
}

/// A market that was opened, and its opening order if there was one.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenedWire<'a> {
    #[serde(flatten)]
    market: MarketWire<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opening_order: Option<PlacedWire<'a>>,
}

/// The answer to the opening of a market. The only order that can rest in it is the opening one.
pub(crate) fn render_opened(opened: &Opened) -> Rendered {
    let market = &opened.market;
    let place =
        opened.opening_order.as_ref().filter(|placed| placed.order.is_open()).and_then(|placed| placed.order.place());
    let best = place.map(|place| {
        let (bid, ask) = if place.side == Side::Buy { (Some(place.price), None) } else { (None, Some(place.price)) };
        BestPrices { market: market.id, book: place.book, bid, ask }
    });
    let best = Best::of(best.into_iter().collect());
    let opening_order = opened.opening_order.as_ref().map(PlacedWire::of);
    let wire = OpenedWire { market: MarketWire::of(market, &best), opening_order };
    super::created(&wire, format!("/api/v1/markets/{}", market.id))
}

#[cfg(test)]
pub(crate) mod tests {
    use bellwether_domain::market::{FeeRecipient, MarketStatus};
    use bellwether_domain::text::Slug;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::wire::view::assert_fields;

    /// A market with these outcomes, as it was opened.
    pub(crate) fn sample(outcomes: &[&str]) -> Market {
        Market {
            id: MarketId(Uuid::from_u128(0x0193_a5e0_0000_7000_8000_0000_0000_0001)),
            slug: Slug::parse("rain-tomorrow").unwrap(),
            question: "Rain tomorrow?".to_owned(),
            description: String::new(),
            category: None,
            tags: vec![],
            creator: UserId(Uuid::from_u128(0x0193_a5e0_0000_7000_8000_0000_0000_0002)),
            outcomes: outcomes.iter().map(|name| Outcome { name: (*name).to_owned(), last_price: None }).collect(),
            status: MarketStatus::Open,
            closes_at: Timestamp::from_second(2_000_000_000).unwrap(),
            fee_rate: FeeRate::ZERO,
            fee_recipient: FeeRecipient::House,
            maker: None,
            volume: Credits::ZERO,
            trade_count: 0,
            sequence: 0,
            proposal: None,
            resolution: None,
            settled_at: None,
            version: 1,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn best(market: &Market, book: usize, bid: Option<i64>, ask: Option<i64>) -> BestPrices {
        let price = |mills: Option<i64>| mills.and_then(Price::from_mills);
        BestPrices { market: market.id, book: OutcomeId::new(book).unwrap(), bid: price(bid), ask: price(ask) }
    }

    fn outcomes(market: &Market, prices: Vec<BestPrices>) -> Value {
        serde_json::to_value(MarketWire::of(market, &Best::of(prices))).unwrap()["outcomes"].clone()
    }

    #[test]
    fn lists_its_own_fields() {
        assert_fields(FIELDS, &MarketWire::of(&sample(&["YES", "NO"]), &Best::default()));
    }

    #[test]
    fn mirrors_the_best_prices_of_the_second_of_two_outcomes() {
        let mut market = sample(&["YES", "NO"]);
        market.outcomes[0].last_price = Price::from_mills(420);
        market.outcomes[1].last_price = Price::from_mills(580);
        let shown = outcomes(&market, vec![best(&market, 0, Some(400), Some(450))]);
        let expected = json!([
            { "name": "YES", "price": "0.420", "bestBid": "0.400", "bestAsk": "0.450" },
            { "name": "NO", "price": "0.580", "bestBid": "0.550", "bestAsk": "0.600" },
        ]);
        assert_eq!(shown, expected);
    }

    #[test]
    fn shows_each_book_of_several_outcomes() {
        let market = sample(&["A", "B", "C"]);
        let shown = outcomes(&market, vec![best(&market, 1, Some(200), None)]);
        assert_eq!(shown[1], json!({ "name": "B", "price": null, "bestBid": "0.200", "bestAsk": null }));
        assert_eq!(shown[2]["bestBid"], Value::Null);
    }

    #[test]
    fn names_the_winner_only_where_there_is_one() {
        let mut market = sample(&["YES", "NO"]);
        let mut decide = |weights: Vec<u16>| {
            let decided_at = Timestamp::UNIX_EPOCH;
            let weights = Weights::new(weights, 2).unwrap();
            market.resolution = Some(Resolution { weights, decided_by: None, decided_at, reason: None });
            serde_json::to_value(MarketWire::of(&market, &Best::default())).unwrap()["resolution"].clone()
        };
        assert_eq!(decide(vec![0, 1000])["outcome"], json!("NO"));
        let shared = decide(vec![600, 400]);
        assert_eq!((&shared["outcome"], &shared["weights"]), (&Value::Null, &json!({ "YES": "0.600", "NO": "0.400" })));
    }
}
