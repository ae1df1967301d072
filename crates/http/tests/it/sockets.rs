//! What only shows on a socket: requests that are cut, trickle or contradict themselves.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use bellwether_http::server;
use tokio::runtime::Runtime;

use crate::support::Ports;

/// A server that is stopped when dropped.
struct Running {
    address: SocketAddr,
    handle: ServerHandle,
    runtime: Option<Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One that is patient with heads, which come at once unless the machine is busy.
fn start() -> Running {
    serve(Ports::new())
}

fn serve(mut ports: Ports) -> Running {
    ports.options.body_timeout = Duration::from_millis(200);
    ports.options.workers = std::num::NonZeroUsize::new(1);
    ports.queries.expect_session().returning(|_| Ok(None));
    let (app, runtime) = ports.into_app();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let server = server(app, listener).unwrap();
        sender.send(server.handle()).unwrap();
        server.await
    });
    Running { address, handle: receiver.recv().unwrap(), runtime: Some(runtime) }
}

/// Sends bytes and reads until the server closes the connection.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server closes the connection");
    String::from_utf8(answer).unwrap()
}

/// Threat 25.
#[test]
fn refuses_contradictory_lengths_and_closes() {
    let server = start();
    let heads = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
        "Content-Length: +5\r\n\r\n{}   ",
        "Content-Length: -1\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ];
    for head in heads {
        let request =
            format!("POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{head}");
        let answer = exchange(server.address, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400"), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{head:?}: {answer}");
    }
}

/// Threat 25.
#[test]
fn refuses_trace_and_connect_and_closes() {
    let server = start();
    for head in
        ["TRACE /api/v1/orders HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT example.org:80 HTTP/1.1\r\nHost: a\r\n\r\n"]
    {
        let answer = exchange(server.address, head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        assert!(answer.contains("METHOD_NOT_ALLOWED"), "{answer}");
    }
}

/// Threat 59.
#[test]
fn cuts_a_body_that_trickles() {
    let server = start();
    let head =
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let answer = exchange(server.address, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"REQUEST_TIMEOUT\""), "{answer}");
}

/// Threat 59.
#[test]
fn cuts_a_head_that_trickles() {
    let mut ports = Ports::new();
    ports.options.head_timeout = Duration::from_millis(500);
    let server = serve(ports);
    let answer = exchange(server.address, b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    assert!(answer.starts_with("HTTP/1.1 408") || answer.is_empty(), "{answer}");
}

/// Threat 19.
#[test]
fn refuses_a_body_that_is_declared_too_large_without_reading_it() {
    let server = start();
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 10000000000\r\n\r\n{";
    let answer = exchange(server.address, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("\"PAYLOAD_TOO_LARGE\""), "{answer}");
}

/// Threat 19.
#[test]
fn refuses_a_body_that_was_cut_off() {
    let server = start();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"email\"";
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[test]
fn answers_head_like_get_without_the_body() {
    let server = start();
    let answer = exchange(server.address, b"HEAD /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("\r\nserver:"), "{answer}");
}

#[test]
fn refuses_an_address_that_is_too_long() {
    let server = start();
    let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "a".repeat(70_000));
    let answer = exchange(server.address, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 4"), "{}", answer.get(..100).unwrap_or(&answer));
}

/// Threat 59.
#[test]
fn does_not_wait_for_a_body_that_nobody_reads() {
    let server = start();
    let head =
        "POST /api/v1/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let answer = exchange(server.address, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}
