//! Bytes on a socket, for requests that no HTTP client would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an exchange may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What came back: all bytes as text, and whether the server closed the connection.
#[derive(Debug)]
pub struct RawAnswer {
    /// Everything that the server sent.
    pub text: String,
    /// Whether the server closed the connection in time.
    pub closed: bool,
}

impl RawAnswer {
    /// The statuses of all answers on the connection.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        let lines = self.text.split("HTTP/1.1 ").skip(1);
        lines.filter_map(|answer| answer.get(..3)?.parse().ok()).collect()
    }
}

/// Sends the bytes and reads until the server closes, or `quiet` has passed without a byte.
///
/// # Panics
/// When the server cannot be reached.
pub async fn exchange(address: &str, bytes: &[u8], quiet: Duration) -> RawAnswer {
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    // A server that has answered already may have closed its side.
    let _ = socket.write_all(bytes).await;
    read(&mut socket, quiet.min(LIMIT)).await
}

/// Reads until the server closes, or `quiet` has passed without a byte.
pub async fn read(socket: &mut TcpStream, quiet: Duration) -> RawAnswer {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let closed = loop {
        match tokio::time::timeout(quiet, socket.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(n)) => text.extend_from_slice(&buffer[..n]),
            Err(_) => break false,
        }
    };
    RawAnswer { text: String::from_utf8_lossy(&text).into_owned(), closed }
}
