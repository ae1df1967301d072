//! Markets: opened, listed, edited, and led through their life.

use std::future::Future;
use std::sync::Arc;

use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::market::{Market, MarketStatus};
use bellwether_domain::ports::{MarketFilter, MarketKey, MarketSort, Queries, Sealer};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::User;
use bellwether_usecases::caching::{front_page_key, market_key};
use bellwether_usecases::markets::{self, MarketPatch, Opened};
use bellwether_usecases::{Caller, Context, Error, limits};

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::{Fields, Node, Place, read};
use crate::idempotency::{Need, reply};
use crate::paging::{Paging, Wanted};
use crate::remembered::{Answer, remembered};
use crate::wire::market::{Best, FIELDS, INCLUDES, MarketWire, render_opened};
use crate::wire::market_body;
use crate::wire::view::View;

/// `POST /markets`.
pub(crate) async fn open(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let body = call.body().await?;
    let guarded = call.guard::<Opened>(Need::Optional, caller, &body, render_opened)?;
    let request = read(&body.json, Place::Body, market_body::open_market)?;
    let ctx = call.ctx();
    let work = async move {
        let _guard = guarded.guard;
        limits::open_market(&ctx, caller, request, guarded.keyed).await
    };
    reply(call.app().run(work).await?, render_opened)
}

/// `GET /markets`.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let (filter, wanted, view) = call.query(|query| {
        let wanted = Wanted::<MarketSort>::read(query);
        let view = View::read(query, FIELDS, INCLUDES);
        Some((filter(query)?, wanted?, view?))
    })?;
    let plainest = MarketFilter { status: filter.status, ..MarketFilter::default() };
    let is_front = wanted.is_front() && view.is_plain() && filter == plainest;
    let key = is_front.then(|| front_page_key(filter.status, wanted.sort())).flatten();
    let paging = wanted.bind("markets", &filter, call.sealer())?;
    let app = call.app().clone();
    let load = |queries: Arc<dyn Queries>| async move { page(&*queries, &filter, &paging, &view, app.sealer()).await };
    match key {
        Some(key) => {
            let reply = remembered(&call, key, |ctx| async move { load(ctx.queries).await.map(Some) }).await?;
            reply.ok_or_else(|| Fault::internal("a list was remembered as not there"))
        }
        None => call.app().run(load(call.lists())).await.map(Answer::reply),
    }
}

/// A page of the list.
async fn page(
    queries: &dyn Queries,
    filter: &MarketFilter,
    paging: &Paging<MarketSort>,
    view: &View,
    sealer: &dyn Sealer,
) -> Result<Answer, Fault> {
    let page = queries.markets(filter, &paging.request).await?;
    let around = Around::load(queries, &page.items, view.includes("creator")).await?;
    let shown: Vec<MarketWire<'_>> = page.items.iter().map(|market| around.show(market)).collect();
    Answer::page(paging.describe(&page, |market| market.id.0, sealer), view.show(&shown)?)
}

/// Reads which markets are wanted.
pub(crate) fn filter(query: &Fields<'_>) -> Option<MarketFilter> {
    let status = query.optional("status", |n| n.one_of(&MarketStatus::ALL, MarketStatus::as_str));
    let category = query.optional("category", market_body::label);
    let tag = query.optional("tag", market_body::label);
    let creator = query.optional("creator", |n| n.id().map(UserId));
    let closes_before = query.optional("closesBefore", Node::time);
    let closes_after = query.optional("closesAfter", Node::time);
    Some(MarketFilter {
        status: status?,
        category: category?,
        tag: tag?,
        creator: creator?,
        closes_before: closes_before?,
        closes_after: closes_after?,
    })
}

/// What is shown with markets: the best prices of their books, and their creators.
struct Around {
    best: Best,
    creators: Option<Vec<User>>,
}

impl Around {
    /// Loads it with one statement each. The markets were read before, so a tag never stands for
    /// prices that are older than it says.
    async fn load(queries: &dyn Queries, markets: &[Market], with_creators: bool) -> Result<Self, Error> {
        if markets.is_empty() {
            return Ok(Self { best: Best::default(), creators: None });
        }
        let books: Vec<_> = markets.iter().flat_map(Market::books).collect();
        let best = Best::of(queries.best_prices(&books).await?);
        let creators = if with_creators {
            let mut creators: Vec<UserId> = markets.iter().map(|market| market.creator).collect();
            creators.sort_unstable();
            creators.dedup();
            Some(queries.users_by_ids(&creators).await?)
        } else {
            None
        };
        Ok(Self { best, creators })
    }

    fn show<'a>(&'a self, market: &'a Market) -> MarketWire<'a> {
        let wire = MarketWire::of(market, &self.best);
        match &self.creators {
            Some(creators) => wire.with_creator(creators.iter().find(|user| user.id == market.creator)),
            None => wire,
        }
    }
}

/// `GET /markets/{id}`.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    let key = call.market_key()?;
    let view = call.query(|query| View::read(query, FIELDS, INCLUDES))?;
    match key {
        MarketKey::Id(id) if view.is_plain() => {
            let reply = remembered(&call, market_key(id), |ctx| plain(ctx, id)).await?;
            reply.ok_or_else(|| Refusal::MarketNotFound.into())
        }
        key => {
            let ctx = call.ctx();
            answer(&call, view, async move { markets::get_market(&ctx, &key).await }).await.map(Reply::public)
        }
    }
}

/// A market as everybody sees it.
async fn plain(ctx: Context, id: MarketId) -> Result<Option<Answer>, Fault> {
    let Some(market) = ctx.queries.market(&MarketKey::Id(id)).await? else { return Ok(None) };
    let around = Around::load(&*ctx.queries, std::slice::from_ref(&market), false).await?;
    let data = View::default().show(&around.show(&market))?;
    Ok(Some(Answer::of(market.version, data)))
}

/// Answers with the market that `work` ends with.
async fn answer(
    call: &Call,
    view: View,
    work: impl Future<Output = Result<Market, Error>> + Send + 'static,
) -> Result<Reply, Fault> {
    let (ctx, with_creator) = (call.ctx(), view.includes("creator"));
    let work = async move {
        let market = work.await?;
        let around = Around::load(&*ctx.queries, std::slice::from_ref(&market), with_creator).await?;
        Ok::<_, Error>((market, around))
    };
    let (market, around) = call.app().run(work).await?;
    Ok(Reply::json(view.show(&around.show(&market))?).tagged(market.version))
}

/// The market's id, looked up where the path has its slug.
pub(crate) async fn id_of(ctx: &Context, key: MarketKey) -> Result<MarketId, Error> {
    match key {
        MarketKey::Id(id) => Ok(id),
        slug @ MarketKey::Slug(_) => markets::get_market(ctx, &slug).await.map(|market| market.id),
    }
}

/// `PUT /markets/{id}`.
pub(crate) async fn replace(call: Call) -> Result<Reply, Fault> {
    edit(call, market_body::replacement).await
}

/// `PATCH /markets/{id}`.
pub(crate) async fn change(call: Call) -> Result<Reply, Fault> {
    edit(call, market_body::patch).await
}

async fn edit(mut call: Call, reader: impl FnOnce(&Fields<'_>) -> Option<MarketPatch>) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let key = call.market_key()?;
    let version = call.version()?;
    let patch = call.command(reader).await?;
    let ctx = call.ctx();
    let work = async move { markets::edit_market(&ctx, caller, id_of(&ctx, key).await?, patch, version).await };
    answer(&call, View::default(), work).await
}

/// `DELETE /markets/{id}`.
pub(crate) async fn delete(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let key = call.market_key()?;
    let version = call.version()?;
    call.no_body().await?;
    let ctx = call.ctx();
    call.app().run(async move { markets::delete_market(&ctx, caller, id_of(&ctx, key).await?, version).await }).await?;
    Ok(Reply::no_content())
}

/// One step of a market's life: what the body and `If-Match` say, and the use case that takes it.
async fn step<T, W>(
    mut call: Call,
    reader: impl FnOnce(&Fields<'_>) -> Option<T>,
    take: impl FnOnce(Context, Caller, MarketId, T, Option<i64>) -> W + Send + 'static,
) -> Result<Reply, Fault>
where
    T: Send + 'static,
    W: Future<Output = Result<Market, Error>> + Send + 'static,
{
    let caller = call.caller().await?;
    let key = call.market_key()?;
    let version = call.version()?;
    let command = call.command_or_nothing(reader).await?;
    let ctx = call.ctx();
    let work = async move {
        let id = id_of(&ctx, key).await?;
        take(ctx, caller, id, command, version).await
    };
    answer(&call, View::default(), work).await
}

/// A step that needs no body.
fn nothing(_: &Fields<'_>) -> Option<()> {
    Some(())
}

/// `POST /markets/{id}/halt`.
pub(crate) async fn halt(call: Call) -> Result<Reply, Fault> {
    step(
        call,
        nothing,
        |ctx, caller, id, (), version| async move { markets::halt_market(&ctx, caller, id, version).await },
    )
    .await
}

/// `POST /markets/{id}/reopen`.
pub(crate) async fn reopen(call: Call) -> Result<Reply, Fault> {
    step(call, nothing, |ctx, caller, id, (), version| async move {
        markets::reopen_market(&ctx, caller, id, version).await
    })
    .await
}

/// `POST /markets/{id}/close`.
pub(crate) async fn close(call: Call) -> Result<Reply, Fault> {
    step(
        call,
        nothing,
        |ctx, caller, id, (), version| async move { markets::close_market(&ctx, caller, id, version).await },
    )
    .await
}

/// `POST /markets/{id}/propose`.
pub(crate) async fn propose(call: Call) -> Result<Reply, Fault> {
    step(call, market_body::proposal, |ctx, caller, id, (verdict, evidence), version| async move {
        markets::propose_resolution(&ctx, caller, id, verdict, evidence, version).await
    })
    .await
}

/// `POST /markets/{id}/dispute`.
pub(crate) async fn dispute(call: Call) -> Result<Reply, Fault> {
    step(call, market_body::reason, |ctx, caller, id, reason, version| async move {
        markets::dispute_resolution(&ctx, caller, id, reason, version).await
    })
    .await
}

/// `POST /markets/{id}/resolve`.
pub(crate) async fn resolve(call: Call) -> Result<Reply, Fault> {
    step(call, market_body::verdict, |ctx, caller, id, verdict, version| async move {
        markets::resolve_market(&ctx, caller, id, verdict, version).await
    })
    .await
}

/// `POST /markets/{id}/void`.
pub(crate) async fn void(call: Call) -> Result<Reply, Fault> {
    step(call, market_body::reason, |ctx, caller, id, reason, version| async move {
        markets::void_market(&ctx, caller, id, reason, version).await
    })
    .await
}
