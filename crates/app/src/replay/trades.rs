//! The plan for a file of trades: for each real trade one order that rests and one that takes it.
//!
//! The one who takes is the trader that the file names, or a made-up one; the one who rests is
//! always made up. Between two trades the book is empty, so each order fills exactly the other.
//! Whoever holds the shares that an order could give gives them, and pays cash otherwise: so shares
//! change hands, and sets are minted and redeemed, as they would in a market that nets positions.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::files::{TradeRow, round_decimal};
use super::plan::{Ending, Expected, Gives, MarketPlan, OutcomeIndex, Party, Plan, PlannedOrder, TraderIndex};

/// How many traders are made up; they trade in all markets.
const MADE_UP: usize = 8;
/// The most characters of a question.
const QUESTION: usize = 300;
/// The largest quantity of one order.
const LARGEST: i64 = 1_000_000_000;

/// Which venue's trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Venue {
    /// Whole quantities, prices in cents: replays exactly.
    #[value(name = "kalshi-2025")]
    Kalshi2025,
    /// Fractional quantities: one share there is 100 here.
    #[value(name = "polymarket-2026")]
    Polymarket2026,
    /// Prices off the tick: one share there is 100 here, prices are rounded to 0.001.
    #[value(name = "polymarket-2022")]
    Polymarket2022,
    /// All of them.
    All,
}

impl Venue {
    fn includes(self, venue: &str) -> bool {
        self == Self::All || self.to_possible_value().is_some_and(|value| value.get_name() == venue)
    }
}

/// How many decimals of the venue's quantities are kept: each makes a share ten shares.
fn decimals_kept(venue: &str) -> usize {
    if venue.starts_with("kalshi") { 0 } else { 2 }
}

/// Plans the trades of `venue`, at most `limit` rows of them.
pub(super) fn plan(rows: Vec<TradeRow>, venue: Venue, limit: Option<usize>) -> anyhow::Result<Plan> {
    let rows: Vec<TradeRow> =
        rows.into_iter().filter(|row| venue.includes(&row.venue)).take(limit.unwrap_or(usize::MAX)).collect();
    anyhow::ensure!(!rows.is_empty(), "the file has no trades of that venue");
    let mut plan = Plan { traders: (1..=MADE_UP).map(|n| format!("Made-up trader {n}")).collect(), ..Plan::default() };
    let mut names: HashMap<String, TraderIndex> = HashMap::new();
    let mut markets = group(&rows);
    let shared = shared_titles(&markets);
    for market in &mut markets {
        let title = market.rows.first().map(|row| row.title.as_str()).unwrap_or_default();
        let question = question(title, &market.name, shared.contains(title));
        let outcomes = outcomes(&market.rows).with_context(|| format!("market {}", market.name))?;
        let built = Builder::new(&mut plan, &mut names, outcomes).build(&market.rows, question, &market.name)?;
        if !built.orders.is_empty() {
            plan.markets.push(built);
        }
    }
    Ok(plan)
}

/// A market's rows, in the order of the file.
struct Group<'a> {
    name: String,
    rows: Vec<&'a TradeRow>,
}

fn group(rows: &[TradeRow]) -> Vec<Group<'_>> {
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in rows {
        let place = *places.entry((&row.venue, &row.market)).or_insert_with(|| {
            groups.push(Group { name: row.market.clone(), rows: Vec::new() });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(place) {
            group.rows.push(row);
        }
    }
    groups
}

/// Titles that more than one market bears.
fn shared_titles(markets: &[Group<'_>]) -> HashSet<String> {
    let mut seen = HashSet::new();
    let titles = markets.iter().filter_map(|market| market.rows.first()).map(|row| row.title.clone());
    titles.filter(|title| !seen.insert(title.clone())).collect()
}

/// The question: the title, with the market's own name where siblings share it.
fn question(title: &str, name: &str, is_shared: bool) -> String {
    let question = if is_shared { format!("{title} ({name})") } else { title.to_owned() };
    question.chars().take(QUESTION).collect()
}

/// The market's two outcomes; the first is the one whose price a result of 1 means.
fn outcomes(rows: &[&TradeRow]) -> anyhow::Result<[String; 2]> {
    let names: HashSet<&str> = rows.iter().map(|row| row.outcome.as_str()).collect();
    let has = |name: &str| names.contains(name);
    let pair = if has("yes") || has("no") {
        ["YES", "NO"]
    } else if has("Yes") || has("No") {
        ["Yes", "No"]
    } else if has("Democratic") {
        ["Democratic", "Republican"]
    } else {
        ["Democrat", "Republican"]
    };
    for name in names {
        anyhow::ensure!(pair.iter().any(|known| known.eq_ignore_ascii_case(name)), "the outcome {name:?} is not known");
    }
    Ok(pair.map(str::to_owned))
}

/// How the market ended.
fn ending(result: &str) -> Ending {
    match result {
        "yes" | "1" => Ending::Wins(0),
        "no" | "0" => Ending::Wins(1),
        _ => Ending::Void,
    }
}

/// Builds the plan of one market.
struct Builder<'a> {
    plan: &'a mut Plan,
    names: &'a mut HashMap<String, TraderIndex>,
    outcomes: [String; 2],
    expected: Expected,
    orders: Vec<PlannedOrder>,
    /// Which made-up traders meet; the same in every run.
    random: StdRng,
}

/// A trade that can be sent: the price in mills of the outcome that the taker named.
struct Fill {
    taker: TraderIndex,
    outcome: OutcomeIndex,
    buys: bool,
    price: i64,
    quantity: i64,
}

impl<'a> Builder<'a> {
    fn new(plan: &'a mut Plan, names: &'a mut HashMap<String, TraderIndex>, outcomes: [String; 2]) -> Self {
        let seed = u64::try_from(plan.markets.len()).unwrap_or(0);
        let random = StdRng::seed_from_u64(seed);
        Self { plan, names, outcomes, expected: Expected::default(), orders: Vec::new(), random }
    }

    fn build(mut self, rows: &[&TradeRow], question: String, source: &str) -> anyhow::Result<MarketPlan> {
        let mut seen = HashSet::new();
        for row in rows {
            if !seen.insert(*row) {
                self.plan.note(format!("{}: left out, an exact duplicate of another row", row.venue));
                continue;
            }
            if let Some(fill) = self.fill_of(row)? {
                self.add(&fill);
            }
        }
        let ending = ending(rows.first().map(|row| row.result.as_str()).unwrap_or_default());
        if ending == Ending::Void && !self.orders.is_empty() {
            self.plan.note("markets called off at their last price, since the file does not say how they ended");
        }
        let Self { outcomes, expected, orders, .. } = self;
        Ok(MarketPlan { question, source: source.to_owned(), outcomes, orders, ending, expected })
    }

    /// Reads a row; none where it cannot be sent, which is counted.
    fn fill_of(&mut self, row: &TradeRow) -> anyhow::Result<Option<Fill>> {
        let venue = &row.venue;
        let Some((price, price_is_exact)) = round_decimal(&row.price, 3) else {
            self.plan.note(format!("{venue}: left out, no price"));
            return Ok(None);
        };
        let decimals = decimals_kept(venue);
        let quantity = round_decimal(&row.quantity, decimals);
        let (quantity, quantity_is_exact) =
            quantity.with_context(|| format!("the quantity {:?} is not a decimal", row.quantity))?;
        if quantity == 0 {
            self.plan.note(format!("{venue}: left out, quantity 0"));
            return Ok(None);
        }
        if !(1..=999).contains(&price) {
            self.plan.note(format!("{venue}: left out, price not within 0.001 and 0.999 once rounded"));
            return Ok(None);
        }
        anyhow::ensure!(quantity <= LARGEST, "the quantity {} is too large for one order", row.quantity);
        if !price_is_exact {
            self.plan.note(format!("{venue}: price rounded to 0.001"));
        }
        if decimals > 0 {
            self.plan.note(format!("{venue}: one share of the venue is 100 shares here"));
        }
        if !quantity_is_exact {
            self.plan.note(format!("{venue}: quantity rounded to 1/100 of the venue's share"));
        }
        let outcome = usize::from(!self.outcomes[0].eq_ignore_ascii_case(&row.outcome));
        // That venue writes the price of YES, whichever side was bought.
        let is_first_price = venue.starts_with("kalshi");
        let price = if is_first_price && outcome == 1 { 1000 - price } else { price };
        let taker = self.taker(&row.trader);
        Ok(Some(Fill { taker, outcome, buys: row.side == "buy", price, quantity }))
    }

    fn taker(&mut self, name: &str) -> TraderIndex {
        if name.is_empty() {
            return self.random.random_range(0..MADE_UP);
        }
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        self.plan.traders.push(name.to_owned());
        let index = self.plan.traders.len() - 1;
        self.names.insert(name.to_owned(), index);
        index
    }

    /// Adds the two orders of a trade.
    fn add(&mut self, fill: &Fill) {
        let others: Vec<TraderIndex> = (0..MADE_UP).filter(|index| *index != fill.taker).collect();
        let maker = others.choose(&mut self.random).copied().unwrap_or(0);
        let taker_bids = fill.buys == (fill.outcome == 0);
        let first_price = if fill.outcome == 0 { fill.price } else { 1000 - fill.price };
        let taker = Party { trader: fill.taker, gives: self.gives(fill.taker, taker_bids, fill.quantity) };
        let maker = Party { trader: maker, gives: self.gives(maker, !taker_bids, fill.quantity) };
        // Cash buys an outcome, shares sell one: what a trader would say who knows no better.
        let maker_buys = maker.gives == Gives::Cash;
        let maker_outcome = usize::from(maker_buys == taker_bids);
        let maker_price = if maker_outcome == 0 { first_price } else { 1000 - first_price };
        self.orders.push(PlannedOrder {
            trader: maker.trader,
            outcome: maker_outcome,
            buys: maker_buys,
            price: maker_price,
            quantity: fill.quantity,
            gives: maker.gives,
            rests: true,
            fills: vec![],
        });
        self.orders.push(PlannedOrder {
            trader: taker.trader,
            outcome: fill.outcome,
            buys: fill.buys,
            price: fill.price,
            quantity: fill.quantity,
            gives: taker.gives,
            rests: false,
            fills: vec![(fill.price, fill.quantity)],
        });
        let (bid, ask) = if taker_bids { (taker, maker) } else { (maker, taker) };
        self.expected.fill(first_price, fill.quantity, bid, ask);
    }

    /// Shares where the trader has enough of those that this side can give: a bid gives the second
    /// outcome, an ask the first.
    fn gives(&self, trader: TraderIndex, bids: bool, quantity: i64) -> Gives {
        if self.expected.shares(trader, usize::from(bids)) >= quantity { Gives::Shares } else { Gives::Cash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(venue: &str, outcome: &str, side: &str, price: &str, quantity: &str, time: u32) -> TradeRow {
        TradeRow {
            venue: venue.to_owned(),
            market: "M".to_owned(),
            title: "A or B".to_owned(),
            time: time.to_string(),
            outcome: outcome.to_owned(),
            side: side.to_owned(),
            price: price.to_owned(),
            quantity: quantity.to_owned(),
            cost: String::new(),
            trader: String::new(),
            trade_id: String::new(),
            result: "no".to_owned(),
        }
    }

    #[test]
    fn takes_the_price_of_a_kalshi_row_for_that_of_yes() {
        let rows = vec![row("kalshi-2025", "no", "buy", "0.99", "5.0", 1)];
        let plan = plan(rows, Venue::Kalshi2025, None).unwrap();
        let market = &plan.markets[0];
        let [maker, taker] = &market.orders[..] else { panic!("two orders") };
        assert_eq!((maker.outcome, maker.buys, maker.price, maker.rests), (0, true, 990, true));
        assert_eq!((taker.outcome, taker.buys, taker.price, taker.rests), (1, true, 10, false));
        assert_eq!(taker.fills, [(10, 5)]);
        assert_eq!((market.expected.volume, market.expected.last_price), (4_950, Some(990)));
        assert_eq!((market.ending, plan.notes.len()), (Ending::Wins(1), 0));
        assert_eq!(market.outcomes, ["YES", "NO"]);
    }

    #[test]
    fn counts_what_it_rounds_and_leaves_out() {
        let rows = vec![
            row("polymarket-2022", "Republican", "buy", "0.9253", "0.02", 1),
            row("polymarket-2022", "Republican", "buy", "0.9253", "0.02", 1),
            row("polymarket-2022", "Republican", "buy", "0.5", "0.0", 2),
            row("polymarket-2022", "Democrat", "sell", "", "1", 3),
            row("polymarket-2022", "Democrat", "sell", "0.0004", "1", 4),
        ];
        let plan = plan(rows, Venue::All, None).unwrap();
        assert_eq!(plan.markets[0].orders.len(), 2);
        assert_eq!(plan.markets[0].expected.volume, 2 * 75);
        let notes: Vec<(&str, u64)> = plan.notes.iter().map(|(what, count)| (what.as_str(), *count)).collect();
        let expected = [
            ("polymarket-2022: left out, an exact duplicate of another row", 1),
            ("polymarket-2022: left out, no price", 1),
            ("polymarket-2022: left out, price not within 0.001 and 0.999 once rounded", 1),
            ("polymarket-2022: left out, quantity 0", 1),
            ("polymarket-2022: one share of the venue is 100 shares here", 1),
            ("polymarket-2022: price rounded to 0.001", 1),
        ];
        assert_eq!(notes, expected);
    }

    #[test]
    fn lets_every_way_of_settling_occur() {
        let rows = (0..400).map(|n| row("kalshi-2025", if n % 3 == 0 { "no" } else { "yes" }, "buy", "0.4", "1", n));
        let plan = plan(rows.collect(), Venue::All, None).unwrap();
        let mut seen = HashSet::new();
        for pair in plan.markets[0].orders.chunks(2) {
            let [maker, taker] = pair else { panic!("orders come in pairs") };
            let bids = |order: &PlannedOrder| order.buys == (order.outcome == 0);
            assert!(bids(maker) != bids(taker) && maker.trader != taker.trader);
            let (bid, ask) = if bids(maker) { (maker, taker) } else { (taker, maker) };
            seen.insert((bid.gives == Gives::Cash, ask.gives == Gives::Cash));
        }
        assert_eq!(seen.len(), 4);
        assert!(plan.markets[0].expected.stakes.values().all(|s| s.shares.iter().all(|n| *n >= 0)));
    }

    #[test]
    fn tells_siblings_with_one_title_apart() {
        assert_eq!(question("A or B", "X-1", true), "A or B (X-1)");
        assert_eq!(question("A or B", "X-1", false), "A or B");
        assert_eq!(question(&"x".repeat(400), "X-1", true).chars().count(), 300);
    }
}
