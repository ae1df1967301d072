//! The loop that does jobs, schedules, and what administrators may do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::ids::JobId;
use bellwether_domain::job::{Job, JobKind, JobState, LEASE, Outcome};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{JobFilter, MockJobs, MockStore, PageRequest, Start, StoreError};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::Role;
use bellwether_usecases::jobs::{self, Failure, Handler, Schedule, Schedules, Verdict};
use bellwether_usecases::{Caller, Context, Error};
use jiff::SignedDuration;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::mocks::{context, now, user_id};

fn job(n: u128) -> Job {
    Job {
        attempts: 1,
        state: JobState::Running,
        ..Job::new(JobId(Uuid::from_u128(n)), JobKind::Probe, String::new(), now())
    }
}

fn with(mut jobs: MockJobs) -> Context {
    // Where the machine is held up for seconds, leases are prolonged.
    jobs.expect_renew().returning(|claims, _| Ok(claims.iter().map(|claim| claim.job).collect()));
    Context { jobs: Arc::new(jobs), ..context(MockStore::new()) }
}

/// Does jobs as it is told, and says which it did.
struct Scripted<F> {
    kind: JobKind,
    did: Mutex<Vec<JobId>>,
    outcome: F,
}

#[async_trait]
impl<F: Fn(&Job) -> Result<Verdict, Failure> + Send + Sync> Handler for Scripted<F> {
    fn kind(&self) -> JobKind {
        self.kind
    }

    async fn run(&self, _: &Context, job: &Job) -> Result<Verdict, Failure> {
        self.did.lock().unwrap().push(job.id);
        (self.outcome)(job)
    }
}

/// Works off these jobs, and stops when the queue is asked when the next is due; which were done.
async fn work_off(
    mut jobs: MockJobs,
    queue: Vec<Job>,
    outcome: impl Fn(&Job) -> Result<Verdict, Failure> + Send + Sync + 'static,
) -> Vec<JobId> {
    let (stop, stopped) = watch::channel(false);
    let mut queue = Some(queue);
    jobs.expect_claim().returning(move |kind, at, until, _| {
        assert_eq!((kind, at, until), (JobKind::Probe, now(), now() + LEASE));
        Ok(queue.take().unwrap_or_default())
    });
    let asked = AtomicUsize::new(0);
    jobs.expect_next_due().returning(move |_| {
        // The first time the jobs have only begun.
        if asked.fetch_add(1, Ordering::SeqCst) > 0 {
            stop.send_replace(true);
        }
        Ok(None)
    });
    let handler = Arc::new(Scripted { kind: JobKind::Probe, did: Mutex::default(), outcome });
    jobs::work(with(jobs), handler.clone(), stopped).await;
    handler.did.lock().unwrap().clone()
}

#[tokio::test]
async fn jobs_that_are_done_are_told_together_and_one_with_more_to_do_waits() {
    let mut queue = MockJobs::new();
    queue.expect_finish().times(1).returning(|done, _| {
        assert_eq!(done.iter().map(|done| done.claim).collect::<Vec<_>>(), [job(1).claim(), job(3).claim()]);
        Ok(done.iter().map(|done| done.claim.job).collect())
    });
    let later = now() + SignedDuration::from_hours(1);
    queue
        .expect_postpone()
        .times(1)
        .withf(move |claim, until, _| *claim == job(2).claim() && *until == later)
        .returning(|_, _, _| Ok(true));
    let did = work_off(queue, vec![job(3), job(2), job(1)], move |job| {
        Ok(if job.id == JobId(Uuid::from_u128(2)) { Verdict::Later(later) } else { Verdict::Done(None) })
    });
    assert_eq!(did.await.len(), 3);
}

/// Threat 47: what fails is tried again, what panics too, what never can be done is given up; nobody else waits.
#[tokio::test]
async fn what_fails_or_panics_is_told_and_the_others_are_done() {
    let mut queue = MockJobs::new();
    queue.expect_finish().times(1).returning(|done, _| Ok(done.iter().map(|done| done.claim.job).collect()));
    let failures: Arc<Mutex<Vec<(u128, bool, String)>>> = Arc::default();
    let told = Arc::clone(&failures);
    queue.expect_fail().times(3).returning(move |claim, error, outcome, _| {
        told.lock().unwrap().push((claim.job.0.as_u128(), outcome == Outcome::Dead, error.to_owned()));
        Ok(true)
    });
    let did = work_off(queue, vec![job(1), job(2), job(3), job(4)], |job| match job.id.0.as_u128() {
        1 => Err(Failure::ForNow("no answer".to_owned())),
        2 => Err(Failure::ForGood("nonsense".to_owned())),
        3 => panic!("broken, for the test"),
        _ => Ok(Verdict::Done(None)),
    });
    assert_eq!(did.await.len(), 4);
    let mut failures = failures.lock().unwrap().clone();
    failures.sort();
    assert_eq!(failures[..2], [(1, false, "no answer".to_owned()), (2, true, "nonsense".to_owned())]);
    assert!(failures[2].0 == 3 && !failures[2].1 && failures[2].2.contains("panic"), "{failures:?}");
}

/// Threat 47: one that servers die of is not begun for ever.
#[tokio::test]
async fn a_job_that_failed_too_often_is_given_up_before_it_is_begun() {
    let hopeless = Job { failures: JobKind::Probe.manner().most_failures, ..job(1) };
    let mut queue = MockJobs::new();
    queue.expect_fail().times(1).withf(|_, _, outcome, _| *outcome == Outcome::Dead).returning(|_, _, _, _| Ok(true));
    assert!(work_off(queue, vec![hopeless], |_| Ok(Verdict::Done(None))).await.is_empty());
}

/// Also where there is room for no more than that one: the next one is not left waiting for its end.
#[tokio::test]
async fn after_a_job_that_is_given_up_the_next_is_begun() {
    let audits = JobKind::Audit.manner();
    let (mut queue, (stop, stopped)) = (MockJobs::new(), watch::channel(false));
    assert_eq!(audits.at_once, 1, "this is about kinds of which one is done at a time");
    let of_kind = |n| Job { kind: JobKind::Audit, ..job(n) };
    let mut jobs = vec![of_kind(2), Job { failures: audits.most_failures, ..of_kind(1) }];
    queue.expect_claim().returning(move |_, _, _, _| Ok(jobs.pop().into_iter().collect()));
    queue.expect_fail().times(1).withf(|claim, _, _, _| claim.job == job(1).id).returning(|_, _, _, _| Ok(true));
    queue.expect_finish().times(1).returning(|done, _| Ok(done.iter().map(|done| done.claim.job).collect()));
    queue.expect_next_due().returning(move |_| {
        stop.send_replace(true);
        Ok(None)
    });
    let outcome = |_: &Job| Ok(Verdict::Done(None));
    let handler = Arc::new(Scripted { kind: JobKind::Audit, did: Mutex::default(), outcome });
    let working = jobs::work(with(queue), handler.clone(), stopped);
    tokio::time::timeout(Duration::from_secs(20), working).await.expect("nothing is begun any more");
    assert_eq!(*handler.did.lock().unwrap(), [job(2).id]);
}

/// Does the first three jobs without an end, and tells when the fifth is begun.
struct Slow {
    fifth: Arc<Notify>,
}

#[async_trait]
impl Handler for Slow {
    fn kind(&self) -> JobKind {
        JobKind::Mail
    }

    async fn run(&self, _: &Context, job: &Job) -> Result<Verdict, Failure> {
        match job.id.0.as_u128() {
            1..=3 => std::future::pending().await,
            5 => self.fifth.notify_one(),
            _ => {}
        }
        Ok(Verdict::Done(None))
    }
}

/// Threat 53: those that wait for others' machines may take more than half of the room for long.
#[tokio::test]
async fn a_few_slow_jobs_keep_no_others_waiting() {
    assert_eq!(JobKind::Mail.manner().at_once, 4, "all but one place are taken");
    let (mut queue, (_stop, stopped)) = (MockJobs::new(), watch::channel(false));
    let of_kind = |n| Job { kind: JobKind::Mail, ..job(n) };
    let mut jobs = vec![vec![of_kind(5)], (1..=4).map(of_kind).collect()];
    queue.expect_claim().returning(move |_, _, _, _| Ok(jobs.pop().unwrap_or_default()));
    queue.expect_finish().returning(|done, _| Ok(done.iter().map(|done| done.claim.job).collect()));
    queue.expect_next_due().returning(|_| Ok(None));
    let fifth = Arc::new(Notify::new());
    let working = jobs::work(with(queue), Arc::new(Slow { fifth: Arc::clone(&fifth) }), stopped);
    tokio::select! {
        () = working => panic!("nobody told it to stop"),
        () = fifth.notified() => {}
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("nothing is begun any more"),
    }
}

#[tokio::test]
async fn a_conflict_is_no_reason_to_do_jobs_again() {
    let mut queue = MockJobs::new();
    let said = AtomicUsize::new(0);
    queue.expect_finish().times(2).returning(move |done, _| match said.fetch_add(1, Ordering::SeqCst) {
        0 => Err(StoreError::Conflict("deadlock detected".into())),
        _ => Ok(done.iter().map(|done| done.claim.job).collect()),
    });
    assert_eq!(work_off(queue, vec![job(1)], |_| Ok(Verdict::Done(None))).await.len(), 1);
}

/// Threat 68.
#[tokio::test]
async fn who_is_told_to_stop_takes_nothing_more_and_ends_what_it_began() {
    let mut queue = MockJobs::new();
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    let stopping = Arc::clone(&stop);
    queue.expect_claim().times(1).returning(|_, _, _, _| Ok(vec![job(1)]));
    queue.expect_next_due().returning(|_| Ok(None));
    queue.expect_finish().times(1).returning(|done, _| Ok(done.iter().map(|done| done.claim.job).collect()));
    let outcome = move |_: &Job| {
        stopping.send_replace(true);
        Ok(Verdict::Done(None))
    };
    jobs::work(with(queue), Arc::new(Scripted { kind: JobKind::Probe, did: Mutex::default(), outcome }), stopped).await;
    drop(stop);
}

/// Threat 49.
#[tokio::test]
async fn a_process_asks_once_for_each_slot() {
    let mut queue = MockJobs::new();
    let nightly = SignedDuration::from_hours(3);
    queue.expect_begin_slot().times(3).returning(move |name, slot, not_believed_from, job| {
        assert!(slot <= now() && slot > now() - SignedDuration::from_hours(24) && not_believed_from > now());
        assert_eq!((job.kind.as_str(), job.is_kept), (name, name == "audit"));
        Ok(name == "audit")
    });
    let (ctx, schedules) = (with(queue), Schedules::new(Schedule::all(Some(nightly))));
    assert_eq!(schedules.begin_due(&ctx).await.unwrap(), 1);
    assert_eq!(schedules.begin_due(&ctx).await.unwrap(), 0);
}

#[tokio::test]
async fn jobs_are_for_administrators() {
    for role in [Role::User, Role::Moderator] {
        let (ctx, caller) = (with(MockJobs::new()), Caller::signed_in(user_id(1), role));
        let id = JobId(Uuid::nil());
        let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 1 };
        let refusals = [
            jobs::list(&ctx, caller, &JobFilter::default(), &page).await.map(drop),
            jobs::show(&ctx, caller, id).await.map(drop),
            jobs::start(&ctx, caller, JobKind::Audit).await.map(drop),
            jobs::retry(&ctx, caller, id).await.map(drop),
            jobs::cancel(&ctx, caller, id).await,
        ];
        for refused in refusals {
            assert!(matches!(refused, Err(Error::Refused(Refusal::Forbidden(_)))), "{refused:?}");
        }
    }
    assert!(Permission::ManageJobs.allows(Role::Admin, false));
}
