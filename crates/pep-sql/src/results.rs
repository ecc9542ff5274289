//! Contents of results, kept where a policy asks for it: what the client was sent, up to a bound, encrypted before it leaves
//! this crate. The ledger holds a salted commitment to the ciphertext; the key is in a file of its own, for whoever audits.

mod rows;

pub use rows::rows;

use crate::frame::FrameError;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use countersign_core::{ActionId, Digest};
use countersign_engine::execute::KeptResults;
use countersign_ledger::event::KeptAmount;
use countersign_pep::{SecretError, SecretRef};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// How a sealed value is written, and what its key is bound to.
const FORM: &str = "countersign-results/1";
/// The path of the private value in `execution.result`.
pub const PATH: &str = "results";

/// Why kept results cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the key for kept results is not 32 bytes in base64")]
    Key,
    #[error("this is nothing that was kept of a result")]
    Form,
    #[error("it was kept under another key")]
    OtherKey,
    #[error("it is not what was kept of this action's result")]
    NotIt,
    #[error("what was kept is no protocol")]
    Frame(#[from] FrameError),
}

/// The key that kept results are encrypted with.
pub struct ResultsKey {
    key: LessSafeKey,
    /// SHA-256 of the key, so that a value says which key it needs, and no other opens it.
    id: Digest,
}

impl fmt::Debug for ResultsKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ResultsKey({})", self.id)
    }
}

/// What is kept beside the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Everything the client was sent, whether kept or not.
    pub bytes: u64,
    /// SHA-256 over all of it.
    pub sha256: Digest,
    /// How much of it is kept.
    pub kept: u64,
    /// Of a pipeline, the formats that each `Execute` got its columns in: 0 is text and 1 binary; one for all of them, or
    /// one for each, or none where all are text. `None` where each answer says it of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formats: Option<Vec<Arc<[i16]>>>,
}

impl About {
    /// Whether the end was not kept.
    pub const fn is_cut(&self) -> bool {
        self.kept < self.bytes
    }
}

/// An answer as it goes by, and what it will be sealed with.
pub(crate) struct Keeping {
    key: ResultsKey,
    limit: usize,
    formats: Option<Vec<Arc<[i16]>>>,
    kept: BytesMut,
    bytes: u64,
    hash: digest::Context,
}

impl Keeping {
    /// Of the answer at most `limit` bytes are kept.
    pub(crate) fn new(key: ResultsKey, limit: usize, formats: Option<Vec<Arc<[i16]>>>) -> Self {
        Self {
            key,
            limit,
            formats,
            kept: BytesMut::new(),
            bytes: 0,
            hash: digest::Context::new(&digest::SHA256),
        }
    }

    /// Takes note of what the client is sent.
    pub(crate) fn take(&mut self, sent: &[u8]) {
        self.bytes += sent.len() as u64;
        self.hash.update(sent);
        let room = self.limit.saturating_sub(self.kept.len()).min(sent.len());
        self.kept.extend_from_slice(sent.get(..room).unwrap_or_default());
    }

    /// What was kept, sealed for this action. `nonce` is never used twice. Where it cannot be sealed nothing is kept, which
    /// the entry then says.
    pub(crate) fn seal(self, action: ActionId, nonce: [u8; NONCE_LEN]) -> KeptResults {
        let Self { key, formats, kept, bytes, hash, .. } = self;
        let mut sha256 = [0; 32];
        for (place, byte) in sha256.iter_mut().zip(hash.finish().as_ref()) {
            *place = *byte;
        }
        let about = About { bytes, sha256: Digest(sha256), kept: kept.len() as u64, formats };
        let sealed = key.seal(action, &about, &kept, nonce);
        let sealed =
            sealed.inspect_err(|error| tracing::error!(%action, %error, "a result was not kept")).ok();
        let amount = KeptAmount { bytes: if sealed.is_some() { about.kept } else { 0 }, of: bytes };
        KeptResults { amount, sealed }
    }
}

impl ResultsKey {
    /// The key as it is now: 32 bytes in base64.
    pub fn read(reference: &SecretRef) -> Result<Self, ResultsError> {
        let secret = reference.secret()?;
        let key = zeroize::Zeroizing::new(STANDARD.decode(secret.trim()).map_err(|_| ResultsError::Key)?);
        let unbound = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| ResultsError::Key)?;
        let id = Digest::of_parts("countersign/results-key/v1", &[&key]);
        Ok(Self { key: LessSafeKey::new(unbound), id })
    }

    fn bound_to(&self, action: ActionId) -> Aad<Vec<u8>> {
        Aad::from(format!("{FORM} {} {action}", self.id).into_bytes())
    }

    fn seal(
        &self,
        action: ActionId,
        about: &About,
        kept: &[u8],
        nonce: [u8; NONCE_LEN],
    ) -> Result<Bytes, ResultsError> {
        let mut sealed = serde_json::to_vec(about).map_err(|_| ResultsError::Form)?;
        sealed.push(b'\n');
        sealed.extend_from_slice(kept);
        let bound = self.bound_to(action);
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(unique, bound, &mut sealed).map_err(|_| ResultsError::Form)?;
        let text = format!("{FORM} {} {} {}", self.id, STANDARD.encode(nonce), STANDARD.encode(sealed));
        Ok(text.into())
    }

    /// What was kept of an action's result: what is known of all of it, and the bytes of the protocol that were kept.
    pub fn open(&self, action: ActionId, sealed: &str) -> Result<(About, Vec<u8>), ResultsError> {
        let parts: Vec<&str> = sealed.split(' ').collect();
        let [FORM, id, nonce, sealed] = parts[..] else { return Err(ResultsError::Form) };
        if id != self.id.to_string() {
            return Err(ResultsError::OtherKey);
        }
        let nonce = STANDARD.decode(nonce).map_err(|_| ResultsError::Form)?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| ResultsError::Form)?;
        let mut sealed = STANDARD.decode(sealed).map_err(|_| ResultsError::Form)?;
        let opened = self.key.open_in_place(nonce, self.bound_to(action), &mut sealed);
        let opened = opened.map_err(|_| ResultsError::NotIt)?;
        let at = opened.iter().position(|byte| *byte == b'\n').ok_or(ResultsError::Form)?;
        let (about, kept) = opened.split_at_checked(at).ok_or(ResultsError::Form)?;
        let about: About = serde_json::from_slice(about).map_err(|_| ResultsError::Form)?;
        let kept = kept.get(1..).unwrap_or_default().to_vec();
        let whole = !about.is_cut() && Digest::of(&kept) != about.sha256;
        if whole || kept.len() as u64 != about.kept { Err(ResultsError::NotIt) } else { Ok((about, kept)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> ResultsKey {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), STANDARD.encode([byte; 32])).unwrap();
        ResultsKey::read(&SecretRef::read("file:key", folder.path()).unwrap()).unwrap()
    }

    const SENT: &[u8] = b"D\0\0\0\x0c\0\x01\0\0\0\x02\x34\x32D\0\0\0\x0b\0\x01\0\0\0\x01\xff";

    #[test]
    fn what_was_kept_opens_with_its_key_for_its_action_only() {
        let action = ActionId::from_parts(1, 7);
        let sealed = |limit| {
            let mut keeping = Keeping::new(key(1), limit, Some(vec![[1].into()]));
            SENT.chunks(7).for_each(|piece| keeping.take(piece));
            let KeptResults { amount, sealed } = keeping.seal(action, [9; 12]);
            assert_eq!(amount, KeptAmount { bytes: SENT.len().min(limit) as u64, of: SENT.len() as u64 });
            String::from_utf8(sealed.unwrap().to_vec()).unwrap()
        };
        let (about, kept) = key(1).open(action, &sealed(1 << 10)).unwrap();
        assert_eq!((kept.as_slice(), about.is_cut(), about.sha256), (SENT, false, Digest::of(SENT)));
        assert_eq!(about.formats, Some(vec![[1].into()]));
        let (about, kept) = key(1).open(action, &sealed(20)).unwrap();
        assert_eq!((about.bytes, about.kept, about.is_cut()), (SENT.len() as u64, 20, true));
        assert_eq!((about.sha256, kept.as_slice()), (Digest::of(SENT), &SENT[..20]));
        assert!(matches!(key(2).open(action, &sealed(20)), Err(ResultsError::OtherKey)));
        let other = ActionId::from_parts(1, 8);
        assert!(matches!(key(1).open(other, &sealed(20)), Err(ResultsError::NotIt)));
        let turned = sealed(20).replace(' ', "  ");
        assert!(matches!(key(1).open(action, &turned), Err(ResultsError::Form)));
    }
}
