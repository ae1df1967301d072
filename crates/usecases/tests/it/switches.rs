//! Dead-man switches: timers, streams, and what is cancelled.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwether_domain::api_key::{Scope, Scopes};
use bellwether_domain::cancel_switch::{CancelSwitch, Sender};
use bellwether_domain::ids::{AccountId, ApiKeyId, JobId, OrderId, SwitchId};
use bellwether_domain::job::{Job, JobKind, Priority};
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::market::MarketStatus;
use bellwether_domain::money::Credits;
use bellwether_domain::order::{EndReason, Order, OrderStatus};
use bellwether_domain::ports::{
    Changes, MockClock, MockPasswordHasher, MockQueries, MockStore, MockTokenSigner, Page, Start, StoreError,
};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::Role;
use bellwether_usecases::jobs::{Handler as _, Verdict};
use bellwether_usecases::switches::{Cancelling, GRACE, Holds, Watch, set_timer, show};
use bellwether_usecases::{Caller, CallerKey, Context, Error};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::mocks::{Unit, account, context, context_with, market, market_id, now, store, user_id};
use crate::orders::resting;

fn sender() -> Sender {
    Sender { user: user_id(2), key: None }
}

fn caller() -> Caller {
    Caller::signed_in(user_id(2), Role::User)
}

fn key() -> ApiKeyId {
    ApiKeyId(Uuid::from_u128(77))
}

fn after(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

/// A context whose clock can be set.
fn at(time: &Arc<Mutex<Timestamp>>, store: MockStore, queries: MockQueries) -> Context {
    let mut ctx = context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new());
    let (mut clock, time) = (MockClock::new(), Arc::clone(time));
    clock.expect_now().returning(move || *time.lock().unwrap());
    ctx.clock = Arc::new(clock);
    ctx
}

/// A unit that finds these switches.
fn unit_with(switches: Vec<CancelSwitch>) -> Unit {
    let mut unit = Unit::default();
    unit.cancel_switches.expect_lock_of().withf(|of| *of == sender()).times(1).returning(move |_| Ok(switches.clone()));
    unit
}

fn writes(mut unit: Unit, is_right: impl Fn(&Changes) -> bool + Send + 'static) -> Unit {
    unit.unit.expect_write().times(1).withf(is_right).returning(|_| Ok(()));
    unit.commits()
}

fn fires(changes: &Changes) -> bool {
    let [job] = changes.new_jobs.as_slice() else { return false };
    (job.kind, job.priority) == (JobKind::CancelOrders, Priority::High)
}

#[tokio::test]
async fn a_timer_is_set_shown_and_switched_off() {
    let fired_at = Some(after(-100));
    let ctx = context(store(3, move |run| match run {
        0 => writes(unit_with(Vec::new()), |c| {
            c.cancel_switches == [CancelSwitch::timer(sender(), 60, None, now())] && c.new_jobs.is_empty()
        }),
        1 => writes(
            unit_with(vec![CancelSwitch {
                due_at: None,
                fired_at,
                ..CancelSwitch::timer(sender(), 5, None, after(-105))
            }]),
            move |c| c.cancel_switches == [CancelSwitch::timer(sender(), 30, fired_at, now())],
        ),
        _ => writes(unit_with(vec![CancelSwitch::timer(sender(), 5, None, now())]), |c| {
            c.deleted_cancel_switches == [sender().timer()] && c.cancel_switches.is_empty()
        }),
    }));
    let set = set_timer(&ctx, caller(), Some(60)).await.unwrap();
    assert_eq!((set.timeout_s, set.due_at, set.fired_at), (Some(60), Some(after(60)), None));
    let set = set_timer(&ctx, caller(), Some(30)).await.unwrap();
    assert_eq!((set.due_at, set.fired_at), (Some(after(30)), fired_at), "one that has fired can be set again");
    assert_eq!(set_timer(&ctx, caller(), None).await.unwrap().due_at, None);
}

#[tokio::test]
async fn what_is_off_can_be_switched_off_and_a_key_that_may_only_read_cannot_set_it() {
    let ctx = context(store(1, |_| unit_with(Vec::new()).commits()));
    set_timer(&ctx, caller(), None).await.unwrap();
    let scopes: Scopes = [Scope::Read].into_iter().collect();
    let reader = Caller { key: Some(CallerKey { id: key(), owner: None, scopes, is_limited: false }), ..caller() };
    let refused = set_timer(&context(MockStore::new()), reader, Some(60)).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::OutOfScope(_)))), "{refused:?}");
    let mut queries = MockQueries::new();
    let of_key = Sender { key: Some(key()), ..sender() };
    let stream = CancelSwitch::stream(SwitchId(Uuid::from_u128(1)), of_key, now());
    queries.expect_cancel_switches_of().withf(move |of| *of == of_key).returning(move |_| Ok(vec![stream.clone()]));
    let ctx = context_with(MockStore::new(), queries, MockPasswordHasher::new(), MockTokenSigner::new());
    let standing = show(&ctx, reader).await.unwrap();
    assert_eq!((standing.timeout_s, standing.streams), (None, 1));
}

/// Each fires once, in the unit of work that puts the job aside, and not before the grace is over.
#[tokio::test]
async fn what_is_due_fires_once_after_the_grace_and_an_outage_begins_it_anew() {
    let time = Arc::new(Mutex::new(now()));
    let mut queries = MockQueries::new();
    let mut asked = 0;
    queries.expect_due_cancel_switches().returning(move |_, _| {
        asked += 1;
        if asked == 4 { Err(StoreError::Unavailable("gone".into())) } else { Ok(vec![sender(), sender()]) }
    });
    let store = store(3, |run| match run {
        0 => writes(unit_with(vec![CancelSwitch::timer(sender(), 5, None, after(-60))]), |c| {
            fires(c) && c.cancel_switches.iter().all(|s| s.due_at.is_none() && s.fired_at.is_some())
        }),
        // It was pushed ahead until its row was locked.
        1 => unit_with(vec![CancelSwitch::timer(sender(), 5, None, after(20))]).rolls_back(),
        _ => writes(unit_with(vec![CancelSwitch::stream(SwitchId(Uuid::from_u128(1)), sender(), now())]), fires),
    });
    let ctx = at(&time, store, queries);
    let mut watch = Watch::default();
    let mut look = async |seconds: i64| {
        *time.lock().unwrap() = after(seconds);
        watch.look(&ctx).await
    };
    assert_eq!(look(0).await.unwrap(), 0);
    assert_eq!(look(5).await.unwrap(), 0, "who could not be heard has ten seconds");
    assert_eq!(look(10).await.unwrap(), 1);
    assert!(look(11).await.is_err());
    for seconds in [12, 16, 21] {
        assert_eq!(look(seconds).await.unwrap(), 0, "the store was away");
    }
    assert_eq!(look(12 + GRACE.as_secs()).await.unwrap(), 0, "it was pushed ahead");
    assert_eq!(look(25).await.unwrap(), 1);
}

/// A trader may have had many streams, and a server that died many traders: nobody waits for the next look, whether or not
/// those before him have others that stand for them.
#[tokio::test]
async fn however_many_are_due_they_fire_without_a_pause() {
    let (time, other) = (Arc::new(Mutex::new(now())), Sender { user: user_id(3), key: None });
    let (mut queries, mut asked) = (MockQueries::new(), 0);
    queries.expect_due_cancel_switches().times(4).returning(move |_, limit| {
        asked += 1;
        Ok(match asked {
            3 => vec![sender(); usize::try_from(limit).unwrap()],
            4 => vec![other],
            _ => Vec::new(),
        })
    });
    let store = store(2, move |run| {
        if run == 0 {
            let [over, open] = [(1, -60), (2, 9)]
                .map(|(id, opened)| CancelSwitch::stream(SwitchId(Uuid::from_u128(id)), sender(), after(opened)));
            let gone = over.id;
            return writes(unit_with(vec![over, open]), move |c| {
                c.new_jobs.is_empty() && c.deleted_cancel_switches == [gone]
            });
        }
        let mut unit = Unit::default();
        let due = vec![CancelSwitch::timer(other, 5, None, after(-60))];
        unit.cancel_switches.expect_lock_of().withf(move |asked| *asked == other).returning(move |_| Ok(due.clone()));
        writes(unit, fires)
    });
    let ctx = at(&time, store, queries);
    let mut watch = Watch::default();
    for (seconds, fired) in [(0, 0), (5, 0), (10, 1)] {
        *time.lock().unwrap() = after(seconds);
        assert_eq!(watch.look(&ctx).await.unwrap(), fired);
    }
}

#[tokio::test]
async fn the_last_stream_of_a_trader_fires_when_it_ends_and_one_that_ends_with_the_server_does_not() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&written);
    let ctx = context(store(4, move |_| {
        let (mut unit, seen) = (Unit::default(), Arc::clone(&seen));
        let rows = Arc::clone(&seen);
        unit.cancel_switches.expect_lock_of().returning(move |_| {
            let rows: Vec<Changes> = rows.lock().unwrap().clone();
            let gone: Vec<SwitchId> = rows.iter().flat_map(|c| c.deleted_cancel_switches.clone()).collect();
            let all = rows.into_iter().flat_map(|c| c.cancel_switches);
            Ok(all.filter(|switch| !gone.contains(&switch.id)).collect())
        });
        unit.unit.expect_write().times(1).returning(move |changes| {
            seen.lock().unwrap().push(changes.clone());
            Ok(())
        });
        unit.commits()
    }));
    let bell = ctx.job_bell.clone();
    let holds = Holds::new(ctx);
    let (one, two) = (holds.hold(caller()).await.unwrap(), holds.hold(caller()).await.unwrap());
    let count = || written.lock().unwrap().len();
    assert_eq!(count(), 2);
    drop(one);
    while count() < 3 {
        tokio::task::yield_now().await;
    }
    assert!(written.lock().unwrap()[2].new_jobs.is_empty(), "the other one is open");
    drop(two);
    bell.heard(JobKind::CancelOrders).await;
    assert!(fires(&written.lock().unwrap()[3]));
    let refused = holds.hold(Caller {
        key: Some(CallerKey { id: key(), owner: None, scopes: [Scope::Read].into_iter().collect(), is_limited: false }),
        ..caller()
    });
    assert!(matches!(refused.await, Err(Error::Refused(Refusal::OutOfScope(_)))));
}

/// Else the deadlines of all would pass while many come back at once, or one unit of work is slow.
#[tokio::test(flavor = "multi_thread")]
async fn open_streams_are_renewed_while_another_one_begins() {
    let (renewed, is_renewed) = std::sync::mpsc::channel();
    let is_renewed = Arc::new(Mutex::new(is_renewed));
    let ctx = context(store(3, move |number| {
        let (mut unit, renewed, is_renewed) = (Unit::default(), renewed.clone(), Arc::clone(&is_renewed));
        unit.unit.expect_write().times(1).returning(move |changes| {
            match number {
                0 => {}
                1 => is_renewed.lock().unwrap().recv_timeout(Duration::from_mins(1)).unwrap(),
                _ => {
                    assert_eq!(changes.cancel_switches.len(), 1, "the other one has not begun");
                    renewed.send(()).unwrap();
                }
            }
            Ok(())
        });
        unit.commits()
    }));
    let holds = Holds::new(ctx);
    let first = holds.hold(caller()).await.unwrap();
    let second = holds.hold(caller()).await.unwrap();
    // What would follow their ends is not of interest.
    std::mem::forget((first, second));
}

fn placed(n: u128, by: Option<ApiKeyId>, created: Timestamp) -> Order {
    Order { placed_by: by, created_at: created, ..resting(n, 400, 10) }
}

/// A unit in which the orders of user 2 can be cancelled, who has one of 4 credits.
fn unit_of_orders() -> Unit {
    let mut unit = Unit::default();
    unit.markets.expect_lock().times(1).returning(|_| Ok(vec![market(1, MarketStatus::Open)]));
    unit.accounts.expect_lock().returning(|_| {
        let mut two = account(2, 100_000);
        two.held = Credits::from_mills(4_000);
        let collateral = AccountId::of_market(market_id(1));
        Ok(vec![two, Account::open(collateral, Owner::Market(market_id(1)), now())])
    });
    unit.positions.expect_load().returning(|_| Ok(Vec::new()));
    unit
}

/// Of another key, of nobody's key, placed later, or filled meanwhile: all that stays.
#[tokio::test]
async fn only_what_the_sender_had_placed_until_it_fired_is_cancelled() {
    let mine = placed(1, Some(key()), now());
    let by_hand = placed(2, None, now());
    let filled = placed(3, Some(key()), now());
    let later = placed(4, Some(key()), after(1));
    let listed = [mine.clone(), by_hand, filled.clone(), later];
    let mut queries = MockQueries::new();
    queries
        .expect_orders()
        .times(1)
        .withf(|filter, page| {
            (filter.user, filter.status) == (Some(user_id(2)), Some(OrderStatus::Open)) && page.start == Start::First
        })
        .returning(move |_, _| Ok(Page { items: listed.to_vec(), total: None, has_more: true }));
    let store = store(1, move |_| {
        let mut unit = unit_of_orders();
        let mut filled = filled.clone();
        filled.end(OrderStatus::Filled, None, now());
        let now_there = vec![mine.clone(), filled];
        unit.orders
            .expect_load()
            .withf(|ids| *ids == [OrderId(Uuid::from_u128(1)), OrderId(Uuid::from_u128(3))])
            .returning(move |_| Ok(now_there.clone()));
        writes(unit, |c| {
            let [order] = c.orders.as_slice() else { return false };
            (order.id, order.end_reason) == (OrderId(Uuid::from_u128(1)), Some(EndReason::Disconnected))
                && c.accounts.iter().all(|account| account.held == Credits::ZERO)
        })
    });
    let ctx = context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new());
    let payload = format!(r#"{{"user":"{}","key":"{}","firedAt":"{}"}}"#, user_id(2), key(), now());
    let job = Job::new(JobId(Uuid::from_u128(9)), JobKind::CancelOrders, payload, now());
    let verdict = Cancelling.run(&ctx, &job).await.unwrap();
    assert_eq!(verdict, Verdict::Later(after(30)), "it is looked once more");
}

/// It had its time before the switch fired, and was committed when the job had looked.
#[tokio::test]
async fn what_was_being_written_when_it_fired_is_cancelled_by_a_second_look() {
    let (time, late) = (Arc::new(Mutex::new(now())), placed(1, None, now()));
    let (mut queries, listed, mut looks) = (MockQueries::new(), late.clone(), 0);
    queries.expect_orders().times(2).returning(move |_, _| {
        looks += 1;
        let items = if looks == 1 { Vec::new() } else { vec![listed.clone()] };
        Ok(Page { items, total: None, has_more: false })
    });
    let store = store(1, move |_| {
        let (mut unit, late) = (unit_of_orders(), late.clone());
        unit.orders.expect_load().returning(move |_| Ok(vec![late.clone()]));
        writes(unit, |c| c.orders.iter().map(|order| order.status).eq([OrderStatus::Cancelled]))
    });
    let ctx = at(&time, store, queries);
    let payload = format!(r#"{{"user":"{}","firedAt":"{}"}}"#, user_id(2), now());
    let job = Job::new(JobId(Uuid::from_u128(9)), JobKind::CancelOrders, payload, now());
    assert_eq!(Cancelling.run(&ctx, &job).await, Ok(Verdict::Later(after(30))));
    *time.lock().unwrap() = after(30);
    let done = Verdict::Done(Some("1 orders were cancelled".to_owned()));
    assert_eq!(Cancelling.run(&ctx, &job).await, Ok(done));
}
