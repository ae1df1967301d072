//! A mail as it goes over the wire.

use bellwether_domain::mail::{Mail, Sender};
use bellwether_domain::ports::MailError;
use bellwether_domain::text::{DisplayName, Email};
use lettre::Message;
use lettre::address::{Address, AddressError};
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, SinglePart};

use crate::SetUpError;

/// Says to whoever answers by itself that nobody reads the answer (RFC 3834).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// Whom mails are from, as it stands in them.
pub(crate) fn sender(sender: &Sender) -> Result<Mailbox, SetUpError> {
    mailbox(&sender.address, sender.name.as_ref()).map_err(|_| SetUpError::Sender(sender.address.as_str().to_owned()))
}

fn mailbox(email: &Email, name: Option<&DisplayName>) -> Result<Mailbox, AddressError> {
    let (local, host) = email.as_str().rsplit_once('@').ok_or(AddressError::MissingParts)?;
    Ok(Mailbox::new(name.map(|name| name.as_str().to_owned()), Address::new(local, host)?))
}

/// How the text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    /// In lines and letters that every server passes on.
    ForServers,
    /// As it is.
    Readable,
}

/// The mail with its headers. Names and subjects are encoded where they are not plain, so none of them
/// can begin another header; and a subject of more than a line is refused before that.
pub(crate) fn compose(mail: &Mail, from: &Mailbox, text: Text) -> Result<Message, MailError> {
    if mail.subject.contains(char::is_control) {
        return Err(MailError::Refused("a subject must be one line".into()));
    }
    let to = mailbox(&mail.to, mail.name.as_ref()).map_err(|error| MailError::Refused(error.into()))?;
    let body = match text {
        Text::ForServers => Body::new(mail.text.clone()),
        Text::Readable => Body::new_with_encoding(mail.text.clone(), ContentTransferEncoding::Binary)
            .map_err(|_| MailError::Refused("the text cannot be written".into()))?,
    };
    let message = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(mail.subject.clone())
        // The same when it is sent again, so that a reader who gets it twice sees it once.
        .message_id(Some(format!("<{}@{}>", mail.id, from.email.domain())))
        .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
        .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(body));
    message.map_err(|error| MailError::Refused(error.into()))
}

#[cfg(test)]
pub(crate) mod tests {
    use bellwether_domain::ids::JobId;
    use uuid::Uuid;

    use super::*;

    pub(crate) fn mail(to: &str, name: &str, subject: &str) -> Mail {
        Mail {
            id: JobId(Uuid::from_u128(7)),
            to: Email::parse(to).unwrap(),
            name: Some(DisplayName::parse(name).unwrap()),
            subject: subject.to_owned(),
            text: format!("Hello Jürgen,\n\n  https://example.org/{}#token=bw_mail_CANARY\n", "long".repeat(30)),
        }
    }

    pub(crate) fn house() -> Sender {
        Sender::parse("Our House <house@example.org>").unwrap()
    }

    fn composed(mail: &Mail, text: Text) -> String {
        String::from_utf8(compose(mail, &sender(&house()).unwrap(), text).unwrap().formatted()).unwrap()
    }

    #[test]
    fn a_mail_has_the_headers_of_a_mail_that_nobody_should_answer() {
        let text = composed(&mail("ann@example.org", "Ann", "Hello"), Text::Readable);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for header in [
            "From: \"Our House\" <house@example.org>",
            "To: Ann <ann@example.org>",
            "Subject: Hello",
            "Message-ID: <00000000-0000-0000-0000-000000000007@example.org>",
            "Auto-Submitted: auto-generated",
            "Content-Type: text/plain; charset=utf-8",
        ] {
            assert!(head.lines().any(|line| line == header), "{header} in {head}");
        }
        assert!(head.lines().any(|line| line.starts_with("Date: ")), "{head}");
        assert!(body.contains("Hello Jürgen,") && body.contains("long#token=bw_mail_CANARY\r\n"), "{body}");
        assert!(composed(&mail("ann@example.org", "Ann", "Hello"), Text::ForServers).is_ascii());
    }

    /// Threat 23: whatever a user is called, the headers are those that were meant, each once.
    #[test]
    fn no_name_and_no_subject_begins_another_header() {
        for name in [
            "Ann\" <eve@example.net>, \"",
            "=?utf-8?Q?x=0D=0ABcc:_eve@example.net?=",
            "Bcc: eve@example.net",
            "Ünï <eve@example.net>",
            "a, b; c: d",
            &"long ".repeat(12),
        ] {
            let mail = mail("ann@example.org", name, "Hello");
            let message = compose(&mail, &sender(&house()).unwrap(), Text::ForServers).unwrap();
            let to: Vec<String> = message.envelope().to().iter().map(ToString::to_string).collect();
            assert_eq!(to, ["ann@example.org"], "{name}");
            let text = String::from_utf8(message.formatted()).unwrap();
            let head = text.split_once("\r\n\r\n").unwrap().0;
            let names: Vec<&str> = head
                .split("\r\n")
                .filter(|line| !line.starts_with([' ', '\t']))
                .filter_map(|line| line.split_once(':').map(|(name, _)| name))
                .collect();
            let wanted = ["From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Date"];
            assert!(names.iter().all(|n| wanted.contains(n) || n.starts_with("Content-")), "{names:?} in {head}");
            assert_eq!(names.iter().filter(|n| **n == "To").count(), 1, "{head}");
        }
        for subject in ["Hello\r\nBcc: eve@example.net", "Hello\nBcc: eve@example.net", "a\0b"] {
            let refused = compose(&mail("ann@example.org", "Ann", subject), &sender(&house()).unwrap(), Text::Readable);
            assert!(matches!(refused, Err(MailError::Refused(_))), "{subject:?}");
        }
    }
}
