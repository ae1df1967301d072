//! What administrators are told, and what owners of webhooks are.

use anyhow::Context as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::kill::api::{Api, User, text};

/// The most events of one answer.
const EVENTS_AT_ONCE: u32 = 1000;

impl Api {
    /// The events after that sequence, as many as one answer holds, and whether there are more.
    pub(super) async fn events(&self, admin: &mut User, after: i64) -> anyhow::Result<(Vec<Value>, bool)> {
        let mut page = self.get(&format!("/events?after={after}&limit={EVENTS_AT_ONCE}"), admin).await?;
        let has_more = page.get("hasMore").and_then(Value::as_bool).context("events have no `hasMore`")?;
        match page.get_mut("events").map(Value::take) {
            Some(Value::Array(events)) => Ok((events, has_more)),
            _ => anyhow::bail!("there are no `events` in {page}"),
        }
    }

    /// Makes a webhook of those kinds of events (empty: all); its id and its secret.
    pub(super) async fn make_webhook(
        &self,
        owner: &User,
        url: &str,
        events: &[&str],
    ) -> anyhow::Result<(String, String)> {
        let body = json!({ "url": url, "events": events });
        let answer = self.call(Method::POST, "/webhooks", Some(owner), None, Some(&body)).await;
        let id = text(&self.expect(answer, "make a webhook")?, "id").context("a webhook has no `id`")?;
        let answer = self.call(Method::GET, &format!("/webhooks/{id}/secret"), Some(owner), None, None).await;
        let secret = text(&self.expect(answer, "read a webhook's secret")?, "secret");
        Ok((id, secret.context("a webhook has no `secret`")?))
    }

    /// Has a job begun that does nothing; its id, once the server vouches for it.
    pub(super) async fn begin_probe(&self, admin: &mut User) -> anyhow::Result<String> {
        let body = json!({ "kind": "probe" });
        let mut answer = self.call(Method::POST, "/jobs", Some(admin), None, Some(&body)).await;
        if is_unauthenticated(&answer) {
            self.renew(admin).await?;
            answer = self.call(Method::POST, "/jobs", Some(admin), None, Some(&body)).await;
        }
        text(&self.expect(answer, "begin a job")?, "id").context("a job has no `id`")
    }

    /// The `data` of what `user` reads; the user is logged in again where that is needed.
    pub(super) async fn get(&self, path: &str, user: &mut User) -> anyhow::Result<Value> {
        let mut answer = self.call(Method::GET, path, Some(user), None, None).await;
        if is_unauthenticated(&answer) {
            self.renew(user).await?;
            answer = self.call(Method::GET, path, Some(user), None, None).await;
        }
        self.expect(answer, &format!("read {path}"))
    }
}

fn is_unauthenticated(answer: &anyhow::Result<(StatusCode, Value)>) -> bool {
    answer.as_ref().is_ok_and(|(status, _)| *status == StatusCode::UNAUTHORIZED)
}
