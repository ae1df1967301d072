//! How values stand in an event's JSON: as they do in the API. For each there is a JSON Schema that says so.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::ids::{
    AccountId, ApiKeyId, DeliveryId, EventId, JobId, MarketId, OrderGroupId, OrderId, SessionId, TradeId, TransferId,
    UserId, WebhookId,
};
use crate::ledger::TransferKind;
use crate::market::MarketStatus;
use crate::money::{Credits, FeeRate, Price, Shares};
use crate::order::{EndReason, OrderStatus, OrderType, Side};
use crate::trade::Settlement;
use crate::user::{Role, UserStatus};

/// Ids are their UUID's text.
macro_rules! ids {
    ($($id:ident,)+) => {
        $(impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Uuid::deserialize(deserializer).map(Self)
            }
        }

        impl JsonSchema for $id {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($id).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                Uuid::json_schema(generator)
            }
        })+
    };
}

/// What has a name is its name.
macro_rules! names {
    ($($name:ident,)+) => {
        $(impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::from_name(&text).ok_or_else(|| unexpected(&text, stringify!($name)))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let names: Vec<&str> = Self::ALL.iter().map(|one| one.as_str()).collect();
                json_schema!({ "type": "string", "enum": names })
            }
        })+
    };
}

/// Amounts and prices are decimal text.
macro_rules! decimals {
    ($($decimal:ident = $pattern:literal, $about:literal;)+) => {
        $(impl Serialize for $decimal {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $decimal {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(|_| unexpected(&text, "decimal text"))
            }
        }

        impl JsonSchema for $decimal {
            fn schema_name() -> Cow<'static, str> {
                stringify!($decimal).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $about })
            }
        })+
    };
}

fn unexpected<E: Error>(text: &str, wanted: &'static str) -> E {
    E::invalid_value(Unexpected::Str(text), &wanted)
}

ids! {
    AccountId, ApiKeyId, DeliveryId, EventId, JobId, MarketId, OrderId, SessionId, TradeId, TransferId, UserId, WebhookId,
    OrderGroupId,
}
names! { EndReason, MarketStatus, OrderStatus, OrderType, Role, Settlement, Side, TransferKind, UserStatus, }
decimals! {
    Credits = "^-?[0-9]+[.][0-9]{3}$", "Credits, as decimal text";
    Price = "^0[.][0-9]{3}$", "A price in credits for a share, as decimal text";
}

impl Serialize for Shares {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.count())
    }
}

impl<'de> Deserialize<'de> for Shares {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Self::new)
    }
}

impl JsonSchema for FeeRate {
    fn schema_name() -> Cow<'static, str> {
        "FeeRate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^0[.][0-9]{4}$", "description": "A rate, as decimal text" })
    }
}

impl JsonSchema for Shares {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Shares".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        i64::json_schema(generator)
    }
}
