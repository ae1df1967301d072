//! Sign-up and sign-in.

use bellwether_domain::audit_log::{Action, Actor, FailedSignIns, FailureKey, Target};
use bellwether_domain::ids::AccountId;
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::money::Credits;
use bellwether_domain::password::PasswordFault;
use bellwether_domain::ports::{
    Changes, MockPasswordHasher, MockQueries, MockStore, MockTokenSigner, PasswordError, StoreError, Unique,
};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::session::Device;
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::user::{PasswordHash, Role, User, UserStatus};
use bellwether_usecases::users::{
    Password, SignUp, Standing, UserPatch, create_admin, deactivate_user, log_in, set_role, set_status, sign_up,
    update_user,
};
use bellwether_usecases::{Answered, Caller, Context, Error};

use crate::mocks::{Unit, context_with, now, store, user, user_id};

/// A store in which one failed sign-in is counted, of this user; the first of its kind is told.
fn counts_a_failure(of: Option<u128>) -> MockStore {
    store(1, move |_| {
        let mut unit = Unit::default();
        let is_of = move |key: &FailureKey| key.user == of.map(user_id);
        unit.failures
            .expect_count()
            .times(1)
            .withf(move |key, _, _| is_of(key))
            .returning(|key, at, _| Ok(FailedSignIns { key: key.clone(), count: 1, last_at: at }));
        let is_told = |changes: &Changes| {
            changes.events.iter().map(|event| event.action).eq([Action::SignInFailed])
                && changes.events[0].actor == Actor::Stranger
        };
        unit.unit.expect_write().times(1).withf(is_told).returning(|_| Ok(()));
        unit.commits()
    })
}

fn request() -> SignUp {
    SignUp {
        email: Email::parse("new@example.org").unwrap(),
        display_name: DisplayName::parse("New").unwrap(),
        password: Password("correct horse".to_owned()),
    }
}

fn hasher() -> MockPasswordHasher {
    let mut hasher = MockPasswordHasher::new();
    hasher.expect_hash().returning(|_| Ok(PasswordHash::new("hashed".to_owned())));
    hasher
}

#[tokio::test]
async fn signing_up_makes_user_account_and_grant_in_one_write() {
    let store = store(1, |_| {
        let mut unit = Unit::default();
        let treasury = || Account::open(AccountId::TREASURY, Owner::Treasury, now());
        unit.accounts.expect_lock().withf(|ids| ids == [AccountId::TREASURY]).returning(move |_| Ok(vec![treasury()]));
        unit.unit
            .expect_write()
            .times(1)
            .withf(|c| {
                let grant = Credits::from_mills(1_000_000);
                c.new_users.len() == 1 && c.new_accounts[0].balance == grant && c.transfers[0].amount == grant
            })
            .returning(|_| Ok(()));
        unit.commits()
    });
    let ctx = context_with(store, MockQueries::new(), hasher(), MockTokenSigner::new());
    assert!(matches!(sign_up(&ctx, None, request(), None).await.unwrap(), Answered::Fresh(u) if u.role == Role::User));
}

#[tokio::test]
async fn an_address_that_no_mail_reaches_is_refused_when_it_is_new_and_kept_where_it_stands() {
    let unreachable = |name: &str| Email::parse(&format!("{name}@example.org")).unwrap();
    let (queries, signer) = (MockQueries::new(), MockTokenSigner::new());
    let ctx = context_with(MockStore::new(), queries, MockPasswordHasher::new(), signer);
    let refused = sign_up(&ctx, None, SignUp { email: unreachable("a..b"), ..request() }, None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::UnreachableEmail(_)))));

    let admin = Caller::signed_in(user_id(9), Role::Admin);
    for (name, is_kept) in [("a..b", true), (".a", false)] {
        let store = store(1, move |_| {
            let mut unit = Unit::default();
            let before = User { email: Some(unreachable("a..b")), ..user(1) };
            unit.users.expect_lock().returning(move |_| Ok(vec![before.clone()]));
            if !is_kept {
                return unit.rolls_back();
            }
            unit.unit.expect_write().times(1).withf(|c| c.new_jobs.is_empty()).returning(|_| Ok(()));
            unit.commits()
        });
        let ctx = context_with(store, MockQueries::new(), MockPasswordHasher::new(), MockTokenSigner::new());
        let display_name = Some(DisplayName::parse("Renamed").unwrap());
        let patch = UserPatch { display_name, email: Some(unreachable(name)), ..UserPatch::default() };
        let changed = update_user(&ctx, admin, user_id(1), patch, None).await;
        assert_eq!(matches!(changed, Err(Error::Refused(Refusal::UnreachableEmail(_)))), !is_kept, "{name}");
    }
}

/// Threat 2.
#[tokio::test]
async fn a_taken_address_is_refused_and_its_owner_told() {
    let store = store(2, |number| {
        let mut unit = Unit::default();
        if number == 1 {
            let told = |changes: &Changes| changes.new_jobs[0].payload.contains("address_taken");
            unit.unit.expect_write().times(1).withf(told).returning(|_| Ok(()));
            return unit.commits();
        }
        let treasury = || Account::open(AccountId::TREASURY, Owner::Treasury, now());
        unit.accounts.expect_lock().returning(move |_| Ok(vec![treasury()]));
        unit.unit.expect_write().returning(|_| Err(StoreError::Duplicate(Unique::Email)));
        unit.rolls_back()
    });
    let ctx = context_with(store, MockQueries::new(), hasher(), MockTokenSigner::new());
    assert!(matches!(sign_up(&ctx, None, request(), None).await, Err(Error::Refused(Refusal::EmailTaken))));
}

/// Threat 1: an unknown address costs a verification too, and every failure has the same words.
#[tokio::test]
async fn every_failed_sign_in_verifies_once_and_answers_the_same() {
    let known = || {
        let mut queries = MockQueries::new();
        queries.expect_user_by_email().returning(|_| Ok(Some(user(1))));
        queries
    };
    let unknown = || {
        let mut queries = MockQueries::new();
        queries.expect_user_by_email().returning(|_| Ok(None));
        queries
    };
    let suspended = || {
        let mut queries = MockQueries::new();
        queries.expect_user_by_email().returning(|_| {
            let mut user = user(1);
            user.status = UserStatus::Suspended;
            Ok(Some(user))
        });
        queries
    };
    for (queries, email, is_right, has_hash, counted_for) in [
        (known(), "user1@example.org", false, true, Some(1)),
        (unknown(), "nobody@example.org", false, false, None),
        (MockQueries::new(), "no address at all", false, false, None),
        (suspended(), "user1@example.org", true, true, Some(1)),
    ] {
        let mut hasher = MockPasswordHasher::new();
        hasher
            .expect_verify()
            .times(1)
            .withf(move |_, hash| hash.is_some() == has_hash)
            .returning(move |_, _| Ok(is_right));
        let ctx = context_with(counts_a_failure(counted_for), queries, hasher, MockTokenSigner::new());
        let error = log_in(&ctx, email, &Password("whatever".to_owned()), Device::default()).await.unwrap_err();
        assert!(matches!(error, Error::Refused(Refusal::BadCredentials)), "{email}");
    }
}

/// Threat 3: a password that could never have been set is wrong like any other.
#[tokio::test]
async fn an_impossible_password_is_wrong_and_takes_as_long() {
    let mut queries = MockQueries::new();
    queries.expect_user_by_email().returning(|_| Ok(Some(user(1))));
    let mut hasher = MockPasswordHasher::new();
    hasher.expect_verify().times(1).withf(|_, hash| hash.is_some()).returning(|_, _| Err(PasswordError::TooLong));
    hasher.expect_verify().times(1).withf(|_, hash| hash.is_none()).returning(|_, _| Ok(false));
    let ctx = context_with(counts_a_failure(Some(1)), queries, hasher, MockTokenSigner::new());
    let error = log_in(&ctx, "user1@example.org", &Password("x".repeat(100)), Device::default()).await.unwrap_err();
    assert!(matches!(error, Error::Refused(Refusal::BadCredentials)));
}

/// User 1 with another hash of its password, or of another password.
fn hashed(hash: &str) -> User {
    User { password_hash: Some(PasswordHash::new(hash.to_owned())), ..user(1) }
}

/// A context in which user 1 is found as it was, and then as given; its password is right by these hashes.
fn changed_meanwhile(store: MockStore, then: User, is_right_by: &'static [&'static str]) -> Context {
    let mut queries = MockQueries::new();
    queries.expect_user().times(1).returning(|_| Ok(Some(user(1))));
    queries.expect_user().times(1).returning(move |_| Ok(Some(then.clone())));
    let mut hasher = MockPasswordHasher::new();
    hasher
        .expect_verify()
        .times(2)
        .returning(move |_, hash| Ok(is_right_by.iter().any(|right| hash.is_some_and(|hash| hash.expose() == *right))));
    context_with(store, queries, hasher, MockTokenSigner::new())
}

/// What a thief of a session and of the old password asks for.
fn another_address() -> UserPatch {
    UserPatch {
        email: Some(Email::parse("other@example.org").unwrap()),
        current_password: Some(Password("old".to_owned())),
        ..UserPatch::default()
    }
}

/// Threat 9: the address and the password are not changed by who knows a password that was just replaced.
#[tokio::test]
async fn a_change_under_way_does_not_undo_a_new_password() {
    let store = store(2, |number| {
        let mut unit = Unit::default();
        if number == 0 {
            unit.users.expect_lock().returning(|_| Ok(vec![hashed("hash of another password")]));
            return unit.rolls_back();
        }
        unit.failures
            .expect_count()
            .times(1)
            .withf(|key, _, _| key.user == Some(user_id(1)))
            .returning(|key, at, _| Ok(FailedSignIns { key: key.clone(), count: 2, last_at: at }));
        unit.commits()
    });
    let ctx = changed_meanwhile(store, hashed("hash of another password"), &["hash of user 1"]);
    let caller = Caller::signed_in(user_id(1), Role::User);
    let refused = update_user(&ctx, caller, user_id(1), another_address(), None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::BadCredentials))), "{refused:?}");
}

#[tokio::test]
async fn a_password_that_was_only_hashed_anew_meanwhile_is_right() {
    let store = store(2, |number| {
        let mut unit = Unit::default();
        unit.users.expect_lock().returning(|_| Ok(vec![hashed("the same at more cost")]));
        if number == 0 {
            return unit.rolls_back();
        }
        let is_right = |changes: &Changes| {
            let [changed] = &changes.users[..] else { return false };
            changed.email == another_address().email
                && changed.password_hash == hashed("the same at more cost").password_hash
                && changes.sessions.is_empty()
        };
        unit.unit.expect_write().times(1).withf(is_right).returning(|_| Ok(()));
        unit.commits()
    });
    let both = &["hash of user 1", "the same at more cost"];
    let ctx = changed_meanwhile(store, hashed("the same at more cost"), both);
    let caller = Caller::signed_in(user_id(1), Role::User);
    update_user(&ctx, caller, user_id(1), another_address(), None).await.unwrap();
}

/// Who makes an account for somebody else is named as who did it.
#[tokio::test]
async fn a_sign_up_is_told_as_done_by_whoever_asked_for_it() {
    for by in [None, Some(user_id(9))] {
        let store = store(1, move |_| {
            let mut unit = Unit::default();
            let is_right = move |changes: &Changes| {
                let [event] = &changes.events[..] else { return false };
                let newcomer = changes.new_users[0].id;
                event.action == Action::SignedUp
                    && event.actor == Actor::User(by.unwrap_or(newcomer))
                    && event.target == Some(Target::User(newcomer))
            };
            unit.unit.expect_write().times(1).withf(is_right).returning(|_| Ok(()));
            unit.commits()
        });
        let mut ctx = context_with(store, MockQueries::new(), hasher(), MockTokenSigner::new());
        ctx.policy.signup_grant = Credits::ZERO;
        sign_up(&ctx, by, request(), None).await.unwrap();
    }
}

fn admin(n: u128) -> User {
    User { role: Role::Admin, ..user(n) }
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let store = store(1, |_| {
        let mut unit = Unit::default();
        unit.users.expect_lock_admins().returning(|| Ok(vec![admin(1)]));
        unit.users.expect_lock().returning(|_| Ok(vec![admin(1)]));
        unit.rolls_back()
    });
    let ctx = context_with(store, MockQueries::new(), MockPasswordHasher::new(), MockTokenSigner::new());
    let caller = Caller::signed_in(user_id(1), Role::Admin);
    assert!(matches!(deactivate_user(&ctx, caller, user_id(1), None).await, Err(Error::Refused(Refusal::LastAdmin))));
}

/// A context in which user 1 signs in with the right password, whose hash is outdated.
fn outdated(store: MockStore) -> Context {
    let mut queries = MockQueries::new();
    queries.expect_user_by_email().returning(|_| Ok(Some(user(1))));
    let mut hasher = MockPasswordHasher::new();
    hasher.expect_verify().times(1).returning(|_, _| Ok(true));
    hasher.expect_is_outdated().times(1).withf(|hash| hash.expose() == "hash of user 1").return_const(true);
    hasher
        .expect_hash()
        .times(1)
        .withf(|given| given == "right")
        .returning(|_| Ok(PasswordHash::new("new".to_owned())));
    let mut signer = MockTokenSigner::new();
    signer.expect_sign().returning(|_, _| Ok("access".to_owned()));
    context_with(store, queries, hasher, signer)
}

/// The unit in which the session begins.
fn begins_a_session() -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
    unit.sessions.expect_lock_of_user().returning(|_| Ok(Vec::new()));
    unit.unit.expect_write().times(1).withf(|changes| changes.new_sessions.len() == 1).returning(|_| Ok(()));
    unit.commits()
}

#[tokio::test]
async fn a_sign_in_hashes_the_password_anew_where_the_cost_was_raised_and_sessions_live_on() {
    let store = store(2, |number| {
        if number == 0 {
            return begins_a_session();
        }
        let mut unit = Unit::default();
        unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
        let rehashed = User { password_hash: Some(PasswordHash::new("new".to_owned())), ..user(1) };
        let wanted = Changes { users: vec![rehashed], ..Changes::default() };
        unit.unit.expect_write().times(1).withf(move |changes| *changes == wanted).returning(|_| Ok(()));
        unit.commits()
    });
    log_in(&outdated(store), "user1@example.org", &Password("right".to_owned()), Device::default()).await.unwrap();
}

/// A password that was changed while the old one was hashed stays changed; and a sign-in does not fail
/// because hashing anew did.
#[tokio::test]
async fn hashing_anew_never_undoes_a_change_nor_fails_the_sign_in() {
    let changed = || {
        let mut unit = Unit::default();
        let user = User { password_hash: Some(PasswordHash::new("changed".to_owned())), ..user(1) };
        unit.users.expect_lock().returning(move |_| Ok(vec![user.clone()]));
        unit.rolls_back()
    };
    let broken = || {
        let mut unit = Unit::default();
        unit.users.expect_lock().returning(|_| Err(StoreError::Unavailable("gone".into())));
        unit.rolls_back()
    };
    for second in [&(Box::new(changed) as Box<dyn Fn() -> Unit + Send + Sync>), &(Box::new(broken) as _)] {
        let units = std::sync::Mutex::new(vec![second(), begins_a_session()]);
        let store = store(2, move |_| units.lock().unwrap().pop().unwrap());
        log_in(&outdated(store), "user1@example.org", &Password("right".to_owned()), Device::default()).await.unwrap();
    }
}

/// Threat 3: whoever sets a password, and whatever of its user the request does not say.
#[tokio::test]
async fn an_unfit_password_is_refused_for_all_reasons_before_it_is_hashed() {
    let mut queries = MockQueries::new();
    queries.expect_user().returning(|_| Ok(Some(User { role: Role::Admin, ..user(1) })));
    let ctx = context_with(MockStore::new(), queries, MockPasswordHasher::new(), MockTokenSigner::new());
    let caller = Caller::signed_in(user_id(9), Role::Admin);
    let patch = UserPatch { new_password: Some(Password("user1".to_owned())), ..UserPatch::default() };
    let refused = update_user(&ctx, caller, user_id(1), patch, None).await.unwrap_err();
    let Error::Refused(Refusal::UnfitPassword(faults)) = refused else { panic!("{refused}") };
    assert_eq!(faults, [PasswordFault::TooShort, PasswordFault::Personal]);
    let unfit = SignUp { password: Password("new@example.org".to_owned()), ..request() };
    for refused in [sign_up(&ctx, None, unfit.clone(), None).await.err(), create_admin(&ctx, unfit).await.err()] {
        assert!(matches!(refused, Some(Error::Refused(Refusal::UnfitPassword(_)))), "{refused:?}");
    }
}

/// A unit in which these are the administrators, and user 1 is as given.
fn managing(admins: Vec<User>, found: User) -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_lock_admins().times(1).returning(move || Ok(admins.clone()));
    unit.users.expect_lock().returning(move |_| Ok(vec![found.clone()]));
    unit.sessions.expect_lock_of_user().returning(|_| Ok(Vec::new()));
    unit.mail_tokens.expect_of_user().returning(|_| Ok(Vec::new()));
    unit
}

fn managed_by(caller: Role, make: impl Fn(u32) -> Unit + Send + Sync + 'static, times: usize) -> (Context, Caller) {
    let ctx = context_with(store(times, make), MockQueries::new(), MockPasswordHasher::new(), MockTokenSigner::new());
    (ctx, Caller::signed_in(user_id(2), caller))
}

/// Threat 16.
#[tokio::test]
async fn a_role_is_changed_and_told_once_and_a_suspension_with_its_reason() {
    let promotes = |_| {
        let mut unit = managing(vec![admin(2)], user(1));
        let is_right = |changes: &Changes| {
            let [changed] = &changes.users[..] else { return false };
            changed.role == Role::Moderator
                && changed.version == 2
                && changes.events.iter().map(|event| event.action).eq([Action::RoleChanged])
        };
        unit.unit.expect_write().times(1).withf(is_right).returning(|_| Ok(()));
        unit.commits()
    };
    let (ctx, caller) = managed_by(Role::Admin, promotes, 1);
    set_role(&ctx, caller, user_id(1), Role::Moderator, Some(1)).await.unwrap();

    let suspends = |_| {
        let mut unit = managing(vec![admin(2)], user(1));
        let is_right = |changes: &Changes| {
            let [event] = &changes.events[..] else { return false };
            changes.users[0].status == UserStatus::Suspended
                && event.action == Action::Suspended
                && event.actor == Actor::User(user_id(2))
                && event.after.as_ref().is_some_and(|json| json.contains("a bot"))
        };
        unit.unit.expect_write().times(1).withf(is_right).returning(|_| Ok(()));
        unit.commits()
    };
    let (ctx, caller) = managed_by(Role::Admin, suspends, 1);
    let standing = Standing { is_suspended: true, reason: "a bot".to_owned() };
    set_status(&ctx, caller, user_id(1), standing, None).await.unwrap();

    // What is so already is no change.
    let (ctx, caller) = managed_by(Role::Admin, |_| managing(vec![admin(2)], user(1)).rolls_back(), 1);
    assert_eq!(set_role(&ctx, caller, user_id(1), Role::User, None).await.unwrap().version, 1);
}

#[tokio::test]
async fn nobody_takes_the_last_administrator_away() {
    let standing = Standing { is_suspended: true, reason: "a mistake".to_owned() };
    for demotes in [true, false] {
        let (ctx, mut caller) = managed_by(Role::Admin, |_| managing(vec![admin(1)], admin(1)).rolls_back(), 1);
        caller.user = user_id(1);
        let refused = if demotes {
            set_role(&ctx, caller, user_id(1), Role::Moderator, None).await
        } else {
            set_status(&ctx, caller, user_id(1), standing.clone(), None).await
        };
        assert!(matches!(refused, Err(Error::Refused(Refusal::LastAdmin))), "{refused:?}");
    }
}

/// Threat 16: nor does a token help whose user is no administrator any more.
#[tokio::test]
async fn only_who_is_an_administrator_still_manages_users() {
    let (ctx, caller) = managed_by(Role::Moderator, |_| Unit::default(), 0);
    let refused = set_role(&ctx, caller, user_id(2), Role::Admin, None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::Forbidden(_)))), "{refused:?}");

    let demoted_meanwhile = |_| {
        let mut unit = Unit::default();
        unit.users.expect_lock_admins().returning(|| Ok(vec![admin(1)]));
        unit.rolls_back()
    };
    let (ctx, caller) = managed_by(Role::Admin, demoted_meanwhile, 1);
    let refused = set_role(&ctx, caller, user_id(1), Role::User, None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::Forbidden(_)))), "{refused:?}");

    let deleted = User { status: UserStatus::Deactivated, ..user(1) };
    let (ctx, caller) = managed_by(Role::Admin, move |_| managing(vec![admin(2)], deleted.clone()).rolls_back(), 1);
    let standing = Standing { is_suspended: false, reason: "please".to_owned() };
    let refused = set_status(&ctx, caller, user_id(1), standing, None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::UserNotFound))), "{refused:?}");
}
