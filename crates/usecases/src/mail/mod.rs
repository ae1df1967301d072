//! Mails to users: put aside in the unit of work of what causes them, composed and sent soon after.
//!
//! What is put aside holds no token but a seed. The token follows from the seed by a key of the
//! server's, so who reads the queue, or a copy of the database, cannot use what is in it.

mod deliver;
mod texts;

use bellwether_domain::ids::JobId;
use bellwether_domain::job::{Job, JobKind};
use bellwether_domain::mail::TokenPurpose;
use bellwether_domain::ports::OpaqueToken;
use bellwether_domain::text::Email;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Context, Error};

pub use deliver::Delivery;

/// Why a mail is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Occasion {
    /// Somebody gave the address as its own.
    AddressGiven,
    /// Somebody says to have forgotten the password of the user with the address.
    PasswordForgotten,
    /// Somebody tried to sign up with the address of a user.
    AddressTaken,
    /// A webhook was disabled, since it failed for too long or is gone.
    WebhookDisabled,
}

impl Occasion {
    /// What the token in the mail is good for; none where there is no token in it.
    const fn purpose(self) -> Option<TokenPurpose> {
        match self {
            Self::AddressGiven => Some(TokenPurpose::VerifyEmail),
            Self::PasswordForgotten | Self::AddressTaken => Some(TokenPurpose::ResetPassword),
            Self::WebhookDisabled => None,
        }
    }
}

/// A mail as it is put aside: the payload of a [`JobKind::Mail`].
#[derive(Serialize, Deserialize)]
struct Order {
    occasion: Occasion,
    to: String,
    /// What the token follows from.
    seed: String,
}

/// The job to send a mail, for the unit of work of what causes it. Ring the [`JobBell`](crate::jobs::JobBell) when
/// that is committed.
pub(crate) fn job(ctx: &Context, occasion: Occasion, to: &Email, now: Timestamp) -> Result<Job, Error> {
    let seed = ctx.mail_tokens.draw()?;
    let order = Order { occasion, to: to.as_str().to_owned(), seed: seed.expose().to_owned() };
    let payload = serde_json::to_string(&order).map_err(|_| Error::Payload)?;
    Ok(Job::new(JobId(ctx.ids.fresh().next_uuid()), JobKind::Mail, payload, now))
}

/// Reads what was put aside; none where it cannot be read.
fn read(payload: &str) -> Option<(Occasion, Email, OpaqueToken)> {
    let Order { occasion, to, seed } = serde_json::from_str(payload).ok()?;
    Some((occasion, Email::parse(&to).ok()?, OpaqueToken::new(seed)))
}
