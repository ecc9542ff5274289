//! Batches: what one commit appends, signed by the gateway, and the head of the log it leads to.
//!
//! A writer calls [`extend`] inside its transaction and stores batch, frontier and note with the entries; only
//! after the commit is anything of it let out.

use crate::{
    checkpoint::Checkpoint,
    error::NoteError,
    keys::{LogKeys, SigningKey},
    note::{KeyId, VerifierKey},
    tree::{Frontier, Hash, LeafHash},
};
use countersign_core::Digest;

/// The gateway's signature over consecutive leaves: nobody else can slip an entry in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Index of the first leaf.
    pub first: u64,
    pub count: u32,
    /// The fencing epoch under which it was written.
    pub epoch: u64,
    pub key_id: KeyId,
    pub signature: [u8; 64],
}

impl Batch {
    pub fn sign(
        key: &SigningKey,
        origin: &str,
        first: u64,
        epoch: u64,
        leaves: &[LeafHash],
    ) -> Result<Self, NoteError> {
        let count =
            u32::try_from(leaves.len()).map_err(|_| NoteError::Malformed("too many leaves in a batch"))?;
        let signature = key.sign(signed(origin, first, epoch, leaves).as_bytes())?;
        Ok(Self { first, count, epoch, key_id: key.verifier().id(), signature })
    }

    /// That the gateway signed exactly these leaves, in this order, at this place of this log.
    pub fn verify(&self, key: &VerifierKey, origin: &str, leaves: &[LeafHash]) -> Result<(), NoteError> {
        if key.id() != self.key_id || u32::try_from(leaves.len()) != Ok(self.count) {
            return Err(NoteError::Unsigned(key.name().to_owned()));
        }
        key.verify(signed(origin, self.first, self.epoch, leaves).as_bytes(), &self.signature)
    }
}

fn signed(origin: &str, first: u64, epoch: u64, leaves: &[LeafHash]) -> Digest {
    let hashes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
    let (first, count, epoch) =
        (first.to_be_bytes(), (leaves.len() as u64).to_be_bytes(), epoch.to_be_bytes());
    Digest::of_parts("countersign/batch/v1", &[origin.as_bytes(), &first, &count, &epoch, &hashes])
}

/// Where the log stands after a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    pub frontier: Frontier,
    pub root: Hash,
    /// The signed checkpoint (C2SP signed note).
    pub note: String,
}

/// What one commit adds to the ledger beside its entries.
#[derive(Clone, Debug)]
pub struct Committed {
    pub batch: Batch,
    pub head: Head,
}

/// Appends the leaves of one commit to a copy of the frontier and signs batch and checkpoint. The caller takes
/// `head.frontier` over once the commit is durable.
pub fn extend(
    frontier: &Frontier,
    leaves: &[LeafHash],
    keys: &LogKeys,
    epoch: u64,
) -> Result<Committed, NoteError> {
    let batch = Batch::sign(keys.gateway(), keys.origin(), frontier.size(), epoch, leaves)?;
    let mut frontier = frontier.clone();
    frontier.extend(leaves.iter().copied());
    let (size, root) = (frontier.size(), frontier.root());
    let note = Checkpoint { origin: keys.origin().to_owned(), size, root }.sign(keys.log())?;
    Ok(Committed { batch, head: Head { size, frontier, root, note } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keys::tests::keys, tree::leaf_hash};

    #[test]
    fn a_batch_is_bound_to_its_leaves_their_order_their_place_and_their_log() {
        let keys = keys(1);
        let leaves: Vec<LeafHash> = [b"a", b"b", b"c"].iter().map(|leaf| leaf_hash(*leaf)).collect();
        let mut frontier = Frontier::default();
        frontier.append(leaf_hash(b"before"));
        let Committed { batch, head } = extend(&frontier, &leaves, &keys, 4).unwrap();
        let (gateway, origin) = (keys.gateway().verifier(), keys.origin());
        assert_eq!((batch.first, batch.count, head.size), (1, 3, 4));
        assert_eq!(batch.verify(gateway, origin, &leaves), Ok(()));
        let swapped = [leaves[1], leaves[0], leaves[2]];
        for (what, batch, origin, leaves) in [
            ("order", batch.clone(), origin, &swapped[..]),
            ("count", batch.clone(), origin, &leaves[..2]),
            ("place", Batch { first: 2, ..batch.clone() }, origin, &leaves[..]),
            ("epoch", Batch { epoch: 5, ..batch.clone() }, origin, &leaves[..]),
            ("log", batch.clone(), "other", &leaves[..]),
        ] {
            assert!(batch.verify(gateway, origin, leaves).is_err(), "{what}");
        }
        assert!(
            batch.verify(keys.log().verifier(), origin, &leaves).is_err(),
            "the log key signs no batches"
        );
        let opened = Checkpoint::open(&head.note, keys.log().verifier()).unwrap();
        assert_eq!((opened.size, opened.root), (head.size, head.frontier.root()));
    }
}
