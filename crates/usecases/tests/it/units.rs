//! Begin, commit, roll back, run again.

use bellwether_domain::money::Credits;
use bellwether_domain::ports::{StoreError, Unique};
use bellwether_usecases::Error;
use bellwether_usecases::transfers::{Pay, Payments};

use crate::mocks::{Unit, account, conflict, context, statuses, store, user, user_id};

fn request() -> Pay {
    Pay {
        from: user_id(1),
        to: user_id(2),
        amount: Credits::from_mills(500),
        memo: None,
        key: None,
        person: user_id(1),
    }
}

/// A unit in which a payment can be made.
fn payable() -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_statuses().returning(|_| Ok(statuses([user(1), user(2)])));
    unit.accounts.expect_lock().returning(|_| Ok(vec![account(1, 1000), account(2, 0)]));
    unit
}

/// Threat 30: a conflict means that nothing was done, so the unit runs again, from its start.
#[tokio::test]
async fn runs_again_after_a_conflict_until_it_succeeds() {
    let ctx = context(store(3, |run| {
        let mut unit = payable();
        if run < 2 {
            unit.unit.expect_write().returning(|_| Err(conflict()));
            unit.rolls_back()
        } else {
            unit.unit.expect_write().times(1).returning(|_| Ok(()));
            unit.commits()
        }
    }));
    Payments::new(ctx.clone()).pay(request(), None).await.unwrap();
}

#[tokio::test]
async fn gives_up_after_a_bounded_number_of_conflicts() {
    let ctx = context(store(12, |_| {
        let mut unit = payable();
        unit.unit.expect_write().returning(|_| Err(conflict()));
        unit.rolls_back()
    }));
    let error = Payments::new(ctx.clone()).pay(request(), None).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Conflict(_))), "{error:?}");
}

/// Threat 64: after a connection that was lost in the commit nobody knows whether it was done, so
/// it is not done again.
#[tokio::test]
async fn never_runs_again_when_the_outcome_is_unknown() {
    let ctx = context(store(1, |_| {
        let mut unit = payable();
        unit.unit.expect_write().times(1).returning(|_| Ok(()));
        unit.unit.expect_commit().times(1).returning(|| Err(StoreError::OutcomeUnknown("cut".into())));
        unit
    }));
    let error = Payments::new(ctx.clone()).pay(request(), None).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::OutcomeUnknown(_))), "{error:?}");
}

/// Threat 31: the racing request won the key, so its answer is found on the next run.
#[tokio::test]
async fn runs_again_when_a_racing_request_took_the_idempotency_key() {
    let ctx = context(store(2, |run| {
        let mut unit = payable();
        if run == 0 {
            unit.unit.expect_write().returning(|_| Err(StoreError::Duplicate(Unique::IdempotencyKey)));
            unit.rolls_back()
        } else {
            unit.unit.expect_write().times(1).returning(|_| Ok(()));
            unit.commits()
        }
    }));
    Payments::new(ctx.clone()).pay(request(), None).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_down_is_reported_and_not_hammered() {
    let mut down = bellwether_domain::ports::MockStore::new();
    down.expect_begin().times(1).returning(|| Err(StoreError::Unavailable("refused".into())));
    let error = Payments::new(context(down)).pay(request(), None).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Unavailable(_))), "{error:?}");
}
