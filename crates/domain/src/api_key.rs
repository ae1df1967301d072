//! API keys: what programs sign in with. A key speaks for one user and never may more than that user;
//! its scopes and its limits allow less.

use jiff::Timestamp;
use uuid::Uuid;

use crate::ids::{ApiKeyId, MarketId, UserId};
use crate::money::{Credits, Overflow};
use crate::refusal::Refusal;
use crate::text::{Lines, TextError, clean};

/// The most keys of a user that were not revoked.
pub const MOST_KEYS: usize = 50;
/// The most markets that a key can be kept to.
pub const MOST_MARKETS: usize = 100;

/// A part of what its user may do, for which a key can be good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// To see what the user may see.
    Read,
    /// To place, change and cancel orders.
    Trade,
    /// To pay others.
    Transfer,
    /// To open and lead markets, and what moderators and administrators alone may do.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 4] = [Self::Read, Self::Trade, Self::Transfer, Self::Admin];

    /// The scope as it stands in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Trade => "trade",
            Self::Transfer => "transfer",
            Self::Admin => "admin",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Trade => 2,
            Self::Transfer => 4,
            Self::Admin => 8,
        }
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether the scope is in it.
    #[must_use]
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Its scopes, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }

    /// The set as it stands in the database: names, joined by commas.
    #[must_use]
    pub fn to_text(self) -> String {
        self.iter().map(Scope::as_str).collect::<Vec<_>>().join(",")
    }

    /// The set of that text; none where a name is unknown.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        text.split(',').map(Scope::from_name).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope.bit()))
    }
}

/// What its owner calls a key: 1 to 100 characters in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

impl KeyName {
    /// Cleans and checks a name.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        clean(text, Lines::One, 1, 100).map(Self)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How far a key may go within its scopes; what is not said is not limited. Never changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyLimits {
    /// The markets in which it may trade; empty for all. At most [`MOST_MARKETS`].
    pub markets: Vec<MarketId>,
    /// The most that may leave the account in one day (UTC) by its orders and its payments, in mills.
    /// What its open orders reserve counts too, so that it is kept whenever they fill.
    pub spend_per_day: Option<Credits>,
    /// The most open orders that it may have placed.
    pub max_open_orders: Option<u32>,
}

impl KeyLimits {
    /// The markets as they stand in the database: ids, joined by commas; none for all markets.
    #[must_use]
    pub fn markets_to_text(&self) -> Option<String> {
        let ids: Vec<String> = self.markets.iter().map(ToString::to_string).collect();
        Some(ids.join(",")).filter(|text| !text.is_empty())
    }

    /// The markets of that text; none where it is no list of ids.
    #[must_use]
    pub fn markets_from_text(text: &str) -> Option<Vec<MarketId>> {
        text.split(',').map(|id| Uuid::try_parse(id).ok().map(MarketId)).collect()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.markets.is_empty() && !self.counts()
    }

    /// Whether its orders and payments must be counted.
    #[must_use]
    pub const fn counts(&self) -> bool {
        self.spend_per_day.is_some() || self.max_open_orders.is_some()
    }
}

/// A key. The key itself is known to its owner alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Whom it speaks for.
    pub user: UserId,
    /// What its owner calls it.
    pub name: KeyName,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// For what it is good.
    pub scopes: Scopes,
    /// How far.
    pub limits: KeyLimits,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is good; for ever where nothing is said.
    pub expires_at: Option<Timestamp>,
    /// Since when it is good for nothing.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, give or take a minute.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it is good at that moment.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

/// A day in UTC, counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i64);

impl Day {
    /// The day of a moment.
    #[must_use]
    pub fn of(moment: Timestamp) -> Self {
        Self(moment.as_second().div_euclid(86_400))
    }
}

/// What left an account by a key, in mills, on the day on which something last did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpending {
    /// The key.
    pub key: ApiKeyId,
    /// The day.
    pub day: Day,
    /// How much on that day.
    pub spent: Credits,
}

/// A limited key at work: its limits, and what of them is used. Guarded by the lock of its user's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUsage {
    /// The key.
    pub key: ApiKey,
    /// What it has spent.
    pub spending: KeySpending,
    /// What its open orders reserve, in mills.
    pub reserved: Credits,
    /// How many of its orders are open.
    pub open_orders: u64,
}

impl KeyUsage {
    /// Begins a new day where that of the spending is over.
    pub fn turn_to(&mut self, now: Timestamp) {
        let today = Day::of(now);
        // A clock that steps back over midnight must not give a day twice.
        if self.spending.day < today {
            self.spending = KeySpending { day: today, spent: Credits::ZERO, ..self.spending };
        }
    }

    /// Counts what has left the account.
    pub fn spend(&mut self, amount: Credits) -> Result<(), Overflow> {
        self.spending.spent = self.spending.spent.plus(amount)?;
        Ok(())
    }

    /// Refuses where the key is good for nothing any more, or not for this market.
    pub fn check(&self, market: Option<MarketId>, now: Timestamp) -> Result<(), Refusal> {
        if !self.key.is_live(now) {
            return Err(Refusal::KeyInactive);
        }
        let allowed = &self.key.limits.markets;
        match market {
            Some(market) if !allowed.is_empty() && !allowed.contains(&market) => Err(Refusal::KeyNotForMarket),
            _ => Ok(()),
        }
    }

    /// Refuses where more is used than the key allows, against what was used `before`.
    pub fn check_limits(&self, before: &Self) -> Result<(), Refusal> {
        let limits = &self.key.limits;
        if let Some(cap) = limits.spend_per_day {
            let (used, used_before) = (self.used()?, before.used()?);
            if used > cap {
                let (required, available) = (used.minus(used_before)?, cap.minus(used_before)?.max(Credits::ZERO));
                return Err(Refusal::KeySpendingLimit { limit: cap, required, available });
            }
        }
        match limits.max_open_orders {
            Some(limit) if self.open_orders > u64::from(limit) && self.open_orders > before.open_orders => {
                Err(Refusal::KeyOpenOrders { limit })
            }
            _ => Ok(()),
        }
    }

    /// What was spent today, and what its open orders still may.
    fn used(&self) -> Result<Credits, Overflow> {
        self.spending.spent.plus(self.reserved)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn usage(limits: KeyLimits) -> KeyUsage {
        let id = ApiKeyId(Uuid::from_u128(1));
        let key = ApiKey {
            id,
            user: UserId(Uuid::from_u128(2)),
            name: KeyName::parse("a bot").unwrap(),
            hash: [1; 32],
            scopes: Scopes::from_text("read,trade").unwrap(),
            limits,
            created_at: at(0),
            expires_at: Some(at(1_000_000)),
            revoked_at: None,
            last_used_at: None,
        };
        let spending = KeySpending { key: id, day: Day(1), spent: Credits::ZERO };
        KeyUsage { key, spending, reserved: Credits::ZERO, open_orders: 0 }
    }

    #[test]
    fn scopes_are_a_set_and_a_text() {
        let scopes: Scopes = [Scope::Trade, Scope::Read, Scope::Trade].into_iter().collect();
        assert_eq!(scopes.to_text(), "read,trade");
        assert_eq!(Scopes::from_text("trade,read"), Some(scopes));
        assert!(scopes.contains(Scope::Read) && !scopes.contains(Scope::Admin));
        assert_eq!(Scopes::from_text("read,everything"), None);
        assert_eq!(Scopes::from_text(""), None);
    }

    #[test]
    fn a_key_is_good_until_it_expires_or_is_revoked_and_in_its_markets() {
        let market = MarketId(Uuid::from_u128(3));
        let mut limited = usage(KeyLimits { markets: vec![market], ..KeyLimits::default() });
        assert_eq!(limited.check(Some(market), at(10)), Ok(()));
        assert_eq!(limited.check(None, at(10)), Ok(()));
        assert_eq!(limited.check(Some(MarketId(Uuid::nil())), at(10)), Err(Refusal::KeyNotForMarket));
        assert_eq!(limited.check(Some(market), at(1_000_000)), Err(Refusal::KeyInactive));
        limited.key.revoked_at = Some(at(5));
        assert_eq!(limited.check(Some(market), at(10)), Err(Refusal::KeyInactive));
        assert_eq!(usage(KeyLimits::default()).check(Some(market), at(10)), Ok(()));
    }

    #[test]
    fn what_is_spent_and_what_is_reserved_count_together_against_the_day() {
        let cap = Credits::from_mills(100);
        let before = usage(KeyLimits { spend_per_day: Some(cap), ..KeyLimits::default() });
        let mut after = before.clone();
        after.spend(Credits::from_mills(60)).unwrap();
        after.reserved = Credits::from_mills(40);
        assert_eq!(after.check_limits(&before), Ok(()));
        let used_up = after.clone();
        after.spend(Credits::from_mills(1)).unwrap();
        let refused = after.check_limits(&used_up);
        let (required, available) = (Credits::from_mills(1), Credits::ZERO);
        assert_eq!(refused, Err(Refusal::KeySpendingLimit { limit: cap, required, available }));

        // On the next day what was spent is forgotten, and what is reserved is not.
        let mut next_day = used_up;
        next_day.turn_to(at(2 * 86_400));
        assert_eq!((next_day.spending.day, next_day.spending.spent), (Day(2), Credits::ZERO));
        next_day.spend(Credits::from_mills(60)).unwrap();
        assert_eq!(next_day.check_limits(&before), Ok(()));
        // Back before midnight, the count goes on.
        next_day.turn_to(at(86_400));
        assert_eq!((next_day.spending.day, next_day.spending.spent), (Day(2), Credits::from_mills(60)));
    }

    #[test]
    fn one_more_open_order_than_allowed_is_refused_and_an_end_of_one_never_is() {
        let mut usage = usage(KeyLimits { max_open_orders: Some(2), ..KeyLimits::default() });
        let before = usage.clone();
        usage.open_orders = 2;
        assert_eq!(usage.check_limits(&before), Ok(()));
        let mut more = usage.clone();
        more.open_orders = 3;
        assert_eq!(more.check_limits(&usage), Err(Refusal::KeyOpenOrders { limit: 2 }));
        assert_eq!(more.check_limits(&more), Ok(()));
    }
}
