//! The keys that sign access tokens: two at most, in a file that all servers of an installation share.
//!
//! A rotation adds a key that begins to sign [`LEAD`] later, when every server has read it, and says
//! until when the key before it still verifies: as long as tokens of it can be valid.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwether_domain::ports::PublicKey;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::keys::{KeyError, MasterKey};
use crate::opaque_tokens::sha256;
use crate::private_files::{self, from_hex, to_hex};
use crate::tokens::LEEWAY_S;

/// How long after a rotation the new key begins to sign. A server reads the file more often than that.
pub(crate) const LEAD: SignedDuration = SignedDuration::from_secs(2);

/// A signing key. Its `Debug` shows nothing of the secret.
#[derive(Clone)]
pub(crate) struct SigningKey {
    seed: [u8; 32],
    pub(crate) public: PublicKey,
    pub(crate) signs_from: Timestamp,
    /// None for the newest.
    pub(crate) verifies_until: Option<Timestamp>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public.id)
    }
}

impl SigningKey {
    fn new(seed: [u8; 32], signs_from: Timestamp) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Crypto)?;
        let bytes: [u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Crypto)?;
        // RFC 7638: the key's own thumbprint, so that equal keys have equal ids wherever they are.
        let thumb = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(bytes));
        let id = URL_SAFE_NO_PAD.encode(sha256(thumb.as_bytes()));
        Ok(Self { seed, public: PublicKey { id, bytes }, signs_from, verifies_until: None })
    }

    /// The private key in its standard form, PKCS #8.
    pub(crate) fn private(&self) -> Result<Vec<u8>, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.seed).map_err(|_| KeyError::Crypto)?;
        pair.to_pkcs8v1().map(|document| document.as_ref().to_vec()).map_err(|_| KeyError::Crypto)
    }

    pub(crate) fn verifies(&self, now: Timestamp) -> bool {
        self.verifies_until.is_none_or(|until| now < until)
    }
}

/// What a key is for at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// It will sign from that moment on, and verifies already.
    Next(Timestamp),
    /// It signs, and has since that moment.
    Signs(Timestamp),
    /// It verifies until that moment, and will not sign again.
    Verifies(Timestamp),
    /// It is of no use any more.
    Over,
}

/// The signing keys, the newest first: one, or two.
#[derive(Debug, Clone)]
pub struct SigningKeys(pub(crate) Vec<SigningKey>);

impl SigningKeys {
    /// The first key, which follows from the server's secret: servers that share it agree before
    /// any key was rotated.
    pub(crate) fn first(master: &MasterKey) -> Result<Self, KeyError> {
        let seed = master.derive(b"bellwether/ed25519/v1")?;
        Ok(Self(vec![SigningKey::new(seed, Timestamp::UNIX_EPOCH)?]))
    }

    /// Each key's id and what it is for at `now`.
    #[must_use]
    pub fn states(&self, now: Timestamp) -> Vec<(String, KeyState)> {
        let signer = self.signer(now).map(|key| key.public.id.as_str());
        let state = |key: &SigningKey| match key.verifies_until {
            _ if signer == Some(key.public.id.as_str()) => KeyState::Signs(key.signs_from),
            _ if !key.verifies(now) => KeyState::Over,
            Some(until) => KeyState::Verifies(until),
            None => KeyState::Next(key.signs_from),
        };
        self.0.iter().map(|key| (key.public.id.clone(), state(key))).collect()
    }

    /// The key that signs at `now`: the newest whose time has come. Where the clock was set back
    /// before the first, that one all the same.
    pub(crate) fn signer(&self, now: Timestamp) -> Option<&SigningKey> {
        self.0.iter().find(|key| key.signs_from <= now).or(self.0.last())
    }

    /// The keys after a rotation at `now`. Tokens live for `token_ttl` at most.
    fn rotated(&self, now: Timestamp, token_ttl: SignedDuration, is_compromised: bool) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        rand::fill(&mut seed).map_err(|_| KeyError::Crypto)?;
        if is_compromised {
            return Ok(Self(vec![SigningKey::new(seed, now)?]));
        }
        let mut keys: Vec<SigningKey> = self.0.iter().filter(|key| key.verifies(now)).cloned().collect();
        let [old] = keys.as_mut_slice() else {
            let until = keys.iter().filter_map(|key| key.verifies_until).max().unwrap_or(now);
            return Err(KeyError::TooSoon { until });
        };
        let signs_from = later(now, LEAD);
        old.verifies_until = Some(later(later(signs_from, token_ttl), SignedDuration::from_secs(LEEWAY_S)));
        keys.insert(0, SigningKey::new(seed, signs_from)?);
        Ok(Self(keys))
    }

    fn to_text(&self) -> Result<String, serde_json::Error> {
        let keys = self.0.iter().map(|key| KeyRow {
            id: key.public.id.clone(),
            seed: to_hex(&key.seed),
            signs_from: key.signs_from,
            verifies_until: key.verifies_until,
        });
        serde_json::to_string_pretty(&KeyRows { keys: keys.collect() })
    }

    fn from_text(text: &str) -> Option<Self> {
        let rows: KeyRows = serde_json::from_str(text).ok()?;
        let key = |row: &KeyRow| {
            let key = SigningKey::new(from_hex(&row.seed)?, row.signs_from).ok()?;
            (key.public.id == row.id).then_some(SigningKey { verifies_until: row.verifies_until, ..key })
        };
        let keys: Vec<SigningKey> = rows.keys.iter().map(key).collect::<Option<_>>()?;
        let is_sound = match keys.as_slice() {
            [only] => only.verifies_until.is_none(),
            [new, old] => new.verifies_until.is_none() && old.verifies_until.is_some(),
            _ => false,
        };
        is_sound.then_some(Self(keys))
    }
}

fn later(moment: Timestamp, by: SignedDuration) -> Timestamp {
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A key as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KeyRow {
    id: String,
    seed: String,
    signs_from: Timestamp,
    verifies_until: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRows {
    keys: Vec<KeyRow>,
}

/// What tells one content of the file from the next without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64, i64, i64, u64);

/// The file of signing keys.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// The file at that path.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the keys; where there is no file, makes it with the first key. It is readable by its
    /// owner alone, and on disk before this returns.
    pub fn load_or_create(&self, master: &MasterKey) -> Result<SigningKeys, KeyError> {
        match self.load() {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let keys = SigningKeys::first(master)?;
                match private_files::create(&self.path, &self.text(&keys)?) {
                    Ok(()) => Ok(keys),
                    // Another process made it in between.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.load(),
                    Err(error) => Err(self.io(error)),
                }
            }
            other => other,
        }
    }

    /// Reads the keys.
    pub fn load(&self) -> Result<SigningKeys, KeyError> {
        let file = File::open(&self.path).map_err(|e| self.io(e))?;
        let text = private_files::read(file, &self.path)?;
        SigningKeys::from_text(&text).ok_or_else(|| KeyError::MalformedSigningKeys { path: self.path.clone() })
    }

    /// Adds a key that signs from [a moment later](self) on, while the one before it verifies for as
    /// long as its tokens are valid: `token_ttl`, and the leeway. [`KeyError::TooSoon`] while that
    /// is still going on since the last rotation. With `is_compromised`, no key from before is
    /// trusted any more. Running servers pick it up by themselves.
    pub fn rotate(
        &self,
        now: Timestamp,
        token_ttl: SignedDuration,
        is_compromised: bool,
    ) -> Result<SigningKeys, KeyError> {
        // Of two rotations at the same time, the second sees what the first did.
        let folder = File::open(private_files::folder_of(&self.path)).map_err(|e| self.io(e))?;
        folder.lock().map_err(|e| self.io(e))?;
        let keys = self.load()?.rotated(now, token_ttl, is_compromised)?;
        private_files::replace(&self.path, &self.text(&keys)?).map_err(|e| self.io(e))?;
        Ok(keys)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn stamp(&self) -> Result<Stamp, KeyError> {
        let found = std::fs::metadata(&self.path).map_err(|e| self.io(e))?;
        Ok(Stamp(found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    }

    fn text(&self, keys: &SigningKeys) -> Result<String, KeyError> {
        keys.to_text().map_err(|e| self.io(e.into()))
    }

    fn io(&self, source: io::Error) -> KeyError {
        KeyError::Io { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const TTL: SignedDuration = SignedDuration::from_mins(15);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn master() -> MasterKey {
        MasterKey::from_secret("f3b1c8a97e5d42460b9f8e7d6c5a4b3c2d1e0f9a8b7c6d5e").unwrap()
    }

    fn file() -> (tempfile::TempDir, KeyFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::at(folder.path().join("signing-keys.json"));
        (folder, file)
    }

    fn ids(keys: &SigningKeys) -> Vec<&str> {
        keys.0.iter().map(|key| key.public.id.as_str()).collect()
    }

    #[test]
    fn the_file_is_made_once_with_the_key_of_the_secret_for_its_owner_alone() {
        let (folder, file) = file();
        let made = file.load_or_create(&master()).unwrap();
        assert_eq!(ids(&made), ids(&SigningKeys::first(&master()).unwrap()));
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ids(&file.load_or_create(&MasterKey::ephemeral().unwrap()).unwrap()), ids(&made));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_key_is_called_by_its_thumbprint() {
        // The example of RFC 8037, appendix A.
        let seed = from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let key = SigningKey::new(seed, at(0)).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(key.public.bytes), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.public.id, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    /// Threat 10.
    #[test]
    fn a_rotation_keeps_two_keys_and_the_old_one_for_as_long_as_its_tokens_are_valid() {
        let (_folder, file) = file();
        let first = file.load_or_create(&master()).unwrap();
        let old = ids(&first)[0].to_owned();
        let keys = file.rotate(at(0), TTL, false).unwrap();
        let new = ids(&keys)[0].to_owned();
        assert_eq!(ids(&file.load().unwrap()), [new.as_str(), old.as_str()]);
        let end = 2 + 900 + LEEWAY_S;
        let states = |second| keys.states(at(second)).into_iter().map(|(_, state)| state).collect::<Vec<_>>();
        assert_eq!(states(1), [KeyState::Next(at(2)), KeyState::Signs(Timestamp::UNIX_EPOCH)]);
        assert_eq!(states(2), [KeyState::Signs(at(2)), KeyState::Verifies(at(end))]);
        assert_eq!(states(end), [KeyState::Signs(at(2)), KeyState::Over]);

        let error = file.rotate(at(end - 1), TTL, false).unwrap_err();
        assert!(matches!(error, KeyError::TooSoon { until } if until == at(end)), "{error}");
        let next = file.rotate(at(end), TTL, false).unwrap();
        assert!(ids(&next).len() == 2 && ids(&next)[1] == new && ids(&next)[0] != new, "{next:?}");
    }

    /// Threat 10.
    #[test]
    fn after_a_compromise_no_old_key_is_left() {
        let (_folder, file) = file();
        file.load_or_create(&master()).unwrap();
        let before = file.rotate(at(0), TTL, false).unwrap();
        let after = file.rotate(at(1), TTL, true).unwrap();
        assert!(ids(&after).len() == 1 && !ids(&before).contains(&ids(&after)[0]));
        assert_eq!(after.states(at(1))[0].1, KeyState::Signs(at(1)));
    }

    #[test]
    fn of_rotations_at_the_same_time_one_is_done() {
        let (_folder, file) = file();
        file.load_or_create(&master()).unwrap();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let file = file.clone();
                std::thread::spawn(move || file.rotate(at(0), TTL, false).is_ok())
            })
            .collect();
        let done = threads.into_iter().map(|t| t.join().unwrap()).filter(|is_done| *is_done).count();
        assert_eq!((done, file.load().unwrap().0.len()), (1, 2));
    }

    /// Threat 72.
    #[test]
    fn an_exposed_or_broken_file_is_refused_with_what_to_do() {
        let (_folder, file) = file();
        file.load_or_create(&master()).unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(file.load().unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        let other = if text.contains("\"seed\": \"0") { "\"seed\": \"1" } else { "\"seed\": \"0" };
        let changed = format!("{other}{}", &text[text.find("\"seed\": \"").unwrap() + 10..]);
        let changed = format!("{}{changed}", &text[..text.find("\"seed\": \"").unwrap()]);
        for broken in ["", "{}", "{\"keys\": []}", changed.as_str(), &text[..text.len() / 2]] {
            fs::write(file.path(), broken).unwrap();
            assert!(matches!(file.load(), Err(KeyError::MalformedSigningKeys { .. })), "{broken}");
        }
    }

    /// Threat 71.
    #[test]
    fn debug_shows_no_secret() {
        let keys = SigningKeys::first(&master()).unwrap();
        let shown = format!("{keys:?}");
        assert!(!shown.contains(&to_hex(&keys.0[0].seed)) && !shown.contains("seed"), "{shown}");
    }
}
