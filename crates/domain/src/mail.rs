//! Mails to users, and the tokens in them by which users show that they can read their mail.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::ids::{JobId, UserId};
use crate::session::Lifetime;
use crate::text::{DisplayName, Email, TextError};
use crate::user::{User, UserStatus};

/// The most tokens of one purpose that a user may have outstanding. More mails are not sent until one
/// has expired, so that nobody's mailbox can be filled by others.
pub const MOST_OUTSTANDING: usize = 3;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenPurpose {
    /// To set a new password.
    ResetPassword,
    /// To show that an address is one's own.
    VerifyEmail,
}

impl TokenPurpose {
    /// All purposes.
    pub const ALL: [Self; 2] = [Self::ResetPassword, Self::VerifyEmail];

    /// The purpose as it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ResetPassword => "reset_password",
            Self::VerifyEmail => "verify_email",
        }
    }

    /// The purpose of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == name)
    }

    /// How long a token is good, from when its mail was asked for.
    #[must_use]
    pub const fn ttl(self) -> SignedDuration {
        match self {
            Self::ResetPassword => SignedDuration::from_hours(1),
            Self::VerifyEmail => SignedDuration::from_hours(24),
        }
    }
}

/// What is kept of a token that was sent by mail. It is used once: then it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailToken {
    /// SHA-256 of the token, by which it is known.
    pub hash: [u8; 32],
    /// Whose it is.
    pub user: UserId,
    /// What it is good for.
    pub purpose: TokenPurpose,
    /// The key of the address that it was sent to ([`Email::key`]).
    pub sent_to: String,
    /// From when until when it is good.
    pub lifetime: Lifetime,
}

impl MailToken {
    /// Whether it is good for that purpose now: the user may act and still has the address that it was sent to.
    #[must_use]
    pub fn is_good(&self, purpose: TokenPurpose, user: &User, now: Timestamp) -> bool {
        self.purpose == purpose
            && now < self.lifetime.until
            && self.user == user.id
            && user.status == UserStatus::Active
            && user.email.as_ref().is_some_and(|email| email.key() == self.sent_to)
    }
}

/// A mail, ready to be sent. Its `Debug` does not show the text, which may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// The job that it is sent for. The same when it is sent again.
    pub id: JobId,
    /// To whom.
    pub to: Email,
    /// What the reader is called, where that is the reader's own word.
    pub name: Option<DisplayName>,
    /// The subject: one line.
    pub subject: String,
    /// The text, its lines ended by line feeds.
    pub text: String,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("id", &self.id).field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Whom mails are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The address.
    pub address: Email,
    /// The name before it, if there is one.
    pub name: Option<DisplayName>,
}

impl Sender {
    /// Reads `name@example.org` or `Name <name@example.org>`.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let Some((name, rest)) = text.split_once('<') else {
            return Ok(Self { address: Email::parse(text)?, name: None });
        };
        let address = rest.trim_end().strip_suffix('>').ok_or(TextError::Malformed("has no closing >"))?;
        let name = name.trim().trim_matches('"');
        let name = if name.is_empty() { None } else { Some(DisplayName::parse(name)?) };
        Ok(Self { address: Email::parse(address)?, name })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::user::Role;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn user(n: u128, address: &str) -> User {
        User {
            id: UserId(Uuid::from_u128(n)),
            email: Some(Email::parse(address).unwrap()),
            display_name: DisplayName::parse("Ann").unwrap(),
            password_hash: None,
            role: Role::User,
            status: UserStatus::Active,
            email_verified: false,
            owner: None,
            version: 1,
            created_at: at(0),
            updated_at: at(0),
        }
    }

    /// Threat 11.
    #[test]
    fn a_token_is_good_for_its_purpose_its_user_its_address_and_its_time() {
        use TokenPurpose::{ResetPassword, VerifyEmail};
        let ann = user(1, "Ann@example.org");
        let token = MailToken {
            hash: [1; 32],
            user: ann.id,
            purpose: VerifyEmail,
            sent_to: "ann@example.org".to_owned(),
            lifetime: Lifetime { from: at(0), until: at(100) },
        };
        let mut gone = ann.clone();
        gone.deactivate(at(1));
        let suspended = User { status: UserStatus::Suspended, ..ann.clone() };
        for (purpose, user, now, is_good) in [
            (VerifyEmail, ann.clone(), 0, true),
            (VerifyEmail, ann.clone(), 99, true),
            (VerifyEmail, ann.clone(), 100, false),
            (ResetPassword, ann, 0, false),
            (VerifyEmail, user(2, "ann@example.org"), 0, false),
            (VerifyEmail, user(1, "ann@example.net"), 0, false),
            (VerifyEmail, gone, 0, false),
            (VerifyEmail, suspended, 0, false),
        ] {
            assert_eq!(token.is_good(purpose, &user, at(now)), is_good, "{purpose:?} of {user:?} at {now}");
        }
        assert!(ResetPassword.ttl() <= SignedDuration::from_hours(1));
    }

    /// Threats 23 and 71.
    #[test]
    fn a_sender_is_an_address_with_or_without_a_name_and_debug_shows_no_text() {
        let of = |text: &str| Sender::parse(text).map(|s| (s.address.as_str().to_owned(), s.name));
        let name = |name: &str| Some(DisplayName::parse(name).unwrap());
        assert_eq!(of("a@b.org").unwrap(), ("a@b.org".to_owned(), None));
        assert_eq!(of("<a@b.org>").unwrap(), ("a@b.org".to_owned(), None));
        assert_eq!(of("\"Our House\" <a@b.org> ").unwrap(), ("a@b.org".to_owned(), name("Our House")));
        for bad in ["", "a", "Name <a@b.org", "Na\r\nBcc: x@y.org <a@b.org>", "A <a@b.org\r\nBcc: x@y.org>"] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        let mail = Mail {
            id: JobId(Uuid::nil()),
            to: Email::parse("a@b.org").unwrap(),
            name: None,
            subject: "S".to_owned(),
            text: "CANARY".to_owned(),
        };
        assert!(!format!("{mail:?}").contains("CANARY"));
    }
}
