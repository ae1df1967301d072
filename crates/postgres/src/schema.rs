//! The tables and the columns that are read and written, in the order in which rows are.
//! `migrations/postgres` makes them; the tests hold the two together.

use crate::rows::RowType;

/// A table, and what is written to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: &'static str,
    /// Every column, in the order of reading and of inserting.
    pub(crate) columns: &'static str,
    /// Their types: uuid, int, text, boolean, time with zone, hash, float; and numbers, a list of integers, which only a
    /// type of row can have.
    pub(crate) kinds: &'static str,
    /// The columns that an update writes, the key first. Columns that never change are left out,
    /// and with them the upkeep of the indexes and references that they are in.
    pub(crate) changing: &'static [&'static str],
    /// Their types.
    pub(crate) changing_kinds: &'static str,
    /// The types of row that the database has for it, where orders write it.
    pub(crate) types: Types,
}

/// The names of a table's types of row: of all columns, and of those that an update writes. Without one, a
/// batch is an array for each column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Types {
    pub(crate) row: Option<&'static str>,
    pub(crate) change: Option<&'static str>,
}

const SELDOM_WRITTEN: Types = Types { row: None, change: None };

/// A key that an answer is looked for by.
pub(crate) const ANSWER_KEY: RowType = RowType { name: "answer_key", kinds: "utt" };
/// A side of a book: number, market, book, side, worst price, depth.
pub(crate) const BOOK_REQUEST: RowType = RowType { name: "book_request", kinds: "iuitii" };
/// A user and a market, numbered.
pub(crate) const USER_IN_MARKET: RowType = RowType { name: "user_in_market", kinds: "iuu" };
/// A user and what it calls an order.
pub(crate) const CLIENT_ORDER_ID: RowType = RowType { name: "client_order_id", kinds: "ut" };

pub(crate) const USERS: Table = Table {
    name: "users",
    columns: "id, email, email_key, display_name, password_hash, role, status, email_verified, version, created_at, updated_at, \
              owner_id",
    kinds: "uttttttbizzu",
    changing_kinds: "uttttttbiz",
    changing: &[
        "id",
        "email",
        "email_key",
        "display_name",
        "password_hash",
        "role",
        "status",
        "email_verified",
        "version",
        "updated_at",
    ],
    types: SELDOM_WRITTEN,
};

pub(crate) const ACCOUNTS: Table = Table {
    name: "accounts",
    columns: "id, owner_kind, owner_id, balance, held, paid_count, chain, created_at",
    kinds: "utuiiihz",
    // And how many transfers it had paid before.
    changing_kinds: "uiiihi",
    changing: &["id", "balance", "held", "paid_count", "chain"],
    types: Types { row: None, change: Some("account_change") },
};

pub(crate) const TRANSFERS: Table = Table {
    name: "transfers",
    columns: "id, from_account, to_account, amount, kind, market_id, trade_id, memo, paid_number, hash, created_at",
    kinds: "uuuituutihz",
    changing_kinds: "",
    changing: &[],
    types: Types { row: Some("transfer_row"), change: None },
};

pub(crate) const MARKETS: Table = Table {
    name: "markets",
    columns: "id, slug, question, description, category, creator_id, status, closes_at, fee_bps, fee_recipient, \
              maker_account, maker_funder, maker_subsidy, liquidity, evidence_url, proposed_by, proposed_at, challenge_until, disputed_by, dispute_reason, decided_by, decided_at, \
              decision_reason, settled_at, version, created_at, updated_at",
    kinds: "uttttutzituuiftuzzutuztzizz",
    changing_kinds: "utttttzituuiftuzzutuztziz",
    changing: &[
        "id",
        "slug",
        "question",
        "description",
        "category",
        "status",
        "closes_at",
        "fee_bps",
        "fee_recipient",
        "maker_account",
        "maker_funder",
        "maker_subsidy",
        "liquidity",
        "evidence_url",
        "proposed_by",
        "proposed_at",
        "challenge_until",
        "disputed_by",
        "dispute_reason",
        "decided_by",
        "decided_at",
        "decision_reason",
        "settled_at",
        "version",
        "updated_at",
    ],
    types: SELDOM_WRITTEN,
};

/// What a trade or a resting order changes of a market. A new one has no stamp.
pub(crate) const MARKET_COUNTERS: Table = Table {
    name: "market_counters",
    columns: "market_id, volume, trade_count, sequence",
    kinds: "uiii",
    // And how many trades it had before.
    changing_kinds: "uiiiui",
    changing: &["market_id", "volume", "trade_count", "sequence", "stamp"],
    types: Types { row: None, change: Some("market_counters_change") },
};

pub(crate) const OUTCOMES: Table = Table {
    name: "outcomes",
    columns: "market_id, outcome, name, last_price, probability, sold, proposed_weight, weight",
    kinds: "uitiiiii",
    changing_kinds: "",
    changing: &[],
    types: Types { row: Some("outcome_row"), change: None },
};

pub(crate) const MARKET_TAGS: Table = Table {
    name: "market_tags",
    columns: "market_id, position, tag",
    kinds: "uit",
    changing_kinds: "",
    changing: &[],
    types: SELDOM_WRITTEN,
};

pub(crate) const ORDERS: Table = Table {
    name: "orders",
    columns: "id, market_id, user_id, outcome, side, order_type, price, max_spend, backing, quantity, filled, remaining, \
              reserved, cost, fee, time_in_force, expires_at, post_only, self_trade_prevention, client_order_id, counted_by, \
              status, end_reason, book, book_side, book_price, sequence, created_at, updated_at, placed_by, group_id",
    kinds: "uuuittiitiiiiiitzbttuttitiizzuu",
    changing_kinds: "uiiiiiiiizuttiiz",
    changing: &[
        "id",
        "price",
        "max_spend",
        "quantity",
        "filled",
        "remaining",
        "reserved",
        "cost",
        "fee",
        "expires_at",
        "counted_by",
        "status",
        "end_reason",
        "book_price",
        "sequence",
        "updated_at",
    ],
    types: Types { row: Some("order_row"), change: Some("order_change") },
};

pub(crate) const TRADES: Table = Table {
    name: "trades",
    columns: "id, market_id, sequence, outcome, price, quantity, cost, taker_side, settlement, taker_order, taker_id, \
              maker_order, maker_id, fee, created_at",
    kinds: "uuiiiiittuuuuiz",
    changing_kinds: "",
    changing: &[],
    types: Types { row: Some("trade_row"), change: None },
};

/// Its two lists are arrays of a row of its own type.
pub(crate) const POSITIONS: Table = Table {
    name: "positions",
    columns: "market_id, user_id, spent, received, settled_at, free, held",
    kinds: "uuiiznn",
    changing_kinds: "",
    changing: &[],
    types: Types { row: Some("position_row"), change: None },
};

/// Figures of users in markets; what is written is added.
pub(crate) const MARKET_SCORES: Table = Table {
    name: "market_scores",
    columns: "market_id, user_id, trades, volume, judged_shares, missed",
    kinds: "uuiiii",
    changing_kinds: "",
    changing: &[],
    types: SELDOM_WRITTEN,
};

/// Scores of users; what is written is added.
pub(crate) const SCORES: Table = Table {
    name: "scores",
    columns: "user_id, trades, volume, judged_shares, missed, profit, markets, judged_markets",
    kinds: "uiiiiiii",
    changing_kinds: "",
    changing: &[],
    types: SELDOM_WRITTEN,
};

pub(crate) const COUNTINGS: Table = Table {
    name: "countings",
    columns: "market_id, users_through, done, last_traded_at, last_trade",
    kinds: "uubzu",
    changing_kinds: "",
    changing: &[],
    types: SELDOM_WRITTEN,
};

pub(crate) const ANSWERS: Table = Table {
    name: "answers",
    columns: "user_id, route, key, fingerprint, status, location, body, created_at",
    kinds: "utthittz",
    changing_kinds: "",
    changing: &[],
    types: Types { row: Some("answer_row"), change: None },
};

pub(crate) const SESSIONS: Table = Table {
    name: "sessions",
    columns: "id, user_id, created_at, last_seen_at, expires_at, address, agent, ended_at, end_reason",
    kinds: "uuzzzttzt",
    changing_kinds: "uzzttzt",
    changing: &["id", "last_seen_at", "expires_at", "address", "agent", "ended_at", "end_reason"],
    types: SELDOM_WRITTEN,
};

pub(crate) const REFRESH_TOKENS: Table = Table {
    name: "refresh_tokens",
    columns: "hash, session_id, issued_at, expires_at, spent_at",
    kinds: "huzzz",
    changing_kinds: "hz",
    changing: &["hash", "spent_at"],
    types: SELDOM_WRITTEN,
};

pub(crate) const MAIL_TOKENS: Table = Table {
    name: "mail_tokens",
    columns: "hash, user_id, purpose, sent_to, issued_at, expires_at",
    kinds: "huttzz",
    changing_kinds: "",
    changing: &[],
    types: SELDOM_WRITTEN,
};

pub(crate) const JOBS: Table = Table {
    name: "jobs",
    columns: "id, kind, payload, state, run_at, attempts, last_error, created_at, priority, unique_key, failures, kept, result",
    kinds: "utttzitzitibt",
    changing_kinds: "",
    changing: &[],
    types: SELDOM_WRITTEN,
};

pub(crate) const WEBHOOKS: Table = Table {
    name: "webhooks",
    columns: "id, user_id, url, description, events, markets, state, secret_number, overlap_until, failing_since, created_at, \
              updated_at, version",
    kinds: "uutttttizzzzi",
    changing_kinds: "utttttizzzi",
    changing: &[
        "id",
        "url",
        "description",
        "events",
        "markets",
        "state",
        "secret_number",
        "overlap_until",
        "failing_since",
        "updated_at",
        "version",
    ],
    types: SELDOM_WRITTEN,
};

pub(crate) const WEBHOOK_DELIVERIES: Table = Table {
    name: "webhook_deliveries",
    columns: "id, webhook_id, sequence, kind, market_id, body, state, attempts, next_at, attempted_at, took_ms, status, said, \
              created_at, pending_since",
    kinds: "uuituttizziitzz",
    changing_kinds: "utizziitz",
    changing: &["id", "state", "attempts", "next_at", "attempted_at", "took_ms", "status", "said", "pending_since"],
    types: SELDOM_WRITTEN,
};

/// Written by orders that are in one alone.
pub(crate) const ORDER_GROUPS: Table = Table {
    name: "order_groups",
    columns: "id, user_id, market_id, fill_cap, window_s, filled, recent, full_at, created_at, updated_at",
    kinds: "uuuiiitzzz",
    changing_kinds: "uitzz",
    changing: &["id", "filled", "recent", "full_at", "updated_at"],
    types: SELDOM_WRITTEN,
};

/// Written whole, whether new or changed.
pub(crate) const CANCEL_SWITCHES: Table = Table {
    name: "cancel_switches",
    columns: "id, user_id, key_id, kind, timeout_s, due_at, fired_at",
    kinds: "uuutizz",
    changing_kinds: "",
    changing: &[],
    types: SELDOM_WRITTEN,
};

pub(crate) const API_KEYS: Table = Table {
    name: "api_keys",
    columns: "id, user_id, name, hash, scopes, markets, spend_per_day, max_open_orders, created_at, expires_at, revoked_at, \
              last_used_at",
    kinds: "uuthttiizzzz",
    changing_kinds: "uz",
    changing: &["id", "revoked_at"],
    types: SELDOM_WRITTEN,
};

/// What a use changes of a key.
pub(crate) const API_KEY_USES: Table = Table {
    name: "api_keys",
    columns: "id, last_used_at",
    kinds: "uz",
    changing_kinds: "uz",
    changing: &["id", "last_used_at"],
    types: SELDOM_WRITTEN,
};

pub(crate) const API_KEY_SPENDING: Table = Table {
    name: "api_key_spending",
    columns: "key_id, day, spent",
    kinds: "uii",
    changing_kinds: "",
    changing: &[],
    types: SELDOM_WRITTEN,
};

pub(crate) const AUDIT_LOG: Table = Table {
    name: "audit_log",
    columns: "number, id, created_at, actor_kind, actor_id, action, target_kind, target_id, address, agent, request_id, \
              before, after, hash",
    kinds: "iuztuttuttttth",
    changing_kinds: "",
    changing: &[],
    types: SELDOM_WRITTEN,
};

impl Table {
    /// `SELECT` and every column.
    pub(crate) fn select(&self) -> String {
        format!("SELECT {} FROM {}", self.columns, self.name)
    }
}
