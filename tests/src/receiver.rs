//! A receiver of webhooks that does as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long a message may take to arrive.
const LIMIT: Duration = Duration::from_secs(120);

/// A message as it arrived.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Message {
    /// A header; empty where it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Its body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a webhook is sent JSON")
    }

    /// The kind of its event.
    #[must_use]
    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap_or_default().to_owned()
    }
}

/// What a receiver does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answers this, such as `200 OK` or a status and headers in lines.
    Answers(&'static str),
    /// Says nothing.
    Hangs,
    /// Hangs up.
    Resets,
    /// Answers with a body that has no end.
    Floods,
}

/// A receiver. It ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct Receiver {
    address: String,
    /// What it does with the next message, and with all after that.
    manners: watch::Sender<(Manner, Manner)>,
    given_up: Arc<AtomicUsize>,
    arrived: Arc<Mutex<Vec<Message>>>,
}

impl Receiver {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start(manner: Manner) -> Self {
        Self::start_with(manner, manner).await
    }

    /// Starts one on a free port that does one thing with the first message, and another with all others.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start_with(first: Manner, others: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it has an address").to_string();
        let receiver = Self {
            address,
            manners: watch::Sender::new((first, others)),
            given_up: Arc::default(),
            arrived: Arc::default(),
        };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        receiver
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Changes what it does.
    pub fn set(&self, manner: Manner) {
        self.manners.send_replace((manner, manner));
    }

    /// How many messages were not waited for any longer that it hung with.
    #[must_use]
    pub fn given_up(&self) -> usize {
        self.given_up.load(Ordering::SeqCst)
    }

    /// Everything that has arrived, whatever was answered.
    #[must_use]
    pub fn arrived(&self) -> Vec<Message> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many messages have arrived of which this holds; these.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn wait_for(&self, count: usize, is_wanted: impl Fn(&Message) -> bool) -> Vec<Message> {
        let started = Instant::now();
        loop {
            let mut arrived = self.arrived();
            arrived.retain(&is_wanted);
            if arrived.len() >= count {
                return arrived;
            }
            let kinds: Vec<String> = self.arrived().iter().map(Message::kind).collect();
            assert!(started.elapsed() < LIMIT, "{} messages came where {count} should: {kinds:?}", arrived.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn next_manner(&self) -> Manner {
        let mut manner = None;
        self.manners.send_modify(|(next, others)| manner = Some(std::mem::replace(next, *others)));
        manner.expect("it was modified")
    }

    /// Serves one connection, on which messages may follow each other.
    async fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(message) = read(&mut stream).await {
            self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            match self.next_manner() {
                Manner::Answers(head) => {
                    let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 4\r\n\r\nsaid");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Manner::Hangs => {
                    // The sender hangs up, or sends on.
                    let _ = stream.read_u8().await;
                    self.given_up.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Manner::Resets => return,
                Manner::Floods => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").await;
                    while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {}
                    return;
                }
            }
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Message> {
    let mut headers = HeaderMap::new();
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?);
    }
    let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Message { headers, body })
}
