//! Guessing within limits.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bellwether_domain::api_key::{KeyLimits, KeyName, Scope};
use bellwether_domain::audit_log::FailedSignIns;
use bellwether_domain::ids::{ApiKeyId, UserId};
use bellwether_domain::mail::{MailToken, TokenPurpose};
use bellwether_domain::market::FeeRecipient;
use bellwether_domain::money::FeeRate;
use bellwether_domain::ports::{
    AnswerKey, KeptAnswer, MockPasswordHasher, MockQueries, MockStore, MockTokenSigner, OpaqueToken, PasswordError,
    PasswordHasher, StoreError, Unique,
};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::session::{Device, Lifetime};
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::user::{PasswordHash, Role, User};
use bellwether_usecases::api_keys::NewKey;
use bellwether_usecases::limits::{
    self, AddressBlock, create_api_key, create_bot, forgot_password, log_in, open_market, refresh, reset_password,
    send_verification, sign_up, update_user, verify_email,
};
use bellwether_usecases::markets::OpenMarket;
use bellwether_usecases::users::{Password, SignUp, UserPatch};
use bellwether_usecases::{Answered, Caller, CallerKey, Context, Error, Keyed, Rendered};
use futures_util::future::join_all;
use jiff::SignedDuration;
use uuid::Uuid;

use crate::mocks::{Unit, context_with, hash_of, now, session, user, user_id};

/// The address of a number.
fn at(number: u32) -> AddressBlock {
    limits::Limits::default().block(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into())
}

/// Takes its time, as bcrypt does. Two passwords are right, one of which takes longer, and one finds it too busy.
#[derive(Default)]
struct Hasher {
    checked: AtomicU32,
}

#[async_trait]
impl PasswordHasher for Hasher {
    async fn hash(&self, _: &str) -> Result<PasswordHash, PasswordError> {
        Ok(PasswordHash::new("hashed".to_owned()))
    }
    async fn verify<'a>(&self, password: &str, _: Option<&'a PasswordHash>) -> Result<bool, PasswordError> {
        for _ in 0..if password == "slow" { 2000 } else { 20 } {
            tokio::task::yield_now().await;
        }
        if password == "busy" {
            return Err(PasswordError::Busy);
        }
        self.checked.fetch_add(1, Ordering::SeqCst);
        Ok(matches!(password, "right" | "slow"))
    }
    fn is_outdated(&self, _: &PasswordHash) -> bool {
        false
    }
}

/// A unit in which anything can be done to user 1.
fn unit() -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
    unit.users.expect_load().returning(|_| Ok(vec![user(1)]));
    unit.sessions.expect_lock_of_user().returning(|_| Ok(Vec::new()));
    unit.mail_tokens.expect_of_user().returning(|_| Ok(vec![reset_token()]));
    unit.failures.expect_count().returning(|key, at, _| Ok(FailedSignIns { key: key.clone(), count: 2, last_at: at }));
    unit.unit.expect_write().returning(|_| Ok(()));
    unit.unit.expect_commit().returning(|| Ok(()));
    unit.unit.expect_rollback().returning(|| Ok(()));
    unit
}

fn reset_token() -> MailToken {
    let lifetime = Lifetime { from: now(), until: now() + SignedDuration::from_hours(1) };
    let (hash, sent_to) = (hash_of("good"), "user1@example.org".to_owned());
    MailToken { hash, user: user_id(1), purpose: TokenPurpose::ResetPassword, sent_to, lifetime }
}

/// A context in which user 1 exists, and is signed in at address 1.
fn context() -> (Context, Arc<Hasher>) {
    let mut queries = MockQueries::new();
    let find = |key: &str| Ok((key == "user1@example.org").then(|| user(1)));
    queries.expect_user_by_email().returning(find);
    queries.expect_user().returning(|_| Ok(Some(user(1))));
    queries.expect_mail_token().returning(|hash| Ok(Some(reset_token()).filter(|token| token.hash == hash)));
    queries.expect_sessions_of().returning(|_, _, _| {
        let mut session = session(1, 1, 0);
        session.device.address = Some("10.0.0.1".to_owned());
        Ok(vec![session])
    });
    let mut store = MockStore::new();
    store.expect_begin().returning(|| Ok(unit().boxed()));
    let mut signer = MockTokenSigner::new();
    signer.expect_sign().returning(|_, _| Ok("access".to_owned()));
    let (mut ctx, hasher) =
        (context_with(store, queries, MockPasswordHasher::new(), signer), Arc::new(Hasher::default()));
    ctx.hasher = hasher.clone();
    (ctx, hasher)
}

/// Tries to sign in; the name of what came of it.
async fn try_to(ctx: &Context, from: AddressBlock, email: &str, password: &str) -> &'static str {
    name_of(&log_in(ctx, from, email, &Password(password.to_owned()), Device::default()).await)
}

fn name_of<T>(result: &Result<T, Error>) -> &'static str {
    match result {
        Ok(_) => "done",
        Err(Error::Limited(exceeded)) => exceeded.rule.name,
        Err(Error::Refused(Refusal::BadCredentials)) => "wrong",
        Err(Error::Refused(Refusal::EmailTaken)) => "taken",
        Err(Error::Refused(Refusal::BadMailToken | Refusal::BadRefreshToken)) => "bad token",
        Err(Error::Password(PasswordError::Busy)) => "busy",
        Err(_) => "failed",
    }
}

const ANN: &str = "user1@example.org";

/// Threat 12.
#[tokio::test]
async fn after_five_failures_not_even_the_right_password_is_looked_at() {
    let (ctx, hasher) = context();
    for _ in 0..5 {
        assert_eq!(try_to(&ctx, at(2), ANN, "guess").await, "wrong");
    }
    assert_eq!(try_to(&ctx, at(2), ANN, "right").await, "login_address");
    assert_eq!(hasher.checked.load(Ordering::SeqCst), 5);
    assert_eq!(try_to(&ctx, at(3), ANN, "right").await, "done", "elsewhere the owner signs in");
}

/// Threat 12: the limit of an address may be higher than that of one account there.
#[tokio::test]
async fn one_account_is_limited_at_one_address_however_it_is_written() {
    let (mut ctx, _) = context();
    ctx.policy.limits.login_address.quota.limit = 100;
    for email in [ANN, "USER1@example.org", " user1@EXAMPLE.org ", "user1@ＥＸＡＭＰＬＥ.org", ANN] {
        assert_eq!(try_to(&ctx, at(2), email, "guess").await, "wrong", "{email}");
    }
    assert_eq!(try_to(&ctx, at(2), ANN, "right").await, "login");
    assert_eq!(try_to(&ctx, at(2), "another@example.org", "guess").await, "wrong");
}

/// Threat 1: an account that there is not is limited like any other.
#[tokio::test]
async fn an_unknown_account_is_limited_as_a_known_one_is() {
    for email in ["nobody@example.org", "no address at all"] {
        let (ctx, _) = context();
        for _ in 0..5 {
            assert_eq!(try_to(&ctx, at(2), email, "guess").await, "wrong");
        }
        assert_eq!(try_to(&ctx, at(2), email, "guess").await, "login_address");
    }
}

#[tokio::test]
async fn successes_and_what_told_nothing_count_as_no_guesses() {
    let (ctx, _) = context();
    for _ in 0..20 {
        assert_eq!(try_to(&ctx, at(2), ANN, "right").await, "done");
        assert_eq!(try_to(&ctx, at(2), ANN, "busy").await, "busy");
    }
    for _ in 0..5 {
        assert_eq!(try_to(&ctx, at(2), ANN, "guess").await, "wrong");
    }
}

/// Threat 12: many guesses at the same moment get no more answers than one after the other.
#[tokio::test]
async fn of_many_guesses_at_once_only_as_many_are_looked_at_as_may_fail() {
    let (ctx, hasher) = context();
    let names = join_all((0..40).map(|_| try_to(&ctx, at(2), ANN, "guess"))).await;
    let count = |name| names.iter().filter(|other| **other == name).count();
    assert_eq!((count("wrong"), count("login_address")), (5, 35), "{names:?}");
    assert_eq!(hasher.checked.load(Ordering::SeqCst), 5);
}

/// People behind one address sign in at the same moment.
#[tokio::test]
async fn many_right_passwords_at_once_are_all_let_in() {
    let (mut ctx, _) = context();
    ctx.policy.limits.password.quota.limit = 60;
    let names = join_all((0..60).map(|_| try_to(&ctx, at(2), ANN, "right"))).await;
    assert_eq!(names, ["done"; 60]);
}

#[tokio::test]
async fn a_crowd_that_would_wait_too_long_is_told_to_come_back() {
    let (mut ctx, _) = context();
    (ctx.policy.limits.password.quota.limit, ctx.policy.limits.password_address.quota.limit) = (1000, 1000);
    let names = join_all((0..200).map(|_| try_to(&ctx, at(2), ANN, "slow"))).await;
    let count = |name| names.iter().filter(|other| **other == name).count();
    assert!(count("busy") > 0 && count("done") >= 60 && count("busy") + count("done") == 200, "{names:?}");
}

/// Threat 12: a hundred failures from wherever, and the owner is not locked out where it is signed in.
#[tokio::test]
async fn guesses_from_many_addresses_close_an_account_but_not_to_its_owner() {
    let (ctx, _) = context();
    for number in 0..100 {
        assert_eq!(try_to(&ctx, at(100 + number / 4), ANN, "guess").await, "wrong");
    }
    assert_eq!(try_to(&ctx, at(500), ANN, "right").await, "login_account");
    assert_eq!(try_to(&ctx, at(1), ANN, "right").await, "done", "there it is signed in already");
    for _ in 0..5 {
        assert_eq!(try_to(&ctx, at(1), ANN, "guess").await, "wrong");
    }
    assert_eq!(try_to(&ctx, at(1), ANN, "right").await, "login_address", "there too one can guess only so often");

    reset_password(&ctx, at(500), &OpaqueToken::new("good".to_owned()), &Password("a pass phrase".to_owned()))
        .await
        .unwrap();
    assert_eq!(try_to(&ctx, at(500), ANN, "right").await, "done", "who has the mail has the account");
}

fn newcomer() -> SignUp {
    SignUp {
        email: Email::parse("new@example.org").unwrap(),
        display_name: DisplayName::parse("New").unwrap(),
        password: Password("correct horse".to_owned()),
    }
}

/// Threat 2: whether an address has an account can be asked only so often.
#[tokio::test]
async fn sign_ups_that_meet_a_taken_address_are_limited() {
    let (mut ctx, _) = context();
    ctx.policy.signup_grant = bellwether_domain::money::Credits::ZERO;
    let mut store = MockStore::new();
    store.expect_begin().returning(|| {
        let mut unit = Unit::default();
        unit.unit.expect_write().returning(|changes| match changes.new_users.is_empty() {
            true => Ok(()),
            false => Err(StoreError::Duplicate(Unique::Email)),
        });
        unit.unit.expect_commit().returning(|| Ok(()));
        unit.unit.expect_rollback().returning(|| Ok(()));
        Ok(unit.boxed())
    });
    ctx.store = Arc::new(store);
    for _ in 0..5 {
        assert_eq!(name_of(&sign_up(&ctx, None, at(2), newcomer(), None).await), "taken");
    }
    assert_eq!(name_of(&sign_up(&ctx, None, at(2), newcomer(), None).await), "sign_up");
    assert_eq!(name_of(&sign_up(&ctx, None, at(3), newcomer(), None).await), "taken");
}

#[tokio::test]
async fn only_so_many_users_sign_up_from_one_address() {
    let (mut ctx, _) = context();
    ctx.policy.signup_grant = bellwether_domain::money::Credits::ZERO;
    for _ in 0..30 {
        assert_eq!(name_of(&sign_up(&ctx, None, at(2), newcomer(), None).await), "done");
    }
    assert_eq!(name_of(&sign_up(&ctx, None, at(2), newcomer(), None).await), "new_users");
    let admin = Caller::signed_in(user_id(7), Role::Admin);
    assert_eq!(name_of(&sign_up(&ctx, Some(admin), at(2), newcomer(), None).await), "done");
    let moderator = Caller::signed_in(user_id(8), Role::Moderator);
    assert_eq!(name_of(&sign_up(&ctx, Some(moderator), at(2), newcomer(), None).await), "new_users");
    assert_eq!(name_of(&sign_up(&ctx, None, at(3), newcomer(), None).await), "done");
}

/// A key for a request with that fingerprint.
fn keyed(fingerprint: u8) -> Keyed<User> {
    let key = AnswerKey { user: UserId(Uuid::nil()), route: "POST /users".to_owned(), key: "once".to_owned() };
    let render = |user: &User| Rendered { status: 201, location: None, body: user.id.to_string() };
    Keyed { key, fingerprint: [fingerprint; 32], render }
}

/// Whose answer was lost asks again, and is answered although nobody more may sign up by now.
#[tokio::test]
async fn a_sign_up_that_was_done_is_answered_again_beyond_every_limit() {
    let (mut ctx, _) = context();
    ctx.policy.signup_grant = bellwether_domain::money::Credits::ZERO;
    let (mut store, kept) = (MockStore::new(), Arc::new(Mutex::new(Vec::<KeptAnswer>::new())));
    store.expect_begin().returning(move || {
        let (mut unit, found, keeps) = (Unit::default(), kept.clone(), kept.clone());
        unit.answers.expect_find().returning(move |_| Ok(found.lock().unwrap().clone()));
        unit.unit.expect_write().returning(move |changes| {
            keeps.lock().unwrap().extend(changes.answers.clone());
            Ok(())
        });
        unit.unit.expect_commit().returning(|| Ok(()));
        unit.unit.expect_rollback().returning(|| Ok(()));
        Ok(unit.boxed())
    });
    ctx.store = Arc::new(store);
    let first = sign_up(&ctx, None, at(2), newcomer(), Some(keyed(1))).await.unwrap();
    let Answered::Fresh(user) = first else { panic!("nothing was kept") };
    for _ in 1..30 {
        assert_eq!(name_of(&sign_up(&ctx, None, at(2), newcomer(), None).await), "done");
    }
    assert_eq!(name_of(&sign_up(&ctx, None, at(2), newcomer(), None).await), "new_users");
    let again = sign_up(&ctx, None, at(2), newcomer(), Some(keyed(1))).await.unwrap();
    assert!(matches!(again, Answered::Replayed(kept) if kept.body == user.id.to_string()));
    let another = sign_up(&ctx, None, at(2), newcomer(), Some(keyed(2))).await;
    assert!(matches!(another, Err(Error::Refused(Refusal::IdempotencyMismatch))), "{another:?}");
}

/// Whoever has found somebody's access token cannot find the password with it.
#[tokio::test]
async fn the_current_password_is_guessed_at_only_so_often() {
    let (ctx, hasher) = context();
    let caller = Caller::signed_in(user_id(1), Role::User);
    let patch = |password: &str| UserPatch {
        email: Some(Email::parse("other@example.org").unwrap()),
        current_password: Some(Password(password.to_owned())),
        ..UserPatch::default()
    };
    for _ in 0..5 {
        assert_eq!(name_of(&update_user(&ctx, caller, user_id(1), patch("guess"), None).await), "wrong");
    }
    assert_eq!(name_of(&update_user(&ctx, caller, user_id(1), patch("right"), None).await), "login");
    assert_eq!(hasher.checked.load(Ordering::SeqCst), 5);
    let name = UserPatch { display_name: Some(DisplayName::parse("Other").unwrap()), ..UserPatch::default() };
    assert_eq!(name_of(&update_user(&ctx, caller, user_id(1), name, None).await), "done", "that needs no password");
}

/// Each new address is sent a mail, and may be a stranger's.
#[tokio::test]
async fn the_own_address_is_changed_only_so_often() {
    let (ctx, _) = context();
    let (caller, admin) = (Caller::signed_in(user_id(1), Role::User), Caller::signed_in(user_id(7), Role::Admin));
    let patch = |number: u32| UserPatch {
        email: Some(Email::parse(&format!("other{number}@example.org")).unwrap()),
        current_password: Some(Password("right".to_owned())),
        ..UserPatch::default()
    };
    for number in 0..5 {
        assert_eq!(name_of(&update_user(&ctx, caller, user_id(1), patch(number), None).await), "done");
    }
    assert_eq!(name_of(&update_user(&ctx, caller, user_id(1), patch(5), None).await), "reset");
    assert_eq!(name_of(&send_verification(&ctx, caller).await), "reset", "they are counted together");
    assert_eq!(name_of(&update_user(&ctx, admin, user_id(1), patch(6), None).await), "done");
}

/// Each costs a hash, and all share the queue for these.
#[tokio::test]
async fn right_passwords_are_checked_only_so_often() {
    let (ctx, hasher) = context();
    for number in 0..30 {
        assert_eq!(try_to(&ctx, at(2), ANN, "busy").await, "busy", "that is not counted");
        assert_eq!(try_to(&ctx, at(2 + number % 3), ANN, "right").await, "done");
    }
    for password in ["right", "guess"] {
        assert_eq!(try_to(&ctx, at(2), ANN, password).await, "password");
        assert_eq!(try_to(&ctx, at(5), ANN, password).await, "password", "wherever they come from");
    }
    assert_eq!(hasher.checked.load(Ordering::SeqCst), 30);
    assert_eq!(try_to(&ctx, at(2), "another@example.org", "guess").await, "wrong", "others are let in");
}

/// Who does not know the password cannot use up what its owner has.
#[tokio::test]
async fn wrong_passwords_use_up_what_an_address_has_and_nothing_of_the_account() {
    let (mut ctx, _) = context();
    let limits = &mut ctx.policy.limits;
    (limits.login.quota.limit, limits.login_address.quota.limit, limits.password_address.quota.limit) =
        (1000, 1000, 60);
    for _ in 0..60 {
        assert_eq!(try_to(&ctx, at(2), ANN, "guess").await, "wrong");
    }
    assert_eq!(try_to(&ctx, at(2), ANN, "guess").await, "password_address");
    assert_eq!(try_to(&ctx, at(2), "another@example.org", "guess").await, "password_address");
    assert_eq!(try_to(&ctx, at(3), ANN, "right").await, "done");
}

/// A right password costs as much, whatever becomes of the change; a new one that is unfit is refused before it.
#[tokio::test]
async fn the_own_password_is_checked_for_changes_only_so_often() {
    let (ctx, hasher) = context();
    let caller = Caller::signed_in(user_id(1), Role::User);
    let patch = |new: &str| UserPatch {
        new_password: Some(Password(new.to_owned())),
        current_password: Some(Password("right".to_owned())),
        ..UserPatch::default()
    };
    let change = |new: &'static str, version| update_user(&ctx, caller, user_id(1), patch(new), version);
    let unfit = change("short", None).await;
    assert!(matches!(unfit, Err(Error::Refused(Refusal::UnfitPassword(_)))), "{unfit:?}");
    assert_eq!(hasher.checked.load(Ordering::SeqCst), 0);
    for _ in 1..30 {
        let stale = change("a pass phrase", Some(7)).await;
        assert!(matches!(stale, Err(Error::Refused(Refusal::StaleVersion { .. }))), "{stale:?}");
    }
    assert_eq!(name_of(&change("a pass phrase", None).await), "password");
    assert_eq!(hasher.checked.load(Ordering::SeqCst), 29);
}

/// A context in which user 1 owns bot 2.
fn making() -> Context {
    let (mut ctx, _) = context();
    let mut queries = MockQueries::new();
    queries.expect_user().returning(|id| {
        let bot = || User::bot(user_id(2), user_id(1), DisplayName::parse("Robo").unwrap(), now());
        Ok(Some(if id == user_id(2) { bot() } else { user(1) }))
    });
    queries.expect_markets_by_ids().returning(|_| Ok(Vec::new()));
    ctx.queries = Arc::new(queries);
    ctx.policy.limits.made.quota.limit = 3;
    ctx
}

#[tokio::test]
async fn what_stays_is_counted_together_for_a_person_and_its_bots() {
    let ctx = making();
    let caller = |n, role| Caller::signed_in(user_id(n), role);
    let name = || DisplayName::parse("Robo").unwrap();
    let key = || NewKey {
        owner: None,
        name: KeyName::parse("a bot").unwrap(),
        scopes: [Scope::Read].into_iter().collect(),
        limits: KeyLimits::default(),
        expires_at: None,
    };
    let ann = caller(1, Role::User);
    let expired = NewKey { expires_at: Some(now()), ..key() };
    for _ in 0..5 {
        let refused = create_api_key(&ctx, ann, expired.clone()).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::ExpiryInThePast))), "{refused:?}");
    }
    assert_eq!(name_of(&create_api_key(&ctx, ann, key()).await), "done");
    assert_eq!(name_of(&create_bot(&ctx, ann, name(), None).await), "done");
    let scopes = Scope::ALL.into_iter().collect();
    let id = ApiKeyId(Uuid::from_u128(1));
    let robo = Caller {
        key: Some(CallerKey { id, scopes, is_limited: false, owner: Some(ann.user) }),
        ..caller(2, Role::User)
    };
    assert_eq!(name_of(&open_market(&ctx, robo, market(), None).await), "done");
    assert_eq!(name_of(&open_market(&ctx, robo, market(), None).await), "made");
    assert_eq!(name_of(&create_bot(&ctx, ann, name(), None).await), "made");
    assert_eq!(name_of(&create_api_key(&ctx, ann, key()).await), "made");
    assert_eq!(name_of(&create_bot(&ctx, caller(7, Role::Moderator), name(), None).await), "done");
    for _ in 0..5 {
        assert_eq!(name_of(&create_bot(&ctx, caller(8, Role::Admin), name(), None).await), "done");
    }
}

fn market() -> OpenMarket {
    OpenMarket {
        question: "A market?".to_owned(),
        description: String::new(),
        category: None,
        tags: Vec::new(),
        outcomes: ["YES", "NO"].map(str::to_owned).to_vec(),
        closes_at: now() + SignedDuration::from_hours(1),
        fee_rate: FeeRate::ZERO,
        fee_recipient: FeeRecipient::House,
        liquidity: None,
        opening_order: None,
    }
}

/// Beyond the limit of an account its owner gets no more mails, and nobody is told.
#[tokio::test]
async fn mails_are_asked_for_only_so_often() {
    let (mut ctx, _) = context();
    let begun = Arc::new(AtomicU32::new(0));
    let (mut store, counted) = (MockStore::new(), begun.clone());
    store.expect_begin().returning(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(unit().boxed())
    });
    ctx.store = Arc::new(store);
    for number in 0..50 {
        assert_eq!(name_of(&forgot_password(&ctx, at(number), ANN).await), "done");
    }
    assert_eq!(begun.load(Ordering::SeqCst), 5, "five mails");
    for number in 0..4 {
        assert_eq!(name_of(&forgot_password(&ctx, at(1), &format!("user{number}@example.net")).await), "done");
    }
    assert_eq!(name_of(&forgot_password(&ctx, at(1), "another@example.net").await), "reset");

    let caller = Caller::signed_in(user_id(1), Role::User);
    for _ in 0..5 {
        assert_eq!(name_of(&send_verification(&ctx, caller).await), "done");
    }
    assert_eq!(name_of(&send_verification(&ctx, caller).await), "reset");
}

#[tokio::test]
async fn tokens_of_mails_are_guessed_at_only_so_often() {
    let (ctx, _) = context();
    let (bad, password) = (OpaqueToken::new("bad".to_owned()), Password("a pass phrase".to_owned()));
    for _ in 0..3 {
        assert_eq!(name_of(&reset_password(&ctx, at(2), &bad, &password).await), "bad token");
    }
    for _ in 0..2 {
        assert_eq!(name_of(&verify_email(&ctx, at(2), &bad).await), "bad token");
    }
    assert_eq!(name_of(&reset_password(&ctx, at(2), &bad, &password).await), "reset");
    assert_eq!(name_of(&verify_email(&ctx, at(2), &bad).await), "reset");
}

#[tokio::test]
async fn refreshes_are_counted_whether_they_succeed_or_not() {
    let (mut ctx, _) = context();
    let mut store = MockStore::new();
    store.expect_begin().times(60).returning(|| {
        let mut unit = Unit::default().rolls_back();
        unit.sessions.expect_lock_by_token().returning(|_| Ok(None));
        Ok(unit.boxed())
    });
    ctx.store = Arc::new(store);
    let token = OpaqueToken::new("bad".to_owned());
    for _ in 0..60 {
        assert_eq!(name_of(&refresh(&ctx, at(2), &token, Device::default()).await), "bad token");
    }
    assert_eq!(name_of(&refresh(&ctx, at(2), &token, Device::default()).await), "refresh");
}
