//! The exchange held against a book that is too simple to be wrong: a list of orders that is
//! searched from end to end, and balances that are added up anew each time. It was written from the
//! rules of complete sets and price-time priority alone, for one market of two outcomes without a
//! market maker and without fees.
//!
//! `BELLWETHER_NAIVE_WALKS` sets how many walks of [`STEPS`] commands are made.

use bellwether_domain::ids::OrderId;
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::order::{Life, MarketBound, SelfTradePrevention, Side, Terms};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::world::{World, price};

const USERS: usize = 4;
const GRANT: i64 = 60_000;
const STEPS: usize = 300;
/// A whole set pays so many mills.
const SET: i64 = 1000;

#[derive(Debug, Clone)]
enum Act {
    Place(Wish),
    Cancel { nth: usize },
}

#[derive(Debug, Clone, Copy)]
struct Wish {
    user: usize,
    /// 0 for `YES`, 1 for `NO`.
    outcome: usize,
    buys: bool,
    /// In mills, of the outcome.
    mills: i64,
    quantity: i64,
    life: NaiveLife,
    self_trade: SelfTradePrevention,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum NaiveLife {
    Rests,
    RestsOrNothing,
    Immediate,
    AllOrNothing,
    /// For as much money as the quantity costs at the price, however many shares that buys.
    Spends,
    SpendsOrNothing,
}

/// What an order has to spend, where that is all that bounds it.
#[derive(Debug)]
struct Purse {
    left: i64,
    /// Whether that buys another share at the price that the order has come to.
    buys_more: bool,
}

/// An open order, as the book of `YES` sees it.
#[derive(Debug, Clone, PartialEq)]
struct Resting {
    id: OrderId,
    user: usize,
    is_bid: bool,
    /// Of `YES`.
    mills: i64,
    remaining: i64,
    /// Paid for with cash; else with shares of the outcome that is sold.
    with_cash: bool,
}

impl Resting {
    /// What a share costs whoever pays cash for it.
    fn cost(&self, mills: i64) -> i64 {
        if self.is_bid { mills } else { SET - mills }
    }

    /// The outcome that an order with cash buys; one with shares sells the other.
    fn bought(&self) -> usize {
        usize::from(!self.is_bid)
    }
}

#[derive(Debug, Clone, Default)]
struct Naive {
    cash: Vec<i64>,
    shares: Vec<[i64; 2]>,
    /// In the order of their arrival.
    book: Vec<Resting>,
    /// Price of `YES`, quantity, and the order that rested.
    fills: Vec<(i64, i64, OrderId)>,
}

impl Naive {
    fn held_cash(&self, user: usize) -> i64 {
        let orders = self.book.iter().filter(|o| o.user == user && o.with_cash);
        orders.map(|o| o.remaining * o.cost(o.mills)).sum()
    }

    fn held_shares(&self, user: usize, outcome: usize) -> i64 {
        let orders = self.book.iter().filter(|o| o.user == user && !o.with_cash && o.bought() != outcome);
        orders.map(|o| o.remaining).sum()
    }

    /// The best order that the incoming one crosses: by price, then by age.
    fn best_against(&self, incoming: &Resting) -> Option<usize> {
        let crosses = |o: &Resting| {
            o.is_bid != incoming.is_bid
                && if incoming.is_bid { o.mills <= incoming.mills } else { o.mills >= incoming.mills }
        };
        let rank = |o: &Resting| if o.is_bid { -o.mills } else { o.mills };
        (0..self.book.len()).filter(|i| crosses(&self.book[*i])).min_by_key(|i| (rank(&self.book[*i]), *i))
    }

    /// Executes an order; false where it is refused, and then nothing has changed.
    fn place(&mut self, wish: Wish, id: OrderId) -> bool {
        let is_bid = (wish.outcome == 0) == wish.buys;
        let mills = if wish.outcome == 0 { wish.mills } else { SET - wish.mills };
        let Wish { user, quantity, buys, .. } = wish;
        let spends = matches!(wish.life, NaiveLife::Spends | NaiveLife::SpendsOrNothing);
        if spends && !buys {
            return false;
        }
        let mut purse = spends.then(|| Purse { left: wish.mills * quantity, buys_more: true });
        let remaining = if spends { Shares::MAX_ORDER.count() } else { quantity };
        let mut incoming = Resting { id, user, is_bid, mills, remaining, with_cash: buys };
        let affordable = if buys {
            self.cash[user] - self.held_cash(user) >= wish.mills * quantity
        } else {
            self.shares[user][wish.outcome] - self.held_shares(user, wish.outcome) >= quantity
        };
        if !affordable || (wish.life == NaiveLife::RestsOrNothing && self.best_against(&incoming).is_some()) {
            return false;
        }
        let before = self.clone();
        let stays = self.fill(&mut incoming, wish.self_trade, purse.as_mut());
        let filled: i64 = self.fills.iter().skip(before.fills.len()).map(|(_, quantity, _)| quantity).sum();
        let is_too_little = match wish.life {
            NaiveLife::AllOrNothing => filled < quantity,
            NaiveLife::Spends => filled == 0,
            NaiveLife::SpendsOrNothing => filled == 0 || !stays || purse.is_some_and(|purse| purse.buys_more),
            NaiveLife::Rests | NaiveLife::RestsOrNothing | NaiveLife::Immediate => false,
        };
        if is_too_little {
            *self = before;
            return false;
        }
        let may_rest = matches!(wish.life, NaiveLife::Rests | NaiveLife::RestsOrNothing);
        if stays && may_rest && incoming.remaining > 0 {
            self.book.push(incoming);
        }
        true
    }

    /// Fills what can be filled; whether the rest may stay.
    fn fill(&mut self, incoming: &mut Resting, rule: SelfTradePrevention, mut purse: Option<&mut Purse>) -> bool {
        while incoming.remaining > 0
            && purse.as_ref().is_none_or(|purse| purse.left > 0)
            && let Some(index) = self.best_against(incoming)
        {
            let resting = self.book[index].clone();
            let mut quantity = incoming.remaining.min(resting.remaining);
            if resting.user == incoming.user {
                match rule {
                    SelfTradePrevention::CancelNewest => return false,
                    SelfTradePrevention::CancelOldest => drop(self.book.remove(index)),
                    SelfTradePrevention::Decrement => {
                        incoming.remaining -= quantity;
                        self.take(index, quantity);
                    }
                }
                continue;
            }
            if let Some(purse) = &mut purse {
                let cost = incoming.cost(resting.mills);
                quantity = quantity.min(purse.left / cost);
                purse.left -= quantity * cost;
                purse.buys_more = purse.left >= cost;
                if quantity == 0 {
                    return true;
                }
            }
            for side in [&*incoming, &resting] {
                self.settle(side, resting.mills, quantity);
            }
            self.fills.push((resting.mills, quantity, resting.id));
            incoming.remaining -= quantity;
            self.take(index, quantity);
        }
        true
    }

    fn settle(&mut self, side: &Resting, mills: i64, quantity: i64) {
        let cost = side.cost(mills) * quantity;
        if side.with_cash {
            self.cash[side.user] -= cost;
            self.shares[side.user][side.bought()] += quantity;
        } else {
            // Who gives `NO` to a bid for `YES` gets what a set is worth beyond the price of `YES`.
            self.cash[side.user] += SET * quantity - cost;
            self.shares[side.user][1 - side.bought()] -= quantity;
        }
    }

    fn take(&mut self, index: usize, quantity: i64) {
        self.book[index].remaining -= quantity;
        if self.book[index].remaining == 0 {
            self.book.remove(index);
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    let life = prop_oneof![
        5 => Just(NaiveLife::Rests),
        1 => Just(NaiveLife::RestsOrNothing),
        1 => Just(NaiveLife::Immediate),
        1 => Just(NaiveLife::AllOrNothing),
        1 => Just(NaiveLife::Spends),
        1 => Just(NaiveLife::SpendsOrNothing),
    ];
    let self_trade = prop_oneof![
        Just(SelfTradePrevention::CancelNewest),
        Just(SelfTradePrevention::CancelOldest),
        Just(SelfTradePrevention::Decrement)
    ];
    // Few prices, so that many orders meet and many stand at the same price.
    let wish = (0..USERS, 0..2_usize, any::<bool>(), 1..=19_i64, 1..30_i64, life, self_trade).prop_map(
        |(user, outcome, buys, price, quantity, life, self_trade)| {
            Act::Place(Wish { user, outcome, buys, mills: price * 50, quantity, life, self_trade })
        },
    );
    prop_oneof![7 => wish, 1 => any::<usize>().prop_map(|nth| Act::Cancel { nth })]
}

fn walk(acts: &[Act]) {
    let mut world = World::new(USERS, GRANT);
    let market = world.open_market(2, 0, None, None);
    world.limits.max_open_orders = 10_000;
    let mut naive = Naive { cash: vec![GRANT; USERS], shares: vec![[0; 2]; USERS], ..Naive::default() };
    for act in acts {
        match act {
            Act::Place(wish) => place_in_both(&mut world, &mut naive, market, *wish),
            Act::Cancel { nth } if !naive.book.is_empty() => {
                let cancelled = naive.book.remove(nth % naive.book.len());
                world.cancel(cancelled.id, world.users[cancelled.user]).unwrap();
            }
            Act::Cancel { .. } => {}
        }
        compare(&world, &naive, market);
    }
}

fn place_in_both(world: &mut World, naive: &mut Naive, market: bellwether_domain::ids::MarketId, wish: Wish) {
    let (quantity, side) = (Shares::new(wish.quantity), if wish.buys { Side::Buy } else { Side::Sell });
    let price = price(wish.mills);
    let limit = |life, post_only| Terms::Limit { price, quantity, life, post_only };
    let spend = |fill_or_kill| {
        let max_spend = Credits::from_mills(wish.mills * wish.quantity);
        let bound = MarketBound::Spend { max_spend, quantity: None, price: Some(price) };
        Terms::Market { bound, fill_or_kill }
    };
    let terms = match wish.life {
        NaiveLife::Rests => limit(Life::UntilCancelled, false),
        NaiveLife::RestsOrNothing => limit(Life::UntilCancelled, true),
        NaiveLife::Immediate => limit(Life::ImmediateOrCancel, false),
        NaiveLife::AllOrNothing => limit(Life::FillOrKill, false),
        NaiveLife::Spends => spend(false),
        NaiveLife::SpendsOrNothing => spend(true),
    };
    let mut order = world.order(market, wish.user, wish.outcome, side, terms);
    order.self_trade_prevention = wish.self_trade;
    let placed = world.place(&order);
    let id = placed.as_ref().map_or(OrderId(uuid::Uuid::nil()), |placed| placed.order.id);
    assert_eq!(naive.place(wish, id), placed.is_ok(), "{wish:?}: {placed:?}");
}

fn compare(world: &World, naive: &Naive, market: bellwether_domain::ids::MarketId) {
    let fills: Vec<_> =
        world.trades.iter().map(|t| (t.price.mills(), t.quantity.count(), t.maker_order.unwrap())).collect();
    assert_eq!(fills, naive.fills);
    for user in 0..USERS {
        let cash = naive.cash[user];
        assert_eq!(world.available(user), cash - naive.held_cash(user), "what user {user} has available");
        for outcome in 0..2 {
            assert_eq!(world.holding(market, user, outcome), naive.shares[user][outcome], "shares of user {user}");
            let held =
                world.positions.get(&(market, world.users[user])).map_or(0, |p| p.holdings[outcome].held.count());
            assert_eq!(held, naive.held_shares(user, outcome), "held shares of user {user}");
        }
    }
    let open = world.orders.values().filter(|o| o.is_open());
    let mut open: Vec<_> =
        open.map(|o| (o.id, o.book_side == Side::Buy, o.book_price.unwrap().mills(), o.remaining.count())).collect();
    open.sort();
    let mut expected: Vec<_> = naive.book.iter().map(|o| (o.id, o.is_bid, o.mills, o.remaining)).collect();
    expected.sort();
    assert_eq!(open, expected);
}

/// Threats 36 and 37: the same fills, balances, holds, refusals and open orders, command by command.
#[test]
fn the_exchange_does_what_a_naive_book_does() {
    let walks = std::env::var("BELLWETHER_NAIVE_WALKS").ok().and_then(|walks| walks.parse().ok()).unwrap_or(20);
    let config = Config { cases: walks, max_shrink_iters: 5000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&proptest::collection::vec(act(), STEPS), |acts| {
        walk(&acts);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
