//! Bodies about users, read into commands.

use bellwether_domain::password;
use bellwether_domain::ports::CommonPasswords;
use bellwether_domain::text::{DisplayName, Email, Lines};
use bellwether_domain::user::{Role, UserStatus};
use bellwether_usecases::users::{Password, SignUp, Standing, UserPatch};

use crate::fields::{Fields, Node};

/// The longest reason, in characters.
const REASON: usize = 500;

/// Reads a sign-up.
pub(crate) fn sign_up(fields: &Fields<'_>, common: &dyn CommonPasswords) -> Option<SignUp> {
    let email = fields.required("email", |n| n.parsed(Email::parse));
    let display_name = fields.required("displayName", |n| n.parsed(DisplayName::parse));
    let own = own(email.as_ref(), display_name.as_ref());
    let password = fields.required("password", |n| new_password(n, &own, common));
    Some(SignUp { email: email?, display_name: display_name?, password: password? })
}

/// Reads the whole of what can be edited.
pub(crate) fn replacement(fields: &Fields<'_>, common: &dyn CommonPasswords) -> Option<UserPatch> {
    let email = fields.required("email", |n| n.parsed(Email::parse));
    let display_name = fields.required("displayName", |n| n.parsed(DisplayName::parse));
    change(fields, email.map(Some), display_name.map(Some), common)
}

/// Reads a part of what can be edited.
pub(crate) fn patch(fields: &Fields<'_>, common: &dyn CommonPasswords) -> Option<UserPatch> {
    let email = fields.kept("email", |n| n.parsed(Email::parse));
    let display_name = fields.kept("displayName", |n| n.parsed(DisplayName::parse));
    change(fields, email, display_name, common)
}

fn change(
    fields: &Fields<'_>,
    email: Option<Option<Email>>,
    display_name: Option<Option<DisplayName>>,
    common: &dyn CommonPasswords,
) -> Option<UserPatch> {
    let own = own(email.iter().flatten().next(), display_name.iter().flatten().next());
    let new_password = fields.kept("password", |n| new_password(n, &own, common));
    let current_password = fields.optional("currentPassword", given_password);
    Some(UserPatch {
        display_name: display_name?,
        email: email?,
        new_password: new_password?,
        current_password: current_password?,
    })
}

/// The address and the name that a request gives.
fn own<'a>(email: Option<&'a Email>, name: Option<&'a DisplayName>) -> Vec<&'a str> {
    email.map(Email::as_str).into_iter().chain(name.map(DisplayName::as_str)).collect()
}

/// A password that shall be set. What else is known of its user, the use case holds it against.
pub(crate) fn new_password(node: &Node<'_>, own: &[&str], common: &dyn CommonPasswords) -> Option<Password> {
    let password = node.string()?;
    let faults = password::faults(password, own, common);
    for fault in &faults {
        node.fail::<()>(fault.code(), fault.to_string());
    }
    faults.is_empty().then(|| Password(password.to_owned()))
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

/// Reads what a user may do.
pub(crate) fn role(fields: &Fields<'_>) -> Option<Role> {
    fields.required("role", |n| n.one_of(&Role::ALL, Role::as_str))
}

/// Reads whether a user may act, and why. Who is deleted is not deleted by this.
pub(crate) fn standing(fields: &Fields<'_>) -> Option<Standing> {
    let choices = [UserStatus::Active, UserStatus::Suspended];
    let status = fields.required("status", |n| n.one_of(&choices, UserStatus::as_str));
    let reason = fields.required("reason", |n| n.text(Lines::One, 1, REASON));
    Some(Standing { is_suspended: status? == UserStatus::Suspended, reason: reason? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;
    use crate::fields::{Place, read};
    use crate::json::parse;

    struct Listed;

    impl CommonPasswords for Listed {
        fn contains(&self, folded: &str) -> bool {
            folded == "letmein"
        }
    }

    fn body<T>(text: &str, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, Fault> {
        read(&parse(text.as_bytes()).unwrap(), Place::Body, reader)
    }

    fn sign_up_with(password: &str) -> Result<SignUp, Vec<&'static str>> {
        let text =
            serde_json::json!({ "email": "ann.smith@example.org", "displayName": "Ann Smith", "password": password });
        body(&text.to_string(), |fields| sign_up(fields, &Listed))
            .map_err(|fault| fault.details().iter().map(|d| d.code).collect())
    }

    /// Threat 3.
    #[test]
    fn takes_passwords_unaltered_and_names_every_fault_of_the_others() {
        for password in [" spaces ", "e\u{301}e\u{301}e\u{301}e\u{301}", &"é".repeat(36)] {
            assert_eq!(sign_up_with(password).unwrap().password.0, password);
        }
        for (password, codes) in [
            ("short", &["too_short"][..]),
            ("Letmein", &["too_short", "too_common"]),
            ("nul\0inside", &["invalid"]),
            ("ANN SMITH", &["personal"]),
        ] {
            assert_eq!(sign_up_with(password).unwrap_err(), codes, "{password}");
        }
    }

    #[test]
    fn names_every_fault_of_a_sign_up() {
        let fault =
            body(r#"{"email":"nobody","displayName":"","password":"short"}"#, |fields| sign_up(fields, &Listed))
                .unwrap_err();
        let fields: Vec<_> = fault.details().iter().filter_map(|d| d.field.as_deref()).collect();
        assert_eq!(fields, ["email", "displayName", "password"]);
    }

    #[test]
    fn replaces_all_and_patches_some() {
        let named = |fault: Fault| fault.details().iter().filter_map(|d| d.field.clone()).collect::<Vec<_>>();
        assert_eq!(named(body("{}", |fields| replacement(fields, &Listed)).unwrap_err()), ["email", "displayName"]);
        let patched = body(r#"{"displayName":"Bo"}"#, |fields| patch(fields, &Listed)).unwrap();
        assert!(patched.email.is_none() && patched.display_name.is_some());
        assert_eq!(
            named(body(r#"{"displayName":null,"email":7}"#, |fields| patch(fields, &Listed)).unwrap_err()),
            ["email", "displayName"]
        );
    }
}
