//! A sign-in under way. It is kept by the browser, in a cookie that only this process can open or make: strangers who
//! begin sign-ins fill no memory, and an answer counts only in the browser that asked.

use crate::record::session::SessionId;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Binds the seal to what it is for.
const PURPOSE: &[u8] = b"countersign/sign-in/v1";
/// The longest sealed flow.
const LONGEST: usize = 3000;

/// What has to be known when the browser comes back.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flow {
    pub(crate) provider: String,
    pub(crate) state: String,
    pub(crate) nonce: String,
    /// The PKCE verifier.
    pub(crate) verifier: String,
    pub(crate) ends: Timestamp,
    /// A path of ours to go to then.
    pub(crate) next: String,
    /// The session whose person links the account; `None`: somebody signs in.
    pub(crate) linking: Option<SessionId>,
    /// How long ago the person may have proven themself, in seconds, where this sign-in is for that.
    pub(crate) within_s: Option<u64>,
}

impl fmt::Debug for Flow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Flow").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// Seals flows under a key of this process.
pub(crate) struct Sealer(Option<LessSafeKey>);

impl fmt::Debug for Sealer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Sealer")
    }
}

impl Sealer {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        // A key of this length always fits; should it not, nothing is sealed and nothing opens.
        Self(UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new))
    }

    /// The flow as a cookie's value. `nonce` is never used twice.
    pub(crate) fn seal(&self, flow: &Flow, nonce: [u8; NONCE_LEN]) -> Option<String> {
        let mut bytes = serde_json::to_vec(flow).ok()?;
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.as_ref()?.seal_in_place_append_tag(unique, Aad::from(PURPOSE), &mut bytes).ok()?;
        let sealed = URL_SAFE_NO_PAD.encode([nonce.as_slice(), &bytes].concat());
        (sealed.len() <= LONGEST).then_some(sealed)
    }

    /// The flow, if this process sealed it and it has not ended.
    pub(crate) fn open(&self, sealed: &str, now: Timestamp) -> Option<Flow> {
        if sealed.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.as_ref()?.open_in_place(nonce, Aad::from(PURPOSE), &mut sealed).ok()?;
        let flow: Flow = serde_json::from_slice(opened).ok()?;
        (now < flow.ends).then_some(flow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_opens_unchanged_in_time_and_for_who_sealed_it() {
        let flow = Flow {
            provider: "corp".into(),
            state: "s".into(),
            nonce: "n".into(),
            verifier: "v".into(),
            ends: Timestamp(10),
            next: "/".into(),
            linking: None,
            within_s: None,
        };
        let sealer = Sealer::new(&[1; 32]);
        let sealed = sealer.seal(&flow, [3; NONCE_LEN]).unwrap();
        assert_eq!(sealer.open(&sealed, Timestamp(9)).unwrap().state, "s");
        assert!(sealer.open(&sealed, Timestamp(10)).is_none(), "ended");
        assert!(Sealer::new(&[2; 32]).open(&sealed, Timestamp(9)).is_none(), "another process");
        assert!(!sealed.contains("corp") && !format!("{flow:?}").contains("verifier"));
        for at in 0..sealed.len() {
            let mut forged = sealed.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(sealer.open(&forged, Timestamp(9)).is_none(), "byte {at}");
        }
        let long = Flow { next: "/".repeat(3000), ..flow };
        assert!(sealer.seal(&long, [4; NONCE_LEN]).is_none());
    }
}
