//! One kept connection, with as little work for each request as can be: the load runs on the machine
//! that it measures, and a full HTTP client would take a good part of it from the server.
//!
//! It understands what Bellwether answers, not all of HTTP: bodies have a `Content-Length`.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than any answer should take.
const LIMIT: Duration = Duration::from_secs(20);
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// A request to the API.
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    /// The path without `/api/v1`.
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) idempotency_key: Option<&'a str>,
    /// JSON, or empty for a request without a body.
    pub(super) body: &'a str,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

/// A connection to one server; it is opened again after a failure.
pub(super) struct Connection {
    address: String,
    stream: Option<TcpStream>,
    out: Vec<u8>,
    read: Vec<u8>,
}

impl Connection {
    /// Connects to a server, such as `127.0.0.1:8080`.
    pub(super) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = Some(connect(address).await?);
        Ok(Self { address: address.to_owned(), stream, out: Vec::new(), read: Vec::new() })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When there is no whole answer within the limit. Whether the request was executed is unknown then.
    pub(super) async fn send(&mut self, request: &Request<'_>) -> anyhow::Result<Answer<'_>> {
        // While a request is under way nobody else can use the stream, and one that failed is not put back.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.address).await?,
        };
        write_request(&mut self.out, &self.address, request);
        let exchange = exchange(&mut stream, &self.out, &mut self.read);
        let head = tokio::time::timeout(LIMIT, exchange).await.context("there was no answer in time")??;
        if !head.closes {
            self.stream = Some(stream);
        }
        let body = self.read.get(head.length..).unwrap_or_default();
        Ok(Answer { status: head.status, body })
    }
}

async fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Writes the request and reads until the answer is whole; `read` has head and body then.
async fn exchange(stream: &mut TcpStream, request: &[u8], read: &mut Vec<u8>) -> anyhow::Result<Head> {
    stream.write_all(request).await.context("cannot send the request")?;
    read.clear();
    let mut head = None;
    loop {
        let count = stream.read_buf(read).await.context("cannot read the answer")?;
        anyhow::ensure!(count > 0, "the server closed the connection");
        if head.is_none() {
            head = Head::read(read)?;
        }
        if let Some(head) = head
            && read.len() >= head.length + head.body_length
        {
            return Ok(head);
        }
    }
}

fn write_request(out: &mut Vec<u8>, host: &str, request: &Request<'_>) {
    out.clear();
    let Request { method, path, token, idempotency_key, body } = request;
    // Writing to a vector cannot fail.
    let _ = write!(out, "{method} /api/v1{path} HTTP/1.1\r\nHost: {host}\r\n");
    if let Some(token) = token {
        let _ = write!(out, "Authorization: Bearer {token}\r\n");
    }
    if let Some(key) = idempotency_key {
        let _ = write!(out, "Idempotency-Key: {key}\r\n");
    }
    if !body.is_empty() {
        let _ = write!(out, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    let _ = write!(out, "\r\n{body}");
}

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Head {
    status: u16,
    /// The head's own length in bytes, the empty line included.
    length: usize,
    body_length: usize,
    closes: bool,
}

impl Head {
    /// Reads the head of an answer; `None` as long as it is not all there.
    fn read(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = bytes.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD) else {
            return Ok(None);
        };
        let text = bytes.get(..end).and_then(|head| std::str::from_utf8(head).ok()).context("the head is not text")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let status = status.context("the answer does not begin with a status line")?;
        let (mut body_length, mut closes) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                body_length = Some(value.parse().context("the content length is no number")?);
            } else if name.eq_ignore_ascii_case("connection") {
                closes = value.eq_ignore_ascii_case("close");
            }
        }
        let has_none = status == 204 || status == 304;
        let body_length = body_length.or(has_none.then_some(0)).context("the answer has no content length")?;
        Ok(Some(Self { status, length: end + END_OF_HEAD.len(), body_length, closes }))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn written(request: &Request<'_>) -> String {
        let mut out = b"left from the last request".to_vec();
        write_request(&mut out, "h:1", request);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_a_request_with_and_without_a_body() {
        let read = Request { method: "GET", path: "/markets/1", token: None, idempotency_key: None, body: "" };
        assert_eq!(written(&read), "GET /api/v1/markets/1 HTTP/1.1\r\nHost: h:1\r\n\r\n");
        let order =
            Request { method: "POST", path: "/orders", token: Some("t"), idempotency_key: Some("k"), body: "{}" };
        assert_eq!(
            written(&order),
            "POST /api/v1/orders HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer t\r\nIdempotency-Key: k\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        );
    }

    #[test]
    fn reads_a_head_when_it_is_whole() {
        let text = b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\nConnection: close\r\n\r\nab";
        assert_eq!(Head::read(&text[..40]).unwrap(), None);
        let head = Head { status: 201, length: text.len() - 2, body_length: 5, closes: true };
        assert_eq!(Head::read(text).unwrap(), Some(head));
    }

    #[test]
    fn refuses_a_body_of_unknown_length() {
        assert!(Head::read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert_eq!(Head::read(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().body_length, 0);
    }

    #[tokio::test]
    async fn keeps_its_connection_and_opens_it_again_when_the_server_closed_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let answers = [&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"; 2][..], &["HTTP/1.1 204 \r\n\r\n"]];
            for answers in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                for answer in answers {
                    let mut request = [0; 1000];
                    assert!(stream.read(&mut request).await.unwrap() > 0);
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        let mut connection = Connection::open(&address).await.unwrap();
        let request = Request { method: "GET", path: "/", token: None, idempotency_key: None, body: "" };
        for _ in 0..2 {
            let answer = connection.send(&request).await.unwrap();
            assert_eq!((answer.status, answer.body), (200, &b"ab"[..]));
        }
        assert!(connection.send(&request).await.is_err(), "the first connection has two answers");
        assert_eq!(connection.send(&request).await.unwrap().status, 204);
        server.await.unwrap();
    }
}
