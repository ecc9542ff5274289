//! Proofs over the tree: that an entry is in it, and that a later tree extends an earlier one (RFC 9162 section
//! 2.1), and the text form a client keeps (C2SP tlog-proof).

use crate::{
    checkpoint::Checkpoint,
    error::TreeError,
    note::VerifierKey,
    tree::{Hash, LeafHash, Nodes, node_hash, range_root, split},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt::Write as _;

/// The hashes that lead from the leaf at `index` to the root of the first `size` leaves (RFC 9162 section 2.1.3.1).
pub fn inclusion(nodes: &impl Nodes, index: u64, size: u64) -> Result<Vec<Hash>, TreeError> {
    if index >= size || size > nodes.size() {
        return Err(TreeError::OutOfRange(index, size.min(nodes.size())));
    }
    let (mut begin, mut end, mut path) = (0, size, Vec::new());
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, begin, middle)?);
            begin = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The hashes that show the first `old` leaves of the first `new` ones unchanged (RFC 9162 section 2.1.4.1).
pub fn consistency(nodes: &impl Nodes, old: u64, new: u64) -> Result<Vec<Hash>, TreeError> {
    if old == 0 || old > new || new > nodes.size() {
        return Err(TreeError::OutOfRange(old, new.min(nodes.size())));
    }
    let (mut begin, mut end, mut path) = (0, new, Vec::new());
    while end != old {
        let middle = begin + split(end - begin);
        if old <= middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, begin, middle)?);
            begin = middle;
        }
    }
    if begin != 0 {
        path.push(range_root(nodes, begin, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks an inclusion proof (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(
    leaf: LeafHash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), TreeError> {
    if index >= size {
        return Err(TreeError::OutOfRange(index, size));
    }
    let (mut at, mut last, mut node) = (index, size - 1, leaf.0);
    for hash in path {
        if last == 0 {
            return Err(TreeError::ProofLength);
        }
        if at & 1 == 1 || at == last {
            node = node_hash(hash, &node);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            node = node_hash(&node, hash);
        }
        at >>= 1;
        last >>= 1;
    }
    match (last, node == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(TreeError::RootMismatch),
        (_, _) => Err(TreeError::ProofLength),
    }
}

/// Checks a consistency proof (RFC 9162 section 2.1.4.2).
pub fn verify_consistency(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    path: &[Hash],
) -> Result<(), TreeError> {
    if old == 0 || old > new {
        return Err(TreeError::OutOfRange(old, new));
    }
    if old == new {
        let same = path.is_empty().then_some(old_root == new_root).ok_or(TreeError::ProofLength)?;
        return if same { Ok(()) } else { Err(TreeError::RootMismatch) };
    }
    let mut hashes = path.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { hashes.next() };
    let first = *first.ok_or(TreeError::ProofLength)?;
    let shift = (old - 1).trailing_ones();
    let (mut at, mut last) = ((old - 1) >> shift, (new - 1) >> shift);
    let (mut old_node, mut new_node) = (first, first);
    for hash in hashes {
        if last == 0 {
            return Err(TreeError::ProofLength);
        }
        if at & 1 == 1 || at == last {
            old_node = node_hash(hash, &old_node);
            new_node = node_hash(hash, &new_node);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_node = node_hash(&new_node, hash);
        }
        at >>= 1;
        last >>= 1;
    }
    match (last, old_node == *old_root && new_node == *new_root) {
        (0, true) => Ok(()),
        (0, false) => Err(TreeError::RootMismatch),
        (_, _) => Err(TreeError::ProofLength),
    }
}

/// A receipt for one entry that is checked without the log: C2SP tlog-proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    pub index: u64,
    pub path: Vec<Hash>,
    /// The signed checkpoint, a C2SP signed note.
    pub checkpoint: String,
}

const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";

impl TlogProof {
    /// The receipt for the entry at `index` under a checkpoint of the first `size` entries.
    pub fn make(nodes: &impl Nodes, index: u64, size: u64, checkpoint: String) -> Result<Self, TreeError> {
        Ok(Self { index, path: inclusion(nodes, index, size)?, checkpoint })
    }

    /// That the log of this key holds `leaf` at the receipt's index. Gives the checkpoint it is proven under.
    pub fn verify(&self, leaf: LeafHash, key: &VerifierKey) -> Result<Checkpoint, TreeError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, key)?;
        verify_inclusion(leaf, self.index, checkpoint.size, &self.path, &checkpoint.root)?;
        Ok(checkpoint)
    }

    pub fn to_text(&self) -> String {
        let mut out = format!("{PROOF_HEADER}\nindex {}\n", self.index);
        for hash in &self.path {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}", STANDARD.encode(hash));
        }
        out + "\n" + &self.checkpoint
    }

    /// Reads the text form. Extra data is not used here and refused.
    pub fn parse(text: &str) -> Result<Self, TreeError> {
        let malformed = || TreeError::ProofText(text.chars().take(40).collect());
        let (head, checkpoint) = text.split_once("\n\n").ok_or_else(malformed)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(PROOF_HEADER) {
            return Err(malformed());
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(crate::checkpoint::decimal).ok_or_else(malformed)?;
        let hash = |line: &str| STANDARD.decode(line).ok().and_then(|bytes| bytes.try_into().ok());
        let path = lines.map(hash).collect::<Option<Vec<Hash>>>().ok_or_else(malformed)?;
        Ok(Self { index, path, checkpoint: checkpoint.to_owned() })
    }
}

#[cfg(test)]
mod tests;
