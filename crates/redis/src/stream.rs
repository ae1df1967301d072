//! The log of events: a Redis stream, which programs beside the server read, also in consumer groups.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use bellwether_domain::event::Recorded;
use bellwether_domain::ports::{EventLog, EventLogUnreachable};
use fred::types::scripts::Script;
use fred::types::{Key, Value};

use crate::link::RedisLink;

/// The stream `PREFIX:events`. An entry's id is the event's sequence, which makes giving one again harmless; its fields are
/// `type`, and `event`: the event as `GET /events` shows it.
pub struct RedisEventLog {
    link: Arc<RedisLink>,
    most: NonZeroU32,
    script: Script,
}

impl RedisEventLog {
    /// Over these connections; keeps about that many entries, the newest.
    #[must_use]
    pub fn new(link: Arc<RedisLink>, most: NonZeroU32) -> Self {
        Self { link, most, script: Script::from_lua(include_str!("lua/append.lua")) }
    }
}

#[async_trait]
impl EventLog for RedisEventLog {
    async fn append(&self, after: i64, events: &[Recorded]) -> Result<i64, EventLogUnreachable> {
        let key: Key = format!("{}:events", self.link.options().prefix).into();
        let mut args: Vec<Value> = vec![after.to_string().into(), self.most.to_string().into()];
        for recorded in events {
            let text = serde_json::to_string(recorded).map_err(|_| EventLogUnreachable)?;
            args.extend([recorded.sequence.to_string().into(), recorded.event.kind().into(), text.into()]);
        }
        self.link.run(&self.script, vec![key], args).await.ok_or(EventLogUnreachable)
    }
}

impl fmt::Debug for RedisEventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEventLog").field("link", &self.link).field("most", &self.most).finish_non_exhaustive()
    }
}
