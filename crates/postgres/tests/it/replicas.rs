//! Reads from a streaming replica: near enough, or not at all.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bellwether_conformance::opened_market;
use bellwether_domain::audit_log::{Action, Actor, Event, Origin};
use bellwether_domain::event::{self, MarketData};
use bellwether_domain::ids::{EventId, MarketId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::ports::{Changes, MarketFilter, Outbox, PageRequest, Replicas, Start, Store, UserFilter};
use bellwether_domain::text::{DisplayName, Slug};
use bellwether_domain::user::{Role, User, UserStatus};
use bellwether_postgres::{PgOptions, PgReplicas, PgStore};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::database::{Database, connect};

/// Longer than a busy machine takes for what is to be seen of a replica that has just been left behind.
const MAX_LAG: Duration = Duration::from_secs(5);
/// How long anything is waited for.
const LIMIT: Duration = Duration::from_secs(20);

/// A primary, its replica, and a hand on the replica.
struct Scene {
    database: Database,
    primary: Arc<PgStore>,
    replicas: PgReplicas,
    hand: Client,
}

impl Scene {
    async fn new() -> anyhow::Result<Option<Self>> {
        let Ok(server) = std::env::var("DATABASE_REPLICA_URL") else {
            eprintln!("DATABASE_REPLICA_URL is not set; run the tests with `make test`, which starts a replica");
            return Ok(None);
        };
        let Some(database) = Database::migrated().await? else { return Ok(None) };
        let primary = Arc::new(database.open().await?);
        let url = database.url_on(&server);
        // The second is not there.
        let urls = [url.clone(), "postgres://nobody@127.0.0.1:1/nothing".to_owned()];
        let replicas = PgReplicas::start(Arc::clone(&primary), &urls, PgOptions::default(), MAX_LAG)?;
        let hand = until(async || connect(&url).await.ok()).await.context("the replica has the database")?;
        Ok(Some(Self { database, primary, replicas, hand }))
    }

    async fn pause(&self, is_paused: bool) -> anyhow::Result<()> {
        let word = if is_paused { "pause" } else { "resume" };
        self.hand.batch_execute(&format!("SELECT pg_wal_replay_{word}()")).await?;
        Ok(())
    }

    /// A user signs up, by itself or by the hand of another.
    async fn sign_up(&self, by: Option<UserId>) -> anyhow::Result<UserId> {
        #[expect(clippy::disallowed_methods, reason = "an id that no other test has")]
        let id = UserId(Uuid::now_v7());
        let at = Timestamp::UNIX_EPOCH;
        let user = User {
            id,
            email: None,
            display_name: DisplayName::parse("Ann")?,
            password_hash: None,
            role: Role::User,
            status: UserStatus::Active,
            email_verified: false,
            version: 1,
            created_at: at,
            updated_at: at,
            owner: None,
        };
        let event = by.map(|by| Event {
            id: EventId(id.0),
            at,
            actor: Actor::User(by),
            action: Action::SignedUp,
            target: None,
            origin: Origin::default(),
            before: None,
            after: None,
        });
        let events = event.into_iter().collect();
        self.write(Changes { new_users: vec![user], events, ..Changes::default() }).await?;
        Ok(id)
    }

    async fn write(&self, changes: Changes) -> anyhow::Result<()> {
        write_by(&self.primary, changes).await
    }

    async fn open_market(&self, creator: UserId, slug: &str) -> anyhow::Result<Market> {
        #[expect(clippy::disallowed_methods, reason = "an id that no other test has")]
        let id = MarketId(Uuid::now_v7());
        let market = opened_market(id, Slug::parse(slug)?, creator, Timestamp::UNIX_EPOCH);
        self.write(Changes { new_markets: vec![market.clone()], ..Changes::default() }).await?;
        Ok(market)
    }

    /// The questions of the markets that somebody opened, as he sees them.
    async fn own_questions(&self, creator: UserId) -> anyhow::Result<Vec<String>> {
        let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 100 };
        let filter = MarketFilter { creator: Some(creator), ..MarketFilter::default() };
        let found = self.replicas.queries_of(Some(creator)).markets(&filter, &page).await?.items;
        Ok(found.into_iter().map(|market| market.question).collect())
    }

    /// Which users a reader sees.
    async fn seen_by(&self, reader: Option<UserId>) -> anyhow::Result<usize> {
        let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 100 };
        Ok(self.replicas.queries_of(reader).users(&UserFilter::default(), &page).await?.items.len())
    }

    fn reads_from_the_replica(&self, reader: Option<UserId>) -> bool {
        is_read_from(&self.replicas, &self.primary, reader)
    }
}

async fn write_by(store: &PgStore, changes: Changes) -> anyhow::Result<()> {
    let mut unit = store.begin().await?;
    unit.write(&changes).await?;
    Ok(unit.commit().await?)
}

/// Whether a replica would answer.
fn is_read_from(replicas: &PgReplicas, primary: &Arc<PgStore>, reader: Option<UserId>) -> bool {
    !std::ptr::addr_eq(Arc::as_ptr(&replicas.queries_of(reader)), Arc::as_ptr(primary))
}

/// The first value that comes, within the limit.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        if let Some(found) = ask().await {
            return Some(found);
        }
        sleep(Duration::from_millis(20)).await;
    }
    None
}

/// One test, since pausing a replica concerns all of its databases.
#[tokio::test(flavor = "multi_thread")]
async fn lists_come_from_a_replica_that_is_near_enough_for_who_reads() -> anyhow::Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let ann = scene.sign_up(None).await?;
    let is_read = until(async || scene.reads_from_the_replica(None).then_some(())).await;
    ensure!(is_read.is_some(), "the replica was never read from");
    let sees = |count: usize, reader: Option<UserId>| {
        let scene = &scene;
        async move { until(async || scene.seen_by(reader).await.ok().filter(|seen| *seen == count)).await }
    };
    ensure!(sees(1, None).await.is_some(), "the replica does not follow");

    scene.pause(true).await?;
    let ben = scene.sign_up(Some(ann)).await?;
    // What was written is read at once by who wrote it and by whom it is about; others may not see it yet.
    ensure!(scene.seen_by(Some(ann)).await? == 2 && scene.seen_by(Some(ben)).await? == 2, "a writer misses its write");
    ensure!(!scene.reads_from_the_replica(Some(ann)) && !scene.reads_from_the_replica(Some(ben)));
    // One that a busy machine makes late to answer is left out for a moment.
    ensure!(sees(1, None).await.is_some(), "a stranger was not answered by the replica");
    // A replica that is left behind is left out.
    ensure!(sees(2, None).await.is_some(), "a replica that lags too far is still read from");
    let is_left_out = until(async || (!scene.reads_from_the_replica(None)).then_some(())).await;
    ensure!(is_left_out.is_some(), "a replica that stands still is read from");

    scene.pause(false).await?;
    let is_read = until(async || scene.reads_from_the_replica(Some(ann)).then_some(())).await;
    ensure!(is_read.is_some(), "the replica was not taken in again");
    ensure!(scene.seen_by(None).await? == 2 && scene.seen_by(Some(ann)).await? == 2);

    // Whoever edits or deletes a market of his sees that too, though nothing else of his was written.
    let cleo = scene.sign_up(None).await?;
    let mut edited = scene.open_market(cleo, "edited").await?;
    let deleted = scene.open_market(cleo, "deleted").await?;
    let is_read = until(async || scene.reads_from_the_replica(Some(cleo)).then_some(())).await;
    ensure!(is_read.is_some(), "the replica does not follow");
    scene.pause(true).await?;
    edited.question = "Will it snow?".to_owned();
    edited.touch(Timestamp::UNIX_EPOCH);
    let news = vec![event::Event::MarketUpdated(MarketData::of(&edited))];
    scene.write(Changes { markets: vec![edited], news, ..Changes::default() }).await?;
    let after_edit = scene.own_questions(cleo).await?;
    let news = vec![event::Event::MarketDeleted(MarketData::of(&deleted))];
    let at = Some(Timestamp::UNIX_EPOCH);
    scene.write(Changes { deleted_markets: vec![deleted.id], news, at, ..Changes::default() }).await?;
    let after_deletion = scene.own_questions(cleo).await?;
    scene.pause(false).await?;
    ensure!(after_edit.len() == 2 && after_edit.contains(&"Will it snow?".to_owned()), "{after_edit:?}");
    ensure!(after_deletion == ["Will it snow?"], "{after_deletion:?}");

    // Whoever is told of what another server wrote sees that too.
    let dora = scene.sign_up(None).await?;
    let mut edited = scene.open_market(dora, "edited-elsewhere").await?;
    let other = scene.database.open().await?;
    let is_read = until(async || scene.reads_from_the_replica(Some(dora)).then_some(())).await;
    ensure!(is_read.is_some(), "the replica does not follow");
    let span = other.span().await?.context("there are events")?;
    scene.pause(true).await?;
    edited.question = "Will it hail?".to_owned();
    edited.touch(Timestamp::UNIX_EPOCH);
    let news = vec![event::Event::MarketUpdated(MarketData::of(&edited))];
    write_by(&other, Changes { markets: vec![edited], news, ..Changes::default() }).await?;
    let told = until(async || scene.primary.after(span.newest, 10).await.ok().filter(|told| !told.is_empty())).await;
    let after_edit = scene.own_questions(dora).await;
    scene.pause(false).await?;
    ensure!(told.is_some(), "nobody is told");
    ensure!(after_edit? == ["Will it hail?"]);
    drop(scene.database);
    Ok(())
}

/// What takes writes is no replica, whatever it is called.
#[tokio::test]
async fn a_primary_is_not_read_from_as_a_replica() -> anyhow::Result<()> {
    let Some(database) = Database::migrated().await? else { return Ok(()) };
    let primary = Arc::new(database.open().await?);
    let replicas = PgReplicas::start(Arc::clone(&primary), &[database.url()], PgOptions::default(), MAX_LAG)?;
    let asked = primary.statements();
    ensure!(until(async || (primary.statements() > asked + 5).then_some(())).await.is_some(), "nobody watches");
    ensure!(!is_read_from(&replicas, &primary, None), "it was read from");
    Ok(())
}
