//! Orders in groups.

use std::time::Duration;

use bellwether_domain::ids::{AccountId, MarketId, OrderId};
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::market::{MarketStatus, OutcomeId};
use bellwether_domain::money::{Credits, Price, Shares};
use bellwether_domain::order::{
    Backing, Life, Order, OrderStatus, OrderType, OutcomeSpec, PlaceOrder, SelfTradePrevention, Side, Terms,
    TimeInForce,
};
use bellwether_domain::ports::{BookRequest, MockQueries, MockStore, Page, StoreError};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::{Role, UserStatus};
use bellwether_usecases::trading::{Command, Outcome, Request, Trading};
use bellwether_usecases::{Answered, Caller, Error};
use futures_util::FutureExt as _;
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
    match trading.submit(Request { commands, keyed: None, key: None, person: user_id(1) }).await.unwrap() {
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

/// A unit with so many open markets, in each of which a hundred bids of user 2 on YES rest.
fn unit_with_deep_books(markets: u128) -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_statuses().returning(|ids| Ok(ids.iter().map(|id| (*id, UserStatus::Active)).collect()));
    unit.markets.expect_lock().returning(move |_| Ok((1..=markets).map(|n| market(n, MarketStatus::Open)).collect()));
    unit.orders.expect_book().returning(move |requests| {
        let of = |r: &BookRequest| {
            let nth = (1..=markets).find(|n| market_id(*n) == r.market).unwrap();
            let bids = (1..=100).map(|n| Order { market: r.market, ..resting(nth * 1000 + n, 60, 1) });
            bids.take(usize::try_from(r.depth).unwrap()).collect()
        };
        Ok(requests.iter().map(of).collect())
    });
    unit.orders.expect_count_open().returning(|pairs| Ok(vec![0; pairs.len()]));
    unit.accounts.expect_lock().returning(move |_| {
        let mut two = account(2, 1_000_000);
        two.held = Credits::from_mills(100 * 60 * i64::try_from(markets).unwrap());
        let collateral = |id| Account::open(AccountId::of_market(id), Owner::Market(id), now());
        let mut accounts: Vec<Account> = (1..=markets).map(|n| collateral(market_id(n))).collect();
        accounts.extend([account(1, 10_000_000), two]);
        Ok(accounts)
    });
    unit.positions.expect_load().returning(|_| Ok(Vec::new()));
    unit
}

/// More is asked for of all books at once.
#[tokio::test]
async fn a_batch_may_need_more_of_very_many_books() {
    let ctx = context(store(2, |run| {
        let mut unit = unit_with_deep_books(13);
        if run < 1 {
            return unit.rolls_back();
        }
        unit.unit.expect_write().times(1).withf(|c| c.trades.len() == 1300).returning(|_| Ok(()));
        unit.commits()
    }));
    let order = |n: u128| {
        let Command::Place(mut place) = buy(1, "NO", 940, 100) else { unreachable!() };
        place.market = market_id(n);
        Command::Place(place)
    };
    let outcomes = submit(&Trading::new(ctx), (1..=13).map(order).collect()).await;
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_ok_and(|placed| placed.fills.len() == 100)));
}

/// User 2 has very many open orders, of which the oldest hundred are listed; in each unit of work they have ended.
fn orders_that_cannot_be_cancelled(rounds: usize, status: UserStatus) -> Trading {
    let listed: Vec<Order> = (1..=100).map(|n| resting(n, 60, 1)).collect();
    let mut ended = listed.clone();
    ended.iter_mut().for_each(|order| order.end(OrderStatus::Filled, None, now()));
    let mut ctx = context(store(rounds, move |_| {
        let (mut unit, ended) = (Unit::default(), ended.clone());
        unit.users.expect_statuses().returning(move |_| Ok(vec![(user_id(2), status)]));
        unit.markets.expect_lock().returning(|_| Ok(vec![market(1, MarketStatus::Open)]));
        unit.orders.expect_load().returning(move |_| Ok(ended.clone()));
        unit.orders.expect_count_open().returning(|pairs| Ok(vec![0; pairs.len()]));
        unit.accounts.expect_lock().returning(|_| Ok(vec![account(2, 100_000)]));
        unit.positions.expect_load().returning(|_| Ok(Vec::new()));
        unit.commits()
    }));
    let mut queries = MockQueries::new();
    let page = move || Page { items: listed.clone(), total: None, has_more: true };
    queries.expect_orders().times(rounds).returning(move |_, _| Ok(page()));
    ctx.queries = std::sync::Arc::new(queries);
    Trading::new(ctx)
}

#[tokio::test]
async fn whoever_may_not_act_is_told_so_when_it_cancels_everything() {
    let trading = orders_that_cannot_be_cancelled(1, UserStatus::Suspended);
    let refused = trading.cancel_all(Caller::signed_in(user_id(2), Role::User), None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::UserInactive))), "{refused:?}");
}

#[tokio::test]
async fn cancelling_everything_ends_where_the_same_orders_are_listed_again() {
    let trading = orders_that_cannot_be_cancelled(2, UserStatus::Active);
    let cancelled = trading.cancel_all(Caller::signed_in(user_id(2), Role::User), None).await.unwrap();
    assert!(cancelled.is_empty());
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

type Locked = std::sync::Arc<std::sync::Mutex<Vec<Vec<MarketId>>>>;

/// Trading in so many groups, two at a time and of at most so many orders, and the markets that each of them locks. The
/// orders are refused, so that the locks are all that happens.
fn two_at_once(groups: usize, limit: usize) -> (Trading, Locked) {
    let locked = Locked::default();
    let begun = std::sync::Arc::clone(&locked);
    let mut ctx = yielding(store(groups, move |_| {
        let (mut unit, log) = (Unit::default(), std::sync::Arc::clone(&begun));
        unit.users.expect_statuses().returning(|_| Ok(statuses([user(1)])));
        unit.markets.expect_lock().returning(move |ids| {
            log.lock().unwrap().push(ids.to_vec());
            Ok(Vec::new())
        });
        unit.orders.expect_count_open().returning(|pairs| Ok(vec![0; pairs.len()]));
        unit.accounts.expect_lock().returning(|_| Ok(vec![account(1, 100)]));
        unit.positions.expect_load().returning(|_| Ok(Vec::new()));
        unit.commits()
    }));
    ctx.policy.groups_at_once = 2;
    ctx.policy.group_limit = limit;
    (Trading::new(ctx), locked)
}

fn order_in(market: u128) -> Request {
    let Command::Place(mut place) = buy(1, "YES", 500, 1) else { unreachable!() };
    place.market = market_id(market);
    Request { commands: vec![Command::Place(place)], keyed: None, key: None, person: user_id(1) }
}

/// Where several groups may run at a time, they are for different markets: in each market the order
/// of arrival holds.
#[tokio::test]
async fn groups_that_run_at_the_same_time_are_for_different_markets() {
    let (trading, locked) = two_at_once(3, 1);
    let (_first, _waits, _other) =
        tokio::join!(trading.submit(order_in(1)), trading.submit(order_in(1)), trading.submit(order_in(2)));
    // The second order in the first market came before the one in the other, and still waited.
    let locked = locked.lock().unwrap();
    assert_eq!((locked.len(), locked.last()), (3, Some(&vec![market_id(1)])));
}

#[tokio::test]
async fn beside_a_group_that_runs_another_begins_when_it_is_full() {
    let (trading, locked) = two_at_once(2, 2);
    let (_first, _waits, _other) =
        tokio::join!(trading.submit(order_in(1)), trading.submit(order_in(2)), trading.submit(order_in(3)));
    // Which of the two is executed first is nobody's business.
    let mut locked = locked.lock().unwrap().clone();
    locked.sort();
    assert_eq!(locked, [vec![market_id(1)], vec![market_id(2), market_id(3)]]);
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
    let request = || Request { commands: vec![buy(1, "YES", 500, 1)], keyed: None, key: None, person: user_id(1) };
    let second = async {
        let answer = trading.submit(request()).await;
        durable.notify_one();
        answer
    };
    let both = async { tokio::join!(trading.submit(request()), second) };
    let (first, second) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("the second group waits");
    assert!(first.is_ok() && second.is_ok());
}

/// Trading where the first request is at work for ever, so that all that come later wait.
fn busy_trading() -> Trading {
    let trading = Trading::new(context(MockStore::new()));
    assert_eq!(room_for(&trading, (9, 1), 1), None);
    trading
}

/// Asks for a person's batch of so many orders: none where it waits, else why not.
fn room_for(trading: &Trading, (user, person): (u128, u128), orders: usize) -> Option<String> {
    let commands = vec![buy(user, "YES", 500, 1); orders];
    let request = Request { commands, keyed: None, key: None, person: user_id(person) };
    match trading.submit(request).now_or_never()? {
        Err(Error::Store(StoreError::Unavailable(why))) => Some(why.to_string()),
        other => panic!("{other:?}"),
    }
}

/// A batch counts for all of its orders, and what the bots of a person send counts as the person's.
#[tokio::test]
async fn one_person_with_bots_cannot_fill_the_queue() {
    let trading = busy_trading();
    let refused = Some("too many commands of one person are waiting".to_owned());
    for bot in 1..=5 {
        assert_eq!(room_for(&trading, (bot, 1), 50), None, "250 commands fit");
    }
    assert_eq!(room_for(&trading, (6, 1), 50), refused);
    assert_eq!(room_for(&trading, (6, 1), 6), None, "256 commands fit");
    assert_eq!(room_for(&trading, (7, 1), 1), refused);
    assert_eq!(room_for(&trading, (8, 2), 300), None, "whatever waits alone fits");
    assert_eq!(room_for(&trading, (8, 2), 1), refused);
}

/// All the requests that may wait leave the server room for others (`max_in_flight` is 1024).
#[tokio::test]
async fn many_people_together_cannot_fill_the_server() {
    let trading = busy_trading();
    for person in 1..=480 {
        assert_eq!(room_for(&trading, (person, person), 1), None);
    }
    assert_eq!(room_for(&trading, (1000, 1000), 1), Some("too many requests are waiting".to_owned()));
}

/// A group that fails for the fault of one is executed again, each request by itself.
#[tokio::test]
async fn a_request_that_spoils_its_group_does_not_spoil_its_neighbours() {
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
    let request = || Request { commands: vec![buy(1, "YES", 500, 1)], keyed: None, key: None, person: user_id(1) };
    let (first, second, third) =
        tokio::join!(trading.submit(request()), trading.submit(request()), trading.submit(request()));
    assert!(first.is_ok() && second.is_err() && third.is_ok());
}

/// Each request of a group that failed is executed by itself, and all of them before those that came later.
#[tokio::test]
async fn a_group_that_failed_keeps_its_turn_until_it_is_answered() {
    let written = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = std::sync::Arc::clone(&written);
    let mut ctx = yielding(store(7, move |run| {
        let mut unit = unit_with(Vec::new(), MarketStatus::Open);
        if run == 1 {
            unit.unit.expect_write().returning(|_| Err(StoreError::Corrupt("a row that cannot be".to_owned())));
            return unit.rolls_back();
        }
        let log = std::sync::Arc::clone(&log);
        unit.unit.expect_write().times(1).returning(move |changes| {
            log.lock().unwrap().extend(changes.new_orders.iter().map(|order| order.quantity.count()));
            Ok(())
        });
        unit.commits()
    }));
    ctx.policy.group_limit = 4;
    let trading = Trading::new(ctx);
    // The first is a group of its own; the next four are the one that fails; the last one waits for these.
    let submit = |n| {
        trading.submit(Request { commands: vec![buy(1, "YES", 500, n)], keyed: None, key: None, person: user_id(1) })
    };
    let answers = futures_util::future::join_all((1..=6).map(submit)).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(*written.lock().unwrap(), [1, 2, 3, 4, 5, 6]);
}
