//! What happened, told to whoever follows: webhooks, live streams, other systems.
//!
//! Every unit of work that changes something writes what happened into the outbox, in the same
//! transaction: so there is an event if, and only if, its change was committed. The events of one
//! unit are one batch, a row of JSON; [`batch`] makes it of [`Changes`](crate::ports::Changes).
//!
//! An event's [sequence](Recorded::sequence) never repeats and only grows, in the whole and so in each
//! market. It has gaps. The format of each kind is documented in `docs/events.md`; a kind whose fields
//! change their meaning gets another [version](Event::version).

mod batch;
mod data;
mod forms;

pub use batch::{EVENTS_PER_BATCH, EventBatch, NewBatch, Recorded, batch};
pub use data::{
    BalanceData, BookData, HoldingData, KeyData, LevelData, MarketData, OrderData, PositionData, SessionData,
    TradeData, TransferData, UserData,
};

use schemars::{Schema, SchemaGenerator};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize};

use crate::ids::{MarketId, UserId};

/// A kind of event.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name, such as `trade.executed`.
    pub name: &'static str,
    /// The version of its format.
    pub version: u16,
    /// When there is one, in a sentence or two.
    pub about: &'static str,
    /// The JSON Schema of its data; what that refers to becomes known to the generator.
    pub data: fn(&mut SchemaGenerator) -> Schema,
}

macro_rules! events {
    ($($(#[doc = $doc:literal])* $variant:ident($data:ty) = $name:literal, $version:literal;)+) => {
        /// Something that happened, as it is kept and sent: `{"type": …, "data": …}`.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "type", content = "data")]
        pub enum Event {
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant(Box<$data>),)+
        }

        impl Event {
            /// All kinds.
            pub const CATALOGUE: &'static [Kind] = &[$(Kind {
                name: $name,
                version: $version,
                about: concat!($($doc,)*),
                data: SchemaGenerator::subschema_for::<$data>,
            },)+];

            /// The names of all kinds.
            pub const KINDS: &'static [&'static str] = &[$($name,)+];

            /// The name of its kind, such as `trade.executed`.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// The version of its kind's format. New fields may come without a new version.
            #[must_use]
            pub const fn version(&self) -> u16 {
                match self { $(Self::$variant(_) => $version,)+ }
            }

            /// Writes its data as a field of something larger.
            pub fn serialize_data<S: SerializeStruct>(&self, into: &mut S) -> Result<(), S::Error> {
                match self { $(Self::$variant(data) => into.serialize_field("data", data),)+ }
            }
        }
    };
}

events! {
    /// Somebody signed up, or a bot was made.
    UserCreated(UserData) = "user.created", 1;
    /// A user changed: its name, role, status or what else it has.
    UserUpdated(UserData) = "user.updated", 1;
    /// A session ended before its time.
    SessionEnded(SessionData) = "session.ended", 1;
    /// An API key was revoked.
    KeyRevoked(KeyData) = "key.revoked", 1;
    /// A market was opened.
    MarketOpened(MarketData) = "market.opened", 1;
    /// A market's texts, tags or times were edited.
    MarketUpdated(MarketData) = "market.updated", 1;
    /// Trading was stopped; orders rest.
    MarketHalted(MarketData) = "market.halted", 1;
    /// Trading goes on.
    MarketReopened(MarketData) = "market.reopened", 1;
    /// Trading ended. Its open orders are cancelled after that.
    MarketClosed(MarketData) = "market.closed", 1;
    /// An outcome was named.
    MarketProposed(MarketData) = "market.proposed", 1;
    /// The named outcome was challenged.
    MarketDisputed(MarketData) = "market.disputed", 1;
    /// The market was decided. Positions are paid after that.
    MarketResolved(MarketData) = "market.resolved", 1;
    /// The market was called off. Positions are paid after that.
    MarketVoided(MarketData) = "market.voided", 1;
    /// Everybody was paid; nothing follows in this market.
    MarketPaid(MarketData) = "market.paid", 1;
    /// A market without trades was deleted.
    MarketDeleted(MarketData) = "market.deleted", 1;
    /// An order was accepted; as it stands after what it filled on arrival.
    OrderAccepted(OrderData) = "order.accepted", 1;
    /// Its owner amended an order, or shares were taken off it where it met its owner's own.
    OrderAmended(OrderData) = "order.amended", 1;
    /// A resting order was filled, wholly or in part.
    OrderFilled(OrderData) = "order.filled", 1;
    /// A resting order ended before everything was filled.
    OrderCancelled(OrderData) = "order.cancelled", 1;
    /// A resting order's date passed.
    OrderExpired(OrderData) = "order.expired", 1;
    /// Shares were traded.
    TradeExecuted(TradeData) = "trade.executed", 1;
    /// What rests in a market's books changed: all of one unit of work together.
    BookChanged(BookData) = "book.changed", 1;
    /// Credits went from one account to another, other than by a trade.
    TransferExecuted(TransferData) = "transfer.executed", 1;
    /// What a user has changed: as it stands after the unit of work.
    BalanceChanged(BalanceData) = "balance.changed", 1;
    /// What a user holds in a market changed: as it stands after the unit of work.
    PositionChanged(PositionData) = "position.changed", 1;
}

impl Event {
    /// The market that it happened in, if in one.
    #[must_use]
    pub fn market(&self) -> Option<MarketId> {
        match self {
            Self::MarketOpened(data)
            | Self::MarketUpdated(data)
            | Self::MarketHalted(data)
            | Self::MarketReopened(data)
            | Self::MarketClosed(data)
            | Self::MarketProposed(data)
            | Self::MarketDisputed(data)
            | Self::MarketResolved(data)
            | Self::MarketVoided(data)
            | Self::MarketPaid(data)
            | Self::MarketDeleted(data) => Some(data.market_id),
            Self::OrderAccepted(data)
            | Self::OrderAmended(data)
            | Self::OrderFilled(data)
            | Self::OrderCancelled(data)
            | Self::OrderExpired(data) => Some(data.market_id),
            Self::TradeExecuted(data) => Some(data.market_id),
            Self::BookChanged(data) => Some(data.market_id),
            Self::PositionChanged(data) => Some(data.market_id),
            Self::TransferExecuted(data) => data.market_id,
            Self::UserCreated(_)
            | Self::UserUpdated(_)
            | Self::SessionEnded(_)
            | Self::KeyRevoked(_)
            | Self::BalanceChanged(_) => None,
        }
    }

    /// Whom it concerns: those who may see it even where nobody else may. An account of the house or of
    /// a market counts as a user that nobody is.
    #[must_use]
    pub fn users(&self) -> [Option<UserId>; 2] {
        match self {
            Self::UserCreated(data) | Self::UserUpdated(data) => [Some(data.user_id), data.owner_id],
            Self::OrderAccepted(data)
            | Self::OrderAmended(data)
            | Self::OrderFilled(data)
            | Self::OrderCancelled(data)
            | Self::OrderExpired(data) => [Some(data.user_id), None],
            Self::TradeExecuted(data) => [Some(data.taker_id), data.maker_id],
            Self::TransferExecuted(data) => [Some(UserId(data.from_account_id.0)), Some(UserId(data.to_account_id.0))],
            Self::SessionEnded(data) => [Some(data.user_id), None],
            Self::KeyRevoked(data) => [Some(data.user_id), None],
            Self::BalanceChanged(data) => [Some(data.user_id), None],
            Self::PositionChanged(data) => [Some(data.user_id), None],
            _ => [None, None],
        }
    }

    /// Whether everybody may know of it. Of a trade not the whole: who traded is not public.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        !matches!(
            self,
            Self::UserCreated(_)
                | Self::UserUpdated(_)
                | Self::SessionEnded(_)
                | Self::KeyRevoked(_)
                | Self::OrderAccepted(_)
                | Self::OrderAmended(_)
                | Self::OrderFilled(_)
                | Self::OrderCancelled(_)
                | Self::OrderExpired(_)
                | Self::TransferExecuted(_)
                | Self::BalanceChanged(_)
                | Self::PositionChanged(_)
        )
    }
}
