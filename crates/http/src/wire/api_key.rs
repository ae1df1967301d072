//! API keys.

use bellwether_domain::api_key::{ApiKey, KeyLimits, KeyName, MOST_MARKETS, Scope, Scopes};
use bellwether_domain::ids::{ApiKeyId, MarketId, UserId};
use bellwether_domain::money::Credits;
use bellwether_usecases::Rendered;
use bellwether_usecases::api_keys::NewKey;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::decimal::Shown;
use crate::fields::{Fields, Node};

/// The most open orders that a key can be kept to.
const MOST_OPEN_ORDERS: i64 = 1_000_000;

/// A key. The key itself is in the answer that makes it, and never again.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiKeyWire<'a> {
    id: Shown<ApiKeyId>,
    owner: Shown<UserId>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    scopes: Vec<&'static str>,
    markets: Vec<Shown<MarketId>>,
    spend_per_day: Option<Shown<Credits>>,
    max_open_orders: Option<u32>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

impl<'a> ApiKeyWire<'a> {
    pub(crate) fn of(key: &'a ApiKey) -> Self {
        Self {
            id: Shown(key.id),
            owner: Shown(key.user),
            name: key.name.as_str(),
            key: None,
            scopes: key.scopes.iter().map(Scope::as_str).collect(),
            markets: key.limits.markets.iter().copied().map(Shown).collect(),
            spend_per_day: key.limits.spend_per_day.map(Shown),
            max_open_orders: key.limits.max_open_orders,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// The answer that tells a new key.
pub(crate) fn render_new_key(key: &ApiKey, token: &str) -> Rendered {
    let wire = ApiKeyWire { key: Some(token), ..ApiKeyWire::of(key) };
    super::created(&wire, format!("/api/v1/api-keys/{}", key.id))
}

/// Reads a key that is wanted.
pub(crate) fn new_key(fields: &Fields<'_>) -> Option<NewKey> {
    let owner = fields.optional("owner", |n| n.id().map(UserId));
    let name = fields.required("name", |n| n.parsed(KeyName::parse));
    let scopes = fields.required("scopes", scopes);
    let markets = fields.or("markets", Vec::new(), |n| n.list(1, MOST_MARKETS, |market| market.id().map(MarketId)));
    let spend_per_day = fields.optional("spendPerDay", positive);
    let max_open_orders = fields.optional("maxOpenOrders", |n| u32::try_from(n.whole(0, MOST_OPEN_ORDERS)?).ok());
    let expires_at = fields.optional("expiresAt", Node::time);
    let (scopes, limits) =
        (scopes?, KeyLimits { markets: markets?, spend_per_day: spend_per_day?, max_open_orders: max_open_orders? });
    if scopes.contains(Scope::Admin) && !limits.is_empty() {
        let message = "with admin cannot be combined with markets, spendPerDay or maxOpenOrders: make two keys";
        return fields.fail("scopes", "conflict", message);
    }
    Some(NewKey { owner: owner?, name: name?, scopes, limits, expires_at: expires_at? })
}

fn scopes(node: &Node<'_>) -> Option<Scopes> {
    let scopes = node.list(1, Scope::ALL.len(), |scope| scope.one_of(&Scope::ALL, Scope::as_str))?;
    Some(scopes.into_iter().collect())
}

fn positive(node: &Node<'_>) -> Option<Credits> {
    let amount = node.amount()?;
    if amount.is_positive() { Some(amount) } else { node.fail("range", "must be above zero") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::{Place, read};
    use crate::json::parse;

    fn fields_at_fault(text: &str) -> Vec<String> {
        match read(&parse(text.as_bytes()).unwrap(), Place::Body, new_key) {
            Ok(_) => Vec::new(),
            Err(fault) => fault.details().iter().filter_map(|detail| detail.field.clone()).collect(),
        }
    }

    #[test]
    fn reads_a_key_with_all_its_limits_or_none() {
        let text = r#"{"name":" My bot ","scopes":["trade","read"],"markets":["0193a5e0-0000-7000-8000-0000000000bb"],
                      "spendPerDay":"12.5","maxOpenOrders":3,"expiresAt":"2199-01-01T00:00:00Z"}"#;
        let key = read(&parse(text.as_bytes()).unwrap(), Place::Body, new_key).unwrap();
        assert_eq!((key.name.as_str(), key.scopes.to_text()), ("My bot", "read,trade".to_owned()));
        assert_eq!(key.limits.spend_per_day, Some(Credits::from_mills(12_500)));
        assert_eq!((key.limits.markets.len(), key.limits.max_open_orders), (1, Some(3)));
        assert_eq!(fields_at_fault(r#"{"name":"x","scopes":["admin"]}"#), [""; 0]);
    }

    #[test]
    fn names_every_fault() {
        assert_eq!(fields_at_fault("{}"), ["name", "scopes"]);
        let text = r#"{"name":"","scopes":["everything"],"markets":[],"spendPerDay":"0","maxOpenOrders":-1,"expiresAt":"soon"}"#;
        let all = ["name", "scopes[0]", "markets", "spendPerDay", "maxOpenOrders", "expiresAt"];
        assert_eq!(fields_at_fault(text), all);
        assert_eq!(fields_at_fault(r#"{"name":"x","scopes":["read","admin"],"maxOpenOrders":1}"#), ["scopes"]);
        assert_eq!(fields_at_fault(r#"{"name":"x","scopes":["read"],"role":"admin"}"#), ["role"]);
    }
}
