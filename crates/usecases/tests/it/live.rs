//! Live streams over an outbox that a test fills.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bellwether_domain::event::{Event, EventBatch, MarketData};
use bellwether_domain::job::JobKind;
use bellwether_domain::market::{Market, MarketStatus};
use bellwether_domain::ports::{
    Changes, MockPasswordHasher, MockQueries, MockStore, MockTokenSigner, Outbox, Span, StoreError,
};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::Role;
use bellwether_usecases::live::{End, Follower, Live, StreamLimits, Topics};
use bellwether_usecases::switches::Holds;
use bellwether_usecases::{Caller, Context, Error};
use futures_util::poll;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::mocks::{Unit, context_with, market, market_id, now, store, user_id};

/// What happened, as a test says.
#[derive(Clone, Default)]
struct Happened(Arc<Mutex<Vec<EventBatch>>>);

impl Happened {
    /// One batch more, of so many edits of a market.
    fn edit(&self, number: u128, count: usize) {
        self.edit_of(&market(number, MarketStatus::Open), count);
    }

    fn edit_of(&self, market: &Market, count: usize) {
        let mut batches = self.0.lock().unwrap();
        let event = Event::MarketUpdated(MarketData::of(market));
        let payload = serde_json::to_string(&vec![event; count]).unwrap();
        let position = batches.last().map_or(1, |batch| batch.position + 1);
        batches.push(EventBatch { position, at: now(), payload });
    }

    /// Forgets all but the newest.
    fn forget(&self) {
        let mut batches = self.0.lock().unwrap();
        let newest = batches.len() - 1;
        batches.drain(..newest);
    }
}

#[async_trait]
impl Outbox for Happened {
    async fn after(&self, position: i64, limit: u32) -> Result<Vec<EventBatch>, StoreError> {
        let batches = self.0.lock().unwrap();
        Ok(batches.iter().filter(|batch| batch.position > position).take(limit as usize).cloned().collect())
    }

    async fn span(&self) -> Result<Option<Span>, StoreError> {
        let batches = self.0.lock().unwrap();
        let ends = batches.first().zip(batches.last());
        Ok(ends.map(|(first, last)| Span { oldest: first.position, newest: last.position }))
    }

    async fn waiting_since(&self, position: i64) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.after(position, 1).await?.first().map(|batch| batch.at))
    }

    async fn cursors(&self) -> Result<Vec<(String, i64)>, StoreError> {
        Ok(Vec::new())
    }

    async fn forget_before(&self, _: Timestamp, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// The same for a server that knows of no more than so much that nothing comes before it any more.
struct Behind(Happened, Arc<AtomicI64>);

#[async_trait]
impl Outbox for Behind {
    async fn after(&self, position: i64, limit: u32) -> Result<Vec<EventBatch>, StoreError> {
        let (settled, mut batches) = (self.1.load(Ordering::SeqCst), self.0.after(position, limit).await?);
        // Who goes on from beyond that knows it from somebody else.
        batches.retain(|batch| position > settled || batch.position <= settled);
        Ok(batches)
    }

    async fn span(&self) -> Result<Option<Span>, StoreError> {
        let (settled, span) = (self.1.load(Ordering::SeqCst), self.0.span().await?);
        Ok(span.map(|span| Span { newest: span.newest.min(settled), ..span }))
    }

    async fn waiting_since(&self, position: i64) -> Result<Option<Timestamp>, StoreError> {
        self.0.waiting_since(position).await
    }

    async fn cursors(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.0.cursors().await
    }

    async fn forget_before(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.0.forget_before(before, limit).await
    }
}

fn live(happened: &Happened) -> (Live, Context) {
    let mut queries = MockQueries::new();
    queries.expect_markets_by_ids().returning(|ids| {
        let found = ids.iter().map(|id| Market { id: *id, ..market(1, MarketStatus::Open) });
        Ok(found.collect())
    });
    queries.expect_book().returning(|_, _, _| Ok((Vec::new(), 0)));
    let mut ctx = context_with(MockStore::new(), queries, MockPasswordHasher::new(), MockTokenSigner::new());
    ctx.outbox = Arc::new(happened.clone());
    ctx.policy.streams = StreamLimits { per_user: 2, per_address: 1 };
    (Live::new(ctx.clone()), ctx)
}

fn all_markets() -> Topics {
    Topics { all_markets: true, ..Topics::default() }
}

fn somebody() -> Follower {
    Follower { user: Some(user_id(1)), ..Follower::default() }
}

/// The sequences of the next so many messages.
async fn heard(stream: &mut bellwether_usecases::live::Stream, count: usize) -> Vec<i64> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(stream.next().await.unwrap().sequence.unwrap());
    }
    all
}

#[tokio::test]
async fn who_goes_on_after_an_event_gets_all_that_came_after_it_once() {
    let happened = Happened::default();
    let (live, ctx) = live(&happened);
    happened.edit(1, 3);
    happened.edit(1, 1);
    // From the outbox: the rest of the batch that it has had a part of, and what came after.
    let mut late = live.follow(somebody(), all_markets(), Some(1024)).await.unwrap();
    assert_eq!(heard(&mut late, 4).await, [1024, 1025, 1026, 2048]);
    happened.edit(1, 2);
    ctx.event_bell.ring();
    assert_eq!(heard(&mut late, 2).await, [3072, 3073]);
    // From what was just told.
    let mut later = live.follow(somebody(), all_markets(), Some(3072)).await.unwrap();
    assert_eq!(heard(&mut later, 2).await, [3072, 3073]);
    happened.edit(1, 1);
    ctx.event_bell.ring();
    assert_eq!(heard(&mut later, 1).await, [4096]);
    assert_eq!(heard(&mut late, 1).await, [4096]);
}

#[tokio::test]
async fn who_asks_for_what_is_forgotten_or_was_never_there_is_told_of_a_gap() {
    let happened = Happened::default();
    let (live, _) = live(&happened);
    (0..5).for_each(|_| happened.edit(1, 1));
    happened.forget();
    for asked in [1024, 9 * 1024] {
        let mut stream = live.follow(somebody(), all_markets(), Some(asked)).await.unwrap();
        let gap = stream.next().await.unwrap();
        assert_eq!((gap.kind, gap.sequence), ("gap", Some(5 * 1024 + 1023)));
        assert!(gap.json.contains(&format!("\"asked\":{asked}")) && gap.json.contains("/api/v1/markets"));
    }
}

/// Else anybody could have the whole outbox read, by following what is quiet.
#[tokio::test]
async fn who_is_far_behind_is_told_of_a_gap_although_nothing_was_for_him() {
    let happened = Happened::default();
    let (live, _) = live(&happened);
    (0..20_002).for_each(|_| happened.edit(1, 1));
    for (asked, first) in [(1, "gap"), (2, "resumed")] {
        let quiet = Topics { markets: [market_id(2)].into_iter().collect(), ..Topics::default() };
        let mut stream = live.follow(somebody(), quiet, Some(asked * 1024)).await.unwrap();
        assert_eq!(stream.next().await.unwrap().kind, first, "after {asked}");
    }
}

/// It is told of no gap: there is none, as soon as this server knows what the other one knew.
#[tokio::test]
async fn who_comes_from_a_server_that_was_quicker_goes_on_where_it_was() {
    let (happened, settled) = (Happened::default(), Arc::new(AtomicI64::new(1)));
    let (_, mut ctx) = live(&happened);
    ctx.outbox = Arc::new(Behind(happened.clone(), Arc::clone(&settled)));
    let live = Live::new(ctx.clone());
    (0..3).for_each(|_| happened.edit(1, 1));
    let mut follow = pin!(live.follow(somebody(), all_markets(), Some(3 * 1024)));
    assert!(poll!(follow.as_mut()).is_pending());
    settled.store(i64::MAX, Ordering::SeqCst);
    happened.edit(1, 1);
    ctx.event_bell.ring();
    let mut stream = follow.await.unwrap();
    assert_eq!(stream.next().await.unwrap().kind, "resumed");
    assert_eq!(heard(&mut stream, 1).await, [4 * 1024]);
}

/// Threat 59: however many come back at once, and however slowly they take what they missed, what is at hand for them
/// stays within 64 MiB, and within 4 for each.
#[tokio::test]
async fn who_has_missed_too_much_is_told_of_a_gap_and_so_is_who_comes_when_others_have() {
    let happened = Happened::default();
    let (live, _) = live(&happened);
    let of = |n| Follower { user: Some(user_id(n)), ..Follower::default() };
    let first_of = async |n, asked| {
        let mut stream = live.follow(of(n), all_markets(), Some(asked)).await.unwrap();
        let first = stream.next().await.unwrap();
        (stream, first)
    };
    let wordy = Market { question: "?".repeat(500), ..market(1, MarketStatus::Open) };
    (0..9).for_each(|_| happened.edit_of(&wordy, 1000));
    assert_eq!(first_of(1, 1024).await.1.kind, "gap");
    let mut streams = Vec::new();
    let last = loop {
        let (stream, first) = first_of(2 + u128::try_from(streams.len()).unwrap(), 6 * 1024).await;
        if first.kind == "gap" {
            break stream;
        }
        streams.push(stream);
        assert!(streams.len() < 100, "nothing bounds what is at hand");
    };
    assert!(streams.len() > 15, "{} streams of 4 MiB at most", streams.len());
    drop((last, streams.pop()));
    assert_eq!(first_of(200, 6 * 1024).await.1.kind, "resumed", "who goes leaves room");
}

/// So much happens that whoever takes nothing of it is too slow; this one takes all.
async fn told_to_one_who_keeps_up(
    happened: &Happened,
    live: &Live,
    ctx: &Context,
) -> bellwether_usecases::live::Stream {
    let mut quick = live.follow(somebody(), all_markets(), None).await.unwrap();
    assert_eq!(quick.next().await.unwrap().kind, "hello");
    for _ in 0..3 {
        happened.edit(1, 400);
        ctx.event_bell.ring();
        heard(&mut quick, 400).await;
    }
    quick
}

#[tokio::test]
async fn who_is_dropped_gets_nothing_more_of_what_it_missed() {
    let happened = Happened::default();
    let (live, ctx) = live(&happened);
    happened.edit(1, 900);
    let mut slow = live.follow(somebody(), all_markets(), Some(0)).await.unwrap();
    assert_eq!(slow.next().await.unwrap().kind, "resumed");
    let _quick = told_to_one_who_keeps_up(&happened, &live, &ctx).await;
    assert_eq!(slow.next().await, Err(End::Slow));
}

/// Threat 59: whoever does not take what it is sent is dropped and told so, and others are not kept waiting.
#[tokio::test]
async fn who_does_not_keep_up_is_dropped_and_told_so() {
    let happened = Happened::default();
    let (live, ctx) = live(&happened);
    let mut slow = live.follow(somebody(), all_markets(), None).await.unwrap();
    let _quick = told_to_one_who_keeps_up(&happened, &live, &ctx).await;
    let mut count = 0;
    let end = loop {
        match slow.next().await {
            Ok(_) => count += 1,
            Err(end) => break end,
        }
    };
    assert_eq!((end, count), (End::Slow, 513), "what had room, and the hello before it");
    assert_eq!(live.count(), 1);
}

/// Threat 59: a client that hangs takes neither what it is told nor that it is dropped.
#[tokio::test]
async fn what_is_held_while_a_stream_is_open_ends_with_it_though_its_client_takes_nothing() {
    let happened = Happened::default();
    let (_, mut ctx) = live(&happened);
    let held = Arc::new(Mutex::new(Vec::new()));
    ctx.store = Arc::new(store(2, move |run| {
        let (mut unit, held) = (Unit::default(), Arc::clone(&held));
        if run == 0 {
            unit.unit.expect_write().times(1).returning(move |changes| {
                held.lock().unwrap().clone_from(&changes.cancel_switches);
                Ok(())
            });
        } else {
            unit.cancel_switches.expect_lock_of().times(1).returning(move |_| Ok(held.lock().unwrap().clone()));
            let fires = |changes: &Changes| changes.new_jobs.iter().map(|job| job.kind).eq([JobKind::CancelOrders]);
            unit.unit.expect_write().times(1).withf(fires).returning(|_| Ok(()));
        }
        unit.commits()
    }));
    let (live, holds) = (Live::new(ctx.clone()), Holds::new(ctx.clone()));
    let hold = holds.hold(Caller::signed_in(user_id(1), Role::User)).await.unwrap();
    let stuck = live.follow(somebody(), all_markets(), None).await.unwrap().holding(hold);
    let _quick = told_to_one_who_keeps_up(&happened, &live, &ctx).await;
    ctx.job_bell.heard(JobKind::CancelOrders).await;
    assert!(stuck.is_holding());
}

#[tokio::test]
async fn a_market_comes_with_its_book_and_without_others() {
    let happened = Happened::default();
    let (live, ctx) = live(&happened);
    let topics = Topics { markets: BTreeSet::from([market_id(1)]), ..Topics::default() };
    let mut stream = live.follow(somebody(), topics, None).await.unwrap();
    assert_eq!(stream.next().await.unwrap().kind, "hello");
    assert_eq!(stream.next().await.unwrap().kind, "book.snapshot");
    happened.edit(2, 1);
    happened.edit(1, 1);
    ctx.event_bell.ring();
    assert_eq!(heard(&mut stream, 1).await, [2048]);
}

#[tokio::test]
async fn who_asks_for_more_gets_it_from_then_on_with_its_books_and_who_asks_for_less_no_more() {
    let happened = Happened::default();
    let (live, ctx) = live(&happened);
    let markets = |numbers: &[u128]| Topics {
        markets: numbers.iter().map(|number| market_id(*number)).collect(),
        ..Topics::default()
    };
    let mut stream = live.follow(somebody(), markets(&[1]), None).await.unwrap();
    assert_eq!(stream.next().await.unwrap().kind, "hello");
    assert_eq!(stream.next().await.unwrap().kind, "book.snapshot");
    happened.edit(2, 1);
    happened.edit(1, 1);
    ctx.event_bell.ring();
    assert_eq!(heard(&mut stream, 1).await, [2048]);

    assert_eq!(stream.markets_with(&markets(&[1, 2])), 2);
    let more = live.check(markets(&[1, 2])).await.unwrap();
    stream.subscribe(more, Some(json!("a")));
    let answer = stream.next().await.unwrap();
    assert_eq!((answer.kind, answer.sequence), ("subscribed", Some(2 * 1024 + 1023)));
    let told: Value = serde_json::from_str(&answer.json).unwrap();
    let channels = json!([format!("market:{}", market_id(1)), format!("market:{}", market_id(2))]);
    assert_eq!((&told["id"], &told["data"]["channels"]), (&json!("a"), &channels));
    // Of the market that is new, and of that one alone.
    let snapshot = stream.next().await.unwrap();
    assert_eq!(snapshot.kind, "book.snapshot");
    assert!(snapshot.json.contains(&market_id(2).to_string()));
    happened.edit(2, 1);
    happened.edit(1, 1);
    ctx.event_bell.ring();
    assert_eq!(heard(&mut stream, 2).await, [3072, 4096]);

    stream.unsubscribe(&markets(&[1, 3]), None);
    let answer = stream.next().await.unwrap();
    assert_eq!((answer.kind, answer.sequence), ("unsubscribed", Some(4 * 1024 + 1023)));
    happened.edit(1, 1);
    happened.edit(2, 1);
    ctx.event_bell.ring();
    assert_eq!(heard(&mut stream, 1).await, [6 * 1024]);

    // What the stream says is where it stands: whoever goes on from there has missed nothing.
    drop(stream);
    happened.edit(2, 1);
    let mut again = live.follow(somebody(), markets(&[2]), Some(4 * 1024 + 1023)).await.unwrap();
    assert_eq!(heard(&mut again, 2).await, [4 * 1024 + 1023, 6 * 1024]);
    // Its books come when they have been read.
    let (one, other) = (again.next().await.unwrap(), again.next().await.unwrap());
    assert!([one, other].iter().any(|message| message.sequence == Some(7 * 1024)));
}

/// What was read from the outbox may be ahead of what the server has told.
#[tokio::test]
async fn who_is_ahead_of_the_server_and_asks_for_more_is_told_from_where() {
    let happened = Happened::default();
    let (live, ctx) = live(&happened);
    let one = live.follow(Follower::default(), all_markets(), None).await.unwrap();
    happened.edit(1, 1);
    happened.edit(1, 1);
    let mut ahead = live.follow(somebody(), all_markets(), Some(1024)).await.unwrap();
    assert_eq!(heard(&mut ahead, 2).await, [1024, 2048]);
    let more = Topics { markets: BTreeSet::from([market_id(1)]), ..Topics::default() };
    ahead.subscribe(live.check(more).await.unwrap(), None);
    let answer = ahead.next().await.unwrap();
    assert_eq!(answer.kind, "subscribed");
    assert!(answer.sequence >= Some(2048));
    happened.edit(1, 1);
    ctx.event_bell.ring();
    let mut last = ahead.next().await.unwrap();
    if last.kind == "book.snapshot" {
        last = ahead.next().await.unwrap();
    }
    assert_eq!(last.sequence, Some(3072));
    drop(one);
}

#[tokio::test]
async fn there_are_so_many_streams_of_a_user_and_a_place_is_free_again_when_one_ends() {
    let (live, _) = live(&Happened::default());
    let one = live.follow(somebody(), all_markets(), None).await.unwrap();
    let _two = live.follow(somebody(), all_markets(), None).await.unwrap();
    let refused = live.follow(somebody(), all_markets(), None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::TooManyStreams { limit: 2 }))));
    drop(one);
    live.follow(somebody(), all_markets(), None).await.unwrap();
    let _stranger = live.follow(Follower::default(), all_markets(), None).await.unwrap();
    let refused = live.follow(Follower::default(), all_markets(), None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::TooManyStreams { limit: 1 }))));
}

#[tokio::test]
async fn nobody_follows_any_more_once_the_server_stops() {
    let (live, _) = live(&Happened::default());
    let mut stream = live.follow(somebody(), all_markets(), None).await.unwrap();
    live.stop();
    assert_eq!(stream.next().await.unwrap().kind, "hello");
    assert_eq!(stream.next().await, Err(End::Stopping));
}
