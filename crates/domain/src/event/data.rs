//! What each kind of event tells. Money is in credits, as decimal text; shares are whole numbers.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, ApiKeyId, MarketId, OrderId, SessionId, TradeId, TransferId, UserId};
use crate::ledger::{Account, Owner, Transfer, TransferKind};
use crate::market::{Market, MarketStatus, OutcomeId, Weights};
use crate::money::{Credits, Price, Shares};
use crate::order::{EndReason, Order, OrderStatus, OrderType, Side};
use crate::position::Position;
use crate::trade::{Settlement, Trade};
use crate::user::{Role, User, UserStatus};

/// A user, without its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserData {
    /// The user.
    pub user_id: UserId,
    /// The name that others see.
    pub display_name: String,
    /// What it may do.
    pub role: Role,
    /// Whether it may act.
    pub status: UserStatus,
    /// Whose bot it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<UserId>,
    /// Goes up by one with each change.
    pub version: i64,
}

impl UserData {
    /// A user as it is now.
    #[must_use]
    pub fn of(user: &User) -> Box<Self> {
        Box::new(Self {
            user_id: user.id,
            display_name: user.display_name.as_str().to_owned(),
            role: user.role,
            status: user.status,
            owner_id: user.owner,
            version: user.version,
        })
    }
}

/// A session that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionData {
    /// The session.
    pub session_id: SessionId,
    /// Whose it was.
    pub user_id: UserId,
}

/// An API key that was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyData {
    /// The key's id.
    pub key_id: ApiKeyId,
    /// Whose it was.
    pub user_id: UserId,
}

/// A market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarketData {
    /// The market.
    pub market_id: MarketId,
    /// Its readable address.
    pub slug: String,
    /// The question.
    pub question: String,
    /// Its category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Who opened it.
    pub creator_id: UserId,
    /// The names of its outcomes, in order.
    pub outcomes: Vec<String>,
    /// Where it is in its life.
    pub status: MarketStatus,
    /// When trading ends.
    pub closes_at: Timestamp,
    /// What is proposed, while nothing is decided: what each share of each outcome would pay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<Vec<Credits>>,
    /// Until when that may be challenged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge_until: Option<Timestamp>,
    /// What was decided: what each share of each outcome pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payouts: Option<Vec<Credits>>,
    /// Why it was called off or challenged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Goes up with every change of a book; the place of this change among them.
    pub sequence: i64,
    /// Goes up by one with each edit or change of status.
    pub version: i64,
}

impl MarketData {
    /// A market as it is now.
    #[must_use]
    pub fn of(market: &Market) -> Box<Self> {
        let paid = |weights: &Weights| weights.as_slice().iter().map(|w| Credits::from_mills(i64::from(*w))).collect();
        let proposal = market.proposal.as_ref().filter(|_| market.resolution.is_none());
        let resolution = market.resolution.as_ref();
        let dispute = proposal.and_then(|proposal| proposal.dispute_reason.clone());
        Box::new(Self {
            market_id: market.id,
            slug: market.slug.as_str().to_owned(),
            question: market.question.clone(),
            category: market.category.clone(),
            creator_id: market.creator,
            outcomes: market.outcomes.iter().map(|outcome| outcome.name.clone()).collect(),
            status: market.status,
            closes_at: market.closes_at,
            proposed: proposal.map(|proposal| paid(&proposal.weights)),
            challenge_until: proposal.map(|proposal| proposal.challenge_until),
            payouts: resolution.map(|resolution| paid(&resolution.weights)),
            reason: resolution.and_then(|resolution| resolution.reason.clone()).or(dispute),
            sequence: market.sequence,
            version: market.version,
        })
    }
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderData {
    /// The order.
    pub order_id: OrderId,
    /// The market.
    pub market_id: MarketId,
    /// Whose it is.
    pub user_id: UserId,
    /// The owner's own id for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_order_id: Option<String>,
    /// The outcome, as its owner named it.
    pub outcome: String,
    /// Buy or sell that outcome.
    pub side: Side,
    /// Limit or market.
    #[serde(rename = "type")]
    pub order_type: OrderType,
    /// The limit, or a market order's worst price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The number of shares, as last amended.
    pub quantity: Shares,
    /// How many were filled.
    pub filled: Shares,
    /// How many still rest.
    pub remaining: Shares,
    /// The sum of its fills' cost.
    pub cost: Credits,
    /// The fees it paid.
    pub fee: Credits,
    /// How it stands.
    pub status: OrderStatus,
    /// Why it ended before everything was filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
}

impl OrderData {
    /// An order as it is now, in its market.
    #[must_use]
    pub fn of(order: &Order, market: &Market) -> Box<Self> {
        Box::new(Self {
            order_id: order.id,
            market_id: order.market,
            user_id: order.user,
            client_order_id: order.client_order_id.clone(),
            outcome: outcome_name(market, order.outcome),
            side: order.side,
            order_type: order.order_type,
            price: order.price,
            quantity: order.quantity,
            filled: order.filled,
            remaining: order.remaining,
            cost: order.cost,
            fee: order.fee,
            status: order.status,
            end_reason: order.end_reason,
        })
    }
}

/// A trade. Outcome, side and price are those of the book: that of the first outcome where there are two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TradeData {
    /// The trade.
    pub trade_id: TradeId,
    /// The market.
    pub market_id: MarketId,
    /// Its place among what happened in its market.
    pub sequence: i64,
    /// The book's outcome.
    pub outcome: String,
    /// The price; against the market maker, the average.
    pub price: Price,
    /// How many shares.
    pub quantity: Shares,
    /// What they cost.
    pub cost: Credits,
    /// The taker's fee.
    pub fee: Credits,
    /// The side that took.
    pub taker_side: Side,
    /// How it settled.
    pub settlement: Settlement,
    /// The order that took.
    pub taker_order_id: OrderId,
    /// Whose that is.
    pub taker_id: UserId,
    /// The order that rested; none where the market maker was the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker_order_id: Option<OrderId>,
    /// Whose that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker_id: Option<UserId>,
}

impl TradeData {
    /// A trade in its market.
    #[must_use]
    pub fn of(trade: &Trade, market: &Market) -> Box<Self> {
        Box::new(Self {
            trade_id: trade.id,
            market_id: trade.market,
            sequence: trade.sequence,
            outcome: outcome_name(market, trade.outcome),
            price: trade.price,
            quantity: trade.quantity,
            cost: trade.cost,
            fee: trade.fee,
            taker_side: trade.taker_side,
            settlement: trade.settlement,
            taker_order_id: trade.taker_order,
            taker_id: trade.taker,
            maker_order_id: trade.maker_order,
            maker_id: trade.maker,
        })
    }
}

/// How a unit of work changed the books of a market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BookData {
    /// The market.
    pub market_id: MarketId,
    /// The sequence that its books have from then on: what `GET /markets/{id}/book` answers with.
    pub sequence: i64,
    /// Each price at which something changed, once.
    pub levels: Vec<LevelData>,
}

/// How one price of one side of a book changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LevelData {
    /// The place of the book's outcome in its market's list, from 0.
    pub book: u8,
    /// The side: `buy` for bids, `sell` for asks.
    pub side: Side,
    /// The price.
    pub price: Price,
    /// So many more shares rest there; fewer where it is below zero.
    pub change: i64,
    /// So many more orders rest there; fewer where it is below zero.
    pub orders: i64,
}

/// A transfer of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransferData {
    /// The transfer.
    pub transfer_id: TransferId,
    /// The payer's account. A user's has the user's own id.
    pub from_account_id: AccountId,
    /// The payee's account.
    pub to_account_id: AccountId,
    /// How much.
    pub amount: Credits,
    /// What it was for.
    pub kind: TransferKind,
    /// The market concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market_id: Option<MarketId>,
    /// A short text by the payer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
}

impl TransferData {
    /// A transfer.
    #[must_use]
    pub fn of(transfer: &Transfer) -> Box<Self> {
        Box::new(Self {
            transfer_id: transfer.id,
            from_account_id: transfer.from,
            to_account_id: transfer.to,
            amount: transfer.amount,
            kind: transfer.kind,
            market_id: transfer.reference.market,
            memo: transfer.memo.clone(),
        })
    }
}

/// A user's cash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BalanceData {
    /// The user; its account has the same id.
    pub user_id: UserId,
    /// Everything that it has, held or not.
    pub balance: Credits,
    /// What its open orders hold of that.
    pub held: Credits,
    /// What it can spend.
    pub available: Credits,
}

impl BalanceData {
    /// A user's account; none for those of markets and of the house.
    #[must_use]
    pub fn of(account: &Account) -> Option<Box<Self>> {
        let Owner::User(user_id) = account.owner else { return None };
        let (balance, held, available) = (account.balance, account.held, account.available());
        Some(Box::new(Self { user_id, balance, held, available }))
    }
}

/// A user's position in a market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PositionData {
    /// Whose.
    pub user_id: UserId,
    /// Where.
    pub market_id: MarketId,
    /// What it holds of each outcome, in their order.
    pub holdings: Vec<HoldingData>,
    /// Everything paid for shares, fees included.
    pub spent: Credits,
    /// Everything got for shares, the payout included.
    pub received: Credits,
    /// When it was paid after the resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
}

/// Shares of one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldingData {
    /// All shares, held or not.
    pub quantity: Shares,
    /// What open orders hold of them.
    pub held: Shares,
}

impl PositionData {
    /// A position.
    #[must_use]
    pub fn of(position: &Position) -> Box<Self> {
        let holding = |h: &crate::position::Holding| HoldingData { quantity: h.quantity, held: h.held };
        Box::new(Self {
            user_id: position.user,
            market_id: position.market,
            holdings: position.holdings.iter().map(holding).collect(),
            spent: position.spent,
            received: position.received,
            settled_at: position.settled_at,
        })
    }
}

/// An outcome's name. Every outcome of an order or a trade is one of its market's.
fn outcome_name(market: &Market, outcome: OutcomeId) -> String {
    market.outcomes.get(outcome.index()).map(|outcome| outcome.name.clone()).unwrap_or_default()
}
