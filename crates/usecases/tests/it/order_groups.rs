//! Order groups: made within bounds, and loaded where an order is in one.

use std::sync::Arc;

use bellwether_domain::api_key::{ApiKey, KeyLimits, KeyName, Scope};
use bellwether_domain::ids::{ApiKeyId, OrderGroupId};
use bellwether_domain::market::MarketStatus;
use bellwether_domain::money::Shares;
use bellwether_domain::order_group::{MOST_GROUPS, OrderGroup};
use bellwether_domain::ports::{AnswerKey, KeptAnswer, MockQueries};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::Role;
use bellwether_usecases::order_groups::{NewGroup, create};
use bellwether_usecases::trading::Trading;
use bellwether_usecases::{Answered, Caller, CallerKey, Error, Keyed, Rendered};
use uuid::Uuid;

use crate::mocks::{Unit, context, market, market_id, now, store, user, user_id};
use crate::orders::{buy, resting, submit, unit_with};

fn wanted() -> NewGroup {
    NewGroup { market: market_id(1), fill_cap: Shares::new(10), window_s: Some(15) }
}

fn caller() -> Caller {
    Caller::signed_in(user_id(1), Role::User)
}

fn keyed() -> Keyed<OrderGroup> {
    let key = AnswerKey { user: user_id(1), route: "POST /order-groups".to_owned(), key: "once".to_owned() };
    let render = |group: &OrderGroup| Rendered { status: 201, location: None, body: group.id.to_string() };
    Keyed { key, fingerprint: [1; 32], render }
}

fn unit_with_groups(count: usize) -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
    unit.markets.expect_lock().returning(|_| Ok(vec![market(1, MarketStatus::Open)]));
    unit.order_groups.expect_count_of().returning(move |_| Ok(count as u64));
    unit
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_groups() {
    let ctx = context(store(2, |run| match run {
        0 => {
            let mut unit = unit_with_groups(MOST_GROUPS - 1);
            unit.unit.expect_write().times(1).withf(|c| c.new_order_groups.len() == 1).returning(|_| Ok(()));
            unit.commits()
        }
        _ => unit_with_groups(MOST_GROUPS).rolls_back(),
    }));
    let Answered::Fresh(made) = create(&ctx, caller(), wanted(), None).await.unwrap() else { panic!("kept") };
    assert_eq!((made.user, made.market, made.window_s), (user_id(1), market_id(1), Some(15)));
    let refused = create(&ctx, caller(), wanted(), None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::TooManyOrderGroups { limit: MOST_GROUPS }))), "{refused:?}");
}

/// Whose answer was lost asks again with the same idempotency key: then nothing is made, and nothing is refused that
/// only one who makes a group is held to.
#[tokio::test]
async fn a_group_that_was_made_is_told_again_before_anything_refuses_it() {
    let id = ApiKeyId(Uuid::from_u128(6));
    let scopes = [Scope::Trade].into_iter().collect();
    let elsewhere = Caller { key: Some(CallerKey { id, owner: None, scopes, is_limited: true }), ..caller() };
    for is_kept in [true, false] {
        let mut ctx = context(store(1, move |_| {
            let mut unit = Unit::default();
            let Keyed { key, fingerprint, .. } = keyed();
            let (status, location, body) = (201, None, "the group".to_owned());
            let kept = KeptAnswer { key, fingerprint, status, location, body, created_at: now() };
            let found: Vec<KeptAnswer> = is_kept.then_some(kept).into_iter().collect();
            unit.answers.expect_find().times(1).returning(move |_| Ok(found.clone()));
            if is_kept { unit.commits() } else { unit.rolls_back() }
        }));
        let mut queries = MockQueries::new();
        queries.expect_api_keys_of().returning(move |user| {
            let limits = KeyLimits { markets: vec![market_id(2)], ..KeyLimits::default() };
            let key = ApiKey {
                id,
                user,
                name: KeyName::parse("a bot").unwrap(),
                hash: [0; 32],
                scopes,
                limits,
                created_at: now(),
                expires_at: None,
                revoked_at: None,
                last_used_at: None,
            };
            Ok(vec![key])
        });
        ctx.queries = Arc::new(queries);
        let answered = create(&ctx, elsewhere, wanted(), Some(keyed())).await;
        match is_kept {
            true => assert!(matches!(answered, Ok(Answered::Replayed(kept)) if kept.body == "the group")),
            false => assert!(matches!(answered, Err(Error::Refused(Refusal::KeyNotForMarket))), "{answered:?}"),
        }
    }
}

/// The group of an order that rests is asked for, with its open orders, which end when it is full.
#[tokio::test]
async fn what_rests_in_a_group_is_filled_to_its_cap_and_its_group_is_written() {
    let id = OrderGroupId(Uuid::from_u128(5));
    let grouped = move |n, mills| bellwether_domain::order::Order { group: Some(id), ..resting(n, mills, 10) };
    let ctx = context(store(1, move |_| {
        let bids = vec![grouped(11, 400), grouped(12, 300)];
        let mut unit = unit_with(bids.clone(), MarketStatus::Open);
        unit.order_groups.expect_load().times(1).withf(move |ids| *ids == [id]).returning(move |_| {
            let group = OrderGroup {
                id,
                user: user_id(2),
                market: market_id(1),
                fill_cap: Shares::new(6),
                window_s: None,
                filled: Shares::new(2),
                recent: Vec::new(),
                full_at: None,
                created_at: now(),
                updated_at: now(),
            };
            Ok(vec![group])
        });
        unit.order_groups.expect_open_orders().times(1).returning(move |_| Ok(bids.clone()));
        unit.unit
            .expect_write()
            .times(1)
            .withf(|c| {
                let [group] = c.order_groups.as_slice() else { return false };
                group.is_full() && c.orders.len() == 2 && c.orders.iter().all(|order| !order.is_open())
            })
            .returning(|_| Ok(()));
        unit.commits()
    }));
    let outcomes = submit(&Trading::new(ctx), vec![buy(1, "NO", 600, 50)]).await;
    let placed = outcomes[0].as_ref().unwrap();
    assert_eq!((placed.order.filled, placed.order.remaining), (Shares::new(4), Shares::new(46)));
}
