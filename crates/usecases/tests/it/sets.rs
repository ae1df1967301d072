//! Complete sets by hand, and what a resolution would pay.

use std::sync::Arc;

use bellwether_domain::exchange::{ExchangeSets, SetsWay};
use bellwether_domain::ids::AccountId;
use bellwether_domain::ledger::{Account, Owner, TransferKind};
use bellwether_domain::market::MarketStatus;
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::ports::{
    AnswerKey, KeptAnswer, MarketKey, MockQueries, MockStore, Page, PageRequest, PositionInMarket, Start,
};
use bellwether_domain::position::{Holding, Position};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::{Role, UserStatus};
use bellwether_usecases::markets::{Verdict, preview_resolution};
use bellwether_usecases::trading::{SetsDone, exchange_sets};
use bellwether_usecases::{Answered, Caller, Context, Error, Keyed, Rendered};

use crate::mocks::{Unit, account, context, market, market_id, now, statuses, store, user, user_id};

const ANN: u128 = 1;

fn ann() -> Caller {
    Caller::signed_in(user_id(ANN), Role::User)
}

fn sets(quantity: i64, way: SetsWay) -> ExchangeSets {
    ExchangeSets { market: market_id(1), user: user_id(ANN), quantity: Shares::new(quantity), way }
}

fn keyed() -> Keyed<SetsDone> {
    let key = AnswerKey { user: user_id(ANN), route: "POST /split".to_owned(), key: "once".to_owned() };
    let render =
        |done: &SetsDone| Rendered { status: 201, location: None, body: done.sets.transfer.amount.to_string() };
    Keyed { key, fingerprint: [1; 32], render }
}

fn collateral() -> Account {
    Account::open(AccountId::of_market(market_id(1)), Owner::Market(market_id(1)), now())
}

/// A unit with an open market, an active user with 100 credits and no position.
fn unit() -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_statuses().returning(|_| Ok(statuses([user(ANN)])));
    unit.answers.expect_find().returning(|_| Ok(Vec::new()));
    unit.markets.expect_lock().times(1).returning(|_| Ok(vec![market(1, MarketStatus::Open)]));
    unit.accounts.expect_lock().returning(|_| Ok(vec![account(ANN, 100_000), collateral()]));
    unit.positions.expect_load().returning(|_| Ok(Vec::new()));
    unit
}

#[tokio::test]
async fn a_split_writes_the_payment_the_position_and_the_answer_at_once() {
    let ctx = context(store(1, |_| {
        let mut unit = unit();
        let is_whole = |c: &bellwether_domain::ports::Changes| {
            let [transfer] = c.transfers.as_slice() else { return false };
            transfer.kind == TransferKind::Mint
                && transfer.amount == Credits::from_mills(30_000)
                && c.accounts.len() == 2
                && c.positions.iter().all(|p| p.holdings.iter().all(|h| h.quantity == Shares::new(30)))
                && (c.positions.len(), c.trades.len(), c.new_orders.len()) == (1, 0, 0)
                && c.answers.iter().map(|answer| answer.body.as_str()).eq(["30.000"])
        };
        unit.unit.expect_write().times(1).withf(is_whole).returning(|_| Ok(()));
        unit.commits()
    }));
    let Answered::Fresh(done) = exchange_sets(&ctx, ann(), sets(30, SetsWay::Split), Some(keyed())).await.unwrap()
    else {
        panic!("nothing was kept")
    };
    assert_eq!(done.sets.available, Credits::from_mills(70_000));
}

/// Threat 31.
#[tokio::test]
async fn a_key_that_was_answered_is_answered_the_same_and_nothing_moves() {
    let ctx = context(store(1, |_| {
        let mut unit = Unit::default();
        unit.users.expect_statuses().returning(|_| Ok(statuses([user(ANN)])));
        unit.markets.expect_lock().returning(|_| Ok(vec![market(1, MarketStatus::Open)]));
        unit.answers.expect_find().returning(|keys| {
            let Keyed { fingerprint, .. } = keyed();
            let (status, location, body) = (201, None, "30.000".to_owned());
            Ok(vec![KeptAnswer { key: keys[0].clone(), fingerprint, status, location, body, created_at: now() }])
        });
        unit.commits()
    }));
    let answered = exchange_sets(&ctx, ann(), sets(30, SetsWay::Split), Some(keyed())).await.unwrap();
    assert!(matches!(answered, Answered::Replayed(kept) if kept.body == "30.000"));
}

#[tokio::test]
async fn nothing_is_written_for_whoever_may_not_act_or_has_no_sets() {
    let ctx = context(store(1, |_| unit().rolls_back()));
    let refused = exchange_sets(&ctx, ann(), sets(1, SetsWay::Merge), None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::InsufficientShares { .. }))), "{refused:?}");

    let ctx = context(store(1, |_| {
        let mut unit = Unit::default();
        unit.users.expect_statuses().returning(|_| Ok(vec![(user_id(ANN), UserStatus::Suspended)]));
        unit.markets.expect_lock().returning(|_| Ok(vec![market(1, MarketStatus::Open)]));
        unit.rolls_back()
    }));
    let refused = exchange_sets(&ctx, ann(), sets(1, SetsWay::Split), None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::UserInactive))), "{refused:?}");
}

/// Reads of a market whose collateral has 10 credits, with one position that the filter must name or not.
fn previewing(names_user: bool) -> Context {
    let mut queries = MockQueries::new();
    queries.expect_market().returning(|_| Ok(Some(market(1, MarketStatus::Open))));
    queries.expect_account().returning(|_| Ok(Some(Account { balance: Credits::from_mills(10_000), ..collateral() })));
    queries.expect_positions().withf(move |filter, _| filter.user.is_some() == names_user).returning(|_, _| {
        let mut position = Position::empty(user_id(ANN), market_id(1), 2);
        position.holdings = vec![Holding { quantity: Shares::new(10), held: Shares::ZERO }; 2];
        let row = PositionInMarket { position, market: market(1, MarketStatus::Open) };
        Ok(Page { items: vec![row], total: None, has_more: false })
    });
    Context { queries: Arc::new(queries), ..context(MockStore::new()) }
}

#[tokio::test]
async fn a_preview_pays_by_the_weights_and_shows_holders_to_whoever_may_see_them() {
    let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 20 };
    let verdict = Verdict::Weights(vec![("YES".to_owned(), 300), ("NO".to_owned(), 700)]);
    let key = MarketKey::Id(market_id(1));
    let moderator = Caller::signed_in(user_id(2), Role::Moderator);
    for (caller, names_user) in [(moderator, false), (Caller::signed_in(user_id(9), Role::User), true)] {
        let preview = preview_resolution(&previewing(names_user), caller, &key, &verdict, &page).await.unwrap();
        assert_eq!((preview.total, preview.amounts), (Credits::from_mills(10_000), vec![Credits::from_mills(10_000)]));
    }
    let refused = preview_resolution(&previewing(true), ann(), &key, &verdict, &page).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::Forbidden(_)))), "{refused:?}");
}
