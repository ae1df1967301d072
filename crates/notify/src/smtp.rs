//! Mails by SMTP.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::mail::{Mail, Sender};
use bellwether_domain::ports::{MailError, Mailer};
use lettre::message::Mailbox;
use lettre::transport::smtp::{AsyncSmtpTransportBuilder, Error, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use url::{Host, Url};

use crate::SetUpError;
use crate::compose::{Text, compose, sender};

/// The most connections that are kept.
const CONNECTIONS: u32 = 4;
/// Answers that mean that the reader's mailbox does not exist, or never takes a mail of ours. Others of
/// the class of permanent ones are told to a server that is not set up right, and may pass.
const NO_SUCH_MAILBOX: [u16; 4] = [550, 551, 553, 556];

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Sends by a mail server, over a few connections that are kept.
pub struct SmtpMailer {
    builder: AsyncSmtpTransportBuilder,
    transport: Mutex<Transport>,
    from: Mailbox,
    timeout: Duration,
}

impl std::fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpMailer").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl SmtpMailer {
    /// A mailer by the server of that URL. It may take so long for each mail. Must be made, and
    /// dropped, within a runtime; connects with the first mail.
    pub fn new(url: &str, from: &Sender, timeout: Duration) -> Result<Self, SetUpError> {
        let (builder, from) = (Self::read_url(url)?.timeout(Some(timeout)), sender(from)?);
        let builder = builder.pool_config(PoolConfig::new().max_size(CONNECTIONS));
        Ok(Self { transport: Mutex::new(builder.clone().build()), builder, from, timeout })
    }

    /// Whether a mailer could be made.
    pub fn check(url: &str, from: &Sender) -> Result<(), SetUpError> {
        Self::read_url(url)?;
        sender(from).map(drop)
    }

    /// Whether the server answers.
    pub async fn reach(&self) -> Result<(), MailError> {
        match tokio::time::timeout(self.timeout, self.transport().test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(MailError::Unavailable("the server did not answer as a mail server does".into())),
            Ok(Err(error)) => Err(MailError::Unavailable(error.into())),
            Err(_) => Err(self.timed_out()),
        }
    }

    fn read_url(text: &str) -> Result<AsyncSmtpTransportBuilder, SetUpError> {
        let url = Url::parse(text).map_err(|error| SetUpError::Url(error.to_string()))?;
        let is_encrypted =
            url.scheme() == "smtps" || url.query_pairs().any(|(key, value)| key == "tls" && value == "required");
        // The scheme is none that the library for URLs knows, so an address is but a text to it.
        let is_here = match url.host() {
            Some(Host::Domain(name)) => matches!(name, "localhost" | "127.0.0.1"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return Err(SetUpError::Url("no host".to_owned())),
        };
        if url.password().is_some() && !is_encrypted && !is_here {
            return Err(SetUpError::PasswordInClear);
        }
        let unknown = |_| SetUpError::Url("the scheme must be smtp or smtps, tls required or opportunistic".to_owned());
        Transport::from_url(text).map_err(unknown)
    }

    fn transport(&self) -> Transport {
        self.transport.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives all connections up. One that was left in the middle of a mail would take what comes next
    /// for the rest of it.
    fn give_up_connections(&self) {
        let fresh = self.builder.clone().build();
        let old = std::mem::replace(&mut *self.transport.lock().unwrap_or_else(PoisonError::into_inner), fresh);
        let patience = self.timeout;
        tokio::spawn(async move { tokio::time::timeout(patience, old.shutdown()).await });
    }

    fn timed_out(&self) -> MailError {
        MailError::Unavailable(format!("the mail server did not answer within {} ms", self.timeout.as_millis()).into())
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = compose(mail, &self.from, Text::ForServers)?;
        let sent = tokio::time::timeout(self.timeout, self.transport().send(message)).await;
        match sent {
            Ok(Ok(_)) => {
                tracing::debug!(subject = %mail.subject, id = %mail.id, "a mail was sent");
                Ok(())
            }
            Ok(Err(error)) if is_final(&error) => Err(MailError::Refused(error.into())),
            Ok(Err(error)) => Err(MailError::Unavailable(error.into())),
            Err(_) => {
                self.give_up_connections();
                Err(self.timed_out())
            }
        }
    }
}

fn is_final(error: &Error) -> bool {
    error.status().is_some_and(|code| NO_SUCH_MAILBOX.contains(&u16::from(code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::tests::house;

    #[test]
    fn the_url_of_a_server_says_how_it_is_reached() {
        for good in [
            "smtp://127.0.0.1:2525",
            "smtp://mail.example.org",
            "smtp://u:p@localhost:25",
            "smtp://u%40x:p%2F@mail.example.org:587?tls=required",
            "smtps://u:p@mail.example.org",
        ] {
            assert!(SmtpMailer::check(good, &house()).is_ok(), "{good}");
        }
        for bad in ["", "mail.example.org", "http://mail.example.org", "smtp://", "smtp://h?tls=maybe", "smtp://h:port"]
        {
            assert!(matches!(SmtpMailer::check(bad, &house()), Err(SetUpError::Url(_))), "{bad}");
        }
    }

    /// Threat 71.
    #[test]
    fn a_password_does_not_go_over_the_network_in_clear_nor_into_an_error() {
        for url in ["smtp://u:CANARY@mail.example.org", "smtp://u:CANARY@mail.example.org:587?tls=opportunistic"] {
            let refused = SmtpMailer::check(url, &house()).unwrap_err();
            assert!(matches!(refused, SetUpError::PasswordInClear), "{url}");
        }
        let error = SmtpMailer::check("smtp://u:CANARY@h?tls=CANARY", &house()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error:?}");
    }
}
