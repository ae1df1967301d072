//! A receiver of webhooks: it checks signatures, notes what comes and in which order, and does not always take it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use rand::Rng as _;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How often, in a hundred messages, it answers 500 or hangs up.
const UNWILLING: u32 = 3;

/// A message that came.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) id: String,
    pub(super) body: String,
    /// Of the event that it tells of.
    pub(super) sequence: i64,
    pub(super) market: Option<String>,
    /// Whether it was answered with 200, as far as the receiver can tell.
    pub(super) is_taken: bool,
}

/// What is known of one webhook.
#[derive(Default)]
struct Hook {
    checker: Option<Webhook>,
    arrivals: Vec<Arrival>,
    faults: Vec<String>,
}

/// The receiver. It ends when it is dropped.
pub(super) struct Receiver {
    address: String,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    hooks: HashMap<String, Hook>,
    is_willing: bool,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    /// Starts one on a free port.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("127.0.0.1 has no free port")?;
        let address = listener.local_addr()?.to_string();
        let state = Arc::<Mutex<State>>::default();
        let serving = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                tokio::spawn(async move { serve(stream, &state).await });
            }
        });
        Ok(Self { address, state, serving })
    }

    /// Where the webhook of that name is.
    pub(super) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// Takes messages of that webhook from now on, if they are signed with this secret.
    pub(super) fn open(&self, name: &str, secret: &str) -> anyhow::Result<()> {
        let checker = Webhook::new(secret).context("the secret is not of the form that the library wants")?;
        lock(&self.state).hooks.entry(name.to_owned()).or_default().checker = Some(checker);
        Ok(())
    }

    /// Takes everything from now on.
    pub(super) fn be_willing(&self) {
        lock(&self.state).is_willing = true;
    }

    /// What came for that webhook, in the order in which it came, and what was wrong with it.
    pub(super) fn arrivals(&self, name: &str) -> (Vec<Arrival>, Vec<String>) {
        let state = lock(&self.state);
        state.hooks.get(name).map(|hook| (hook.arrivals.clone(), hook.faults.clone())).unwrap_or_default()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one connection, on which messages may follow each other.
async fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut stream = BufReader::new(stream);
    while let Some((name, headers, body)) = read(&mut stream).await {
        let dice = rand::rng().random_range(0..100);
        let Some(status) = note(state, &name, &headers, &body, dice) else { return };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Notes what came; what to answer, or nothing to hang up.
fn note(state: &Mutex<State>, name: &str, headers: &HeaderMap, body: &[u8], dice: u32) -> Option<&'static str> {
    let mut state = lock(state);
    let is_willing = state.is_willing;
    // Until it is known what a webhook is signed with nothing of it can be checked.
    let hook = state.hooks.get_mut(name).filter(|hook| hook.checker.is_some());
    let Some(hook) = hook else { return Some("503 Not yet") };
    let status = match dice {
        _ if is_willing => Some("200 OK"),
        dice if dice < UNWILLING => Some("500 Oops"),
        dice if dice < 2 * UNWILLING => None,
        _ => Some("200 OK"),
    };
    match arrival(hook, headers, body) {
        Ok(arrival) => hook.arrivals.push(Arrival { is_taken: status == Some("200 OK"), ..arrival }),
        Err(error) => hook.faults.push(format!("{error:#}: {}", String::from_utf8_lossy(body))),
    }
    status
}

/// Reads a message whose signature is good.
fn arrival(hook: &Hook, headers: &HeaderMap, body: &[u8]) -> anyhow::Result<Arrival> {
    let checker = hook.checker.as_ref().context("it is not known how it is signed")?;
    checker.verify(body, headers).context("a message with a signature that is not good")?;
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).context("a message without an id")?;
    let message: Value = serde_json::from_slice(body).context("a message that is not JSON")?;
    let sequence = message.get("sequence").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let market = message.pointer("/data/marketId").and_then(Value::as_str).map(str::to_owned);
    Ok(Arrival {
        id: id.to_owned(),
        body: String::from_utf8_lossy(body).into_owned(),
        sequence: sequence.context("a message without a sequence")?,
        market,
        is_taken: false,
    })
}

/// Reads a request: the name of the webhook, headers and body.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, HeaderMap, Vec<u8>)> {
    let mut headers = HeaderMap::new();
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let name = line.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?);
    }
    let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((name, headers, body))
}
