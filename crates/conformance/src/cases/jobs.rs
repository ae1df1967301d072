//! The queue of jobs.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bellwether_domain::ids::JobId;
use bellwether_domain::job::{Job, JobKind, JobState, Outcome};
use bellwether_domain::ports::{Changes, StoreError, Unique};
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

/// Claims at one second, with a lease until another.
async fn claim(world: &World, now: i64, until: i64, limit: u32) -> anyhow::Result<Vec<Job>> {
    let (now, until) = (at(now)?, at(until)?);
    let mut claimed = retried(|| world.jobs.claim(MAIL, now, until, limit)).await?;
    claimed.sort_by_key(|job| job.id);
    Ok(claimed)
}

fn ids(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

/// From being put aside to the end, every field as it was written.
pub async fn a_job_goes_its_way_from_waiting_to_done_or_dead(world: World) -> anyhow::Result<()> {
    let (done, dead) = (job(&world, 0)?, job(&world, 0)?);
    put_aside(&world, &[done.clone(), dead.clone()]).await?;
    ensure!(world.jobs.next_due(MAIL).await? == Some(at(0)?));
    let claimed = claim(&world, 0, 60, 10).await?;
    let running = |job: &Job, attempts, until| -> anyhow::Result<Job> {
        Ok(Job { state: JobState::Running, run_at: at(until)?, attempts, ..job.clone() })
    };
    ensure!(claimed == [running(&done, 1, 60)?, running(&dead, 1, 60)?], "{claimed:?} was claimed");
    ensure!(world.jobs.next_due(MAIL).await? == Some(at(60)?), "the end of a lease is looked for too");
    let first = claimed.first().context("two were claimed")?.claim();
    let second = claimed.last().context("two were claimed")?.claim();
    ensure!(world.jobs.finish(first).await?);
    ensure!(!world.jobs.finish(first).await?, "it was done already");
    ensure!(world.jobs.fail(second, "Ünreachable\nhost", Outcome::Again(at(7)?), at(1)?).await?);

    ensure!(claim(&world, 6, 60, 10).await?.is_empty() && world.jobs.dead(MAIL, 10).await?.is_empty());
    let again = claim(&world, 7, 60, 10).await?;
    let kept = Some("Ünreachable host".to_owned());
    ensure!(again == [Job { last_error: kept, ..running(&dead, 2, 60)? }], "{again:?} was claimed");
    let third = again.first().context("one was claimed")?.claim();
    ensure!(world.jobs.fail(third, "for good", Outcome::Dead, at(8)?).await?);
    let last_error = Some("for good".to_owned());
    let wanted = Job { state: JobState::Dead, run_at: at(8)?, attempts: 2, last_error, ..dead };
    let found = world.jobs.dead(MAIL, 10).await?;
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
    ensure!(next.attempts == 2);
    ensure!(!world.jobs.finish(late).await?);
    ensure!(!world.jobs.fail(late, "late", Outcome::Dead, at(31)?).await?);
    ensure!(claim(&world, 59, 90, 1).await?.is_empty(), "a late word gave it to somebody else");
    ensure!(world.jobs.finish(next.claim()).await?);
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
    ensure!(ids(&world.jobs.dead(MAIL, 10).await?) == wanted);
    ensure!(ids(&world.jobs.dead(MAIL, 1).await?).iter().eq(wanted.first()));
    for (before, limit, forgotten, left) in [(10, 10, 0, 4), (12, 1, 1, 3), (12, 10, 1, 2), (100, 10, 2, 0)] {
        let told = world.jobs.forget_dead_before(at(before)?, limit).await?;
        let found = world.jobs.dead(MAIL, 10).await?.len();
        ensure!((told, found) == (forgotten, left), "before {before}: {told} forgotten, {found} left");
    }
    ensure!(claim(&world, 0, 60, 10).await?.len() == 1, "one that waits was forgotten");
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
        world.jobs.next_due(MAIL).await?;
        world.jobs.dead(MAIL, 100).await?;
        world.jobs.forget_dead_before(at(100)?, 100).await?;
        Ok(world.statements() - before)
    };
    cost(1).await?;
    let (one, many) = (cost(1).await?, cost(50).await?);
    ensure!(one == many, "{many} statements for many where one takes {one}");
    Ok(())
}
