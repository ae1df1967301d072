//! Everything that can be asked through the ports, in the ways that the API lets it be asked.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bellwether_domain::audit_log::{Action, FailureKey};
use bellwether_domain::cancel_switch::Sender;
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::job::{Claim, Job, JobKind, JobState, Outcome};
use bellwether_domain::ledger::TransferKind;
use bellwether_domain::market::{MarketStatus, OutcomeId};
use bellwether_domain::money::Credits;
use bellwether_domain::order::{OrderStatus, Side};
use bellwether_domain::ports::{
    AnswerKey, AuditFilter, AuditSort, BookRequest, CandleRequest, Changes, DeliveryFilter, DeliverySort, Direction,
    Finished, JobFilter, JobSort, Jobs, MOST_COUNTED, MarketFilter, MarketKey, MarketSort, OrderFilter, OrderSort,
    Outbox, PageRequest, PositionFilter, PositionSort, Queries, SortValue, StandingSort, Start, Store, StoreError,
    TradeFilter, TradeSort, TransferFilter, TransferSort, UnitOfWork, UserFilter, UserSort, Wanted, WebhookLog,
};
use bellwether_domain::score::{Counting, Figures, MarketScore, Score};
use bellwether_domain::text::Slug;
use bellwether_domain::user::{Role, UserStatus};
use bellwether_domain::webhook::DeliveryState;
use jiff::SignedDuration;
use uuid::Uuid;

use super::fill::Places;
use super::processor::{Took, Workers};
use crate::fixtures::outcome;

/// The ports themselves, in which the methods are looked up that must be asked.
const PORTS: [&str; 5] = [
    include_str!("../../../domain/src/ports/queries.rs"),
    include_str!("../../../domain/src/ports/jobs.rs"),
    include_str!("../../../domain/src/ports/store.rs"),
    include_str!("../../../domain/src/ports/outbox.rs"),
    include_str!("../../../domain/src/ports/webhooks.rs"),
];
/// Traits in them that ask a store for nothing.
const NOT_ASKED: [&str; 3] = ["Store", "UnitOfWork", "Mailer"];
/// Reads of everything, for checks that may take hours.
const OF_EVERYTHING: [&str; 1] = ["Queries.violations"];
const PAGE: u32 = 20;

/// The halves of the store that is asked.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Its units of work.
    pub store: &'a dyn Store,
    /// Its reading half.
    pub queries: &'a dyn Queries,
    /// Its queue of jobs.
    pub jobs: &'a dyn Jobs,
    /// What happened.
    pub outbox: &'a dyn Outbox,
    /// What webhooks were told.
    pub webhooks: &'a dyn WebhookLog,
}

impl<'a> Asked<'a> {
    /// Of a store that is all of it.
    pub fn of<S: Store + Queries + Jobs + Outbox + WebhookLog>(store: &'a S) -> Self {
        Self { store, queries: store, jobs: store, outbox: store, webhooks: store }
    }
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

/// Asks everything there is, each two times, and tells `heard` what it was and how long the second took.
/// What a unit of work changed is rolled back; the few jobs that were claimed stay so.
///
/// # Errors
/// Where a read fails, or there is a method of the ports that is not asked here.
pub async fn each(
    asked: Asked<'_>,
    places: Places,
    workers: &Workers,
    heard: &mut dyn FnMut(&str, Took),
) -> anyhow::Result<()> {
    let mut reads = Reads { asked, places, workers, heard, names: BTreeSet::new() };
    reads.lists_of_people().await?;
    reads.lists_of_markets().await?;
    reads.lists_of_trading().await?;
    reads.single_things().await?;
    reads.sums().await?;
    reads.jobs().await?;
    reads.telling().await?;
    reads.loads_of_a_unit().await?;
    reads.loads_of_people_in_a_unit().await?;
    let missing: Vec<String> = methods().into_iter().filter(|name| !reads.names.contains(name)).collect();
    ensure!(missing.is_empty(), "these are not asked in conformance/src/plans/reads.rs: {}", missing.join(", "));
    Ok(())
}

/// Lists of which more match than are gathered or counted hold the right rows in the right order.
///
/// # Errors
/// Where they do not, or a read fails.
pub async fn large_lists_are_right(asked: Asked<'_>, places: Places) -> anyhow::Result<()> {
    let tagged = MarketFilter { tag: Some("tag 1".to_owned()), ..MarketFilter::default() };
    markets_are_right(asked, &tagged).await?;
    markets_are_right(asked, &MarketFilter { status: Some(MarketStatus::Open), ..tagged }).await?;
    let first =
        PageRequest { sort: vec![(UserSort::CreatedAt, Direction::Ascending)], start: Start::Offset(0), limit: 1 };
    let counted = asked.queries.users(&UserFilter::default(), &first).await?.total;
    ensure!(counted == Some(MOST_COUNTED), "{counted:?} users are counted where there are {}", places.rows);
    Ok(())
}

/// Three pages of the markets that are tagged, by their volume.
async fn markets_are_right(asked: Asked<'_>, filter: &MarketFilter) -> anyhow::Result<()> {
    let sort = vec![(MarketSort::Volume, Direction::Descending)];
    let (mut start, mut last, mut seen) = (Start::Offset(0), Credits::MAX, BTreeSet::new());
    for _ in 0..3 {
        let page = asked.queries.markets(filter, &PageRequest { sort: sort.clone(), start, limit: 100 }).await?;
        for market in &page.items {
            let matches = market.tags == ["tag 1"] && filter.status.is_none_or(|status| status == market.status);
            ensure!(matches && market.volume <= last, "market {} is out of place after {last:?}", market.id);
            last = market.volume;
            seen.insert(market.id);
        }
        let end = page.items.last().context("an empty page")?;
        start = Start::After(vec![SortValue::Int(end.volume.mills())], end.id.0);
    }
    ensure!(seen.len() == 300, "three pages have {} markets", seen.len());
    Ok(())
}

/// The methods of the ports that ask a store for something.
fn methods() -> Vec<String> {
    let mut found = Vec::new();
    for text in PORTS {
        let mut port = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("pub trait ") {
                port = rest.split(':').next().unwrap_or_default();
            } else if let Some(rest) = line.strip_prefix("    async fn ") {
                found.push(format!("{port}.{}", rest.split('(').next().unwrap_or_default()));
            }
        }
    }
    let is_asked = |name: &String| {
        let port = name.split('.').next().unwrap_or_default();
        !NOT_ASKED.contains(&port) && !OF_EVERYTHING.contains(&name.as_str())
    };
    found.into_iter().filter(is_asked).collect()
}

struct Reads<'a> {
    asked: Asked<'a>,
    places: Places,
    workers: &'a Workers,
    heard: &'a mut dyn FnMut(&str, Took),
    names: BTreeSet<String>,
}

/// The order of a list that is asked for: its keys, what a cursor in the middle holds of each, and the way.
type Sort<K> = Vec<(K, SortValue, Direction)>;

impl Reads<'_> {
    /// Asks two times. What is asked is the method, and after a space in which way.
    async fn ask<T>(&mut self, what: &str, read: impl AsyncFn() -> Result<T, StoreError>) -> anyhow::Result<()> {
        read().await.with_context(|| what.to_owned())?;
        let used = self.workers.used();
        let started = Instant::now();
        read().await.with_context(|| what.to_owned())?;
        let time = started.elapsed();
        let processor = used.and_then(|before| self.workers.used()?.checked_sub(before));
        (self.heard)(what, Took { time, processor });
        self.names.insert(what.split(' ').next().unwrap_or_default().to_owned());
        Ok(())
    }

    /// Asks in a unit of work that is rolled back.
    async fn in_a_unit<T>(
        &mut self,
        what: &str,
        read: impl AsyncFn(&mut dyn UnitOfWork) -> Result<T, StoreError>,
    ) -> anyhow::Result<()> {
        let store = self.asked.store;
        self.ask(what, async || {
            let mut unit = store.begin().await?;
            read(unit.as_mut()).await?;
            unit.rollback().await
        })
        .await
    }

    /// Asks for pages of a list, with each filter in each order.
    async fn list<F, K: Copy, T>(
        &mut self,
        name: &str,
        filters: &[(&str, F)],
        sorts: &[(String, Sort<K>)],
        read: impl AsyncFn(&F, &PageRequest<K>) -> Result<T, StoreError>,
    ) -> anyhow::Result<()> {
        for (filter_name, filter) in filters {
            for (sort_name, sort) in sorts {
                let what = format!("{name} {filter_name} {sort_name}");
                self.pages(&what, sort, async |page| read(filter, page).await).await?;
            }
        }
        Ok(())
    }

    /// Asks for the first page, for one in the middle, and for a counted one.
    async fn pages<K: Copy, T>(
        &mut self,
        what: &str,
        sort: &Sort<K>,
        read: impl AsyncFn(&PageRequest<K>) -> Result<T, StoreError>,
    ) -> anyhow::Result<()> {
        let keys: Vec<(K, Direction)> = sort.iter().map(|(key, _, direction)| (*key, *direction)).collect();
        let values = sort.iter().map(|(_, value, _)| value.clone()).collect();
        let middle = Start::After(values, self.places.order().0);
        for (name, start) in [("first", Start::First), ("after", middle), ("counted", Start::Offset(0))] {
            let request = PageRequest { sort: keys.clone(), start, limit: PAGE };
            self.ask(&format!("{what} {name}"), async || read(&request).await).await?;
        }
        Ok(())
    }

    /// Each key by itself, both ways.
    fn each_way<K: Copy>(keys: &[(K, &'static str, SortValue)]) -> Vec<(String, Sort<K>)> {
        let mut all = Vec::new();
        for (key, name, value) in keys {
            for (sign, direction) in [("", Direction::Ascending), ("-", Direction::Descending)] {
                all.push((format!("by {sign}{name}"), vec![(*key, value.clone(), direction)]));
            }
        }
        all
    }

    fn middle(&self) -> anyhow::Result<SortValue> {
        Ok(SortValue::Int(self.places.middle()?.as_microsecond()))
    }

    async fn lists_of_people(&mut self) -> anyhow::Result<()> {
        let (places, queries, middle) = (self.places, self.asked.queries, self.middle()?);
        let any = UserFilter::default();
        let filters = [
            ("all", any.clone()),
            ("role=admin", UserFilter { role: Some(Role::Admin), ..any.clone() }),
            ("status=deactivated", UserFilter { status: Some(UserStatus::Deactivated), ..any.clone() }),
            ("createdAfter", UserFilter { created_after: Some(places.middle()?), ..any.clone() }),
            ("createdBefore", UserFilter { created_before: Some(places.middle()?), ..any.clone() }),
            ("q", UserFilter { search: Some("user 77".to_owned()), ..any }),
        ];
        let sorts = Self::each_way(&[
            (UserSort::CreatedAt, "createdAt", middle.clone()),
            (UserSort::DisplayName, "displayName", SortValue::Text("User 5".to_owned())),
        ]);
        let read = async |filter: &_, page: &_| queries.users(filter, page).await;
        self.list("Queries.users", &filters, &sorts, read).await?;
        let any = AuditFilter::default();
        let busy = places.busy_user();
        let filters = [
            ("all", any.clone()),
            ("actor", AuditFilter { actor: Some(busy), ..any.clone() }),
            ("action", AuditFilter { action: Some(Action::RoleChanged), ..any.clone() }),
            ("target", AuditFilter { target: Some(busy.0), ..any.clone() }),
            ("from", AuditFilter { from: Some(places.middle()?), ..any.clone() }),
            ("until", AuditFilter { until: Some(places.middle()?), ..any }),
        ];
        let sorts = Self::each_way(&[(AuditSort::CreatedAt, "createdAt", middle)]);
        let read = async |filter: &_, page: &_| queries.audit_log(filter, page).await;
        self.list("Queries.audit_log", &filters, &sorts, read).await?;
        Ok(())
    }

    async fn lists_of_markets(&mut self) -> anyhow::Result<()> {
        let (places, queries, middle) = (self.places, self.asked.queries, self.middle()?);
        let any = MarketFilter::default();
        let of = |name: &str| MarketFilter { category: Some(name.to_owned()), ..MarketFilter::default() };
        let tagged = |name: &str| MarketFilter { tag: Some(name.to_owned()), ..MarketFilter::default() };
        let filters = [
            ("all", any.clone()),
            ("status=open", MarketFilter { status: Some(MarketStatus::Open), ..any.clone() }),
            ("status=proposed", MarketFilter { status: Some(MarketStatus::Proposed), ..any.clone() }),
            ("status=disputed", MarketFilter { status: Some(MarketStatus::Disputed), ..any.clone() }),
            ("category=much", of("category 1")),
            ("category=rare", of("rare")),
            ("category=none", of("none")),
            ("tag=much", tagged("tag 1")),
            ("tag=rare", tagged("rare")),
            ("creator", MarketFilter { creator: Some(places.busy_user()), ..any.clone() }),
            ("closesAfter", MarketFilter { closes_after: Some(places.end()?), ..any.clone() }),
            ("closesBefore", MarketFilter { closes_before: Some(places.middle()?), ..any.clone() }),
            ("status=open category=much", MarketFilter { status: Some(MarketStatus::Open), ..of("category 1") }),
            ("status=proposed category=rare", MarketFilter { status: Some(MarketStatus::Proposed), ..of("rare") }),
        ];
        let volume = SortValue::Int(i64::try_from(places.rows)?.saturating_mul(500));
        let mut sorts = Self::each_way(&[
            (MarketSort::CreatedAt, "createdAt", middle.clone()),
            (MarketSort::ClosesAt, "closesAt", middle.clone()),
            (MarketSort::Volume, "volume", volume.clone()),
        ]);
        let mixed = vec![
            (MarketSort::Volume, volume, Direction::Descending),
            (MarketSort::ClosesAt, middle, Direction::Ascending),
        ];
        sorts.push(("by -volume,closesAt".to_owned(), mixed));
        let read = async |filter: &_, page: &_| queries.markets(filter, page).await;
        self.list("Queries.markets", &filters, &sorts, read).await?;
        Ok(())
    }

    async fn lists_of_trading(&mut self) -> anyhow::Result<()> {
        let (places, queries, middle) = (self.places, self.asked.queries, self.middle()?);
        let sorts = Self::each_way(&[
            (OrderSort::CreatedAt, "createdAt", middle.clone()),
            (OrderSort::UpdatedAt, "updatedAt", middle.clone()),
        ]);
        let read = async |filter: &_, page: &_| queries.orders(filter, page).await;
        self.list("Queries.orders", &order_filters(places), &sorts, read).await?;
        let sorts = Self::each_way(&[(TradeSort::CreatedAt, "createdAt", middle.clone())]);
        let read = async |filter: &_, page: &_| queries.trades(filter, page).await;
        self.list("Queries.trades", &trade_filters(places), &sorts, read).await?;
        let sorts = Self::each_way(&[(TransferSort::CreatedAt, "createdAt", middle)]);
        let read = async |filter: &_, page: &_| queries.transfers(filter, page).await;
        self.list("Queries.transfers", &transfer_filters(places), &sorts, read).await?;
        let spent = SortValue::Int(i64::try_from(places.rows / 2)?);
        let sorts = Self::each_way(&[(PositionSort::Spent, "spent", spent)]);
        let (user, market) = (Some(places.busy_user()), Some(places.busy_market()));
        let filters = [
            ("user", PositionFilter { user, market: None }),
            ("market", PositionFilter { user: None, market }),
            ("user market", PositionFilter { user, market: Some(places.market(0)) }),
        ];
        let read = async |filter: &_, page: &_| queries.positions(filter, page).await;
        self.list("Queries.positions", &filters, &sorts, read).await?;
        Ok(())
    }

    async fn single_things(&mut self) -> anyhow::Result<()> {
        let (places, queries) = (self.places, self.asked.queries);
        let (users, markets) = (users(places), markets(places));
        let books: Vec<_> = markets.iter().map(|market| (*market, OutcomeId::FIRST)).collect();
        let (busy, hash) = (places.busy_user(), places.hash());
        self.ask("Queries.ping", || queries.ping()).await?;
        self.ask("Queries.user", || queries.user(busy)).await?;
        self.ask("Queries.user_by_email", || queries.user_by_email("user77@example.org")).await?;
        self.ask("Queries.users_by_ids", || queries.users_by_ids(&users)).await?;
        self.ask("Queries.bots_of", || queries.bots_of(busy)).await?;
        self.ask("Queries.session", || queries.session(places.session())).await?;
        let end = places.end()?;
        self.ask("Queries.sessions_of", || queries.sessions_of(busy, end, PAGE)).await?;
        self.ask("Queries.api_key", || queries.api_key(hash)).await?;
        self.ask("Queries.api_keys_of", || queries.api_keys_of(busy)).await?;
        self.ask("Queries.mail_token", || queries.mail_token(hash)).await?;
        self.ask("Queries.account", || queries.account(places.busy_account())).await?;
        self.ask("Queries.transfer", || queries.transfer(places.transfer())).await?;
        let by_id = MarketKey::Id(places.busy_market());
        self.ask("Queries.market", || queries.market(&by_id)).await?;
        let by_slug = MarketKey::Slug(Slug::parse("market-77")?);
        self.ask("Queries.market slug", || queries.market(&by_slug)).await?;
        self.ask("Queries.markets_by_ids", || queries.markets_by_ids(&markets)).await?;
        self.ask("Queries.best_prices", || queries.best_prices(&books)).await?;
        self.ask("Queries.order", || queries.order(places.order())).await?;
        let sender = Sender { user: busy, key: None };
        self.ask("Queries.order_group", || queries.order_group(places.group())).await?;
        self.ask("Queries.order_groups_of", || queries.order_groups_of(busy)).await?;
        self.ask("Queries.cancel_switches_of", || queries.cancel_switches_of(sender)).await?;
        self.ask("Queries.due_cancel_switches", || queries.due_cancel_switches(end, 100)).await?;
        self.ask("Queries.position", || queries.position(busy, places.market(0))).await
    }

    async fn sums(&mut self) -> anyhow::Result<()> {
        let (places, queries) = (self.places, self.asked.queries);
        let book = outcome(0)?;
        let market = places.busy_market();
        self.ask("Queries.book", || queries.book(market, book, 50)).await?;
        let to = places.middle()?;
        let from = to.checked_sub(SignedDuration::from_hours(2))?;
        let request = CandleRequest { market, book, interval_s: 60, from, to, limit: 120 };
        self.ask("Queries.candles", || queries.candles(&request)).await?;
        let long = CandleRequest { limit: 20, ..request };
        self.ask("Queries.candles beyond the limit", || queries.candles(&long)).await?;
        self.ask("Queries.markets_to_close", || queries.markets_to_close(to, 100)).await?;
        self.ask("Queries.orders_to_expire", || queries.orders_to_expire(to, 100)).await?;
        self.ask("Queries.proposals_to_decide", || queries.proposals_to_decide(to, 100)).await?;
        self.ask("Queries.markets_to_pay", || queries.markets_to_pay(100)).await?;
        let (market, user) = (Some(places.market(500)), Some(places.user(500)));
        self.ask("Queries.closed_with_orders", || queries.closed_with_orders(market, 1000)).await?;
        self.ask("Queries.deactivated_with_orders", || queries.deactivated_with_orders(user, 1000)).await?;
        self.ask("Queries.statistics", || queries.statistics(places.user(3))).await?;
        let sorts = Self::each_way(&[
            (StandingSort::Profit, "profit", SortValue::Int(0)),
            (StandingSort::Brier, "brier", SortValue::Int(100_000)),
        ]);
        for (sort_name, sort) in &sorts {
            let what = format!("Queries.standings {sort_name}");
            self.pages(&what, sort, async |page| queries.standings(page).await).await?;
        }
        self.ask("Queries.markets_to_count", || queries.markets_to_count(None, PAGE)).await?;
        let after = Some(places.market(500));
        self.ask("Queries.markets_to_count after", || queries.markets_to_count(after, PAGE)).await?;
        self.ask("Queries.chains", || queries.chains(None, PAGE)).await?;
        let after = Some((places.busy_account(), places.middle()?, places.transfer()));
        self.ask("Queries.chains after", || queries.chains(after, PAGE)).await?;
        self.ask("Queries.accounts_after", || queries.accounts_after(None, PAGE)).await?;
        let after = Some(places.busy_account());
        self.ask("Queries.accounts_after after", || queries.accounts_after(after, PAGE)).await?;
        self.ask("Queries.audit_head", || queries.audit_head()).await?;
        self.ask("Queries.audit_chain", || queries.audit_chain(500, PAGE)).await
    }

    async fn jobs(&mut self) -> anyhow::Result<()> {
        let (places, jobs, kind) = (self.places, self.asked.jobs, JobKind::Mail);
        let (now, later) = (places.middle()?, places.end()?);
        self.ask("Jobs.claim", || jobs.claim(kind, now, later, 10)).await?;
        // Of an attempt that there was not, so that nothing changes.
        let claim = Claim { job: places.job(), attempt: 77 };
        let (claims, done) = ([claim], [Finished { claim, result: None }]);
        self.ask("Jobs.renew", || jobs.renew(&claims, later)).await?;
        self.ask("Jobs.postpone", || jobs.postpone(claim, later, now)).await?;
        self.ask("Jobs.finish", || jobs.finish(&done, now)).await?;
        self.ask("Jobs.fail", || jobs.fail(claim, "an error", Outcome::Again(later), now)).await?;
        self.ask("Jobs.next_due", || jobs.next_due(kind)).await?;
        self.ask("Jobs.job", || jobs.job(places.job())).await?;
        self.ask("Jobs.depth", || jobs.depth(now)).await?;
        self.ask("Jobs.forget_ended_before", || jobs.forget_ended_before(now, 10)).await?;
        let job = Job::new(places.absent_job(), kind, "{}".to_owned(), now);
        self.in_a_unit("JobControl.retry", async |unit| unit.jobs().retry(job.id, now).await).await?;
        self.in_a_unit("JobControl.cancel", async |unit| unit.jobs().cancel(job.id).await).await?;
        // With a key, so that it can be put aside twice.
        let joined = Job { unique_key: Some("a key".to_owned()), ..job };
        self.in_a_unit("JobControl.put_aside", async |unit| unit.jobs().put_aside(&joined).await).await?;
        self.ask("Jobs.begin_slot", || jobs.begin_slot("a schedule", now, later, &joined)).await?;
        let filters = [
            ("all", JobFilter::default()),
            ("kind", JobFilter { kind: Some(kind), state: None }),
            ("state", JobFilter { kind: None, state: Some(JobState::Dead) }),
            ("kind state", JobFilter { kind: Some(kind), state: Some(JobState::Waiting) }),
        ];
        let sorts = Self::each_way(&[(JobSort::CreatedAt, "createdAt", SortValue::Int(now.as_microsecond()))]);
        let read = async |filter: &_, page: &_| jobs.jobs(filter, page).await;
        self.list("Jobs.jobs", &filters, &sorts, read).await?;
        Ok(())
    }

    async fn telling(&mut self) -> anyhow::Result<()> {
        let (places, outbox, webhooks) = (self.places, self.asked.outbox, self.asked.webhooks);
        let (middle, webhook, owner) = (places.middle()?, places.busy_webhook(), places.user(5));
        self.ask("Outbox.after", || outbox.after(500, PAGE)).await?;
        self.ask("Outbox.span", || outbox.span()).await?;
        self.ask("Outbox.waiting_since", || outbox.waiting_since(500)).await?;
        self.ask("Outbox.cursors", || outbox.cursors()).await?;
        self.ask("Outbox.forget_before", || outbox.forget_before(middle, 100)).await?;
        self.ask("WebhookLog.webhook", || webhooks.webhook(webhook)).await?;
        self.ask("WebhookLog.webhooks_of", || webhooks.webhooks_of(owner)).await?;
        self.ask("WebhookLog.delivery", || webhooks.delivery(places.delivery())).await?;
        self.ask("WebhookLog.due", || webhooks.due(webhook, middle, 100)).await?;
        self.ask("WebhookLog.next_due", || webhooks.next_due(webhook)).await?;
        self.ask("WebhookLog.forget_deliveries_before", || webhooks.forget_deliveries_before(middle, 100)).await?;
        let with_state = |state| DeliveryFilter { webhook, state };
        let filters = [
            ("webhook", with_state(None)),
            ("webhook state=failed", with_state(Some(DeliveryState::Failed))),
            ("webhook state=pending", with_state(Some(DeliveryState::Pending))),
        ];
        let sorts = Self::each_way(&[(DeliverySort::CreatedAt, "createdAt", self.middle()?)]);
        let read = async |filter: &_, page: &_| webhooks.deliveries(filter, page).await;
        self.list("WebhookLog.deliveries", &filters, &sorts, read).await?;
        self.in_a_unit("Webhooks.lock", async |unit| unit.webhooks().lock(webhook).await).await?;
        self.in_a_unit("Webhooks.of_user", async |unit| unit.webhooks().of_user(owner).await).await?;
        self.in_a_unit("Webhooks.enabled", async |unit| unit.webhooks().enabled().await).await?;
        self.in_a_unit("Webhooks.delivery", async |unit| unit.webhooks().delivery(places.delivery()).await).await?;
        self.in_a_unit("Webhooks.make_due", async |unit| unit.webhooks().make_due(webhook, middle).await).await?;
        self.in_a_unit("Webhooks.send_again", async |unit| {
            unit.webhooks().send_again(webhook, middle, middle, 100).await
        })
        .await
    }

    /// What an order and a payment load, one by one and all at once.
    async fn loads_of_a_unit(&mut self) -> anyhow::Result<()> {
        let places = self.places;
        let wanted = wanted(places)?;
        let market = places.busy_market();
        self.in_a_unit("load", async |unit| unit.load(wanted.clone()).await).await?;
        self.in_a_unit("Users.lock", async |unit| unit.users().lock(&wanted.users).await).await?;
        self.in_a_unit("Users.load", async |unit| unit.users().load(&wanted.users).await).await?;
        self.in_a_unit("Users.statuses", async |unit| unit.users().statuses(&wanted.users).await).await?;
        self.in_a_unit("Accounts.lock", async |unit| unit.accounts().lock(&wanted.lock_accounts).await).await?;
        self.in_a_unit("Markets.lock", async |unit| unit.markets().lock(&wanted.lock_markets).await).await?;
        self.in_a_unit("Orders.load", async |unit| unit.orders().load(&wanted.orders).await).await?;
        self.in_a_unit("Orders.book", async |unit| unit.orders().book(&wanted.books).await).await?;
        self.in_a_unit("Orders.open_in_market", async |unit| unit.orders().open_in_market(market, 100).await).await?;
        self.in_a_unit("Orders.count_open", async |unit| unit.orders().count_open(&wanted.open_counts).await).await?;
        self.in_a_unit("Orders.with_client_ids", async |unit| unit.orders().with_client_ids(&wanted.client_ids).await)
            .await?;
        self.in_a_unit("Positions.load", async |unit| unit.positions().load(&wanted.positions).await).await?;
        self.in_a_unit("Positions.unsettled", async |unit| {
            unit.positions().unsettled(market, UserId(Uuid::nil()), 100).await
        })
        .await?;
        self.in_a_unit("Scores.counting", async |unit| unit.scores().counting(market).await).await?;
        self.in_a_unit("Scores.trades_after", async |unit| unit.scores().trades_after(market, None, PAGE).await)
            .await?;
        let user = places.user(500);
        self.in_a_unit("Scores.positions_after", async |unit| unit.scores().positions_after(market, user, PAGE).await)
            .await?;
        let counted = counted(places);
        self.in_a_unit("Scores.written", async |unit| unit.write(&counted).await).await?;
        self.in_a_unit("ApiKeys.usages", async |unit| unit.api_keys().usages(&wanted.key_usages).await).await?;
        self.in_a_unit("Answers.find", async |unit| unit.answers().find(&wanted.answers).await).await?;
        let old = places.middle()?;
        self.in_a_unit("Answers.forget_before", async |unit| unit.answers().forget_before(old, 100).await).await?;
        Ok(())
    }

    async fn loads_of_people_in_a_unit(&mut self) -> anyhow::Result<()> {
        let places = self.places;
        let (user, old, hash) = (places.user(5), places.middle()?, places.hash());
        let sessions = [places.session()];
        let failure = FailureKey { user: Some(user), place: "192.0.2.7".to_owned(), since: old };
        self.in_a_unit("Users.lock_bots_of", async |unit| unit.users().lock_bots_of(user).await).await?;
        self.in_a_unit("Users.lock_admins", async |unit| unit.users().lock_admins().await).await?;
        self.in_a_unit("Sessions.lock", async |unit| unit.sessions().lock(&sessions).await).await?;
        self.in_a_unit("Sessions.lock_by_token", async |unit| unit.sessions().lock_by_token(hash).await).await?;
        self.in_a_unit("Sessions.lock_of_user", async |unit| unit.sessions().lock_of_user(user).await).await?;
        self.in_a_unit("Sessions.refresh_tokens", async |unit| unit.sessions().refresh_tokens(&[hash]).await).await?;
        self.in_a_unit("Sessions.forget_before", async |unit| unit.sessions().forget_before(old, 100).await).await?;
        self.in_a_unit("MailTokens.find", async |unit| unit.mail_tokens().find(hash).await).await?;
        self.in_a_unit("MailTokens.of_user", async |unit| unit.mail_tokens().of_user(user).await).await?;
        self.in_a_unit("MailTokens.forget_before", async |unit| unit.mail_tokens().forget_before(old, 100).await)
            .await?;
        self.in_a_unit("Failures.count", async |unit| unit.failures().count(&failure, old, 100).await).await?;
        self.in_a_unit("Failures.take_before", async |unit| unit.failures().take_before(old, 100).await).await?;
        self.in_a_unit("ApiKeys.of_user", async |unit| unit.api_keys().of_user(user).await).await?;
        self.in_a_unit("ApiKeys.lock", async |unit| unit.api_keys().lock(places.key()).await).await?;
        let sender = Sender { user, key: Some(places.key()) };
        self.in_a_unit("CancelSwitches.lock_of", async |unit| unit.cancel_switches().lock_of(sender).await).await?;
        self.in_a_unit("EventCursors.lock", async |unit| unit.event_cursors().lock("a consumer", 0).await).await?;
        self.in_a_unit("EventCursors.advance", async |unit| unit.event_cursors().advance("a consumer", 1).await)
            .await?;
        let groups = [places.group()];
        self.in_a_unit("OrderGroups.load", async |unit| unit.order_groups().load(&groups).await).await?;
        self.in_a_unit("OrderGroups.open_orders", async |unit| unit.order_groups().open_orders(&groups).await).await?;
        self.in_a_unit("OrderGroups.count_of", async |unit| unit.order_groups().count_of(user).await).await?;
        Ok(())
    }
}

fn users(places: Places) -> Vec<UserId> {
    (0..20).map(|number| places.user(number)).collect()
}

fn markets(places: Places) -> Vec<MarketId> {
    (0..20).map(|number| places.market(number)).collect()
}

fn order_filters(places: Places) -> Vec<(&'static str, OrderFilter)> {
    let user = Some(places.busy_user());
    let own = OrderFilter { user, ..OrderFilter::default() };
    let market = Some(places.busy_market());
    let with_status = |status| OrderFilter { status: Some(status), ..own.clone() };
    vec![
        ("user", own.clone()),
        ("user status=open", with_status(OrderStatus::Open)),
        ("user status=filled", with_status(OrderStatus::Filled)),
        ("user status=expired", with_status(OrderStatus::Expired)),
        ("user market", OrderFilter { market, ..own.clone() }),
        ("user market=rare", OrderFilter { market: Some(places.market(3)), ..own.clone() }),
        ("user market=none", OrderFilter { market: Some(places.market(500)), ..own.clone() }),
        ("user market status=open", OrderFilter { market, ..with_status(OrderStatus::Open) }),
        ("user clientOrderId", OrderFilter { client_order_id: Some("mine 300".to_owned()), ..own }),
    ]
}

fn trade_filters(places: Places) -> Vec<(&'static str, TradeFilter)> {
    let (user, market, order) = (Some(places.busy_user()), Some(places.busy_market()), Some(places.order()));
    let any = TradeFilter::default();
    vec![
        ("market", TradeFilter { market, ..any.clone() }),
        ("user", TradeFilter { user, ..any.clone() }),
        ("user market", TradeFilter { user, market, ..any.clone() }),
        ("user market=none", TradeFilter { user, market: Some(places.market(500)), ..any.clone() }),
        ("user order", TradeFilter { user, order, ..any }),
    ]
}

fn transfer_filters(places: Places) -> Vec<(&'static str, TransferFilter)> {
    let account = Some(places.busy_account());
    let own = TransferFilter { account, ..TransferFilter::default() };
    vec![
        ("account", own.clone()),
        ("account kind=rare", TransferFilter { kind: Some(TransferKind::Grant), ..own.clone() }),
        ("account kind=none", TransferFilter { kind: Some(TransferKind::Refund), ..own.clone() }),
        ("account market", TransferFilter { market: Some(places.busy_market()), ..own.clone() }),
        ("account market=none", TransferFilter { market: Some(places.market(500)), ..own }),
    ]
}

/// What counting a market writes. The busy user has a position in that market, which is not counted.
fn counted(places: Places) -> Changes {
    let (market, user) = (places.market(2), places.busy_user());
    let figures = Figures { trades: 1, ..Figures::default() };
    Changes {
        countings: vec![Counting::of(market)],
        market_scores: vec![MarketScore { market, user, figures }],
        scores: vec![Score { user, figures, profit: Credits::ZERO, markets: 1, judged_markets: 0 }],
        counted_positions: vec![(market, user)],
        ..Changes::default()
    }
}

fn wanted(places: Places) -> anyhow::Result<Wanted> {
    let (user, market, book) = (places.busy_user(), places.busy_market(), OutcomeId::new(0).context("an outcome")?);
    let side = |side| BookRequest { market, book, side, limit: None, depth: 20 };
    Ok(Wanted {
        answers: vec![AnswerKey { user, route: "POST /api/v1/orders".to_owned(), key: "key 500".to_owned() }],
        users: users(places),
        lock_markets: markets(places),
        orders: vec![places.order()],
        books: vec![side(Side::Buy), side(Side::Sell)],
        client_ids: vec![(user, "mine 300".to_owned())],
        open_counts: vec![(places.user(3), places.market(3))],
        lock_accounts: vec![places.busy_account()],
        positions: vec![(user, places.market(0))],
        key_usages: vec![places.key()],
        order_groups: vec![places.group()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_of_the_ports_are_found() {
        let methods = methods();
        for name in ["Queries.candles", "Jobs.claim", "Orders.book", "ApiKeys.usages"] {
            assert!(methods.iter().any(|method| method == name), "{name} is not in {methods:?}");
        }
        assert!(!methods.iter().any(|method| method.starts_with("UnitOfWork.")));
    }
}
