//! Identifiers, one type for each thing, all UUIDv7; and the source of fresh ones as a value.

use std::fmt;

use jiff::Timestamp;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(/// A user.
    UserId);
id!(/// A market.
    MarketId);
id!(/// An order.
    OrderId);
id!(/// A trade (one fill).
    TradeId);
id!(/// A transfer of the ledger.
    TransferId);
id!(/// An account of the ledger.
    AccountId);
id!(/// A signed-in session.
    SessionId);
id!(/// An API key.
    ApiKeyId);
id!(/// A job.
    JobId);
id!(/// A webhook.
    WebhookId);
id!(/// A message to a webhook.
    DeliveryId);
id!(/// A dead-man switch.
    SwitchId);
id!(/// A group of orders.
    OrderGroupId);
id!(/// An event of the audit log.
    EventId);

impl AccountId {
    /// The account that issues credits. The only one that may go below zero.
    pub const TREASURY: Self = Self(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));
    /// The account that gathers the fees of trades.
    pub const FEES: Self = Self(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0002));

    /// A user's cash account: it has the user's own id, so that it needs no look-up.
    #[must_use]
    pub const fn of_user(user: UserId) -> Self {
        Self(user.0)
    }

    /// A market's collateral account: it has the market's own id.
    #[must_use]
    pub const fn of_market(market: MarketId) -> Self {
        Self(market.0)
    }
}

/// A run of fresh ids, handed to a decision as a value so that decisions stay pure: the first is
/// drawn by the [`IdSource`](crate::ports::IdSource), each next is one more in the low 62 bits.
#[derive(Debug, Clone)]
pub struct FreshIds {
    next: u128,
}

const LOW_62_BITS: u128 = (1 << 62) - 1;

impl FreshIds {
    /// The run that begins with `first`, which must be a UUIDv7.
    #[must_use]
    pub const fn starting_at(first: Uuid) -> Self {
        Self { next: first.as_u128() }
    }

    /// A repeatable run for tests and simulations: the time of `now` and a number.
    #[must_use]
    pub fn seeded(now: Timestamp, seed: u64) -> Self {
        let millis = u128::from(now.as_millisecond().unsigned_abs()) & 0xffff_ffff_ffff;
        let seed = u128::from(seed);
        Self { next: (millis << 80) | (0x7 << 76) | ((seed & 0xfff) << 64) | (0b10 << 62) | ((seed >> 12) << 10) }
    }

    /// The next id. The version and variant bits never change: the counter wraps within its bits.
    pub fn next_uuid(&mut self) -> Uuid {
        let id = self.next;
        self.next = (id & !LOW_62_BITS) | (id.wrapping_add(1) & LOW_62_BITS);
        Uuid::from_u128(id)
    }
}
