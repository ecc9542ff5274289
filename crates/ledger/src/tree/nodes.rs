//! Inner nodes of the tree: kept in memory, or computed from stored leaf hashes with the nodes above full tiles
//! kept. Only what was computed here from leaves is ever used; no stored inner node is trusted.

use super::{Hash, LeafHash, LeafHashes, empty_root, node_hash, root_of};
use crate::error::TreeError;

/// Height of a tile: 256 leaves (C2SP tlog-tiles).
const TILE_LEVELS: u32 = 8;
const TILE: u64 = 1 << TILE_LEVELS;

/// Gives the hashes of complete subtrees.
pub trait Nodes {
    /// How many leaves are known.
    fn size(&self) -> u64;
    /// The root of the `2^level` leaves from `index * 2^level` on.
    fn node(&self, level: u32, index: u64) -> Result<Hash, TreeError>;
}

/// The tree hash (RFC 6962 section 2.1) of the leaves `begin..end`, where `begin` is a multiple of the smallest
/// power of two that holds the range, as it is in every recursion of the RFC.
pub fn range_root(nodes: &impl Nodes, begin: u64, end: u64) -> Result<Hash, TreeError> {
    if end > nodes.size() || begin > end {
        return Err(TreeError::OutOfRange(end, nodes.size()));
    }
    match end - begin {
        0 => Ok(empty_root()),
        width if width.is_power_of_two() => {
            let level = width.trailing_zeros();
            nodes.node(level, begin >> level)
        }
        width => {
            let left = split(width);
            let (first, second) =
                (range_root(nodes, begin, begin + left)?, range_root(nodes, begin + left, end)?);
            Ok(node_hash(&first, &second))
        }
    }
}

/// The largest power of two smaller than `width`, which is at least two.
pub(crate) const fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// Every node in memory: 64 bytes for each leaf.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    levels: Vec<Vec<Hash>>,
}

impl MemoryTree {
    pub fn append(&mut self, leaf: LeafHash) {
        let mut node = leaf.0;
        for level in 0.. {
            let Some(row) = self.levels.get_mut(level) else {
                self.levels.push(vec![node]);
                return;
            };
            row.push(node);
            match row.as_chunks::<2>() {
                (pairs, []) => match pairs.last() {
                    Some([left, right]) => node = node_hash(left, right),
                    None => return,
                },
                _ => return,
            }
        }
    }
}

impl Extend<LeafHash> for MemoryTree {
    fn extend<I: IntoIterator<Item = LeafHash>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.append(leaf));
    }
}

impl Nodes for MemoryTree {
    fn size(&self) -> u64 {
        self.levels.first().map_or(0, |row| row.len() as u64)
    }

    fn node(&self, level: u32, index: u64) -> Result<Hash, TreeError> {
        let row = usize::try_from(level).ok().and_then(|level| self.levels.get(level));
        let found = usize::try_from(index).ok().and_then(|index| row?.get(index)).copied();
        found.ok_or(TreeError::OutOfRange(index, self.size()))
    }
}

/// What is kept in memory of a tree whose leaf hashes are elsewhere: the nodes above full tiles, a quarter of a byte
/// for each leaf. A proof then reads at most two tiles of leaf hashes.
#[derive(Clone, Debug, Default)]
pub struct TileTree {
    upper: MemoryTree,
    size: u64,
}

impl TileTree {
    /// Follows the log to `size` leaves, reading the hash of each leaf of a full tile once.
    pub fn grow(&mut self, leaves: &(impl LeafHashes + ?Sized), size: u64) -> Result<(), TreeError> {
        while (self.upper.size() + 1) * TILE <= size {
            let tile = leaves.leaf_hashes(self.upper.size() * TILE, TILE)?;
            self.upper.append(LeafHash(root_of(&tile)));
        }
        self.size = self.size.max(size);
        Ok(())
    }

    /// The nodes of the tree, with the leaf hashes at hand.
    pub const fn over<'a, L: LeafHashes + ?Sized>(&'a self, leaves: &'a L) -> TileNodes<'a, L> {
        TileNodes { tree: self, leaves }
    }
}

/// The nodes of a [`TileTree`].
#[derive(Debug)]
pub struct TileNodes<'a, L: ?Sized> {
    tree: &'a TileTree,
    leaves: &'a L,
}

impl<L: LeafHashes + ?Sized> Nodes for TileNodes<'_, L> {
    fn size(&self) -> u64 {
        self.tree.size
    }

    fn node(&self, level: u32, index: u64) -> Result<Hash, TreeError> {
        if level >= TILE_LEVELS {
            return self.tree.upper.node(level - TILE_LEVELS, index);
        }
        let start = index.checked_shl(level).ok_or(TreeError::OutOfRange(index, self.tree.size))?;
        Ok(root_of(&self.leaves.leaf_hashes(start, 1 << level)?))
    }
}
