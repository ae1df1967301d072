//! The automated market maker: Hanson's logarithmic market scoring rule, for any number of outcomes.
//!
//! With `q` the shares sold and `b` the liquidity, the cost function is `C(q) = b ln sum_i exp(q_i / b)`
//! and the price of outcome `i` is `exp(q_i / b) / sum_j exp(q_j / b)`. A trade costs the difference of
//! `C` after and before (R. Hanson, "Combinatorial Information Market Design", 2003; "Logarithmic Market
//! Scoring Rules for Modular Combinatorial Information Aggregation", 2007).
//!
//! The maker's loss never exceeds `b ln(1 / min_i p_i(0))` (Y. Chen, D. Pennock, "A Utility Framework for
//! Bounded-Loss Market Makers", 2007). The subsidy is exactly that, and every cost is rounded in the
//! maker's favour, so its cash after every trade is at least what any outcome would make it pay.
//!
//! Differences of `C` are never computed as differences of two large numbers: from a price `p`, `x`
//! more shares cost `b ln(1 + p (exp(x / b) - 1))`, which stays finite and exact in its small parts.

use thiserror::Error;

use crate::money::{Credits, Price, Shares};

/// Beyond this many shares sold of an outcome the maker refuses: far from what `f64` cannot tell apart.
const MOST_SOLD: i64 = 1_000_000_000_000_000;
/// What a rounded cost allows for errors of `f64`: so many mills, and so large a part of the shares' full value.
const GUARD_MILLS: f64 = 1e-9;
const GUARD_PART: f64 = 1e-12;

/// Why the market maker does not take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LmsrError {
    /// The opening probabilities are not 2 to 20 numbers of at least one mill that add up to 1000.
    #[error("opening probabilities must be 2 to 20 numbers of at least 0.001 that add up to 1")]
    BadProbabilities,
    /// The subsidy or the liquidity is not above zero, or not finite.
    #[error("the liquidity must be above zero")]
    BadLiquidity,
    /// There is no such outcome.
    #[error("there is no such outcome")]
    NoSuchOutcome,
    /// More shares than the maker deals in.
    #[error("the number of shares is out of range")]
    OutOfRange,
}

/// A market maker's rule and what it has sold.
#[derive(Debug, Clone, PartialEq)]
pub struct Lmsr {
    liquidity: f64,
    /// `ln p_i(0)`: opening probabilities as if shares had been sold before.
    openings: Vec<f64>,
    sold: Vec<i64>,
}

impl Lmsr {
    /// A maker that can lose exactly `subsidy`: `b = subsidy / ln(1 / min p)`. Probabilities in mills.
    pub fn from_subsidy(subsidy: Credits, probabilities: &[u16]) -> Result<Self, LmsrError> {
        if !subsidy.is_positive() {
            return Err(LmsrError::BadLiquidity);
        }
        let least = probabilities.iter().min().copied().ok_or(LmsrError::BadProbabilities)?;
        let credits = to_float(subsidy.mills()) / 1000.0;
        // A hair less than the quotient, so that rounding it never promises more than the subsidy.
        let liquidity = credits / (1000.0 / f64::from(least.max(1))).ln() * (1.0 - GUARD_PART);
        Self::restore(liquidity, probabilities, &vec![0; probabilities.len()])
    }

    /// The maker as it was stored: liquidity in shares, opening probabilities in mills, net shares sold.
    pub fn restore(liquidity: f64, probabilities: &[u16], sold: &[i64]) -> Result<Self, LmsrError> {
        let sum: u32 = probabilities.iter().map(|p| u32::from(*p)).sum();
        let is_valid = (2..=20).contains(&probabilities.len()) && sum == 1000 && probabilities.iter().all(|p| *p > 0);
        if !is_valid || sold.len() != probabilities.len() {
            return Err(LmsrError::BadProbabilities);
        }
        if !(liquidity.is_finite() && liquidity > 0.0) {
            return Err(LmsrError::BadLiquidity);
        }
        let openings = probabilities.iter().map(|p| (f64::from(*p) / 1000.0).ln()).collect();
        Ok(Self { liquidity, openings, sold: sold.to_vec() })
    }

    /// The liquidity `b`, in shares.
    #[must_use]
    pub const fn liquidity(&self) -> f64 {
        self.liquidity
    }

    /// Net shares sold of each outcome; negative where more were bought back.
    #[must_use]
    pub fn sold(&self) -> &[i64] {
        &self.sold
    }

    /// The number of outcomes.
    #[must_use]
    pub const fn outcomes(&self) -> usize {
        self.sold.len()
    }

    /// The marginal price of an outcome, between 0 and 1.
    #[must_use]
    pub fn price(&self, outcome: usize) -> Option<f64> {
        self.odds(outcome, 0).ok().map(|odds| odds.price)
    }

    /// All marginal prices in whole mills, at least 1 each, adding up to 1000 (largest remainder).
    #[must_use]
    pub fn prices_mills(&self) -> Vec<u16> {
        let exact: Vec<f64> = (0..self.outcomes()).map(|o| self.price(o).unwrap_or(0.0) * 1000.0).collect();
        let mut mills: Vec<i64> = exact.iter().map(|e| to_integer(e.floor()).max(1)).collect();
        let mut by_remainder: Vec<usize> = (0..mills.len()).collect();
        let remainder = |i: &usize| exact.get(*i).map_or(0.0, |e| e - e.floor());
        by_remainder.sort_by(|a, b| remainder(b).total_cmp(&remainder(a)));
        let missing = 1000 - mills.iter().sum::<i64>();
        for index in by_remainder.into_iter().take(usize::try_from(missing).unwrap_or(0)) {
            if let Some(slot) = mills.get_mut(index) {
                *slot += 1;
            }
        }
        // Prices lifted to the least of 1 are paid for by the highest.
        if let (excess @ 1.., Some(highest)) = (-missing, mills.iter_mut().max()) {
            *highest -= excess;
        }
        mills.into_iter().map(|m| u16::try_from(m).unwrap_or(1)).collect()
    }

    /// What a buyer pays for `shares` of an outcome: rounded up, at most their full value.
    pub fn buy_cost(&self, outcome: usize, shares: i64) -> Result<Credits, LmsrError> {
        let cost = self.rise(self.odds(outcome, 0)?.price, in_range(shares)?);
        round_up(cost, shares)
    }

    /// What a seller gets for `shares` of an outcome: rounded down.
    pub fn sell_proceeds(&self, outcome: usize, shares: i64) -> Result<Credits, LmsrError> {
        let proceeds = self.fall(self.odds(outcome, 0)?, in_range(shares)?);
        round_down(proceeds, shares)
    }

    /// What a buyer pays for `shares` of every other outcome, the rest of a set: rounded up. Complete
    /// sets cost exactly one credit each, so this is their value less what the outcome itself brings.
    pub fn buy_rest_cost(&self, outcome: usize, shares: i64) -> Result<Credits, LmsrError> {
        let cost = self.rise(self.odds(outcome, 0)?.complement, in_range(shares)?);
        round_up(cost, shares)
    }

    /// What a seller gets for `shares` of every other outcome: rounded down.
    pub fn sell_rest_proceeds(&self, outcome: usize, shares: i64) -> Result<Credits, LmsrError> {
        let proceeds = self.fall(self.odds(outcome, 0)?.reversed(), in_range(shares)?);
        round_down(proceeds, shares)
    }

    /// How many shares of an outcome can be bought while its marginal price stays at or below `limit`:
    /// `b ln(t (1 - p) / (p (1 - t)))`, rounded down. At most [`Shares::MAX_ORDER`].
    #[must_use]
    pub fn shares_until_price_rises_to(&self, outcome: usize, limit: Price) -> i64 {
        self.shares_until(outcome, limit, 1)
    }

    /// How many shares of an outcome can be sold while its marginal price stays at or above `limit`.
    #[must_use]
    pub fn shares_until_price_falls_to(&self, outcome: usize, limit: Price) -> i64 {
        self.shares_until(outcome, limit, -1)
    }

    /// How many shares of an outcome `budget` buys: the inverse of [`buy_cost`](Self::buy_cost).
    #[must_use]
    pub fn shares_for_budget(&self, outcome: usize, budget: Credits) -> i64 {
        let price = self.odds(outcome, 0).map_or(1.0, |odds| odds.price);
        self.largest_within(price, budget, |shares| self.buy_cost(outcome, shares))
    }

    /// How many sets of every other outcome `budget` buys: the inverse of [`buy_rest_cost`](Self::buy_rest_cost).
    #[must_use]
    pub fn rest_shares_for_budget(&self, outcome: usize, budget: Credits) -> i64 {
        let price = self.odds(outcome, 0).map_or(1.0, |odds| odds.complement);
        self.largest_within(price, budget, |shares| self.buy_rest_cost(outcome, shares))
    }

    /// Counts `delta` shares of an outcome as sold (bought back, where negative).
    pub fn trade(&mut self, outcome: usize, delta: i64) -> Result<(), LmsrError> {
        let sold = self.sold.get_mut(outcome).ok_or(LmsrError::NoSuchOutcome)?;
        let after = sold.checked_add(delta).filter(|s| s.abs() <= MOST_SOLD).ok_or(LmsrError::OutOfRange)?;
        *sold = after;
        Ok(())
    }

    /// The complete sets that the maker has minted, less those it redeemed: `max_j sold_j`.
    #[must_use]
    pub fn sets(&self) -> i64 {
        self.sold.iter().copied().max().unwrap_or(0)
    }

    /// The shares of an outcome that the maker holds: `max_j sold_j - sold_i`, never below zero.
    #[must_use]
    pub fn holdings(&self, outcome: usize) -> Option<i64> {
        self.sold.get(outcome).map(|sold| self.sets() - sold)
    }

    /// Price and complement of an outcome after `more` shares of it were sold, by log-sum-exp.
    fn odds(&self, outcome: usize, more: i64) -> Result<Odds, LmsrError> {
        let exponent = |index: usize, opening: &f64| {
            let sold = self.sold.get(index).copied().unwrap_or(0);
            let sold = if index == outcome { sold.saturating_add(more) } else { sold };
            opening + to_float(sold) / self.liquidity
        };
        let exponents = self.openings.iter().enumerate().map(|(index, opening)| exponent(index, opening));
        let largest = exponents.clone().fold(f64::NEG_INFINITY, f64::max);
        let (mut own, mut others) = (None, 0.0);
        for (index, weight) in exponents.map(|e| (e - largest).exp()).enumerate() {
            if index == outcome { own = Some(weight) } else { others += weight }
        }
        let own = own.ok_or(LmsrError::NoSuchOutcome)?;
        let sum = own + others;
        Ok(Odds { price: own / sum, complement: others / sum })
    }

    /// The cost in credits of `shares` from a price: `b ln(1 + p (exp(x / b) - 1))`.
    fn rise(&self, price: f64, shares: f64) -> f64 {
        let steps = shares / self.liquidity;
        if steps < 30.0 {
            self.liquidity * (price * steps.exp_m1()).ln_1p()
        } else {
            // exp(steps) might not be finite: it is taken out of the logarithm.
            shares + self.liquidity * (price + (1.0 - price) * (-steps).exp()).max(f64::MIN_POSITIVE).ln()
        }
        .max(0.0)
    }

    /// The proceeds in credits of `shares`: `-b ln(1 - p (1 - exp(-x / b)))`.
    fn fall(&self, odds: Odds, shares: f64) -> f64 {
        let steps = shares / self.liquidity;
        let lost = odds.price * -(-steps).exp_m1();
        let logarithm = if lost < 0.5 {
            (-lost).ln_1p()
        } else {
            (odds.complement + odds.price * (-steps).exp()).max(f64::MIN_POSITIVE).ln()
        };
        (-self.liquidity * logarithm).clamp(0.0, shares)
    }

    fn shares_until(&self, outcome: usize, limit: Price, direction: i64) -> i64 {
        let target = to_float(limit.mills()) / 1000.0;
        let Ok(now) = self.odds(outcome, 0) else { return 0 };
        let is_within = |shares: i64| {
            let price = self.odds(outcome, shares * direction).map_or(f64::NAN, |odds| odds.price);
            if direction > 0 { price <= target } else { price >= target }
        };
        let distance = (target / (1.0 - target)).ln() - (now.price / now.complement).ln();
        let exact = (self.liquidity * distance * to_float(direction)).clamp(0.0, to_float(Shares::MAX_ORDER.count()));
        let whole = to_integer(exact.floor());
        // The closed form is right but for the last bits: the neighbours decide.
        [whole + 1, whole, whole - 1]
            .into_iter()
            .find(|s| *s >= 1 && is_within(*s))
            .unwrap_or(0)
            .min(Shares::MAX_ORDER.count())
    }

    /// `b ln(1 + (exp(m / b) - 1) / p)` shares for a budget `m`, put right by the rounded cost.
    fn largest_within(&self, price: f64, budget: Credits, cost: impl Fn(i64) -> Result<Credits, LmsrError>) -> i64 {
        let credits = to_float(budget.mills()) / 1000.0;
        let steps = credits / self.liquidity;
        let exact = if steps < 30.0 {
            self.liquidity * (steps.exp_m1() / price.max(f64::MIN_POSITIVE)).ln_1p()
        } else {
            credits - self.liquidity * price.max(f64::MIN_POSITIVE).ln()
        };
        let most = to_float(Shares::MAX_ORDER.count());
        let mut shares = to_integer(exact.clamp(0.0, most).floor()).saturating_add(1).min(Shares::MAX_ORDER.count());
        while shares > 0 && cost(shares).map_or(true, |c| c > budget) {
            shares -= 1;
        }
        shares
    }
}

/// `C(q)` in credits, by log-sum-exp: for checks against other sources.
#[must_use]
pub fn cost_function(liquidity: f64, quantities: &[f64]) -> f64 {
    let largest = quantities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = quantities.iter().map(|q| ((q - largest) / liquidity).exp()).sum();
    largest + liquidity * sum.ln()
}

/// A price and its complement, each computed without subtracting the other from 1.
#[derive(Clone, Copy)]
struct Odds {
    price: f64,
    complement: f64,
}

impl Odds {
    const fn reversed(self) -> Self {
        Self { price: self.complement, complement: self.price }
    }
}

fn in_range(shares: i64) -> Result<f64, LmsrError> {
    if (0..=Shares::MAX_ORDER.count()).contains(&shares) { Ok(to_float(shares)) } else { Err(LmsrError::OutOfRange) }
}

fn guard(shares: i64) -> f64 {
    GUARD_MILLS + to_float(shares) * 1000.0 * GUARD_PART
}

fn round_up(credits: f64, shares: i64) -> Result<Credits, LmsrError> {
    let full = shares.checked_mul(1000).ok_or(LmsrError::OutOfRange)?;
    let mills = to_integer((credits * 1000.0 + guard(shares)).ceil());
    Ok(Credits::from_mills(if shares == 0 { 0 } else { mills.clamp(1, full) }))
}

fn round_down(credits: f64, shares: i64) -> Result<Credits, LmsrError> {
    let full = shares.checked_mul(1000).ok_or(LmsrError::OutOfRange)?;
    let mills = to_integer((credits * 1000.0 - guard(shares)).floor());
    Ok(Credits::from_mills(mills.clamp(0, full)))
}

#[expect(
    clippy::as_conversions,
    reason = "there is no checked conversion; all quantities are far below 2^53, or compared loosely"
)]
fn to_float(value: i64) -> f64 {
    value as f64
}

#[expect(clippy::as_conversions, reason = "the conversion saturates, which the callers' clamps rely on")]
fn to_integer(value: f64) -> i64 {
    value as i64
}
