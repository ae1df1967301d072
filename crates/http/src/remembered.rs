//! Answers that are the same for everybody, remembered as they are sent: the tag, then the data.

use std::future::Future;
use std::sync::Arc;

use bellwether_domain::ports::{CacheKey, Cached, Lookup, load_after};
use bellwether_usecases::Context;
use bytes::Bytes;

use crate::call::Call;
use crate::envelope::Reply;
use crate::etag::Etag;
use crate::faults::Fault;

/// What entries begin with; another one for each change of their form.
const FORM: &str = "1\n";

/// Data with their tag; none where there is nothing.
pub(crate) type Shown = Option<(Etag, String)>;

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
        Lookup::Hit(None, None) => return Ok(None),
        Lookup::Hit(Some(known), None) => match read(&known) {
            Some(reply) => return Ok(Some(reply)),
            // Somebody else's, or of another version: it will have gone when its time is up.
            None => Lookup::Miss(None),
        },
        found => found,
    };
    let (cache, load) = (Arc::clone(cache), load(call.ctx()));
    // To its end, even where who asked has gone: others may wait for what is loaded.
    let work = async move { load_after(&*cache, &key, found, async { load.await.map(written) }).await };
    let loaded = call.app().run(work).await?;
    loaded.map(|bytes| read(&bytes).ok_or_else(|| Fault::internal("what was written cannot be read"))).transpose()
}

fn written(shown: Shown) -> Cached {
    shown.map(|(tag, data)| Bytes::from(format!("{FORM}{}\n{data}", tag.as_str())))
}

fn read(bytes: &[u8]) -> Option<Reply> {
    let (tag, data) = std::str::from_utf8(bytes).ok()?.strip_prefix(FORM)?.split_once('\n')?;
    Some(Reply::json(data.to_owned()).with_tag(Etag::known(tag)).public())
}
