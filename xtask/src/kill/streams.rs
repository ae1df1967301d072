//! The two forms of a live stream, as far as a client needs them.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// How long nothing may come; there is a heartbeat every 15 seconds.
const SILENCE: Duration = Duration::from_secs(20);
/// What marks the frames of a WebSocket.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Server-sent events.
pub(super) struct Events {
    answer: reqwest::Response,
    heard: Vec<u8>,
}

impl Events {
    /// Follows what `path` names, after that sequence.
    pub(super) async fn open(
        address: &str,
        path: &str,
        token: Option<&str>,
        after: Option<i64>,
    ) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().read_timeout(SILENCE).no_proxy().build()?;
        let mut request = http.get(format!("http://{address}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        let answer = request.send().await?;
        anyhow::ensure!(answer.status().is_success(), "refused: {} ", answer.status());
        Ok(Self { answer, heard: Vec::new() })
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            let Some(end) = self.heard.windows(2).position(|pair| pair == b"\n\n") else {
                self.heard.extend(self.answer.chunk().await?.context("the stream ended")?);
                continue;
            };
            let block: Vec<u8> = self.heard.drain(..end + 2).collect();
            if let Some(message) = message(&String::from_utf8_lossy(&block))? {
                return Ok(message);
            }
        }
    }
}

/// The message of a block of lines; none for a comment.
fn message(block: &str) -> anyhow::Result<Option<Value>> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let Some(data) = field("data") else { return Ok(None) };
    let message: Value = serde_json::from_str(data).context("a message that is not JSON")?;
    let id = field("id").map(str::parse).transpose().context("an id that is no number")?;
    let is_whole = id == message.get("sequence").and_then(Value::as_i64)
        && field("event") == message.get("type").and_then(Value::as_str);
    anyhow::ensure!(is_whole, "a message whose fields are not those of its JSON: {block}");
    Ok(Some(message))
}

/// A WebSocket, as RFC 6455 has it.
pub(super) struct Socket(BufReader<TcpStream>);

impl Socket {
    /// Follows what `path` names, after that sequence.
    pub(super) async fn open(
        address: &str,
        path: &str,
        token: Option<&str>,
        after: Option<i64>,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let after = after.map(|after| format!("&resumeFrom={after}")).unwrap_or_default();
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "GET {path}{after} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{token}\r\n"
        );
        let mut socket = Self(BufReader::new(stream));
        socket.0.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.byte().await?);
        }
        let head = String::from_utf8_lossy(&head);
        anyhow::ensure!(head.starts_with("HTTP/1.1 101 "), "refused: {head}");
        Ok(socket)
    }

    /// The next message; the reason of a close as the `end` of server-sent events.
    pub(super) async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            match self.frame().await? {
                (TEXT, text) => return serde_json::from_slice(&text).context("a message that is not JSON"),
                (PING, _) => {
                    // Empty, and masked as a client's frames have to be.
                    self.0.write_all(&[PONG, 0x80, 0, 0, 0, 0]).await?;
                }
                (CLOSE, close) => {
                    let reason = close.get(2..).map(String::from_utf8_lossy).unwrap_or_default();
                    return Ok(json!({ "type": "end", "reason": reason }));
                }
                _ => {}
            }
        }
    }

    async fn frame(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let kind = self.byte().await?;
        let length = match self.byte().await? {
            126 => usize::from(self.0.read_u16().await?),
            127 => usize::try_from(self.0.read_u64().await?)?,
            short => usize::from(short),
        };
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((kind, body))
    }

    async fn byte(&mut self) -> anyhow::Result<u8> {
        Ok(tokio::time::timeout(SILENCE, self.0.read_u8()).await.context("nothing comes")??)
    }
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn reads_messages_and_passes_over_comments() {
        assert_eq!(message(": still here\n\n").unwrap(), None);
        let told = message("id: 7\nevent: market.paid\ndata: {\"sequence\":7,\"type\":\"market.paid\"}\n\n").unwrap();
        assert_eq!(told.unwrap()["sequence"], 7);
        message("id: 8\nevent: market.paid\ndata: {\"sequence\":7,\"type\":\"market.paid\"}\n\n").unwrap_err();
    }
}
