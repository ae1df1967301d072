//! API keys: made, used, limited and revoked.

use bellwether_domain::api_key::{ApiKey, Day, KeyLimits, KeyName, KeySpending, KeyUsage, MOST_KEYS, Scope};
use bellwether_domain::audit_log::Actor;
use bellwether_domain::ids::{ApiKeyId, OrderId, UserId};
use bellwether_domain::market::MarketStatus;
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::order::{AmendOrder, Order};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{KeyOfUser, MockQueries, MockStore, MockTokenSigner, OpaqueToken};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::text::DisplayName;
use bellwether_domain::user::{Role, User, UserStatus};
use bellwether_usecases::api_keys::{NewKey, authenticate, create, recall, revoke, write_last_uses};
use bellwether_usecases::trading::{Command, Request, Trading};
use bellwether_usecases::transfers::{Pay, Payments};
use bellwether_usecases::{Answered, Caller, Context, Error};
use jiff::SignedDuration;
use uuid::Uuid;

use crate::mocks::{Unit, account, context, context_with, hash_of, market_id, now, statuses, store, user, user_id};
use crate::orders::{resting, unit_with};

pub fn key(n: u128, of: UserId, scopes: &[Scope]) -> ApiKey {
    ApiKey {
        id: ApiKeyId(Uuid::from_u128(0x7000_8000_0000_0000_0400 + n)),
        user: of,
        name: KeyName::parse("a bot").unwrap(),
        hash: hash_of("token"),
        scopes: scopes.iter().copied().collect(),
        limits: KeyLimits::default(),
        created_at: now(),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    }
}

fn wanted() -> NewKey {
    let scopes = [Scope::Read].into_iter().collect();
    NewKey {
        name: KeyName::parse("a bot").unwrap(),
        scopes,
        limits: KeyLimits::default(),
        expires_at: None,
        owner: None,
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("{other:?} is no refusal"),
    }
}

fn asking(store: MockStore, found: Option<KeyOfUser>) -> Context {
    let mut queries = MockQueries::new();
    queries.expect_api_key().withf(|hash| *hash == hash_of("token")).times(..=2).returning(move |_| Ok(found.clone()));
    queries.expect_markets_by_ids().returning(|_| Ok(Vec::new()));
    context_with(store, queries, Default::default(), MockTokenSigner::new())
}

fn token() -> OpaqueToken {
    OpaqueToken::new("token".to_owned())
}

/// Threat 71: of a key only its hash is kept.
#[tokio::test]
async fn a_new_key_is_told_once_and_kept_as_its_hash() {
    let mut queries = MockQueries::new();
    queries.expect_markets_by_ids().returning(|_| Ok(Vec::new()));
    let store = store(1, |_| {
        let mut unit = Unit::default();
        unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
        unit.api_keys.expect_of_user().returning(|_| Ok(Vec::new()));
        unit.unit
            .expect_write()
            .times(1)
            .withf(|changes| changes.new_api_keys.iter().map(|key| key.hash).eq([hash_of("token")]))
            .returning(|_| Ok(()));
        unit.commits()
    });
    let ctx = context_with(store, queries, Default::default(), MockTokenSigner::new());
    let (key, token) = create(&ctx, Caller::signed_in(user_id(1), Role::User), wanted()).await.unwrap();
    assert_eq!((token.expose(), key.user, key.hash), ("token", user_id(1), hash_of("token")));
}

#[tokio::test]
async fn a_bots_key_is_told_of_as_made_by_its_owner() {
    let mut queries = MockQueries::new();
    queries.expect_markets_by_ids().returning(|_| Ok(Vec::new()));
    let store = store(1, |_| {
        let mut unit = Unit::default();
        let bot = User::bot(user_id(2), user_id(1), DisplayName::parse("Robo").unwrap(), now());
        unit.users.expect_lock().returning(move |_| Ok(vec![bot.clone()]));
        unit.api_keys.expect_of_user().returning(|_| Ok(Vec::new()));
        unit.unit
            .expect_write()
            .times(1)
            .withf(|changes| {
                changes.new_api_keys.iter().map(|key| key.user).eq([user_id(2)])
                    && changes.events.iter().map(|event| event.actor).eq([Actor::User(user_id(1))])
            })
            .returning(|_| Ok(()));
        unit.commits()
    });
    let ctx = context_with(store, queries, Default::default(), MockTokenSigner::new());
    let wanted = NewKey { owner: Some(user_id(2)), ..wanted() };
    create(&ctx, Caller::signed_in(user_id(1), Role::User), wanted).await.unwrap();
}

#[tokio::test]
async fn one_key_more_than_allowed_is_refused_and_so_is_one_that_has_expired() {
    let mut queries = MockQueries::new();
    queries.expect_markets_by_ids().returning(|_| Ok(Vec::new()));
    let store = store(1, |_| {
        let mut unit = Unit::default();
        unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
        unit.api_keys.expect_of_user().returning(|of| Ok(vec![key(1, of, &[Scope::Read]); MOST_KEYS]));
        unit.rolls_back()
    });
    let ctx = context_with(store, queries, Default::default(), MockTokenSigner::new());
    let caller = Caller::signed_in(user_id(1), Role::User);
    assert_eq!(refusal(create(&ctx, caller, wanted()).await), Refusal::TooManyKeys { limit: MOST_KEYS });
    let expired = NewKey { expires_at: Some(now()), ..wanted() };
    assert_eq!(refusal(create(&ctx, caller, expired).await), Refusal::ExpiryInThePast);
}

#[tokio::test]
async fn a_key_is_good_while_it_lives_and_its_user_may_act() {
    let good = key(1, user_id(1), &[Scope::Read]);
    let revoked = ApiKey { revoked_at: Some(now()), ..good.clone() };
    let expired = ApiKey { expires_at: Some(now()), ..good.clone() };
    let lasting = ApiKey { expires_at: Some(now() + SignedDuration::from_secs(1)), ..good.clone() };
    for (key, status, is_good) in [
        (good.clone(), UserStatus::Active, true),
        (lasting, UserStatus::Active, true),
        (revoked, UserStatus::Active, false),
        (expired, UserStatus::Active, false),
        (good.clone(), UserStatus::Suspended, false),
        (good, UserStatus::Deactivated, false),
    ] {
        let ctx = asking(MockStore::new(), Some(KeyOfUser { key, role: Role::User, status, owner: None }));
        assert_eq!(recall(&ctx, &token()).await, None, "nothing is known yet");
        let caller = authenticate(&ctx, &token()).await.unwrap();
        assert_eq!(caller.map(|caller| caller.user), is_good.then_some(user_id(1)), "{status:?}");
        assert_eq!(recall(&ctx, &token()).await, Some(caller));
    }
    assert_eq!(authenticate(&asking(MockStore::new(), None), &token()).await.unwrap(), None);
}

/// A key never may more than its user, nor more than its scopes say.
#[tokio::test]
async fn a_key_may_what_its_scopes_and_its_users_role_allow_together() {
    let all = Scope::ALL;
    for (role, scopes, permission, is_own, may) in [
        (Role::User, &[Scope::Read][..], Permission::ReadOrders, true, true),
        (Role::User, &[Scope::Read], Permission::ReadOrders, false, false),
        (Role::User, &[Scope::Read], Permission::PlaceOrder, true, false),
        (Role::User, &[Scope::Trade], Permission::PlaceOrder, true, true),
        (Role::User, &[Scope::Trade], Permission::ReadOrders, true, false),
        (Role::User, &[Scope::Trade], Permission::Pay, true, false),
        (Role::User, &all, Permission::GrantCredits, false, false),
        (Role::Moderator, &all, Permission::HaltMarket, false, true),
        (Role::Moderator, &all, Permission::ListUsers, false, false),
        (Role::Admin, &all, Permission::ListUsers, false, true),
        (Role::Admin, &all, Permission::ReadOrders, false, true),
        // Without the scope `admin`, others' things are others'.
        (Role::Admin, &[Scope::Read], Permission::ReadOrders, false, false),
        (Role::Admin, &[Scope::Read], Permission::ListUsers, false, false),
        // What no key may.
        (Role::Admin, &all, Permission::MakeKey, true, false),
        (Role::Admin, &all, Permission::WriteUser, true, false),
        (Role::Admin, &all, Permission::EndSessions, true, false),
    ] {
        let found = KeyOfUser { key: key(1, user_id(1), scopes), role, status: UserStatus::Active, owner: None };
        let caller = authenticate(&asking(MockStore::new(), Some(found)), &token()).await.unwrap().unwrap();
        assert_eq!(caller.may(permission, is_own), may, "{role:?} {scopes:?} {permission:?} {is_own}");
    }
}

#[tokio::test]
async fn whoever_comes_with_the_key_of_a_bot_acts_for_its_owner() {
    for (owner, person) in [(None, user_id(1)), (Some((user_id(7), UserStatus::Active)), user_id(7))] {
        let key = key(1, user_id(1), &[Scope::Trade]);
        let found = KeyOfUser { key, role: Role::User, status: UserStatus::Active, owner };
        let caller = authenticate(&asking(MockStore::new(), Some(found)), &token()).await.unwrap().unwrap();
        assert_eq!((caller.user, caller.person()), (user_id(1), person));
    }
}

#[tokio::test]
async fn a_key_that_was_revoked_here_is_good_for_nothing_at_once() {
    let found = KeyOfUser {
        key: key(1, user_id(1), &[Scope::Read]),
        role: Role::User,
        status: UserStatus::Active,
        owner: None,
    };
    let store = store(1, |_| {
        let mut unit = Unit::default();
        unit.api_keys.expect_lock().returning(|_| Ok(Some(key(1, user_id(1), &[Scope::Read]))));
        unit.unit
            .expect_write()
            .times(1)
            .withf(|changes| changes.api_keys.iter().all(|key| key.revoked_at == Some(now())))
            .returning(|_| Ok(()));
        unit.commits()
    });
    let ctx = asking(store, Some(found));
    assert!(authenticate(&ctx, &token()).await.unwrap().is_some());
    revoke(&ctx, Caller::signed_in(user_id(1), Role::User), key(1, user_id(1), &[]).id).await.unwrap();
    assert_eq!(authenticate(&ctx, &token()).await.unwrap(), None);
}

/// Threat 13.
#[tokio::test]
async fn anothers_key_is_not_there_but_for_an_administrator() {
    let ctx = context(store(2, |_| {
        let mut unit = Unit::default();
        unit.api_keys.expect_lock().returning(|_| Ok(Some(key(1, user_id(1), &[Scope::Read]))));
        unit.users.expect_load().returning(|_| Ok(vec![user(1)]));
        unit.unit.expect_write().returning(|_| Ok(()));
        unit.unit.expect_commit().returning(|| Ok(()));
        unit.unit.expect_rollback().returning(|| Ok(()));
        unit
    }));
    let id = key(1, user_id(1), &[]).id;
    for role in [Role::User, Role::Admin] {
        let revoked = revoke(&ctx, Caller::signed_in(user_id(2), role), id).await;
        match role {
            Role::Admin => revoked.unwrap(),
            _ => assert_eq!(refusal(revoked), Refusal::ApiKeyNotFound),
        }
    }
}

#[tokio::test]
async fn a_use_is_written_later_and_once() {
    let found = KeyOfUser {
        key: key(1, user_id(1), &[Scope::Read]),
        role: Role::User,
        status: UserStatus::Active,
        owner: None,
    };
    let store = store(1, |_| {
        let mut unit = Unit::default();
        let id = key(1, user_id(1), &[]).id;
        unit.unit
            .expect_write()
            .times(1)
            .withf(move |changes| changes.api_key_uses == [(id, now())])
            .returning(|_| Ok(()));
        unit.commits()
    });
    let ctx = asking(store, Some(found));
    for _ in 0..3 {
        authenticate(&ctx, &token()).await.unwrap();
        write_last_uses(&ctx).await.unwrap();
    }
}

/// Else a key that is kept to some markets would tell which ids are orders, and where.
#[tokio::test]
async fn a_key_is_told_the_same_of_anothers_order_as_of_none() {
    let theirs = resting(50, 300, 5);
    let own = Order { user: user_id(1), ..resting(51, 300, 5) };
    let (found, own_id, their_id) = (vec![theirs.clone(), own.clone()], own.id, theirs.id);
    let ctx = context(store(1, move |_| {
        let (mut unit, found) = (unit_with(Vec::new(), MarketStatus::Open), found.clone());
        unit.orders
            .expect_load()
            .returning(move |ids| Ok(found.iter().filter(|order| ids.contains(&order.id)).cloned().collect()));
        unit.api_keys.expect_usages().returning(|_| {
            let mut key = key(1, user_id(1), &[Scope::Trade]);
            key.limits.markets = vec![market_id(2)];
            let spending = KeySpending { key: key.id, day: Day::of(now()), spent: Credits::ZERO };
            Ok(vec![KeyUsage { key, spending, reserved: Credits::ZERO, open_orders: 0 }])
        });
        unit.commits()
    }));
    let user = user_id(1);
    let amend = AmendOrder { order: their_id, user, price: None, quantity: Some(Shares::new(4)), expires_at: None };
    let commands = vec![
        Command::Cancel { order: their_id, user },
        Command::Amend(amend),
        Command::Cancel { order: OrderId(Uuid::from_u128(52)), user },
        Command::Cancel { order: own_id, user },
    ];
    let key = Some(key(1, user_id(1), &[]).id);
    let answered = Trading::new(ctx).submit(Request { commands, keyed: None, key, person: user }).await.unwrap();
    let Answered::Fresh(outcomes) = answered else { panic!("nothing was kept") };
    let refusals: Vec<Refusal> = outcomes.into_iter().filter_map(Result::err).collect();
    let not_found = Refusal::OrderNotFound;
    assert_eq!(refusals, [not_found.clone(), not_found.clone(), not_found, Refusal::KeyNotForMarket]);
}

/// Payments of one group are counted one after the other.
#[tokio::test]
async fn payments_by_a_key_stop_where_its_day_is_spent() {
    let ctx = context(store(2, |_| {
        let mut unit = Unit::default();
        unit.users.expect_statuses().returning(|_| Ok(statuses([user(1), user(2)])));
        unit.accounts.expect_lock().returning(|_| Ok(vec![account(1, 10_000), account(2, 0)]));
        unit.api_keys.expect_usages().returning(|ids| {
            let mut key = key(1, user_id(1), &[Scope::Transfer]);
            key.limits.spend_per_day = Some(Credits::from_mills(1000));
            let day = Day::of(now());
            let spending = KeySpending { key: ids[0], day, spent: Credits::from_mills(300) };
            Ok(vec![KeyUsage { key, spending, reserved: Credits::from_mills(200), open_orders: 1 }])
        });
        unit.unit
            .expect_write()
            .withf(|changes| changes.key_spending.iter().map(|s| s.spent.mills()).eq([800]))
            .returning(|_| Ok(()));
        unit.unit.expect_commit().returning(|| Ok(()));
        unit.unit.expect_rollback().returning(|| Ok(()));
        unit
    }));
    let pay = |mills| Pay {
        from: user_id(1),
        to: user_id(2),
        amount: Credits::from_mills(mills),
        memo: None,
        key: Some(key(1, user_id(1), &[]).id),
        person: user_id(1),
    };
    let payments = Payments::new(ctx);
    let (limit, required, available) = (Credits::from_mills(1000), Credits::from_mills(501), Credits::from_mills(500));
    let refused = payments.pay(pay(501), None).await;
    assert_eq!(refusal(refused), Refusal::KeySpendingLimit { limit, required, available });
    payments.pay(pay(500), None).await.unwrap();
}
