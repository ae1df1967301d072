//! Accounts and transfers.

use bellwether_domain::ids::{AccountId, MarketId, TradeId, TransferId, UserId};
use bellwether_domain::ledger::{Account, Transfer};
use bellwether_domain::money::Credits;
use bellwether_domain::text::Lines;
use bellwether_usecases::Rendered;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::decimal::Shown;
use crate::fields::{Fields, Node};

/// The most characters of a memo or reason.
const MEMO: usize = 200;

/// An account.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccountWire<'a> {
    id: Shown<AccountId>,
    kind: &'static str,
    balance: Shown<Credits>,
    held: Shown<Credits>,
    available: Shown<Credits>,
    currency: &'a str,
    created_at: Timestamp,
}

impl<'a> AccountWire<'a> {
    pub(crate) fn of(account: &Account, currency: &'a str) -> Self {
        // What the treasury has issued stands as its negative balance.
        let available = account.balance.minus(account.held).unwrap_or(Credits::ZERO);
        Self {
            id: Shown(account.id),
            kind: account.owner.kind(),
            balance: Shown(account.balance),
            held: Shown(account.held),
            available: Shown(available),
            currency,
            created_at: account.created_at,
        }
    }
}

/// A transfer.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TransferWire<'a> {
    id: Shown<TransferId>,
    from: Shown<AccountId>,
    to: Shown<AccountId>,
    amount: Shown<Credits>,
    kind: &'static str,
    memo: Option<&'a str>,
    market_id: Option<Shown<MarketId>>,
    trade_id: Option<Shown<TradeId>>,
    created_at: Timestamp,
}

impl<'a> TransferWire<'a> {
    pub(crate) fn of(transfer: &'a Transfer) -> Self {
        Self {
            id: Shown(transfer.id),
            from: Shown(transfer.from),
            to: Shown(transfer.to),
            amount: Shown(transfer.amount),
            kind: transfer.kind.as_str(),
            memo: transfer.memo.as_deref(),
            market_id: transfer.reference.market.map(Shown),
            trade_id: transfer.reference.trade.map(Shown),
            created_at: transfer.created_at,
        }
    }
}

/// The answer to a transfer or grant.
pub(crate) fn render_transfer(transfer: &Transfer) -> Rendered {
    super::created(&TransferWire::of(transfer), format!("/api/v1/transfers/{}", transfer.id))
}

/// The body of a transfer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TransferBody {
    pub(crate) to: UserId,
    pub(crate) amount: Credits,
    pub(crate) memo: Option<String>,
}

impl TransferBody {
    /// Reads `toUserId`, `amount` and `memo`.
    pub(crate) fn of_transfer(fields: &Fields<'_>) -> Option<Self> {
        Self::read(fields, "toUserId", "memo")
    }

    /// Reads `userId`, `amount` and `reason`.
    pub(crate) fn of_grant(fields: &Fields<'_>) -> Option<Self> {
        Self::read(fields, "userId", "reason")
    }

    fn read(fields: &Fields<'_>, to: &'static str, memo: &'static str) -> Option<Self> {
        let to = fields.required(to, Node::id);
        let amount = fields.required("amount", Node::amount);
        let memo = fields.optional(memo, |n| n.text(Lines::One, 0, MEMO));
        Some(Self { to: UserId(to?), amount: amount?, memo: memo?.filter(|m| !m.is_empty()) })
    }
}
