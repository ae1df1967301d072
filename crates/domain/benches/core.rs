//! Orders per second of the exchange alone, in memory and on one core, beside published matching engines
//! on the same flow: `cargo bench -p bellwether-domain`.
//!
//! The exchange does more than match: each command checks means, reserves, moves money and shares for each
//! fill, writes the hash-chained transfers of both, and can be undone as a whole. The others match, and
//! keep neither accounts nor positions.
#![expect(clippy::print_stdout, clippy::panic, reason = "a benchmark")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may end in a panic")]

use std::collections::BTreeMap;
use std::hint::black_box;

use bellwether_domain::book::BookSide;
use bellwether_domain::exchange::{Limits, Moment, State, Stop};
use bellwether_domain::ids::{AccountId, FreshIds, MarketId, OrderId, UserId};
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::market::{FeeRecipient, Market, MarketStatus, Outcome, OutcomeId};
use bellwether_domain::money::{Credits, FeeRate, Price, Shares};
use bellwether_domain::order::{Backing, Life, OutcomeSpec, PlaceOrder, SelfTradePrevention, Side, Terms};
use bellwether_domain::position::Position;
use bellwether_domain::text::Slug;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::{SignedDuration, Timestamp};

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USERS: u64 = 100;
const COMMANDS: usize = 20_000;

/// One command of the flow, the same for every engine.
#[derive(Debug, Clone, Copy)]
enum Act {
    Place {
        user: u64,
        buys: bool,
        price: u64,
        quantity: u64,
    },
    /// Cancels the order that so many commands before placed, if it still rests.
    Cancel {
        back: usize,
    },
}

/// A seeded flow around a middle price that drifts: of ten commands five quote beside it, three cross it,
/// two cancel.
fn flow() -> Vec<Act> {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    // Xorshift (Marsaglia, 2003).
    let mut draw = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut middle = 500_u64;
    let acts = (0..COMMANDS).map(|_| {
        middle = (middle + draw(3)).saturating_sub(1).clamp(300, 700);
        let (kind, buys, user, quantity) = (draw(10), draw(2) == 0, draw(USERS), 1 + draw(20));
        let away = |distance: u64, up: bool| if up { middle + distance } else { middle - distance };
        match kind {
            0..5 => Act::Place { user, buys, price: away(1 + draw(15), !buys), quantity },
            5..8 => Act::Place { user, buys, price: away(10, buys), quantity },
            _ => Act::Cancel { back: 1 + usize::try_from(draw(200)).unwrap() },
        }
    });
    acts.collect()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A market of two outcomes without a market maker, whose users have money for the whole flow.
struct Exchange {
    state: State,
    market: MarketId,
    users: Vec<UserId>,
    ids: FreshIds,
}

impl Exchange {
    fn new() -> Self {
        let mut ids = FreshIds::seeded(now(), 7);
        let users: Vec<UserId> = (0..USERS).map(|_| UserId(ids.next_uuid())).collect();
        let market = market(MarketId(ids.next_uuid()), users[0]);
        let (id, mut state) = (market.id, State::with_room_for(COMMANDS));
        state.add_market(market);
        for (outcome, side) in [(0, Side::Buy), (0, Side::Sell), (1, Side::Buy), (1, Side::Sell)] {
            state.add_side(id, OutcomeId::new(outcome).unwrap(), BookSide::empty(side), side, Vec::new());
        }
        let mut accounts = vec![
            Account::open(AccountId::FEES, Owner::Fees, now()),
            Account::open(AccountId::of_market(id), Owner::Market(id), now()),
        ];
        for user in &users {
            let mut account = Account::open(AccountId::of_user(*user), Owner::User(*user), now());
            account.balance = Credits::from_mills(1_000_000_000_000);
            accounts.push(account);
            state.add_position(Position::empty(*user, id, 2));
            state.set_open_count(*user, id, 0);
        }
        accounts.into_iter().for_each(|account| state.add_account(account));
        Self { state, market: id, users, ids }
    }

    /// Runs the flow; how many trades were made.
    #[inline(never)]
    fn run(mut self, acts: &[Act]) -> usize {
        let limits = Limits { max_open_orders: u32::MAX, max_fills: 10_000, key: None };
        let moment = Moment { now: now(), limits };
        let mut placed: Vec<Option<(OrderId, UserId)>> = Vec::with_capacity(acts.len());
        let mut trades = 0;
        for act in acts {
            placed.push(match *act {
                Act::Place { user, buys, price, quantity } => {
                    let user = self.users[usize::try_from(user).unwrap()];
                    let order = order(self.market, user, buys, price, quantity);
                    let executed = self.state.place(&order, &mut self.ids, moment).unwrap();
                    trades += executed.fills.len();
                    Some((executed.order.id, user))
                }
                Act::Cancel { back } => {
                    let target = placed.len().checked_sub(back).and_then(|index| placed[index]);
                    if let Some((order, user)) = target {
                        match self.state.cancel(order, user, now()) {
                            Ok(_) | Err(Stop::Refused(_)) => {}
                            Err(stop) => panic!("{stop}"),
                        }
                    }
                    None
                }
            });
        }
        black_box(self.state.into_changes());
        trades
    }
}

fn market(id: MarketId, creator: UserId) -> Market {
    let outcome = |name: &str| Outcome { name: name.to_owned(), last_price: None };
    Market {
        id,
        slug: Slug::from_question("will it be so", &id.0.simple().to_string()),
        question: "Will it be so?".to_owned(),
        description: "Decided by what the paper says on the day after.".to_owned(),
        category: None,
        tags: Vec::new(),
        creator,
        outcomes: vec![outcome("YES"), outcome("NO")],
        status: MarketStatus::Open,
        closes_at: now() + SignedDuration::from_hours(1000),
        fee_rate: FeeRate::from_bps(0).unwrap(),
        fee_recipient: FeeRecipient::House,
        maker: None,
        volume: Credits::ZERO,
        trade_count: 0,
        sequence: 0,
        proposal: None,
        resolution: None,
        settled_at: None,
        version: 1,
        created_at: now(),
        updated_at: now(),
    }
}

fn order(market: MarketId, user: UserId, buys: bool, price: u64, quantity: u64) -> PlaceOrder {
    PlaceOrder {
        market,
        user,
        outcome: OutcomeSpec::Id(OutcomeId::new(0).unwrap()),
        side: if buys { Side::Buy } else { Side::Sell },
        terms: Terms::Limit {
            price: Price::from_mills(i64::try_from(price).unwrap()).unwrap(),
            quantity: Shares::new(i64::try_from(quantity).unwrap()),
            life: Life::UntilCancelled,
            post_only: false,
        },
        backing: Some(Backing::Cash),
        self_trade_prevention: SelfTradePrevention::CancelOldest,
        client_order_id: None,
        valid_until: None,
        reduce_only: false,
        placed_by: None,
        group: None,
    }
}

/// The same flow on `lobster`, a book of arenas and sorted price levels.
fn lobster_run(acts: &[Act]) -> usize {
    let mut book = lobster::OrderBook::new(COMMANDS, 16, false);
    let mut trades = 0;
    for (index, act) in acts.iter().enumerate() {
        let event = match *act {
            Act::Place { buys, price, quantity, .. } => book.execute(lobster::OrderType::Limit {
                id: u128::try_from(index).unwrap(),
                side: if buys { lobster::Side::Bid } else { lobster::Side::Ask },
                qty: quantity,
                price,
            }),
            Act::Cancel { back } => match index.checked_sub(back) {
                Some(target) => book.execute(lobster::OrderType::Cancel { id: u128::try_from(target).unwrap() }),
                None => continue,
            },
        };
        use lobster::OrderEvent::{Filled, PartiallyFilled};
        if let Filled { fills, .. } | PartiallyFilled { fills, .. } = event {
            trades += fills.len();
        }
    }
    black_box(book);
    trades
}

/// The same flow on `orderbook-rs`, a book of lock-free price levels.
fn orderbook_rs_run(acts: &[Act]) -> usize {
    use orderbook_rs::{Id, OrderBook, Side, TimeInForce};
    let book = OrderBook::<()>::new("bench");
    let mut trades = 0;
    for (index, act) in acts.iter().enumerate() {
        let id = |index: usize| Id::from_u64(u64::try_from(index).unwrap());
        match *act {
            Act::Place { buys, price, quantity, .. } => {
                let side = if buys { Side::Buy } else { Side::Sell };
                let placed = book.add_limit_order_with_result(
                    id(index),
                    u128::from(price),
                    quantity,
                    side,
                    TimeInForce::Gtc,
                    None,
                );
                trades += placed.unwrap().1.map_or(0, |made| made.match_result.trades().len());
            }
            Act::Cancel { back } => {
                if let Some(target) = index.checked_sub(back) {
                    // One that was filled is none any more.
                    drop(book.cancel_order(id(target)));
                }
            }
        }
    }
    black_box(book);
    trades
}

fn engines(criterion: &mut Criterion) {
    let acts = flow();
    let trades = BTreeMap::from([
        ("bellwether", Exchange::new().run(&acts)),
        ("lobster", lobster_run(&acts)),
        ("orderbook-rs", orderbook_rs_run(&acts)),
    ]);
    println!("trades of {COMMANDS} commands: {trades:?}");
    let mut group = criterion.benchmark_group("core");
    group.sample_size(20).throughput(Throughput::Elements(u64::try_from(COMMANDS).unwrap()));
    group.bench_function("bellwether, with settlement", |bencher| {
        bencher.iter_batched(Exchange::new, |exchange| exchange.run(&acts), BatchSize::LargeInput);
    });
    group.bench_function("lobster, matching alone", |bencher| bencher.iter(|| lobster_run(&acts)));
    group.bench_function("orderbook-rs, matching alone", |bencher| bencher.iter(|| orderbook_rs_run(&acts)));
    group.finish();
}

criterion_group!(benches, engines);
criterion_main!(benches);
