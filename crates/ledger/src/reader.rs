//! What an export needs from whoever keeps the ledger. The store implements it over one consistent reading.

use crate::{batch::Batch, entry::Commitment, error::ReadError, tree::LeafHashes};
use bytes::Bytes;
use countersign_core::{ActionId, BundleDigest};

/// A ledger to read from.
pub trait LedgerReader: LeafHashes {
    /// Size of the tree and its signed checkpoint, both of the newest commit.
    fn head(&self) -> Result<(u64, String), ReadError>;
    /// The leaf at `index`.
    fn entry(&self, index: u64) -> Result<Bytes, ReadError>;
    /// Up to `limit` batches in order, beginning with the one that holds the leaf at `index`.
    fn batches(&self, index: u64, limit: u32) -> Result<Vec<Batch>, ReadError>;
    /// Where the entries of one action are, in order.
    fn entries_of_action(&self, action: ActionId) -> Result<Vec<u64>, ReadError>;
    /// Where the entries of one type (`key.rotated`) are, in order.
    fn entries_of_kind(&self, kind: &str) -> Result<Vec<u64>, ReadError>;
    /// The content of a policy bundle, if it is kept.
    fn policy_bundle(&self, digest: &BundleDigest) -> Result<Option<Bytes>, ReadError>;
    /// What is kept of the private fields of the entry at `index`; what was erased is missing.
    fn disclosures(&self, index: u64) -> Result<Vec<Commitment>, ReadError>;
}

/// The digest a policy bundle is known by.
pub fn bundle_digest(content: &[u8]) -> BundleDigest {
    BundleDigest::of_parts("countersign/bundle/v1", &[content])
}
