//! What others can have set up to get in without the password, and when it ends.

use std::sync::Arc;

use bellwether_domain::api_key::Scope;
use bellwether_domain::audit_log::{Action, Actor};
use bellwether_domain::mail::{MailToken, TokenPurpose};
use bellwether_domain::ports::{
    Changes, KeyOfUser, MockPasswordHasher, MockQueries, MockStore, MockTokenSigner, OpaqueToken,
};
use bellwether_domain::session::Lifetime;
use bellwether_domain::text::DisplayName;
use bellwether_domain::user::{PasswordHash, Role, User, UserStatus};
use bellwether_domain::webhook::{Webhook, WebhookState};
use bellwether_usecases::recovery::reset_password;
use bellwether_usecases::users::{Password, SignUp, UserPatch, create_admin, update_user};
use bellwether_usecases::{Caller, Context, api_keys};
use jiff::SignedDuration;

use crate::api_keys::key;
use crate::mocks::{Unit, context_with, hash_of, now, session, store, user, user_id};
use crate::webhooks::hook;

fn token() -> OpaqueToken {
    OpaqueToken::new("token".to_owned())
}

fn mail_token() -> MailToken {
    let lifetime = Lifetime { from: now(), until: now() + SignedDuration::from_hours(1) };
    let (hash, sent_to) = (hash_of("mailed"), "user1@example.org".to_owned());
    MailToken { hash, user: user_id(1), purpose: TokenPurpose::ResetPassword, sent_to, lifetime }
}

fn gone() -> Webhook {
    Webhook { state: WebhookState::Gone, ..hook(3) }
}

/// A unit in which user 1 has a session, a key, a webhook that is told and one that is gone, and bot 2, which has a key too.
fn unit() -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
    unit.users
        .expect_lock_bots_of()
        .returning(|owner| Ok(vec![User::bot(user_id(2), owner, DisplayName::parse("Robo").unwrap(), now())]));
    unit.sessions.expect_lock_of_user().returning(|_| Ok(vec![session(1, 1, 0)]));
    unit.mail_tokens.expect_of_user().returning(|_| Ok(vec![mail_token()]));
    unit.api_keys.expect_of_user().returning(|of| {
        let number = if of == user_id(1) { 1 } else { 2 };
        Ok(vec![key(number, of, &[Scope::Admin])])
    });
    unit.webhooks.expect_of_user().returning(|_| Ok(vec![hook(1), gone()]));
    unit.webhooks.expect_lock().returning(|id| Ok([hook(1), gone()].into_iter().find(|webhook| webhook.id == id)));
    unit
}

fn ends_all(changes: &Changes, by: Actor) -> bool {
    let revoked = changes.api_keys.iter().map(|key| (key.user, key.revoked_at));
    let disabled = changes.webhooks.iter().map(|webhook| (webhook.id, webhook.state, webhook.version));
    let told = changes.events.iter().filter(|event| event.action == Action::KeyRevoked).map(|event| event.actor);
    changes.sessions.len() == 1
        && revoked.eq([1, 2].map(|n| (user_id(n), Some(now()))))
        && disabled.eq([(hook(1).id, WebhookState::Disabled, hook(1).version + 1)])
        && told.eq([by, by])
}

/// A context in which user 1 has that store, and a key that is remembered as good.
async fn ctx(store: MockStore) -> Context {
    let mut queries = MockQueries::new();
    queries.expect_user_by_email().returning(|_| Ok(Some(user(1))));
    queries.expect_user().returning(|_| Ok(Some(user(1))));
    queries.expect_mail_token().returning(|_| Ok(Some(mail_token())));
    let found = KeyOfUser {
        key: key(1, user_id(1), &[Scope::Admin]),
        role: Role::User,
        status: UserStatus::Active,
        owner: None,
    };
    queries.expect_api_key().times(1).returning(move |_| Ok(Some(found.clone())));
    let mut hasher = MockPasswordHasher::new();
    hasher.expect_hash().returning(|_| Ok(PasswordHash::new("new hash".to_owned())));
    hasher.expect_verify().returning(|_, _| Ok(true));
    let mut ctx = context_with(store, queries, hasher, MockTokenSigner::new());
    assert!(api_keys::authenticate(&ctx, &token()).await.unwrap().is_some());
    // From now on the store would say that it was revoked.
    let mut queries = MockQueries::new();
    queries.expect_user_by_email().returning(|_| Ok(Some(user(1))));
    queries.expect_user().returning(|_| Ok(Some(user(1))));
    queries.expect_mail_token().returning(|_| Ok(Some(mail_token())));
    queries.expect_api_key().returning(|_| Ok(None));
    ctx.queries = Arc::new(queries);
    ctx
}

fn writes(is_right: impl Fn(&Changes) -> bool + Send + Sync + Clone + 'static) -> MockStore {
    store(1, move |_| {
        let (mut unit, is_right) = (unit(), is_right.clone());
        unit.unit.expect_write().times(1).withf(move |changes| is_right(changes)).returning(|_| Ok(()));
        unit.commits()
    })
}

/// Whoever signed up with the address before may have been a stranger.
#[tokio::test]
async fn who_is_made_an_administrator_by_the_command_line_keeps_no_key_of_before() {
    let ctx = ctx(writes(|changes| {
        ends_all(changes, Actor::System) && changes.users.iter().all(|user| user.role == Role::Admin)
    }))
    .await;
    let request = SignUp {
        email: user(1).email.unwrap(),
        display_name: user(1).display_name,
        password: Password("a pass phrase".to_owned()),
    };
    assert!(create_admin(&ctx, request).await.unwrap().is_taken_over);
    assert_eq!(api_keys::authenticate(&ctx, &token()).await.unwrap(), None);
}

/// Threat 9: a thief may have made them.
#[tokio::test]
async fn a_password_that_is_set_by_mail_ends_keys_and_webhooks() {
    let ctx = ctx(writes(|changes| ends_all(changes, Actor::User(user_id(1))))).await;
    let mailed = OpaqueToken::new("mailed".to_owned());
    reset_password(&ctx, &mailed, &Password("a pass phrase".to_owned())).await.unwrap();
    assert_eq!(api_keys::authenticate(&ctx, &token()).await.unwrap(), None);
}

#[tokio::test]
async fn a_password_that_is_changed_by_who_knows_it_leaves_keys_and_webhooks() {
    let ctx = ctx(writes(|changes| {
        changes.sessions.len() == 1 && changes.api_keys.is_empty() && changes.webhooks.is_empty()
    }))
    .await;
    let password = Some(Password("a pass phrase".to_owned()));
    let patch = UserPatch { new_password: password.clone(), current_password: password, ..UserPatch::default() };
    update_user(&ctx, Caller::signed_in(user_id(1), Role::User), user_id(1), patch, None).await.unwrap();
    assert!(api_keys::authenticate(&ctx, &token()).await.unwrap().is_some());
}
