//! Payments and grants.

use bellwether_domain::ids::TransferId;
use bellwether_domain::ledger::{self, Posting, Reference, Transfer, TransferKind};
use bellwether_domain::money::Credits;
use bellwether_domain::ports::{AnswerKey, KeptAnswer, MockQueries, MockStore, StoreError};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::text::DisplayName;
use bellwether_domain::user::{Role, User, UserStatus};
use bellwether_usecases::transfers::{Pay, Payments, get_transfer, grant};
use bellwether_usecases::{Answered, Caller, Error, Keyed, Rendered};
use uuid::Uuid;

use crate::mocks::{Unit, account, context, now, statuses, store, user, user_id, yielding};

fn request(mills: i64) -> Pay {
    Pay {
        from: user_id(1),
        to: user_id(2),
        amount: Credits::from_mills(mills),
        memo: Some("lunch".to_owned()),
        key: None,
        person: user_id(1),
    }
}

fn keyed(fingerprint: u8) -> Keyed<Transfer> {
    let key = AnswerKey { user: user_id(1), route: "POST /api/v1/transfers".to_owned(), key: "k-1".to_owned() };
    let render = |transfer: &Transfer| Rendered { status: 201, location: None, body: transfer.amount.to_string() };
    Keyed { key, fingerprint: [fingerprint; 32], render }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not a refusal: {other:?}"),
    }
}

#[tokio::test]
async fn a_payment_writes_both_accounts_the_transfer_and_the_answer_at_once() {
    let ctx = context(store(1, |_| {
        let mut unit = Unit::default();
        unit.answers.expect_find().returning(|_| Ok(Vec::new()));
        unit.users.expect_statuses().returning(|_| Ok(statuses([user(1), user(2)])));
        unit.accounts
            .expect_lock()
            .withf(|ids| ids.is_sorted() && ids.len() == 2)
            .returning(|_| Ok(vec![account(1, 1000), account(2, 10)]));
        unit.unit
            .expect_write()
            .times(1)
            .withf(|changes| {
                let balances: Vec<i64> = changes.accounts.iter().map(|a| a.balance.mills()).collect();
                balances == [400, 610] && changes.transfers.len() == 1 && changes.answers[0].body == "0.600"
            })
            .returning(|_| Ok(()));
        unit.commits()
    }));
    let made = Payments::new(ctx.clone()).pay(request(600), Some(keyed(1))).await.unwrap();
    assert!(matches!(made, Answered::Fresh(t) if t.memo.as_deref() == Some("lunch")));
}

/// Threat 31.
#[tokio::test]
async fn the_same_key_and_request_gets_the_kept_answer_and_another_request_is_refused() {
    let unit = |_| {
        let mut unit = Unit::default();
        unit.answers.expect_find().returning(|keys| {
            let (key, body) = (keys[0].clone(), "0.600".to_owned());
            Ok(vec![KeptAnswer { key, fingerprint: [1; 32], status: 201, location: None, body, created_at: now() }])
        });
        unit.users.expect_statuses().returning(|_| Ok(statuses([user(1), user(2)])));
        unit.accounts.expect_lock().returning(|_| Ok(vec![account(1, 1000), account(2, 0)]));
        unit
    };
    // Committed, though nothing is written: what is repeated may not be on the disk yet.
    let replayed = Payments::new(context(store(1, move |run| unit(run).commits())))
        .pay(request(600), Some(keyed(1)))
        .await
        .unwrap();
    assert!(matches!(replayed, Answered::Replayed(kept) if kept.body == "0.600"));
    let refused =
        Payments::new(context(store(1, move |run| unit(run).commits()))).pay(request(601), Some(keyed(2))).await;
    assert_eq!(refusal(refused), Refusal::IdempotencyMismatch);
}

#[tokio::test]
async fn a_payment_to_oneself_does_not_even_begin() {
    let request = Pay { to: user_id(1), ..request(1) };
    assert_eq!(refusal(Payments::new(context(MockStore::new())).pay(request, None).await), Refusal::TransferToSelf);
}

#[tokio::test]
async fn too_little_money_is_refused_with_what_is_available() {
    let ctx = context(store(1, |_| {
        let mut unit = Unit::default();
        unit.users.expect_statuses().returning(|_| Ok(statuses([user(1), user(2)])));
        unit.accounts.expect_lock().returning(|_| {
            let mut payer = account(1, 1000);
            payer.held = Credits::from_mills(300);
            Ok(vec![payer, account(2, 0)])
        });
        unit.commits()
    }));
    let (required, available) = (Credits::from_mills(701), Credits::from_mills(700));
    assert_eq!(
        refusal(Payments::new(ctx.clone()).pay(request(701), None).await),
        Refusal::InsufficientFunds { required, available }
    );
}

/// Payments that wait while one is executed share the next unit of work, and one that is refused
/// does not disturb its neighbours, who see what was paid before them.
#[tokio::test]
async fn payments_that_wait_at_the_same_time_share_a_unit_of_work() {
    let ctx = yielding(store(2, |run| {
        let mut unit = Unit::default();
        unit.users.expect_statuses().returning(|_| Ok(statuses([user(1), user(2)])));
        unit.accounts.expect_lock().times(1).returning(|_| Ok(vec![account(1, 1000), account(2, 0)]));
        let (payments, balances) = if run == 0 { (1, [0, 1000]) } else { (2, [100, 900]) };
        unit.unit
            .expect_write()
            .times(1)
            .withf(move |changes| {
                let now: Vec<i64> = changes.accounts.iter().map(|a| a.balance.mills()).collect();
                changes.transfers.len() == payments && now == balances
            })
            .returning(|_| Ok(()));
        unit.commits()
    }));
    let payments = Payments::new(ctx);
    let pay = |amount| payments.pay(request(amount), None);
    let (first, second, refused, last) = tokio::join!(pay(1000), pay(600), pay(500), pay(300));
    assert!(first.is_ok() && second.is_ok() && last.is_ok());
    let (required, available) = (Credits::from_mills(500), Credits::from_mills(400));
    assert_eq!(refusal(refused), Refusal::InsufficientFunds { required, available });
}

/// One who sends more than the rest of the world cannot keep the rest of the world out.
#[tokio::test]
async fn a_user_with_very_many_payments_waiting_is_turned_away_and_nobody_else() {
    let ctx = yielding(MockStore::new());
    let payments = Payments::new(ctx);
    let mut waiting: Vec<_> = (0..300).map(|_| Box::pin(payments.pay(request(1), None))).collect();
    let mut turned_away = 0;
    for payment in &mut waiting {
        if let Some(answer) = futures_util::FutureExt::now_or_never(payment) {
            assert!(matches!(answer, Err(Error::Store(StoreError::Unavailable(_)))));
            turned_away += 1;
        }
    }
    // One is executed, and so many wait.
    assert_eq!(turned_away, 300 - 257);
    let other = Pay { from: user_id(3), person: user_id(3), ..request(1) };
    let mut other = Box::pin(payments.pay(other, None));
    assert!(futures_util::FutureExt::now_or_never(&mut other).is_none(), "another user waits as usual");
}

#[tokio::test]
async fn neither_a_suspended_payer_nor_a_deleted_payee_takes_part() {
    for (payer, payee, expected) in [
        (UserStatus::Suspended, UserStatus::Active, Refusal::UserInactive),
        (UserStatus::Active, UserStatus::Deactivated, Refusal::UserNotFound),
    ] {
        let ctx = context(store(1, move |_| {
            let mut unit = Unit::default();
            unit.users.expect_statuses().returning(move |_| Ok(vec![(user_id(1), payer), (user_id(2), payee)]));
            unit.accounts.expect_lock().returning(|_| Ok(vec![account(1, 1000), account(2, 0)]));
            unit.commits()
        }));
        assert_eq!(refusal(Payments::new(ctx.clone()).pay(request(1), None).await), expected);
    }
}

#[tokio::test]
async fn only_administrators_grant_credits() {
    for role in [Role::User, Role::Moderator] {
        let caller = Caller::signed_in(user_id(1), role);
        let refused = grant(&context(MockStore::new()), caller, user_id(2), Credits::from_mills(1), None, None).await;
        assert!(matches!(refusal(refused), Refusal::Forbidden(_)));
    }
}

/// A transfer between these users.
fn made(from: u128, to: u128) -> Transfer {
    let (mut payer, mut payee) = (account(from, 1000), account(to, 0));
    let posting = Posting {
        id: TransferId(Uuid::from_u128(1)),
        amount: Credits::from_mills(500),
        kind: TransferKind::Payment,
        reference: Reference::default(),
        memo: None,
    };
    ledger::transfer(&mut payer, &mut payee, posting, now()).unwrap()
}

/// User 2 is a bot of user 1.
#[tokio::test]
async fn a_transfer_is_seen_by_who_paid_or_got_it_and_by_the_owner_of_a_bot_that_did() {
    for (transfer, caller, is_seen) in [
        (made(2, 3), 1, true),
        (made(3, 2), 1, true),
        (made(2, 3), 2, true),
        (made(2, 3), 3, true),
        (made(2, 3), 4, false),
    ] {
        let mut queries = MockQueries::new();
        queries.expect_transfer().returning(move |_| Ok(Some(transfer.clone())));
        queries.expect_account().returning(|id| Ok([2, 3].map(|n| account(n, 0)).into_iter().find(|a| a.id == id)));
        queries.expect_user().returning(|id| {
            let robo = User::bot(user_id(2), user_id(1), DisplayName::parse("Robo").unwrap(), now());
            Ok([robo, user(3)].into_iter().find(|user| user.id == id))
        });
        let mut ctx = context(MockStore::new());
        ctx.queries = std::sync::Arc::new(queries);
        let caller = Caller::signed_in(user_id(caller), Role::User);
        match get_transfer(&ctx, caller, TransferId(Uuid::from_u128(1))).await {
            Ok(_) => assert!(is_seen, "a stranger sees it"),
            refused => assert!(!is_seen && refusal(refused) == Refusal::TransferNotFound),
        }
    }
}

#[tokio::test]
async fn old_answers_are_forgotten_a_bounded_number_at_a_time() {
    let ctx = context(store(2, |run| {
        let mut unit = Unit::default();
        let day_ago = now() - jiff::SignedDuration::from_hours(24);
        let found = if run == 0 { 1000 } else { 7 };
        unit.answers.expect_forget_before().withf(move |before, _| *before == day_ago).returning(move |_, _| Ok(found));
        unit.commits()
    }));
    assert_eq!(bellwether_usecases::idempotency::forget_old_answers(&ctx).await.unwrap(), 1007);
}
