//! Live streams by WebSocket, on which a client may also say what it follows from then on.

use std::io;
use std::str::Utf8Error;
use std::time::Duration;

use actix_web::{FromRequest as _, HttpResponse, rt, web};
use actix_ws::{CloseCode, CloseReason, Closed, MessageStream, ProtocolError, Session};
use bellwether_domain::ids::UserId;
use bellwether_usecases::Caller;
use bellwether_usecases::live::{End, MOST_MARKETS, Stream, Topics};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::app::App;
use crate::call::Call;
use crate::faults::{Detail, Fault};
use crate::limits::Subscriptions;
use crate::live::{follow, follows_itself, heartbeat, topics_of};

/// So many heartbeats of a WebSocket may go unanswered.
const MOST_UNANSWERED: u32 = 2;
/// The longest message that is read, in bytes.
const LONGEST_MESSAGE: usize = 16 * 1024;
/// So many messages may come between two heartbeats.
const MOST_MESSAGES: u32 = 300;
/// The longest id of a message, in bytes.
const LONGEST_ID: usize = 64;

/// `GET /ws`.
pub(crate) async fn socket(mut call: Call) -> Result<HttpResponse, Fault> {
    if call.header("upgrade").is_none_or(|upgrade| !upgrade.eq_ignore_ascii_case("websocket")) {
        let detail =
            Detail::of("Upgrade", "required", "must be websocket: this is for WebSockets; GET /stream is plain HTTP");
        return Err(Fault::unknown("VALIDATION_ERROR", vec![detail]));
    }
    // Before anything is held for the stream, whose end would cancel orders: what is no handshake changes nothing.
    let mut payload = call.take_payload();
    let body = web::Payload::from_request(call.request(), &mut payload).await.map_err(no_handshake)?;
    let (answer, session, incoming) = actix_ws::handle(call.request(), body).map_err(no_handshake)?;
    let (stream, caller) = follow(&call).await?;
    let counted = Subscriptions::of(&call, caller);
    let client = Box::new(Client { app: call.shared_app(), caller, counted, session, stream, said: 0 });
    rt::spawn(client.speak(Box::new(incoming.max_frame_size(LONGEST_MESSAGE))));
    Ok(answer)
}

/// 400: what came is no beginning of a WebSocket.
fn no_handshake(error: actix_web::Error) -> Fault {
    Fault::unknown("VALIDATION_ERROR", vec![Detail::of("Upgrade", "malformed", error.to_string())])
}

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    op: Op,
    channels: Vec<String>,
    #[serde(default)]
    id: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Subscribe,
    Unsubscribe,
}

/// What it asks for by that.
#[derive(Debug)]
struct Asked {
    op: Op,
    topics: Topics,
    wants_me: bool,
    id: Option<Value>,
}

impl Asked {
    /// Reads it; what is wrong with it, and its id where that is known.
    fn read(text: &str) -> Result<Self, (Fault, Option<Value>)> {
        let said: Said = serde_json::from_str(text).map_err(|error| {
            let example = r#"{"op":"subscribe","channels":["markets"],"id":1}"#;
            let message =
                format!("a message must be JSON such as {example}, with the op subscribe or unsubscribe: {error}");
            (Fault::malformed("VALIDATION_ERROR", message), None)
        })?;
        let is_id = |id: &Value| id.is_i64() || id.as_str().is_some_and(|text| text.len() <= LONGEST_ID);
        if said.id.as_ref().is_some_and(|id| !is_id(id)) {
            let detail = Detail::of("id", "malformed", "must be a whole number, or text of at most 64 bytes");
            return Err((Fault::invalid(vec![detail]), None));
        }
        match topics_of(said.channels.iter().map(String::as_str)) {
            Ok((topics, wants_me)) => Ok(Self { op: said.op, topics, wants_me, id: said.id }),
            Err(message) => Err((Fault::invalid(vec![Detail::of("channels", "malformed", message)]), said.id)),
        }
    }
}

/// One at the other end.
struct Client {
    app: web::Data<App>,
    caller: Option<Caller>,
    counted: Subscriptions,
    session: Session,
    stream: Box<Stream>,
    /// How many messages have come since the last heartbeat.
    said: u32,
}

/// Why a socket is closed.
enum Over {
    End(End),
    /// More came than is listened to.
    TooMuch,
    /// What came cannot be read: the code and the reason that its sender is told.
    Unreadable(CloseCode, &'static str),
    /// The connection is of no more use.
    Lost,
}

/// How a socket ends on which something came that is no message.
fn unreadable(error: &ProtocolError) -> Over {
    match error {
        ProtocolError::Overflow => Over::Unreadable(CloseCode::Size, "message_too_long"),
        // Two errors of I/O are about what came: one is for text, the other for bits of a frame that are reserved.
        ProtocolError::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<Utf8Error>()) => {
            Over::Unreadable(CloseCode::Invalid, "invalid_utf8")
        }
        ProtocolError::Io(error) if error.kind() != io::ErrorKind::InvalidData => Over::End(End::Gone),
        _ => Over::Unreadable(CloseCode::Protocol, "protocol_error"),
    }
}

/// When a client has been silent for too long, of which so many heartbeats went unanswered.
fn silent_at(next_beat: Instant, heartbeat: Duration, unanswered: u32) -> Instant {
    next_beat + heartbeat * MOST_UNANSWERED.saturating_sub(unanswered)
}

/// Sends something, which waits while the client takes nothing: no longer than until that moment, where there is one.
async fn sent(sending: impl Future<Output = Result<(), Closed>>, until: Option<Instant>) -> Result<(), Over> {
    let sent = match until {
        Some(until) => tokio::time::timeout_at(until, sending).await.unwrap_or(Err(Closed)),
        None => sending.await,
    };
    sent.map_err(|Closed| Over::Lost)
}

impl Client {
    /// Sends what happens, and does as it is told, until either side ends it.
    async fn speak(mut self: Box<Self>, mut incoming: Box<MessageStream>) {
        let why = self.go_on(&mut incoming).await;
        let Self { session, stream, .. } = *self;
        // Whatever is held for it ends now, and not when it takes the last word.
        drop(stream);
        let (code, reason) = match why {
            Over::Lost => return,
            Over::TooMuch => (CloseCode::Policy, "too_many_messages"),
            Over::Unreadable(code, reason) => (code, reason),
            Over::End(end @ End::Gone) => (CloseCode::Normal, end.as_str()),
            Over::End(end @ (End::Slow | End::SessionEnded)) => (CloseCode::Policy, end.as_str()),
            Over::End(end @ End::Stopping) => (CloseCode::Restart, end.as_str()),
        };
        // Whoever has gone need not be told.
        drop(session.close(Some(CloseReason { code, description: Some(reason.to_owned()) })).await);
    }

    async fn go_on(&mut self, incoming: &mut MessageStream) -> Over {
        let (heartbeat, is_holding) = (heartbeat(&self.stream), self.stream.is_holding());
        // While something is sent nothing is heard. Who takes nothing is cut off by the server in its time; where orders are
        // cancelled when it has gone, that is too late.
        let until = |next_beat, unanswered| is_holding.then(|| silent_at(next_beat, heartbeat, unanswered));
        let (mut unanswered, mut next_beat) = (0, Instant::now() + heartbeat);
        loop {
            tokio::select! {
                message = self.stream.next() => match message {
                    Ok(message) => {
                        let sending = self.session.text(message.json.as_str());
                        if let Err(over) = sent(sending, until(next_beat, unanswered)).await {
                            return over;
                        }
                    }
                    Err(end) => return Over::End(end),
                },
                heard = incoming.next() => {
                    unanswered = 0;
                    let until = until(next_beat, unanswered);
                    match heard {
                        None | Some(Ok(actix_ws::Message::Close(_))) => return Over::End(End::Gone),
                        Some(Err(error)) => return unreadable(&error),
                        // In a box: most clients say nothing, and need not keep room for what would be done then.
                        Some(Ok(message)) => if let Err(over) = Box::pin(self.heed(message, until)).await { return over },
                    }
                }
                () = tokio::time::sleep_until(next_beat) => {
                    next_beat = Instant::now() + heartbeat;
                    self.said = 0;
                    unanswered += 1;
                    if unanswered > MOST_UNANSWERED {
                        return Over::Lost;
                    }
                    if let Err(over) = sent(self.session.ping(b""), until(next_beat, unanswered)).await {
                        return over;
                    }
                }
            }
        }
    }

    /// Does what a message says; its answer is taken until that moment.
    async fn heed(&mut self, message: actix_ws::Message, until: Option<Instant>) -> Result<(), Over> {
        if let actix_ws::Message::Pong(_) = message {
            return Ok(());
        }
        self.said += 1;
        if self.said > MOST_MESSAGES {
            return Err(Over::TooMuch);
        }
        let told = match message {
            actix_ws::Message::Ping(bytes) => return sent(self.session.pong(&bytes), until).await,
            actix_ws::Message::Text(text) => match Asked::read(&text) {
                Ok(asked) => {
                    let id = asked.id.clone();
                    self.change(asked).await.map_err(|fault| (fault, id))
                }
                Err(fault) => Err(fault),
            },
            _ => Err((Fault::malformed("VALIDATION_ERROR", "a message must be text in one frame"), None)),
        };
        match told {
            Ok(()) => Ok(()),
            Err((fault, id)) => sent(self.session.text(error(&fault, id.as_ref())), until).await,
        }
    }

    /// Has the stream follow more, or less. It answers among its messages.
    async fn change(&mut self, asked: Asked) -> Result<(), Fault> {
        let Asked { op, mut topics, wants_me, id } = asked;
        if op == Op::Unsubscribe {
            // Whose that is does not matter.
            topics.user = wants_me.then_some(UserId(uuid::Uuid::nil()));
            self.stream.unsubscribe(&topics, id);
            return Ok(());
        }
        if wants_me {
            topics.user = Some(follows_itself(self.caller)?);
        }
        if self.stream.markets_with(&topics) > MOST_MARKETS {
            let message = "must be at most 100 markets, with those that are followed already";
            return Err(Fault::invalid(vec![Detail::of("channels", "too_many", message)]));
        }
        self.counted.count(&self.app).await?;
        let (live, new) = (self.app.live(), self.stream.new_of(&topics));
        let checked = self.app.run(async move { live.check(new).await }).await?;
        self.stream.subscribe(checked, id);
        Ok(())
    }
}

/// The message that says why something was not done.
fn error(fault: &Fault, id: Option<&Value>) -> String {
    let (code, message) = (fault.code(), fault.message());
    let mut error = json!({ "type": "error", "version": 1, "data": { "code": code, "message": message } });
    if let (Some(id), Some(fields)) = (id, error.as_object_mut()) {
        fields.insert("id".to_owned(), id.clone());
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_or_answered_with_what_is_wrong_and_the_id() {
        let asked = Asked::read(r#"{"op":"subscribe","channels":["markets","me"],"id":"a"}"#).unwrap();
        assert_eq!(
            (asked.op, asked.topics.all_markets, asked.wants_me, asked.id),
            (Op::Subscribe, true, true, Some(json!("a")))
        );
        assert!(Asked::read(r#"{"op":"unsubscribe","channels":[]}"#).is_ok());
        let wrong = |text| {
            let (fault, id) = Asked::read(text).unwrap_err();
            error(&fault, id.as_ref())
        };
        assert!(wrong("x").contains("must be JSON such as"));
        assert!(wrong(r#"{"op":"dance","channels":[]}"#).contains("dance"));
        assert!(wrong(r#"{"op":"subscribe","channels":[],"more":1}"#).contains("more"));
        assert!(wrong(r#"{"op":"subscribe","channels":[],"id":[]}"#).contains("whole number"));
        let text = wrong(r#"{"op":"subscribe","channels":["market:x"],"id":7}"#);
        assert!(text.contains(r#""id":7"#) && text.contains("VALIDATION_ERROR"), "{text}");
    }

    #[tokio::test]
    async fn who_takes_nothing_is_lost_when_it_should_have_been_heard_at_last() {
        let (now, beat) = (Instant::now(), Duration::from_secs(3));
        assert_eq!(silent_at(now + beat, beat, 0), now + 3 * beat);
        assert_eq!(silent_at(now + beat, beat, MOST_UNANSWERED), now + beat);
        let late = sent(std::future::pending(), Some(now)).await;
        assert!(matches!(late, Err(Over::Lost)));
        for until in [Some(now), None] {
            assert!(sent(std::future::ready(Ok(())), until).await.is_ok(), "what is taken at once is not late");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_apart_from_a_connection_that_is_gone() {
        let told = |error: ProtocolError| match unreadable(&error) {
            Over::Unreadable(code, reason) => Some((code, reason)),
            _ => None,
        };
        let of_io =
            |kind, inner: Box<dyn std::error::Error + Send + Sync>| ProtocolError::Io(io::Error::new(kind, inner));
        let no_text = String::from_utf8(vec![0xFF]).unwrap_err().utf8_error();
        assert_eq!(told(ProtocolError::Overflow), Some((CloseCode::Size, "message_too_long")));
        assert_eq!(
            told(of_io(io::ErrorKind::InvalidData, Box::new(no_text))),
            Some((CloseCode::Invalid, "invalid_utf8"))
        );
        for error in [ProtocolError::UnmaskedFrame, of_io(io::ErrorKind::InvalidData, "reserved bits".into())] {
            assert_eq!(told(error), Some((CloseCode::Protocol, "protocol_error")));
        }
        assert_eq!(told(of_io(io::ErrorKind::Other, "cut off".into())), None);
    }
}
