//! What the audit log is told, and the check of its chain.

use bellwether_domain::audit_log::{
    Action, Actor, Entry, Event, FailedSignIns, FailureKey, Head, Origin, Target, WINDOW, window,
};
use bellwether_domain::ids::EventId;
use bellwether_domain::market::MarketStatus;
use bellwether_domain::ports::*;
use bellwether_domain::session::Device;
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::user::{Role, User, UserStatus};
use bellwether_usecases::audit::audit;
use bellwether_usecases::audit_log::tell_of_failures;
use bellwether_usecases::markets::{Verdict, halt_market, resolve_market};
use bellwether_usecases::users::{UserPatch, deactivate_user, update_user};
use bellwether_usecases::{Caller, Context};
use uuid::Uuid;

use crate::mocks::{Unit, context, context_with, market, market_id, now, store, user, user_id};

fn from_afar(ctx: Context) -> Context {
    let device = Device { address: Some("192.0.2.1".to_owned()), agent: Some("a browser".to_owned()) };
    Context { origin: Origin { device, request_id: Some("request 1".to_owned()) }, ..ctx }
}

/// Expects one write that tells exactly this, and its commit.
fn tells(mut unit: Unit, told: impl Fn(&[Event]) -> bool + Send + 'static) -> Unit {
    unit.unit.expect_write().times(1).withf(move |changes| told(&changes.events)).returning(|_| Ok(()));
    unit.commits()
}

/// Threat 7.
#[tokio::test]
async fn a_change_of_a_user_is_told_in_its_own_unit_with_who_when_and_from_where() {
    let store = store(1, |_| {
        let mut unit = Unit::default();
        unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
        tells(unit, |events| {
            let [address, name] = events else { return false };
            address.action == Action::EmailChanged
                && name.action == Action::Edited
                && address.id != name.id
                && events.iter().all(|event| {
                    event.actor == Actor::User(user_id(2))
                        && event.target == Some(Target::User(user_id(1)))
                        && event.at == now()
                        && event.origin.device.address.as_deref() == Some("192.0.2.1")
                        && event.origin.request_id.as_deref() == Some("request 1")
                        // What can never be taken back names nobody.
                        && event.before.is_none() && event.after.is_none()
                })
        })
    });
    let caller = Caller::signed_in(user_id(2), Role::Admin);
    let patch = UserPatch {
        email: Some(Email::parse("other@example.org").unwrap()),
        display_name: Some(DisplayName::parse("Other").unwrap()),
        ..UserPatch::default()
    };
    update_user(&from_afar(context(store)), caller, user_id(1), patch, None).await.unwrap();
}

#[tokio::test]
async fn a_user_that_is_deleted_is_told_of_once() {
    let store = store(1, |_| {
        let mut unit = Unit::default();
        unit.users.expect_lock_admins().returning(|| Ok(vec![user(2)]));
        unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
        unit.sessions.expect_lock_of_user().returning(|_| Ok(Vec::new()));
        unit.mail_tokens.expect_of_user().returning(|_| Ok(Vec::new()));
        tells(unit, |events| events.iter().map(|event| event.action).eq([Action::Deactivated]))
    });
    let mut queries = MockQueries::new();
    queries.expect_orders().returning(|_, _| Ok(Page { items: Vec::new(), total: None, has_more: false }));
    let ctx = context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new());
    let caller = Caller::signed_in(user_id(1), Role::User);
    deactivate_user(&ctx, caller, user_id(1), None).await.unwrap();
}

#[tokio::test]
async fn what_moderators_do_to_markets_is_told_and_what_creators_do_is_not() {
    let moderator = Caller::signed_in(user_id(2), Role::Moderator);
    let halts = store(1, |_| {
        let mut unit = Unit::default();
        unit.markets.expect_lock().returning(|_| Ok(vec![market(1, MarketStatus::Open)]));
        tells(unit, |events| {
            let [event] = events else { return false };
            event.action == Action::MarketHalted
                && event.target == Some(Target::Market(market_id(1)))
                && event.before.as_deref() == Some(r#"{"status":"open"}"#)
                && event.after.as_deref() == Some(r#"{"status":"halted"}"#)
        })
    });
    halt_market(&context(halts), moderator, market_id(1), None).await.unwrap();

    for (caller, told) in [(moderator, 1), (Caller::signed_in(user_id(9), Role::User), 0)] {
        let store = store(2, move |number| {
            let mut unit = Unit::default();
            if number == 0 {
                unit.markets.expect_lock().returning(|_| Ok(vec![market(1, MarketStatus::Closed)]));
                return tells(unit, move |events| {
                    events.len() == told
                        && events.iter().all(|event| {
                            event.action == Action::MarketResolved
                                && event.after.as_ref().is_some_and(|json| json.contains(r#""YES":1000"#))
                        })
                });
            }
            unit.markets.expect_lock().returning(|_| Ok(Vec::new()));
            unit.rolls_back()
        });
        let mut queries = MockQueries::new();
        queries.expect_market().returning(|_| Ok(Some(market(1, MarketStatus::Resolved))));
        let ctx = context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new());
        resolve_market(&ctx, caller, market_id(1), Verdict::Outcome("YES".to_owned()), None).await.unwrap();
    }
}

/// Threat 61: however often somebody guesses, the log grows by two entries an hour.
#[tokio::test]
async fn failures_are_told_in_sums_when_their_window_is_over_and_single_ones_not_again() {
    let sum = |of: Option<u128>, place: &str, count| FailedSignIns {
        key: FailureKey { user: of.map(user_id), place: place.to_owned(), since: window(now()) - WINDOW },
        count,
        last_at: now() - WINDOW,
    };
    let sums = vec![sum(Some(1), "192.0.2.1", 1), sum(Some(1), "2001:db8::/64", 70_000), sum(None, "", 3)];
    let store = store(1, move |_| {
        let mut unit = Unit::default();
        let sums = sums.clone();
        let is_over = |before: &jiff::Timestamp, _: &u32| *before == now() - WINDOW;
        unit.failures.expect_take_before().times(1).withf(is_over).returning(move |_, _| Ok(sums.clone()));
        tells(unit, |events| {
            let [many, rest] = events else { return false };
            many.target == Some(Target::User(user_id(1)))
                && many.origin.device.address.as_deref() == Some("2001:db8::/64")
                && many.after.as_ref().is_some_and(|json| json.contains(r#""count":70000"#))
                && rest.target.is_none()
                && rest.origin == Origin::default()
                && events.iter().all(|event| event.actor == Actor::Stranger)
        })
    });
    tell_of_failures(&context(store)).await.unwrap();
}

fn entries() -> (Vec<Entry>, Head) {
    let mut head = Head::default();
    let event = |number: u128| Event {
        id: EventId(Uuid::from_u128(number)),
        at: now(),
        actor: Actor::System,
        action: Action::KeysRotated,
        target: None,
        origin: Origin::default(),
        before: None,
        after: None,
    };
    let entries = (1..=3).map(|number| head.append(event(number)).unwrap()).collect();
    (entries, head)
}

async fn audited(links: Vec<Link>, head: Head) -> Vec<Violation> {
    let mut queries = MockQueries::new();
    queries.expect_violations().returning(|_| Ok(Vec::new()));
    queries.expect_accounts_after().returning(|_, _| Ok(Vec::new()));
    queries.expect_chains().returning(|_, _| Ok(Vec::new()));
    queries.expect_markets().returning(|_, _| Ok(Page { items: Vec::new(), total: None, has_more: false }));
    queries.expect_best_prices().returning(|_| Ok(Vec::new()));
    queries.expect_audit_head().returning(move || Ok(head));
    queries
        .expect_audit_chain()
        .returning(move |after, _| Ok(links.iter().filter(|link| link.number > after).cloned().collect()));
    let ctx = context_with(MockStore::new(), queries, MockPasswordHasher::new(), MockTokenSigner::new());
    audit(&ctx, 10).await.unwrap()
}

/// Threat 7: an audit says the first entry that is not as it was written.
#[tokio::test]
async fn an_audit_names_the_first_entry_that_does_not_fit() {
    let (entries, head) = entries();
    let link = |entry: &Entry| Link { number: entry.number, entry: Some(entry.clone()) };
    let whole: Vec<Link> = entries.iter().map(link).collect();
    assert_eq!(audited(whole.clone(), head).await, []);
    // Entries that come while it looks are no breach.
    let earlier = Head { entries: 2, hash: entries[1].hash };
    assert_eq!(audited(whole.clone(), earlier).await, []);

    let mut edited = whole.clone();
    edited[1].entry.as_mut().unwrap().event.actor = Actor::Stranger;
    let mut unreadable = whole.clone();
    unreadable[1].entry = None;
    let mut removed = whole.clone();
    removed.remove(1);
    let without_the_last = whole[..2].to_vec();
    let other_end = Head { hash: [1; 32], ..head };
    for (links, head, words) in [
        (edited, head, "entry 2 of the audit log"),
        (unreadable, head, "entry 2 of the audit log (which cannot be read)"),
        (removed, head, "entry 3 of the audit log"),
        (without_the_last, head, "has 3 entries, and those after 2 are missing"),
        (Vec::new(), head, "has 3 entries, and those after 0 are missing"),
        (whole, other_end, "entry 3 of the audit log"),
    ] {
        let found = audited(links, head).await;
        assert!(found.len() == 1 && found[0].invariant == 9 && found[0].message.contains(words), "{found:?}");
    }
}

#[tokio::test]
async fn a_promotion_by_the_command_line_is_the_systems() {
    let store = store(1, |_| {
        let mut unit = Unit::default();
        let suspended = User { status: UserStatus::Suspended, ..user(1) };
        unit.users.expect_lock().returning(move |_| Ok(vec![suspended.clone()]));
        unit.sessions.expect_lock_of_user().returning(|_| Ok(Vec::new()));
        unit.mail_tokens.expect_of_user().returning(|_| Ok(Vec::new()));
        tells(unit, |events| {
            let actions = [Action::RoleChanged, Action::Reactivated, Action::PasswordChanged];
            events.iter().map(|event| event.action).eq(actions)
                && events.iter().all(|event| event.actor == Actor::System)
                && events[0].before.as_deref() == Some(r#"{"role":"user"}"#)
                && events[0].after.as_deref() == Some(r#"{"role":"admin"}"#)
        })
    });
    let mut queries = MockQueries::new();
    queries.expect_user_by_email().returning(|_| Ok(Some(user(1))));
    let mut hasher = MockPasswordHasher::new();
    hasher.expect_hash().returning(|_| Ok(bellwether_domain::user::PasswordHash::new("new".to_owned())));
    let ctx = context_with(store, queries, hasher, MockTokenSigner::new());
    let request = bellwether_usecases::users::SignUp {
        email: Email::parse("user1@example.org").unwrap(),
        display_name: DisplayName::parse("New").unwrap(),
        password: bellwether_usecases::users::Password("correct horse".to_owned()),
    };
    bellwether_usecases::users::create_admin(&ctx, request).await.unwrap();
}
