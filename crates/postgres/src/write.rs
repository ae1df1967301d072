//! A decision's changes as statements: one for each table and kind of change, however many rows.

use bellwether_domain::ids::{MarketId, OrderGroupId, SwitchId, WebhookId};
use bellwether_domain::job::Job;
use bellwether_domain::market::Market;
use bellwether_domain::market_memory::{Lent, stamped_besides};
use bellwether_domain::ports::{Changes, StoreError};

use crate::present::Present;
use crate::schema::{
    ACCOUNTS, ANSWERS, API_KEY_SPENDING, API_KEY_USES, API_KEYS, CANCEL_SWITCHES, COUNTINGS, JOBS, MAIL_TOKENS,
    MARKET_COUNTERS, MARKET_SCORES, MARKET_TAGS, MARKETS, ORDER_GROUPS, ORDERS, OUTCOMES, POSITIONS, REFRESH_TOKENS,
    SCORES, SESSIONS, TRADES, TRANSFERS, Table, USERS, WEBHOOK_DELIVERIES, WEBHOOKS,
};
use crate::sql::{Sql, Values};
use crate::steps::Step;
use crate::{
    accounts, answers, api_keys, cancel_switches, jobs, mail_tokens, markets, order_groups, orders, outbox, positions,
    scores, sessions, trades, users, webhooks,
};

/// The statements that write these changes, referenced rows before those that refer to them.
pub(crate) fn steps(changes: &Changes, lent: &Lent) -> Result<Vec<Step>, StoreError> {
    let mut steps = Vec::new();
    let present = Present::of(changes);
    insert(&mut steps, &USERS, "", &changes.new_users, users::bind)?;
    update(&mut steps, &USERS, &changes.users, users::bind_change)?;
    insert(&mut steps, &API_KEYS, "", &changes.new_api_keys, api_keys::bind)?;
    insert(&mut steps, &ACCOUNTS, "", &changes.new_accounts, accounts::bind)?;
    update_where(&mut steps, &ACCOUNTS, HAS_NOT_PAID, &changes.accounts_since(), accounts::bind_change)?;
    new_markets(&mut steps, &changes.new_markets)?;
    changed_markets(&mut steps, changes, lent)?;
    stamp(&mut steps, &stamped_besides(changes), lent);
    delete_markets(&mut steps, &changes.deleted_markets);
    write_orders(&mut steps, changes, &present)?;
    insert(&mut steps, &ANSWERS, "", &changes.answers, answers::bind)?;
    insert(&mut steps, &SESSIONS, "", &changes.new_sessions, sessions::bind)?;
    update(&mut steps, &SESSIONS, &changes.sessions, sessions::bind_change)?;
    insert(&mut steps, &REFRESH_TOKENS, "", &changes.new_refresh_tokens, sessions::bind_token)?;
    update(&mut steps, &REFRESH_TOKENS, &changes.refresh_tokens, sessions::bind_token_change)?;
    delete_mail_tokens(&mut steps, &changes.deleted_mail_tokens)?;
    insert(&mut steps, &MAIL_TOKENS, "", &changes.new_mail_tokens, mail_tokens::bind)?;
    insert(&mut steps, &WEBHOOKS, "", &changes.new_webhooks, webhooks::bind)?;
    update(&mut steps, &WEBHOOKS, &changes.webhooks, webhooks::bind_change)?;
    delete_webhooks(&mut steps, &changes.deleted_webhooks);
    insert(&mut steps, &WEBHOOK_DELIVERIES, "", &changes.new_deliveries, webhooks::bind_delivery)?;
    update(&mut steps, &WEBHOOK_DELIVERIES, &changes.deliveries, webhooks::bind_delivery_change)?;
    count(&mut steps, changes)?;
    put_jobs_aside(&mut steps, &changes.new_jobs)?;
    update(&mut steps, &API_KEYS, &changes.api_keys, api_keys::bind_change)?;
    update(&mut steps, &API_KEY_USES, &changes.api_key_uses, api_keys::bind_use)?;
    insert(&mut steps, &API_KEY_SPENDING, SPENDING_EXISTS, &changes.key_spending, api_keys::bind_spending)?;
    delete_order_groups(&mut steps, &changes.deleted_order_groups);
    insert(&mut steps, &ORDER_GROUPS, "", &changes.new_order_groups, order_groups::bind)?;
    update(&mut steps, &ORDER_GROUPS, &changes.order_groups, order_groups::bind_change)?;
    delete_cancel_switches(&mut steps, &changes.deleted_cancel_switches);
    insert(&mut steps, &CANCEL_SWITCHES, cancel_switches::EXISTS, &changes.cancel_switches, cancel_switches::bind)?;
    // Last, so that what fails before draws no position.
    steps.extend(outbox::append(changes)?);
    Ok(steps)
}

/// What is written of orders, and where what refers to other rows is not known to refer to rows that are there, it is looked up.
fn write_orders(steps: &mut Vec<Step>, changes: &Changes, present: &Present) -> Result<(), StoreError> {
    let Changes { new_orders, positions, trades, transfers, .. } = changes;
    let references = [ORDER_REFERENCES, POSITION_REFERENCES, TRADE_REFERENCES, TRANSFER_REFERENCES];
    let [of_orders, of_positions, of_trades, of_transfers] = references;
    insert_referring(steps, &ORDERS, "", (of_orders, present.has_all_of_orders(new_orders)), new_orders, orders::bind)?;
    update(steps, &ORDERS, &changes.orders, orders::bind_change)?;
    let of_positions = (of_positions, present.has_all_of_positions(positions));
    insert_referring(steps, &POSITIONS, POSITION_EXISTS, of_positions, positions, positions::bind)?;
    insert_referring(steps, &TRADES, "", (of_trades, present.has_all_of_trades(trades)), trades, trades::bind)?;
    let of_transfers = (of_transfers, present.has_all_of_transfers(transfers));
    insert_referring(steps, &TRANSFERS, "", of_transfers, transfers, accounts::bind_transfer)
}

/// What rows refer to: a column, and the table whose id it is.
type References = &'static [(&'static str, &'static str)];
const ORDER_REFERENCES: References = &[("market_id", "markets"), ("user_id", "users")];
const POSITION_REFERENCES: References = &[("market_id", "markets"), ("user_id", "users")];
const TRADE_REFERENCES: References =
    &[("market_id", "markets"), ("taker_order", "orders"), ("maker_order", "orders"), ("taker_id", "users")];
const TRANSFER_REFERENCES: References = &[("from_account", "accounts"), ("to_account", "accounts")];

/// Inserts only those rows of which all references are there, in one query for all rows rather than one
/// for each: with fewer rows than were meant the unit fails. What is referred to is never deleted, but for
/// a market with its orders, under the market's lock.
///
/// A subquery for a value rather than `EXISTS`, for which the planner may choose to read the whole table
/// that is referred to.
fn of_existing(table: &Table, references: References) -> String {
    let conditions = references.iter().map(|(column, other)| {
        format!("(new.{column} IS NULL OR (SELECT true FROM {other} WHERE {other}.id = new.{column}))")
    });
    let conditions: Vec<String> = conditions.collect();
    format!(" AS new ({}) WHERE {}", table.columns, conditions.join(" AND "))
}

/// An account that has paid since it was loaded is not written.
const HAS_NOT_PAID: (&str, &str) = (", paid_before", " AND accounts.paid_count = new.paid_before");
/// Nor is a market in which somebody traded since.
const HAS_NOT_TRADED: (&str, &str) = (", traded_before", " AND market_counters.trade_count = new.traded_before");
const POSITION_EXISTS: &str = " ON CONFLICT (market_id, user_id) DO UPDATE SET \
                               spent = excluded.spent, received = excluded.received, settled_at = excluded.settled_at, \
                               free = excluded.free, held = excluded.held";
const SPENDING_EXISTS: &str = " ON CONFLICT (key_id) DO UPDATE SET day = excluded.day, spent = excluded.spent";
const OUTCOME_EXISTS: &str = " ON CONFLICT (market_id, outcome) DO UPDATE SET \
                              name = excluded.name, last_price = excluded.last_price, probability = excluded.probability, \
                              sold = excluded.sold, proposed_weight = excluded.proposed_weight, weight = excluded.weight";

/// Inserts rows; `then` is what the statement ends with.
pub(crate) fn insert<T>(
    steps: &mut Vec<Step>,
    table: &Table,
    then: &str,
    rows: &[T],
    bind: impl Fn(&T, &mut Values),
) -> Result<(), StoreError> {
    steps.extend(inserted(table, then, rows, bind)?);
    Ok(())
}

/// Inserts rows with what they refer to, which is looked up where it is not known to be there; `on_conflict` is what the
/// statement ends with.
fn insert_referring<T>(
    steps: &mut Vec<Step>,
    table: &Table,
    on_conflict: &str,
    (references, are_there): (References, bool),
    rows: &[T],
    bind: impl Fn(&T, &mut Values),
) -> Result<(), StoreError> {
    let then = if are_there { String::new() } else { of_existing(table, references) } + on_conflict;
    steps.extend(inserted(table, &then, rows, bind)?.map(|step| step.independent(are_there)));
    Ok(())
}

fn inserted<T>(
    table: &Table,
    then: &str,
    rows: &[T],
    bind: impl Fn(&T, &mut Values),
) -> Result<Option<Step>, StoreError> {
    if rows.is_empty() {
        return Ok(None);
    }
    let sql = Sql::new(format!("INSERT INTO {} ({}) SELECT * FROM ", table.name, table.columns));
    let sql = sql.batch(table.types.row, table.kinds, rows, bind)?.then(then);
    Ok(Some(Step::of_rows(sql, table.name, rows.len()).independent(table.types.row.is_some())))
}

/// Every row must be there: one that is not was never locked.
fn update<T>(
    steps: &mut Vec<Step>,
    table: &Table,
    rows: &[T],
    bind: impl Fn(&T, &mut Values),
) -> Result<(), StoreError> {
    update_where(steps, table, ("", ""), rows, bind)
}

/// The same, where something holds of each row besides: the names of what is bound for it after the columns, and the
/// condition.
fn update_where<T>(
    steps: &mut Vec<Step>,
    table: &Table,
    (names, and): (&str, &str),
    rows: &[T],
    bind: impl Fn(&T, &mut Values),
) -> Result<(), StoreError> {
    let Some((key, columns)) = table.changing.split_first().filter(|_| !rows.is_empty()) else { return Ok(()) };
    let sets: Vec<String> = columns.iter().map(|column| format!("{column} = new.{column}")).collect();
    let sql = Sql::new(format!("UPDATE {} SET {} FROM ", table.name, sets.join(", ")));
    let sql = sql.batch(table.types.change, table.changing_kinds, rows, bind)?.then(&format!(
        " AS new ({}{names}) WHERE {}.{key} = new.{key}{and}",
        table.changing.join(", "),
        table.name
    ));
    steps.push(Step::of_rows(sql, table.name, rows.len()).independent(table.types.change.is_some()));
    Ok(())
}

fn new_markets(steps: &mut Vec<Step>, new: &[Market]) -> Result<(), StoreError> {
    insert(steps, &MARKETS, "", new, markets::bind)?;
    insert(steps, &MARKET_COUNTERS, "", new, markets::bind_counters)?;
    let outcomes: Vec<_> = new.iter().flat_map(markets::outcome_rows).collect();
    insert(steps, &OUTCOMES, "", &outcomes, markets::bind_outcome)?;
    tags(steps, new.iter())
}

/// A market that this unit has loaded is written as far as it has changed since: a trade touches
/// three counters and a few outcomes, not a long description and its indexes.
fn changed_markets(steps: &mut Vec<Step>, changes: &Changes, lent: &Lent) -> Result<(), StoreError> {
    let changed = &changes.markets;
    let is_counted =
        |market: &&Market| lent.market(market.id).is_some_and(|before| markets::same_but_for_counters(before, market));
    let edited: Vec<&Market> = changed.iter().filter(|market| !is_counted(market)).collect();
    let stamp = lent.next_stamp().map(|stamp| stamp.0);
    update_where(steps, &MARKET_COUNTERS, HAS_NOT_TRADED, &changes.markets_since(), |(market, traded_before), row| {
        markets::bind_counters(market, row);
        row.add(stamp).add(*traded_before);
    })?;
    update(steps, &MARKETS, &edited, |market, row| markets::bind_change(market, row))?;

    let changed_outcomes = changed.iter().flat_map(|market| {
        let before: Vec<_> = lent.market(market.id).map(|m| markets::outcome_rows(m).collect()).unwrap_or_default();
        markets::outcome_rows(market).filter(move |row| !before.contains(row))
    });
    let outcomes: Vec<_> = changed_outcomes.collect();
    insert(steps, &OUTCOMES, OUTCOME_EXISTS, &outcomes, markets::bind_outcome)?;

    let retagged: Vec<&Market> =
        changed.iter().filter(|m| lent.market(m.id).is_none_or(|before| before.tags != m.tags)).collect();
    let ids: Vec<MarketId> = retagged.iter().map(|m| m.id).collect();
    delete(steps, &MARKET_TAGS, "market_id", "", &ids, 0);
    tags(steps, retagged.into_iter())
}

/// Markets of which something else is written that their locks guard have a new stamp, too: none where it is not known.
fn stamp(steps: &mut Vec<Step>, ids: &[MarketId], lent: &Lent) {
    if ids.is_empty() {
        return;
    }
    let sql = match lent.next_stamp() {
        Some(next) => Sql::new("UPDATE market_counters SET stamp = ? WHERE market_id = ANY(?)").bind(next.0),
        None => Sql::new("UPDATE market_counters SET stamp = NULL WHERE market_id = ANY(?)"),
    };
    let sql = sql.ids(ids.iter().map(|id| id.0));
    steps.push(Step::of_rows(sql, MARKET_COUNTERS.name, ids.len()));
}

fn tags<'m>(steps: &mut Vec<Step>, of: impl Iterator<Item = &'m Market>) -> Result<(), StoreError> {
    let rows = of.flat_map(|market| (0_i64..).zip(&market.tags).map(move |(position, tag)| (market.id, position, tag)));
    let rows: Vec<_> = rows.collect();
    insert(steps, &MARKET_TAGS, "", &rows, |(market, position, tag), row| {
        row.add(*market).add(*position).add(*tag);
    })
}

const NOTHING_LEFT: &str = "\
    AND NOT EXISTS (SELECT 1 FROM trades WHERE trades.market_id = market_counters.market_id) \
    AND NOT EXISTS (SELECT 1 FROM orders WHERE orders.market_id = market_counters.market_id AND filled = 0) \
    AND NOT EXISTS (SELECT 1 FROM positions WHERE positions.market_id = market_counters.market_id)";

/// Ended orders and empty positions go with their market. Whatever else there is refuses, since the counters
/// stay then: a trade, without which no order was filled, an order that still rests, a share. Accounts stay, since the ledger
/// forgets nothing.
fn delete_markets(steps: &mut Vec<Step>, ids: &[MarketId]) {
    delete(steps, &ORDER_GROUPS, "market_id", "", ids, 0);
    delete(steps, &MARKET_TAGS, "market_id", "", ids, 0);
    delete(steps, &POSITIONS, "market_id", " AND 0 = ALL (free) AND 0 = ALL (held)", ids, 0);
    delete(steps, &ORDERS, "market_id", " AND filled = 0 AND status <> 'open'", ids, 0);
    delete(steps, &MARKET_COUNTERS, "market_id", NOTHING_LEFT, ids, ids.len());
    delete(steps, &OUTCOMES, "market_id", "", ids, 0);
    delete(steps, &MARKETS, "id", "", ids, ids.len());
}

/// Deletes rows of these markets, `least` or more.
fn delete(steps: &mut Vec<Step>, table: &Table, key: &str, and: &str, ids: &[MarketId], least: usize) {
    if !ids.is_empty() {
        let sql = Sql::new(format!("DELETE FROM {} WHERE {key} = ANY(", table.name)).ids(ids.iter().map(|id| id.0));
        let sql = sql.then(&format!("?){and}"));
        steps.push(Step::within(sql, table.name, least.min(ids.len())..=usize::MAX));
    }
}

const COUNTING_EXISTS: &str = " ON CONFLICT (market_id) DO UPDATE SET users_through = excluded.users_through, \
                               done = excluded.done, last_traded_at = excluded.last_traded_at, last_trade = excluded.last_trade";
const ADD_OF_MARKET: &str = " ON CONFLICT (market_id, user_id) DO UPDATE SET \
                             trades = market_scores.trades + excluded.trades, volume = market_scores.volume + excluded.volume, \
                             judged_shares = market_scores.judged_shares + excluded.judged_shares, \
                             missed = market_scores.missed + excluded.missed";
const ADD: &str = " ON CONFLICT (user_id) DO UPDATE SET \
                   trades = scores.trades + excluded.trades, volume = scores.volume + excluded.volume, \
                   judged_shares = scores.judged_shares + excluded.judged_shares, missed = scores.missed + excluded.missed, \
                   profit = scores.profit + excluded.profit, markets = scores.markets + excluded.markets, \
                   judged_markets = scores.judged_markets + excluded.judged_markets";

/// What was counted of markets that have paid.
fn count(steps: &mut Vec<Step>, changes: &Changes) -> Result<(), StoreError> {
    insert(steps, &COUNTINGS, COUNTING_EXISTS, &changes.countings, scores::bind_counting)?;
    insert(steps, &MARKET_SCORES, ADD_OF_MARKET, &changes.market_scores, scores::bind_of_market)?;
    insert(steps, &SCORES, ADD, &changes.scores, scores::bind)?;
    let counted = &changes.counted_positions;
    if !counted.is_empty() {
        let sql =
            Sql::new("UPDATE positions SET counted = true FROM ").unnest("uu", counted, |(market, user), row| {
                row.add(*market).add(*user);
            })?;
        let sql = sql.then(
            " AS new (market_id, user_id) \
             WHERE positions.market_id = new.market_id AND positions.user_id = new.user_id AND NOT counted",
        );
        steps.push(Step::of_rows(sql, POSITIONS.name, counted.len()));
    }
    Ok(())
}

fn put_jobs_aside(steps: &mut Vec<Step>, new: &[Job]) -> Result<(), StoreError> {
    insert(steps, &JOBS, jobs::JOINS, new, jobs::bind)?;
    if !new.is_empty() {
        let sql = jobs::notice(new.iter().map(|job| job.kind))?;
        steps.push(Step::within(sql, JOBS.name, 0..=usize::MAX));
    }
    Ok(())
}

/// With what they were sent.
fn delete_webhooks(steps: &mut Vec<Step>, ids: &[WebhookId]) {
    if !ids.is_empty() {
        let sql = Sql::new("DELETE FROM webhooks WHERE id = ANY(").ids(ids.iter().map(|id| id.0)).then("?)");
        steps.push(Step::of_rows(sql, WEBHOOKS.name, ids.len()));
    }
}

/// Their orders stay.
fn delete_order_groups(steps: &mut Vec<Step>, ids: &[OrderGroupId]) {
    if !ids.is_empty() {
        let sql = Sql::new("DELETE FROM order_groups WHERE id = ANY(").ids(ids.iter().map(|id| id.0)).then("?)");
        steps.push(Step::of_rows(sql, ORDER_GROUPS.name, ids.len()));
    }
}

/// Some may have been taken for over by others.
fn delete_cancel_switches(steps: &mut Vec<Step>, ids: &[SwitchId]) {
    if !ids.is_empty() {
        let sql = Sql::new("DELETE FROM cancel_switches WHERE id = ANY(").ids(ids.iter().map(|id| id.0)).then("?)");
        steps.push(Step::within(sql, CANCEL_SWITCHES.name, 0..=usize::MAX));
    }
}

/// Some may have expired and been forgotten meanwhile.
fn delete_mail_tokens(steps: &mut Vec<Step>, hashes: &[[u8; 32]]) -> Result<(), StoreError> {
    if !hashes.is_empty() {
        let sql = Sql::new("DELETE FROM mail_tokens WHERE hash IN (SELECT * FROM ");
        let sql = sql.unnest("h", hashes, |hash, row| {
            row.add(*hash);
        })?;
        steps.push(Step::within(sql.then(")"), MAIL_TOKENS.name, 0..=usize::MAX));
    }
    Ok(())
}
