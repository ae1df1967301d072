//! Sessions: how they begin, go on and end.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bellwether_domain::ids::SessionId;
use bellwether_domain::ports::{
    AccessClaims, Changes, MockClock, MockPasswordHasher, MockQueries, MockStore, MockTokenSigner, OpaqueToken,
    SessionOfUser,
};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::session::{Device, EndReason, Lifetime, RefreshToken, Session};
use bellwether_domain::user::{PasswordHash, Role, User, UserStatus};
use bellwether_usecases::sessions::{
    Identity, authenticate, forget_old_sessions, log_out, log_out_by_token, log_out_everywhere, recall, refresh, revoke,
};
use bellwether_usecases::users::{Password, UserPatch, create_admin, deactivate_user, log_in, update_user};
use bellwether_usecases::{Caller, Context, Error};
use jiff::SignedDuration;

use crate::mocks::{Unit, context_with, hash_of, now, session, store, user, user_id};

/// A signer whose tokens are session ids.
fn signer() -> MockTokenSigner {
    let mut signer = MockTokenSigner::new();
    signer.expect_sign().returning(|claims, _| Ok(claims.session.to_string()));
    signer.expect_verify().returning(|token, _| {
        let session = SessionId(token.parse().unwrap());
        let (id, expires_at) = (session.0, now() + SignedDuration::from_mins(15));
        Ok(AccessClaims { id, user: user_id(1), role: Role::Admin, session, expires_at })
    });
    signer
}

fn right_password() -> MockPasswordHasher {
    let mut hasher = MockPasswordHasher::new();
    hasher.expect_verify().returning(|_, _| Ok(true));
    hasher.expect_hash().returning(|_| Ok(PasswordHash::new("another hash".to_owned())));
    hasher.expect_is_outdated().return_const(false);
    hasher
}

fn with_user() -> MockQueries {
    let mut queries = MockQueries::new();
    queries.expect_user_by_email().returning(|_| Ok(Some(user(1))));
    queries.expect_user().returning(|_| Ok(Some(user(1))));
    queries
}

fn ctx(store: MockStore) -> Context {
    context_with(store, with_user(), right_password(), signer())
}

fn device() -> Device {
    Device { address: Some("192.0.2.1".to_owned()), agent: Some("a browser".to_owned()) }
}

async fn sign_in(ctx: &Context) -> Result<bellwether_usecases::sessions::SignedIn, Error> {
    log_in(ctx, "user1@example.org", &Password("right".to_owned()), device()).await
}

/// A unit in which the user is found and has these sessions.
fn unit_of(found: User, sessions: Vec<Session>) -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_lock().returning(move |_| Ok(vec![found.clone()]));
    unit.sessions.expect_lock_of_user().returning(move |_| Ok(sessions.clone()));
    unit.mail_tokens.expect_of_user().returning(|_| Ok(Vec::new()));
    unit
}

/// Expects one write of changes like these, and its commit.
fn writes(mut unit: Unit, are_right: impl Fn(&Changes) -> bool + Send + 'static) -> Unit {
    unit.unit.expect_write().times(1).withf(are_right).returning(|_| Ok(()));
    unit.commits()
}

#[tokio::test]
async fn signing_in_begins_a_session_with_a_refresh_token_of_seven_days() {
    let store = store(1, |_| {
        writes(unit_of(user(1), vec![]), |changes| {
            let (session, token) = (&changes.new_sessions[0], &changes.new_refresh_tokens[0]);
            let lifetime = Lifetime { from: now(), until: now() + SignedDuration::from_hours(168) };
            session.user == user_id(1)
                && session.device == device()
                && session.expires_at == lifetime.until
                && *token == RefreshToken::fresh(hash_of("token"), session.id, lifetime)
        })
    });
    let signed_in = sign_in(&ctx(store)).await.unwrap();
    assert_eq!(signed_in.refresh_token, OpaqueToken::new("token".to_owned()));
    assert_eq!((signed_in.expires_in_s, signed_in.refresh_expires_in_s), (900, 604_800));
}

/// Threat 9: whoever still knows the old password must not slip in while it is changed. It is looked at
/// once more, since the same password may have been hashed anew meanwhile.
#[tokio::test]
async fn no_session_begins_with_a_password_that_was_changed_while_it_was_checked() {
    let mut changed = user(1);
    changed.password_hash = Some(PasswordHash::new("changed".to_owned()));
    let mut suspended = user(1);
    suspended.status = UserStatus::Suspended;
    for found in [changed, suspended] {
        let store = store(2, move |_| unit_of(found.clone(), vec![]).rolls_back());
        assert!(matches!(sign_in(&ctx(store)).await, Err(Error::Refused(Refusal::BadCredentials))));
    }
}

#[tokio::test]
async fn one_session_too_many_ends_those_not_seen_for_longest() {
    let mut expired = session(9, 1, 0);
    expired.expires_at = now();
    let sessions = vec![session(1, 1, 30), session(2, 1, 10), session(3, 1, 40), session(4, 1, 20), expired];
    let store = store(1, move |_| {
        writes(unit_of(user(1), sessions.clone()), |changes| {
            let mut ended: Vec<Session> = changes.sessions.clone();
            ended.sort_by_key(|session| session.id);
            let are_ended = ended.iter().all(|s| s.end.is_some_and(|end| end.reason == EndReason::TooMany));
            are_ended && ended.iter().map(|s| s.id).eq([session(1, 1, 0).id, session(3, 1, 0).id])
        })
    });
    let mut ctx = ctx(store);
    ctx.policy.max_sessions = 3;
    sign_in(&ctx).await.unwrap();
}

/// The spent token and its successor, as the store has them some seconds after the use.
fn family(spent: Option<i64>, successor_spent: Option<i64>) -> Vec<RefreshToken> {
    let begun = session(1, 1, 100);
    let lifetime = Lifetime { from: begun.created_at, until: begun.expires_at };
    let ago = |seconds: i64| now() - SignedDuration::from_secs(seconds);
    let first = RefreshToken { spent_at: spent.map(ago), ..RefreshToken::fresh(hash_of("t"), begun.id, lifetime) };
    let next = RefreshToken { hash: hash_of("t+"), spent_at: successor_spent.map(ago), ..first.clone() };
    if spent.is_some() { vec![next, first] } else { vec![first] }
}

/// A unit in which the token belongs to the session, and the family has these tokens.
fn unit_of_family(found: Session, owner: User, tokens: Vec<RefreshToken>) -> Unit {
    let mut unit = Unit::default();
    unit.sessions
        .expect_lock_by_token()
        .withf(|hash| *hash == hash_of("t"))
        .returning(move |_| Ok(Some(found.clone())));
    unit.sessions.expect_refresh_tokens().returning(move |_| Ok(tokens.clone()));
    unit.users.expect_load().returning(move |_| Ok(vec![owner.clone()]));
    unit
}

async fn use_token(ctx: &Context) -> Result<String, Error> {
    let signed_in = refresh(ctx, &OpaqueToken::new("t".to_owned()), device()).await?;
    Ok(signed_in.refresh_token.expose().to_owned())
}

#[tokio::test]
async fn a_refresh_spends_the_token_and_issues_its_successor() {
    let store = store(1, |_| {
        writes(unit_of_family(session(1, 1, 100), user(1), family(None, None)), |changes| {
            let lifetime = Lifetime { from: now(), until: now() + SignedDuration::from_hours(168) };
            let (spent, renewed) = (&changes.refresh_tokens[0], &changes.sessions[0]);
            changes.new_refresh_tokens == [RefreshToken::fresh(hash_of("t+"), renewed.id, lifetime)]
                && (spent.hash, spent.spent_at) == (hash_of("t"), Some(now()))
                && (renewed.last_seen_at, renewed.expires_at) == (now(), lifetime.until)
                && renewed.device == device()
        })
    });
    assert_eq!(use_token(&ctx(store)).await.unwrap(), "t+");
}

/// Threat 8.
#[tokio::test]
async fn within_the_grace_the_same_successor_is_given_again() {
    let store = store(1, |_| unit_of_family(session(1, 1, 100), user(1), family(Some(9), None)).commits());
    assert_eq!(use_token(&ctx(store)).await.unwrap(), "t+");
}

/// Threat 7: after the grace, and within it when the successor was used.
#[tokio::test]
async fn a_replay_ends_the_session_and_its_access_tokens_at_once() {
    for tokens in [family(Some(10), None), family(Some(5), Some(3))] {
        let store = store(1, move |_| {
            writes(unit_of_family(session(1, 1, 100), user(1), tokens.clone()), |changes| {
                changes.sessions[0].end.is_some_and(|end| end.reason == EndReason::Replayed)
                    && changes.new_refresh_tokens.is_empty()
            })
        });
        let mut queries = with_user();
        queries.expect_session().times(1).returning(|_| Ok(Some(of_user(session(1, 1, 100)))));
        let ctx = context_with(store, queries, right_password(), signer());
        let access = session(1, 1, 0).id.to_string();
        assert!(authenticate(&ctx, &access).await.unwrap().is_some());
        assert!(matches!(use_token(&ctx).await, Err(Error::Refused(Refusal::BadRefreshToken))));
        assert_eq!(recall(&ctx, &access).await, None, "it is no longer remembered as good");
    }
}

/// Nothing is told of why, and nothing is written.
#[tokio::test]
async fn tokens_that_are_unknown_expired_or_of_a_session_that_is_over_are_refused() {
    let (mut ended, mut expired) = (session(1, 1, 100), session(1, 1, 100));
    ended.end(EndReason::LoggedOut, now());
    expired.expires_at = now();
    let mut old = family(None, None);
    old[0].lifetime.until = now();
    let mut suspended = user(1);
    suspended.status = UserStatus::Suspended;
    let good = || session(1, 1, 100);
    for (found, owner, tokens) in [
        (ended, user(1), family(None, None)),
        (expired, user(1), family(None, None)),
        (good(), suspended, family(None, None)),
        (good(), user(1), old),
        (good(), user(1), vec![]),
    ] {
        let store = store(1, move |_| unit_of_family(found.clone(), owner.clone(), tokens.clone()).rolls_back());
        assert!(matches!(use_token(&ctx(store)).await, Err(Error::Refused(Refusal::BadRefreshToken))));
    }
    let store = store(1, |_| {
        let mut unit = Unit::default();
        unit.sessions.expect_lock_by_token().returning(|_| Ok(None));
        unit.rolls_back()
    });
    assert!(matches!(use_token(&ctx(store)).await, Err(Error::Refused(Refusal::BadRefreshToken))));
}

fn of_user(session: Session) -> SessionOfUser {
    SessionOfUser { session, role: Role::User, status: UserStatus::Active }
}

/// Threat 16: what a user may do is what the store says now, not what the token said then.
#[tokio::test]
async fn a_token_speaks_for_the_user_as_it_is_now() {
    for (status, role, expected) in [
        (UserStatus::Active, Role::User, Some(Role::User)),
        (UserStatus::Active, Role::Moderator, Some(Role::Moderator)),
        (UserStatus::Suspended, Role::Admin, None),
        (UserStatus::Deactivated, Role::User, None),
    ] {
        let mut queries = MockQueries::new();
        let found = SessionOfUser { session: session(1, 1, 0), role, status };
        queries.expect_session().returning(move |_| Ok(Some(found.clone())));
        let ctx = context_with(MockStore::new(), queries, MockPasswordHasher::new(), signer());
        let who = authenticate(&ctx, &session(1, 1, 0).id.to_string()).await.unwrap();
        assert_eq!(who.map(|who| who.caller), expected.map(|role| Caller::signed_in(user_id(1), role)));
    }
}

#[tokio::test]
async fn a_token_of_a_session_that_is_over_forgotten_or_anothers_speaks_for_nobody() {
    let (mut ended, mut expired) = (session(1, 1, 0), session(1, 1, 0));
    ended.end(EndReason::Revoked, now());
    expired.expires_at = now();
    for found in [None, Some(of_user(ended)), Some(of_user(expired)), Some(of_user(session(1, 2, 0)))] {
        let mut queries = MockQueries::new();
        queries.expect_session().returning(move |_| Ok(found.clone()));
        let ctx = context_with(MockStore::new(), queries, MockPasswordHasher::new(), signer());
        assert_eq!(authenticate(&ctx, &session(1, 1, 0).id.to_string()).await.unwrap(), None);
    }
}

/// The store is asked at the first request only, and no longer than the session lasts.
#[tokio::test]
async fn what_is_remembered_expires_with_the_session() {
    let mut queries = MockQueries::new();
    let mut short = session(1, 1, 0);
    short.expires_at = now() + SignedDuration::from_secs(5);
    queries.expect_session().times(1).returning(move |_| Ok(Some(of_user(short.clone()))));
    let mut ctx = context_with(MockStore::new(), queries, MockPasswordHasher::new(), signer());
    ctx.session_memory = bellwether_usecases::sessions::SessionMemory::with_max_age(std::time::Duration::from_secs(60));
    let (seconds, mut clock) = (Arc::new(AtomicI64::new(0)), MockClock::new());
    let passed = Arc::clone(&seconds);
    clock.expect_now().returning(move || now() + SignedDuration::from_secs(passed.load(Ordering::SeqCst)));
    ctx.clock = Arc::new(clock);
    let token = session(1, 1, 0).id.to_string();
    assert_eq!(recall(&ctx, &token).await, None);
    assert!(authenticate(&ctx, &token).await.unwrap().is_some());
    assert!(matches!(recall(&ctx, &token).await, Some(Some(_))));
    seconds.store(5, Ordering::SeqCst);
    assert_eq!(recall(&ctx, &token).await, Some(None));
}

/// Threat 9: the password, the status and the role end the sessions; a name does not.
#[tokio::test]
async fn what_changes_what_a_user_may_do_ends_its_sessions() {
    let ends = || {
        store(1, |_| {
            let mut unit = unit_of(user(1), vec![session(1, 1, 0), session(2, 1, 0)]);
            unit.users.expect_lock_admins().returning(|| Ok(vec![user(8), user(9)]));
            writes(unit, |changes| {
                let is_ended = |s: &Session| s.end.is_some_and(|end| end.reason == EndReason::UserChanged);
                changes.sessions.len() == 2 && changes.sessions.iter().all(is_ended)
            })
        })
    };
    let caller = Caller::signed_in(user_id(1), Role::User);
    let password = Some(Password("right pass phrase".to_owned()));
    let patch = UserPatch { new_password: password.clone(), current_password: password, ..UserPatch::default() };
    let ctx1 = ctx(ends());
    update_user(&ctx1, caller, user_id(1), patch, None).await.unwrap();

    let request = bellwether_usecases::users::SignUp {
        email: user(1).email.unwrap(),
        display_name: user(1).display_name,
        password: Password("right pass phrase".to_owned()),
    };
    create_admin(&ctx(ends()), request).await.unwrap();

    // Its open orders are looked for afterwards; that there is no store for that is but logged.
    let mut store = ends();
    store.expect_begin().returning(|| Err(bellwether_domain::ports::StoreError::Unavailable("gone".into())));
    let mut queries = with_user();
    queries.expect_orders().returning(|_, _| Err(bellwether_domain::ports::StoreError::Unavailable("gone".into())));
    let ctx3 = context_with(store, queries, right_password(), signer());
    deactivate_user(&ctx3, caller, user_id(1), None).await.unwrap();

    let store = crate::mocks::store(1, |_| writes(unit_of(user(1), vec![]), |changes| changes.sessions.is_empty()));
    let patch = UserPatch { display_name: Some(user(2).display_name), ..UserPatch::default() };
    update_user(&ctx(store), caller, user_id(1), patch, None).await.unwrap();
}

#[tokio::test]
async fn signing_out_ends_one_session_or_all() {
    let ends = |count: usize| {
        move |changes: &Changes| {
            let is_ended = |s: &Session| s.end.is_some_and(|end| end.reason == EndReason::LoggedOut);
            changes.sessions.len() == count && changes.sessions.iter().all(is_ended)
        }
    };
    let who = Identity { caller: Caller::signed_in(user_id(1), Role::User), session: session(1, 1, 0).id };
    let one = store(1, move |_| {
        let mut unit = Unit::default();
        unit.sessions.expect_lock().withf(move |ids| ids == [who.session]).returning(|_| Ok(vec![session(1, 1, 0)]));
        writes(unit, ends(1))
    });
    log_out(&ctx(one), who).await.unwrap();
    let all = store(1, move |_| writes(unit_of(user(1), vec![session(1, 1, 0), session(2, 1, 0)]), ends(2)));
    log_out_everywhere(&ctx(all), who.caller).await.unwrap();
    // By a refresh token, and a second time, when there is nothing left to end.
    for (found, is_written) in [(Some(session(1, 1, 0)), true), (None, false)] {
        let store = store(1, move |_| {
            let (mut unit, found) = (Unit::default(), found.clone());
            unit.sessions.expect_lock_by_token().returning(move |_| Ok(found.clone()));
            if is_written { writes(unit, ends(1)) } else { unit.rolls_back() }
        });
        log_out_by_token(&ctx(store), &OpaqueToken::new("t".to_owned())).await.unwrap();
    }
}

/// Threat 13.
#[tokio::test]
async fn only_ones_own_sessions_can_be_ended_unless_one_is_an_administrator() {
    let caller = |n, role| Caller::signed_in(user_id(n), role);
    let id = session(1, 1, 0).id;
    let refused = revoke(&ctx(MockStore::new()), caller(2, Role::Moderator), user_id(1), id).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::UserNotFound))));
    for (who, owner, is_found) in
        [(caller(1, Role::User), 1, true), (caller(9, Role::Admin), 1, true), (caller(2, Role::User), 2, false)]
    {
        let store = store(1, move |_| {
            let mut unit = Unit::default();
            unit.sessions.expect_lock().returning(|_| Ok(vec![session(1, 1, 0)]));
            if is_found { writes(unit, |changes| changes.sessions.len() == 1) } else { unit.rolls_back() }
        });
        let ended = revoke(&ctx(store), who, user_id(owner), id).await;
        assert_eq!(ended.is_ok(), is_found);
        assert!(is_found || matches!(ended, Err(Error::Refused(Refusal::SessionNotFound))));
    }
}

#[tokio::test]
async fn old_sessions_are_forgotten_until_none_is_left() {
    let store = store(3, |run| {
        let mut unit = Unit::default();
        let count = [700, 500, 0][usize::try_from(run).unwrap()];
        unit.sessions.expect_forget_before().withf(|before, _| *before == now()).returning(move |_, _| Ok(count));
        if count == 0 { unit.rolls_back() } else { unit.commits() }
    });
    assert_eq!(forget_old_sessions(&ctx(store)).await.unwrap(), 1200);
}
