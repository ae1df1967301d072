//! Sends a plan: signs the traders up, funds them, and plays the markets, several at a time.

use std::time::Instant;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::client::{Api, Ask, Refused, Session, mills, show_mills, text};
use super::plan::{Ending, Gives, MarketPlan, Plan, PlannedOrder};
use super::report::Progress;
use super::verify;

/// Far enough for any replay; the markets are closed by hand.
const CLOSES_AT: &str = "2199-12-31T00:00:00Z";
/// The most characters of a name that users show.
const NAME: usize = 60;

/// A replay that runs.
pub(super) struct Stage<'a> {
    pub(super) api: &'a Api,
    pub(super) admin: &'a Session,
    /// What this replay's keys and addresses begin with.
    pub(super) run: String,
    pub(super) plan: &'a Plan,
    pub(super) traders: Vec<Trader>,
}

/// A trader that signed up.
#[derive(Debug)]
pub(super) struct Trader {
    pub(super) id: String,
    session: Session,
    /// What it had before the first order, in mills.
    pub(super) opening_balance: i64,
}

impl<'a> Stage<'a> {
    /// Signs up and funds everybody.
    pub(super) async fn set(
        api: &'a Api,
        admin: &'a Session,
        run: String,
        plan: &'a Plan,
        concurrency: usize,
    ) -> anyhow::Result<Self> {
        let funds = plan.funds_needed();
        let (run, password) = (run.as_str(), format!("{:032x}", rand::random::<u128>()));
        let sign_up = |((number, name), funds): ((usize, &'a String), i64)| {
            let password = password.clone();
            async move {
                let trader = sign_up(api, admin, run, number, name, password, funds).await;
                trader.with_context(|| format!("cannot sign {name:?} up"))
            }
        };
        let jobs: Vec<_> = plan.traders.iter().enumerate().zip(funds).map(sign_up).collect();
        let traders = stream::iter(jobs).buffered(concurrency).try_collect().await?;
        Ok(Self { api, admin, run: run.to_owned(), plan, traders })
    }

    /// Plays all markets; returns where server and plan differ.
    pub(super) async fn play(&self, progress: &Progress, concurrency: usize) -> anyhow::Result<Vec<String>> {
        let mut longest_first: Vec<(usize, &MarketPlan)> = self.plan.markets.iter().enumerate().collect();
        longest_first.sort_by_key(|(_, market)| std::cmp::Reverse(market.orders.len()));
        let jobs: Vec<_> = longest_first
            .into_iter()
            .map(|(number, market)| async move {
                let differences = self.play_market(number, market, progress).await;
                differences.with_context(|| format!("the market {:?} was not replayed", market.question))
            })
            .collect();
        let differences: Vec<Vec<String>> = stream::iter(jobs).buffer_unordered(concurrency).try_collect().await?;
        Ok(differences.into_iter().flatten().collect())
    }

    async fn play_market(
        &self,
        number: usize,
        market: &MarketPlan,
        progress: &Progress,
    ) -> anyhow::Result<Vec<String>> {
        let id = self.open(number, market).await?;
        let mut differences = Vec::new();
        for (place, order) in market.orders.iter().enumerate() {
            let key = format!("{}-{number}-{place}", self.run);
            differences.extend(self.place(&id, market, order, key, progress).await?);
        }
        self.end(&id, market).await?;
        let settled = verify::settled(self, &id).await?;
        differences.extend(verify::market(market, &settled)?);
        differences.extend(verify::positions(self, market, &id).await?);
        progress.market();
        Ok(differences.into_iter().map(|d| format!("{}: {d}", market.question)).collect())
    }

    async fn open(&self, number: usize, market: &MarketPlan) -> anyhow::Result<String> {
        let body = json!({
            "question": market.question,
            "description": format!("Replayed from a recording of {}.", market.source),
            "category": "replay",
            "outcomes": market.outcomes,
            "closesAt": CLOSES_AT,
        });
        let ask = Ask::post("/markets", body).by(self.admin).once(format!("{}-market-{number}", self.run));
        Ok(text(&self.api.send(&ask).await?, "id")?.to_owned())
    }

    /// Places an order; returns how its fills differ from the planned ones.
    async fn place(
        &self,
        market_id: &str,
        market: &MarketPlan,
        order: &PlannedOrder,
        key: String,
        progress: &Progress,
    ) -> anyhow::Result<Option<String>> {
        let trader = self.traders.get(order.trader).context("an order of nobody")?;
        let body = json!({
            "marketId": market_id,
            "outcome": market.outcomes.get(order.outcome),
            "side": if order.buys { "buy" } else { "sell" },
            "type": "limit",
            "price": show_mills(order.price),
            "quantity": order.quantity,
            "timeInForce": if order.rests { "gtc" } else { "ioc" },
            "backing": if order.gives == Gives::Cash { "cash" } else { "shares" },
        });
        let ask = Ask::post("/orders", body).by(&trader.session).once(key.as_str());
        let sent = Instant::now();
        let answer = self.api.send(&ask).await?;
        let fills = verify::fills(&answer)?;
        progress.order(sent.elapsed(), fills.len());
        Ok((fills != order.fills).then(|| format!("order {key} was filled {fills:?}, not {:?}", order.fills)))
    }

    /// Closes a market and decides it.
    async fn end(&self, id: &str, market: &MarketPlan) -> anyhow::Result<()> {
        self.advance(id, "close", json!({}), "closed").await?;
        match market.ending {
            Ending::Wins(winner) => {
                let body = json!({ "outcome": market.outcomes.get(winner) });
                self.advance(id, "resolve", body, "resolved").await
            }
            Ending::Void => {
                let body = json!({ "reason": "The recording does not say how it ended." });
                self.advance(id, "void", body, "voided").await
            }
        }
    }

    /// Takes a step of a market's life. A step that was taken by an attempt whose answer was lost
    /// is refused when it is repeated, and done all the same.
    async fn advance(&self, id: &str, step: &str, body: Value, status: &str) -> anyhow::Result<()> {
        let ask = Ask::post(format!("/markets/{id}/{step}"), body).by(self.admin);
        let Err(error) = self.api.send(&ask).await else { return Ok(()) };
        if error.downcast_ref::<Refused>().is_some_and(|refused| refused.code == "WRONG_MARKET_STATUS") {
            let market = self.api.send(&Ask::get(format!("/markets/{id}"))).await?;
            if text(&market, "status")? == status {
                return Ok(());
            }
        }
        Err(error)
    }

    /// A trader's account.
    pub(super) async fn account(&self, id: &str) -> anyhow::Result<Value> {
        account(self.api, self.admin, id).await
    }
}

async fn account(api: &Api, admin: &Session, id: &str) -> anyhow::Result<Value> {
    api.send(&Ask::get(format!("/accounts/{id}")).by(admin)).await
}

async fn sign_up(
    api: &Api,
    admin: &Session,
    run: &str,
    number: usize,
    name: &str,
    password: String,
    funds: i64,
) -> anyhow::Result<Trader> {
    let email = format!("{run}-{number}@replay.invalid");
    let shown: String = name.chars().take(NAME).collect();
    let body = json!({ "email": email, "displayName": shown, "password": password });
    let user = api.send(&Ask::post("/users", body).by(admin).once(format!("{run}-user-{number}"))).await?;
    let id = text(&user, "id")?.to_owned();
    if funds > 0 {
        let body = json!({ "userId": id, "amount": show_mills(funds), "reason": "replay" });
        api.send(&Ask::post("/admin/grants", body).by(admin).once(format!("{run}-grant-{number}"))).await?;
    }
    let opening_balance = mills(&account(api, admin, &id).await?, "balance")?;
    Ok(Trader { id, session: Session::with_password(email, password), opening_balance })
}
