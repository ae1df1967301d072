//! The plan for a file of limit orders: each book is a market, the orders arrive in their order.
//!
//! What must come of them is worked out by a small order book of this module's own, so that the
//! server's matching is checked by something that shares no code with it.

use std::collections::HashMap;

use super::files::{Answer, OrderRow};
use super::plan::{Ending, Expected, Gives, MarketPlan, Party, Plan, PlannedOrder, TraderIndex};

/// The most characters of a question.
const QUESTION: usize = 300;

/// Plans the orders, at most `limit` of them.
pub(super) fn plan(rows: Vec<OrderRow>, answers: &HashMap<String, Answer>, limit: Option<usize>) -> Plan {
    let mut plan = Plan::default();
    let mut traders: HashMap<String, TraderIndex> = HashMap::new();
    let mut places: HashMap<(String, String, String), usize> = HashMap::new();
    let mut books: Vec<(Book, Ending, OrderRow)> = Vec::new();
    for row in rows.into_iter().take(limit.unwrap_or(usize::MAX)) {
        if row.quantity <= 0 {
            plan.note("left out, quantity 0");
            continue;
        }
        if !(1..=99).contains(&row.limit_price) {
            plan.note("left out, limit not within 1 and 99");
            continue;
        }
        let trader = *traders.entry(row.trader.clone()).or_insert_with(|| {
            plan.traders.push(format!("Trader {}", row.trader));
            plan.traders.len() - 1
        });
        let key = (row.population.clone(), row.market.clone(), row.stock.clone());
        let place = *places.entry(key).or_insert_with(|| {
            books.push((Book::default(), ending(&row, answers), row.clone()));
            books.len() - 1
        });
        if let Some((book, ..)) = books.get_mut(place) {
            book.place(trader, row.side == "buy", row.limit_price * 10, row.quantity);
        }
    }
    for (book, ending, row) in books {
        if ending == Ending::Void {
            plan.note(
                "books called off at their last price, since the questions beside the file do not say how they ended",
            );
        }
        let Book { orders, expected, cancelled, .. } = book;
        for _ in 0..cancelled {
            plan.note("orders whose rest is cancelled where they would meet their own trader's");
        }
        plan.markets.push(MarketPlan {
            question: question(&row),
            source: row.question,
            outcomes: ["YES".to_owned(), "NO".to_owned()],
            orders,
            ending,
            expected,
        });
    }
    plan
}

fn question(row: &OrderRow) -> String {
    let stock = row.stock.split_whitespace().collect::<Vec<_>>().join(" ");
    let tail = format!(": {stock} ({})", row.population);
    let room = QUESTION.saturating_sub(tail.chars().count());
    // Some names run over several lines, and a question is one.
    let one_line = row.market.split_whitespace().collect::<Vec<_>>().join(" ");
    let head: String = one_line.chars().take(room).collect();
    format!("{head}{tail}")
}

fn ending(row: &OrderRow, answers: &HashMap<String, Answer>) -> Ending {
    match answers.get(&row.question).and_then(|answer| answer.says(&row.stock)) {
        Some(came_true) => Ending::Wins(usize::from(!came_true)),
        None => Ending::Void,
    }
}

/// A book by price and time, as plainly as it can be said. Everybody pays cash: for a sale, the
/// rest of a set.
#[derive(Debug, Default)]
struct Book {
    resting: Vec<Resting>,
    orders: Vec<PlannedOrder>,
    expected: Expected,
    cancelled: u64,
}

#[derive(Debug)]
struct Resting {
    trader: TraderIndex,
    bids: bool,
    price: i64,
    left: i64,
}

impl Book {
    fn place(&mut self, trader: TraderIndex, bids: bool, price: i64, quantity: i64) {
        let mut left = quantity;
        let mut fills = Vec::new();
        let mut meets_itself = false;
        while left > 0
            && let Some(best) = self.best(bids, price)
        {
            let Some(maker) = self.resting.get_mut(best) else { break };
            if maker.trader == trader {
                meets_itself = true;
                break;
            }
            let filled = left.min(maker.left);
            maker.left -= filled;
            left -= filled;
            fills.push((maker.price, filled));
            let (maker, at) = (Party { trader: maker.trader, gives: Gives::Cash }, maker.price);
            let taker = Party { trader, gives: Gives::Cash };
            let (bid, ask) = if bids { (taker, maker) } else { (maker, taker) };
            self.expected.fill(at, filled, bid, ask);
            self.resting.retain(|order| order.left > 0);
        }
        if meets_itself {
            self.cancelled += 1;
        } else if left > 0 {
            self.resting.push(Resting { trader, bids, price, left });
        }
        let gives = Gives::Cash;
        self.orders.push(PlannedOrder { trader, outcome: 0, buys: bids, price, quantity, gives, rests: true, fills });
    }

    /// The best order of the other side that an order at this price meets; of equals the earliest.
    fn best(&self, bids: bool, price: i64) -> Option<usize> {
        let sign = if bids { 1 } else { -1 };
        let meets = |order: &Resting| order.bids != bids && order.price * sign <= price * sign;
        let candidates = self.resting.iter().enumerate().filter(|(_, order)| meets(order));
        candidates.min_by_key(|(place, order)| (order.price * sign, *place)).map(|(place, _)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_by_price_then_time_at_the_resting_price() {
        let mut book = Book::default();
        book.place(0, false, 600, 10);
        book.place(1, false, 500, 10);
        book.place(2, false, 500, 10);
        book.place(3, true, 600, 25);
        assert_eq!(book.orders[3].fills, [(500, 10), (500, 10), (600, 5)]);
        assert_eq!((book.expected.trades, book.expected.volume), (3, 13_000));
        assert_eq!(book.expected.shares(1, 1), 10);
        book.place(3, true, 599, 1);
        assert!(book.orders[4].fills.is_empty());
    }

    #[test]
    fn cancels_the_rest_of_an_order_that_meets_its_own_trader() {
        let mut book = Book::default();
        book.place(0, true, 500, 5);
        book.place(1, true, 600, 5);
        book.place(0, false, 400, 20);
        assert_eq!(book.orders[2].fills, [(600, 5)]);
        assert_eq!(book.cancelled, 1);
        book.place(2, false, 450, 5);
        assert_eq!(book.orders[3].fills, [(500, 5)]);
    }

    #[test]
    fn makes_one_book_of_each_population_market_and_stock() {
        let row = |order_id, population: &str, quantity| OrderRow {
            order_id,
            population: population.to_owned(),
            market: "M".repeat(400),
            stock: "NA".to_owned(),
            side: "buy".to_owned(),
            limit_price: 50,
            quantity,
            trader: "7".to_owned(),
            question: "q".to_owned(),
        };
        let plan = plan(vec![row(1, "a", 5), row(2, "b", 5), row(3, "a", 0)], &HashMap::new(), None);
        assert_eq!((plan.markets.len(), plan.traders.len(), plan.orders()), (2, 1, 2));
        assert_eq!(plan.notes["left out, quantity 0"], 1);
        assert_eq!(plan.markets[0].question.chars().count(), 300);
        assert!(plan.markets[0].question.ends_with(": NA (a)"));
        assert_eq!(plan.funds_needed(), [5_000]);
    }
}
