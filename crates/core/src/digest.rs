//! SHA-256 digests, shown as `sha256:` and 64 hexadecimal digits.

use crate::canonical::PlainText;
use aws_lc_rs::digest::{Context, SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A SHA-256 value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// The text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: it must be `sha256:` and 64 hexadecimal digits")]
pub struct DigestError(String);

impl Digest {
    /// SHA-256 of the bytes as they are.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(digest(&SHA256, bytes).as_ref())
    }

    /// SHA-256 of a domain, a line feed and the parts, each preceded by its length as eight big-endian bytes, so
    /// that no two different lists of parts hash the same bytes.
    pub fn of_parts(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = Context::new(&SHA256);
        hasher.update(domain.as_bytes());
        hasher.update(b"\n");
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self::from_hash(hasher.finish().as_ref())
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn from_hash(hash: &[u8]) -> Self {
        let mut own = [0; 32];
        own.copy_from_slice(hash);
        Self(own)
    }

    fn write_hex(&self, text: &mut [u8; 64]) {
        let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + (value - 10) };
        let (pairs, _) = text.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
    }

    fn text(&self) -> [u8; 71] {
        let mut text = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
        if let Some((_, digits)) = text.split_last_chunk_mut::<64>() {
            self.write_hex(digits);
        }
        text
    }

    /// The 64 hexadecimal digits alone.
    pub fn hex(&self) -> String {
        let mut text = [0; 64];
        self.write_hex(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Eight characters a person can compare across two screens. Never used to decide anything.
    pub fn short_code(&self) -> String {
        let hex = self.hex().to_uppercase();
        let (first, rest) = hex.split_at(4);
        let (second, _) = rest.split_at(4);
        format!("{first}-{second}")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl PlainText for Digest {
    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text());
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let refuse = || DigestError(text.into());
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64).ok_or_else(refuse)?;
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        let (pairs, _) = hex.as_bytes().as_chunks::<2>();
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(*high).zip(nibble(*low)).map(|(high, low)| high << 4 | low).ok_or_else(refuse)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_read_back() {
        let digest = Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(digest.short_code(), "E3B0-C442");
        assert!("sha256:E3".parse::<Digest>().is_err());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Digest::of_parts("t", &[b"ab", b"c"]), Digest::of_parts("t", &[b"a", b"bc"]));
        assert_ne!(Digest::of_parts("t", &[b"ab"]), Digest::of_parts("u", &[b"ab"]));
    }
}
