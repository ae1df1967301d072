//! Money, prices and shares: integers with units, and their exact decimal text.
//!
//! One credit is 1000 mills; a [`Price`] is mills per share; a winning share pays 1000 mills.
//! Nothing here is ever a float and nothing wraps: arithmetic that leaves the range of `i64` is
//! [`Overflow`].

use std::fmt;

use thiserror::Error;

/// Mills in one credit, and the payout of one winning share in mills.
pub const MILLS_PER_CREDIT: i64 = 1000;

/// A sum, difference or product left the range of a 64-bit integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the amount is too large to be held")]
pub struct Overflow;

/// Why a decimal text is not an amount, a price or a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecimalError {
    /// Not of the form `-?digits(.digits)?` in ASCII.
    #[error("is not a decimal number")]
    Malformed,
    /// More decimals than the unit holds.
    #[error("has more than {allowed} decimals")]
    TooManyDecimals {
        /// How many decimals the unit holds.
        allowed: u32,
    },
    /// Outside the range of the type.
    #[error("is out of range")]
    OutOfRange,
}

/// An amount of money in mills (1/1000 credit). May be negative where a difference is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Credits(i64);

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// An amount of so many mills.
    #[must_use]
    pub const fn from_mills(mills: i64) -> Self {
        Self(mills)
    }

    /// The amount in mills.
    #[must_use]
    pub const fn mills(self) -> i64 {
        self.0
    }

    /// The sum, or [`Overflow`].
    pub fn plus(self, other: Self) -> Result<Self, Overflow> {
        self.0.checked_add(other.0).map(Self).ok_or(Overflow)
    }

    /// The difference, or [`Overflow`].
    pub fn minus(self, other: Self) -> Result<Self, Overflow> {
        self.0.checked_sub(other.0).map(Self).ok_or(Overflow)
    }

    /// Whether the amount is above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// Reads credits from decimal text with at most three decimals: `"12.345"`. A leading minus is
    /// allowed; exponents, signs of plus, blanks and digits outside ASCII are not.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        parse_decimal(text, 3).map(Self)
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, 3)
    }
}

/// A price in mills per share, 1 to 999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(u16);

impl Price {
    /// The lowest price, 0.001.
    pub const MIN: Self = Self(1);
    /// The highest price, 0.999.
    pub const MAX: Self = Self(999);

    /// A price of so many mills, if it is within 1..=999.
    #[must_use]
    pub fn from_mills(mills: i64) -> Option<Self> {
        u16::try_from(mills).ok().filter(|m| (1..=999).contains(m)).map(Self)
    }

    /// The price in mills per share.
    #[must_use]
    pub fn mills(self) -> i64 {
        i64::from(self.0)
    }

    /// The price of the other side of a complete set: 1 − p.
    #[must_use]
    pub const fn complement(self) -> Self {
        Self(1000 - self.0)
    }

    /// The cost of `shares` at this price: exact.
    pub fn cost(self, shares: Shares) -> Result<Credits, Overflow> {
        shares.0.checked_mul(self.mills()).map(Credits).ok_or(Overflow)
    }

    /// Reads a price from decimal text between `0.001` and `0.999`, at most three decimals.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        Self::from_mills(parse_decimal(text, 3)?).ok_or(DecimalError::OutOfRange)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.mills(), 3)
    }
}

/// A number of whole shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Shares(i64);

impl Shares {
    /// None.
    pub const ZERO: Self = Self(0);
    /// The largest quantity of one order: 1,000,000,000.
    pub const MAX_ORDER: Self = Self(1_000_000_000);

    /// So many shares.
    #[must_use]
    pub const fn new(count: i64) -> Self {
        Self(count)
    }

    /// The number of shares.
    #[must_use]
    pub const fn count(self) -> i64 {
        self.0
    }

    /// The sum, or [`Overflow`].
    pub fn plus(self, other: Self) -> Result<Self, Overflow> {
        self.0.checked_add(other.0).map(Self).ok_or(Overflow)
    }

    /// The difference, or [`Overflow`].
    pub fn minus(self, other: Self) -> Result<Self, Overflow> {
        self.0.checked_sub(other.0).map(Self).ok_or(Overflow)
    }

    /// What complete sets of this number are worth: 1000 mills each.
    pub fn set_value(self) -> Result<Credits, Overflow> {
        self.0.checked_mul(MILLS_PER_CREDIT).map(Credits).ok_or(Overflow)
    }

    /// Whether there is at least one share.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fee rate in basis points (1/10000) of `shares x price x (1 - price)`, 0 to 1000 (10 %).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FeeRate(u16);

impl FeeRate {
    /// No fee.
    pub const ZERO: Self = Self(0);
    /// The highest rate: 10 %.
    pub const MAX: Self = Self(1000);

    /// A rate of so many basis points, if it is within 0..=1000.
    #[must_use]
    pub fn from_bps(bps: i64) -> Option<Self> {
        u16::try_from(bps).ok().filter(|b| *b <= 1000).map(Self)
    }

    /// The rate in basis points.
    #[must_use]
    pub fn bps(self) -> i64 {
        i64::from(self.0)
    }

    /// Reads a rate as a decimal fraction with at most four decimals: `"0.02"` is 2 %.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        Self::from_bps(parse_decimal(text, 4)?).ok_or(DecimalError::OutOfRange)
    }

    /// The taker's fee on one fill: `ceil(rate x shares x price x (1 - price))`, in mills, where
    /// the price is the fill's average, `cost / shares`. Never more than `cost` or than
    /// `1000 x shares - cost`, so a seller's proceeds always cover it.
    pub fn fee(self, shares: Shares, cost: Credits) -> Result<Credits, Overflow> {
        if self.0 == 0 || !shares.is_positive() {
            return Ok(Credits::ZERO);
        }
        let cost = i128::from(cost.mills());
        let full = i128::from(shares.set_value()?.mills());
        let numerator =
            i128::from(self.0).checked_mul(cost).and_then(|n| n.checked_mul(full - cost)).ok_or(Overflow)?;
        let denominator = full.checked_mul(10_000).ok_or(Overflow)?;
        let fee = numerator.checked_add(denominator - 1).ok_or(Overflow)? / denominator;
        i64::try_from(fee.max(0)).map(Credits).map_err(|_| Overflow)
    }
}

impl fmt::Display for FeeRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.bps(), 4)
    }
}

/// Reads `-?digits(.digits)?` exactly into units of `10^-decimals`.
pub fn parse_decimal(text: &str, decimals: u32) -> Result<i64, DecimalError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || text.len() > 64 {
        return Err(DecimalError::Malformed);
    }
    let fraction = fraction.trim_end_matches('0');
    let given = u32::try_from(fraction.len()).map_err(|_| DecimalError::OutOfRange)?;
    let missing = decimals.checked_sub(given).ok_or(DecimalError::TooManyDecimals { allowed: decimals })?;
    let mut value: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(i128::from(byte - b'0')))
            .ok_or(DecimalError::OutOfRange)?;
    }
    value = value.checked_mul(10_i128.pow(missing)).ok_or(DecimalError::OutOfRange)?;
    i64::try_from(if negative { -value } else { value }).map_err(|_| DecimalError::OutOfRange)
}

/// Writes units of `10^-decimals` as a decimal with exactly that many decimals.
fn write_decimal(f: &mut fmt::Formatter<'_>, units: i64, decimals: usize) -> fmt::Result {
    let scale = 10_u64.pow(u32::try_from(decimals).map_err(|_| fmt::Error)?);
    let magnitude = units.unsigned_abs();
    let sign = if units < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:0decimals$}", magnitude / scale, magnitude % scale);
    f.pad(&text)
}
