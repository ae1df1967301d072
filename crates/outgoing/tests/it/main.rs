//! Receivers that hang, break off, send elsewhere or go on for ever.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use bellwether_domain::ports::{CallAnswer, CallError, Caller as _, OutgoingCall};
use bellwether_outgoing::{Guard, GuardedCaller};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a call may take where it ends by itself: far more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a call takes to a receiver that says its status and never ends.
const LIMIT: Duration = Duration::from_secs(4);
/// What it may take besides on a busy machine; less than the limit that there would be without that one.
const SLACK: Duration = Duration::from_secs(10);

/// What a receiver does with its connections, one after the other.
#[derive(Clone, Copy)]
enum Manner {
    /// Sends this and hangs up.
    Says(&'static str),
    /// Reads, and says nothing.
    Hangs,
    /// Hangs up at once.
    Resets,
    /// Sends this, and then bytes as fast as they go.
    Floods(&'static str),
    /// Sends this, and then a byte now and then.
    Trickles(&'static str),
}

/// Where a receiver is. It lives as long as the test.
async fn receiver(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(receive(stream, manner));
        }
    });
    format!("http://{address}/hook")
}

async fn receive(mut stream: TcpStream, manner: Manner) {
    if matches!(manner, Manner::Resets) {
        return;
    }
    let mut head = [0_u8; 4096];
    let _ = stream.read(&mut head).await;
    match manner {
        Manner::Says(answer) => drop(stream.write_all(answer.as_bytes()).await),
        Manner::Hangs => std::future::pending().await,
        Manner::Floods(head) => {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {}
        }
        Manner::Trickles(head) => {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Manner::Resets => {}
    }
}

fn caller() -> GuardedCaller {
    caller_within(PATIENCE)
}

fn caller_within(limit: Duration) -> GuardedCaller {
    GuardedCaller::within(Guard::allowing(vec!["127.0.0.0/8".parse().unwrap()]), limit).unwrap()
}

async fn post(caller: &GuardedCaller, url: &str) -> Result<CallAnswer, CallError> {
    let headers = vec![("webhook-id", "msg_1".to_owned())];
    caller.post(&OutgoingCall { url: url.to_owned(), headers, body: "{}".to_owned() }).await
}

#[tokio::test]
async fn an_answer_is_told_with_its_beginning_and_what_it_asks_for() {
    let url =
        receiver(Manner::Says("HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 6\r\n\r\nno\r\nno")).await;
    caller().check(&url).await.unwrap();
    let answer = post(&caller(), &url).await.unwrap();
    assert_eq!((answer.status, answer.retry_after.map(|pause| pause.as_secs())), (503, Some(120)));
    assert_eq!(answer.body, "no  no");
    let url = receiver(Manner::Says(
        "HTTP/1.1 429 Later\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nRetry-After: Sat, 21 Nov 2026 10:01:00 GMT\r\n\
         Content-Length: 0\r\n\r\n",
    ))
    .await;
    assert_eq!(post(&caller(), &url).await.unwrap().retry_after.map(|pause| pause.as_secs()), Some(60));
}

/// Threat 50.
#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let url = receiver(Manner::Says(
        "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data/\r\nContent-Length: 0\r\n\r\n",
    ))
    .await;
    assert_eq!(post(&caller(), &url).await.unwrap().status, 302);
}

/// Threat 53.
#[tokio::test]
async fn whoever_says_nothing_or_hangs_up_is_a_failure_within_the_limit() {
    let caller = caller_within(Duration::from_secs(2));
    for manner in [Manner::Hangs, Manner::Resets, Manner::Trickles("HTTP/1.1 200 OK\r\nX-Slow: ")] {
        let (url, started) = (receiver(manner).await, Instant::now());
        let failed = post(&caller, &url).await;
        assert!(matches!(failed, Err(CallError::Failed(_))), "{failed:?}");
        assert!(started.elapsed() < SLACK, "it took {:?}", started.elapsed());
    }
}

/// Threat 53: the status was said; of the rest no more is read than is wanted, for no longer than is allowed.
#[tokio::test]
async fn a_body_without_an_end_is_cut() {
    for manner in [
        Manner::Floods("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"),
        Manner::Floods("HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n"),
        Manner::Trickles("HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n"),
    ] {
        let (url, started) = (receiver(manner).await, Instant::now());
        let answer = post(&caller_within(LIMIT), &url).await.unwrap();
        assert!(answer.status == 200 && answer.body.len() <= CallAnswer::MOST_KEPT, "{answer:?}");
        assert!(started.elapsed() < LIMIT + SLACK, "it took {:?}", started.elapsed());
    }
}

/// Threat 51: at the call too, whatever was said when the address was chosen.
#[tokio::test]
async fn what_is_not_for_everybody_is_not_called() {
    let url = receiver(Manner::Says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await;
    let caller = GuardedCaller::within(Guard::default(), PATIENCE).unwrap();
    for url in
        [url.clone(), url.replace("http://127.0.0.1", "https://localhost"), url.replace("127.0.0.1", "localhost")]
    {
        let refused = post(&caller, &url).await;
        assert!(matches!(refused, Err(CallError::Forbidden(_))), "{url}: {refused:?}");
        assert!(matches!(caller.check(&url).await, Err(CallError::Forbidden(_))), "{url}");
    }
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_left_alone_and_others_are_not() {
    let (caller, gone) = (caller(), "http://127.0.0.1:1/hook");
    for _ in 0..5 {
        assert!(matches!(post(&caller, gone).await, Err(CallError::Failed(_))));
    }
    assert!(matches!(post(&caller, gone).await, Err(CallError::LeftAlone(_))));
    let url = receiver(Manner::Says("HTTP/1.1 204 No Content\r\n\r\n")).await;
    assert_eq!(post(&caller, &url).await.unwrap().status, 204);
}

/// What one of them does who are at a host is not to the others' harm.
#[tokio::test]
async fn a_host_that_takes_connections_is_not_left_alone_whatever_comes_of_them() {
    let caller = caller_within(Duration::from_millis(300));
    for manner in [Manner::Hangs, Manner::Resets] {
        let url = receiver(manner).await;
        for _ in 0..6 {
            let failed = post(&caller, &url).await;
            assert!(matches!(failed, Err(CallError::Failed(_))), "{failed:?}");
        }
    }
    assert_eq!(caller.hosts_left_alone(), 0);
}
