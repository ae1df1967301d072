//! Orders: what a trader asks for, and how it stands.

use jiff::Timestamp;

use crate::ids::{ApiKeyId, MarketId, OrderGroupId, OrderId, UserId};
use crate::market::OutcomeId;
use crate::money::{Credits, Overflow, Price, Shares};

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in the database and the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The one of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == name)
            }
        }
    };
}

named!(
    /// Which side of the book: buyers bid, sellers ask.
    Side {
        /// Bids.
        Buy = "buy",
        /// Asks.
        Sell = "sell",
    }
);

impl Side {
    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

named!(
    /// Limit or market.
    OrderType {
        /// Has a price, and may rest.
        Limit = "limit",
        /// Fills at once within a worst price or a maximum spend; never rests.
        Market = "market",
    }
);

named!(
    /// How long an order lives.
    TimeInForce {
        /// Good till cancelled.
        Gtc = "gtc",
        /// Good till a date.
        Gtd = "gtd",
        /// Immediate or cancel: what cannot fill at once is cancelled.
        Ioc = "ioc",
        /// Fill or kill: all at once, or the order is refused.
        Fok = "fok",
    }
);

named!(
    /// What happens where an order would meet one of the same user.
    SelfTradePrevention {
        /// The incoming order's rest is cancelled.
        CancelNewest = "cancel_newest",
        /// The resting order is cancelled.
        CancelOldest = "cancel_oldest",
        /// Both shrink by the smaller quantity, without a trade.
        Decrement = "decrement",
    }
);

named!(
    /// What an order pays with: see the four settlements.
    Backing {
        /// Money: a bid pays the price, an ask pays for the rest of a set (1 − price).
        Cash = "cash",
        /// Shares: an ask gives shares of the outcome, a bid gives the rest of a set.
        Shares = "shares",
    }
);

named!(
    /// How an order stands.
    OrderStatus {
        /// Rests in the book.
        Open = "open",
        /// Everything was filled.
        Filled = "filled",
        /// Ended before everything was filled: see [`EndReason`].
        Cancelled = "cancelled",
        /// Its date passed.
        Expired = "expired",
    }
);

named!(
    /// Why an order ended before everything was filled.
    EndReason {
        /// Its owner asked.
        Requested = "requested",
        /// It was to fill at once and could not.
        TimeInForce = "time_in_force",
        /// It met an order of the same user.
        SelfTrade = "self_trade",
        /// Trading in the market ended.
        MarketClosed = "market_closed",
        /// Its date passed.
        Expired = "expired",
        /// Its owner's account was closed.
        UserDeactivated = "user_deactivated",
        /// Whoever placed it was not heard of in time: see [`cancel_switch`](crate::cancel_switch).
        Disconnected = "disconnected",
        /// The cap of its group was reached: see [`order_group`](crate::order_group).
        GroupFull = "group_full",
    }
);

/// A place in a book: which one, which side of it, and at which price, as that book's outcome sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BookPlace {
    /// The book's outcome.
    pub book: OutcomeId,
    /// The side.
    pub side: Side,
    /// The price of one share of the book's outcome.
    pub price: Price,
}

/// Which book an order for `outcome` goes to, and on which side: a two-outcome market has one book,
/// where an order for the second outcome stands mirrored.
#[must_use]
pub const fn book_side(outcome: OutcomeId, side: Side, is_binary: bool) -> (OutcomeId, Side) {
    if is_binary && outcome.index_is_not_first() { (OutcomeId::FIRST, side.opposite()) } else { (outcome, side) }
}

/// A price of `outcome` as its book sees it, and the other way round.
#[must_use]
pub const fn book_price(outcome: OutcomeId, price: Price, is_binary: bool) -> Price {
    if is_binary && outcome.index_is_not_first() { price.complement() } else { price }
}

/// What one share costs an order that is backed by cash, in mills, at a price of its book.
#[must_use]
pub fn unit_cost(side: Side, price: Price) -> i64 {
    match side {
        Side::Buy => price.mills(),
        Side::Sell => price.complement().mills(),
    }
}

/// An order.
///
/// Invariants: `filled + remaining <= quantity` (the difference was cancelled); `remaining` is above
/// zero exactly while the order is open; `reserved` is `remaining x unit cost` for an open order
/// backed by cash and zero for any other; an open order backed by shares holds `remaining` shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// The market.
    pub market: MarketId,
    /// Whose it is.
    pub user: UserId,
    /// The outcome, as its owner named it.
    pub outcome: OutcomeId,
    /// Buy or sell that outcome.
    pub side: Side,
    /// Limit or market.
    pub order_type: OrderType,
    /// The limit, or a market order's worst price, of the outcome as its owner named it.
    pub price: Option<Price>,
    /// The most that a market order may spend, fees included.
    pub max_spend: Option<Credits>,
    /// What it pays with.
    pub backing: Backing,
    /// The original number of shares (as last amended); for an order bounded by its spend alone, what it filled.
    pub quantity: Shares,
    /// How many were filled.
    pub filled: Shares,
    /// How many still rest.
    pub remaining: Shares,
    /// The cash that it holds, in mills.
    pub reserved: Credits,
    /// The sum of its fills' cost at prices of the outcome as its owner named it, in mills.
    pub cost: Credits,
    /// The fees it paid, in mills.
    pub fee: Credits,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// Until when, for good-till-date.
    pub expires_at: Option<Timestamp>,
    /// Refused rather than filled on arrival.
    pub post_only: bool,
    /// What happens where it meets its owner's own orders.
    pub self_trade_prevention: SelfTradePrevention,
    /// The owner's own id for it, unique among the owner's orders.
    pub client_order_id: Option<String>,
    /// The API key that it counts against: the one that placed or last amended it, where that has a limit
    /// of spending or of open orders.
    pub counted_by: Option<ApiKeyId>,
    /// How it stands.
    pub status: OrderStatus,
    /// Why it ended before everything was filled.
    pub end_reason: Option<EndReason>,
    /// Its book, and its side there.
    pub book: OutcomeId,
    /// Its side in its book.
    pub book_side: Side,
    /// Its price in its book; only limit orders rest.
    pub book_price: Option<Price>,
    /// Its place in time among the orders of its market.
    pub sequence: i64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The API key that placed it; none where its user was signed in.
    pub placed_by: Option<ApiKeyId>,
    /// The group that it is in.
    pub group: Option<OrderGroupId>,
}

impl Order {
    /// Whether its date is past, if it has one: it trades no more then, whether or not it was ended yet.
    #[must_use]
    pub fn is_past_its_date(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether it rests in the book.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.status, OrderStatus::Open)
    }

    /// Where it rests, if it can.
    #[must_use]
    pub fn place(&self) -> Option<BookPlace> {
        self.book_price.map(|price| BookPlace { book: self.book, side: self.book_side, price })
    }

    /// What an open order of this backing and place must reserve for `shares`, in mills.
    pub fn reserve_for(&self, shares: Shares) -> Result<Credits, Overflow> {
        match (self.backing, self.book_price) {
            (Backing::Cash, Some(price)) => {
                let unit = unit_cost(self.book_side, price);
                shares.count().checked_mul(unit).map(Credits::from_mills).ok_or(Overflow)
            }
            _ => Ok(Credits::ZERO),
        }
    }

    /// Ends the order: nothing rests, nothing is reserved.
    pub fn end(&mut self, status: OrderStatus, reason: Option<EndReason>, now: Timestamp) {
        self.status = status;
        self.end_reason = reason;
        self.remaining = Shares::ZERO;
        self.reserved = Credits::ZERO;
        self.updated_at = now;
    }
}

/// What a trader asks for. Already checked for form; the exchange decides whether it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceOrder {
    /// The market.
    pub market: MarketId,
    /// The trader.
    pub user: UserId,
    /// The outcome.
    pub outcome: OutcomeSpec,
    /// Buy or sell it.
    pub side: Side,
    /// The terms.
    pub terms: Terms,
    /// What it pays with; where nothing is said, buys pay cash and sells give shares.
    pub backing: Option<Backing>,
    /// What happens where it meets the trader's own orders.
    pub self_trade_prevention: SelfTradePrevention,
    /// The trader's own id for it, 1 to 64 printable ASCII characters.
    pub client_order_id: Option<String>,
    /// Refused rather than executed later than this, by the server's clock.
    pub valid_until: Option<Timestamp>,
    /// Gives shares that its owner has, as many as there are free, and never anything else.
    pub reduce_only: bool,
    /// The API key that sends it; none where its user is signed in.
    pub placed_by: Option<ApiKeyId>,
    /// The group that it shall be in.
    pub group: Option<OrderGroupId>,
}

/// An outcome by its name, or by its place where that is known already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutcomeSpec {
    /// By name, without regard to case.
    Name(String),
    /// By place.
    Id(OutcomeId),
}

/// Price, quantity and life of an order: only combinations that make sense can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terms {
    /// A limit order.
    Limit {
        /// The worst price.
        price: Price,
        /// 1 to 1,000,000,000 shares.
        quantity: Shares,
        /// How long it lives.
        life: Life,
        /// Refused rather than filled on arrival. Only for orders that may rest.
        post_only: bool,
    },
    /// A market order: within a worst price, a maximum spend (fees included; only for orders that
    /// pay cash), or both.
    Market {
        /// The bounds.
        bound: MarketBound,
        /// All at once, or refused.
        fill_or_kill: bool,
    },
}

/// What bounds a market order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarketBound {
    /// So many shares, none at a worse price.
    Worst {
        /// How many.
        quantity: Shares,
        /// The worst price.
        price: Price,
    },
    /// As many shares as the money buys; fees are part of it.
    Spend {
        /// The money, in mills.
        max_spend: Credits,
        /// At most so many shares.
        quantity: Option<Shares>,
        /// None at a worse price.
        price: Option<Price>,
    },
}

/// How long a limit order lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Good till cancelled.
    UntilCancelled,
    /// Good till that moment.
    Until(Timestamp),
    /// What cannot fill at once is cancelled.
    ImmediateOrCancel,
    /// All at once, or refused.
    FillOrKill,
}

/// A change of an open order. What is not named stays.
///
/// A smaller quantity at the same price keeps the order's place in time; a new price or a larger
/// quantity loses it, and the order may fill on the way in like a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmendOrder {
    /// The order.
    pub order: OrderId,
    /// Whose it must be.
    pub user: UserId,
    /// The new limit, of the outcome as its owner named it.
    pub price: Option<Price>,
    /// The new total quantity, filled shares included.
    pub quantity: Option<Shares>,
    /// A new date, for good-till-date orders.
    pub expires_at: Option<Timestamp>,
}
