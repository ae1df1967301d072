//! The audit log, its chain, and failed sign-ins that it tells of in sums.

use std::sync::Arc;

use anyhow::{Context, ensure};
use bellwether_domain::audit_log::{
    Action, Actor, Entry, Event, FailedSignIns, FailureKey, Head, Origin, Target, WINDOW,
};
use bellwether_domain::ids::{ApiKeyId, EventId, JobId, MarketId, SessionId, TransferId, UserId};
use bellwether_domain::ports::Direction::{Ascending, Descending};
use bellwether_domain::ports::{AuditFilter, AuditSort, Changes, Page, StoreError, Unique};
use bellwether_domain::session::Device;
use jiff::Timestamp;
use tokio::sync::Barrier;

use crate::MOST_UNITS;
use crate::fixtures::{self, at, nth};
use crate::pages::{first_page, holds};
use crate::world::{World, all, retried};

fn event(world: &World, second: i64) -> anyhow::Result<Event> {
    let device = Device { address: Some("2001:db8::1".to_owned()), agent: Some("Ünïcode/1.0 (')".to_owned()) };
    Ok(Event {
        id: EventId(world.id()),
        at: at(second)?,
        actor: Actor::User(UserId(world.id())),
        action: Action::Suspended,
        target: Some(Target::User(UserId(world.id()))),
        origin: Origin { device, request_id: Some("a-request".to_owned()) },
        before: Some(r#"{ "spaces":  "stay" }"#.to_owned()),
        after: Some("{}".to_owned()),
    })
}

async fn tell(world: &World, events: &[Event]) -> Result<(), StoreError> {
    world.write(&Changes { events: events.to_vec(), ..Changes::default() }).await
}

/// The whole chain, which must be unbroken up to its end.
async fn chain(world: &World) -> anyhow::Result<Vec<Entry>> {
    let (mut walk, mut entries) = (Head::default(), Vec::new());
    loop {
        let links = world.queries.audit_chain(walk.entries, 3).await?;
        if links.is_empty() {
            break;
        }
        for link in links {
            let entry = link.entry.context("an entry cannot be read")?;
            ensure!(link.number == entry.number && walk.follow(&entry), "{entry:#?} breaks the chain");
            entries.push(entry);
        }
    }
    let head = world.queries.audit_head().await?;
    ensure!(head == walk, "the end is {head:?} where the chain ends with {walk:?}");
    Ok(entries)
}

/// Every action, actor and target; what is missing and what is empty; the chain from its first entry on.
pub async fn entries_of_the_audit_log_round_trip(world: World) -> anyhow::Result<()> {
    ensure!(chain(&world).await?.is_empty() && world.queries.audit_head().await? == Head::default());
    let mut events = Vec::new();
    for action in Action::ALL {
        events.push(Event { action: *action, ..event(&world, 1)? });
    }
    let targets = [
        None,
        Some(Target::Session(SessionId(world.id()))),
        Some(Target::Market(MarketId(world.id()))),
        Some(Target::Transfer(TransferId(world.id()))),
        Some(Target::ApiKey(ApiKeyId(world.id()))),
        Some(Target::Job(JobId(world.id()))),
    ];
    for target in targets {
        events.push(Event { target, ..event(&world, 1)? });
    }
    for actor in [Actor::Stranger, Actor::System] {
        events.push(Event { actor, ..event(&world, 1)? });
    }
    let bare = Event { origin: Origin::default(), before: None, after: None, ..event(&world, 1)? };
    let empty = Device { address: Some(String::new()), agent: None };
    events.push(Event { origin: Origin { device: empty, request_id: None }, ..bare.clone() });
    events.push(Event { id: EventId(world.id()), ..bare });
    let (first, rest) = events.split_at(1);
    tell(&world, first).await?;
    tell(&world, rest).await?;
    let told: Vec<Event> = chain(&world).await?.into_iter().map(|entry| entry.event).collect();
    ensure!(told == events, "{told:#?} was told");
    Ok(())
}

/// Threat 7. An event is there if what it tells of is.
pub async fn an_event_is_told_only_if_its_unit_was_committed(world: World) -> anyhow::Result<()> {
    let user = fixtures::user(&world)?;
    let mut unit = world.begin().await?;
    let events = vec![event(&world, 1)?];
    unit.write(&Changes { new_users: vec![user.clone()], events: events.clone(), ..Changes::default() }).await?;
    unit.rollback().await?;
    ensure!(chain(&world).await?.is_empty(), "an event was told of what was undone");
    tell(&world, &events).await?;
    let refused = tell(&world, &events).await;
    ensure!(matches!(refused, Err(StoreError::Duplicate(Unique::Id))), "{refused:?}");
    ensure!(chain(&world).await?.len() == 1);
    Ok(())
}

/// However many tell something at once, the chain is one.
pub async fn many_who_tell_at_once_make_one_chain(world: World) -> anyhow::Result<()> {
    let barrier = Arc::new(Barrier::new(MOST_UNITS));
    let mut tasks = Vec::new();
    for _ in 0..MOST_UNITS {
        let (world, barrier) = (world.clone(), Arc::clone(&barrier));
        let events = [event(&world, 1)?, event(&world, 2)?];
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            retried(|| tell(&world, &events)).await
        }));
    }
    all(tasks).await?;
    ensure!(chain(&world).await?.len() == 2 * MOST_UNITS);
    Ok(())
}

async fn entries(world: &World, filter: &AuditFilter) -> anyhow::Result<Page<Entry>> {
    Ok(world.queries.audit_log(filter, &first_page()).await?)
}

/// In both orders and by both ways of paging; by actor, action, target and time, alone and together.
pub async fn the_audit_log_is_listed_and_filtered(world: World) -> anyhow::Result<()> {
    let people = [UserId(world.id()), UserId(world.id())];
    let mut events = Vec::new();
    for number in 0..24_usize {
        let mut event = event(&world, i64::try_from(number)? / 3)?;
        event.action = *nth(&[Action::SignedIn, Action::Suspended, Action::GrantMade], number % 3)?;
        event.actor = Actor::User(*nth(&people, number % 2)?);
        event.target = (number % 5 > 0).then_some(Target::User(*nth(&people, number / 2 % 2)?));
        events.push(event);
    }
    tell(&world, &events).await?;
    let rows = chain(&world).await?;
    holds(&rows, &[AuditSort::CreatedAt], async |page| world.queries.audit_log(&AuditFilter::default(), &page).await)
        .await?;
    let first = people.first().copied();
    let filters = [
        AuditFilter { actor: first, ..AuditFilter::default() },
        AuditFilter { action: Some(Action::GrantMade), ..AuditFilter::default() },
        AuditFilter { target: first.map(|user| user.0), ..AuditFilter::default() },
        AuditFilter { from: Some(at(3)?), ..AuditFilter::default() },
        AuditFilter { until: Some(at(3)?), ..AuditFilter::default() },
        AuditFilter {
            actor: first,
            action: Some(Action::SignedIn),
            target: first.map(|user| user.0),
            from: Some(at(1)?),
            until: Some(at(7)?),
        },
        AuditFilter { action: Some(Action::KeysRotated), ..AuditFilter::default() },
    ];
    for filter in filters {
        let wanted: Vec<Entry> = rows.iter().filter(|row| is_wanted(&row.event, &filter)).cloned().collect();
        let page = entries(&world, &filter).await?;
        ensure!(page.items == wanted, "{filter:?} gave {:#?}", page.items);
        ensure!(page.total == Some(u64::try_from(wanted.len())?), "{filter:?} counted {:?}", page.total);
        for direction in [Ascending, Descending] {
            let sort = vec![(AuditSort::CreatedAt, direction)];
            let page = world
                .queries
                .audit_log(&filter, &bellwether_domain::ports::PageRequest { sort, ..first_page() })
                .await?;
            ensure!(page.items.len() == wanted.len());
        }
    }
    Ok(())
}

fn is_wanted(event: &Event, filter: &AuditFilter) -> bool {
    filter.actor.is_none_or(|actor| event.actor == Actor::User(actor))
        && filter.action.is_none_or(|action| event.action == action)
        && filter.target.is_none_or(|target| event.target.is_some_and(|t| t.id() == target))
        && filter.from.is_none_or(|from| event.at >= from)
        && filter.until.is_none_or(|until| event.at < until)
}

async fn count(world: &World, key: &FailureKey, at: Timestamp, most: u32) -> Result<FailedSignIns, StoreError> {
    let mut unit = world.begin().await?;
    let sum = unit.failures().count(key, at, most).await?;
    unit.commit().await?;
    Ok(sum)
}

/// Threat 61. By account, place and window; what is too much is counted as one.
pub async fn failed_sign_ins_are_counted_together_and_taken_once(world: World) -> anyhow::Result<()> {
    let key = |user: Option<u128>, place: &str, since: i64| -> anyhow::Result<FailureKey> {
        let user = user.map(|n| UserId(uuid::Uuid::from_u128(n)));
        Ok(FailureKey { user, place: place.to_owned(), since: at(since)? })
    };
    let (ann, elsewhere, nobody) = (key(Some(1), "a", 0)?, key(Some(1), "b", 0)?, key(None, "a", 0)?);
    ensure!(count(&world, &ann, at(5)?, 2).await? == FailedSignIns { key: ann.clone(), count: 1, last_at: at(5)? });
    // One that comes late counts, and the last stays the last.
    ensure!(count(&world, &ann, at(3)?, 2).await? == FailedSignIns { key: ann.clone(), count: 2, last_at: at(5)? });
    ensure!(count(&world, &elsewhere, at(6)?, 2).await?.count == 1);
    let rest = count(&world, &nobody, at(7)?, 2).await?;
    ensure!(rest.key == nobody.of_the_rest() && rest.count == 1, "{rest:?} is beyond the two that are told apart");
    ensure!(
        count(&world, &key(Some(2), "c", 0)?, at(8)?, 2).await? == FailedSignIns { count: 2, last_at: at(8)?, ..rest }
    );
    // Those that are there go on, and another window begins anew.
    ensure!(count(&world, &ann, at(9)?, 2).await?.count == 3);
    let later = key(Some(1), "a", WINDOW.as_secs())?;
    ensure!(count(&world, &later, at(WINDOW.as_secs())?, 2).await?.count == 1);

    let mut unit = world.begin().await?;
    let mut taken = unit.failures().take_before(at(1)?, 2).await?;
    taken.extend(unit.failures().take_before(at(1)?, 2).await?);
    ensure!(unit.failures().take_before(at(1)?, 2).await?.is_empty());
    unit.commit().await?;
    let mut counts: Vec<i64> = taken.iter().map(|sum| sum.count).collect();
    counts.sort_unstable();
    ensure!(counts == [1, 2, 3] && taken.iter().all(|sum| sum.key.since == at(0).unwrap_or_default()), "{taken:#?}");
    ensure!(count(&world, &later, at(WINDOW.as_secs())?, 2).await?.count == 2);
    Ok(())
}

/// None is lost.
pub async fn many_failed_sign_ins_at_once_are_all_counted(world: World) -> anyhow::Result<()> {
    let key = FailureKey { user: Some(UserId(world.id())), place: "a".to_owned(), since: at(0)? };
    let barrier = Arc::new(Barrier::new(MOST_UNITS));
    let mut tasks = Vec::new();
    for _ in 0..MOST_UNITS {
        let (world, barrier, key) = (world.clone(), Arc::clone(&barrier), key.clone());
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            retried(|| count(&world, &key, key.since, 10)).await
        }));
    }
    let mut counts: Vec<i64> = all(tasks).await?.into_iter().map(|sum| sum.count).collect();
    counts.sort_unstable();
    ensure!(counts.into_iter().eq(1..=i64::try_from(MOST_UNITS)?), "some failures were not counted");
    Ok(())
}

/// One or many cost the same.
pub async fn the_statements_for_the_audit_log_do_not_grow_with_its_entries(world: World) -> anyhow::Result<()> {
    let cost = async |count: usize| -> anyhow::Result<u64> {
        let events = (0..count).map(|_| event(&world, 1)).collect::<anyhow::Result<Vec<_>>>()?;
        let before = world.statements();
        tell(&world, &events).await?;
        world.queries.audit_head().await?;
        world.queries.audit_chain(0, 1000).await?;
        entries(&world, &AuditFilter::default()).await?;
        Ok(world.statements() - before)
    };
    cost(1).await?;
    let (one, many) = (cost(1).await?, cost(50).await?);
    ensure!(one == many, "{many} statements for many where one takes {one}");
    Ok(())
}
