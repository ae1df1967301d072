//! The automated market maker: Hanson's logarithmic market scoring rule (LMSR).
//!
//! With `q_i` the net shares sold of outcome `i`, `p_i` its opening probability and `b` the
//! liquidity (in shares, which is also in credits, as a winning share pays one credit):
//!
//! ```text
//! cost      C(q)  = b ln( sum_i p_i exp(q_i / b) )
//! price     pi_i  = p_i exp(q_i / b) / sum_j p_j exp(q_j / b)
//! a trade costs C(after) - C(before)
//! ```
//!
//! # Why it can never go bankrupt
//!
//! `C(0) = 0` and `C(q) >= max_i (q_i + b ln p_i) >= max_i q_i - b ln(1 / min_i p_i)`. The cost of a
//! sequence of trades depends only on where it ends, and every trade is rounded in favour of the
//! maker, so its income is at least `C(q)`. With `subsidy >= b ln(1 / min_i p_i)`, which
//! [`Lmsr::from_subsidy`] ensures, at every moment
//!
//! ```text
//! subsidy + income - 1000 x sets >= 0 mills,    sets = max_i q_i
//! ```
//!
//! The maker can pay for every complete set that it had to mint, and whatever the resolution, as
//! a resolution pays at most one credit a set.
//!
//! Sources: R. Hanson, "Combinatorial Information Market Design" (2003) and "Logarithmic Market
//! Scoring Rules for Modular Combinatorial Information Aggregation" (2007); Y. Chen and
//! D. M. Pennock, "A Utility Framework for Bounded-Loss Market Makers" (2007).
//!
//! # How it is computed
//!
//! Seen from one outcome, all others act as a single one, so everything needs but one number: the
//! log odds *against* the outcome, `l = ln((1 - pi) / pi)`. Shares enter it as differences of
//! integers, which are exact, and buying `x` shares lowers it by `x / b`. From `l` both `pi` and
//! `1 - pi` follow without cancellation, and the cost of a trade is a single `ln_1p`, never the
//! difference of two large numbers. Of a favourite, what it saves against complete sets is computed
//! and the cost is the exact rest of `1000 x` mills.
//!
//! Money is rounded to whole mills with a guard ([`Lmsr::buy_cost`]) many times larger than the
//! error of the arithmetic, so that also the last bit favours the maker.

use std::f64::consts::LN_2;

use thiserror::Error;

use crate::money::{Credits, MILLS_PER_CREDIT, Price, Shares};

/// The fewest outcomes that a market maker quotes.
pub const MIN_OUTCOMES: usize = 2;
/// The most outcomes that a market maker quotes.
pub const MAX_OUTCOMES: usize = 20;
/// The lowest liquidity, in shares.
pub const MIN_LIQUIDITY: f64 = 1e-3;
/// The highest liquidity, in shares. Above it one share would move a price by less than a float
/// can tell.
pub const MAX_LIQUIDITY: f64 = 1e12;
/// The most net shares of an outcome that may be sold, or bought back, over the life of a market.
/// Twice this is still exact as a float, and so is every difference of two outcomes.
pub const MAX_SOLD: i64 = 4_000_000_000_000_000;

/// Share of the subsidy that is kept back from the liquidity, so that the bound on the loss also
/// holds for opening probabilities whose logarithms are rounded.
const SUBSIDY_GUARD: f64 = 1e-12;
/// The guard of every rounding, in mills, whatever the size of the trade: it makes two trades pay
/// the guard twice, so that splitting one does not gain by the noise in the last bit.
const FIXED_GUARD: f64 = 1e-6;
/// The guard of every rounding in proportion to the trade: to its shares as far as the outcome is
/// the underdog, and to the rest of their sets from there on. This is what the error of the
/// arithmetic is proportional to, and it adds up when a trade is split.
const RELATIVE_GUARD: f64 = 1e-13;
/// Log odds in favour beyond which `exp` of them is left out of a sum with one.
const CERTAIN: f64 = 30.0;

/// Why a market maker could not be made, restored, quoted or traded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LmsrError {
    /// Fewer than [`MIN_OUTCOMES`] or more than [`MAX_OUTCOMES`].
    #[error("a market maker needs 2 to 20 outcomes, not {0}")]
    OutcomeCount(usize),
    /// An opening probability of zero, or probabilities that do not add up to 1000 mills.
    #[error("the opening probabilities must each be at least 0.001 and add up to 1")]
    Probabilities,
    /// The liquidity, given or following from the subsidy, is outside
    /// [`MIN_LIQUIDITY`]..=[`MAX_LIQUIDITY`].
    #[error("the liquidity is out of range")]
    Liquidity,
    /// Not one number of sold shares for each outcome.
    #[error("the sold shares do not match the outcomes")]
    SoldCount,
    /// The sold shares of an outcome are, or would be, beyond [`MAX_SOLD`].
    #[error("the number of shares is too large")]
    OutOfRange,
    /// The market has no such outcome.
    #[error("there is no such outcome")]
    UnknownOutcome,
    /// A quantity below zero; the direction is the method's, not the sign's.
    #[error("the number of shares is negative")]
    NegativeShares,
}

/// The state of one market maker: liquidity, opening probabilities and net shares sold.
///
/// Outcomes are numbered from 0 in the market's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Lmsr {
    /// `b`, in shares.
    liquidity: f64,
    /// `ln p_i(0)`: the offset of each outcome in units of `b`.
    offsets: Vec<f64>,
    /// Net shares sold of each outcome; below zero where more were bought back.
    sold: Vec<i64>,
}

impl Lmsr {
    /// A market maker that can lose at most `subsidy`, opening at `probabilities` (mills, each at
    /// least 1, adding up to 1000).
    ///
    /// The liquidity is `b = subsidy / ln(1 / min_i p_i)` in credits, as the worst loss of the rule
    /// is `b ln(1 / min_i p_i)` (Hanson 2003); it is lowered by 1 part in 10^12 against rounding.
    ///
    /// # Errors
    ///
    /// [`LmsrError::OutcomeCount`] and [`LmsrError::Probabilities`] for the probabilities;
    /// [`LmsrError::Liquidity`] if the subsidy is not positive, or too small or too large.
    pub fn from_subsidy(subsidy: Credits, probabilities: &[u16]) -> Result<Self, LmsrError> {
        check_probabilities(probabilities)?;
        let lowest = probabilities.iter().copied().min().ok_or(LmsrError::Probabilities)?;
        let worst_loss = (1000.0 / f64::from(lowest)).ln();
        let credits = float(subsidy.mills()) / 1000.0;
        let liquidity = credits / worst_loss * (1.0 - SUBSIDY_GUARD);
        Self::restore(liquidity, probabilities, &vec![0; probabilities.len()])
    }

    /// A market maker as it was stored: `liquidity` in shares, the opening `probabilities` in mills
    /// and the net shares `sold` of every outcome.
    ///
    /// # Errors
    ///
    /// [`LmsrError::OutcomeCount`], [`LmsrError::Probabilities`], [`LmsrError::Liquidity`],
    /// [`LmsrError::SoldCount`] or [`LmsrError::OutOfRange`], by the part that is wrong.
    pub fn restore(liquidity: f64, probabilities: &[u16], sold: &[i64]) -> Result<Self, LmsrError> {
        check_probabilities(probabilities)?;
        // Written so that a NaN is refused as well.
        if !(MIN_LIQUIDITY..=MAX_LIQUIDITY).contains(&liquidity) {
            return Err(LmsrError::Liquidity);
        }
        if sold.len() != probabilities.len() {
            return Err(LmsrError::SoldCount);
        }
        if !sold.iter().all(|s| in_range(*s)) {
            return Err(LmsrError::OutOfRange);
        }
        let offsets = probabilities.iter().map(|p| (f64::from(*p) / 1000.0).ln()).collect();
        Ok(Self { liquidity, offsets, sold: sold.to_vec() })
    }

    /// The liquidity `b`, in shares: about how many shares move an even price from 0.50 to 0.73.
    #[must_use]
    pub const fn liquidity(&self) -> f64 {
        self.liquidity
    }

    /// Net shares sold of each outcome; below zero where more were bought back than sold.
    #[must_use]
    pub fn sold(&self) -> &[i64] {
        &self.sold
    }

    /// The number of outcomes.
    #[must_use]
    pub const fn outcomes(&self) -> usize {
        self.sold.len()
    }

    /// The marginal price of an outcome in credits a share, strictly between 0 and 1, or `None` if
    /// there is no such outcome. The softmax of `q_i / b + ln p_i`, in log-sum-exp form.
    #[must_use]
    pub fn price(&self, outcome: usize) -> Option<f64> {
        self.odds(outcome).ok().map(|odds| odds.price_after(0))
    }

    /// All marginal prices in mills, each 1 to 999 and adding up to 1000 exactly.
    ///
    /// Rounded by largest remainders; an outcome below 1 mill is shown as 1, at the cost of those
    /// that it distorts least. Of equal remainders the first outcome goes first.
    #[must_use]
    pub fn prices_mills(&self) -> Vec<u16> {
        let mut rows: Vec<(f64, i64)> = (0..self.outcomes())
            .filter_map(|outcome| self.price(outcome))
            .map(|price| (price * 1000.0, floor(price * 1000.0).max(1)))
            .collect();
        let mut missing = 1000 - rows.iter().map(|row| row.1).sum::<i64>();
        while missing != 0 {
            let step = missing.signum();
            // How much too low a row is, seen in the direction in which it would move.
            let need = |row: &(f64, i64)| (row.0 - float(row.1)) * float(step);
            let next = rows
                .iter_mut()
                .filter(|row| row.1 + step >= 1)
                .reduce(|best, row| if need(row) > need(best) { row } else { best });
            let Some(row) = next else { break };
            row.1 += step;
            missing -= step;
        }
        rows.into_iter().filter_map(|row| u16::try_from(row.1).ok()).collect()
    }

    /// What a buyer of `shares` of `outcome` pays: `C(q + x e_o) - C(q)`, rounded up to the next
    /// mill.
    ///
    /// Before the rounding, a guard of 10^-6 mills and of 10^-13 of the cost, or of what the cost
    /// saves against complete sets where that is less, is added: it exceeds every error of the
    /// arithmetic. For any shares at all the cost is at least 1 mill, at most `1000 x shares`, and
    /// at most `shares` times any whole price in mills that the marginal price has not passed after
    /// the trade.
    ///
    /// # Errors
    ///
    /// [`LmsrError::UnknownOutcome`], [`LmsrError::NegativeShares`], or [`LmsrError::OutOfRange`] if
    /// the trade would leave [`MAX_SOLD`].
    pub fn buy_cost(&self, outcome: usize, shares: i64) -> Result<Credits, LmsrError> {
        let odds = self.odds(outcome)?;
        self.check_trade(outcome, shares, shares)?;
        Ok(Credits::from_mills(odds.buy_mills(shares)))
    }

    /// What a seller of `shares` of `outcome` receives: `C(q) - C(q - x e_o)`, rounded down to a
    /// mill and never below zero.
    ///
    /// The guard of [`Lmsr::buy_cost`] is taken off before the rounding, so buying and selling back
    /// never gains. For any shares at all it is below `1000 x shares`, and it is at least `shares`
    /// times any whole price in mills that the marginal price has not fallen below.
    ///
    /// # Errors
    ///
    /// As [`Lmsr::buy_cost`].
    pub fn sell_proceeds(&self, outcome: usize, shares: i64) -> Result<Credits, LmsrError> {
        let odds = self.odds(outcome)?;
        self.check_trade(outcome, shares, shares.saturating_neg())?;
        Ok(Credits::from_mills(odds.sell_mills(shares)))
    }

    /// What a buyer of the rest of a set pays: `shares` of every outcome but `outcome`.
    ///
    /// `C(q + x sum_{j != o} e_j) - C(q) = x + C(q - x e_o) - C(q)`, as `x` of every outcome cost
    /// exactly `x` and change no price. So it is `1000 x shares` mills less
    /// [`Lmsr::sell_proceeds`], which rounds it up. The state moves as for a sale of `outcome`:
    /// `trade(outcome, -shares)`, after `shares` complete sets were made.
    ///
    /// # Errors
    ///
    /// As [`Lmsr::buy_cost`].
    pub fn buy_rest_cost(&self, outcome: usize, shares: i64) -> Result<Credits, LmsrError> {
        let proceeds = self.sell_proceeds(outcome, shares)?;
        Ok(Credits::from_mills(set_mills(shares) - proceeds.mills()))
    }

    /// What a seller of the rest of a set receives: `shares` of every outcome but `outcome`.
    ///
    /// `1000 x shares` mills less [`Lmsr::buy_cost`], which rounds it down. The state moves as for a
    /// purchase of `outcome`: `trade(outcome, shares)`, after which `shares` complete sets redeem.
    ///
    /// # Errors
    ///
    /// As [`Lmsr::buy_cost`].
    pub fn sell_rest_proceeds(&self, outcome: usize, shares: i64) -> Result<Credits, LmsrError> {
        let cost = self.buy_cost(outcome, shares)?;
        Ok(Credits::from_mills(set_mills(shares) - cost.mills()))
    }

    /// The most shares of `outcome` that can be bought so that its marginal price afterwards, as
    /// [`Lmsr::price`] tells it, is not above `limit`.
    ///
    /// `floor(b ln(t (1 - pi) / (pi (1 - t))))` with `t` the limit and `pi` the price now, corrected
    /// by a share where the logarithm was rounded. 0 if the price is above already or there is no
    /// such outcome; at most [`Shares::MAX_ORDER`].
    #[must_use]
    pub fn shares_until_price_rises_to(&self, outcome: usize, limit: Price) -> i64 {
        let Ok(odds) = self.odds(outcome) else { return 0 };
        let limit = float(limit.mills()) / 1000.0;
        let estimate = odds.lead.saturating_add(floor(odds.shares_beyond_lead(limit)));
        largest(self.room(outcome, 1), estimate, |shares| odds.price_after(shares) <= limit)
    }

    /// The most shares of `outcome` that can be sold so that its marginal price afterwards, as
    /// [`Lmsr::price`] tells it, is not below `limit`.
    ///
    /// `floor(b ln(pi (1 - t) / (t (1 - pi))))`, otherwise as [`Lmsr::shares_until_price_rises_to`].
    #[must_use]
    pub fn shares_until_price_falls_to(&self, outcome: usize, limit: Price) -> i64 {
        let Ok(odds) = self.odds(outcome) else { return 0 };
        let limit = float(limit.mills()) / 1000.0;
        let estimate = floor(-odds.shares_beyond_lead(limit)).saturating_sub(odds.lead);
        largest(self.room(outcome, -1), estimate, |shares| odds.price_after(shares.saturating_neg()) >= limit)
    }

    /// The most shares of `outcome` whose [`Lmsr::buy_cost`] is within `budget`.
    ///
    /// The inverse of the cost, `x = b ln(1 + (e^(m/b) - 1) / pi)` for a budget of `m` credits,
    /// then corrected against the rounded cost. 0 if not even one share is affordable or there is
    /// no such outcome; at most [`Shares::MAX_ORDER`].
    #[must_use]
    pub fn shares_for_budget(&self, outcome: usize, budget: Credits) -> i64 {
        let Ok(odds) = self.odds(outcome) else { return 0 };
        let estimate = floor(odds.affordable(odds.against_after(0), budget));
        largest(self.room(outcome, 1), estimate, |shares| odds.buy_mills(shares) <= budget.mills())
    }

    /// The most `shares` of the rest of a set of `outcome` whose [`Lmsr::buy_rest_cost`] is within
    /// `budget`; otherwise as [`Lmsr::shares_for_budget`].
    #[must_use]
    pub fn rest_shares_for_budget(&self, outcome: usize, budget: Credits) -> i64 {
        let Ok(odds) = self.odds(outcome) else { return 0 };
        let estimate = floor(odds.affordable(-odds.against_after(0), budget));
        largest(self.room(outcome, -1), estimate, |shares| {
            set_mills(shares) - odds.sell_mills(shares) <= budget.mills()
        })
    }

    /// Records a trade: `delta` shares of `outcome` were sold to a trader, or bought back if it is
    /// below zero.
    ///
    /// # Errors
    ///
    /// [`LmsrError::UnknownOutcome`], or [`LmsrError::OutOfRange`] if the trade would leave
    /// [`MAX_SOLD`]. The state is unchanged then.
    pub fn trade(&mut self, outcome: usize, delta: i64) -> Result<(), LmsrError> {
        let sold = self.sold.get_mut(outcome).ok_or(LmsrError::UnknownOutcome)?;
        let after = sold.checked_add(delta).filter(|s| in_range(*s)).ok_or(LmsrError::OutOfRange)?;
        *sold = after;
        Ok(())
    }

    /// The complete sets that the maker has minted, less those that it redeemed: `max_j sold_j`.
    /// Below zero if traders brought it more sets than it made.
    #[must_use]
    pub fn sets(&self) -> i64 {
        self.sold.iter().copied().max().unwrap_or(0)
    }

    /// The shares of an outcome that the maker keeps of the sets it minted: `sets - sold_i`, never
    /// below zero; `None` if there is no such outcome.
    #[must_use]
    pub fn holdings(&self, outcome: usize) -> Option<i64> {
        self.sold.get(outcome).map(|sold| self.sets().saturating_sub(*sold))
    }

    /// The market seen from one outcome.
    fn odds(&self, outcome: usize) -> Result<Odds, LmsrError> {
        let rows = || self.sold.iter().copied().zip(self.offsets.iter().copied());
        let own = rows().nth(outcome).ok_or(LmsrError::UnknownOutcome)?;
        // Differences of shares are taken as integers: exact however far the market has gone.
        let above = |a: (i64, f64), b: (i64, f64)| float(a.0.saturating_sub(b.0)) / self.liquidity + (a.1 - b.1);
        let rest = || rows().enumerate().filter(|row| row.0 != outcome).map(|row| row.1);
        let top = rest()
            .reduce(|best, row| if above(row, best) > 0.0 { row } else { best })
            .ok_or(LmsrError::UnknownOutcome)?;
        // The sum includes the top itself: e^0 = 1.
        let sum: f64 = rest().map(|row| above(row, top).exp()).sum();
        Ok(Odds { liquidity: self.liquidity, lead: top.0.saturating_sub(own.0), tilt: (top.1 - own.1) + sum.ln() })
    }

    /// Whether a trade of `shares` that changes the sold shares by `delta` is one.
    fn check_trade(&self, outcome: usize, shares: i64, delta: i64) -> Result<(), LmsrError> {
        if shares < 0 {
            return Err(LmsrError::NegativeShares);
        }
        let sold = self.sold.get(outcome).ok_or(LmsrError::UnknownOutcome)?;
        match sold.checked_add(delta) {
            Some(after) if in_range(after) => Ok(()),
            _ => Err(LmsrError::OutOfRange),
        }
    }

    /// How many shares one order may move the outcome in the direction of `sign`.
    fn room(&self, outcome: usize, sign: i64) -> i64 {
        let sold = self.sold.get(outcome).copied().unwrap_or(0);
        let room = MAX_SOLD.saturating_sub(sold.saturating_mul(sign));
        room.clamp(0, Shares::MAX_ORDER.count())
    }
}

/// A market seen from one outcome: itself against all the rest together.
#[derive(Debug, Clone, Copy)]
struct Odds {
    /// `b`, in shares.
    liquidity: f64,
    /// Shares by which the strongest other outcome is ahead.
    lead: i64,
    /// What the opening probabilities and the other outcomes add to the log odds.
    tilt: f64,
}

/// The value of a trade before it is rounded, in mills: the sum of two parts, so that the many
/// digits of a large trade need not fit into a float.
#[derive(Debug, Clone, Copy)]
struct Worth {
    /// The part that is known exactly.
    whole: i64,
    /// The part that is not, of either sign.
    rest: f64,
    /// What the rounding adds for a buyer and takes from a seller.
    guard: f64,
}

impl Odds {
    /// The log odds against the outcome once `delta` more shares of it are sold. Only the integer
    /// changes with `delta`, so this never rises with it.
    fn against_after(&self, delta: i64) -> f64 {
        float(self.lead.saturating_sub(delta)) / self.liquidity + self.tilt
    }

    /// The marginal price once `delta` more shares are sold.
    fn price_after(&self, delta: i64) -> f64 {
        let price = logistic(-self.against_after(delta));
        // A price that is 0 or 1 but for the length of a float's mantissa is still neither.
        price.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0)
    }

    /// How many shares beyond the lead bring the price to `target`.
    fn shares_beyond_lead(&self, target: f64) -> f64 {
        self.liquidity * (self.tilt + (target / (1.0 - target)).ln())
    }

    /// The shares that `budget` buys of a side with log odds `against` it, before rounding.
    fn affordable(&self, against: f64, budget: Credits) -> f64 {
        if !budget.is_positive() {
            return 0.0;
        }
        let budget = float(budget.mills()) / 1000.0 / self.liquidity;
        // ln((e^m - 1) / pi): in logarithms, as e^m may be too large and pi too small for a float.
        let gained = budget + (-(-budget).exp_m1()).ln() + softplus(against);
        self.liquidity * softplus(gained)
    }

    /// The value of `shares` bought from the state in which `sold` more shares are sold than now.
    ///
    /// With `u = shares / b`: where the outcome is the underdog, `b ln(1 + pi (e^u - 1))`; where it
    /// is the favourite, all of the sets less their rest, `-b ln(1 - (1 - pi) (1 - e^-u))`. On the
    /// way from the one to far into the other `e^u` is too large for a float, but there the shares
    /// that only make good the lead can be left out of the logarithms, as an integer.
    fn worth(&self, sold: i64, shares: i64) -> Worth {
        let (low, high) = (self.against_after(sold), self.against_after(sold.saturating_add(shares)));
        let mills = self.liquidity * 1000.0;
        let moved = -(-float(shares) / self.liquidity).exp_m1();
        let (whole, rest) = if low < 0.0 {
            (set_mills(shares), mills * (-logistic(low) * moved).ln_1p())
        } else if -high <= CERTAIN {
            (0, mills * ((-high).exp() * moved * logistic(low)).ln_1p())
        } else {
            let ahead = sold.saturating_add(shares).saturating_sub(self.lead);
            (set_mills(ahead), mills * (softplus(high) - self.tilt - softplus(-low)))
        };
        let size = if low < 0.0 {
            -rest
        } else {
            let as_underdog = softplus(-high.max(0.0)) - softplus(-low);
            let as_favourite = LN_2 - softplus(high.min(0.0));
            mills * (as_underdog.max(0.0) + as_favourite)
        };
        Worth { whole, rest, guard: FIXED_GUARD + RELATIVE_GUARD * size }
    }

    /// The cost of `shares` in mills, rounded up.
    fn buy_mills(&self, shares: i64) -> i64 {
        if shares <= 0 {
            return 0;
        }
        let worth = self.worth(0, shares);
        let cost = worth.whole.saturating_add(ceil(worth.rest + worth.guard));
        // Nobody pays on average more than the highest marginal price; only the guard could.
        let bound = mills_not_below(self.price_after(shares)).saturating_mul(shares);
        cost.min(bound).min(set_mills(shares)).max(1)
    }

    /// The proceeds of `shares` in mills, rounded down.
    fn sell_mills(&self, shares: i64) -> i64 {
        if shares <= 0 {
            return 0;
        }
        let after = shares.saturating_neg();
        let worth = self.worth(after, shares);
        let proceeds = worth.whole.saturating_add(floor(worth.rest - worth.guard));
        let bound = mills_not_above(self.price_after(after)).saturating_mul(shares);
        proceeds.max(bound).min(set_mills(shares) - 1).max(0)
    }
}

/// The cost function `C(q) = b ln(sum_i exp(q_i / b))` in credits, for a `liquidity` and
/// `quantities` in shares, in log-sum-exp form (Hanson 2003). Minus infinity without outcomes.
///
/// For checks: the difference of two values loses digits that [`Lmsr::buy_cost`] keeps. An opening
/// probability `p_i` enters as `b ln p_i` added to its quantity.
#[must_use]
pub fn cost_function(liquidity: f64, quantities: &[f64]) -> f64 {
    let top = quantities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = quantities.iter().map(|q| ((q - top) / liquidity).exp()).sum();
    top + liquidity * sum.ln()
}

fn check_probabilities(probabilities: &[u16]) -> Result<(), LmsrError> {
    let count = probabilities.len();
    if !(MIN_OUTCOMES..=MAX_OUTCOMES).contains(&count) {
        return Err(LmsrError::OutcomeCount(count));
    }
    let total: u32 = probabilities.iter().map(|p| u32::from(*p)).sum();
    if total != 1000 || probabilities.contains(&0) {
        return Err(LmsrError::Probabilities);
    }
    Ok(())
}

fn in_range(sold: i64) -> bool {
    (-MAX_SOLD..=MAX_SOLD).contains(&sold)
}

/// What complete sets are worth in mills. Never saturates for shares that a trade may have.
fn set_mills(shares: i64) -> i64 {
    shares.saturating_mul(MILLS_PER_CREDIT)
}

/// `1 / (1 + e^-x)`.
fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + e^x)`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The lowest whole price in mills that a marginal price is not above, compared as limits are.
fn mills_not_below(price: f64) -> i64 {
    let near = floor(price * 1000.0);
    if price <= float(near) / 1000.0 { near } else { near.saturating_add(1) }
}

/// The highest whole price in mills that a marginal price is not below, compared as limits are.
fn mills_not_above(price: f64) -> i64 {
    let near = ceil(price * 1000.0);
    if price >= float(near) / 1000.0 { near } else { near.saturating_sub(1) }
}

/// The largest number up to `most` that fits, where all smaller ones than a fitting one fit, and 0
/// if none does. Looks around `estimate` first, which is nearly always the answer.
fn largest(most: i64, estimate: i64, fits: impl Fn(i64) -> bool) -> i64 {
    let estimate = estimate.clamp(0, most);
    let mut step = 1_i64;
    // Invariant from here on: `low` fits or is 0; `high` does not fit or is beyond `most`.
    let (mut low, mut high) = if fits(estimate) {
        let mut low = estimate;
        loop {
            if low == most {
                return most;
            }
            let next = low.saturating_add(step).min(most);
            if !fits(next) {
                break (low, next);
            }
            low = next;
            step = step.saturating_mul(2);
        }
    } else {
        let mut high = estimate;
        loop {
            let next = high.saturating_sub(step).max(0);
            if next == 0 || fits(next) {
                break (next, high);
            }
            high = next;
            step = step.saturating_mul(2);
        }
    };
    while high.saturating_sub(low) > 1 {
        let middle = i64::midpoint(low, high);
        if fits(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

fn floor(value: f64) -> i64 {
    integer(value.floor())
}

fn ceil(value: f64) -> i64 {
    integer(value.ceil())
}

#[expect(clippy::as_conversions, reason = "exact up to 2^53, and every use is below or guarded")]
fn float(value: i64) -> f64 {
    value as f64
}

#[expect(clippy::as_conversions, reason = "saturates by definition, and NaN becomes 0")]
fn integer(value: f64) -> i64 {
    value as i64
}
