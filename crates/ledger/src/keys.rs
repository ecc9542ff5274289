//! The ledger's own keys: the log key signs checkpoints, the gateway key signs batches. They live in files only
//! their owner can read, in the text form of Go's note signers, and are never shown.

use crate::{
    error::{KeyError, NoteError},
    event::Event,
    note::VerifierKey,
};
use aws_lc_rs::{
    rand,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_core::Digest;
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const LOG_FILE: &str = "log.key";
const GATEWAY_FILE: &str = "gateway.key";
const STAGED: &str = ".next";

/// One Ed25519 key and its name.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
    verifier: VerifierKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey({}, redacted)", self.verifier)
    }
}

impl SigningKey {
    pub fn from_seed(name: &str, seed: Zeroizing<[u8; 32]>) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| NoteError::Signer)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| NoteError::Signer)?;
        Ok(Self { pair, seed, verifier: VerifierKey::new(name, public)? })
    }

    fn generate(name: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(seed.as_mut_slice()).map_err(|_| KeyError::Randomness)?;
        Ok(Self::from_seed(name, seed)?)
    }

    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], NoteError> {
        let signature = self.pair.try_sign(message).map_err(|_| NoteError::Signer)?;
        signature.as_ref().try_into().map_err(|_| NoteError::Signer)
    }

    /// `PRIVATE+KEY+name+id+base64(type, seed)`, as Go's `sumdb/note` writes it.
    fn to_text(&self) -> Zeroizing<String> {
        let mut key = Zeroizing::new(Vec::with_capacity(33));
        key.push(1);
        key.extend_from_slice(self.seed.as_slice());
        let encoded = Zeroizing::new(STANDARD.encode(&key));
        Zeroizing::new(format!(
            "PRIVATE+KEY+{}+{}+{}\n",
            self.verifier.name(),
            self.verifier.id(),
            encoded.as_str()
        ))
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_suffix('\n').unwrap_or(text).strip_prefix("PRIVATE+KEY+")?;
        let (name, rest) = rest.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = Zeroizing::new(STANDARD.decode(key).ok()?);
        let seed = Zeroizing::new(<[u8; 32]>::try_from(key.strip_prefix(&[1])?).ok()?);
        let found = Self::from_seed(name, seed).ok()?;
        (found.verifier.id().to_string() == id).then_some(found)
    }
}

/// Both keys of one log on one gateway.
#[derive(Debug)]
pub struct LogKeys {
    log: SigningKey,
    gateway: SigningKey,
}

impl LogKeys {
    /// From keys held elsewhere; the log key's name is the origin of the log.
    pub fn new(log: SigningKey, gateway: SigningKey) -> Result<Self, NoteError> {
        let expected = gateway_name(log.verifier.name());
        if gateway.verifier.name() == expected {
            return Ok(Self { log, gateway });
        }
        Err(NoteError::OtherLog { expected, found: gateway.verifier.name().to_owned() })
    }

    /// New keys for the log `origin`, kept nowhere yet.
    pub fn generate(origin: &str) -> Result<Self, KeyError> {
        let log = SigningKey::generate(origin)?;
        Ok(Self { log, gateway: SigningKey::generate(&gateway_name(origin))? })
    }

    /// Loads `log.key` and `gateway.key` from `folder`, or makes both when neither is there.
    pub fn open(folder: &Path, origin: &str) -> Result<Self, KeyError> {
        let [log, gateway] = [LOG_FILE, GATEWAY_FILE].map(|name| folder.join(name));
        match (log.exists(), gateway.exists()) {
            (true, true) => {
                let log = load(&log, origin)?;
                Ok(Self { log, gateway: load(&gateway, &gateway_name(origin))? })
            }
            (false, false) => {
                // As a rotation does it: a crash on the way leaves both keys or none.
                let keys = Self::generate(origin)?;
                keys.stage(folder)?;
                Self::promote(folder)?;
                Ok(keys)
            }
            // A rotation never leaves the gateway's key away: this is the first pair, half in its place.
            (true, false) if folder.join(format!("{GATEWAY_FILE}{STAGED}")).exists() => {
                Self::promote(folder)?;
                Self::open(folder, origin)
            }
            (true, false) => Err(KeyError::Half { missing: shown(&gateway) }),
            (false, true) => Err(KeyError::Half { missing: shown(&log) }),
        }
    }

    /// Writes these keys beside those in use. They come into force with [`LogKeys::promote`], after the
    /// `key.rotated` entry that names them is committed.
    pub fn stage(&self, folder: &Path) -> Result<(), KeyError> {
        discard(folder)?;
        for (name, key) in [(LOG_FILE, &self.log), (GATEWAY_FILE, &self.gateway)] {
            let path = folder.join(format!("{name}{STAGED}"));
            store(&path, key).map_err(|source| KeyError::Io { path: shown(&path), source })?;
        }
        sync_folder(folder)
    }

    /// The keys staged in `folder`, if a rotation was begun. After a crash: promote them when the ledger holds the
    /// `key.rotated` entry that names them, discard them when it does not.
    pub fn staged(folder: &Path, origin: &str) -> Result<Option<Self>, KeyError> {
        let [log, gateway] = [LOG_FILE, GATEWAY_FILE].map(|name| folder.join(format!("{name}{STAGED}")));
        // Promotion moves the log key first: a lone staged gateway key is the second half of a promotion.
        if !gateway.exists() {
            return Ok(None);
        }
        let log = if log.exists() { log } else { folder.join(LOG_FILE) };
        let log = load(&log, origin)?;
        Ok(Some(Self { log, gateway: load(&gateway, &gateway_name(origin))? }))
    }

    /// Puts the staged keys in the place of those in use. Can be repeated after a crash.
    pub fn promote(folder: &Path) -> Result<(), KeyError> {
        for name in [LOG_FILE, GATEWAY_FILE] {
            let (from, to) = (folder.join(format!("{name}{STAGED}")), folder.join(name));
            if from.exists() {
                fs::rename(&from, &to).map_err(|source| KeyError::Io { path: shown(&from), source })?;
            }
        }
        sync_folder(folder)
    }

    /// The origin of the log.
    pub fn origin(&self) -> &str {
        self.log.verifier.name()
    }

    pub const fn log(&self) -> &SigningKey {
        &self.log
    }

    pub const fn gateway(&self) -> &SigningKey {
        &self.gateway
    }

    /// What the first entry of the log says.
    pub fn opened(&self) -> Result<Event, NoteError> {
        let (log_key, gateway_key, endorsement) = self.endorsed_by(&self.log)?;
        Ok(Event::LogOpened { log_key, gateway_key, endorsement })
    }

    /// The entry that hands over to `next`: it is the last thing these keys sign, and their log key vouches for both
    /// new keys.
    pub fn rotation(&self, next: &Self) -> Result<Event, NoteError> {
        let (log_key, gateway_key, endorsement) = next.endorsed_by(&self.log)?;
        Ok(Event::KeyRotated { log_key, gateway_key, endorsement })
    }

    fn endorsed_by(&self, key: &SigningKey) -> Result<(String, String, String), NoteError> {
        let (log, gateway) = (self.log.verifier.to_string(), self.gateway.verifier.to_string());
        let signature = key.sign(endorsed(self.origin(), &log, &gateway).as_bytes())?;
        Ok((log, gateway, URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Removes staged keys that never came into force.
pub fn discard(folder: &Path) -> Result<(), KeyError> {
    for name in [LOG_FILE, GATEWAY_FILE] {
        let path = folder.join(format!("{name}{STAGED}"));
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(KeyError::Io { path: shown(&path), source }),
        }
    }
    Ok(())
}

/// That `authority` vouches for the two keys, which must be named after `origin`.
pub fn endorsed_keys(
    authority: &VerifierKey,
    log_key: &str,
    gateway_key: &str,
    endorsement: &str,
) -> Result<(VerifierKey, VerifierKey), NoteError> {
    let origin = authority.name();
    let signature = URL_SAFE_NO_PAD.decode(endorsement).map_err(|_| NoteError::Malformed("endorsement"))?;
    authority.verify(endorsed(origin, log_key, gateway_key).as_bytes(), &signature)?;
    let (log, gateway) = (log_key.parse::<VerifierKey>()?, gateway_key.parse::<VerifierKey>()?);
    for (key, expected) in [(&log, origin.to_owned()), (&gateway, gateway_name(origin))] {
        if key.name() != expected {
            return Err(NoteError::OtherLog { expected, found: key.name().to_owned() });
        }
    }
    Ok((log, gateway))
}

fn endorsed(origin: &str, log: &str, gateway: &str) -> Digest {
    Digest::of_parts(
        "countersign/key-endorsement/v1",
        &[origin.as_bytes(), log.as_bytes(), gateway.as_bytes()],
    )
}

fn gateway_name(origin: &str) -> String {
    format!("{origin}/gateway")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Written whole under another name first, so that no half a key is ever found.
fn store(path: &PathBuf, key: &SigningKey) -> io::Result<()> {
    let partial = path.with_extension("partial");
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    file.write_all(key.to_text().as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

fn sync_folder(folder: &Path) -> Result<(), KeyError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| KeyError::Io { path: shown(folder), source })
}

fn load(path: &Path, expected: &str) -> Result<SigningKey, KeyError> {
    let io = |source| KeyError::Io { path: shown(path), source };
    let file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::LoosePermissions { path: shown(path), mode });
    }
    // Room enough from the start: a buffer that grows would leave copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.take(4096).read_to_string(&mut text).map_err(io)?;
    let key = SigningKey::parse(&text).ok_or_else(|| KeyError::Malformed { path: shown(path) })?;
    let found = key.verifier.name().to_owned();
    if found == expected {
        return Ok(key);
    }
    Err(KeyError::OtherName { path: shown(path), expected: expected.to_owned(), found })
}

#[cfg(test)]
pub(crate) mod tests;
