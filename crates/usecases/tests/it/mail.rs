//! Mails that are put aside, sent, and what becomes of those that cannot be.

use std::sync::Arc;

use bellwether_domain::ids::JobId;
use bellwether_domain::job::{Job, JobKind};
use bellwether_domain::mail::{MailToken, TokenPurpose};
use bellwether_domain::ports::{MailError, MockMailer, MockPasswordHasher, MockQueries, MockStore, MockTokenSigner};
use bellwether_domain::session::Lifetime;
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::user::{User, UserStatus};
use bellwether_usecases::Context;
use bellwether_usecases::jobs::{Failure, Handler as _, Verdict};
use bellwether_usecases::mail::Delivery;
use jiff::SignedDuration;
use uuid::Uuid;

use crate::mocks::{Unit, context_with, hash_of, now, store, user, user_id};

/// A mail that was put aside so many seconds ago and is tried for the so-manieth time.
fn put_aside(occasion: &str, to: &str, seconds_ago: i64, attempts: u32) -> Job {
    let payload = format!("{{\"occasion\":\"{occasion}\",\"to\":\"{to}\",\"seed\":\"seed\"}}");
    let created_at = now() - SignedDuration::from_secs(seconds_ago);
    Job { attempts, ..Job::new(JobId(Uuid::from_u128(1)), JobKind::Mail, payload, created_at) }
}

/// A token that goes with `seed+`, or another of the same kind.
fn token(hash: &str, purpose: TokenPurpose) -> MailToken {
    let lifetime = Lifetime { from: now(), until: now() + purpose.ttl() };
    MailToken { hash: hash_of(hash), user: user_id(1), purpose, sent_to: "user1@example.org".to_owned(), lifetime }
}

/// Sends what was put aside.
async fn deliver(ctx: &Context, job: Job, mailer: MockMailer) -> Result<Verdict, Failure> {
    let delivery = Delivery { mailer: Arc::new(mailer), public_url: "https://house.example".into() };
    delivery.run(ctx, &job).await
}

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done(None));

/// A store on which that user is found by any address, and locked.
fn ctx_of(found: Option<User>, store: MockStore) -> Context {
    let mut queries = MockQueries::new();
    queries.expect_user_by_email().returning(move |_| Ok(found.clone()));
    context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new())
}

fn issuing(found: User, tokens: Vec<MailToken>) -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_lock().returning(move |_| Ok(vec![found.clone()]));
    unit.mail_tokens.expect_of_user().returning(move |_| Ok(tokens.clone()));
    unit
}

/// A store whose only unit makes this one token good.
fn issues(wanted: MailToken) -> MockStore {
    store(1, move |_| {
        let (wanted, mut unit) = (wanted.clone(), issuing(user(1), Vec::new()));
        unit.unit
            .expect_write()
            .times(1)
            .withf(move |changes| changes.new_mail_tokens == [wanted.clone()])
            .returning(|_| Ok(()));
        unit.commits()
    })
}

fn sends(text: &'static str) -> MockMailer {
    let mut mailer = MockMailer::new();
    mailer
        .expect_send()
        .times(1)
        .withf(move |mail| mail.to.as_str() == "user1@example.org" && mail.text.contains(text))
        .returning(|_| Ok(()));
    mailer
}

/// Threat 11: the token is made good before the mail goes out, and goes to the address as its user wrote
/// it, not as whoever asked did.
#[tokio::test]
async fn a_mail_is_sent_to_the_user_with_a_token_that_is_good() {
    for (occasion, purpose, page) in [
        ("password_forgotten", TokenPurpose::ResetPassword, "https://house.example/reset-password#token=seed+"),
        ("address_taken", TokenPurpose::ResetPassword, "https://house.example/reset-password#token=seed+"),
        ("address_given", TokenPurpose::VerifyEmail, "https://house.example/verify-email#token=seed+"),
    ] {
        let ctx = ctx_of(Some(user(1)), issues(token("seed+", purpose)));
        let job = put_aside(occasion, "USER1@ｅxample.org", 0, 1);
        assert_eq!(deliver(&ctx, job, sends(page)).await, DONE);
    }
}

/// What was sent and not noted is sent again with the same token, which is good already.
#[tokio::test]
async fn a_mail_that_is_sent_again_has_the_same_token() {
    let store = store(1, |_| issuing(user(1), vec![token("seed+", TokenPurpose::ResetPassword)]).rolls_back());
    let job = put_aside("password_forgotten", "user1@example.org", 0, 2);
    assert_eq!(deliver(&ctx_of(Some(user(1)), store), job, sends("#token=seed+")).await, DONE);
}

/// Threats 2 and 11.
#[tokio::test]
async fn a_mail_that_nobody_needs_is_not_sent() {
    let suspended = User { status: UserStatus::Suspended, ..user(1) };
    let verified = User { email_verified: true, ..user(1) };
    for (occasion, found) in [
        ("password_forgotten", None),
        ("password_forgotten", Some(suspended.clone())),
        ("address_given", Some(suspended)),
        ("address_given", Some(verified)),
    ] {
        let (ctx, job) = (ctx_of(found, MockStore::new()), put_aside(occasion, "user1@example.org", 0, 1));
        assert_eq!(deliver(&ctx, job, MockMailer::new()).await, DONE);
    }
    // Too late, the address was changed meanwhile, or enough mails were sent.
    let enough: Vec<MailToken> = ["a", "b", "c"].iter().map(|hash| token(hash, TokenPurpose::ResetPassword)).collect();
    let moved = User { email: Some(Email::parse("elsewhere@example.org").unwrap()), ..user(1) };
    for (seconds_ago, locked, tokens) in [(3600, user(1), vec![]), (0, moved, vec![]), (0, user(1), enough)] {
        let store = store(1, move |_| {
            let mut unit = Unit::default();
            let (locked, tokens) = (locked.clone(), tokens.clone());
            unit.users.expect_lock().returning(move |_| Ok(vec![locked.clone()]));
            unit.mail_tokens.expect_of_user().returning(move |_| Ok(tokens.clone()));
            unit.rolls_back()
        });
        let job = put_aside("password_forgotten", "user1@example.org", seconds_ago, 1);
        assert_eq!(deliver(&ctx_of(Some(user(1)), store), job, MockMailer::new()).await, DONE);
    }
}

/// Who gave another's address as its own would have mails of its webhooks sent there.
#[tokio::test]
async fn of_a_webhook_that_was_disabled_a_verified_address_alone_is_told() {
    for is_verified in [false, true] {
        let ctx = ctx_of(Some(User { email_verified: is_verified, ..user(1) }), MockStore::new());
        let mailer = if is_verified { sends("was disabled") } else { MockMailer::new() };
        let job = put_aside("webhook_disabled", "user1@example.org", 0, 1);
        assert_eq!(deliver(&ctx, job, mailer).await, DONE);
    }
}

/// Tokens that have expired, for something else or for another address leave room.
#[tokio::test]
async fn only_tokens_of_the_same_kind_count_as_outstanding() {
    let like = |hash: &str| token(hash, TokenPurpose::ResetPassword);
    let expired = MailToken { lifetime: Lifetime { from: now(), until: now() }, ..like("d") };
    let elsewhere = MailToken { sent_to: "old@example.org".to_owned(), ..like("e") };
    let tokens = vec![like("a"), like("b"), token("c", TokenPurpose::VerifyEmail), expired, elsewhere];
    let store = store(1, move |_| {
        let mut unit = issuing(user(1), tokens.clone());
        unit.unit.expect_write().times(1).returning(|_| Ok(()));
        unit.commits()
    });
    let job = put_aside("password_forgotten", "user1@example.org", 0, 1);
    assert_eq!(deliver(&ctx_of(Some(user(1)), store), job, sends("")).await, DONE);
}

/// Threat 47.
#[tokio::test]
async fn what_cannot_be_sent_is_told_to_fail_for_now_or_for_good() {
    let failing = |error: fn() -> MailError| {
        let mut mailer = MockMailer::new();
        mailer.expect_send().returning(move |_| Err(error()));
        mailer
    };
    let unavailable: fn() -> MailError = || MailError::Unavailable("connection refused".into());
    let refused: fn() -> MailError = || MailError::Refused("550 no such mailbox".into());
    for (error, is_for_good, why) in
        [(unavailable, false, "right now: connection refused"), (refused, true, "550 no such mailbox")]
    {
        let ctx = ctx_of(Some(user(1)), issues(token("seed+", TokenPurpose::ResetPassword)));
        let job = put_aside("password_forgotten", "user1@example.org", 0, 1);
        let failure = deliver(&ctx, job, failing(error)).await.unwrap_err();
        let (is_told_for_good, error) = match failure {
            Failure::ForGood(error) => (true, error),
            Failure::ForNow(error) => (false, error),
        };
        assert!(is_told_for_good == is_for_good && error.contains(why), "{error}");
    }
    for payload in ["", "{}", "{\"occasion\":\"birthday\",\"to\":\"a@b.org\",\"seed\":\"s\"}"] {
        let job = Job { payload: payload.to_owned(), ..put_aside("", "", 0, 1) };
        let failure = deliver(&ctx_of(None, MockStore::new()), job, MockMailer::new()).await.unwrap_err();
        assert_eq!(failure, Failure::ForGood("what was put aside cannot be read".to_owned()));
    }
}

/// Threat 23: whoever signs up with another's address chooses the name.
#[tokio::test]
async fn a_name_stands_in_a_mail_only_where_the_address_was_verified() {
    for is_verified in [false, true] {
        let name = DisplayName::parse("Win at evil.example").unwrap();
        let found = User { email_verified: is_verified, display_name: name, ..user(1) };
        let mut mailer = MockMailer::new();
        mailer
            .expect_send()
            .times(1)
            .withf(move |mail| mail.text.contains("evil") == is_verified && mail.name.is_some() == is_verified)
            .returning(|_| Ok(()));
        let ctx = ctx_of(Some(found), issues(token("seed+", TokenPurpose::ResetPassword)));
        let job = put_aside("password_forgotten", "user1@example.org", 0, 1);
        assert_eq!(deliver(&ctx, job, mailer).await, DONE);
    }
}
