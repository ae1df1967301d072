//! The market that a store which is not empty is made of: open orders and trades, made through the API as all others
//! are, so that its rows are what a server's own would be. [`copies`](crate::bench::copies) are made of it. Orders go in
//! batches.

use anyhow::Context as _;
use serde::Deserialize;

use crate::bench::client::error_code;
use crate::bench::connection::Connection;
use crate::bench::copies::Original;
use crate::bench::load::{Kind, Step, order_body};
use crate::bench::world::{SIDE, World};

/// How many orders a batch may have.
const BATCH: usize = 50;
/// So many open orders are in the market, and so many trades.
pub(super) const ORDERS_A_MARKET: u64 = 100;
/// Resting orders are below this price and above its complement, out of the way of the load.
const DEEP_MILLS: usize = 250;

/// Has orders rest and trades made in the first of the world's markets; it, and somebody who holds shares in it.
pub(super) async fn fill(world: &World) -> anyhow::Result<Original> {
    let markets = [world.read_market().to_owned()];
    let mut connection = Connection::open(&world.address).await?;
    let batches = usize::try_from(ORDERS_A_MARKET)? / BATCH;
    let resting = (0..batches).map(|number| resting_batch(&markets, number));
    let trading = (0..2 * batches).map(|number| trading_batch(&markets, number));
    for step in resting.chain(trading) {
        let answer = connection.send(&step.request(world)).await?;
        let is_done = (200..300).contains(&answer.status);
        anyhow::ensure!(is_done, "POST {}: {} {}", step.path, answer.status, error_code(answer.body));
        all_accepted(answer.body)?;
    }
    let [market] = markets;
    let holder = world.trader(0).context("there are no traders")?.id.clone();
    Ok(Original { market, holder })
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

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
struct Batch {
    refused: usize,
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
