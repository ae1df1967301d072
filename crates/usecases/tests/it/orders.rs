//! Orders in groups.

use std::time::Duration;

use bellwether_domain::ids::{AccountId, OrderId};
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::market::{MarketStatus, OutcomeId};
use bellwether_domain::money::{Credits, Price, Shares};
use bellwether_domain::order::{
    Backing, Life, Order, OrderStatus, OrderType, OutcomeSpec, PlaceOrder, SelfTradePrevention, Side, Terms,
    TimeInForce,
};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::UserStatus;
use bellwether_usecases::Answered;
use bellwether_usecases::trading::{Command, Outcome, Request, Trading};
use uuid::Uuid;

use crate::mocks::{Unit, account, context, market, market_id, now, statuses, store, user, user_id, yielding};

pub fn buy(n: u128, outcome: &str, mills: i64, quantity: i64) -> Command {
    Command::Place(PlaceOrder {
        market: market_id(1),
        user: user_id(n),
        outcome: OutcomeSpec::Name(outcome.to_owned()),
        side: Side::Buy,
        terms: Terms::Limit {
            price: Price::from_mills(mills).unwrap(),
            quantity: Shares::new(quantity),
            life: Life::UntilCancelled,
            post_only: false,
        },
        backing: None,
        self_trade_prevention: SelfTradePrevention::CancelNewest,
        client_order_id: None,
        valid_until: None,
        reduce_only: false,
        placed_by: None,
        group: None,
    })
}

/// An open bid of user 2 on YES.
pub fn resting(n: u128, mills: i64, quantity: i64) -> Order {
    let price = Price::from_mills(mills);
    Order {
        id: OrderId(Uuid::from_u128(n)),
        market: market_id(1),
        user: user_id(2),
        outcome: OutcomeId::FIRST,
        side: Side::Buy,
        order_type: OrderType::Limit,
        price,
        max_spend: None,
        backing: Backing::Cash,
        quantity: Shares::new(quantity),
        filled: Shares::ZERO,
        remaining: Shares::new(quantity),
        reserved: Credits::from_mills(mills * quantity),
        cost: Credits::ZERO,
        fee: Credits::ZERO,
        time_in_force: TimeInForce::Gtc,
        expires_at: None,
        post_only: false,
        self_trade_prevention: SelfTradePrevention::CancelNewest,
        client_order_id: None,
        counted_by: None,
        status: OrderStatus::Open,
        end_reason: None,
        book: OutcomeId::FIRST,
        book_side: Side::Buy,
        book_price: price,
        sequence: i64::try_from(n).unwrap(),
        created_at: now(),
        updated_at: now(),
        placed_by: None,
        group: None,
    }
}

/// A unit with one open market, users 1 and 2 with 100 credits each, and these resting bids of user 2.
pub fn unit_with(bids: Vec<Order>, status: MarketStatus) -> Unit {
    let mut unit = Unit::default();
    let held: i64 = bids.iter().map(|b| b.reserved.mills()).sum();
    unit.users.expect_statuses().returning(|ids| Ok(ids.iter().map(|id| (*id, UserStatus::Active)).collect()));
    unit.markets.expect_lock().times(1).returning(move |_| Ok(vec![market(1, status)]));
    unit.orders.expect_book().returning(move |requests| {
        let of = |r: &bellwether_domain::ports::BookRequest| {
            let wanted =
                bids.iter().filter(|b| b.book_side == r.side && r.limit.is_none_or(|l| b.book_price >= Some(l)));
            wanted.take(usize::try_from(r.depth).unwrap()).cloned().collect()
        };
        Ok(requests.iter().map(of).collect())
    });
    unit.orders.expect_count_open().returning(|pairs| Ok(vec![0; pairs.len()]));
    unit.accounts.expect_lock().withf(|ids| ids.is_sorted()).returning(move |_| {
        let (mut two, collateral) = (account(2, 100_000), AccountId::of_market(market_id(1)));
        two.held = Credits::from_mills(held);
        Ok(vec![account(1, 100_000), two, Account::open(collateral, Owner::Market(market_id(1)), now())])
    });
    unit.positions.expect_load().returning(|_| Ok(Vec::new()));
    unit
}

pub async fn submit(trading: &Trading, commands: Vec<Command>) -> Vec<Outcome> {
    match trading.submit(Request { commands, keyed: None, key: None }).await.unwrap() {
        Answered::Fresh(outcomes) => outcomes,
        Answered::Replayed(_) => panic!("nothing was kept"),
    }
}

#[tokio::test]
async fn one_refused_command_of_a_batch_does_not_disturb_its_neighbours() {
    let ctx = context(store(1, |_| {
        let mut unit = unit_with(Vec::new(), MarketStatus::Open);
        unit.unit.expect_write().times(1).withf(|c| c.new_orders.len() == 2).returning(|_| Ok(()));
        unit.commits()
    }));
    let outcomes =
        submit(&Trading::new(ctx), vec![buy(1, "YES", 500, 2), buy(1, "YES", 999, 1_000_000), buy(1, "no", 100, 3)])
            .await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    assert!(matches!(outcomes[1], Err(Refusal::InsufficientFunds { .. })));
}

/// Threat 38.
#[tokio::test]
async fn a_group_in_which_everything_is_refused_writes_nothing() {
    let ctx = context(store(1, |_| unit_with(Vec::new(), MarketStatus::Closed).commits()));
    let outcomes = submit(&Trading::new(ctx), vec![buy(1, "YES", 500, 2)]).await;
    assert_eq!(outcomes[0], Err(Refusal::MarketNotOpen(MarketStatus::Closed)));
}

#[tokio::test]
async fn commands_of_one_group_fill_each_other_in_one_write() {
    let ctx = context(store(1, |_| {
        let mut unit = unit_with(Vec::new(), MarketStatus::Open);
        unit.unit
            .expect_write()
            .times(1)
            .withf(|c| {
                c.new_orders.len() == 2
                    && c.orders.is_empty()
                    && c.trades.len() == 1
                    && c.transfers.len() == 2
                    && c.markets.len() == 1
            })
            .returning(|_| Ok(()));
        unit.commits()
    }));
    let outcomes = submit(&Trading::new(ctx), vec![buy(1, "YES", 600, 5), buy(2, "NO", 400, 5)]).await;
    assert_eq!(outcomes[1].as_ref().unwrap().order.status, OrderStatus::Filled);
    assert!(outcomes[1].as_ref().unwrap().mirrored);
}

/// A store loads only the best orders: an order that needs more of them asks for more, in a fresh unit of work.
#[tokio::test]
async fn loads_more_of_the_book_when_the_first_orders_do_not_do() {
    let bids: Vec<Order> = (1..=100).map(|n| resting(n, 60, 1)).collect();
    let ctx = context(store(2, move |run| {
        let mut unit = unit_with(bids.clone(), MarketStatus::Open);
        if run == 0 {
            return unit.rolls_back();
        }
        unit.unit.expect_write().times(1).withf(|c| c.trades.len() == 100).returning(|_| Ok(()));
        unit.commits()
    }));
    let outcomes = submit(&Trading::new(ctx), vec![buy(1, "NO", 940, 100)]).await;
    assert_eq!(outcomes[0].as_ref().unwrap().fills.len(), 100);
}

/// Group commit: what comes while a group is at work waits, and then shares one unit of work.
#[tokio::test]
async fn requests_that_wait_at_the_same_time_share_one_unit_of_work() {
    let ctx = yielding(store(2, |run| {
        let mut unit = unit_with(Vec::new(), MarketStatus::Open);
        let orders = if run == 0 { 1 } else { 5 };
        unit.unit.expect_write().times(1).withf(move |c| c.new_orders.len() == orders).returning(|_| Ok(()));
        unit.commits()
    }));
    let trading = Trading::new(ctx);
    // On one thread: the first finds nobody at work; the others come before it has its answer.
    let first = submit(&trading, vec![buy(1, "YES", 500, 2)]);
    let others = futures_util::future::join_all((0..5).map(|_| submit(&trading, vec![buy(1, "YES", 500, 1)])));
    let (first, others) = tokio::join!(first, others);
    assert!(first.iter().chain(others.iter().flatten()).all(Result::is_ok));
}

/// Where several groups may run at a time, they are for different markets: in each market the order
/// of arrival holds. The orders are refused, so that the locks are all that happens.
#[tokio::test]
async fn groups_that_run_at_the_same_time_are_for_different_markets() {
    let locked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (begun, log) = (std::sync::Arc::clone(&locked), std::sync::Arc::clone(&locked));
    let mut ctx = yielding(store(3, move |_| {
        let (mut unit, log) = (Unit::default(), std::sync::Arc::clone(&begun));
        unit.users.expect_statuses().returning(|_| Ok(statuses([user(1)])));
        unit.markets.expect_lock().returning(move |ids| {
            log.lock().unwrap().push(ids.to_vec());
            Ok(Vec::new())
        });
        unit.orders.expect_count_open().returning(|pairs| Ok(vec![0; pairs.len()]));
        unit.accounts.expect_lock().returning(|_| Ok(vec![account(1, 100)]));
        unit.positions.expect_load().returning(|_| Ok(Vec::new()));
        unit.rolls_back()
    }));
    ctx.policy.groups_at_once = 2;
    let trading = Trading::new(ctx);
    let order = |n: u128| {
        let Command::Place(mut place) = buy(1, "YES", 500, 1) else { unreachable!() };
        place.market = market_id(n);
        Request { commands: vec![Command::Place(place)], keyed: None, key: None }
    };
    let (_first, _waits, _other) =
        tokio::join!(trading.submit(order(1)), trading.submit(order(1)), trading.submit(order(2)));
    // The second order in the first market came before the one in the other, and still waited.
    let locked = log.lock().unwrap();
    assert_eq!((locked.len(), locked.last()), (3, Some(&vec![market_id(1)])));
}

/// A group that is decided waits for the disk; the next one does not wait for it. Were it otherwise,
/// the first would wait for ever here.
#[tokio::test]
async fn the_next_group_runs_while_the_one_before_waits_for_the_disk() {
    let durable = std::sync::Arc::new(tokio::sync::Notify::new());
    let first = std::sync::Arc::clone(&durable);
    let mut ctx = yielding(store(2, move |run| {
        let mut unit = unit_with(Vec::new(), MarketStatus::Open);
        unit.unit.expect_write().times(1).returning(|_| Ok(()));
        unit.durable = (run == 0).then(|| std::sync::Arc::clone(&first));
        unit.commits()
    }));
    ctx.policy.group_limit = 1;
    let trading = Trading::new(ctx);
    let request = || Request { commands: vec![buy(1, "YES", 500, 1)], keyed: None, key: None };
    let second = async {
        let answer = trading.submit(request()).await;
        durable.notify_one();
        answer
    };
    let both = async { tokio::join!(trading.submit(request()), second) };
    let (first, second) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("the second group waits");
    assert!(first.is_ok() && second.is_ok());
}

/// A group that fails for the fault of one is executed again, each request by itself.
#[tokio::test]
async fn a_request_that_spoils_its_group_does_not_spoil_its_neighbours() {
    use bellwether_domain::ports::StoreError;
    let ctx = yielding(store(4, |run| {
        let mut unit = unit_with(Vec::new(), MarketStatus::Open);
        if run == 1 || run == 2 {
            unit.unit.expect_write().returning(|_| Err(StoreError::Corrupt("a row that cannot be".to_owned())));
            return unit.rolls_back();
        }
        unit.unit.expect_write().times(1).returning(|_| Ok(()));
        unit.commits()
    }));
    let trading = Trading::new(ctx);
    let request = || Request { commands: vec![buy(1, "YES", 500, 1)], keyed: None, key: None };
    let (first, second, third) =
        tokio::join!(trading.submit(request()), trading.submit(request()), trading.submit(request()));
    assert!(first.is_ok() && second.is_err() && third.is_ok());
}
