//! Passwords that were forgotten, and addresses that are verified.

use bellwether_domain::job::JobKind;
use bellwether_domain::mail::{MailToken, TokenPurpose};
use bellwether_domain::ports::{
    MockPasswordHasher, MockQueries, MockStore, MockTokenSigner, OpaqueToken, StoreError, Unique,
};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::session::{EndReason, Lifetime};
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::user::{PasswordHash, Role, User, UserStatus};
use bellwether_usecases::recovery::{forgot_password, reset_password, send_verification, verify_email};
use bellwether_usecases::users::{Password, SignUp, UserPatch, deactivate_user, sign_up, update_user};
use bellwether_usecases::{Answered, Caller, Context, Error};
use futures_util::FutureExt as _;
use jiff::SignedDuration;

use crate::mocks::{Unit, account, context_with, hash_of, now, session, store, user, user_id};

fn token_of(hash: &str, purpose: TokenPurpose) -> MailToken {
    let lifetime = Lifetime { from: now(), until: now() + SignedDuration::from_hours(1) };
    MailToken { hash: hash_of(hash), user: user_id(1), purpose, sent_to: "user1@example.org".to_owned(), lifetime }
}

fn given(text: &str) -> OpaqueToken {
    OpaqueToken::new(text.to_owned())
}

/// A context in which that token and that user are found.
fn ctx(store: MockStore, token: Option<MailToken>, found: User) -> Context {
    let mut queries = MockQueries::new();
    queries.expect_mail_token().returning(move |hash| Ok(token.clone().filter(|token| token.hash == hash)));
    queries.expect_user().returning(move |_| Ok(Some(found.clone())));
    let mut hasher = MockPasswordHasher::new();
    hasher.expect_hash().returning(|_| Ok(PasswordHash::new("new hash".to_owned())));
    context_with(store, queries, hasher, MockTokenSigner::new())
}

fn unit_of(found: User, tokens: Vec<MailToken>) -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_lock().returning(move |_| Ok(vec![found.clone()]));
    unit.mail_tokens.expect_of_user().returning(move |_| Ok(tokens.clone()));
    unit.sessions.expect_lock_of_user().returning(|_| Ok(vec![session(1, 1, 0), session(2, 1, 0)]));
    unit
}

fn is_refused<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Refused(Refusal::BadMailToken)))
}

/// Threats 9 and 11.
#[tokio::test]
async fn a_reset_ends_every_session_and_uses_up_every_token() {
    let tokens = vec![token_of("a", TokenPurpose::ResetPassword), token_of("b", TokenPurpose::VerifyEmail)];
    let store = store(1, move |_| {
        let mut unit = unit_of(user(1), tokens.clone());
        unit.unit
            .expect_write()
            .times(1)
            .withf(|changes| {
                let changed = &changes.users[0];
                let has_ended =
                    changes.sessions.iter().all(|s| s.end.is_some_and(|e| e.reason == EndReason::UserChanged));
                changed.password_hash == Some(PasswordHash::new("new hash".to_owned()))
                    && (changed.email_verified, changed.version) == (true, 2)
                    && (changes.sessions.len(), has_ended) == (2, true)
                    && changes.deleted_mail_tokens == [hash_of("a"), hash_of("b")]
            })
            .returning(|_| Ok(()));
        unit.commits()
    });
    let ctx = ctx(store, Some(token_of("a", TokenPurpose::ResetPassword)), user(1));
    reset_password(&ctx, &given("a"), &Password("a pass phrase".to_owned())).await.unwrap();
}

/// Threat 11: unknown, for something else, of somebody who may not act, expired, or used meanwhile. All
/// but the last before any password is hashed.
#[tokio::test]
async fn a_token_that_is_not_good_is_refused_in_the_same_words() {
    let reset = token_of("a", TokenPurpose::ResetPassword);
    let expired = MailToken { lifetime: Lifetime { from: now(), until: now() }, ..reset.clone() };
    let suspended = User { status: UserStatus::Suspended, ..user(1) };
    let moved = User { email: Some(Email::parse("new@example.org").unwrap()), ..user(1) };
    let password = Password("a pass phrase".to_owned());
    for (token, found) in [
        (None, user(1)),
        (Some(token_of("a", TokenPurpose::VerifyEmail)), user(1)),
        (Some(expired), user(1)),
        (Some(reset.clone()), suspended),
        (Some(reset.clone()), moved),
    ] {
        let mut ctx = ctx(MockStore::new(), token, found);
        ctx.hasher = std::sync::Arc::new(MockPasswordHasher::new());
        assert!(is_refused(reset_password(&ctx, &given("a"), &password).await));
    }
    let used = store(1, |_| unit_of(user(1), Vec::new()).rolls_back());
    assert!(is_refused(reset_password(&ctx(used, Some(reset.clone()), user(1)), &given("a"), &password).await));
    assert!(is_refused(verify_email(&ctx(MockStore::new(), Some(reset), user(1)), &given("a")).await));
}

#[tokio::test]
async fn verifying_ends_no_session_and_leaves_what_was_sent_for_a_reset() {
    let verify = token_of("b", TokenPurpose::VerifyEmail);
    let tokens = vec![token_of("a", TokenPurpose::ResetPassword), verify.clone()];
    let store = store(1, move |_| {
        let mut unit = unit_of(user(1), tokens.clone());
        unit.unit
            .expect_write()
            .times(1)
            .withf(|changes| {
                let is_verified =
                    changes.users[0].email_verified && changes.users[0].password_hash == user(1).password_hash;
                is_verified && changes.sessions.is_empty() && changes.deleted_mail_tokens == [hash_of("b")]
            })
            .returning(|_| Ok(()));
        unit.commits()
    });
    verify_email(&ctx(store, Some(verify), user(1)), &given("b")).await.unwrap();
}

/// A store whose only unit puts one mail with this in it aside, and does what else is said.
fn puts_aside(text: &'static str, users: usize) -> MockStore {
    store(1, move |_| {
        let mut unit = Unit::default();
        unit.accounts.expect_lock().returning(|_| Ok(vec![account(1, 0)]));
        unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
        unit.unit
            .expect_write()
            .times(1)
            .withf(move |changes| {
                let job = &changes.new_jobs[0];
                let is_mail = changes.new_jobs.len() == 1 && job.kind == JobKind::Mail && job.run_at == now();
                // The seed, and not the token that follows from it.
                let has_seed = job.payload.contains("\"token\"") && !job.payload.contains("token+");
                is_mail
                    && has_seed
                    && job.payload.contains(text)
                    && changes.users.len() + changes.new_users.len() == users
            })
            .returning(|_| Ok(()));
        unit.commits()
    })
}

/// Threat 2: nothing is looked up, so every address takes as long.
#[tokio::test]
async fn to_forget_a_password_puts_the_same_aside_for_every_address() {
    let nothing = || (MockQueries::new(), MockPasswordHasher::new(), MockTokenSigner::new());
    for address in ["user1@example.org", "nobody@example.org"] {
        let (queries, hasher, signer) = nothing();
        let ctx = context_with(puts_aside("password_forgotten", 0), queries, hasher, signer);
        forgot_password(&ctx, address).await.unwrap();
        assert!(ctx.job_bell.heard(JobKind::Mail).now_or_never().is_some(), "nobody was woken");
    }
    let (queries, hasher, signer) = nothing();
    forgot_password(&context_with(MockStore::new(), queries, hasher, signer), "no address").await.unwrap();
}

#[tokio::test]
async fn a_new_address_is_verified_by_a_mail_that_comes_with_the_change() {
    let caller = Caller::signed_in(user_id(1), Role::Admin);
    let patch = UserPatch { email: Some(Email::parse("new@example.org").unwrap()), ..UserPatch::default() };
    let mut right = MockPasswordHasher::new();
    right.expect_verify().returning(|_, _| Ok(true));
    let mut changing = ctx(puts_aside("new@example.org", 1), None, user(1));
    changing.hasher = std::sync::Arc::new(right);
    update_user(&changing, caller, user_id(1), patch, None).await.unwrap();
    assert!(changing.job_bell.heard(JobKind::Mail).now_or_never().is_some());

    let asking = ctx(puts_aside("user1@example.org", 0), None, user(1));
    send_verification(&asking, caller).await.unwrap();
    let verified = ctx(MockStore::new(), None, User { email_verified: true, ..user(1) });
    let refused = send_verification(&verified, caller).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::EmailAlreadyVerified))));
}

/// Threat 2: the owner is told, and who tried gets what somebody new would have got.
#[tokio::test]
async fn a_sign_up_with_a_taken_address_can_be_answered_like_any_other() {
    let store = store(2, |number| {
        let mut unit = Unit::default();
        if number == 0 {
            unit.accounts.expect_lock().returning(|_| Ok(Vec::new()));
            unit.unit.expect_write().returning(|_| Err(StoreError::Duplicate(Unique::Email)));
            return unit.rolls_back();
        }
        unit.unit
            .expect_write()
            .times(1)
            .withf(|c| {
                c.new_users.is_empty() && c.new_accounts.is_empty() && c.new_jobs[0].payload.contains("address_taken")
            })
            .returning(|_| Ok(()));
        unit.commits()
    });
    let mut ctx = ctx(store, None, user(1));
    (ctx.policy.conceal_existing_accounts, ctx.policy.signup_grant) = (true, bellwether_domain::money::Credits::ZERO);
    let request = SignUp {
        email: Email::parse("user1@example.org").unwrap(),
        display_name: DisplayName::parse("Eve").unwrap(),
        password: Password("a pass phrase".to_owned()),
    };
    let Answered::Fresh(invented) = sign_up(&ctx, None, request, None).await.unwrap() else {
        panic!("nothing was replayed")
    };
    assert_eq!((invented.display_name.as_str(), invented.version, invented.email_verified), ("Eve", 1, false));
    assert_ne!(invented.id, user_id(1));
    assert!(ctx.job_bell.heard(JobKind::Mail).now_or_never().is_some());
}

/// Threats 9 and 11: a mail that was asked for before does not undo a new password, and of a user who was
/// deleted nothing stays.
#[tokio::test]
async fn a_change_of_the_password_voids_what_was_sent_to_set_it_and_a_deletion_all() {
    let deleted_by = |wanted: &'static [&'static str]| {
        store(1, move |_| {
            let tokens = vec![token_of("a", TokenPurpose::ResetPassword), token_of("b", TokenPurpose::VerifyEmail)];
            let mut unit = unit_of(user(1), tokens);
            unit.users.expect_lock_admins().returning(|| Ok(vec![user(8)]));
            let hashes: Vec<[u8; 32]> = wanted.iter().map(|text| hash_of(text)).collect();
            unit.unit.expect_write().times(1).withf(move |c| c.deleted_mail_tokens == hashes).returning(|_| Ok(()));
            unit.commits()
        })
    };
    let caller = Caller::signed_in(user_id(9), Role::Admin);
    let patch = UserPatch { new_password: Some(Password("a pass phrase".to_owned())), ..UserPatch::default() };
    update_user(&ctx(deleted_by(&["a"]), None, user(1)), caller, user_id(1), patch, None).await.unwrap();
    let mut deleting = ctx(deleted_by(&["a", "b"]), None, user(1));
    let mut queries = MockQueries::new();
    queries.expect_orders().returning(|_, _| Err(StoreError::Unavailable("of no matter here".into())));
    deleting.queries = std::sync::Arc::new(queries);
    deactivate_user(&deleting, caller, user_id(1), None).await.unwrap();
}
