//! The passwords that are guessed first.
//!
//! `common_passwords.txt` has them one a line: those that people choose most, runs of keys, and words
//! and names with the endings that people add to please a rule. All have eight characters or more.

use bellwether_domain::ports::CommonPasswords;

/// In lower case, in order of their bytes.
const LIST: &str = include_str!("common_passwords.txt");

/// The list that is compiled in.
#[derive(Debug)]
pub struct CommonPasswordList(Vec<&'static str>);

impl CommonPasswordList {
    /// The list, ready to be looked up.
    #[must_use]
    pub fn new() -> Self {
        Self(LIST.lines().collect())
    }
}

impl Default for CommonPasswordList {
    fn default() -> Self {
        Self::new()
    }
}

impl CommonPasswords for CommonPasswordList {
    fn contains(&self, folded: &str) -> bool {
        self.0.binary_search(&folded).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use bellwether_domain::password::SHORTEST;
    use bellwether_domain::text::fold;

    use super::*;

    #[test]
    fn the_list_is_long_sorted_folded_and_of_passwords_that_could_be_set() {
        let list = CommonPasswordList::new();
        assert!(list.0.len() > 5_000, "{} passwords", list.0.len());
        assert!(list.0.windows(2).all(|pair| pair[0] < pair[1]), "sorted, none twice");
        let fits = |password: &&&str| fold(password) == **password && password.chars().count() >= SHORTEST;
        assert_eq!(list.0.iter().find(|password| !fits(password)), None);
    }

    #[test]
    fn what_everybody_tries_is_in_it_and_a_pass_phrase_is_not() {
        let list = CommonPasswordList::new();
        for common in ["password", "12345678", "qwerty123", "p@ssw0rd", "iloveyou1", "welcome2025", "zzzzzzzz"] {
            assert!(list.contains(common), "{common}");
        }
        for other in ["", "correct horse battery", "Password", "pass\0word"] {
            assert!(!list.contains(other), "{other}");
        }
    }
}
