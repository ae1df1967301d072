//! A store that is not empty: markets, users, open orders and trades, made through the API as all
//! others are, so that they are what a server's own would be. Orders go in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::bench::client::error_code;
use crate::bench::connection::Connection;
use crate::bench::load::{Kind, Step, order_body};
use crate::bench::world::{SIDE, World};

/// How many orders a batch may have.
const BATCH: usize = 50;
/// So many open orders for each market and for each user.
const ORDERS_A_MARKET: usize = 100;
const ORDERS_A_USER: usize = 10;
/// Resting orders are below this price and above its complement, out of the way of the load.
const DEEP_MILLS: usize = 250;
/// Connections that fill the store at the same time. More sign-ups would have to wait than the server lets wait.
const CONNECTIONS: usize = 32;

/// Adds so many open orders, as many trades, and markets and users in proportion. Returns the markets.
pub(super) async fn fill(world: &Arc<World>, orders: usize) -> anyhow::Result<Vec<String>> {
    let (markets, users) = ((orders / ORDERS_A_MARKET).max(BATCH), orders / ORDERS_A_USER);
    eprintln!("bench: opening {markets} markets, signing up {users} users");
    let markets = send_all(world, markets, market, made_id).await?;
    send_all(world, users, user, made_id).await?;
    let markets = Arc::new(markets);
    let batches = orders / BATCH;
    eprintln!("bench: placing {orders} orders that rest");
    let of = Arc::clone(&markets);
    send_all(world, batches, move |number| resting_batch(&of, number), all_accepted).await?;
    eprintln!("bench: making {orders} trades");
    let of = Arc::clone(&markets);
    send_all(world, 2 * batches, move |number| trading_batch(&of, number), all_accepted).await?;
    Arc::into_inner(markets).context("the markets are still in use")
}

fn market(number: usize) -> Step {
    let body = format!(r#"{{"question":"Does market {number} trade?","closesAt":"2099-12-31T00:00:00Z"}}"#);
    Step::command(Kind::Order, "/markets", Some(0), format!("fill-market-{number}"), body)
}

fn user(number: usize) -> Step {
    let body = format!(
        r#"{{"email":"fill-{number}@example.com","displayName":"fill-{number}","password":"a passphrase for throw-away users"}}"#
    );
    Step::command(Kind::Order, "/users", None, format!("fill-user-{number}"), body)
}

/// Orders of one maker in neighbouring markets, at prices that differ from batch to batch.
fn resting_batch(markets: &[String], number: usize) -> Step {
    let orders = (0..BATCH).map(|place| {
        let order = number * BATCH + place;
        let outcome = if (order / markets.len()).is_multiple_of(2) { "YES" } else { "NO" };
        order_body(of(markets, order), outcome, 1 + order * 7 % (DEEP_MILLS - 1), 5, "gtc")
    });
    batch("fill-resting", number, number % SIDE, orders)
}

/// Of each two batches the second fills the first.
fn trading_batch(markets: &[String], number: usize) -> Step {
    let (pair, is_second) = (number / 2, number % 2 == 1);
    let orders = (0..BATCH).map(|place| {
        let outcome = if is_second { "NO" } else { "YES" };
        order_body(of(markets, pair * BATCH + place), outcome, 500, 1, "gtc")
    });
    let trader = if is_second { SIDE + pair % SIDE } else { pair % SIDE };
    batch("fill-trading", number, trader, orders)
}

fn of(markets: &[String], order: usize) -> &str {
    markets.get(order % markets.len().max(1)).map_or("", String::as_str)
}

fn batch(name: &str, number: usize, trader: usize, orders: impl Iterator<Item = String>) -> Step {
    let orders: Vec<String> = orders.collect();
    let body = format!(r#"{{"orders":[{}]}}"#, orders.join(","));
    Step::command(Kind::Order, "/orders/batch", Some(trader), format!("{name}-{number}"), body)
}

/// Sends so many requests over several connections; returns what was read from their answers.
async fn send_all<T: Send + 'static>(
    world: &Arc<World>,
    count: usize,
    step: impl Fn(usize) -> Step + Send + Sync + 'static,
    read: fn(&[u8]) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let (next, step) = (Arc::new(AtomicUsize::new(0)), Arc::new(step));
    let mut tasks: JoinSet<anyhow::Result<Vec<T>>> = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (world, next, step) = (Arc::clone(world), Arc::clone(&next), Arc::clone(&step));
        tasks.spawn(async move {
            let mut connection = Connection::open(&world.address).await?;
            let mut results = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(results);
                }
                let step = step(number);
                let answer = connection.send(&step.request(&world)).await?;
                let is_done = (200..300).contains(&answer.status);
                anyhow::ensure!(is_done, "POST {}: {} {}", step.path, answer.status, error_code(answer.body));
                results.push(read(answer.body)?);
            }
        });
    }
    let mut all = Vec::new();
    while let Some(results) = tasks.join_next().await {
        all.extend(results.context("a client panicked")?.context("the store cannot be filled")?);
    }
    Ok(all)
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

#[derive(Deserialize)]
struct Batch {
    refused: usize,
}

fn made_id(body: &[u8]) -> anyhow::Result<String> {
    Ok(serde_json::from_slice::<Envelope<Made>>(body).context("the answer has no id")?.data.id)
}

fn all_accepted(body: &[u8]) -> anyhow::Result<()> {
    let refused = serde_json::from_slice::<Envelope<Batch>>(body).context("the answer is not a batch's")?.data.refused;
    anyhow::ensure!(refused == 0, "{refused} orders of a batch were refused");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn orders(step: &Step) -> Vec<Value> {
        let body: Value = serde_json::from_str(&step.body).unwrap();
        body["orders"].as_array().unwrap().clone()
    }

    fn markets() -> Vec<String> {
        (0..60).map(|number| format!("m{number}")).collect()
    }

    #[test]
    fn resting_orders_stay_out_of_each_others_way() {
        let markets = markets();
        let all: Vec<Value> = (0..100).flat_map(|number| orders(&resting_batch(&markets, number))).collect();
        assert_eq!(all.len(), 100 * BATCH);
        // Bids on both outcomes that never add up to a credit cannot meet.
        assert!(all.iter().all(|order| order["price"].as_str().unwrap() <= "0.250"));
        let of_one: BTreeSet<&str> = all
            .iter()
            .filter(|order| order["marketId"] == "m7")
            .map(|order| order["outcome"].as_str().unwrap())
            .collect();
        assert_eq!(of_one.len(), 2, "books have two sides");
    }

    #[test]
    fn each_second_trading_batch_fills_the_first_from_another_trader() {
        let markets = markets();
        for number in [0, 2, 14] {
            let (first, second) = (trading_batch(&markets, number), trading_batch(&markets, number + 1));
            assert_ne!(first.trader, second.trader);
            for (one, other) in orders(&first).iter().zip(orders(&second)) {
                assert_eq!(one["marketId"], other["marketId"]);
                assert_ne!(one["outcome"], other["outcome"]);
            }
        }
    }

    #[test]
    fn a_batch_with_a_refusal_is_an_error() {
        assert!(all_accepted(br#"{"success":true,"data":{"accepted":50,"refused":0,"results":[]}}"#).is_ok());
        assert!(all_accepted(br#"{"success":true,"data":{"accepted":49,"refused":1,"results":[]}}"#).is_err());
    }
}
