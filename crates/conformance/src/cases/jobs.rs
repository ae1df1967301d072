//! The queue of jobs.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bellwether_domain::ids::JobId;
use bellwether_domain::job::{Claim, Depth, Job, JobKind, JobState, Outcome, Priority};
use bellwether_domain::ports::{
    Changes, Direction, Finished, JobFilter, JobSort, PageRequest, Start, StoreError, Unique,
};
use tokio::sync::Barrier;

use crate::MOST_UNITS;
use crate::fixtures::at;
use crate::world::{World, all, retried};

const MAIL: JobKind = JobKind::Mail;

/// A job that is due at that second and was not written yet.
fn job(world: &World, due: i64) -> anyhow::Result<Job> {
    let payload = format!("{{\"text\": \"Ünïcode ' {}\"}}", world.number());
    Ok(Job::new(JobId(world.id()), MAIL, payload, at(due)?))
}

async fn put_aside(world: &World, jobs: &[Job]) -> anyhow::Result<()> {
    Ok(world.write(&Changes { new_jobs: jobs.to_vec(), ..Changes::default() }).await?)
}

/// In a unit of work of its own, as the two below.
async fn put_one_aside(world: &World, job: &Job) -> anyhow::Result<Job> {
    let mut unit = world.begin().await?;
    let put = unit.jobs().put_aside(job).await?;
    unit.commit().await?;
    Ok(put)
}

async fn retry(world: &World, id: JobId, now: i64) -> anyhow::Result<Option<Job>> {
    let mut unit = world.begin().await?;
    let job = unit.jobs().retry(id, at(now)?).await?;
    unit.commit().await?;
    Ok(job)
}

async fn cancel(world: &World, id: JobId) -> anyhow::Result<Option<Job>> {
    let mut unit = world.begin().await?;
    let job = unit.jobs().cancel(id).await?;
    unit.commit().await?;
    Ok(job)
}

/// Claims at one second, with a lease until another.
async fn claim(world: &World, now: i64, until: i64, limit: u32) -> anyhow::Result<Vec<Job>> {
    let (now, until) = (at(now)?, at(until)?);
    let mut claimed = retried(|| world.jobs.claim(MAIL, now, until, limit)).await?;
    claimed.sort_by_key(|job| job.id);
    Ok(claimed)
}

/// Whether what was said to be done counts.
async fn finish(world: &World, claim: Claim) -> anyhow::Result<bool> {
    let done = [Finished { claim, result: Some("well".to_owned()) }];
    Ok(world.jobs.finish(&done, at(9)?).await? == [claim.job])
}

async fn listed(world: &World, filter: &JobFilter, limit: u32) -> anyhow::Result<Vec<Job>> {
    let sort = vec![(JobSort::CreatedAt, Direction::Descending)];
    Ok(world.jobs.jobs(filter, &PageRequest { sort, start: Start::First, limit }).await?.items)
}

/// Dead jobs, the newest first.
async fn dead(world: &World, limit: u32) -> anyhow::Result<Vec<Job>> {
    listed(world, &JobFilter { kind: Some(MAIL), state: Some(JobState::Dead) }, limit).await
}

fn ids(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

/// From being put aside to the end, every field as it was written.
pub async fn a_job_goes_its_way_from_waiting_to_done_or_dead(world: World) -> anyhow::Result<()> {
    let (done, doomed) = (job(&world, 0)?, job(&world, 0)?);
    put_aside(&world, &[done.clone(), doomed.clone()]).await?;
    ensure!(world.jobs.next_due(MAIL).await? == Some(at(0)?));
    let claimed = claim(&world, 0, 60, 10).await?;
    let running = |job: &Job, attempts, until| -> anyhow::Result<Job> {
        Ok(Job { state: JobState::Running, run_at: at(until)?, attempts, ..job.clone() })
    };
    ensure!(claimed == [running(&done, 1, 60)?, running(&doomed, 1, 60)?], "{claimed:?} was claimed");
    ensure!(world.jobs.next_due(MAIL).await? == Some(at(60)?), "the end of a lease is looked for too");
    let first = claimed.first().context("two were claimed")?.claim();
    let second = claimed.last().context("two were claimed")?.claim();
    ensure!(finish(&world, first).await?);
    ensure!(!finish(&world, first).await?, "it was done already");
    ensure!(world.jobs.fail(second, "Ünreachable\nhost", Outcome::Again(at(7)?), at(1)?).await?);

    ensure!(claim(&world, 6, 60, 10).await?.is_empty() && dead(&world, 10).await?.is_empty());
    let again = claim(&world, 7, 60, 10).await?;
    let kept = Some("Ünreachable host".to_owned());
    ensure!(again == [Job { last_error: kept, failures: 1, ..running(&doomed, 2, 60)? }], "{again:?} was claimed");
    let third = again.first().context("one was claimed")?.claim();
    ensure!(world.jobs.fail(third, "for good", Outcome::Dead, at(8)?).await?);
    let last_error = Some("for good".to_owned());
    let wanted = Job { state: JobState::Dead, run_at: at(8)?, attempts: 2, failures: 2, last_error, ..doomed };
    let found = dead(&world, 10).await?;
    ensure!(found == [wanted], "{found:?} is dead");
    ensure!(claim(&world, 1000, 2000, 10).await?.is_empty(), "nobody does what is dead");
    ensure!(world.jobs.next_due(MAIL).await?.is_none());
    Ok(())
}

/// Threat 48.
pub async fn a_job_exists_only_if_its_unit_was_committed(world: World) -> anyhow::Result<()> {
    let new_jobs = vec![job(&world, 0)?];
    let mut unit = world.begin().await?;
    unit.write(&Changes { new_jobs: new_jobs.clone(), ..Changes::default() }).await?;
    unit.rollback().await?;
    ensure!(claim(&world, 0, 60, 10).await?.is_empty());
    put_aside(&world, &new_jobs).await?;
    let refused = world.write(&Changes { new_jobs: new_jobs.clone(), ..Changes::default() }).await;
    ensure!(matches!(refused, Err(StoreError::Duplicate(Unique::Id))), "{refused:?}");
    ensure!(ids(&claim(&world, 0, 60, 10).await?) == ids(&new_jobs));
    Ok(())
}

/// At most the limit, and none before its time.
pub async fn due_jobs_are_claimed_the_longest_due_first(world: World) -> anyhow::Result<()> {
    let jobs = [job(&world, 5)?, job(&world, 3)?, job(&world, 1)?, job(&world, 20)?];
    put_aside(&world, &jobs).await?;
    let [five, three, one, _] = ids(&jobs).try_into().map_err(|_| anyhow::anyhow!("there are four"))?;
    ensure!(claim(&world, 0, 60, 10).await?.is_empty() && claim(&world, 10, 60, 0).await?.is_empty());
    ensure!(ids(&claim(&world, 10, 60, 2).await?) == [three, one]);
    ensure!(ids(&claim(&world, 10, 60, 2).await?) == [five]);
    ensure!(claim(&world, 10, 60, 2).await?.is_empty());
    Ok(())
}

/// Threats 45 and 46. Whoever takes longer than its lease is followed by another, and has no say any more.
pub async fn a_lease_that_has_run_out_is_taken_over_and_a_late_word_counts_for_nothing(
    world: World,
) -> anyhow::Result<()> {
    put_aside(&world, &[job(&world, 0)?]).await?;
    let late = claim(&world, 0, 30, 1).await?.first().context("it is due")?.claim();
    ensure!(claim(&world, 29, 60, 1).await?.is_empty(), "the lease still holds");
    let taken = claim(&world, 30, 60, 1).await?;
    let next = taken.first().context("the lease has run out")?;
    ensure!((next.attempts, next.failures) == (2, 1), "a lease that ran out is a failure");
    ensure!(!finish(&world, late).await?);
    ensure!(!world.jobs.fail(late, "late", Outcome::Dead, at(31)?).await?);
    ensure!(claim(&world, 59, 90, 1).await?.is_empty(), "a late word gave it to somebody else");
    ensure!(finish(&world, next.claim()).await?);
    ensure!(claim(&world, 1000, 2000, 1).await?.is_empty());
    Ok(())
}

/// However many servers ask at the same time.
pub async fn of_many_who_ask_at_once_each_job_goes_to_one(world: World) -> anyhow::Result<()> {
    let mut jobs = Vec::new();
    for _ in 0..MOST_UNITS {
        jobs.push(job(&world, 0)?);
    }
    put_aside(&world, &jobs).await?;
    let barrier = Arc::new(Barrier::new(MOST_UNITS));
    let mut tasks = Vec::new();
    for _ in 0..MOST_UNITS {
        let (world, barrier) = (world.clone(), Arc::clone(&barrier));
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            claim(&world, 0, 60, 3).await
        }));
    }
    let claims = all(tasks).await?;
    ensure!(claims.iter().all(|claimed| claimed.len() <= 3), "somebody got more than was asked for");
    let mut claimed = claims.concat();
    // Who asks while others hold the rows may go away with less than there is.
    claimed.extend(claim(&world, 0, 60, 1000).await?);
    let distinct: BTreeSet<JobId> = ids(&claimed).into_iter().collect();
    ensure!(claimed.len() == jobs.len() && distinct.len() == jobs.len(), "{} claims of 64 jobs", claimed.len());
    ensure!(claimed.iter().all(|job| job.attempts == 1));
    Ok(())
}

/// Those that died last come first, and those that died first go first.
pub async fn dead_jobs_are_listed_and_forgotten_in_batches(world: World) -> anyhow::Result<()> {
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(job(&world, 0)?);
    }
    put_aside(&world, &jobs).await?;
    for (died, job) in (10..).zip(claim(&world, 0, 60, 4).await?) {
        ensure!(world.jobs.fail(job.claim(), "", Outcome::Dead, at(died)?).await?);
    }
    let wanted: Vec<JobId> = ids(&jobs).into_iter().take(4).rev().collect();
    ensure!(ids(&dead(&world, 10).await?) == wanted);
    ensure!(ids(&dead(&world, 1).await?).iter().eq(wanted.first()));
    for (before, limit, forgotten, left) in [(10, 10, 0, 4), (12, 1, 1, 3), (12, 10, 1, 2), (100, 10, 2, 0)] {
        let told = world.jobs.forget_ended_before(at(before)?, limit).await?;
        let found = dead(&world, 10).await?.len();
        ensure!((told, found) == (forgotten, left), "before {before}: {told} forgotten, {found} left");
    }
    ensure!(claim(&world, 0, 60, 10).await?.len() == 1, "one that waits was forgotten");
    Ok(())
}

/// Of those that are due, whatever has waited for longer.
pub async fn of_those_that_are_due_the_most_urgent_come_first(world: World) -> anyhow::Result<()> {
    let of = |priority, due| -> anyhow::Result<Job> { Ok(Job { priority, ..job(&world, due)? }) };
    let jobs = [of(Priority::Low, 1)?, of(Priority::Normal, 3)?, of(Priority::High, 5)?, of(Priority::High, 20)?];
    put_aside(&world, &jobs).await?;
    ensure!(world.jobs.next_due(MAIL).await? == Some(at(1)?));
    for wanted in Priority::ALL {
        let claimed = claim(&world, 10, 60, 1).await?;
        ensure!(claimed.iter().map(|job| job.priority).eq([wanted]), "{claimed:?} where {wanted:?} comes first");
    }
    ensure!(claim(&world, 10, 60, 1).await?.is_empty());
    Ok(())
}

/// Threats 45 and 46: leases are short and prolonged, by who has them alone.
pub async fn a_lease_is_prolonged_by_who_has_it_alone(world: World) -> anyhow::Result<()> {
    put_aside(&world, &[job(&world, 0)?, job(&world, 0)?]).await?;
    let claims: Vec<Claim> = claim(&world, 0, 10, 2).await?.iter().map(Job::claim).collect();
    let mut renewed = world.jobs.renew(&claims, at(20)?).await?;
    renewed.sort_unstable();
    ensure!(renewed.iter().eq(claims.iter().map(|claim| &claim.job)), "{renewed:?}");
    ensure!(claim(&world, 19, 60, 2).await?.is_empty(), "a lease that was prolonged had run out");
    let taken = claim(&world, 20, 60, 1).await?;
    let renewed = world.jobs.renew(&claims, at(90)?).await?;
    let lost = taken.first().context("a lease has run out")?.id;
    ensure!(renewed.len() == 1 && !renewed.contains(&lost), "{renewed:?}");
    ensure!(ids(&claim(&world, 60, 90, 2).await?) == [lost]);
    Ok(())
}

/// What is put aside under a key that is there joins what has it: in whatever state that is.
pub async fn a_key_belongs_to_one_job_which_others_join(world: World) -> anyhow::Result<()> {
    let keyed =
        |due| -> anyhow::Result<Job> { Ok(Job { unique_key: Some("Ünique".to_owned()), ..job(&world, due)? }) };
    let (first, joining) = (keyed(0)?, keyed(50)?);
    put_aside(&world, std::slice::from_ref(&first)).await?;
    put_aside(&world, &[joining.clone(), job(&world, 90)?]).await?;
    let elsewhere = Job { kind: JobKind::Audit, ..keyed(0)? };
    ensure!(put_one_aside(&world, &elsewhere).await? == elsewhere, "a key is its kind's");
    ensure!(put_one_aside(&world, &joining).await? == first, "it joins the first");
    ensure!(world.jobs.job(first.id).await? == Some(first.clone()) && world.jobs.job(joining.id).await?.is_none());

    // While it runs: it is done once more.
    let running = claim(&world, 0, 30, 10).await?.pop().context("the first is due")?;
    put_aside(&world, std::slice::from_ref(&joining)).await?;
    ensure!(finish(&world, running.claim()).await?);
    let again = world.jobs.job(first.id).await?.context("it waits again")?;
    ensure!((again.state, again.run_at, again.failures) == (JobState::Waiting, at(9)?, 0), "{again:?}");
    let running = claim(&world, 9, 30, 10).await?.pop().context("it is due again")?;
    ensure!(running.payload == first.payload && running.attempts == 2);
    put_aside(&world, std::slice::from_ref(&joining)).await?;
    ensure!(world.jobs.postpone(running.claim(), at(50)?, at(10)?).await?);
    let running = claim(&world, 10, 30, 10).await?.pop().context("more came while it ran, so it is due at once")?;
    ensure!(world.jobs.postpone(running.claim(), at(50)?, at(11)?).await?);
    ensure!(claim(&world, 49, 60, 10).await?.is_empty(), "it waits as it was told");
    put_aside(&world, &[keyed(49)?]).await?;
    let running = claim(&world, 49, 60, 10).await?.pop().context("what joined it was due sooner")?;
    ensure!(world.jobs.postpone(running.claim(), at(50)?, at(49)?).await?);

    // While its last run fails: what joined it has not been tried.
    let running = claim(&world, 50, 60, 10).await?.pop().context("it is due")?;
    put_aside(&world, &[keyed(50)?]).await?;
    ensure!(world.jobs.fail(running.claim(), "for good", Outcome::Dead, at(50)?).await?);
    let again = world.jobs.job(first.id).await?.context("it waits again")?;
    ensure!((again.state, again.run_at, again.failures) == (JobState::Waiting, at(50)?, 0), "{again:?}");
    let running = claim(&world, 50, 60, 10).await?.pop().context("it is due again")?;
    put_aside(&world, &[keyed(50)?]).await?;
    ensure!(world.jobs.fail(running.claim(), "not yet", Outcome::Again(at(50)?), at(50)?).await?);
    let again = world.jobs.job(first.id).await?.context("it waits")?;
    ensure!((again.state, again.failures) == (JobState::Waiting, 1), "{again:?}");

    // When it is dead: it waits again.
    let running = claim(&world, 50, 60, 10).await?.pop().context("it is due")?;
    ensure!(world.jobs.fail(running.claim(), "for good", Outcome::Dead, at(51)?).await?);
    put_aside(&world, &[keyed(55)?]).await?;
    let revived = world.jobs.job(first.id).await?.context("it is there")?;
    ensure!((revived.state, revived.run_at, revived.failures) == (JobState::Waiting, at(55)?, 0), "{revived:?}");
    let running = claim(&world, 55, 60, 1).await?.pop().context("it is due")?;
    ensure!(finish(&world, running.claim()).await? && world.jobs.job(first.id).await?.is_none());
    Ok(())
}

/// What people asked for is there when it is done, without its payload, and leaves its key to others.
pub async fn a_job_that_is_kept_is_listed_with_what_came_of_it(world: World) -> anyhow::Result<()> {
    let kept = Job { is_kept: true, unique_key: Some("key".to_owned()), ..job(&world, 0)? };
    put_aside(&world, &[kept.clone(), job(&world, 0)?]).await?;
    let claims: Vec<Claim> = claim(&world, 0, 60, 10).await?.iter().map(Job::claim).collect();
    let done: Vec<Finished> =
        claims.iter().map(|claim| Finished { claim: *claim, result: Some("Wéll".to_owned()) }).collect();
    ensure!(world.jobs.finish(&done, at(9)?).await?.len() == 2);
    let result = Some("Wéll".to_owned());
    let (state, payload) = (JobState::Done, String::new());
    let wanted = Job { state, payload, run_at: at(9)?, attempts: 1, result, ..kept.clone() };
    let found = listed(&world, &JobFilter::default(), 10).await?;
    ensure!(found == [wanted.clone()], "{found:?} is left");
    ensure!(claim(&world, 1000, 2000, 10).await?.is_empty());
    ensure!(retry(&world, kept.id, 10).await? == Some(wanted), "what is done is not tried again");
    let next = Job { unique_key: kept.unique_key.clone(), ..job(&world, 0)? };
    ensure!(put_one_aside(&world, &next).await? == next);
    ensure!(world.jobs.forget_ended_before(at(10)?, 10).await? == 1 && world.jobs.job(kept.id).await?.is_none());
    Ok(())
}

/// By hand: whatever was given up or waits is due at once, and what is cancelled is gone.
pub async fn jobs_are_tried_again_and_cancelled_by_hand(world: World) -> anyhow::Result<()> {
    let jobs = [job(&world, 0)?, job(&world, 70)?];
    let [first, second] = ids(&jobs).try_into().map_err(|_| anyhow::anyhow!("there are two"))?;
    put_aside(&world, &jobs).await?;
    let late = claim(&world, 0, 60, 1).await?.pop().context("it is due")?;
    let running = retry(&world, first, 1).await?.context("it is there")?;
    ensure!(running == late, "one that runs is left alone");
    ensure!(world.jobs.fail(late.claim(), "for good", Outcome::Dead, at(1)?).await?);
    let retried = retry(&world, first, 2).await?.context("it is there")?;
    ensure!((retried.state, retried.run_at, retried.failures, retried.attempts) == (JobState::Waiting, at(2)?, 0, 1));
    ensure!(retry(&world, second, 2).await?.is_some());
    let claimed = claim(&world, 2, 60, 10).await?;
    ensure!(ids(&claimed) == [first, second]);
    ensure!(!finish(&world, late.claim()).await?, "a word on an earlier turn counts for nothing");
    let mut unit = world.begin().await?;
    ensure!(unit.jobs().cancel(second).await?.is_some());
    unit.rollback().await?;
    let cancelled = cancel(&world, first).await?;
    ensure!(cancelled.map(|job| (job.id, job.state)) == Some((first, JobState::Running)));
    ensure!(cancel(&world, first).await?.is_none());
    let claims: Vec<Claim> = claimed.iter().map(Job::claim).collect();
    ensure!(world.jobs.renew(&claims, at(90)?).await? == [second]);
    ensure!(retry(&world, first, 2).await?.is_none());
    Ok(())
}

/// Threat 49: however many servers look, and whatever their clocks do.
pub async fn a_slot_of_a_schedule_is_begun_once(world: World) -> anyhow::Result<()> {
    let barrier = Arc::new(Barrier::new(8));
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (world, barrier, job) = (world.clone(), Arc::clone(&barrier), job(&world, 0)?);
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            retried(|| async { world.jobs.begin_slot("nightly", at_or(100), at_or(200), &job).await }).await
        }));
    }
    let begun = all(tasks).await?;
    ensure!(begun.iter().filter(|is_begun| **is_begun).count() == 1, "{begun:?}");
    let begin = async |slot: i64| -> anyhow::Result<bool> {
        Ok(world.jobs.begin_slot("nightly", at(slot)?, at(slot + 100)?, &job(&world, 0)?).await?)
    };
    // Back by an hour and forth again; on to the next; and one of a clock that was wrong by a day.
    for (slot, is_begun) in
        [(99, false), (100, false), (101, true), (100, false), (500, true), (401, false), (102, true)]
    {
        ensure!(begin(slot).await? == is_begun, "{slot}");
    }
    ensure!(world.jobs.begin_slot("often", at(1)?, at(100)?, &job(&world, 0)?).await?, "each schedule has its own");
    ensure!(claim(&world, 1000, 2000, 10).await?.len() == 5);
    Ok(())
}

fn at_or(second: i64) -> jiff::Timestamp {
    at(second).unwrap_or_default()
}

/// Bounded, and of each kind by itself.
pub async fn the_depth_counts_what_is_due_and_what_is_dead(world: World) -> anyhow::Result<()> {
    let probe = |due| -> anyhow::Result<Job> { Ok(Job { kind: JobKind::Probe, ..job(&world, due)? }) };
    put_aside(&world, &[job(&world, 0)?, job(&world, 0)?, job(&world, 50)?, probe(1)?]).await?;
    let running = claim(&world, 0, 30, 1).await?.pop().context("it is due")?;
    let depth = |kind, due, dead| Depth { kind, due, dead };
    let kinds = |mail: Depth, probe: Depth| {
        JobKind::ALL.map(|kind| match kind {
            JobKind::Mail => mail,
            JobKind::Probe => probe,
            kind => depth(kind, 0, 0),
        })
    };
    let found = world.jobs.depth(at(10)?).await?;
    ensure!(found == kinds(depth(MAIL, 1, 0), depth(JobKind::Probe, 1, 0)), "{found:?}");
    ensure!(world.jobs.fail(running.claim(), "", Outcome::Dead, at(10)?).await?);
    let found = world.jobs.depth(at(50)?).await?;
    ensure!(found == kinds(depth(MAIL, 2, 1), depth(JobKind::Probe, 1, 0)), "{found:?}");
    Ok(())
}

/// One or many jobs cost the same.
pub async fn the_statements_for_jobs_do_not_grow_with_their_number(world: World) -> anyhow::Result<()> {
    let cost = async |count: u64| -> anyhow::Result<u64> {
        let mut jobs = Vec::new();
        for _ in 0..count {
            jobs.push(job(&world, 0)?);
        }
        let before = world.statements();
        put_aside(&world, &jobs).await?;
        let claimed = claim(&world, 0, 60, 1000).await?;
        ensure!(claimed.len() == jobs.len());
        let claims: Vec<Claim> = claimed.iter().map(Job::claim).collect();
        world.jobs.renew(&claims, at(90)?).await?;
        let done: Vec<Finished> = claims.iter().map(|claim| Finished { claim: *claim, result: None }).collect();
        world.jobs.finish(&done, at(9)?).await?;
        world.jobs.next_due(MAIL).await?;
        dead(&world, 100).await?;
        world.jobs.forget_ended_before(at(100)?, 100).await?;
        Ok(world.statements() - before)
    };
    cost(1).await?;
    let (one, many) = (cost(1).await?, cost(50).await?);
    ensure!(one == many, "{many} statements for many where one takes {one}");
    Ok(())
}
