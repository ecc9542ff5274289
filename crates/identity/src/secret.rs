//! Secrets on their way to the one person who may see them, and the hash that is kept instead. Nothing here
//! writes a secret anywhere.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::Digest;
use std::fmt;
use zeroize::Zeroizing;

/// A text that is shown once and then forgotten. `Debug` tells nothing; the memory is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// 32 bytes as base64url: 43 characters.
    pub(crate) fn of_bytes(bytes: &[u8; 32]) -> Self {
        Self::new(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The text itself, for handing it to whom it is for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// What is kept of a secret text in its place.
pub(crate) fn fingerprint(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// Whether the text has the shape of a link's or a session's secret: 32 bytes as base64url.
pub(crate) fn has_shape(text: &str) -> bool {
    text.len() == 43 && URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}

/// Texts an agent presents: `csn_`, 43 base62 characters of 32 random bytes, 6 base62 characters of CRC-32.
/// The fixed prefix and the checksum let secret scanners recognise one without asking us.
pub(crate) mod token {
    use super::Secret;

    pub(crate) const PREFIX: &str = "csn_";
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const BODY: usize = 43;
    const CHECK: usize = 6;

    /// Begins what a provisioning client presents: of the same make, and no agent's token by its first letters.
    const PROVISIONER: &str = "css_";

    /// Begins what a person's own programs present, for reading.
    const PERSONAL: &str = "csp_";

    pub(crate) fn personal(bytes: &[u8; 32]) -> Secret {
        with_prefix(PERSONAL, bytes)
    }

    /// Whether the text can be a person's reading token.
    pub fn has_personal_shape(text: &str) -> bool {
        is_made(PERSONAL, text)
    }

    pub(crate) fn text(bytes: &[u8; 32]) -> Secret {
        with_prefix(PREFIX, bytes)
    }

    pub(crate) fn provisioner(bytes: &[u8; 32]) -> Secret {
        with_prefix(PROVISIONER, bytes)
    }

    fn with_prefix(prefix: &str, bytes: &[u8; 32]) -> Secret {
        let mut text = String::with_capacity(prefix.len() + BODY + CHECK);
        text.push_str(prefix);
        text.push_str(&base62(bytes, BODY));
        let check = base62(&crc32(text.as_bytes()).to_be_bytes(), CHECK);
        text.push_str(&check);
        Secret::new(text)
    }

    /// Whether the text can be a token at all; checked before anything is looked up.
    pub(crate) fn has_shape(text: &str) -> bool {
        is_made(PREFIX, text)
    }

    /// The same for a provisioning client's.
    pub(crate) fn has_provisioner_shape(text: &str) -> bool {
        is_made(PROVISIONER, text)
    }

    fn is_made(prefix: &str, text: &str) -> bool {
        let Some((signed, check)) = text.len().checked_sub(CHECK).and_then(|at| text.split_at_checked(at))
        else {
            return false;
        };
        text.len() == prefix.len() + BODY + CHECK
            && signed
                .strip_prefix(prefix)
                .is_some_and(|body| body.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            && base62(&crc32(signed.as_bytes()).to_be_bytes(), CHECK) == check
    }

    /// The number the big-endian bytes stand for, in exactly `width` digits, which must be enough.
    fn base62(bytes: &[u8], width: usize) -> String {
        let mut number = bytes.to_vec();
        let mut digits = Vec::with_capacity(width);
        for _ in 0..width {
            let mut rest = 0_u32;
            for byte in &mut number {
                let value = rest << 8 | u32::from(*byte);
                *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
                rest = value % 62;
            }
            let digit = usize::try_from(rest).ok().and_then(|at| ALPHABET.get(at));
            digits.push(char::from(digit.copied().unwrap_or(b'0')));
        }
        digits.iter().rev().collect()
    }

    /// CRC-32 (ISO 3309, the one of zip and PNG).
    fn crc32(bytes: &[u8]) -> u32 {
        let shifted = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shifted(crc)))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_checksum_is_the_well_known_one() {
            assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        }

        #[test]
        fn thirty_two_bytes_always_fit_forty_three_digits() {
            assert_eq!(base62(&[0; 32], BODY), "0".repeat(43));
            let most = base62(&[0xff; 32], BODY);
            assert_eq!(most.len(), 43);
            assert_ne!(most, base62(&[0xff; 32], BODY + 1).split_at(1).0);
            assert_eq!(base62(&[0xff; 32], BODY + 1), format!("0{most}"));
            assert_eq!(base62(&3843_u32.to_be_bytes(), 2), "zz");
        }

        #[test]
        fn one_wrong_character_is_noticed_before_any_lookup() {
            let good = text(&[7; 32]);
            let good = good.reveal();
            assert!(has_shape(good));
            assert_eq!(good.len(), 53);
            for at in 0..good.len() {
                let mut bytes = good.as_bytes().to_vec();
                bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
                assert!(!has_shape(std::str::from_utf8(&bytes).unwrap()), "{at}");
            }
            for bad in
                ["", "csn_", "ü", good.trim_start_matches('c'), &format!("{good}0"), &format!("{good}ü")]
            {
                assert!(!has_shape(bad), "{bad}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_in_its_debug_form() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(…)");
    }

    #[test]
    fn only_canonical_base64url_of_32_bytes_has_the_shape() {
        assert!(has_shape(Secret::of_bytes(&[255; 32]).reveal()));
        let canonical = Secret::of_bytes(&[0; 32]);
        let twisted = canonical.reveal().chars().take(42).chain(['B']).collect::<String>();
        for bad in ["", "AAAA", &twisted, &"=".repeat(43), token::text(&[1; 32]).reveal()] {
            assert!(!has_shape(bad), "{bad}");
        }
    }
}
