//! The loads: what a client asks for next. Everything is drawn from a seed; of what the server
//! answered, only the ids of orders that a client may cancel have a part in it.

use std::collections::VecDeque;

use anyhow::Context as _;
use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;

use crate::bench::connection::Request;
use crate::bench::world::World;
use crate::kill::api::User;

/// What clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Load {
    /// Orders in pairs, the second of which fills the first: what pgbench's transaction mirrors.
    Pairs,
    /// Makers, takers, cancels and reads, as [`MIX`] says.
    Mixed,
    /// Payments from one user to another.
    Transfers,
    /// Reads of one market.
    Reads,
    /// Sign-ins with a password.
    Logins,
}

impl Load {
    /// As the tables name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pairs => "orders in pairs",
            Self::Mixed => "mixed",
            Self::Transfers => "transfers",
            Self::Reads => "reads",
            Self::Logins => "sign-ins",
        }
    }

    /// The kind of request that the load is about.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Pairs | Self::Mixed => Kind::Order,
            Self::Transfers => Kind::Transfer,
            Self::Reads => Kind::Read,
            Self::Logins => Kind::Login,
        }
    }
}

/// The kinds of request that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Order,
    Cancel,
    Read,
    Transfer,
    Login,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    /// A limit order near the mid price that rests.
    Make,
    /// An order that crosses what rests, and never rests itself.
    Take,
    /// One of the orders that the client placed lately is cancelled.
    Cancel,
    ReadBook,
    ReadMarket,
}

/// Of a hundred requests of the mixed load, so many are of each sort. What is taken and cancelled is
/// about what is made, so that books stay about as deep as they are.
const MIX: [(Action, u32); 5] =
    [(Action::Make, 35), (Action::Take, 20), (Action::Cancel, 15), (Action::ReadBook, 20), (Action::ReadMarket, 10)];
/// Makers place up to so many mills away from the mid price; takers accept all of that.
const SPREAD_MILLS: usize = 20;
/// The most shares of an order. Takers take a little more, because makers cancel too.
const MAKER_SHARES: u32 = 10;
const TAKER_SHARES: u32 = 14;
/// A client remembers so many of its newest orders; it cancels any of them.
const REMEMBERED: usize = 8;

/// A request to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) method: &'static str,
    pub(super) path: String,
    /// The number of the trader who asks; nobody for public reads.
    pub(super) trader: Option<usize>,
    pub(super) idempotency_key: Option<String>,
    pub(super) body: String,
    /// Whether what is placed may be cancelled later.
    pub(super) is_remembered: bool,
}

impl Step {
    fn read(path: String) -> Self {
        let (trader, idempotency_key, body) = (None, None, String::new());
        Self { kind: Kind::Read, method: "GET", path, trader, idempotency_key, body, is_remembered: false }
    }

    /// A command with an idempotency key.
    pub(super) fn command(kind: Kind, path: &str, trader: Option<usize>, key: String, body: String) -> Self {
        let path = path.to_owned();
        Self { kind, method: "POST", path, trader, idempotency_key: Some(key), body, is_remembered: false }
    }

    /// As it is sent, with its trader's token.
    pub(super) fn request<'a>(&'a self, world: &'a World) -> Request<'a> {
        Request {
            method: self.method,
            path: &self.path,
            token: self.trader.and_then(|number| world.trader(number)).map(User::token),
            idempotency_key: self.idempotency_key.as_deref(),
            body: &self.body,
        }
    }
}

/// The requests of one client, one after the other.
pub(super) struct Flow {
    load: Load,
    number: u64,
    sent: u64,
    random: StdRng,
    mix: WeightedIndex<u32>,
    /// Orders that may be cancelled, with their owners.
    remembered: VecDeque<(usize, String)>,
    /// The market of a pair whose first order is out.
    begun_pair: Option<String>,
}

impl Flow {
    /// A new flow; the world's seed and the flow's number decide all that it draws.
    pub(super) fn new(world: &World, load: Load) -> anyhow::Result<Self> {
        let number = world.next_flow();
        Ok(Self {
            load,
            number,
            sent: 0,
            random: StdRng::seed_from_u64(world.seed.wrapping_mul(1_000_003).wrapping_add(number)),
            mix: WeightedIndex::new(MIX.map(|(_, weight)| weight)).context("the mix has no weights")?,
            remembered: VecDeque::new(),
            begun_pair: None,
        })
    }

    /// Its number; each has another.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The next request.
    pub(super) fn next(&mut self, world: &World) -> Step {
        self.sent += 1;
        match self.load {
            Load::Pairs => self.half_pair(world),
            Load::Mixed => self.mixed(world),
            Load::Transfers => self.transfer(world),
            Load::Reads => Step::read(format!("/markets/{}", world.read_market())),
            Load::Logins => self.login(world),
        }
    }

    /// Remembers an order that rests, so that it may be cancelled.
    pub(super) fn remember(&mut self, owner: usize, order: String) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((owner, order));
    }

    fn login(&mut self, world: &World) -> Step {
        let who = world.trader(world.anybody(&mut self.random));
        let (kind, method, path) = (Kind::Login, "POST", "/auth/login".to_owned());
        let body = who.map_or_else(String::new, User::credentials);
        Step { kind, method, path, trader: None, idempotency_key: None, body, is_remembered: false }
    }

    /// A bid for `YES`, then one for `NO` at the complement, which fills it.
    fn half_pair(&mut self, world: &World) -> Step {
        let (market, outcome, trader) = match self.begun_pair.take() {
            Some(market) => (market, "NO", World::taker(&mut self.random)),
            None => {
                let market = world.pair_market(&mut self.random).to_owned();
                self.begun_pair = Some(market.clone());
                (market, "YES", World::maker(&mut self.random))
            }
        };
        self.order(trader, &market, outcome, 500, 1, "gtc")
    }

    fn mixed(&mut self, world: &World) -> Step {
        let action = MIX.get(self.mix.sample(&mut self.random)).map_or(Action::Make, |(action, _)| *action);
        if action == Action::Cancel
            && let Some(step) = self.cancel()
        {
            return step;
        }
        let (rank, market) = world.mixed_market(&mut self.random);
        match action {
            Action::ReadBook => Step::read(format!("/markets/{market}/book")),
            Action::ReadMarket => Step::read(format!("/markets/{market}")),
            Action::Take => self.take(rank, market),
            // A client that has nothing to cancel makes something.
            Action::Make | Action::Cancel => self.make(rank, market),
        }
    }

    fn make(&mut self, rank: usize, market: &str) -> Step {
        let (outcome, mid) = self.outcome_and_mid(rank);
        let price = mid - self.random.random_range(1..=SPREAD_MILLS);
        let shares = self.random.random_range(1..=MAKER_SHARES);
        let maker = World::maker(&mut self.random);
        Step { is_remembered: true, ..self.order(maker, market, outcome, price, shares, "gtc") }
    }

    fn take(&mut self, rank: usize, market: &str) -> Step {
        let (outcome, mid) = self.outcome_and_mid(rank);
        let shares = self.random.random_range(1..=TAKER_SHARES);
        let taker = World::taker(&mut self.random);
        self.order(taker, market, outcome, mid + SPREAD_MILLS, shares, "ioc")
    }

    /// An outcome and its mid price in mills. Markets differ in it; those of the two outcomes add up to 1.
    fn outcome_and_mid(&mut self, rank: usize) -> (&'static str, usize) {
        let mid = 300 + rank * 37 % 400;
        if self.random.random() { ("YES", mid) } else { ("NO", 1000 - mid) }
    }

    fn cancel(&mut self) -> Option<Step> {
        let which = self.random.random_range(0..self.remembered.len().max(1));
        let (owner, order) = self.remembered.remove(which)?;
        Some(Step {
            kind: Kind::Cancel,
            method: "DELETE",
            path: format!("/orders/{order}"),
            trader: Some(owner),
            idempotency_key: None,
            body: String::new(),
            is_remembered: false,
        })
    }

    fn order(&self, trader: usize, market: &str, outcome: &str, mills: usize, shares: u32, life: &str) -> Step {
        let body = order_body(market, outcome, mills, shares, life);
        self.command(Kind::Order, "/orders", trader, body)
    }

    fn transfer(&mut self, world: &World) -> Step {
        let (payer, payee) = (World::maker(&mut self.random), World::taker(&mut self.random));
        let to = world.trader(payee).map_or("", |user| user.id.as_str());
        let body = format!(r#"{{"toUserId":"{to}","amount":"0.001"}}"#);
        self.command(Kind::Transfer, "/transfers", payer, body)
    }

    fn command(&self, kind: Kind, path: &str, trader: usize, body: String) -> Step {
        Step::command(kind, path, Some(trader), format!("bench-{}-{}", self.number, self.sent), body)
    }
}

/// The body of a limit order to buy.
pub(super) fn order_body(market: &str, outcome: &str, mills: usize, shares: u32, life: &str) -> String {
    format!(
        r#"{{"marketId":"{market}","outcome":"{outcome}","side":"buy","type":"limit","price":"0.{mills:03}","quantity":{shares},"timeInForce":"{life}"}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::world::tests::world;

    fn steps(load: Load, count: usize) -> Vec<Step> {
        let world = world();
        let mut flow = Flow::new(&world, load).unwrap();
        let mut steps = Vec::new();
        for number in 0..count {
            let step = flow.next(&world);
            if step.is_remembered {
                flow.remember(step.trader.unwrap(), format!("order-{number}"));
            }
            steps.push(step);
        }
        steps
    }

    #[test]
    fn the_same_seed_asks_for_the_same() {
        assert_eq!(steps(Load::Mixed, 1000), steps(Load::Mixed, 1000));
    }

    #[test]
    fn flows_of_one_world_differ() {
        let world = world();
        let mut flows = [Load::Mixed; 2].map(|load| Flow::new(&world, load).unwrap());
        let [one, other] = &mut flows;
        let bodies = |flow: &mut Flow| (0..20).map(|_| flow.next(&world).body).collect::<Vec<_>>();
        assert_ne!(bodies(one), bodies(other));
    }

    #[test]
    fn the_mix_is_a_hundred_and_is_kept_to() {
        assert_eq!(MIX.iter().map(|(_, weight)| weight).sum::<u32>(), 100);
        let steps = steps(Load::Mixed, 20_000);
        for (kind, share) in [(Kind::Order, 0.55), (Kind::Cancel, 0.15), (Kind::Read, 0.30)] {
            let count = steps.iter().filter(|step| step.kind == kind).count();
            let is = f64::from(u32::try_from(count).unwrap()) / 20_000.0;
            assert!((is - share).abs() < 0.02, "{kind:?} is {is}, not {share}");
        }
    }

    #[test]
    fn takers_accept_every_price_that_makers_offer_and_makers_never_cross() {
        let yes_price = |step: &Step| {
            let body: serde_json::Value = serde_json::from_str(&step.body).unwrap();
            let mills: i32 = body["price"].as_str().unwrap().trim_start_matches("0.").parse().unwrap();
            let market = body["marketId"].as_str().unwrap().to_owned();
            let is_yes = body["outcome"] == "YES";
            (market, is_yes, if is_yes { mills } else { 1000 - mills })
        };
        let orders: Vec<Step> = steps(Load::Mixed, 5000).into_iter().filter(|step| step.kind == Kind::Order).collect();
        for rank in 0..50 {
            let of_market = |is_maker: bool, wanted: bool| {
                let market = format!("mixed-{rank}");
                let prices = orders.iter().filter(move |step| step.is_remembered == is_maker).map(yes_price);
                prices.filter(move |(m, is_yes, _)| *m == market && *is_yes == wanted).map(|(_, _, price)| price)
            };
            let best_bid = of_market(true, true).max().unwrap_or(0);
            let best_ask = of_market(true, false).min().unwrap_or(1000);
            assert!(best_bid < best_ask, "market {rank}");
            let worst_ask = of_market(true, false).max().unwrap_or(0);
            assert!(of_market(false, true).all(|price| price >= worst_ask), "market {rank}");
        }
    }

    #[test]
    fn the_second_order_of_a_pair_fills_the_first() {
        let steps = steps(Load::Pairs, 2);
        let body = |step: &Step| serde_json::from_str::<serde_json::Value>(&step.body).unwrap();
        let (first, second) = (body(&steps[0]), body(&steps[1]));
        assert_eq!((&first["outcome"], &second["outcome"]), (&"YES".into(), &"NO".into()));
        assert_eq!(first["marketId"], second["marketId"]);
        assert_ne!(steps[0].trader, steps[1].trader);
        assert_ne!(steps[0].idempotency_key, steps[1].idempotency_key);
    }
}
