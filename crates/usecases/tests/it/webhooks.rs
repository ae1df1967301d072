//! Webhooks: who is told what, by which unit of work, and what is noted of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bellwether_domain::event::{Event, EventBatch};
use bellwether_domain::ids::{DeliveryId, JobId, WebhookId};
use bellwether_domain::job::{Job, JobKind};
use bellwether_domain::ports::{
    AnswerKey, CallAnswer, CallError, Changes, MockCaller, MockClock, MockOutbox, MockQueries, MockStore,
    MockWebhookLog, MockWebhookSigner, StoreError,
};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::{Role, User, UserStatus};
use bellwether_domain::webhook::{Delivery, DeliveryState, MOST_WEBHOOKS, Webhook, WebhookState};
use bellwether_usecases::events::Progress;
use bellwether_usecases::jobs::{Handler as _, Verdict};
use bellwether_usecases::users::{Standing, deactivate_user, set_status};
use bellwether_usecases::webhooks::{self, Again, Delivering, Follower, NewWebhook, WebhookPatch, follow};
use bellwether_usecases::{Answered, Caller, Context, Error, Keyed, Rendered};
use futures_util::FutureExt as _;
use jiff::SignedDuration;
use uuid::Uuid;

use crate::mocks::{Unit, context, no_webhooks, now, store, user, user_id};

pub fn hook(n: u128) -> Webhook {
    Webhook {
        id: WebhookId(Uuid::from_u128(n)),
        owner: user_id(1),
        url: "https://example.org/hook".to_owned(),
        description: None,
        events: Vec::new(),
        markets: Vec::new(),
        state: WebhookState::Enabled,
        secret_number: 0,
        overlap_until: None,
        failing_since: None,
        created_at: now(),
        updated_at: now(),
        version: 1,
    }
}

fn message(n: u128) -> Delivery {
    let id = DeliveryId(Uuid::from_u128(n));
    Delivery::new(id, hook(1).id, "webhook.test".to_owned(), "{}".to_owned(), now())
}

/// A batch of one event, which concerns the owner of the webhooks alone.
fn batch(position: i64) -> EventBatch {
    let user = user_id(1);
    let data = format!(r#"{{"userId":"{user}","balance":"1.000","held":"0.000","available":"1.000"}}"#);
    let payload = format!(r#"[{{"type":"balance.changed","data":{data}}}]"#);
    EventBatch { position, at: now(), payload }
}

fn caller() -> Caller {
    Caller::signed_in(user_id(1), Role::User)
}

#[test]
fn the_batch_of_these_tests_can_be_read() {
    let kinds: Vec<&str> = batch(1).events().unwrap().iter().map(|recorded| recorded.event.kind()).collect();
    assert!(kinds == ["balance.changed"] && Event::KINDS.contains(&"balance.changed"));
}

/// Threat 48: what is to be told, the job that tells it and the cursor move together.
#[tokio::test]
async fn what_happened_is_put_aside_in_the_unit_that_moves_the_cursor() {
    let store = store(1, |_| {
        let mut unit = Unit::default();
        unit.event_cursors.expect_lock().times(1).returning(|_, _| Ok(Some(4)));
        unit.event_cursors.expect_advance().times(1).withf(|_, position| *position == 7).returning(|_, _| Ok(()));
        unit.webhooks.expect_enabled().times(1).returning(|| Ok(vec![hook(1)]));
        unit.unit
            .expect_write()
            .times(1)
            .withf(|changes| {
                let sequences: Vec<i64> = changes.new_deliveries.iter().map(|delivery| delivery.sequence).collect();
                let job = &changes.new_jobs[0];
                sequences == [5 * 1024, 7 * 1024]
                    && changes.new_jobs.len() == 1
                    && job.kind == JobKind::Webhook
                    && job.unique_key.as_deref() == Some(job.payload.as_str())
            })
            .returning(|_| Ok(()));
        unit.commits()
    });
    let mut outbox = MockOutbox::new();
    outbox.expect_after().returning(|position, _| Ok(if position < 7 { vec![batch(5), batch(7)] } else { Vec::new() }));
    let mut ctx = context(store);
    ctx.outbox = Arc::new(outbox);
    let mut follower = Follower::default();
    assert_eq!(follow(&ctx, &mut follower).await.unwrap(), Progress::Some);
    assert!(ctx.job_bell.heard(JobKind::Webhook).now_or_never().is_some());
    assert_eq!(
        follow(&ctx, &mut follower).await.unwrap(),
        Progress::Nothing,
        "nothing more, and the store is not asked to lock"
    );
}

/// However many webhooks there are for how many events: a unit and its statements stay small, and what was left is next.
#[tokio::test]
async fn what_comes_to_many_messages_is_put_aside_a_batch_and_a_statement_at_a_time() {
    let batch_of_many = |position| {
        let one = batch(position);
        let event = one.payload.trim_matches(['[', ']']);
        EventBatch { payload: format!("[{}]", vec![event; 900].join(",")), ..one }
    };
    let store = store(1, |_| {
        let mut unit = Unit::default();
        unit.event_cursors.expect_lock().returning(|_, _| Ok(Some(4)));
        unit.event_cursors.expect_advance().times(1).withf(|_, position| *position == 5).returning(|_, _| Ok(()));
        unit.webhooks.expect_enabled().returning(|| Ok(vec![hook(1), hook(2), hook(3)]));
        let mut writes = vec![(700, 3), (2000, 0)];
        unit.unit.expect_write().times(2).returning(move |changes| {
            assert_eq!(Some((changes.new_deliveries.len(), changes.new_jobs.len())), writes.pop());
            Ok(())
        });
        unit.commits()
    });
    let mut outbox = MockOutbox::new();
    outbox.expect_after().returning(move |_, _| Ok(vec![batch_of_many(5), batch_of_many(6)]));
    let mut ctx = context(store);
    ctx.outbox = Arc::new(outbox);
    assert_eq!(follow(&ctx, &mut Follower::default()).await.unwrap(), Progress::More);
}

#[tokio::test]
async fn what_happened_is_read_before_the_unit_of_work_which_may_have_the_only_connection() {
    let is_open = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&is_open);
    let store = store(1, move |_| {
        opened.store(true, Ordering::SeqCst);
        let mut unit = Unit::default();
        unit.event_cursors.expect_lock().returning(|_, _| Ok(Some(4)));
        unit.event_cursors.expect_advance().times(1).returning(|_, _| Ok(()));
        unit.webhooks.expect_enabled().returning(|| Ok(Vec::new()));
        unit.commits()
    });
    let mut outbox = MockOutbox::new();
    outbox.expect_after().times(1).returning(move |_, _| {
        assert!(!is_open.load(Ordering::SeqCst), "a unit of work waits for this");
        Ok(vec![batch(5)])
    });
    let mut ctx = context(store);
    ctx.outbox = Arc::new(outbox);
    assert_eq!(follow(&ctx, &mut Follower::default()).await.unwrap(), Progress::Some);
}

/// Of what was read before the cursor was locked, or of all that and more.
#[tokio::test]
async fn what_another_server_has_acted_on_meanwhile_is_not_acted_on_again() {
    for (cursor, is_some_left, then) in [(5, true, 7), (9, false, 9)] {
        let store = store(1, move |_| {
            let mut unit = Unit::default();
            unit.event_cursors.expect_lock().returning(move |_, _| Ok(Some(cursor)));
            if !is_some_left {
                return unit.rolls_back();
            }
            unit.event_cursors.expect_advance().times(1).withf(|_, position| *position == 7).returning(|_, _| Ok(()));
            unit.webhooks.expect_enabled().returning(|| Ok(vec![hook(1)]));
            let is_right = |changes: &Changes| changes.new_deliveries.iter().map(|d| d.sequence).eq([7 * 1024]);
            unit.unit.expect_write().times(1).withf(is_right).returning(|_| Ok(()));
            unit.commits()
        });
        let mut outbox = MockOutbox::new();
        outbox.expect_after().returning(move |position, _| {
            assert!(position == 0 || position == then, "{position}");
            Ok(if position == 0 { vec![batch(5), batch(7)] } else { Vec::new() })
        });
        let mut ctx = context(store);
        ctx.outbox = Arc::new(outbox);
        let mut follower = Follower::default();
        let expected = if is_some_left { Progress::Some } else { Progress::More };
        assert_eq!(follow(&ctx, &mut follower).await.unwrap(), expected);
        assert_eq!(follow(&ctx, &mut follower).await.unwrap(), Progress::Nothing);
    }
}

#[tokio::test]
async fn another_server_that_follows_is_left_to_it() {
    let store = store(1, |_| {
        let mut unit = Unit::default();
        unit.event_cursors.expect_lock().returning(|_, _| Ok(None));
        unit.rolls_back()
    });
    let mut outbox = MockOutbox::new();
    outbox.expect_after().returning(|_, _| Ok(vec![batch(1)]));
    let mut ctx = context(store);
    ctx.outbox = Arc::new(outbox);
    assert_eq!(follow(&ctx, &mut Follower::default()).await.unwrap(), Progress::Some);
}

/// What is due once, and then nothing; nothing waits for another try.
fn log_of(messages: Vec<Delivery>) -> MockWebhookLog {
    let mut log = MockWebhookLog::new();
    log.expect_webhook().returning(|_| Ok(Some(hook(1))));
    let mut messages = Some(messages);
    log.expect_due().returning(move |_, _, _| Ok(messages.take().unwrap_or_default()));
    log.expect_next_due().returning(|_| Ok(None));
    log
}

fn sending(store: MockStore, log: MockWebhookLog, answer: Result<u16, CallError>) -> Context {
    let mut signer = MockWebhookSigner::new();
    signer.expect_sign().returning(|_, numbers, id, _, _| format!("{numbers:?} {id}"));
    let mut calls = MockCaller::new();
    calls.expect_post().returning(move |call| {
        assert_eq!(call.headers.len(), 3);
        let took = Duration::from_millis(3);
        answer.clone().map(|status| CallAnswer { status, retry_after: None, body: String::new(), took })
    });
    let mut ctx = Context { queries: Arc::new(owned_by(user(1))), ..context(store) };
    (ctx.webhooks.log, ctx.webhooks.signer, ctx.webhooks.caller) = (Arc::new(log), Arc::new(signer), Arc::new(calls));
    ctx
}

/// Reads by which that user is found.
fn owned_by(owner: User) -> MockQueries {
    let mut queries = MockQueries::new();
    queries.expect_user().returning(move |_| Ok(Some(owner.clone())));
    queries
}

fn webhook_job() -> Job {
    Job::new(JobId(Uuid::nil()), JobKind::Webhook, hook(1).id.to_string(), now())
}

/// The unit that notes what came of a message, and finds the webhook like that.
fn noting(found: Webhook, state: DeliveryState, disables: Option<WebhookState>) -> Unit {
    let mut unit = Unit::default();
    unit.webhooks.expect_lock().returning(move |_| Ok(Some(found.clone())));
    unit.webhooks.expect_delivery().returning(|id| Ok(Some(Delivery { id, ..message(1) })));
    unit.users.expect_load().returning(|_| Ok(vec![user(1)]));
    unit.unit
        .expect_write()
        .times(1)
        .withf(move |changes| {
            let after = changes.webhooks.first().map(|webhook| webhook.state).filter(|s| *s != WebhookState::Enabled);
            changes.deliveries[0].state == state
                && after == disables
                && changes.new_jobs.iter().map(|job| job.kind).eq(disables.map(|_| JobKind::Mail))
        })
        .returning(|_| Ok(()));
    unit.commits()
}

/// Threat 54: the first that is not taken ends the turn of its market; 410 disables, with a mail.
#[tokio::test]
async fn messages_are_sent_in_order_up_to_the_first_that_is_not_taken() {
    for (answer, notes, state, disables) in [
        (Ok(204), 3, DeliveryState::Delivered, None),
        (Ok(500), 1, DeliveryState::Pending, None),
        (Err(CallError::Failed("no answer".to_owned())), 1, DeliveryState::Pending, None),
        (Ok(410), 1, DeliveryState::Failed, Some(WebhookState::Gone)),
    ] {
        let store = store(notes, move |_| noting(hook(1), state, disables));
        let ctx = sending(store, log_of(vec![message(1), message(2), message(3)]), answer);
        assert_eq!(Delivering.run(&ctx, &webhook_job()).await, Ok(Verdict::Done(None)));
    }
}

/// What was to be sent to the old address, or to one who wants no more, is not.
#[tokio::test]
async fn a_webhook_that_is_changed_meanwhile_gets_nothing_more_as_it_was() {
    for changed in [Webhook { version: 2, ..hook(1) }, Webhook { state: WebhookState::Disabled, ..hook(1) }] {
        let store = store(1, move |_| noting(changed.clone(), DeliveryState::Delivered, None));
        let ctx = sending(store, log_of(vec![message(1), message(2)]), Ok(204));
        assert_eq!(Delivering.run(&ctx, &webhook_job()).await, Ok(Verdict::Done(None)));
    }
}

/// Threat 53: one that takes each message only just in time leaves its place to others meanwhile.
#[tokio::test]
async fn a_turn_ends_although_more_is_due() {
    let store = store(2, |_| noting(hook(1), DeliveryState::Delivered, None));
    let mut ctx = sending(store, log_of(vec![message(1), message(2), message(3)]), Ok(204));
    let passed = Arc::new(AtomicI64::new(0));
    let (passing, took) = (Arc::clone(&passed), Duration::from_secs(14));
    let mut calls = MockCaller::new();
    calls.expect_post().times(2).returning(move |_| {
        passing.fetch_add(14, Ordering::SeqCst);
        Ok(CallAnswer { status: 200, retry_after: None, body: String::new(), took })
    });
    let mut clock = MockClock::new();
    clock.expect_now().returning(move || now() + SignedDuration::from_secs(passed.load(Ordering::SeqCst)));
    (ctx.webhooks.caller, ctx.clock) = (Arc::new(calls), Arc::new(clock));
    let later = now() + SignedDuration::from_secs(28);
    assert_eq!(Delivering.run(&ctx, &webhook_job()).await, Ok(Verdict::Later(later)));
}

/// What was tried and is due may wait for something else of its market: nobody looks for it again and again.
#[tokio::test]
async fn what_waits_for_another_try_is_looked_at_when_it_is_due() {
    let (second, hour) = (SignedDuration::from_secs(1), SignedDuration::from_hours(1));
    for (due, later) in [(now() + hour, now() + hour), (now() - hour, now() + second)] {
        let mut log = MockWebhookLog::new();
        log.expect_webhook().returning(|_| Ok(Some(hook(1))));
        log.expect_due().returning(|_, _, _| Ok(Vec::new()));
        log.expect_next_due().returning(move |_| Ok(Some(due)));
        let ctx = sending(MockStore::new(), log, Ok(200));
        assert_eq!(Delivering.run(&ctx, &webhook_job()).await, Ok(Verdict::Later(later)));
    }
}

/// Whatever is due of it: its job would come again and again, and keep others from their turns.
#[tokio::test]
async fn one_that_is_told_nothing_has_no_job() {
    let in_state = |state| Webhook { state, ..hook(1) };
    let suspended = User { status: UserStatus::Suspended, ..user(1) };
    for (found, owner) in [
        (in_state(WebhookState::Disabled), user(1)),
        (in_state(WebhookState::Failing), user(1)),
        (in_state(WebhookState::Gone), user(1)),
        (hook(1), suspended),
    ] {
        let mut log = MockWebhookLog::new();
        log.expect_webhook().returning(move |_| Ok(Some(found.clone())));
        log.expect_next_due().returning(|_| Ok(Some(now() - SignedDuration::from_hours(1))));
        let ctx = Context { queries: Arc::new(owned_by(owner)), ..sending(MockStore::new(), log, Ok(200)) };
        assert_eq!(Delivering.run(&ctx, &webhook_job()).await, Ok(Verdict::Done(None)));
    }
}

/// A unit that changes that user, who has these webhooks, as it should.
fn changing(found: User, webhooks: Vec<Webhook>, is_right: fn(&Changes) -> bool) -> Unit {
    let mut unit = Unit::default();
    unit.users.expect_lock_admins().returning(|| Ok(vec![User { role: Role::Admin, ..user(2) }]));
    unit.users.expect_lock().returning(move |_| Ok(vec![found.clone()]));
    unit.sessions.expect_lock_of_user().returning(|_| Ok(Vec::new()));
    unit.mail_tokens.expect_of_user().returning(|_| Ok(Vec::new()));
    unit.webhooks.expect_of_user().returning(move |_| Ok(webhooks.clone()));
    unit.webhooks.expect_lock().returning(|id| Ok(Some(Webhook { id, ..hook(1) })));
    unit.unit.expect_write().times(1).withf(is_right).returning(|_| Ok(()));
    unit.commits()
}

#[tokio::test]
async fn who_is_deleted_takes_its_webhooks_along_in_the_same_write() {
    let store = store(1, |_| {
        changing(user(1), vec![hook(1), hook(2)], |changes| {
            let ids: Vec<WebhookId> = changes.webhooks.iter().map(|webhook| webhook.id).collect();
            let is_of_nobody = |webhook: &Webhook| {
                webhook.state == WebhookState::Disabled && webhook.url != hook(1).url && webhook.description.is_none()
            };
            ids == [hook(1).id, hook(2).id] && changes.webhooks.iter().all(is_of_nobody)
        })
    });
    // Orders that cannot be cancelled now are left to the next tick.
    let mut queries = MockQueries::new();
    queries.expect_orders().returning(|_, _| Err(StoreError::Unavailable("of no matter here".into())));
    let ctx = Context { queries: Arc::new(queries), ..context(store) };
    deactivate_user(&ctx, caller(), user_id(1), None).await.unwrap();
}

/// What was not told before the suspension is told after it.
#[tokio::test]
async fn the_webhooks_of_who_may_act_again_have_their_jobs_again() {
    let store = store(1, |_| {
        let suspended = User { status: UserStatus::Suspended, ..user(1) };
        let webhooks = vec![hook(1), Webhook { state: WebhookState::Gone, ..hook(2) }];
        changing(suspended, webhooks, |changes| {
            let [job] = &changes.new_jobs[..] else { return false };
            job.kind == JobKind::Webhook && job.payload == hook(1).id.to_string() && changes.webhooks.is_empty()
        })
    });
    let (ctx, admin) = (context(store), Caller::signed_in(user_id(2), Role::Admin));
    let standing = Standing { is_suspended: false, reason: "a mistake".to_owned() };
    set_status(&ctx, admin, user_id(1), standing, None).await.unwrap();
    assert!(ctx.job_bell.heard(JobKind::Webhook).now_or_never().is_some());
}

/// Threat 51: what the house does not call is no webhook.
#[tokio::test]
async fn a_url_that_is_not_called_is_refused_when_a_webhook_is_made_or_moved() {
    let mut calls = MockCaller::new();
    calls.expect_check().times(2).returning(|_| Err(CallError::Forbidden("not for everybody".to_owned())));
    let mut log = MockWebhookLog::new();
    log.expect_webhook().returning(|_| Ok(Some(hook(1))));
    let mut ctx = context(MockStore::new());
    (ctx.webhooks.caller, ctx.webhooks.log) = (Arc::new(calls), Arc::new(log));
    let wanted =
        NewWebhook { url: "https://10.0.0.1".to_owned(), description: None, events: Vec::new(), markets: Vec::new() };
    let refused = webhooks::create(&ctx, caller(), wanted.clone(), None).await.map(drop);
    let patch = WebhookPatch { url: Some(wanted.url), ..WebhookPatch::default() };
    let moved = webhooks::change(&ctx, caller(), hook(1).id, None, patch).await.map(drop);
    for refused in [refused, moved] {
        assert!(matches!(&refused, Err(Error::Refused(Refusal::UrlNotCalled(why))) if why == "not for everybody"));
    }
}

/// Nobody is asked about it.
#[tokio::test]
async fn a_url_with_what_nobody_sees_is_refused() {
    let ctx = context(MockStore::new());
    for url in ["https://example.org/ho\u{200b}ok", "https://example.org/\n", "https://ex\u{202e}ample.org/"] {
        let wanted = NewWebhook { url: url.to_owned(), description: None, events: Vec::new(), markets: Vec::new() };
        let refused = webhooks::create(&ctx, caller(), wanted, None).await.map(drop);
        assert!(matches!(&refused, Err(Error::Refused(Refusal::UrlNotCalled(_)))), "{url:?}");
    }
}

/// Whose answer was lost asks again: its host may not be known any more by then, or a market deleted.
#[tokio::test]
async fn a_webhook_that_was_made_is_answered_again_whatever_may_be_called_now() {
    let key = AnswerKey { user: user_id(1), route: "POST /webhooks".to_owned(), key: "once".to_owned() };
    let render = |webhook: &Webhook| Rendered { status: 201, location: None, body: webhook.id.to_string() };
    let keyed = Keyed { key, fingerprint: [1; 32], render };
    let kept = keyed.keep(&hook(1), now());
    let found = kept.clone();
    let store = store(1, move |_| {
        let (mut unit, found) = (Unit::default(), found.clone());
        unit.answers.expect_find().times(1).returning(move |_| Ok(vec![found.clone()]));
        unit.commits()
    });
    let wanted = NewWebhook { url: hook(1).url, description: None, events: Vec::new(), markets: Vec::new() };
    let answered = webhooks::create(&context(store), caller(), wanted, Some(keyed)).await.unwrap();
    assert_eq!(answered, Answered::Replayed(kept));
}

/// What the receiver did not take while it was ill may wait for hours, and everything behind it.
#[tokio::test]
async fn who_says_that_the_receiver_is_well_has_what_waits_tried_at_once() {
    let store = store(5, |run| {
        let mut unit = Unit::default();
        unit.webhooks.expect_lock().returning(|_| Ok(Some(hook(1))));
        unit.webhooks.expect_delivery().returning(|_| Ok(Some(message(1))));
        unit.webhooks.expect_send_again().returning(|_, _, _, _| Ok(0));
        unit.webhooks.expect_make_due().times(usize::from(run < 4)).returning(|_, _| Ok(1));
        unit.unit.expect_write().times(1).withf(|changes| changes.new_jobs.len() == 1).returning(|_| Ok(()));
        unit.commits()
    });
    let (mut queries, mut calls, mut log) = (MockQueries::new(), MockCaller::new(), MockWebhookLog::new());
    queries.expect_markets_by_ids().returning(|_| Ok(Vec::new()));
    calls.expect_check().returning(|_| Ok(()));
    log.expect_webhook().returning(|_| Ok(Some(hook(1))));
    let mut ctx = context(store);
    (ctx.queries, ctx.webhooks.caller, ctx.webhooks.log) = (Arc::new(queries), Arc::new(calls), Arc::new(log));
    let id = hook(1).id;
    for again in [Again::One(message(1).id), Again::Since(now())] {
        webhooks::send_again(&ctx, caller(), id, again).await.unwrap();
    }
    let enabled = WebhookPatch { is_enabled: Some(true), ..WebhookPatch::default() };
    let moved = WebhookPatch { url: Some("https://example.net/hook".to_owned()), ..WebhookPatch::default() };
    let described = WebhookPatch { description: Some(None), ..WebhookPatch::default() };
    for patch in [enabled, moved, described] {
        webhooks::change(&ctx, caller(), id, None, patch).await.unwrap();
    }
}

/// Threat 52: who repeats what was not answered does not end the secret that receivers still use.
#[tokio::test]
async fn a_secret_is_changed_again_within_the_day_by_who_names_the_version_alone() {
    let mut rotated = hook(1);
    rotated.rotate(now());
    let until = rotated.overlap_until.unwrap();
    for (version, is_done) in [(None, false), (Some(1), false), (Some(2), true)] {
        let found = rotated.clone();
        let store = store(1, move |_| {
            let mut unit = Unit::default();
            let found = found.clone();
            unit.webhooks.expect_lock().returning(move |_| Ok(Some(found.clone())));
            if !is_done {
                return unit.rolls_back();
            }
            unit.unit
                .expect_write()
                .times(1)
                .withf(|changes| changes.webhooks[0].secret_number == 2)
                .returning(|_| Ok(()));
            unit.commits()
        });
        let (mut log, mut signer, found) = (MockWebhookLog::new(), MockWebhookSigner::new(), rotated.clone());
        log.expect_webhook().returning(move |_| Ok(Some(found.clone())));
        signer.expect_secret().returning(|_, _| String::new());
        signer.expect_public_key().returning(|_, _| String::new());
        let mut ctx = Context { webhooks: no_webhooks(), ..context(store) };
        (ctx.webhooks.log, ctx.webhooks.signer) = (Arc::new(log), Arc::new(signer));
        let done = webhooks::rotate(&ctx, caller(), hook(1).id, version).await;
        match (version, done) {
            (None, Err(Error::Refused(refused))) => assert_eq!(refused, Refusal::SecretsOverlap(until)),
            (Some(1), Err(Error::Refused(refused))) => assert_eq!(refused, Refusal::StaleVersion { current: 2 }),
            (Some(2), Ok(_)) => {}
            (version, done) => panic!("with version {version:?}: {done:?}"),
        }
    }
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_webhooks() {
    let store = store(1, |_| {
        let mut unit = Unit::default();
        unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
        unit.webhooks.expect_of_user().returning(|_| Ok((0..MOST_WEBHOOKS).map(|_| hook(1)).collect()));
        unit.rolls_back()
    });
    let mut calls = MockCaller::new();
    calls.expect_check().returning(|_| Ok(()));
    let mut ctx = context(store);
    let mut queries = MockQueries::new();
    queries.expect_markets_by_ids().returning(|_| Ok(Vec::new()));
    (ctx.queries, ctx.webhooks.caller) = (Arc::new(queries), Arc::new(calls));
    let wanted = NewWebhook { url: hook(1).url, description: None, events: Vec::new(), markets: Vec::new() };
    let refused = webhooks::create(&ctx, caller(), wanted, None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::TooManyWebhooks { .. }))));
}

/// Threat 13.
#[tokio::test]
async fn anothers_webhook_is_not_found_whoever_asks() {
    for role in [Role::User, Role::Admin] {
        let other = Caller::signed_in(user_id(2), role);
        let store = store(2, |_| {
            let mut unit = Unit::default();
            unit.webhooks.expect_lock().returning(|_| Ok(Some(hook(1))));
            unit.rolls_back()
        });
        let mut log = MockWebhookLog::new();
        log.expect_webhook().returning(|_| Ok(Some(hook(1))));
        let mut ctx = Context { webhooks: no_webhooks(), ..context(store) };
        ctx.webhooks.log = Arc::new(log);
        let id = hook(1).id;
        let refusals = [
            webhooks::show(&ctx, other, id).await.map(drop),
            webhooks::secrets(&ctx, other, id).await.map(drop),
            webhooks::delete(&ctx, other, id, None).await,
            webhooks::test(&ctx, other, id).await.map(drop),
        ];
        for refused in refusals {
            assert!(matches!(refused, Err(Error::Refused(Refusal::WebhookNotFound))), "{refused:?}");
        }
    }
}
