//! What one transaction appends to the ledger, as its row will hold it.

use super::{facts, kinds, private};
use countersign_core::{ActionId, EntryId};
use countersign_engine::port::store::Commit;
use countersign_ledger::tree::LeafHash;
use std::collections::BTreeSet;

/// The entries of the commits that were not refused, in order.
#[derive(Debug, Default)]
pub(super) struct Group {
    first: u64,
    pub(super) leaves: Vec<LeafHash>,
    pub(super) facts: Vec<u8>,
    pub(super) entries: Vec<u8>,
    pub(super) private: Vec<u8>,
    pub(super) ids: BTreeSet<EntryId>,
    /// Tree index, id and action of each entry.
    pub(super) places: Vec<(u64, EntryId, Option<ActionId>)>,
    /// Tree index and type of each entry that is listed by its type.
    pub(super) kinds: Vec<(u64, &'static str)>,
}

impl Group {
    /// Whose first entry gets this tree index.
    pub(super) fn at(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// The tree index after its last entry.
    pub(super) fn end(&self) -> u64 {
        self.first + self.leaves.len() as u64
    }

    pub(super) fn add(&mut self, commit: &Commit) {
        for row in &commit.entries {
            let (at, sealed) = (self.end(), &row.sealed);
            // INVARIANT: as many entries as fit into memory are fewer than 2^32.
            let place = u32::try_from(self.leaves.len()).unwrap_or(u32::MAX);
            private::pack(&mut self.private, place, &sealed.private);
            facts::pack(&mut self.facts, row);
            self.entries.extend_from_slice(&sealed.bytes);
            self.places.push((at, sealed.id, sealed.action));
            if kinds::is_listed(sealed.kind) {
                self.kinds.push((at, sealed.kind));
            }
            self.leaves.push(sealed.leaf);
        }
    }
}
