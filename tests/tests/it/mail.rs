//! Mail servers that are dead, slow or unwilling, and servers that die before they have sent.

use std::time::{Duration, Instant};

use bellwether_tests::mail::{Manner, SmtpServer};
use bellwether_tests::{Installation, Server, Store, on_each_store_with};
use serde_json::json;

/// Settings for mails by a server.
fn by(url: &str) -> [(&'static str, &str); 5] {
    [
        ("MAILER", "smtp"),
        ("SMTP_URL", url),
        ("SMTP_TIMEOUT", "1s"),
        ("MAIL_FROM", "The House <house@example.org>"),
        ("PUBLIC_URL", "https://markets.example.org"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_go_out_by_smtp_as_soon_as_they_are_asked_for() {
    let smtp = SmtpServer::start(Manner::Accept).await;
    on_each_store_with(&by(&smtp.url()), |server| {
        let smtp = smtp.clone();
        async move {
            let api = server.api();
            let ann = api.sign_up("Ann").await;
            let mail = smtp.wait_for(&ann.email, 1).await.remove(0);
            assert_eq!(mail.header("From"), "\"The House\" <house@example.org>");
            assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
            let body = json!({ "token": mail.token() });
            api.request("POST", "/auth/email/verify").json(&body).send().await.expect(204);
            assert!(!server.installation().data_dir().join("mail").exists());
            let output = server.installation().run(&["doctor"], "").await;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(said.contains("mail: smtp://127.0.0.1") && said.contains("answers"), "{said}");
        }
    })
    .await;
}

/// A request never waits for a mail server, and a mail comes when there is one again.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_hangs_or_has_no_room_or_is_dead_fails_no_request() {
    let smtp = SmtpServer::start(Manner::Hang).await;
    on_each_store_with(&by(&smtp.url()), |server| {
        let smtp = smtp.clone();
        async move {
            let api = server.api();
            for manner in [Manner::Hang, Manner::TryLater] {
                smtp.set(manner);
                let before = smtp.asked();
                let started = Instant::now();
                let ann = api.sign_up("Ann").await;
                let body = json!({ "email": ann.email });
                api.request("POST", "/auth/password/forgot").json(&body).send().await.expect(202);
                assert!(started.elapsed() < Duration::from_secs(20), "a request waited for the mail server");
                smtp.wait_until_asked(before).await;
                assert!(smtp.taken(&ann.email).is_empty());
                smtp.set(Manner::Accept);
                let mails = smtp.wait_for(&ann.email, 2).await;
                let ids: Vec<&str> = mails.iter().map(|mail| mail.header("Message-ID")).collect();
                assert_ne!(ids[0], ids[1]);
                for (mail, path) in mails.iter().map(|mail| {
                    let is_reset = mail.header("Subject") == "Set a new password";
                    (mail, if is_reset { "/auth/password/reset" } else { "/auth/email/verify" })
                }) {
                    let mut body = json!({ "token": mail.token() });
                    if path.ends_with("reset") {
                        body["password"] = json!("another pass phrase");
                    }
                    let answer = api.request("POST", path).json(&body).send().await;
                    // The reset verifies the address too, whichever comes first.
                    assert!(answer.status == 204 || answer.code() == "INVALID_TOKEN", "{path}: {}", answer.text);
                }
            }
        }
    })
    .await;
}

/// Threat 47: what will never be sent is given up, and what comes after it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_does_not_exist_is_tried_once_and_keeps_nobody_waiting() {
    let smtp = SmtpServer::start(Manner::Refuse).await;
    on_each_store_with(&by(&smtp.url()), |server| {
        let smtp = smtp.clone();
        async move {
            smtp.set(Manner::Refuse);
            let (api, before) = (server.api(), smtp.asked());
            let ann = api.sign_up("Ann").await;
            smtp.wait_until_asked(before).await;
            while !server.logged().contains("a job was given up") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            smtp.set(Manner::Accept);
            let ben = api.sign_up("Ben").await;
            smtp.wait_for(&ben.email, 1).await;
            assert!(smtp.taken(&ann.email).is_empty());
            assert!(!server.logged().contains("bw_mail_"));
        }
    })
    .await;
}

/// Threats 45, 48 and 63: a mail exists with what caused it, and is sent by the next life of the server,
/// be it killed before it tried, while it waits to try again, or in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_survives_kill_9_between_being_asked_for_and_being_sent() {
    for store in Store::ALL {
        let smtp = SmtpServer::start(Manner::TryLater).await;
        let url = smtp.url();
        let Some(installation) = Installation::new(store, &by(&url)).await else { continue };
        let mut server = Server::start(installation).await;
        for manner in [Manner::TryLater, Manner::Hang] {
            smtp.set(manner);
            let before = smtp.asked();
            let ann = server.api().sign_up("Ann").await;
            smtp.wait_until_asked(before).await;
            let installation = server.kill().await;
            smtp.set(Manner::Accept);
            assert!(smtp.taken(&ann.email).is_empty());
            server = Server::start(installation).await;
            let mail = smtp.wait_for(&ann.email, 1).await.remove(0);
            let body = json!({ "token": mail.token() });
            server.api().request("POST", "/auth/email/verify").json(&body).send().await.expect(204);
        }
        // At once after the answer, before anybody can have tried.
        let ben = server.api().sign_up("Ben").await;
        let installation = server.kill().await;
        let server = Server::start(installation).await;
        smtp.wait_for(&ben.email, 1).await;
        let installation = server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}

/// Threat 68.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_stops_in_time_while_the_mail_server_hangs() {
    let smtp = SmtpServer::start(Manner::Hang).await;
    for store in Store::ALL {
        let url = smtp.url();
        let Some(installation) = Installation::new(store, &by(&url)).await else { continue };
        let server = Server::start(installation).await;
        let before = smtp.asked();
        server.api().sign_up("Ann").await;
        smtp.wait_until_asked(before).await;
        let started = Instant::now();
        let installation = server.stop().await;
        assert!(started.elapsed() < Duration::from_secs(20), "it took {:?} to stop", started.elapsed());
        installation.audit().await;
        installation.remove().await;
    }
}
