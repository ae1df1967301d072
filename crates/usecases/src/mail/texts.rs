//! What stands in mails.
//!
//! Whoever signs up with another's address chooses a name, so none stands in a mail to an address that
//! was not verified. Links begin with the configured URL, whatever the request was that caused the mail;
//! the token stands behind a `#`, so that browsers tell it to no server.

use bellwether_domain::ids::JobId;
use bellwether_domain::mail::Mail;
use bellwether_domain::ports::OpaqueToken;
use bellwether_domain::text::Email;
use bellwether_domain::user::User;
use jiff::Timestamp;

use super::Occasion;

/// Composes a mail to a user.
pub(crate) fn compose(
    id: JobId,
    occasion: Occasion,
    to: Email,
    user: &User,
    token: &OpaqueToken,
    until: Timestamp,
    url: &str,
) -> Mail {
    let until = until.strftime("%Y-%m-%d %H:%M UTC");
    let token = token.expose();
    let reset = format!(
        "  {url}/reset-password#token={token}\n\n\
         or send this token with it to {url}/api/v1/auth/password/reset:\n\n  {token}\n\n\
         It can be used once, until {until}. It signs you out everywhere, and\n\
         ends all API keys and webhooks, whoever made them."
    );
    let (subject, text) = match occasion {
        Occasion::AddressGiven => (
            "Confirm your e-mail address",
            format!(
                "somebody, probably you, gave this address to Bellwether ({url}). To confirm\n\
                 that it is yours, open\n\n  {url}/verify-email#token={token}\n\n\
                 or send this token to {url}/api/v1/auth/email/verify:\n\n  {token}\n\n\
                 It can be used once, until {until}. If it was not you, do nothing."
            ),
        ),
        Occasion::PasswordForgotten => (
            "Set a new password",
            format!(
                "somebody, probably you, asked for a new password for your account at\n\
                 Bellwether ({url}). To set one, open\n\n{reset} If it was not you, do nothing:\n\
                 your password stays as it is."
            ),
        ),
        Occasion::AddressTaken | Occasion::WebhookDisabled => (
            "You have an account already",
            format!(
                "somebody, perhaps you, tried to sign up at Bellwether ({url}) with this\n\
                 address, which has an account already. If it was you, sign in; or, where the\n\
                 password is lost, set a new one: open\n\n{reset} If it was not you, do nothing:\n\
                 nothing was changed."
            ),
        ),
    };
    letter(id, to, user, subject, &text)
}

/// Composes the notice that a webhook was disabled.
pub(crate) fn compose_notice(id: JobId, to: Email, user: &User, url: &str) -> Mail {
    let text = format!(
        "a webhook of yours at Bellwether ({url}) was disabled: it said that it is gone,\n\
         or took nothing for five days. What waited for it then is kept for a while; what\n\
         happens until you enable it again, it is not told, nor later. To see what it\n\
         answered, and to enable it again, look at\n\n  {url}/api/v1/webhooks"
    );
    letter(id, to, user, "A webhook was disabled", &text)
}

fn letter(id: JobId, to: Email, user: &User, subject: &str, text: &str) -> Mail {
    let name = user.email_verified.then(|| user.display_name.clone());
    let greeting = name.as_ref().map_or_else(|| "Hello,".to_owned(), |name| format!("Hello {},", name.as_str()));
    Mail { id, to, name, subject: subject.to_owned(), text: format!("{greeting}\n\n{text}\n") }
}
