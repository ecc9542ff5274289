//! Signed notes and the keys in text form (C2SP signed-note v1.0.0), with Ed25519 signatures (type 0x01).

use crate::error::NoteError;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};

/// Ed25519 in the registry of signature types.
const ED25519_TYPE: u8 = 0x01;
/// Longer notes and longer lists of signatures are refused unread.
const MAX_NOTE: usize = 1 << 20;
const MAX_SIGNATURES: usize = 100;

/// The first four bytes of SHA-256 over name and key: tells which key to try, never that it is the right one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl KeyId {
    fn of(name: &str, public: &[u8; 32]) -> Self {
        let digest: [u8; 32] = Sha256::new_with_prefix(name.as_bytes())
            .chain_update([b'\n', ED25519_TYPE])
            .chain_update(public)
            .finalize()
            .into();
        let [first, second, third, fourth, ..] = digest;
        Self(u32::from_be_bytes([first, second, third, fourth]))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08x}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl FromStr for KeyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = u32::from_str_radix(text, 16).map(Self).ok();
        id.filter(|id| id.to_string() == text).ok_or_else(|| format!("`{text}` is not a key id"))
    }
}

/// A public key and whose it is. As text, a `vkey`: `name+1a2b3c4d+AX…`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    public: [u8; 32],
}

impl VerifierKey {
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), id: KeyId::of(name, &public), public })
    }

    /// Whose key it is; for a log's key, the origin of the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), NoteError> {
        let wrong = |_| NoteError::BadSignature(self.name.clone());
        UnparsedPublicKey::new(&ED25519, self.public).verify(message, signature).map_err(wrong)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.public);
        write!(out, "{}+{}+{}", self.name, self.id, STANDARD.encode(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let wrong = || NoteError::VerifierKey(text.chars().take(200).collect());
        let (name, rest) = text.split_once('+').ok_or_else(wrong)?;
        let (id, key) = rest.split_once('+').ok_or_else(wrong)?;
        let key = STANDARD.decode(key).map_err(|_| wrong())?;
        let (kind, public) = key.split_first().ok_or_else(wrong)?;
        let public = <[u8; 32]>::try_from(public).map_err(|_| wrong())?;
        let found = Self::new(name, public)?;
        if *kind == ED25519_TYPE && found.id.to_string() == id { Ok(found) } else { Err(wrong()) }
    }
}

/// A key's name stands in a line of its own, between spaces and `+`.
pub(crate) fn check_name(name: &str) -> Result<(), NoteError> {
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '+';
    if name.is_empty() || name.contains(bad) { Err(NoteError::Name(name.to_owned())) } else { Ok(()) }
}

/// A note taken apart. Nothing about it is verified until [`Note::verify`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// What is signed, with the line feed at its end.
    pub text: &'a str,
    pub signatures: Vec<NoteSignature<'a>>,
}

/// One line of signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature<'a> {
    pub name: &'a str,
    pub id: KeyId,
    pub signature: Vec<u8>,
}

impl<'a> Note<'a> {
    pub fn parse(note: &'a str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::Malformed("too long"));
        }
        if note.chars().any(|letter| letter.is_ascii_control() && letter != '\n') {
            return Err(NoteError::Malformed("control characters"));
        }
        let (before, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed("no blank line"))?;
        let text = note.get(..=before.len()).ok_or(NoteError::Malformed("no text"))?;
        let lines = signatures.strip_suffix('\n').ok_or(NoteError::Malformed("no line feed at the end"))?;
        let signatures = lines.split('\n').map(signature_line).collect::<Option<Vec<_>>>();
        let signatures = signatures.ok_or(NoteError::Malformed("signature line"))?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Malformed("too many signatures"));
        }
        Ok(Self { text, signatures })
    }

    /// That the note carries a good signature of `key`. Signatures by other keys are ignored, as the
    /// specification demands; a wrong one under this key is an error.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        let mut ours = self.signatures.iter().filter(|line| line.name == key.name && line.id == key.id);
        let line = ours.next().ok_or_else(|| NoteError::Unsigned(key.name.clone()))?;
        if ours.next().is_some() {
            return Err(NoteError::Malformed("one key signed twice"));
        }
        key.verify(self.text.as_bytes(), &line.signature)
    }
}

/// The note of a text that ends with a line feed and one signature over it.
pub fn assemble(text: &str, key: &VerifierKey, signature: &[u8]) -> String {
    let mut line = key.id.0.to_be_bytes().to_vec();
    line.extend_from_slice(signature);
    format!("{text}\n— {} {}\n", key.name, STANDARD.encode(line))
}

fn signature_line(line: &str) -> Option<NoteSignature<'_>> {
    let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
    check_name(name).ok()?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    let id = KeyId(u32::from_be_bytes(*id));
    (!signature.is_empty()).then(|| NoteSignature { name, id, signature: signature.to_vec() })
}

#[cfg(test)]
mod tests;
