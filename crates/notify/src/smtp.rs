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
/// Answers that mean that the reader's mailbox does not exist: the enhanced codes (RFC 3463, RFC 7505) of bad addresses of
/// readers, and where a server gives none, plain ones.
const NO_SUCH_MAILBOX: [&str; 5] = ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"];
const NO_SUCH_MAILBOX_PLAINLY: [u16; 4] = [550, 551, 553, 556];
/// What a server speaks of that refuses a mail by a plain code for how it is sent. Which command was answered is not
/// known here, and `MAIL FROM` is refused by the same plain codes.
const NOT_OF_THE_READER: [&str; 4] = ["relay", "sender", "authenticat", "policy"];

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
    let said = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    error.status().is_some_and(|code| means_no_such_mailbox(code.into(), &said))
}

/// Whether an answer concerns the reader's mailbox, so that the mail need not be tried again. All else that is permanent is
/// told to a server that is not set up right (a wrong password, a sender that it may not use, no right to relay), and
/// is to pass without a loss of mails.
fn means_no_such_mailbox(code: u16, said: &str) -> bool {
    let first = said.split_whitespace().next().unwrap_or_default();
    let is_enhanced = first.split('.').count() == 3 && first.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_enhanced {
        return (500..600).contains(&code) && NO_SUCH_MAILBOX.contains(&first);
    }
    let said = said.to_lowercase();
    NO_SUCH_MAILBOX_PLAINLY.contains(&code) && !NOT_OF_THE_READER.iter().any(|word| said.contains(word))
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

    #[test]
    fn a_mail_is_given_up_for_a_mailbox_that_does_not_exist_and_for_nothing_else() {
        for (code, said) in [
            (550, "5.1.1 <ann@example.org>: Recipient address rejected: User unknown"),
            (550, "5.1.1 The email account that you tried to reach\n5.1.1 does not exist"),
            (553, "5.1.3 bad destination mailbox address syntax"),
            (556, "5.1.10 Recipient address has null MX"),
            (550, "No such user here"),
            (551, "user not local"),
            (553, ""),
        ] {
            assert!(means_no_such_mailbox(code, said), "{code} {said}");
        }
        for (code, said) in [
            (553, "5.7.1 <house@example.org>: Sender address rejected: not owned by user"),
            (550, "5.7.1 Relaying denied"),
            (550, "5.7.26 This mail is unauthenticated"),
            (550, "5.1.8 Sender address rejected: Domain not found"),
            (550, "5.2.1 The mailbox is disabled"),
            (550, "relay not permitted"),
            (550, "Sender verify failed"),
            (550, "SMTP AUTH is required: please authenticate"),
            (535, "5.7.8 Authentication credentials invalid"),
            (530, "Must issue a STARTTLS command first"),
            (554, "no thank you"),
            (450, "4.2.1 try again later"),
            (450, "5.1.1 said by mistake"),
        ] {
            assert!(!means_no_such_mailbox(code, said), "{code} {said}");
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
