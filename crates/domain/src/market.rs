//! Markets, their life, and how they are resolved.

use jiff::Timestamp;

use crate::ids::{AccountId, MarketId, UserId};
use crate::lmsr::Lmsr;
use crate::money::{Credits, FeeRate, Price};
use crate::refusal::Refusal;
use crate::text::{Slug, fold, folds_to};

/// The fewest and the most outcomes of a market.
pub const OUTCOMES: std::ops::RangeInclusive<usize> = 2..=20;

/// The most characters of an outcome's name, and of what it is [folded](crate::text::fold) to.
pub const OUTCOME_NAME: usize = 60;

/// An outcome's place in its market's list, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutcomeId(u8);

impl OutcomeId {
    /// The first outcome: `YES` of a yes/no market, whose book is the market's only one.
    pub const FIRST: Self = Self(0);

    /// The outcome at that place, if a market can have one there.
    #[must_use]
    pub fn new(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|i| *i < 20).map(Self)
    }

    pub(crate) const fn index_is_not_first(self) -> bool {
        self.0 != 0
    }

    /// Its place, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Its place as the number that it is.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// An outcome of a market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its name, unique within the market without regard to case.
    pub name: String,
    /// The price of the last trade, as a price of this outcome.
    pub last_price: Option<Price>,
}

/// The automated market maker of a market.
#[derive(Debug, Clone, PartialEq)]
pub struct Maker {
    /// Where its cash is.
    pub account: AccountId,
    /// Who endowed it, and gets its remainder.
    pub funder: UserId,
    /// What it was endowed with: the most that it can lose. Mills.
    pub subsidy: Credits,
    /// The opening probabilities in mills; they add up to 1000.
    pub probabilities: Vec<u16>,
    /// The scoring rule and what it has sold.
    pub lmsr: Lmsr,
}

/// Where a market is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarketStatus {
    /// Trading.
    Open,
    /// Trading is stopped by a moderator; orders rest.
    Halted,
    /// Trading has ended; open orders are cancelled.
    Closed,
    /// An outcome was named; the challenge window runs.
    Proposed,
    /// The proposal was challenged; a moderator decides.
    Disputed,
    /// Decided; positions are being paid, or were.
    Resolved,
    /// Called off; positions are being paid at the last prices, or were.
    Voided,
}

impl MarketStatus {
    /// All statuses.
    pub const ALL: [Self; 7] =
        [Self::Open, Self::Halted, Self::Closed, Self::Proposed, Self::Disputed, Self::Resolved, Self::Voided];

    /// The status as it stands in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Halted => "halted",
            Self::Closed => "closed",
            Self::Proposed => "proposed",
            Self::Disputed => "disputed",
            Self::Resolved => "resolved",
            Self::Voided => "voided",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }

    /// Whether the one may follow the other. Every other transition is refused.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use MarketStatus::{Closed, Disputed, Halted, Open, Proposed, Resolved, Voided};
        matches!(
            (self, next),
            (Open, Halted | Closed | Voided)
                | (Halted, Open | Closed | Voided)
                | (Closed, Proposed | Resolved | Voided)
                | (Proposed, Disputed | Resolved | Voided)
                | (Disputed, Resolved | Voided)
        )
    }

    /// Whether the market has been decided: resolved or voided.
    #[must_use]
    pub const fn is_decided(self) -> bool {
        matches!(self, Self::Resolved | Self::Voided)
    }

    /// Whether orders may rest: open or halted.
    #[must_use]
    pub const fn has_live_orders(self) -> bool {
        matches!(self, Self::Open | Self::Halted)
    }
}

/// What each share of each outcome pays, in mills; the weights add up to 1000.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights(Vec<u16>);

impl Weights {
    /// Takes one weight for each outcome.
    pub fn new(weights: Vec<u16>, outcomes: usize) -> Result<Self, Refusal> {
        let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        if weights.len() != outcomes || sum != 1000 {
            return Err(Refusal::WeightsDoNotAddUp);
        }
        Ok(Self(weights))
    }

    /// Everything to one outcome.
    #[must_use]
    pub fn winner(winner: OutcomeId, outcomes: usize) -> Self {
        Self((0..outcomes).map(|i| if i == winner.index() { 1000 } else { 0 }).collect())
    }

    /// The weights of a market that is called off: proportional to `prices` (mills; equal where
    /// all are unknown), rounded by largest remainder, ties to the earlier outcome.
    #[must_use]
    pub fn proportional(prices: &[u64]) -> Self {
        let known: u64 = prices.iter().sum();
        let even = vec![1; prices.len()];
        let (parts, sum) = if known == 0 { (even.as_slice(), even.iter().sum()) } else { (prices, known) };
        let sum = sum.max(1);
        let mut weights: Vec<u16> = parts.iter().map(|p| u16::try_from(p * 1000 / sum).unwrap_or(1000)).collect();
        let given: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        let mut by_remainder: Vec<(u64, usize)> = parts.iter().map(|p| p * 1000 % sum).zip(0..).collect();
        by_remainder.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        for (_, index) in by_remainder.into_iter().take(usize::try_from(1000_u64.saturating_sub(given)).unwrap_or(0)) {
            if let Some(weight) = weights.get_mut(index) {
                *weight += 1;
            }
        }
        Self(weights)
    }

    /// The weight of each outcome in mills.
    #[must_use]
    pub fn as_slice(&self) -> &[u16] {
        &self.0
    }
}

/// A named outcome, before the challenge window has run out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// What is proposed.
    pub weights: Weights,
    /// Where the evidence is.
    pub evidence_url: Option<String>,
    /// Who proposes.
    pub proposed_by: UserId,
    /// When.
    pub proposed_at: Timestamp,
    /// Until when it may be challenged.
    pub challenge_until: Timestamp,
    /// Who challenged it, if anybody.
    pub disputed_by: Option<UserId>,
    /// Why.
    pub dispute_reason: Option<String>,
}

/// How a market ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// What each share pays.
    pub weights: Weights,
    /// Who decided; none where the challenge window ran out.
    pub decided_by: Option<UserId>,
    /// When.
    pub decided_at: Timestamp,
    /// Why it was voided.
    pub reason: Option<String>,
}

/// What each outcome without a price has of what the prices of the others leave of 1000, in whole mills.
pub(crate) fn even_share(prices: &[Option<u16>]) -> u16 {
    let known: u64 = prices.iter().flatten().map(|p| u64::from(*p)).sum();
    let unknown = u64::try_from(prices.iter().filter(|p| p.is_none()).count()).unwrap_or(0);
    let share = 1000_u64.saturating_sub(known).checked_div(unknown).unwrap_or(0);
    u16::try_from(share).unwrap_or(0)
}

/// Who gets the taker's fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeeRecipient {
    /// The house: [`AccountId::FEES`].
    House,
    /// The market's creator.
    Creator,
}

impl FeeRecipient {
    /// The recipient as it stands in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::House => "house",
            Self::Creator => "creator",
        }
    }

    /// The recipient of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::House, Self::Creator].into_iter().find(|r| r.as_str() == name)
    }
}

/// A question that is traded.
#[derive(Debug, Clone, PartialEq)]
pub struct Market {
    /// Its id; its collateral account has the same.
    pub id: MarketId,
    /// Its readable address, unique.
    pub slug: Slug,
    /// The question, 1 to 300 characters.
    pub question: String,
    /// What decides it, up to 20,000 characters.
    pub description: String,
    /// A category, up to 40 characters, lower case.
    pub category: Option<String>,
    /// At most 10 tags of up to 40 characters, lower case.
    pub tags: Vec<String>,
    /// Who opened it.
    pub creator: UserId,
    /// Its outcomes in order, 2 to 20.
    pub outcomes: Vec<Outcome>,
    /// Where it is in its life.
    pub status: MarketStatus,
    /// When trading ends.
    pub closes_at: Timestamp,
    /// What takers pay.
    pub fee_rate: FeeRate,
    /// Who gets that.
    pub fee_recipient: FeeRecipient,
    /// The automated market maker, if one was funded.
    pub maker: Option<Maker>,
    /// The sum of the cost of all trades, in mills.
    pub volume: Credits,
    /// The number of trades.
    pub trade_count: i64,
    /// Goes up with every change of a book; orders and trades take their places from it.
    pub sequence: i64,
    /// The outcome that was named, until it is decided, and afterwards as history.
    pub proposal: Option<Proposal>,
    /// How it ended.
    pub resolution: Option<Resolution>,
    /// When the last position was paid and the collateral was empty.
    pub settled_at: Option<Timestamp>,
    /// Goes up by one with each edit or change of status, not with trades.
    pub version: i64,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was last edited or changed its status.
    pub updated_at: Timestamp,
}

/// The books that a market with so many outcomes has, by the outcomes that they are named after: one for both of two, else one
/// for each.
pub fn books_of(outcomes: usize) -> impl Iterator<Item = OutcomeId> {
    let books = if outcomes == 2 { 1 } else { outcomes };
    (0..books).filter_map(OutcomeId::new)
}

impl Market {
    /// Where the market's collateral is.
    #[must_use]
    pub const fn collateral(&self) -> AccountId {
        AccountId::of_market(self.id)
    }

    /// Where the taker's fee goes.
    #[must_use]
    pub const fn fee_account(&self) -> AccountId {
        match self.fee_recipient {
            FeeRecipient::House => AccountId::FEES,
            FeeRecipient::Creator => AccountId::of_user(self.creator),
        }
    }

    /// Whether it has one book for both of its outcomes.
    #[must_use]
    pub const fn is_binary(&self) -> bool {
        self.outcomes.len() == 2
    }

    /// The books of its orders.
    pub fn books(&self) -> impl Iterator<Item = (MarketId, OutcomeId)> {
        books_of(self.outcomes.len()).map(|book| (self.id, book))
    }

    /// The outcome of that name, without regard to case. None has a name of more than [`OUTCOME_NAME`] characters.
    #[must_use]
    pub fn outcome_named(&self, name: &str) -> Option<OutcomeId> {
        // It is asked for while rows are locked, and mostly by the very name.
        let exact = self.outcomes.iter().position(|outcome| outcome.name == name);
        exact.or_else(|| self.outcome_folded(name)).and_then(OutcomeId::new)
    }

    fn outcome_folded(&self, name: &str) -> Option<usize> {
        if name.chars().nth(OUTCOME_NAME).is_some() {
            return None;
        }
        let wanted = fold(name);
        self.outcomes.iter().position(|outcome| folds_to(&outcome.name, &wanted))
    }

    /// Takes the next place in the market's order of events.
    pub fn next_sequence(&mut self) -> i64 {
        self.sequence += 1;
        self.sequence
    }

    /// Notes the price of a trade in a book: where there is one for both outcomes, it is a price of the other too.
    pub fn set_last_price(&mut self, book: OutcomeId, price: Price) {
        let is_binary = self.is_binary();
        for (index, outcome) in self.outcomes.iter_mut().enumerate() {
            if index == book.index() {
                outcome.last_price = Some(price);
            } else if is_binary {
                outcome.last_price = Some(price.complement());
            }
        }
    }

    /// Moves to `next`, or refuses naming both statuses.
    pub fn become_status(&mut self, next: MarketStatus, now: Timestamp) -> Result<(), Refusal> {
        if !self.status.may_become(next) {
            return Err(Refusal::WrongMarketStatus { status: self.status, wanted: next });
        }
        self.status = next;
        self.touch(now);
        Ok(())
    }

    /// Counts an edit or a change of status.
    pub fn touch(&mut self, now: Timestamp) {
        self.version += 1;
        self.sequence += 1;
        self.updated_at = now;
    }

    /// Each outcome's price in mills as shown: the market maker's where there is one, else the
    /// last trade's, else none. In a two-outcome market the two add up to 1000.
    #[must_use]
    pub fn prices(&self) -> Vec<Option<u16>> {
        if let Some(maker) = &self.maker {
            return maker.lmsr.prices_mills().into_iter().map(Some).collect();
        }
        self.outcomes.iter().map(|o| o.last_price.and_then(|p| u16::try_from(p.mills()).ok())).collect()
    }

    /// What each share pays if the market is called off now: the last prices scaled to 1000.
    /// Outcomes that never had a price share what the others leave of 1000, if anything.
    #[must_use]
    pub fn void_weights(&self) -> Weights {
        let prices = self.prices();
        let share = even_share(&prices);
        let filled: Vec<u64> = prices.iter().map(|p| u64::from(p.unwrap_or(share))).collect();
        Weights::proportional(&filled)
    }
}
