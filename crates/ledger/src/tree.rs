//! The Merkle tree of RFC 6962 section 2.1 (and RFC 9162): hashes, the frontier that grows it, and where the
//! hashes of its inner nodes come from.

use crate::error::{ReadError, TreeError};
use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::canonical::PlainText;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

mod nodes;

pub(crate) use nodes::split;
pub use nodes::{MemoryTree, Nodes, TileNodes, TileTree, range_root};

/// A node of the tree.
pub type Hash = [u8; 32];

/// The hash of one leaf: what entries are bound and linked by. As text, base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafHash(pub Hash);

/// Where the hashes of the leaves are kept.
pub trait LeafHashes {
    /// The hashes of `count` leaves from `start` on; an error when there are fewer.
    fn leaf_hashes(&self, start: u64, count: u64) -> Result<Vec<LeafHash>, ReadError>;
}

impl LeafHashes for [LeafHash] {
    fn leaf_hashes(&self, start: u64, count: u64) -> Result<Vec<LeafHash>, ReadError> {
        let span = usize::try_from(start).ok().zip(usize::try_from(count).ok());
        let slice = span.and_then(|(start, count)| self.get(start..start.checked_add(count)?));
        slice.map(<[LeafHash]>::to_vec).ok_or_else(|| ReadError::new("leaf hashes are missing"))
    }
}

/// `SHA-256(0x00 || leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> LeafHash {
    let mut hasher = Context::new(&SHA256);
    hasher.update(&[0]);
    hasher.update(leaf);
    LeafHash(hash(&hasher.finish()))
}

/// `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut node = [1; 65];
    let (_, children) = node.split_at_mut(1);
    let (first, second) = children.split_at_mut(32);
    first.copy_from_slice(left);
    second.copy_from_slice(right);
    hash(&digest(&SHA256, &node))
}

/// The root of the tree without leaves: `SHA-256("")`.
pub fn empty_root() -> Hash {
    hash(&digest(&SHA256, b""))
}

fn hash(digest: &Digest) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// The root over these leaves, computed from nothing else.
pub fn root_of(leaves: &[LeafHash]) -> Hash {
    let mut frontier = Frontier::default();
    frontier.extend(leaves.iter().copied());
    frontier.root()
}

/// The right edge of the tree: all that is needed to append to it and to know its root.
// INVARIANT: as many peaks as `size` has one bits, the largest subtree first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    pub fn append(&mut self, leaf: LeafHash) {
        let mut node = leaf.0;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let last = peaks.next().copied();
        last.map_or_else(empty_root, |last| peaks.fold(last, |right, left| node_hash(left, &right)))
    }

    /// Eight bytes of size, then 32 for each peak.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.size.to_be_bytes().to_vec();
        out.extend(self.peaks.iter().flatten());
        out
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TreeError> {
        let (size, rest) = bytes.split_first_chunk::<8>().ok_or(TreeError::Frontier)?;
        let size = u64::from_be_bytes(*size);
        let (peaks, odd) = rest.as_chunks::<32>();
        if !odd.is_empty() || u32::try_from(peaks.len()) != Ok(size.count_ones()) {
            return Err(TreeError::Frontier);
        }
        Ok(Self { size, peaks: peaks.to_vec() })
    }
}

impl Extend<LeafHash> for Frontier {
    fn extend<I: IntoIterator<Item = LeafHash>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.append(leaf));
    }
}

impl fmt::Display for LeafHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl PlainText for LeafHash {
    fn append(&self, out: &mut Vec<u8>) {
        crate::entry::append_base64url(out, &self.0);
    }
}

impl fmt::Debug for LeafHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl FromStr for LeafHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| format!("`{text}` is not a leaf hash"))
    }
}

impl Serialize for LeafHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LeafHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests;
