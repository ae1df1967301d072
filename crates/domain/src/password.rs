//! Which passwords may be set. What they are hashed with is behind
//! [`PasswordHasher`](crate::ports::PasswordHasher).

use thiserror::Error;

use crate::ports::CommonPasswords;
use crate::text::fold;

/// The fewest characters.
pub const SHORTEST: usize = 8;
/// The most bytes: all that bcrypt reads.
pub const LONGEST: usize = 72;
/// Own names of fewer letters and digits may stand in a password.
const SHORTEST_NAME: usize = 3;
/// A password that is an own name and so many letters or digits more is a variation of the name.
const FEW: usize = 4;

/// What is wrong with a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasswordFault {
    /// Fewer than [`SHORTEST`] characters.
    #[error("must have at least {SHORTEST} characters")]
    TooShort,
    /// More than [`LONGEST`] bytes. It is never cut.
    #[error("must not be longer than {LONGEST} bytes; letters outside ASCII take 2 to 4 each")]
    TooLong,
    /// Contains U+0000, where bcrypt would stop reading.
    #[error("must not contain a NUL character")]
    ContainsNul,
    /// Among those that are guessed first.
    #[error("is one of the passwords that are guessed first; choose another")]
    Common,
    /// The user's own name or address, or hardly more.
    #[error("must not be made of your name or e-mail address")]
    Personal,
}

impl PasswordFault {
    /// A short word for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::ContainsNul => "invalid",
            Self::Common => "too_common",
            Self::Personal => "personal",
        }
    }
}

/// Everything that is wrong with a password for somebody with these names and addresses.
#[must_use]
pub fn faults(password: &str, own: &[&str], common: &dyn CommonPasswords) -> Vec<PasswordFault> {
    if password.len() > LONGEST {
        return vec![PasswordFault::TooLong];
    }
    let folded = fold(password);
    [
        (password.chars().count() < SHORTEST, PasswordFault::TooShort),
        (password.contains('\0'), PasswordFault::ContainsNul),
        (common.contains(&folded), PasswordFault::Common),
        (is_personal(&folded, own), PasswordFault::Personal),
    ]
    .into_iter()
    .filter_map(|(is_so, fault)| is_so.then_some(fault))
    .collect()
}

/// Whether little or nothing but digits is left of a password without one of these names: in any
/// case, spelled with any signs between, once or more often, forwards or backwards.
fn is_personal(folded: &str, own: &[&str]) -> bool {
    let password = letters(folded);
    own.iter().flat_map(|name| parts(name)).any(|name| {
        let backwards: String = name.chars().rev().collect();
        [name, backwards].iter().any(|name| {
            let rest = password.replace(name.as_str(), "");
            rest.len() < password.len() && (rest.chars().count() <= FEW || rest.chars().all(|c| c.is_ascii_digit()))
        })
    })
}

/// A name or an address as a whole and in its parts, as far as they are long enough to matter.
fn parts(name: &str) -> Vec<String> {
    let folded = fold(name);
    let local = folded.rsplit_once('@').map_or("", |(local, _)| local);
    // Of an address the host is no part of its own: many people share it.
    let words = if local.is_empty() { folded.as_str() } else { local };
    let words = words.split(|c: char| !c.is_alphanumeric());
    let parts = [folded.as_str(), local].into_iter().chain(words).map(letters);
    parts.filter(|part| part.chars().count() >= SHORTEST_NAME).collect()
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Listed(&'static [&'static str]);

    impl CommonPasswords for Listed {
        fn contains(&self, folded: &str) -> bool {
            self.0.contains(&folded)
        }
    }

    fn of_ann(password: &str) -> Vec<PasswordFault> {
        let own = ["ann.smith@example.org", "Ann Smith"];
        faults(password, &own, &Listed(&["password", "letmein", "annsmith1"]))
    }

    /// Threat 3.
    #[test]
    fn passwords_of_any_unicode_are_taken_up_to_72_bytes() {
        let (longest, umlauts) = ("x".repeat(72), "é".repeat(36));
        for password in
            ["correct horse", "pässwörter", "密码密码密码密码", " spaces ", "\u{202e}override", &longest, &umlauts]
        {
            assert_eq!(of_ann(password), [], "{password}");
        }
    }

    /// Threat 3.
    #[test]
    fn every_fault_of_a_password_is_named() {
        use PasswordFault::{Common, ContainsNul, Personal, TooLong, TooShort};
        let (long, wide) = ("x".repeat(73), "é".repeat(37));
        for (password, wanted) in [
            ("", &[TooShort][..]),
            ("1234567", &[TooShort]),
            ("éééé", &[TooShort]),
            (&long, &[TooLong]),
            (&wide, &[TooLong]),
            ("nul\0inside", &[ContainsNul]),
            ("n\0l", &[TooShort, ContainsNul]),
            ("PassWord", &[Common]),
            ("ＰＡＳＳＷＯＲＤ", &[Common]),
            ("LetMeIn", &[TooShort, Common]),
            ("AnnSmith1", &[Common, Personal]),
        ] {
            assert_eq!(of_ann(password), wanted, "{password:?}");
        }
    }

    #[test]
    fn ones_own_name_or_address_is_refused_with_its_trivial_variations() {
        for password in [
            "ann.smith@example.org",
            "ANN.SMITH@EXAMPLE.ORG",
            "Ann Smith",
            "annsmith",
            "a-n-n-s-m-i-t-h",
            "AnnSmith!!!",
            "smith2026",
            "Smith-1234567890",
            "annannann",
            "htimsnna",
            "1smith1smith1",
            "ann12345",
        ] {
            assert_eq!(of_ann(password), [PasswordFault::Personal], "{password}");
        }
        for password in ["annoying planning", "blacksmith anvils", "example.org rules", "goldsmiths"] {
            assert_eq!(of_ann(password), [], "{password}");
        }
        let nobody = Listed(&[]);
        assert!(faults("jo12345678", &["Jo", "♥♥♥"], &nobody).is_empty(), "too short to mean anything");
        assert!(faults("♥♥♥♥♥♥♥♥", &["♥♥♥"], &nobody).is_empty());
    }
}
