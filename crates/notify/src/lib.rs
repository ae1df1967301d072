//! Mails: sent by SMTP, or written to a folder where there is no mail server.

mod compose;
mod files;
mod smtp;

use thiserror::Error;

pub use files::FileMailer;
pub use smtp::SmtpMailer;

/// Why no mailer can be made of a configuration.
#[derive(Debug, Error)]
pub enum SetUpError {
    /// Mails cannot be from there.
    #[error("{0:?} is an address that no mail server takes")]
    Sender(String),
    /// That is no address of a mail server. What was given is not repeated: it may hold a password.
    #[error("must be smtp://HOST:PORT, smtp://USER:PASSWORD@HOST:587?tls=required or smtps://USER:PASSWORD@HOST ({0})")]
    Url(String),
    /// A password would go over the network as it is.
    #[error("gives a password to a server that is not on this machine without TLS; add ?tls=required, or use smtps://")]
    PasswordInClear,
}
