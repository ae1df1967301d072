//! The queue of jobs, as administrators see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bellwether_tests::{Api, Installation, Server, Store, User, on_each_store, on_each_store_with};
use serde_json::{Value, json};

/// Waits until a job is in that state.
async fn wait_for(api: &Api, admin: &User, job: &str, state: &str) -> Value {
    let started = Instant::now();
    loop {
        let shown = api.get(&format!("/jobs/{job}"), admin).await.expect(200);
        if shown.data()["state"] == state {
            return shown.data().clone();
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{} where {state} was to be", shown.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_is_asked_for_is_answered_202_and_tells_what_came_of_it() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        api.sign_up("Ann").await;
        let started = api.post("/jobs", admin, json!({ "kind": "audit" })).await.expect(202);
        let id = started.text("/id");
        assert_eq!(started.header("location"), format!("/api/v1/jobs/{id}"));
        let done = wait_for(api, admin, &id, "done").await;
        assert_eq!(done["result"], "every invariant holds");
        api.post(&format!("/jobs/{id}/retry"), admin, json!({})).await.refused(409, "JOB_NOT_RETRIED");
        api.post("/jobs", admin, json!({ "kind": "mail" })).await.refused(422, "VALIDATION_ERROR");
        api.request("DELETE", &format!("/jobs/{id}")).by(admin).send().await.expect(204);
        api.get(&format!("/jobs/{id}"), admin).await.refused(404, "JOB_NOT_FOUND");
        api.request("DELETE", &format!("/jobs/{id}")).by(admin).send().await.refused(404, "JOB_NOT_FOUND");
    })
    .await;
}

/// A row as another server would leave it, an hour or more ago.
async fn leave(server: &Server, id: u32, kind: &str, state: &str) -> String {
    let id = format!("0193a5e0-0000-7000-8000-{id:012}");
    let (id_of, at) = match server.installation().store() {
        Store::Postgres => (format!("'{id}'"), "now() - interval '1 hour'"),
        Store::Sqlite => (format!("x'{}'", id.replace('-', "")), "1700000000000000"),
    };
    let sql = format!(
        "INSERT INTO jobs (id, kind, payload, state, run_at, attempts, last_error, created_at) \
         VALUES ({id_of}, '{kind}', 'CANARY', '{state}', {at}, 5, 'no such thing', {at})"
    );
    server.installation().execute_sql(&sql).await;
    id
}

/// Threat 47: the dead are listed, counted, and done where somebody says so. Their payloads are shown to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn dead_jobs_are_listed_in_pages_and_done_when_somebody_says_so() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let mut dead = Vec::new();
        for number in 1..=5 {
            dead.push(leave(&server, number, "probe", "dead").await);
        }
        let path = "/jobs?state=dead&kind=probe&limit=2&cursor=";
        let (mut cursor, mut seen) = (String::new(), Vec::new());
        loop {
            let page = api.get(&format!("{path}{cursor}"), admin).await.expect(200);
            assert!(!page.text.contains("CANARY"), "{}", page.text);
            seen.extend(page.data().as_array().into_iter().flatten().map(|job| job["id"].as_str().unwrap().to_owned()));
            match page.body["meta"]["pagination"]["nextCursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        dead.reverse();
        assert_eq!(seen, dead);
        // A database that a busy machine makes late is not asked for them.
        let started = Instant::now();
        loop {
            let health = api.get("/health", admin).await;
            if health.data()["checks"]["jobs"]["dead"] == 5 {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{}", health.text);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for job in &dead[..4] {
            api.post(&format!("/jobs/{job}/retry"), admin, json!({})).await.expect(202);
        }
        api.request("DELETE", &format!("/jobs/{}", dead[4])).by(admin).send().await.expect(204);
        let said = |entry: &Value| (entry["action"].clone(), entry["after"]["kind"].clone());
        for (job, action) in [(&dead[0], "job.retried"), (&dead[4], "job.cancelled")] {
            let told = api.get(&format!("/admin/audit-log?target={job}"), admin).await.expect(200);
            assert_eq!(
                told.data().as_array().unwrap().iter().map(said).collect::<Vec<_>>(),
                [(json!(action), json!("probe"))]
            );
        }
        let started = Instant::now();
        while !api.get("/jobs?kind=probe", admin).await.data().as_array().unwrap().is_empty() {
            assert!(started.elapsed() < Duration::from_secs(60), "jobs are not done");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Threat 45: what a server did that died is done by the next, once its lease has run out.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_server_that_died_is_done_by_the_next() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let id = leave(&server, 9, "clean_up", "running").await;
        let started = Instant::now();
        while api.get(&format!("/jobs/{id}"), admin).await.status == 200 {
            assert!(started.elapsed() < Duration::from_secs(60), "nobody does it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Threat 49: at a start, and not once more at the next one of the same day.
#[tokio::test(flavor = "multi_thread")]
async fn the_nightly_audit_is_done_once_however_often_the_server_starts() {
    for store in Store::ALL {
        let Some(installation) = Installation::new(store, &[]).await else { continue };
        let mut server = Server::start(installation).await;
        for _ in 0..2 {
            let (api, admin) = (server.api(), server.admin().await);
            let started = Instant::now();
            let audits = loop {
                let audits = api.get("/jobs?kind=audit", admin).await.expect(200).data().clone();
                if audits[0]["state"] == "done" {
                    break audits;
                }
                assert!(started.elapsed() < Duration::from_secs(60), "{audits}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            assert_eq!(audits.as_array().map(Vec::len), Some(1), "{audits}");
            server = Server::start(server.stop().await).await;
        }
        let installation = server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_audit_is_scheduled_where_the_house_wants_none() {
    on_each_store_with(&[("AUDIT_AT", "")], |server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let started = api.post("/jobs", admin, json!({ "kind": "clean_up" })).await.expect(202);
        wait_for(api, admin, &started.text("/id"), "done").await;
        assert_eq!(api.get("/jobs?kind=audit", admin).await.expect(200).data(), &json!([]));
    })
    .await;
}

/// Threat 68: what is in flight is answered, jobs that run are done, and nobody is told of a fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_answers_no_fault_and_ends_in_time() {
    for store in Store::ALL {
        let Some(installation) = Installation::new(store, &[]).await else { continue };
        let server = Server::start(installation).await;
        let api = server.api().clone();
        let ann = api.sign_up("Ann").await;
        let admin = server.admin().await.clone();
        let (answered, mut clients) = (Arc::new(AtomicUsize::new(0)), tokio::task::JoinSet::new());
        for number in 0..16 {
            let (api, ann, admin, answered) = (api.clone(), ann.clone(), admin.clone(), Arc::clone(&answered));
            clients.spawn(async move {
                loop {
                    let request = match number % 2 {
                        0 => api.request("GET", "/users/me").by(&ann),
                        _ => api.request("POST", "/jobs").by(&admin).json(&json!({ "kind": "probe" })),
                    };
                    // A connection that is closed between two requests is no answer.
                    let Ok(answer) = request.try_send().await else { return };
                    assert!(answer.status < 500, "{}", answer.text);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // It is told to stop in the middle of work: when each of them has been answered several times, on average.
        let started = Instant::now();
        while answered.load(Ordering::Relaxed) < 100 {
            assert!(started.elapsed() < Duration::from_secs(60), "only {answered:?} requests are answered");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let started = Instant::now();
        let installation = server.stop().await;
        assert!(started.elapsed() < Duration::from_secs(30), "it took {:?} to stop", started.elapsed());
        clients.join_all().await;
        installation.audit().await;
        installation.remove().await;
    }
}
