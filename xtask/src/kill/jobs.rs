//! Jobs that are begun while processes are killed, none of which may be lost.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::kill::api::{Api, User};

/// The pause between two jobs.
const PAUSE: Duration = Duration::from_millis(150);

/// Begins jobs. It ends when it is dropped.
pub(super) struct Probes {
    begun: Arc<Mutex<BTreeSet<String>>>,
    beginning: JoinHandle<()>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.beginning.abort();
    }
}

impl Probes {
    /// Begins one after the other from now on.
    pub(super) fn start(api: Api, mut admin: User) -> Self {
        let begun = Arc::<Mutex<BTreeSet<String>>>::default();
        let noted = Arc::clone(&begun);
        let beginning = tokio::spawn(async move {
            loop {
                // What the server did not vouch for need not be there.
                if let Ok(id) = api.begin_probe(&mut admin).await {
                    noted.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { begun, beginning }
    }

    /// Begins no more; the ids of those that the server vouched for.
    pub(super) fn stop(&self) -> BTreeSet<String> {
        self.beginning.abort();
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The jobs in that state, a hundred at most.
pub(super) async fn of_state(api: &Api, admin: &mut User, state: &str) -> anyhow::Result<Vec<Value>> {
    let jobs = api.get(&format!("/jobs?state={state}&limit=100"), admin).await?;
    Ok(jobs.as_array().context("jobs are no list")?.clone())
}

/// What became of jobs that should not have: those that are not done, and all that were given up.
pub(super) async fn breaches(api: &Api, admin: &mut User, begun: &BTreeSet<String>) -> anyhow::Result<Vec<String>> {
    let mut breaches = Vec::new();
    for id in begun {
        match api.get(&format!("/jobs/{id}"), admin).await {
            Ok(job) if job.get("state").and_then(Value::as_str) == Some("done") => {}
            Ok(job) => breaches.push(format!("a job is not done: {job}")),
            Err(error) => breaches.push(format!("the job {id} is lost: {error:#}")),
        }
    }
    for state in ["dead", "waiting", "running"] {
        let left = of_state(api, admin, state).await?;
        breaches.extend(left.iter().map(|job| format!("a job is {state} in the end: {job}")));
    }
    Ok(breaches)
}
