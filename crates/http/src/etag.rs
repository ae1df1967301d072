//! Entity tags: `"version.digest"`. The digest covers the answer's data byte for byte, which makes
//! the tag strong; the version is what a change is guarded by.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, IF_MATCH};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::faults::Fault;

/// The tag of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Etag(String);

impl Etag {
    /// The tag of `data` at a version; 0 for what has none.
    pub(crate) fn of(version: i64, data: &str) -> Self {
        let digest = Sha256::digest(data.as_bytes());
        let short = digest.get(..15).unwrap_or_default();
        Self(format!("{version}.{}", URL_SAFE_NO_PAD.encode(short)))
    }

    /// A tag that was made before.
    pub(crate) fn known(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The tag without its quotes.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag as a header.
    pub(crate) fn header(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// The tag in `If-None-Match` that stands for this answer, in any encoding, as the client sent
    /// it. The comparison is weak, as the standard asks.
    pub(crate) fn find_in(&self, if_none_match: &str) -> Option<String> {
        tags(if_none_match)?.into_iter().find_map(|tag| match tag {
            Tag::Any => Some(self.header()),
            Tag::Strong(text) | Tag::Weak(text) => (without_encoding(text) == self.0).then(|| format!("\"{text}\"")),
        })
    }
}

/// The tag of the same answer in another encoding: a strong tag must differ.
pub(crate) fn encoded_tag(header: &str, encoding: &str) -> Option<String> {
    header.strip_suffix('"').map(|tag| format!("{tag}-{encoding}\""))
}

fn without_encoding(tag: &str) -> &str {
    ["-br", "-gzip", "-deflate"].iter().find_map(|suffix| tag.strip_suffix(suffix)).unwrap_or(tag)
}

/// The version that a change must find, by `If-Match`: none for `*`. Without the header 428, with
/// tags that cannot be the current one 412.
pub(crate) fn required_version(headers: &HeaderMap) -> Result<Option<i64>, Fault> {
    let malformed = || Fault::malformed("BAD_REQUEST", "If-Match must be an entity tag in double quotes, or *");
    let mut given = headers.get_all(IF_MATCH).peekable();
    if given.peek().is_none() {
        let message = "say in If-Match which version this changes: the ETag of the last answer";
        return Err(Fault::new(StatusCode::PRECONDITION_REQUIRED, "PRECONDITION_REQUIRED", message));
    }
    let mut newest = None;
    for header in given {
        for tag in header.to_str().ok().and_then(tags).ok_or_else(malformed)? {
            match tag {
                Tag::Any => return Ok(None),
                Tag::Strong(text) => newest = newest.max(version_in(text)),
                Tag::Weak(_) => {}
            }
        }
    }
    // Versions only grow, so of several tags that were given out only the newest can be current.
    newest.map(Some).ok_or_else(|| {
        let message = "If-Match names no version of this: load it again";
        Fault::new(StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED", message)
    })
}

/// The same where the header may be left out: then any version will do.
pub(crate) fn optional_version(headers: &HeaderMap) -> Result<Option<i64>, Fault> {
    if headers.contains_key(IF_MATCH) { required_version(headers) } else { Ok(None) }
}

/// 412 where a version is named, for what looks at none: it may not be done if another one is current (RFC 9110).
pub(crate) fn refuse_version(headers: &HeaderMap) -> Result<(), Fault> {
    if headers.get_all(IF_MATCH).all(|value| value.as_bytes() == b"*") {
        return Ok(());
    }
    let message = "no version is looked at here, so this cannot be done for one alone: send no If-Match";
    Err(Fault::new(StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED", message))
}

fn version_in(tag: &str) -> Option<i64> {
    tag.split_once('.').and_then(|(version, _)| version.parse().ok())
}

/// What a header names, without quotes.
enum Tag<'a> {
    /// `*`, which in quotes is a tag like any other.
    Any,
    Strong(&'a str),
    Weak(&'a str),
}

/// The tags of a header; none where it is malformed.
fn tags(header: &str) -> Option<Vec<Tag<'_>>> {
    header.split(',').map(|part| tag(part.trim())).collect()
}

fn tag(part: &str) -> Option<Tag<'_>> {
    if part == "*" {
        return Some(Tag::Any);
    }
    let weak = part.strip_prefix("W/");
    let text = weak.unwrap_or(part).strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('"')).then_some(if weak.is_some() { Tag::Weak(text) } else { Tag::Strong(text) })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn required(value: &str) -> Result<Option<i64>, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, HeaderValue::from_str(value).unwrap());
        required_version(&headers).map_err(|fault| fault.status().as_u16())
    }

    #[test]
    fn differs_with_version_and_data() {
        let tag = Etag::of(3, "{}");
        assert_ne!(tag, Etag::of(4, "{}"));
        assert_ne!(tag, Etag::of(3, "{ }"));
        assert!(tag.header().starts_with("\"3."));
    }

    #[test]
    fn finds_itself_in_any_encoding() {
        let tag = Etag::of(3, "{}");
        let plain = tag.header();
        let zipped = encoded_tag(&plain, "gzip").unwrap();
        assert_eq!(tag.find_in(&plain), Some(plain.clone()));
        assert_eq!(tag.find_in(&format!("\"x\", W/{zipped}")), Some(zipped));
        assert_eq!(tag.find_in("*"), Some(plain));
        for other in ["\"3.x\"", "3.x", "", "\"", "W/", "\"*\"", "W/\"*\"", "W/*"] {
            assert_eq!(tag.find_in(other), None, "{other}");
        }
    }

    #[test]
    fn what_looks_at_no_version_takes_none() {
        let mut headers = HeaderMap::new();
        assert!(refuse_version(&headers).is_ok() && optional_version(&headers).is_ok_and(|version| version.is_none()));
        for (value, status) in [("*", None), ("\"3.a\"", Some(412)), ("*, \"3.a\"", Some(412)), ("3", Some(412))] {
            headers.insert(IF_MATCH, HeaderValue::from_str(value).unwrap());
            assert_eq!(refuse_version(&headers).err().map(|fault| fault.status().as_u16()), status, "{value}");
        }
        assert!(optional_version(&headers).is_err());
    }

    #[test]
    fn takes_the_version_of_a_strong_tag() {
        assert_eq!(required(&Etag::of(7, "x").header()), Ok(Some(7)));
        assert_eq!(required("\"3.a\", \"5.b-gzip\""), Ok(Some(5)));
        assert_eq!(required("*"), Ok(None));
        assert_eq!(required_version(&HeaderMap::new()).unwrap_err().status().as_u16(), 428);
        for (bad, status) in [
            ("W/\"3.a\"", 412),
            ("\"abc\"", 412),
            ("\"*\"", 412),
            ("W/\"*\"", 412),
            ("W/*", 400),
            ("3", 400),
            ("\"a", 400),
            ("", 400),
            ("\"\"", 412),
        ] {
            assert_eq!(required(bad), Err(status), "{bad}");
        }
        assert_eq!(required("\"*\", \"5.b\""), Ok(Some(5)));
    }
}
