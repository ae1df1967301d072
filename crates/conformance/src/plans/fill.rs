//! A full store, made by its own SQL: as through the ports would take hours.
//!
//! A half of everything belongs to one user or lies in one market, and the rest to a hundred, so that what
//! has to be gathered or sorted for a user, a market, a category is much. The rows obey the schema, but not the
//! invariants of the ledger: nothing here is ever audited.

use bellwether_domain::ids::{
    AccountId, ApiKeyId, DeliveryId, JobId, MarketId, OrderGroupId, OrderId, SessionId, TransferId, UserId, WebhookId,
};
use jiff::Timestamp;
use uuid::Uuid;

/// The SQL of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL's.
    Postgres,
    /// SQLite's.
    Sqlite,
}

/// The second in which the first row was made; each later one a second later.
const FIRST_S: i64 = 1_700_000_000;
/// Apart from the one to whom half of everything belongs, there are so many.
const OTHERS: u64 = 100;

const USER: u32 = 1;
const MARKET: u32 = 2;
const ORDER: u32 = 3;
const TRADE: u32 = 4;
const TRANSFER: u32 = 5;
const SESSION: u32 = 6;
const KEY: u32 = 7;
const JOB: u32 = 8;
const ENTRY: u32 = 9;
const WEBHOOK: u32 = 10;
const DELIVERY: u32 = 11;
const GROUP: u32 = 12;

/// Where something is in a store that was filled.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// How many rows each large table has.
    pub rows: u64,
}

impl Places {
    fn id(kind: u32, number: u64) -> Uuid {
        Uuid::from_u128((u128::from(kind) << 96) | (0x7000 << 64) | (0x8000 << 48) | u128::from(number))
    }

    /// A group of orders.
    #[must_use]
    pub fn group(self) -> OrderGroupId {
        OrderGroupId(Self::id(GROUP, 77))
    }

    /// To whom half of everything belongs.
    #[must_use]
    pub fn busy_user(self) -> UserId {
        UserId(Self::id(USER, 1))
    }

    /// One of the others.
    #[must_use]
    pub fn user(self, number: u64) -> UserId {
        UserId(Self::id(USER, 2 + number))
    }

    /// In which half of everything lies.
    #[must_use]
    pub fn busy_market(self) -> MarketId {
        MarketId(Self::id(MARKET, 1))
    }

    /// One of the others.
    #[must_use]
    pub fn market(self, number: u64) -> MarketId {
        MarketId(Self::id(MARKET, 2 + number))
    }

    /// The account of the busy user.
    #[must_use]
    pub fn busy_account(self) -> AccountId {
        AccountId::of_user(self.busy_user())
    }

    /// An order in the middle.
    #[must_use]
    pub fn order(self) -> OrderId {
        OrderId(Self::id(ORDER, self.rows / 2))
    }

    /// A transfer in the middle.
    #[must_use]
    pub fn transfer(self) -> TransferId {
        TransferId(Self::id(TRANSFER, self.rows / 2))
    }

    /// A session in the middle.
    #[must_use]
    pub fn session(self) -> SessionId {
        SessionId(Self::id(SESSION, self.rows / 2))
    }

    /// An API key in the middle.
    #[must_use]
    pub fn key(self) -> ApiKeyId {
        ApiKeyId(Self::id(KEY, self.rows / 2))
    }

    /// The webhook to which half of all deliveries go.
    #[must_use]
    pub fn busy_webhook(self) -> WebhookId {
        WebhookId(Self::id(WEBHOOK, 1))
    }

    /// A delivery in the middle.
    #[must_use]
    pub fn delivery(self) -> DeliveryId {
        DeliveryId(Self::id(DELIVERY, self.rows / 2))
    }

    /// A job in the middle.
    #[must_use]
    pub fn job(self) -> JobId {
        JobId(Self::id(JOB, self.rows / 2))
    }

    /// A job that there is not.
    pub fn absent_job(self) -> JobId {
        JobId(Self::id(JOB, self.rows.saturating_mul(2)))
    }

    /// The hash in the middle of each table that has some.
    #[must_use]
    pub fn hash(self) -> [u8; 32] {
        let mut hash = [0; 32];
        let (_, end) = hash.split_at_mut(24);
        end.copy_from_slice(&(self.rows / 2).to_be_bytes());
        hash
    }

    /// When the row in the middle was made.
    ///
    /// # Errors
    /// Never within the times that there are.
    pub fn middle(self) -> anyhow::Result<Timestamp> {
        Ok(Timestamp::from_second(FIRST_S.saturating_add(i64::try_from(self.rows / 2)?))?)
    }

    /// After everything.
    ///
    /// # Errors
    /// Never within the times that there are.
    pub fn end(self) -> anyhow::Result<Timestamp> {
        Ok(Timestamp::from_second(FIRST_S.saturating_add(i64::try_from(self.rows * 3)?))?)
    }
}

impl Dialect {
    fn id(self, kind: u32, number: &str) -> String {
        match self {
            Self::Postgres => format!("('{kind:08x}000070008000' || lpad(to_hex(({number})::bigint), 12, '0'))::uuid"),
            Self::Sqlite => format!("unhex(printf('{kind:08x}000070008000%012x', {number}))"),
        }
    }

    fn hash(self, number: &str) -> String {
        match self {
            Self::Postgres => format!("decode(lpad(to_hex(({number})::bigint), 64, '0'), 'hex')"),
            Self::Sqlite => format!("unhex(printf('%064x', {number}))"),
        }
    }

    fn time(self, seconds: &str) -> String {
        match self {
            Self::Postgres => format!("to_timestamp({FIRST_S} + ({seconds}))"),
            Self::Sqlite => format!("({FIRST_S} + ({seconds})) * 1000000"),
        }
    }

    fn rows(self, count: u64) -> String {
        match self {
            Self::Postgres => format!("generate_series(1::bigint, {count}) AS n (i)"),
            Self::Sqlite => format!(
                "(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n) AS n"
            ),
        }
    }

    /// `INSERT` of rows that are each made of their number `i`.
    fn insert(self, table: &str, values: &[(&str, String)], count: u64) -> String {
        let columns: Vec<&str> = values.iter().map(|(column, _)| *column).collect();
        let made: Vec<&str> = values.iter().map(|(_, value)| value.as_str()).collect();
        format!("INSERT INTO {table} ({}) SELECT {} FROM {}", columns.join(", "), made.join(", "), self.rows(count))
    }
}

/// Half of all numbers are 1, the others 2, 3, … in turn.
fn half_of_all() -> String {
    format!("CASE WHEN i % 2 = 0 THEN 1 ELSE 2 + (i / 2) % {OTHERS} END")
}

fn text(value: &str) -> String {
    format!("'{value}'")
}

/// Takes PostgreSQL's indexes away, but for those of keys, and remembers them: built at the end, from sorted rows, they
/// take a fraction of the time. Nor are tables vacuumed that are being filled.
const WITHOUT_INDEXES: &str = "CREATE TEMPORARY TABLE indexes AS \
    SELECT format('DROP INDEX %s', i.indexrelid::regclass) AS gone, pg_get_indexdef(i.indexrelid) AS made FROM pg_index AS i \
    WHERE i.indrelid IN (SELECT relid FROM pg_stat_user_tables WHERE schemaname = 'public') \
    AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.indexrelid); \
    DO $$ DECLARE statement text; BEGIN \
    FOR statement IN SELECT gone FROM indexes UNION ALL SELECT format('ALTER TABLE %s SET (autovacuum_enabled = off)', relid::regclass) \
    FROM pg_stat_user_tables WHERE schemaname = 'public' LOOP EXECUTE statement; END LOOP; END $$; \
    SET maintenance_work_mem = '256MB'";
/// Gives them back.
const WITH_INDEXES: &str = "DO $$ DECLARE statement text; BEGIN \
    FOR statement IN SELECT made FROM indexes LOOP EXECUTE statement; END LOOP; END $$";

/// The statements that fill an empty store with so many rows in each large table, for one session.
#[must_use]
pub fn statements(dialect: Dialect, rows: u64) -> Vec<String> {
    let mut all = rows_of_all(dialect, rows);
    if dialect == Dialect::Postgres {
        all.insert(0, WITHOUT_INDEXES.to_owned());
        all.push(WITH_INDEXES.to_owned());
    }
    all
}

fn rows_of_all(dialect: Dialect, rows: u64) -> Vec<String> {
    let mut all = people(dialect, rows);
    all.extend(markets(dialect, rows));
    all.extend(trading(dialect, rows));
    all.extend(positions(dialect, rows));
    all.extend(scores(dialect, rows));
    all.extend(the_rest(dialect, rows));
    all.extend(telling(dialect, rows));
    all
}

fn people(sql: Dialect, rows: u64) -> Vec<String> {
    let at = sql.time("i");
    let users = [
        ("id", sql.id(USER, "i")),
        ("email", "'user' || i || '@example.org'".to_owned()),
        ("email_key", "'user' || i || '@example.org'".to_owned()),
        ("display_name", "'User ' || i".to_owned()),
        ("role", "CASE WHEN i % 5000 = 0 THEN 'admin' ELSE 'user' END".to_owned()),
        ("status", "CASE WHEN i % 50 = 1 AND i > 1 THEN 'deactivated' ELSE 'active' END".to_owned()),
        ("email_verified", "TRUE".to_owned()),
        ("version", "1".to_owned()),
        ("created_at", at.clone()),
        ("updated_at", at.clone()),
        ("owner_id", format!("CASE WHEN i % 10 = 0 THEN {} END", sql.id(USER, "i - 1"))),
    ];
    let account = |kind: &str, id: String, owner: String| {
        [
            ("id", id),
            ("owner_kind", text(kind)),
            ("owner_id", owner),
            ("balance", "1000000".to_owned()),
            ("held", "0".to_owned()),
            ("paid_count", "0".to_owned()),
            ("chain", sql.hash("i")),
            ("created_at", at.clone()),
        ]
    };
    let sessions = [
        ("id", sql.id(SESSION, "i")),
        ("user_id", sql.id(USER, "1 + i / 20")),
        ("created_at", at.clone()),
        ("last_seen_at", at.clone()),
        ("expires_at", sql.time("i * 2")),
        ("ended_at", format!("CASE WHEN i % 2 = 0 THEN {} END", sql.time("i + 10"))),
        ("end_reason", "CASE WHEN i % 2 = 0 THEN 'logged_out' END".to_owned()),
    ];
    let tokens = [
        ("hash", sql.hash("i")),
        ("session_id", sql.id(SESSION, "i")),
        ("issued_at", at.clone()),
        ("expires_at", sql.time("i * 2")),
    ];
    let mails = [
        ("hash", sql.hash("i")),
        ("user_id", sql.id(USER, "i")),
        ("purpose", text("verify_email")),
        ("sent_to", "'user' || i || '@example.org'".to_owned()),
        ("issued_at", at.clone()),
        ("expires_at", sql.time("i * 2")),
    ];
    let keys = [
        ("id", sql.id(KEY, "i")),
        ("user_id", sql.id(USER, "1 + i / 10")),
        ("name", text("key")),
        ("hash", sql.hash("i")),
        ("scopes", text("read")),
        ("created_at", at.clone()),
        ("revoked_at", format!("CASE WHEN i % 2 = 0 THEN {at} END")),
    ];
    let spending = [("key_id", sql.id(KEY, "i")), ("day", "19000".to_owned()), ("spent", "1".to_owned())];
    vec![
        sql.insert("users", &users, rows),
        sql.insert("accounts", &account("user", sql.id(USER, "i"), sql.id(USER, "i")), rows),
        sql.insert("accounts", &account("market", sql.id(MARKET, "i"), sql.id(MARKET, "i")), rows),
        sql.insert("sessions", &sessions, rows),
        sql.insert("refresh_tokens", &tokens, rows),
        sql.insert("mail_tokens", &mails, rows),
        sql.insert("api_keys", &keys, rows),
        sql.insert("api_key_spending", &spending, rows),
    ]
}

fn markets(sql: Dialect, rows: u64) -> Vec<String> {
    let at = sql.time("i");
    let decided = "(i % 10 IN (3, 4, 5))";
    let markets = [
        ("id", sql.id(MARKET, "i")),
        ("slug", "'market-' || i".to_owned()),
        ("question", "'Will number ' || i || ' be drawn?'".to_owned()),
        ("description", text("")),
        ("category", format!("CASE WHEN i % 1000 = 7 THEN 'rare' ELSE 'category ' || {} END", half_of_all())),
        ("creator_id", sql.id(USER, &half_of_all())),
        (
            "status",
            "CASE i % 10 WHEN 1 THEN 'halted' WHEN 2 THEN CASE i % 1000 WHEN 2 THEN 'proposed' ELSE 'open' END \
             WHEN 3 THEN 'resolved' WHEN 4 THEN 'voided' WHEN 5 THEN 'resolved' WHEN 6 THEN 'closed' ELSE 'open' END"
                .to_owned(),
        ),
        // In another order than they were opened in.
        ("closes_at", sql.time(&format!("{rows} + (i * 7919) % {rows}"))),
        ("fee_bps", "0".to_owned()),
        ("fee_recipient", text("house")),
        ("proposed_by", format!("CASE WHEN i % 1000 = 2 THEN {} END", sql.id(USER, "1"))),
        ("proposed_at", format!("CASE WHEN i % 1000 = 2 THEN {at} END")),
        ("challenge_until", format!("CASE WHEN i % 1000 = 2 THEN {at} END")),
        ("decided_at", format!("CASE WHEN {decided} THEN {at} END")),
        ("settled_at", format!("CASE WHEN {decided} AND i % 1000 > 100 THEN {at} END")),
        ("version", "1".to_owned()),
        ("created_at", at.clone()),
        ("updated_at", at.clone()),
    ];
    let counters = [
        ("market_id", sql.id(MARKET, "i")),
        ("volume", format!("(i * 104729) % {rows} * 1000")),
        ("trade_count", "1".to_owned()),
        ("sequence", "1".to_owned()),
    ];
    let outcome = |number: i64, name: &str| {
        [
            ("market_id", sql.id(MARKET, "i")),
            ("outcome", number.to_string()),
            ("name", text(name)),
            ("proposed_weight", format!("CASE WHEN i % 1000 = 2 THEN {} END", number * 1000)),
            ("weight", format!("CASE WHEN {decided} THEN {} END", number * 1000)),
        ]
    };
    let tags = [
        ("market_id", sql.id(MARKET, "i")),
        ("position", "0".to_owned()),
        ("tag", format!("CASE WHEN i % 1000 = 7 THEN 'rare' ELSE 'tag ' || {} END", half_of_all())),
    ];
    vec![
        sql.insert("markets", &markets, rows),
        sql.insert("market_counters", &counters, rows),
        sql.insert("outcomes", &outcome(0, "YES"), rows),
        sql.insert("outcomes", &outcome(1, "NO"), rows),
        sql.insert("market_tags", &tags, rows),
    ]
}

fn trading(sql: Dialect, rows: u64) -> Vec<String> {
    let at = sql.time("i");
    // Of a user's orders those in its market are a part, so who and where must not go in step.
    let (who, place) = (half_of_all(), half_of_all().replace("i %", "(i / 3) %").replace("(i / 2)", "(i / 6)"));
    let is_open = "(i % 4 = 0)";
    let orders = [
        ("id", sql.id(ORDER, "i")),
        ("market_id", sql.id(MARKET, &place)),
        ("user_id", sql.id(USER, &who)),
        ("outcome", "0".to_owned()),
        ("side", "CASE WHEN i % 8 < 4 THEN 'buy' ELSE 'sell' END".to_owned()),
        ("order_type", text("limit")),
        ("price", "1 + i % 400".to_owned()),
        ("backing", text("cash")),
        ("quantity", "10".to_owned()),
        ("filled", "0".to_owned()),
        ("remaining", format!("CASE WHEN {is_open} THEN 10 ELSE 0 END")),
        ("reserved", "0".to_owned()),
        ("cost", "0".to_owned()),
        ("fee", "0".to_owned()),
        ("time_in_force", "CASE WHEN i % 16 = 0 THEN 'gtd' ELSE 'gtc' END".to_owned()),
        ("expires_at", format!("CASE WHEN i % 16 = 0 THEN {} END", sql.time("i * 2"))),
        ("post_only", "FALSE".to_owned()),
        ("self_trade_prevention", text("cancel_newest")),
        ("client_order_id", "CASE WHEN i % 3 = 0 THEN 'mine ' || i END".to_owned()),
        ("counted_by", format!("CASE WHEN i % 12 = 0 THEN {} END", sql.id(KEY, "1 + i / 12"))),
        ("status", format!("CASE WHEN {is_open} THEN 'open' WHEN i % 4 = 1 THEN 'cancelled' ELSE 'filled' END")),
        ("end_reason", "CASE WHEN i % 4 = 1 THEN 'requested' END".to_owned()),
        ("book", "0".to_owned()),
        ("book_side", "CASE WHEN i % 8 < 4 THEN 'buy' ELSE 'sell' END".to_owned()),
        ("book_price", "CASE WHEN i % 8 < 4 THEN 1 + i % 400 ELSE 500 + i % 400 END".to_owned()),
        ("sequence", "i".to_owned()),
        ("created_at", at.clone()),
        ("updated_at", sql.time("i + i % 100")),
    ];
    let trades = [
        ("id", sql.id(TRADE, "i")),
        ("market_id", sql.id(MARKET, &place)),
        ("sequence", "i".to_owned()),
        ("outcome", "0".to_owned()),
        ("price", "1 + i % 900".to_owned()),
        ("quantity", "1".to_owned()),
        ("cost", "1 + i % 900".to_owned()),
        ("taker_side", text("buy")),
        ("settlement", text("transfer")),
        ("taker_order", sql.id(ORDER, "i")),
        ("taker_id", sql.id(USER, &who)),
        ("maker_order", sql.id(ORDER, &format!("1 + (i + 1) % {rows}"))),
        ("maker_id", sql.id(USER, &who.replace("i % 2 = 0", "i % 2 = 1"))),
        ("fee", "0".to_owned()),
        ("created_at", at.clone()),
    ];
    let transfers = [
        ("id", sql.id(TRANSFER, "i")),
        ("from_account", sql.id(USER, &who)),
        ("to_account", sql.id(USER, &format!("CASE WHEN i % 4 = 1 THEN 1 ELSE 200 + i % {OTHERS} END"))),
        ("amount", "1".to_owned()),
        ("kind", "CASE WHEN i % 1000 = 7 THEN 'grant' ELSE 'trade' END".to_owned()),
        ("market_id", sql.id(MARKET, &place)),
        ("trade_id", sql.id(TRADE, "i")),
        ("paid_number", "i".to_owned()),
        ("hash", sql.hash("i")),
        ("created_at", at),
    ];
    vec![
        sql.insert("orders", &orders, rows),
        sql.insert("trades", &trades, rows),
        sql.insert("transfers", &transfers, rows),
    ]
}

/// The busy user has one in every other market, and the busy market has every other user's.
fn positions(sql: Dialect, rows: u64) -> Vec<String> {
    let market = sql.id(MARKET, "CASE WHEN i % 2 = 0 THEN i ELSE 1 END");
    let user = sql.id(USER, "CASE WHEN i % 2 = 0 THEN 1 ELSE i END");
    let (free, held) = match sql {
        Dialect::Postgres => ("{1,0}", "{0,0}"),
        Dialect::Sqlite => ("[1,0]", "[0,0]"),
    };
    let columns = [
        ("market_id", market),
        ("user_id", user),
        ("spent", format!("(i * 104729) % {rows}")),
        ("received", "0".to_owned()),
        ("settled_at", format!("CASE WHEN i % 3 = 0 THEN {} END", sql.time("i"))),
        ("counted", "(i % 3 = 0)".to_owned()),
        ("free", text(free)),
        ("held", text(held)),
    ];
    vec![sql.insert("positions", &columns, rows)]
}

/// Everybody has one, in no order of what people are ranked by.
fn scores(sql: Dialect, rows: u64) -> Vec<String> {
    let sums = |score: &str| {
        [
            ("trades", "1".to_owned()),
            ("volume", "1000".to_owned()),
            ("judged_shares", "100".to_owned()),
            ("missed", format!("(i * {score}) % 25000000")),
        ]
    };
    let mut of_users = vec![("user_id", sql.id(USER, "i"))];
    of_users.extend(sums("104729"));
    of_users.extend([
        ("profit", format!("(i * 7919) % {rows} - {rows} / 2")),
        ("markets", "1 + i % 20".to_owned()),
        ("judged_markets", "i % 20".to_owned()),
    ]);
    let mut of_markets = vec![
        ("market_id", sql.id(MARKET, "CASE WHEN i % 2 = 0 THEN i ELSE 1 END")),
        ("user_id", sql.id(USER, "CASE WHEN i % 2 = 0 THEN 1 ELSE i END")),
    ];
    of_markets.extend(sums("7919"));
    let countings = [
        ("market_id", sql.id(MARKET, "i")),
        ("users_through", sql.id(USER, "0")),
        ("done", "(i % 100 > 0)".to_owned()),
        ("last_traded_at", sql.time("i")),
        ("last_trade", sql.id(TRADE, "i")),
    ];
    vec![
        sql.insert("scores", &of_users, rows),
        sql.insert("market_scores", &of_markets, rows),
        sql.insert("countings", &countings, rows),
    ]
}

fn the_rest(sql: Dialect, rows: u64) -> Vec<String> {
    let at = sql.time("i");
    let answers = [
        ("user_id", sql.id(USER, &half_of_all())),
        ("route", text("POST /api/v1/orders")),
        ("key", "'key ' || i".to_owned()),
        ("fingerprint", sql.hash("i")),
        ("status", "201".to_owned()),
        ("body", text("{}")),
        ("created_at", at.clone()),
    ];
    let jobs = [
        ("id", sql.id(JOB, "i")),
        ("kind", text("mail")),
        ("payload", text("{}")),
        ("state", "CASE WHEN i % 10 = 0 THEN 'dead' ELSE 'waiting' END".to_owned()),
        ("run_at", at.clone()),
        ("attempts", "0".to_owned()),
        ("created_at", at.clone()),
    ];
    let log = [
        ("number", "i".to_owned()),
        ("id", sql.id(ENTRY, "i")),
        ("created_at", at.clone()),
        ("actor_kind", text("user")),
        ("actor_id", sql.id(USER, &half_of_all())),
        ("action", "CASE WHEN i % 1000 = 7 THEN 'user.role_changed' ELSE 'user.signed_in' END".to_owned()),
        ("target_kind", text("user")),
        ("target_id", sql.id(USER, &half_of_all())),
        ("hash", sql.hash("i")),
    ];
    let failures = [
        ("user_id", sql.id(USER, "i")),
        ("place", text("192.0.2.1")),
        ("since", sql.time("i / 100")),
        ("count", "1".to_owned()),
        ("last_at", at),
    ];
    let groups = [
        ("id", sql.id(GROUP, "i")),
        // Nobody may have more than a hundred.
        ("user_id", sql.id(USER, "1 + i / 100")),
        ("market_id", sql.id(MARKET, &half_of_all())),
        ("fill_cap", "100".to_owned()),
        ("filled", "0".to_owned()),
        ("recent", text("")),
        ("created_at", sql.time("i")),
        ("updated_at", sql.time("i")),
    ];
    let switches = [
        ("id", sql.id(USER, "i")),
        ("user_id", sql.id(USER, "i")),
        ("kind", text("timer")),
        ("timeout_s", "60".to_owned()),
        ("due_at", sql.time("i")),
    ];
    vec![
        sql.insert("order_groups", &groups, rows / 10),
        sql.insert("cancel_switches", &switches, rows / 10),
        sql.insert("answers", &answers, rows),
        sql.insert("jobs", &jobs, rows),
        sql.insert("audit_log", &log, rows),
        sql.insert("failed_sign_ins", &failures, rows),
    ]
}

/// Events, and webhooks: of what is to be sent to them a part was tried, in a few markets, and is not due yet.
fn telling(sql: Dialect, rows: u64) -> Vec<String> {
    let at = sql.time("i");
    let batches = [("position", "i".to_owned()), ("created_at", at.clone()), ("payload", text("[]"))];
    let webhooks = [
        ("id", sql.id(WEBHOOK, "i")),
        ("user_id", sql.id(USER, "1 + i / 10")),
        ("url", text("https://example.org/")),
        ("events", text("")),
        ("markets", text("")),
        ("state", "CASE WHEN i <= 100 THEN 'enabled' ELSE 'disabled' END".to_owned()),
        ("secret_number", "1".to_owned()),
        ("created_at", at.clone()),
        ("updated_at", at.clone()),
        ("version", "1".to_owned()),
    ];
    let is_tried = "(i % 1000 = 0)";
    let deliveries = [
        ("id", sql.id(DELIVERY, "i")),
        ("webhook_id", sql.id(WEBHOOK, &half_of_all())),
        ("sequence", "i".to_owned()),
        ("kind", text("trade.executed")),
        ("market_id", sql.id(MARKET, "2 + i % 5000")),
        ("body", text("{}")),
        ("state", "CASE i % 10 WHEN 0 THEN 'pending' WHEN 2 THEN 'failed' ELSE 'delivered' END".to_owned()),
        ("attempts", format!("CASE WHEN {is_tried} THEN 1 ELSE 0 END")),
        ("next_at", format!("CASE WHEN {is_tried} THEN {} ELSE {at} END", sql.time(&format!("i + {rows}")))),
        ("created_at", at.clone()),
        ("pending_since", at),
    ];
    let mut all = vec![
        sql.insert("event_batches", &batches, rows),
        sql.insert("webhooks", &webhooks, rows),
        sql.insert("webhook_deliveries", &deliveries, rows),
    ];
    if sql == Dialect::Postgres {
        all.push(format!("SELECT setval('event_positions', {rows})"));
    }
    all
}
