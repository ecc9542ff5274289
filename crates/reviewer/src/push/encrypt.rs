//! Messages that only the browser can read which is meant: RFC 8291 over `aes128gcm` of RFC 8188, as one record. Pure, but for
//! the key and the salt that are drawn for each.

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand,
};
use base64::{Engine as _, alphabet, engine};

/// What every push service takes (RFC 8030, section 7.2).
pub(crate) const LARGEST: usize = 4_096;
/// Salt, record size, and the sender's key with its length.
const HEAD: usize = 16 + 4 + 1 + POINT;
/// A point on P-256, uncompressed.
pub(crate) const POINT: usize = 65;
const SECRET: usize = 16;
const TAG: usize = 16;
/// The longest text that fits into one record, with the delimiter behind it.
pub(crate) const LONGEST: usize = LARGEST - HEAD - TAG - 1;
/// Texts are filled up to a multiple of this: their length tells a push service little.
const STEP: usize = 1_024;

/// Base64url as browsers write it, with or without what fills it up.
const BASE64: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::URL_SAFE,
    engine::GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent),
);

/// What a browser gave to encrypt for it, read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Recipient {
    point: [u8; POINT],
    secret: [u8; SECRET],
}

/// Why nothing can be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotEncrypted {
    #[error("its key is no point on P-256")]
    Key,
    #[error("its secret is not 16 bytes")]
    Secret,
    #[error("the message is too long for one record")]
    TooLong,
    #[error("no key could be made")]
    Failed,
}

impl From<Unspecified> for NotEncrypted {
    fn from(_: Unspecified) -> Self {
        Self::Failed
    }
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Recipient(…)")
    }
}

/// How long a derived text is.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Recipient {
    /// Reads the two texts. That the point lies on the curve is seen when something is encrypted.
    pub(crate) fn read(p256dh: &str, auth: &str) -> Result<Self, NotEncrypted> {
        let bytes = |text: &str| BASE64.decode(text).unwrap_or_default();
        let point: [u8; POINT] = bytes(p256dh).try_into().map_err(|_| NotEncrypted::Key)?;
        if point.first() != Some(&4) {
            return Err(NotEncrypted::Key);
        }
        Ok(Self { point, secret: bytes(auth).try_into().map_err(|_| NotEncrypted::Secret)? })
    }

    /// The body of a push message with this text.
    pub(crate) fn encrypt(&self, text: &[u8]) -> Result<Vec<u8>, NotEncrypted> {
        let mut salt = [0; 16];
        rand::fill(&mut salt)?;
        let filled = (text.len() + 1).next_multiple_of(STEP).min(LONGEST + 1);
        self.sealed(text, filled, &PrivateKey::generate(&ECDH_P256)?, salt)
    }

    /// The same with everything that is drawn given: `filled` is the length of text, delimiter and what fills it up.
    fn sealed(
        &self,
        text: &[u8],
        filled: usize,
        sender: &PrivateKey,
        salt: [u8; 16],
    ) -> Result<Vec<u8>, NotEncrypted> {
        if text.len() > LONGEST {
            return Err(NotEncrypted::TooLong);
        }
        let own = sender.compute_public_key()?;
        let info = [b"WebPush: info\0".as_slice(), &self.point, own.as_ref()];
        let peer = UnparsedPublicKey::new(&ECDH_P256, self.point.as_slice());
        let ikm: [u8; 32] =
            agree(sender, peer, NotEncrypted::Key, |shared| derived(&self.secret, shared, &info))?;
        let key: [u8; 16] = derived(&salt, &ikm, &[b"Content-Encoding: aes128gcm\0"])?;
        let nonce: [u8; 12] = derived(&salt, &ikm, &[b"Content-Encoding: nonce\0"])?;

        let mut record = text.to_vec();
        // The delimiter of the last record (RFC 8188, section 2).
        record.push(2);
        record.resize(filled.max(record.len()), 0);
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record)?;

        let mut body = Vec::with_capacity(HEAD + record.len());
        body.extend_from_slice(&salt);
        body.extend_from_slice(&u32::try_from(LARGEST).unwrap_or(u32::MAX).to_be_bytes());
        body.push(u8::try_from(POINT).unwrap_or(u8::MAX));
        body.extend_from_slice(own.as_ref());
        body.append(&mut record);
        Ok(body)
    }
}

/// HKDF with SHA-256 (RFC 5869).
fn derived<const N: usize>(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Result<[u8; N], NotEncrypted> {
    let mut out = [0; N];
    Salt::new(HKDF_SHA256, salt).extract(secret).expand(info, Length(N))?.fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8291, section 5 and appendix A.
    const TEXT: &[u8] = b"When I grow up, I want to be a watermelon";
    const BROWSER: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
    const SENDER: &str = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
    const SALT: &str = "DGv6ra1nlYgDCS1FRnbzlw";
    const BODY: &str = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";

    fn recipient() -> Recipient {
        Recipient::read(BROWSER, AUTH).unwrap()
    }

    #[test]
    fn the_example_of_rfc_8291_comes_out_byte_for_byte() {
        let sender = PrivateKey::from_private_key(&ECDH_P256, &BASE64.decode(SENDER).unwrap()).unwrap();
        let salt = BASE64.decode(SALT).unwrap().try_into().unwrap();
        let body = recipient().sealed(TEXT, TEXT.len() + 1, &sender, salt).unwrap();
        assert_eq!(BASE64.encode(body), BODY);
    }

    #[test]
    fn nothing_is_longer_than_every_service_takes_and_lengths_come_in_steps() {
        for (length, whole) in [
            (0, HEAD + 1_024 + TAG),
            (41, HEAD + 1_024 + TAG),
            (1_023, HEAD + 1_024 + TAG),
            (1_024, HEAD + 2_048 + TAG),
            (LONGEST, LARGEST),
        ] {
            assert_eq!(recipient().encrypt(&vec![b'x'; length]).unwrap().len(), whole, "{length}");
        }
        assert_eq!(recipient().encrypt(&[b'x'; LONGEST + 1]), Err(NotEncrypted::TooLong));
        assert_ne!(recipient().encrypt(b"x"), recipient().encrypt(b"x"));
    }

    #[test]
    fn what_is_no_key_is_not_encrypted_for() {
        assert!(Recipient::read(&format!("{BROWSER}="), &format!("{AUTH}==")).is_ok());
        let off_the_curve = BASE64.encode([4; POINT]);
        let compressed = BASE64.encode([2; 33]);
        for (key, auth, want) in [
            (off_the_curve.as_str(), AUTH, NotEncrypted::Key),
            (&compressed, AUTH, NotEncrypted::Key),
            ("", AUTH, NotEncrypted::Key),
            ("not base64!", AUTH, NotEncrypted::Key),
            (BROWSER, "", NotEncrypted::Secret),
            (BROWSER, "BTBZMqHH6r4Tts7J_aSI", NotEncrypted::Secret),
        ] {
            let tried = Recipient::read(key, auth).and_then(|recipient| recipient.encrypt(TEXT));
            assert_eq!(tried, Err(want), "{key} {auth}");
        }
    }
}
