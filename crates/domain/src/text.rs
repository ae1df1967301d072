//! Texts that strangers give, made safe once, here, so that every store and page sees the same:
//! NFC, no control or bidirectional-override characters, no U+0000, bounded in characters.

use std::fmt;

use thiserror::Error;
use unicode_normalization::UnicodeNormalization;

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TextError {
    /// Nothing but blanks.
    #[error("must not be empty")]
    Empty,
    /// Too few characters.
    #[error("must have at least {min} characters")]
    TooShort {
        /// The least.
        min: usize,
    },
    /// Too many characters.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The most.
        max: usize,
    },
    /// A control character, a bidirectional override, or U+0000.
    #[error("contains a control or invisible formatting character (U+{0:04X})")]
    Forbidden(u32),
    /// Not of the form that is asked for.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Whether line breaks and tabs may stand in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// One line only.
    One,
    /// Line feeds and tabs are allowed; carriage returns are dropped.
    Many,
}

/// Cleans a text: NFC, trimmed; refuses what is forbidden or of the wrong length (in characters).
pub fn clean(text: &str, lines: Lines, min: usize, max: usize) -> Result<String, TextError> {
    // A text is bounded before it is normalised: NFC can at most triple its length.
    if text.len() > max.saturating_mul(16) {
        return Err(TextError::TooLong { max });
    }
    let normal: String = match lines {
        Lines::One => text.nfc().collect(),
        Lines::Many => text.nfc().filter(|c| *c != '\r').collect(),
    };
    if let Some(bad) = normal.chars().find(|c| is_forbidden(*c, lines)) {
        return Err(TextError::Forbidden(u32::from(bad)));
    }
    let trimmed = normal.trim();
    let length = trimmed.chars().count();
    match length {
        0 if min > 0 => Err(TextError::Empty),
        n if n < min => Err(TextError::TooShort { min }),
        n if n > max => Err(TextError::TooLong { max }),
        _ => Ok(trimmed.to_owned()),
    }
}

fn is_forbidden(c: char, lines: Lines) -> bool {
    let allowed_break = lines == Lines::Many && matches!(c, '\n' | '\t');
    (c.is_control() && !allowed_break)
        || matches!(u32::from(c),
            // Line and paragraph separators, bidirectional marks, embeddings, overrides and
            // isolates, the byte order mark, tags, and the permanently unassigned.
            0x2028 | 0x2029 | 0x061C | 0x200B | 0x200E | 0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0xFEFF
            | 0xFFF9..=0xFFFB | 0xE0000..=0xE007F | 0xFDD0..=0xFDEF)
        || u32::from(c) & 0xFFFE == 0xFFFE
}

/// The longest part of a host, in characters.
const LONGEST_LABEL: usize = 63;

/// An e-mail address: as given, and the key that it is compared by (NFC, lower case).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    address: String,
}

impl Email {
    /// Reads an address: at most 254 bytes, one `@`, something before it and a dotted or local host behind it.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        const FORM: TextError = TextError::Malformed("is not an e-mail address of the form name@example.org");
        let address = clean(text, Lines::One, 3, 254)?;
        let (local, host) = address.rsplit_once('@').ok_or(FORM)?;
        let host_is_good = !host.is_empty()
            && host.len() <= 253
            && host.split('.').all(|l| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-'))
            && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-'));
        let local_is_good = !local.is_empty()
            && local.len() <= 64
            && !local.chars().any(|c| {
                c.is_whitespace() || matches!(c, '@' | '<' | '>' | '(' | ')' | ',' | ';' | ':' | '"' | '\\' | '[' | ']')
            });
        if address.len() > 254 || !host_is_good || !local_is_good {
            return Err(FORM);
        }
        Ok(Self { address })
    }

    /// Refuses an address to which no mail can be sent, which is asked of those that are new: [`parse`](Self::parse)
    /// reads those that are kept too, and takes more. Before the `@` there may be no dot at the beginning, at the end
    /// or after another, and no part of the host may be longer than 63 characters.
    pub fn check_reachable(&self) -> Result<(), TextError> {
        let (local, host) = self.address.rsplit_once('@').unwrap_or_default();
        if local.split('.').any(str::is_empty) {
            return Err(TextError::Malformed(
                "must have no dot at the beginning or the end of what stands before the @, and no two in a row",
            ));
        }
        if host.split('.').any(|label| label.chars().count() > LONGEST_LABEL) {
            return Err(TextError::Malformed("has a host of which a part is longer than 63 characters"));
        }
        Ok(())
    }

    /// The address of the server on its own machine, `bellwether@localhost`.
    #[must_use]
    pub fn of_the_house() -> Self {
        Self { address: "bellwether@localhost".to_owned() }
    }

    /// The address as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.address
    }

    /// What addresses are compared and looked up by: compatibility-normalised and lower case by
    /// Unicode's rules, so that both stores agree outside ASCII too.
    #[must_use]
    pub fn key(&self) -> String {
        fold(&self.address)
    }
}

/// Folds a text for comparison without regard to case: NFKC, lower case, NFKC again. It may be 18 times as long then.
#[must_use]
pub fn fold(text: &str) -> String {
    folded(text).collect()
}

/// Whether that is what the text is folded to. Reads no further than to the first difference.
#[must_use]
pub(crate) fn folds_to(text: &str, fold: &str) -> bool {
    folded(text).eq(fold.chars())
}

fn folded(text: &str) -> impl Iterator<Item = char> {
    text.nfkc().flat_map(char::to_lowercase).nfkc()
}

/// The name that a user shows: 1 to 60 characters on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        clean(text, Lines::One, 1, 60).map(Self)
    }

    /// The name of a user who was deleted.
    #[must_use]
    pub fn deleted() -> Self {
        Self("Deleted user".to_owned())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A market's readable address: lower-case ASCII letters, digits and single hyphens, 1 to 80.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(String);

impl Slug {
    /// Reads a slug. A text of the form of a UUID is refused, since it would be taken for an id.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        const FORM: TextError =
            TextError::Malformed("must be lower-case letters, digits and single hyphens, at most 80, and not an id");
        let ok = (1..=80).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.contains("--")
            && uuid::Uuid::try_parse(text).is_err();
        if ok { Ok(Self(text.to_owned())) } else { Err(FORM) }
    }

    /// A slug made of a question's words and a suffix that keeps it unique (ASCII letters or digits).
    #[must_use]
    pub fn from_question(question: &str, suffix: &str) -> Self {
        let mut slug = String::new();
        for c in question.nfkd().flat_map(char::to_lowercase) {
            if slug.len() >= 60 {
                break;
            }
            if c.is_ascii_alphanumeric() {
                slug.push(c);
            } else if (c.is_whitespace() || c.is_ascii_punctuation()) && !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        let stem = match slug.trim_end_matches('-') {
            "" => "market",
            stem => stem,
        };
        Self(format!("{stem}-{suffix}"))
    }

    /// The slug.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
