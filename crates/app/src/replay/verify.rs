//! Compares what the server says with what the plan says must be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use super::client::{Ask, mills, parse_mills, show_mills, text, whole};
use super::plan::{Ending, MarketPlan, Stake};
use super::stage::Stage;

/// How long a payout may take.
const PAYOUT: Duration = Duration::from_secs(120);
/// The pause between two looks at a market that is being paid.
const PAUSE: Duration = Duration::from_millis(25);

/// The fills of an order's answer: price in mills and quantity.
pub(super) fn fills(answer: &Value) -> anyhow::Result<Vec<(i64, i64)>> {
    let fills = answer.get("fills").and_then(Value::as_array).context("the answer to an order has no `fills`")?;
    fills.iter().map(|fill| Ok((mills(fill, "price")?, whole(fill, "quantity")?))).collect()
}

/// The market once everybody is paid.
pub(super) async fn settled(stage: &Stage<'_>, id: &str) -> anyhow::Result<Value> {
    let started = Instant::now();
    loop {
        let market = stage.api.send(&Ask::get(format!("/markets/{id}"))).await?;
        if market.get("settledAt").is_some_and(|at| !at.is_null()) {
            return Ok(market);
        }
        anyhow::ensure!(started.elapsed() < PAYOUT, "it is not settled after {} s: {market}", PAYOUT.as_secs());
        tokio::time::sleep(PAUSE).await;
    }
}

/// How a settled market differs from its plan.
pub(super) fn market(plan: &MarketPlan, market: &Value) -> anyhow::Result<Vec<String>> {
    let expected = &plan.expected;
    let mut differences = Vec::new();
    let mut compare = |what: &str, found: String, wanted: String| {
        if found != wanted {
            differences.push(format!("{what} is {found}, not {wanted}"));
        }
    };
    compare("the volume", text(market, "volume")?.to_owned(), show_mills(expected.volume));
    compare("the number of trades", whole(market, "tradeCount")?.to_string(), expected.trades.to_string());
    let price = market.pointer("/outcomes/0/price").and_then(Value::as_str).unwrap_or("none");
    compare("the last price", price.to_owned(), expected.last_price.map_or("none".to_owned(), show_mills));
    let status = if plan.ending == Ending::Void { "voided" } else { "resolved" };
    compare("the status", text(market, "status")?.to_owned(), status.to_owned());
    let weights = expected.weights(plan.ending);
    for (outcome, weight) in plan.outcomes.iter().zip(weights) {
        let found = market.pointer("/resolution/weights").and_then(|w| w.get(outcome)).and_then(Value::as_str);
        compare(&format!("the weight of {outcome}"), found.unwrap_or("none").to_owned(), show_mills(weight));
    }
    Ok(differences)
}

/// How the positions in a settled market differ from its plan: shares, payout, and that each was paid.
pub(super) async fn positions(stage: &Stage<'_>, plan: &MarketPlan, id: &str) -> anyhow::Result<Vec<String>> {
    let weights = plan.expected.weights(plan.ending);
    let rows = stage.api.list(&format!("/markets/{id}/positions"), stage.admin).await?;
    let mut found = BTreeMap::new();
    let mut differences = Vec::new();
    for row in &rows {
        let user = text(row, "userId")?;
        if row.get("settledAt").is_none_or(Value::is_null) {
            differences.push(format!("the position of user {user} was not paid"));
        }
        let net = mills(row, "received")? - mills(row, "spent")?;
        let shares = [whole(row, "/holdings/0/quantity")?, whole(row, "/holdings/1/quantity")?];
        found.insert(user.to_owned(), Stake { shares, net });
    }
    for (trader, stake) in &plan.expected.stakes {
        let user = &stage.traders.get(*trader).context("a stake of nobody")?.id;
        let wanted = Stake { net: stake.net + stake.payout(weights), ..*stake };
        let stake = found.remove(user).unwrap_or_default();
        if stake != wanted {
            differences.push(format!("the position of user {user} is {stake:?}, not {wanted:?}"));
        }
    }
    let strangers = found.iter().filter(|(_, stake)| **stake != Stake::default());
    differences.extend(strangers.map(|(user, stake)| format!("user {user} has {stake:?}, and should have nothing")));
    Ok(differences)
}

/// How the balances of all traders differ from what they had and what every market moved.
pub(super) async fn balances(stage: &Stage<'_>, concurrency: usize) -> anyhow::Result<Vec<String>> {
    let mut expected: Vec<i64> = stage.traders.iter().map(|trader| trader.opening_balance).collect();
    for market in &stage.plan.markets {
        let weights = market.expected.weights(market.ending);
        for (trader, stake) in &market.expected.stakes {
            let balance = expected.get_mut(*trader).context("a stake of nobody")?;
            *balance += stake.net + stake.payout(weights);
        }
    }
    let checks: Vec<_> = stage
        .traders
        .iter()
        .zip(expected)
        .map(|(trader, wanted)| async move {
            let account = stage.account(&trader.id).await?;
            let (balance, held) = (mills(&account, "balance")?, parse_mills(text(&account, "held")?)?);
            let is_right = balance == wanted && held == 0;
            anyhow::Ok((!is_right).then(|| {
                let (balance, held, wanted) = (show_mills(balance), show_mills(held), show_mills(wanted));
                format!("user {} has {balance}, {held} of it held; it should have {wanted}", trader.id)
            }))
        })
        .collect();
    let differences: Vec<Option<String>> = stream::iter(checks).buffered(concurrency).try_collect().await?;
    Ok(differences.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::replay::plan::Expected;

    #[test]
    fn names_every_difference_of_a_market() {
        let plan = MarketPlan {
            question: "Q".to_owned(),
            source: "S".to_owned(),
            outcomes: ["YES".to_owned(), "NO".to_owned()],
            orders: vec![],
            ending: Ending::Wins(0),
            expected: Expected { volume: 500, trades: 1, last_price: Some(500), stakes: BTreeMap::new() },
        };
        let mut answer = json!({
            "volume": "0.500", "tradeCount": 1, "status": "resolved", "outcomes": [{ "price": "0.500" }],
            "resolution": { "weights": { "YES": "1.000", "NO": "0.000" } },
        });
        assert_eq!(market(&plan, &answer).unwrap(), Vec::<String>::new());
        answer["volume"] = json!("0.501");
        answer["outcomes"][0]["price"] = Value::Null;
        let differences = market(&plan, &answer).unwrap();
        assert_eq!(differences, ["the volume is 0.501, not 0.500", "the last price is none, not 0.500"]);
    }
}
