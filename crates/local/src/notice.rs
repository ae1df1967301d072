//! What processes tell each other of their caches.

use bellwether_domain::ports::{CacheKey, CacheKind};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// That entries have ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Who says so; of each process another one.
    pub(crate) sender: u128,
    /// The keys of the entries.
    pub(crate) keys: Vec<CacheKey>,
}

impl Notice {
    /// As it is sent: the sender, then each key with its length before it.
    pub(crate) fn written(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u128(self.sender);
        for key in &self.keys {
            let text = key.to_string();
            bytes.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            bytes.put_slice(text.as_bytes());
        }
        bytes.freeze()
    }

    /// `None` where it makes no sense.
    pub(crate) fn read(mut bytes: Bytes) -> Option<Self> {
        let sender = bytes.try_get_u128().ok()?;
        let mut keys = Vec::new();
        while bytes.has_remaining() {
            let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
            if length > bytes.remaining() {
                return None;
            }
            let text = bytes.split_to(length);
            let (kind, id) = std::str::from_utf8(&text).ok()?.split_once(':')?;
            keys.push(CacheKey::new(CacheKind::named(kind)?, id));
        }
        Some(Self { sender, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_all_else_makes_no_sense() {
        let ids = ["", "a:b", "a\nb", "ä\u{0}"];
        let keys = ids.iter().map(|id| CacheKey::new(CacheKind::Book, id)).collect();
        let notice = Notice { sender: 7, keys };
        let bytes = notice.written();
        for length in [0, 15, 17, bytes.len() - 1] {
            assert_eq!(Notice::read(bytes.slice(..length)), None, "{length} bytes");
        }
        assert_eq!(Notice::read(Bytes::from(vec![0xff; 64])), None);
        assert_eq!(Notice::read(bytes), Some(notice));
    }
}
