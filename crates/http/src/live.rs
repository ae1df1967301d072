//! Live streams: what is asked for by all of them, and server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::OpaqueToken;
use bellwether_usecases::live::{End, Follower, MOST_MARKETS, Message, Stream, Topics, issue_ticket, redeem_ticket};
use bellwether_usecases::{Caller, Error};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::auth::{self, Bearer};
use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::{Detail, Fault};
use crate::fields::{Fields, parse_id};

/// How often something is sent where nothing happens, so that both sides know that the other is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The same where orders are cancelled when the client has gone.
const HEARTBEAT_OF_HOLDS: Duration = Duration::from_secs(3);

/// What a client wants to follow.
pub(crate) struct Wish {
    topics: Topics,
    wants_me: bool,
    resume: Option<i64>,
    ticket: Option<String>,
    cancels_on_disconnect: bool,
}

/// Reads what is wanted.
pub(crate) fn wish(query: &Fields<'_>) -> Option<Wish> {
    let topics = query.required("channels", |n| n.parsed(channels));
    let resume = query.optional("resumeFrom", |n| n.whole(0, i64::MAX));
    let ticket = query.optional("ticket", |n| n.string().map(str::to_owned));
    let cancels = query.or("cancelOnDisconnect", false, |n| n.one_of(&[false, true], word));
    let ((topics, wants_me), resume, ticket, cancels_on_disconnect) = (topics?, resume?, ticket?, cancels?);
    if cancels_on_disconnect && !wants_me {
        return query.fail("cancelOnDisconnect", "conflict", "is for streams with the channel me");
    }
    Some(Wish { topics, wants_me, resume, ticket, cancels_on_disconnect })
}

const fn word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Reads `market:ID,markets,me`.
fn channels(text: &str) -> Result<(Topics, bool), &'static str> {
    topics_of(text.split(','))
}

/// What channels of these names are, and whether `me` is among them.
pub(crate) fn topics_of<'a>(names: impl Iterator<Item = &'a str>) -> Result<(Topics, bool), &'static str> {
    const FORM: &str =
        "must be channels such as market:0193a5e0-0000-7000-8000-000000000000, markets or me, separated by commas";
    let (mut topics, mut wants_me) = (Topics::default(), false);
    for channel in names.map(str::trim) {
        match channel.split_once(':') {
            None if channel == "markets" => topics.all_markets = true,
            None if channel == "me" => wants_me = true,
            Some(("market", id)) => {
                topics.markets.insert(MarketId(parse_id(id).ok_or(FORM)?));
            }
            _ => return Err(FORM),
        }
    }
    if topics.markets.len() > MOST_MARKETS { Err("must be at most 100 markets") } else { Ok((topics, wants_me)) }
}

/// Who may follow `me`.
pub(crate) fn follows_itself(caller: Option<Caller>) -> Result<UserId, Fault> {
    let caller = caller.ok_or_else(|| {
        let message =
            "the channel me needs an access token as Authorization: Bearer <token>, or a ticket of POST /stream/tickets";
        Fault::unauthenticated(message, "Bearer")
    })?;
    for permission in [Permission::ReadOrders, Permission::ReadAccount, Permission::ReadPositions] {
        caller.require(permission, true)?;
    }
    Ok(caller.user)
}

/// By what right a request follows.
async fn follower(call: &Call, ticket: Option<String>) -> Result<(Follower, Option<Caller>), Fault> {
    let from = Some(call.from());
    if let Some(ticket) = ticket {
        let (ctx, sealer) = (call.ctx(), call.app().shared_sealer());
        let redeem = async move { redeem_ticket(&ctx, &*sealer, &ticket).await };
        let (follower, caller) = call.app().run(redeem).await?;
        return Ok((Follower { from, ..follower }, Some(caller)));
    }
    let bearer = call.bearer_if_any().await?;
    let caller = bearer.map(Bearer::caller);
    let (session, key_hash) = match bearer {
        Some(Bearer::Session(who)) => (Some(who.session), None),
        Some(Bearer::Key(_)) => (None, Some(key_hash(call)?)),
        None => (None, None),
    };
    let (user, key) = (caller.map(|c| c.user), caller.and_then(|c| c.key).map(|key| key.id));
    Ok((Follower { user, session, key, key_hash, from }, caller))
}

/// The hash of the API key that a request bears.
fn key_hash(call: &Call) -> Result<[u8; 32], Fault> {
    let key = OpaqueToken::new(auth::bearer(call.request().headers())?.to_owned());
    Ok(call.app().ctx().api_key_tokens.hash(&key))
}

/// Begins to follow what a request asks for. The stream is in a box: futures that are moved about keep room for each
/// place where they have it, for as long as a client is there.
pub(crate) async fn follow(call: &Call) -> Result<(Box<Stream>, Option<Caller>), Fault> {
    let Wish { mut topics, wants_me, resume, ticket, cancels_on_disconnect } = call.query(wish)?;
    let (follower, caller) = follower(call, ticket).await?;
    if wants_me {
        topics.user = Some(follows_itself(caller)?);
    }
    let last = call.header("last-event-id").map(|text| text.parse::<i64>().ok().filter(|last| *last >= 0));
    let resume = match last {
        Some(None) => {
            let detail = Detail::of("Last-Event-ID", "malformed", "must be the id of the last event that came");
            return Err(Fault::invalid(vec![detail]));
        }
        Some(last) => last,
        None => resume,
    };
    let (live, holds) = (call.app().live(), call.app().holds());
    let work = async move {
        let stream = live.follow(follower, topics, resume).await?;
        match caller.filter(|_| cancels_on_disconnect) {
            Some(caller) => Ok(stream.holding(holds.hold(caller).await?)),
            None => Ok::<_, Error>(stream),
        }
    };
    Ok((Box::new(call.app().run(work).await?), caller))
}

/// How often something is sent on a stream where nothing happens.
pub(crate) const fn heartbeat(stream: &Stream) -> Duration {
    if stream.is_holding() { HEARTBEAT_OF_HOLDS } else { HEARTBEAT }
}

/// `GET /stream`.
pub(crate) async fn events(call: Call) -> Result<HttpResponse, Fault> {
    let mut answer = HttpResponse::Ok();
    // Not compressed: a message goes out at once, and not when a block of many is full.
    answer
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_ENCODING, "identity"))
        .insert_header(("X-Accel-Buffering", "no"));
    if call.is_head() {
        call.query(wish)?;
        return Ok(answer.finish());
    }
    let (stream, _) = follow(&call).await?;
    let first = Bytes::from_static(b"retry: 1000\n\n");
    let frames = stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        match tokio::time::timeout(heartbeat(&stream), stream.next()).await {
            Err(_) => Some((Bytes::from_static(b": still here\n\n"), Some(stream))),
            Ok(Ok(message)) => Some((frame(&message), Some(stream))),
            Ok(Err(End::Gone)) => None,
            Ok(Err(end)) => Some((last_frame(end), None)),
        }
    });
    let frames = stream::iter([first]).chain(frames).map(Ok::<_, Infallible>);
    Ok(answer.streaming(Box::pin(frames)))
}

/// A message as an event. Its JSON has no line breaks.
fn frame(message: &Message) -> Bytes {
    let id = message.sequence.map(|sequence| format!("id: {sequence}\n")).unwrap_or_default();
    Bytes::from(format!("{id}event: {}\ndata: {}\n\n", message.kind, message.json))
}

fn last_frame(end: End) -> Bytes {
    Bytes::from(format!("event: end\ndata: {{\"type\":\"end\",\"reason\":\"{}\"}}\n\n", end.as_str()))
}

/// A ticket as it is answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TicketWire {
    ticket: String,
    expires_at: Timestamp,
}

/// `POST /stream/tickets`.
pub(crate) async fn issue(mut call: Call) -> Result<Reply, Fault> {
    let who = call.identity().await?;
    call.no_body().await?;
    let ticket = issue_ticket(&call.ctx(), call.sealer(), who);
    Reply::created(&TicketWire { ticket: ticket.text, expires_at: ticket.expires_at })
}
