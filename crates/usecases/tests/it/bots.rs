//! Bots: how many, and with whom they go.

use bellwether_domain::ids::UserId;
use bellwether_domain::ports::{MockQueries, StoreError};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::text::DisplayName;
use bellwether_domain::user::{MOST_BOTS, Role, User, UserStatus};
use bellwether_usecases::users::deactivate_user;
use bellwether_usecases::{Answered, Caller, Error, bots};

use crate::mocks::{Unit, context, now, store, user, user_id};

fn bot(n: u128, owner: UserId) -> User {
    User::bot(user_id(n), owner, DisplayName::parse("Robo").unwrap(), now())
}

fn unit_with(bots: usize) -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
    unit.users.expect_lock_bots_of().returning(move |owner| Ok(vec![bot(2, owner); bots]));
    unit
}

#[tokio::test]
async fn a_bot_has_an_empty_account_and_nothing_to_sign_in_with() {
    let ctx = context(store(1, |_| {
        let mut unit = unit_with(MOST_BOTS - 1);
        unit.unit
            .expect_write()
            .times(1)
            .withf(|changes| {
                let made = changes
                    .new_users
                    .iter()
                    .all(|bot| bot.owner == Some(user_id(1)) && bot.email.is_none() && bot.password_hash.is_none());
                made && changes.new_accounts.len() == 1 && changes.transfers.is_empty() && changes.new_jobs.is_empty()
            })
            .returning(|_| Ok(()));
        unit.commits()
    }));
    let name = DisplayName::parse("Robo").unwrap();
    let made = bots::create(&ctx, Caller::signed_in(user_id(1), Role::User), name, None).await.unwrap();
    assert!(matches!(made, Answered::Fresh(bot) if bot.role == Role::User && bot.belongs_to(user_id(1))));
}

#[tokio::test]
async fn one_bot_more_than_allowed_is_refused() {
    let ctx = context(store(1, |_| unit_with(MOST_BOTS).rolls_back()));
    let name = DisplayName::parse("Robo").unwrap();
    let refused = bots::create(&ctx, Caller::signed_in(user_id(1), Role::Admin), name, None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::TooManyBots { limit: MOST_BOTS }))));
}

#[tokio::test]
async fn who_is_deleted_takes_its_bots_along_in_the_same_write() {
    let mut ctx = context(store(1, |_| {
        let mut unit = unit_with(2);
        unit.users.expect_lock_admins().returning(|| Ok(Vec::new()));
        unit.sessions.expect_lock_of_user().returning(|_| Ok(Vec::new()));
        unit.mail_tokens.expect_of_user().returning(|_| Ok(Vec::new()));
        unit.unit
            .expect_write()
            .times(1)
            .withf(|changes| {
                let all_gone = changes.users.iter().all(|user| user.status == UserStatus::Deactivated);
                all_gone && changes.users.len() == 3
            })
            .returning(|_| Ok(()));
        unit.commits()
    }));
    // Orders that cannot be cancelled now are left to the next tick.
    let mut queries = MockQueries::new();
    queries.expect_orders().times(3).returning(|_, _| Err(StoreError::Unavailable("of no matter here".into())));
    ctx.queries = std::sync::Arc::new(queries);
    deactivate_user(&ctx, Caller::signed_in(user_id(1), Role::User), user_id(1), None).await.unwrap();
}
