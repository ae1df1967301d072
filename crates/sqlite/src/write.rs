//! A decision's changes as statements: one for each table and kind of change, however many rows.

use std::ops::RangeInclusive;

use bellwether_domain::ids::{MarketId, OrderGroupId, SwitchId, WebhookId};
use bellwether_domain::market::Market;
use bellwether_domain::market_memory::{Lent, stamped_besides};
use bellwether_domain::ports::{Changes, StoreError};

use crate::connection::Connection;
use crate::schema::{
    ACCOUNTS, ANSWERS, API_KEY_SPENDING, API_KEY_USES, API_KEYS, CANCEL_SWITCHES, COUNTINGS, JOBS, MAIL_TOKENS,
    MARKET_COUNTERS, MARKET_SCORES, MARKET_TAGS, MARKETS, ORDER_GROUPS, ORDERS, OUTCOMES, POSITIONS, REFRESH_TOKENS,
    SCORES, SESSIONS, TRADES, TRANSFERS, Table, USERS, WEBHOOK_DELIVERIES, WEBHOOKS,
};
use crate::sql::Values;
use crate::{
    accounts, answers, api_keys, cancel_switches, jobs, mail_tokens, markets, order_groups, orders, positions, scores,
    sessions, trades, users, webhooks,
};

/// A statement, the rows of values that it runs for, and how many rows it must change in all.
pub(crate) struct Step {
    text: String,
    values: Vec<Values>,
    table: &'static str,
    rows: RangeInclusive<usize>,
}

/// The statements that write these changes, referenced rows before those that refer to them.
pub(crate) fn steps(changes: &Changes, lent: &Lent) -> Vec<Step> {
    let mut steps = Vec::new();
    insert(&mut steps, &USERS, "", &changes.new_users, users::bind);
    update(&mut steps, &USERS, &changes.users, users::bind_change);
    insert(&mut steps, &API_KEYS, "", &changes.new_api_keys, api_keys::bind);
    insert(&mut steps, &ACCOUNTS, "", &changes.new_accounts, accounts::bind);
    update_where(&mut steps, &ACCOUNTS, HAS_NOT_PAID, &changes.accounts_since(), accounts::bind_change);
    new_markets(&mut steps, &changes.new_markets);
    changed_markets(&mut steps, changes, lent);
    stamp(&mut steps, &stamped_besides(changes), lent);
    delete_markets(&mut steps, &changes.deleted_markets);
    insert(&mut steps, &ORDERS, "", &changes.new_orders, orders::bind);
    update(&mut steps, &ORDERS, &changes.orders, orders::bind_change);
    insert(&mut steps, &POSITIONS, POSITION_EXISTS, &changes.positions, positions::bind);
    insert(&mut steps, &TRADES, "", &changes.trades, trades::bind);
    insert(&mut steps, &TRANSFERS, "", &changes.transfers, accounts::bind_transfer);
    insert(&mut steps, &ANSWERS, "", &changes.answers, answers::bind);
    insert(&mut steps, &SESSIONS, "", &changes.new_sessions, sessions::bind);
    update(&mut steps, &SESSIONS, &changes.sessions, sessions::bind_change);
    insert(&mut steps, &REFRESH_TOKENS, "", &changes.new_refresh_tokens, sessions::bind_token);
    update(&mut steps, &REFRESH_TOKENS, &changes.refresh_tokens, sessions::bind_token_change);
    delete_mail_tokens(&mut steps, &changes.deleted_mail_tokens);
    insert(&mut steps, &MAIL_TOKENS, "", &changes.new_mail_tokens, mail_tokens::bind);
    insert(&mut steps, &WEBHOOKS, "", &changes.new_webhooks, webhooks::bind);
    update(&mut steps, &WEBHOOKS, &changes.webhooks, webhooks::bind_change);
    delete_webhooks(&mut steps, &changes.deleted_webhooks);
    insert(&mut steps, &WEBHOOK_DELIVERIES, "", &changes.new_deliveries, webhooks::bind_delivery);
    update(&mut steps, &WEBHOOK_DELIVERIES, &changes.deliveries, webhooks::bind_delivery_change);
    count(&mut steps, changes);
    insert(&mut steps, &JOBS, jobs::JOINS, &changes.new_jobs, jobs::bind);
    update(&mut steps, &API_KEYS, &changes.api_keys, api_keys::bind_change);
    update(&mut steps, &API_KEY_USES, &changes.api_key_uses, api_keys::bind_use);
    insert(&mut steps, &API_KEY_SPENDING, SPENDING_EXISTS, &changes.key_spending, api_keys::bind_spending);
    delete_order_groups(&mut steps, &changes.deleted_order_groups);
    insert(&mut steps, &ORDER_GROUPS, "", &changes.new_order_groups, order_groups::bind);
    update(&mut steps, &ORDER_GROUPS, &changes.order_groups, order_groups::bind_change);
    delete_cancel_switches(&mut steps, &changes.deleted_cancel_switches);
    insert(&mut steps, &CANCEL_SWITCHES, cancel_switches::EXISTS, &changes.cancel_switches, cancel_switches::bind);
    steps
}

/// Runs the statements in order, up to the first that fails.
pub(crate) fn run(connection: &mut Connection, steps: Vec<Step>) -> Result<(), StoreError> {
    for step in steps {
        let changed = connection.run_each(&step.text, &step.values)?;
        if !step.rows.contains(&changed) {
            let (table, wanted) = (step.table, step.rows.start());
            return Err(StoreError::Corrupt(format!("{changed} rows of {table} changed where {wanted} were to")));
        }
    }
    Ok(())
}

/// An account that has paid since it was loaded is not written.
const HAS_NOT_PAID: &str = " AND paid_count = ?6";
/// Nor is a market in which somebody traded since.
const HAS_NOT_TRADED: &str = " AND trade_count = ?6";
const POSITION_EXISTS: &str = " ON CONFLICT (market_id, user_id) DO UPDATE SET \
                               spent = excluded.spent, received = excluded.received, settled_at = excluded.settled_at, \
                               free = excluded.free, held = excluded.held";
const SPENDING_EXISTS: &str = " ON CONFLICT (key_id) DO UPDATE SET day = excluded.day, spent = excluded.spent";
const OUTCOME_EXISTS: &str = " ON CONFLICT (market_id, outcome) DO UPDATE SET \
                              name = excluded.name, last_price = excluded.last_price, probability = excluded.probability, \
                              sold = excluded.sold, proposed_weight = excluded.proposed_weight, weight = excluded.weight";

/// The statement that inserts a row.
pub(crate) fn insert_into(table: &Table) -> String {
    let marks = vec!["?"; table.width].join(",");
    format!("INSERT INTO {} ({}) VALUES ({marks})", table.name, table.columns)
}

/// Inserts rows; `on_conflict` is what the statement ends with.
pub(crate) fn insert<T>(
    steps: &mut Vec<Step>,
    table: &Table,
    on_conflict: &str,
    rows: &[T],
    bind: impl Fn(&T, &mut Values),
) {
    if !rows.is_empty() {
        let text = format!("{}{on_conflict}", insert_into(table));
        push(steps, text, table, rows, bind);
    }
}

/// Every row must be there: one that is not was never locked.
fn update<T>(steps: &mut Vec<Step>, table: &Table, rows: &[T], bind: impl Fn(&T, &mut Values)) {
    update_where(steps, table, "", rows, bind);
}

/// The same, where something holds of each row besides, with values that are bound after those of its columns.
fn update_where<T>(steps: &mut Vec<Step>, table: &Table, and: &str, rows: &[T], bind: impl Fn(&T, &mut Values)) {
    let Some((key, columns)) = table.changing.split_first().filter(|_| !rows.is_empty()) else { return };
    // The key is bound first, as in the table.
    let sets: Vec<String> = columns.iter().zip(2..).map(|(column, number)| format!("{column} = ?{number}")).collect();
    push(steps, format!("UPDATE {} SET {} WHERE {key} = ?1{and}", table.name, sets.join(", ")), table, rows, bind);
}

fn push<T>(steps: &mut Vec<Step>, text: String, table: &Table, rows: &[T], bind: impl Fn(&T, &mut Values)) {
    let values = rows.iter().map(|row| {
        let mut values = Values::default();
        bind(row, &mut values);
        values
    });
    steps.push(Step { text, values: values.collect(), table: table.name, rows: rows.len()..=rows.len() });
}

fn new_markets(steps: &mut Vec<Step>, new: &[Market]) {
    insert(steps, &MARKETS, "", new, markets::bind);
    insert(steps, &MARKET_COUNTERS, "", new, markets::bind_counters);
    let outcomes: Vec<_> = new.iter().flat_map(markets::outcome_rows).collect();
    insert(steps, &OUTCOMES, "", &outcomes, markets::bind_outcome);
    tags(steps, new.iter());
}

/// A market that this unit has loaded is written as far as it has changed since: a trade touches
/// three counters and a few outcomes, not a long description and its indexes.
fn changed_markets(steps: &mut Vec<Step>, changes: &Changes, lent: &Lent) {
    let changed = &changes.markets;
    let is_counted =
        |market: &&Market| lent.market(market.id).is_some_and(|before| markets::same_but_for_counters(before, market));
    let edited: Vec<&Market> = changed.iter().filter(|market| !is_counted(market)).collect();
    let stamp = lent.next_stamp().map(|stamp| stamp.0);
    update_where(steps, &MARKET_COUNTERS, HAS_NOT_TRADED, &changes.markets_since(), |(market, traded_before), row| {
        markets::bind_counters(market, row);
        row.add(stamp).add(*traded_before);
    });
    update(steps, &MARKETS, &edited, |market, row| markets::bind_change(market, row));

    let changed_outcomes = changed.iter().flat_map(|market| {
        let before: Vec<_> = lent.market(market.id).map(|m| markets::outcome_rows(m).collect()).unwrap_or_default();
        markets::outcome_rows(market).filter(move |row| !before.contains(row))
    });
    let outcomes: Vec<_> = changed_outcomes.collect();
    insert(steps, &OUTCOMES, OUTCOME_EXISTS, &outcomes, markets::bind_outcome);

    let retagged: Vec<&Market> =
        changed.iter().filter(|m| lent.market(m.id).is_none_or(|before| before.tags != m.tags)).collect();
    let ids: Vec<MarketId> = retagged.iter().map(|m| m.id).collect();
    delete(steps, &MARKET_TAGS, "market_id", "", &ids, 0);
    tags(steps, retagged.into_iter());
}

/// Markets of which something else is written that their locks guard have a new stamp, too.
fn stamp(steps: &mut Vec<Step>, ids: &[MarketId], lent: &Lent) {
    if !ids.is_empty() {
        let (text, stamp) = ("UPDATE market_counters SET stamp = ?2 WHERE market_id = ?1", lent.next_stamp());
        push(steps, text.to_owned(), &MARKET_COUNTERS, ids, |id, row| {
            row.add(*id).add(stamp.map(|stamp| stamp.0));
        });
    }
}

fn tags<'m>(steps: &mut Vec<Step>, of: impl Iterator<Item = &'m Market>) {
    let rows = of.flat_map(|market| (0_i64..).zip(&market.tags).map(move |(position, tag)| (market.id, position, tag)));
    let rows: Vec<_> = rows.collect();
    insert(steps, &MARKET_TAGS, "", &rows, |(market, position, tag), row| {
        row.add(*market).add(*position).add(*tag);
    });
}

/// No list has a digit but zeros.
const NO_SHARES: &str = " AND free NOT GLOB '*[1-9]*' AND held NOT GLOB '*[1-9]*'";

/// No trade is left, nor an order, which would not have been filled without one.
const NOTHING_LEFT: &str = " \
    AND NOT EXISTS (SELECT 1 FROM orders WHERE orders.market_id = market_counters.market_id AND filled = 0) \
    AND NOT EXISTS (SELECT 1 FROM timelines WHERE owner = market_counters.market_id AND what = 2)";

/// Ended orders and empty positions go with their market. Whatever else there is refuses: a trade, or an order that still
/// rests, since the counters stay then; a share by its reference. Accounts stay, since the ledger forgets nothing.
fn delete_markets(steps: &mut Vec<Step>, ids: &[MarketId]) {
    delete(steps, &ORDER_GROUPS, "market_id", "", ids, 0);
    delete(steps, &MARKET_TAGS, "market_id", "", ids, 0);
    delete(steps, &POSITIONS, "market_id", NO_SHARES, ids, 0);
    delete(steps, &ORDERS, "market_id", " AND filled = 0 AND status <> 'open'", ids, 0);
    delete(steps, &OUTCOMES, "market_id", "", ids, 0);
    delete(steps, &MARKET_COUNTERS, "market_id", NOTHING_LEFT, ids, ids.len());
    delete(steps, &MARKETS, "id", "", ids, ids.len());
}

const COUNTING_EXISTS: &str = " ON CONFLICT (market_id) DO UPDATE SET users_through = excluded.users_through, \
                               done = excluded.done, last_traded_at = excluded.last_traded_at, last_trade = excluded.last_trade";
const ADD_OF_MARKET: &str = " ON CONFLICT (market_id, user_id) DO UPDATE SET \
                             trades = trades + excluded.trades, volume = volume + excluded.volume, \
                             judged_shares = judged_shares + excluded.judged_shares, missed = missed + excluded.missed";
const ADD: &str = " ON CONFLICT (user_id) DO UPDATE SET \
                   trades = trades + excluded.trades, volume = volume + excluded.volume, \
                   judged_shares = judged_shares + excluded.judged_shares, missed = missed + excluded.missed, \
                   profit = profit + excluded.profit, markets = markets + excluded.markets, \
                   judged_markets = judged_markets + excluded.judged_markets";

/// What was counted of markets that have paid.
fn count(steps: &mut Vec<Step>, changes: &Changes) {
    insert(steps, &COUNTINGS, COUNTING_EXISTS, &changes.countings, scores::bind_counting);
    insert(steps, &MARKET_SCORES, ADD_OF_MARKET, &changes.market_scores, scores::bind_of_market);
    insert(steps, &SCORES, ADD, &changes.scores, scores::bind);
    let counted = &changes.counted_positions;
    if !counted.is_empty() {
        let text = "UPDATE positions SET counted = 1 WHERE market_id = ? AND user_id = ? AND counted = 0";
        push(steps, text.to_owned(), &POSITIONS, counted, |(market, user), row| {
            row.add(*market).add(*user);
        });
    }
}

/// Deletes rows of these markets, `least` or more.
fn delete(steps: &mut Vec<Step>, table: &Table, key: &str, and: &str, ids: &[MarketId], least: usize) {
    if !ids.is_empty() {
        let text = format!("DELETE FROM {} WHERE {key} = ?{and}", table.name);
        push(steps, text, table, ids, |id, row| {
            row.add(*id);
        });
        if let Some(step) = steps.last_mut() {
            step.rows = least..=usize::MAX;
        }
    }
}

/// With what they were sent.
fn delete_webhooks(steps: &mut Vec<Step>, ids: &[WebhookId]) {
    if !ids.is_empty() {
        push(steps, "DELETE FROM webhooks WHERE id = ?".to_owned(), &WEBHOOKS, ids, |id, row| {
            row.add(*id);
        });
    }
}

/// Their orders stay.
fn delete_order_groups(steps: &mut Vec<Step>, ids: &[OrderGroupId]) {
    if !ids.is_empty() {
        push(steps, "DELETE FROM order_groups WHERE id = ?".to_owned(), &ORDER_GROUPS, ids, |id, row| {
            row.add(*id);
        });
    }
}

/// Some may have been taken for over by others.
fn delete_cancel_switches(steps: &mut Vec<Step>, ids: &[SwitchId]) {
    if !ids.is_empty() {
        push(steps, "DELETE FROM cancel_switches WHERE id = ?".to_owned(), &CANCEL_SWITCHES, ids, |id, row| {
            row.add(*id);
        });
        if let Some(step) = steps.last_mut() {
            step.rows = 0..=usize::MAX;
        }
    }
}

/// Some may have expired and been forgotten meanwhile.
fn delete_mail_tokens(steps: &mut Vec<Step>, hashes: &[[u8; 32]]) {
    if !hashes.is_empty() {
        push(steps, "DELETE FROM mail_tokens WHERE hash = ?".to_owned(), &MAIL_TOKENS, hashes, |hash, row| {
            row.add(*hash);
        });
        if let Some(step) = steps.last_mut() {
            step.rows = 0..=usize::MAX;
        }
    }
}
