//! The offline verifier: from the bytes of a bundle and the log's public key, nothing else.
//!
//! Every hash is computed here from the entries and leaf hashes in the bundle; no inner node, index or claim of the
//! exporter is trusted. It stops at the first fault and says what is wrong, where, and what was expected.

use crate::{note::VerifierKey, tree::Hash};
use countersign_core::Timestamp;
use std::{fmt, io::BufRead};

mod across;
mod action;
mod approval;
mod fault;
mod passkeys;
mod stream;

pub use fault::{Fault, Rule};

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The log's origin.
    pub origin: String,
    /// The range that is complete.
    pub from: u64,
    pub to: u64,
    /// Size and root of the tree everything was proven against.
    pub size: u64,
    pub root: Hash,
    /// Entries read and checked, those outside the range included.
    pub entries: u64,
    pub actions: u64,
    /// Executions that have a result.
    pub executed: u64,
    /// Executions of which nobody knows whether they ran.
    pub unknown: u64,
    /// Approvals that were granted.
    pub approvals: u64,
    pub votes: u64,
    /// Private fields that were disclosed and are those committed to.
    pub disclosures: u64,
    /// Private fields that entries of the range say were erased; their commitments stand.
    pub erased: u64,
    pub policies: u64,
    /// When the newest entry under the checkpoint was made.
    pub checkpoint_at: Timestamp,
}

/// Verifies a bundle against the log key the reader trusts: the one the log was opened with, or any that it was
/// rotated to since.
pub fn verify(bundle: impl BufRead, key: &VerifierKey) -> Result<Report, Box<Fault>> {
    stream::run(bundle, key)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, from, to, size, entries, actions, executed, approvals, votes, .. } = self;
        writeln!(
            out,
            "the log `{origin}` is intact: {size} entries, root {}",
            countersign_core::Digest(self.root)
        )?;
        writeln!(
            out,
            "complete for entries {from}..{to}; {entries} entries of {actions} actions were checked"
        )?;
        writeln!(out, "{executed} executions, {approvals} approvals granted with {votes} votes")?;
        if self.unknown > 0 {
            writeln!(out, "{} executions have an unknown outcome", self.unknown)?;
        }
        if self.disclosures > 0 {
            writeln!(out, "{} disclosed values are those committed to", self.disclosures)?;
        }
        if self.erased > 0 {
            writeln!(out, "{} private values were erased, as the log says itself", self.erased)?;
        }
        write!(out, "newest entry: {}", self.checkpoint_at)
    }
}

#[cfg(test)]
mod tests;
