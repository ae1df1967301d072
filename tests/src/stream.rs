//! One who follows what happens, by server-sent events or a WebSocket.

use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::Request;

/// How long a message may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its id, where it has one.
    pub id: Option<i64>,
    /// Its kind.
    pub kind: String,
    /// All of it.
    pub json: Value,
}

/// One who follows by server-sent events.
#[derive(Debug)]
pub struct Listener {
    response: reqwest::Response,
    heard: Vec<u8>,
}

impl Listener {
    /// Follows what a request asks for. Asks again where the database is too busy to say where to begin: another test's
    /// transaction may hold back what has happened.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn open(request: Request) -> Self {
        let started = Instant::now();
        let response = loop {
            let response = request.once_more().open().await;
            if response.status().as_u16() != 503 || started.elapsed() > PATIENCE {
                break response;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(response.status().as_u16(), 200, "a stream is refused");
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("text/event-stream"));
        Self { response, heard: Vec::new() }
    }

    /// The next message; none when the stream has ended.
    ///
    /// # Panics
    /// When nothing comes for long.
    pub async fn try_next(&mut self) -> Option<Told> {
        loop {
            if let Some(end) = self.heard.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.heard.drain(..end + 2).collect();
                match told(&String::from_utf8_lossy(&block)) {
                    Some(told) => return Some(told),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("something comes");
            self.heard.extend(chunk.ok().flatten()?);
        }
    }

    /// The next message.
    ///
    /// # Panics
    /// When the stream has ended.
    pub async fn next(&mut self) -> Told {
        self.try_next().await.expect("the stream goes on")
    }

    /// Everything up to a message of that kind.
    pub async fn until(&mut self, kind: &str) -> Vec<Told> {
        let mut all = Vec::new();
        loop {
            let told = self.next().await;
            let is_it = told.kind == kind;
            all.push(told);
            if is_it {
                return all;
            }
        }
    }
}

/// A message of a block of lines; none for a comment.
fn told(block: &str) -> Option<Told> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let json = serde_json::from_str(field("data")?).expect("a message is JSON");
    let id = field("id").map(|id| id.parse().expect("an id is a number"));
    Some(Told { id, kind: field("event").expect("a message has a kind").to_owned(), json })
}

/// One who follows by a WebSocket, as RFC 6455 has it.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Follows that path, with these headers besides.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn open(address: &str, path: &str, headers: &str) -> Self {
        Self::over(TcpStream::connect(address).await.expect("the server listens"), address, path, headers).await
    }

    /// The same over a connection that little fits into.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn open_narrow(address: &str, path: &str, headers: &str) -> Self {
        Self::over(narrow(address).await, address, path, headers).await
    }

    async fn over(mut socket: TcpStream, address: &str, path: &str, headers: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        socket.write_all(request.as_bytes()).await.expect("the server reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.expect("the server answers"));
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self(socket)
    }

    /// The next message: the text, or the code and the reason with which it was closed.
    ///
    /// # Panics
    /// When nothing comes for long.
    pub async fn next(&mut self) -> Result<Value, (u16, String)> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.frame()).await.expect("something comes");
            match frame {
                (0x81, text) => return Ok(serde_json::from_slice(&text).expect("a message is JSON")),
                (0x88, close) => {
                    let (code, reason) = close.split_at_checked(2).expect("a close has a code");
                    let code = u16::from_be_bytes(code.try_into().expect("two bytes"));
                    return Err((code, String::from_utf8_lossy(reason).into_owned()));
                }
                _ => {}
            }
        }
    }

    /// Says something, which must not be long.
    ///
    /// # Panics
    /// When it is too long, or the socket is closed.
    pub async fn say(&mut self, text: &str) {
        let length = u16::try_from(text.len()).expect("a short text").to_be_bytes();
        // A mask of zeros leaves the text as it is.
        let mut frame = vec![0x81, 0xFE, length[0], length[1], 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.send(&frame).await;
    }

    /// Sends bytes as they are, which need be no frame.
    ///
    /// # Panics
    /// When the socket is closed.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the server reads");
    }

    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let kind = self.0.read_u8().await.expect("the socket is open");
        let length = match self.0.read_u8().await.expect("a length") {
            126 => usize::from(self.0.read_u16().await.expect("a length")),
            127 => usize::try_from(self.0.read_u64().await.expect("a length")).expect("a length"),
            short => usize::from(short),
        };
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("a whole frame");
        (kind, body)
    }
}

/// A connection that little fits into: whoever does not read from it soon keeps the other side waiting.
///
/// # Panics
/// When the server does not listen.
pub async fn narrow(address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    // The other side's buffer is as long as some segments.
    setsockopt(&socket, sockopt::TcpMaxSeg, &536).expect("short segments");
    socket.connect(address.parse().expect("an address")).await.expect("the server listens")
}
