//! Answers that are the same for everybody, remembered as they are sent: the tag, which page it is, then the data.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bellwether_domain::ports::{CacheKey, Lookup, load_after};
use bellwether_usecases::Context;
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::call::Call;
use crate::envelope::Reply;
use crate::etag::Etag;
use crate::faults::Fault;
use crate::paging::Pagination;

/// How long a load waits for its turn.
const PATIENCE: Duration = Duration::from_millis(500);
/// What entries begin with; another one for each change of their form.
const FORM: &str = "2\n";

/// Data with their tag.
pub(crate) struct Answer {
    tag: Etag,
    /// Which page of a list they are.
    pagination: Option<Pagination>,
    data: String,
}

/// None where there is nothing.
pub(crate) type Shown = Option<Answer>;

impl Answer {
    /// Data at a version, which their tag tells; 0 for what has none.
    pub(crate) fn of(version: i64, data: String) -> Self {
        Self { tag: Etag::of(version, &data), pagination: None, data }
    }

    /// A page of a list.
    pub(crate) fn page(pagination: Pagination, data: String) -> Result<Self, Fault> {
        let described = serde_json::to_string(&pagination).map_err(Fault::internal)?;
        Ok(Self { tag: Etag::of(0, &format!("{described}{data}")), pagination: Some(pagination), data })
    }

    /// As it is sent.
    pub(crate) fn reply(self) -> Reply {
        let reply = Reply::json(self.data).with_tag(self.tag).public();
        match self.pagination {
            Some(pagination) => reply.paged(pagination),
            None => reply,
        }
    }

    fn written(&self) -> Result<Bytes, Fault> {
        let pagination = self.pagination.as_ref().map(serde_json::to_string).transpose().map_err(Fault::internal)?;
        let (tag, pagination) = (self.tag.as_str(), pagination.unwrap_or_default());
        Ok(Bytes::from(format!("{FORM}{tag}\n{pagination}\n{}", self.data)))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = std::str::from_utf8(bytes).ok()?.strip_prefix(FORM)?.split_once('\n')?;
        let (pagination, data) = rest.split_once('\n')?;
        let pagination = match pagination {
            "" => None,
            known => Some(Pagination::Known(RawValue::from_string(known.to_owned()).ok()?)),
        };
        Some(Self { tag: Etag::known(tag), pagination, data: data.to_owned() })
    }
}

/// What the cache has of an answer: all of it, or what a load goes on from.
enum Found {
    Here(Option<Reply>),
    Wanting(Lookup),
}

/// What is remembered of a key, or else what `load` shows. A hit asks the store nothing.
pub(crate) async fn remembered<F>(
    call: &Call,
    key: CacheKey,
    load: impl FnOnce(Context) -> F,
) -> Result<Option<Reply>, Fault>
where
    F: Future<Output = Result<Shown, Fault>> + Send + 'static,
{
    let cache = &call.app().ctx().cache;
    let found = match cache.get(&key).await {
        Lookup::Hit(None, None) => Found::Here(None),
        Lookup::Hit(Some(known), lease) => match (Answer::read(&known), lease) {
            (Some(answer), None) => Found::Here(Some(answer.reply())),
            (Some(_), lease) => Found::Wanting(Lookup::Hit(Some(known), lease)),
            // Somebody else's, or of another version: nothing to fall back upon. It will have gone when its time is up,
            // or is replaced by who was given the lease.
            (None, lease) => Found::Wanting(Lookup::Miss(lease)),
        },
        found => Found::Wanting(found),
    };
    call.app().ctx().meter.remembered(matches!(found, Found::Here(_)));
    let found = match found {
        Found::Here(reply) => return Ok(reply),
        Found::Wanting(found) => found,
    };
    let (cache, load, turns) = (Arc::clone(cache), load(call.ctx()), call.app().loads());
    // To its end, even where who asked has gone: others may wait for what is loaded.
    let work = async move {
        let load = turns.in_turn(async { load.await?.map(|answer| answer.written()).transpose() });
        load_after(&*cache, &key, found, load).await
    };
    let loaded = call.app().run(work).await?;
    let read = |bytes: Bytes| Answer::read(&bytes).ok_or_else(|| Fault::internal("what was written cannot be read"));
    loaded.map(|bytes| read(bytes).map(Answer::reply)).transpose()
}

/// How many loads may run at a time, so that reads that are not remembered leave the database to others: when
/// the cache has just been emptied, say, or everybody asks for something else.
#[derive(Clone)]
pub(crate) struct Loads(Arc<Semaphore>);

impl Loads {
    /// So many at a time.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Waits for a turn for what is loaded for one alone, and does it.
    pub(crate) async fn in_turn<T>(self, load: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let _turn = self.take().await?;
        load.await
    }

    /// Waits for a turn, though not for long: then 503.
    async fn take(&self) -> Result<OwnedSemaphorePermit, Fault> {
        match timeout(PATIENCE, Arc::clone(&self.0).acquire_owned()).await {
            Ok(turn) => turn.map_err(Fault::internal),
            Err(_) => Err(Fault::unavailable("OVERLOADED", "too much is being read at once; try again in a moment")),
        }
    }
}
