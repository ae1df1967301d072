//! Bodies about users, read into commands; and the rules of passwords.

use bellwether_domain::text::{DisplayName, Email, fold};
use bellwether_usecases::users::{Password, SignUp, UserPatch};

use crate::fields::{Fields, Node};

/// The fewest characters of a password.
const SHORTEST: usize = 8;
/// The most bytes: all that bcrypt reads.
const LONGEST: usize = 72;

/// The passwords that are tried first, of eight characters and more, in lower case.
const COMMON: &[&str] = &[
    "00000000",
    "0123456789",
    "0987654321",
    "10203040",
    "11111111",
    "1111111111",
    "11223344",
    "12121212",
    "123123123",
    "12341234",
    "1234512345",
    "12345678",
    "123456789",
    "1234567890",
    "12345678910",
    "123456789a",
    "1234qwer",
    "123qweasd",
    "147258369",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "1qazxsw2",
    "22222222",
    "31415926",
    "55555555",
    "66666666",
    "77777777",
    "87654321",
    "88888888",
    "987654321",
    "9876543210",
    "99999999",
    "a1234567",
    "a12345678",
    "a123456789",
    "aa123456",
    "aaaaaaaa",
    "abc12345",
    "abcd1234",
    "abcdefgh",
    "access14",
    "admin123",
    "administrator",
    "alexander",
    "asdasdasd",
    "asdf1234",
    "asdfasdf",
    "asdfghjk",
    "asdfghjkl",
    "babygirl",
    "barcelona",
    "baseball",
    "basketball",
    "benjamin",
    "blink182",
    "butterfly",
    "changeme",
    "charlie1",
    "chelsea1",
    "chocolate",
    "christian",
    "computer",
    "corvette",
    "danielle",
    "december",
    "einstein",
    "elephant",
    "facebook",
    "football",
    "freedom1",
    "garfield",
    "handsome",
    "hello123",
    "iloveyou",
    "iloveyou1",
    "internet",
    "jennifer",
    "jonathan",
    "jordan23",
    "letmein1",
    "liverpool",
    "login123",
    "manchester",
    "marlboro",
    "master12",
    "mercedes",
    "michael1",
    "michelle",
    "midnight",
    "mustang1",
    "nicholas",
    "november",
    "passw0rd",
    "password",
    "password!",
    "password1",
    "password12",
    "password123",
    "password1234",
    "pokemon1",
    "princess",
    "princess1",
    "q1w2e3r4",
    "qazwsxedc",
    "qwer1234",
    "qwerasdf",
    "qwertyui",
    "qwertyuiop",
    "qwerty12",
    "qwerty123",
    "qwerty1234",
    "qwerty12345",
    "samantha",
    "samsung1",
    "security",
    "snowball",
    "spiderman",
    "starwars",
    "startrek",
    "steelers",
    "sunshine",
    "superman",
    "swordfish",
    "trustno1",
    "undertaker",
    "victoria",
    "webmaster",
    "welcome1",
    "welcome123",
    "whatever",
    "zaq12wsx",
    "zxcvbnm1",
    "zxcvbnm123",
];

/// Reads a sign-up.
pub(crate) fn sign_up(fields: &Fields<'_>) -> Option<SignUp> {
    let email = fields.required("email", |n| n.parsed(Email::parse));
    let display_name = fields.required("displayName", |n| n.parsed(DisplayName::parse));
    let owned = [email.as_ref().map(Email::as_str), display_name.as_ref().map(DisplayName::as_str)];
    let password = fields.required("password", |n| new_password(n, &owned));
    Some(SignUp { email: email?, display_name: display_name?, password: password? })
}

/// Reads the whole of what can be edited.
pub(crate) fn replacement(fields: &Fields<'_>) -> Option<UserPatch> {
    let email = fields.required("email", |n| n.parsed(Email::parse));
    let display_name = fields.required("displayName", |n| n.parsed(DisplayName::parse));
    change(fields, email.map(Some), display_name.map(Some))
}

/// Reads a part of what can be edited.
pub(crate) fn patch(fields: &Fields<'_>) -> Option<UserPatch> {
    let email = fields.kept("email", |n| n.parsed(Email::parse));
    let display_name = fields.kept("displayName", |n| n.parsed(DisplayName::parse));
    change(fields, email, display_name)
}

fn change(
    fields: &Fields<'_>,
    email: Option<Option<Email>>,
    display_name: Option<Option<DisplayName>>,
) -> Option<UserPatch> {
    let owned = [
        email.iter().flatten().map(Email::as_str).next(),
        display_name.iter().flatten().map(DisplayName::as_str).next(),
    ];
    let new_password = fields.kept("password", |n| new_password(n, &owned));
    let current_password = fields.optional("currentPassword", given_password);
    Some(UserPatch {
        display_name: display_name?,
        email: email?,
        new_password: new_password?,
        current_password: current_password?,
    })
}

/// A password that shall be set: long enough, short enough, and not the first that is guessed.
fn new_password(node: &Node<'_>, owned: &[Option<&str>]) -> Option<Password> {
    let password = node.string()?;
    if password.chars().count() < SHORTEST {
        return node.fail("too_short", format!("must have at least {SHORTEST} characters"));
    }
    if password.len() > LONGEST {
        return node.fail(
            "too_long",
            format!("must not be longer than {LONGEST} bytes; letters outside ASCII take 2 to 4 each"),
        );
    }
    if password.contains('\0') {
        return node.fail("invalid", "must not contain a NUL character");
    }
    let folded = fold(password);
    if COMMON.contains(&folded.as_str()) {
        return node.fail("too_common", "is one of the passwords that are guessed first; choose another");
    }
    if owned.iter().flatten().any(|own| fold(own) == folded) {
        return node.fail("too_common", "must not be the e-mail address or the name");
    }
    Some(Password(password.to_owned()))
}

/// A password to be checked: any text, since what could never be set is simply wrong.
fn given_password(node: &Node<'_>) -> Option<Password> {
    node.string().map(|password| Password(password.to_owned()))
}

/// Reads a sign-in.
pub(crate) fn log_in(fields: &Fields<'_>) -> Option<(String, Password)> {
    let email = fields.required("email", |n| n.string());
    let password = fields.required("password", given_password);
    Some((email?.to_owned(), password?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;
    use crate::fields::{Place, read};
    use crate::json::parse;

    fn body<T>(text: &str, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, Fault> {
        read(&parse(text.as_bytes()).unwrap(), Place::Body, reader)
    }

    fn sign_up_with(password: &str) -> Result<SignUp, Vec<&'static str>> {
        let text =
            serde_json::json!({ "email": "ann.smith@example.org", "displayName": "Ann Smith", "password": password });
        body(&text.to_string(), sign_up).map_err(|fault| fault.details().iter().map(|d| d.code).collect())
    }

    /// Threat 3.
    #[test]
    fn takes_passwords_of_any_unicode_unaltered() {
        for password in [
            "correct horse",
            "pässwörter",
            "密码密码密码密码",
            " spaces ",
            "\u{202e}override",
            &"x".repeat(72),
            &"é".repeat(36),
        ] {
            assert_eq!(sign_up_with(password).unwrap().password.0, password);
        }
    }

    /// Threat 3.
    #[test]
    fn refuses_passwords_that_are_weak_or_cannot_be_kept() {
        let long = ["x".repeat(73), "é".repeat(37)];
        let table = [
            ("short", "too_short"),
            (long[0].as_str(), "too_long"),
            (long[1].as_str(), "too_long"),
            ("nul\0inside", "invalid"),
            ("Password123", "too_common"),
            ("ann.smith@EXAMPLE.org", "too_common"),
            ("ANN SMITH", "too_common"),
        ];
        for (password, code) in table {
            assert_eq!(sign_up_with(password).unwrap_err(), [code], "{password}");
        }
    }

    #[test]
    fn knows_common_passwords_in_their_folded_form() {
        assert!(COMMON.len() > 100);
        assert!(COMMON.iter().all(|password| fold(password) == *password && password.len() >= SHORTEST));
    }

    #[test]
    fn names_every_fault_of_a_sign_up() {
        let fault = body(r#"{"email":"nobody","displayName":"","password":"short"}"#, sign_up).unwrap_err();
        let fields: Vec<_> = fault.details().iter().filter_map(|d| d.field.as_deref()).collect();
        assert_eq!(fields, ["email", "displayName", "password"]);
    }

    #[test]
    fn replaces_all_and_patches_some() {
        let named = |fault: Fault| fault.details().iter().filter_map(|d| d.field.clone()).collect::<Vec<_>>();
        assert_eq!(named(body("{}", replacement).unwrap_err()), ["email", "displayName"]);
        let patched = body(r#"{"displayName":"Bo"}"#, patch).unwrap();
        assert!(patched.email.is_none() && patched.display_name.is_some());
        assert_eq!(named(body(r#"{"displayName":null,"email":7}"#, patch).unwrap_err()), ["email", "displayName"]);
    }
}
