//! Inclusion proofs for pages and downloads, made over the stored leaf hashes; what is computed of the tree is kept
//! and only ever grows.

use crate::error::Problem;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_engine::port::store::Store;
use countersign_ledger::{
    LeafHash,
    checkpoint::Checkpoint,
    note::Note,
    proof::{TlogProof, inclusion, verify_inclusion},
    reader::LedgerReader,
    tree::{Nodes, TileTree},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// What is kept of the tree between proofs.
#[derive(Debug, Default)]
pub(crate) struct Proofs(TileTree);

/// The newest signed checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) note: String,
    pub(crate) checkpoint: Checkpoint,
}

/// That an entry is in the log, checkable without us.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Proof {
    pub(crate) index: u64,
    /// Size of the tree it is proven in.
    pub(crate) size: u64,
    /// Base64, as are the hashes.
    pub(crate) root: String,
    pub(crate) leaf: String,
    pub(crate) path: Vec<String>,
    /// The signed checkpoint.
    pub(crate) checkpoint: String,
    /// The same as a C2SP tlog-proof.
    pub(crate) text: String,
}

/// The newest checkpoint of a store. Blocks.
pub(crate) fn head(store: &Arc<dyn Store>) -> Result<Head, Problem> {
    head_of(store.ledger()?.as_ref())
}

fn head_of(ledger: &dyn LedgerReader) -> Result<Head, Problem> {
    let (size, note) = ledger.head().map_err(|error| unreadable(&error))?;
    let parsed = Note::parse(&note).and_then(|parsed| Checkpoint::parse(parsed.text));
    let checkpoint = parsed.map_err(|error| unreadable(&error))?;
    Ok(Head { size, note, checkpoint })
}

impl Proofs {
    /// Proofs for these entries under the store's newest checkpoint, each checked before it is shown. Blocks.
    pub(crate) fn prove(&mut self, store: &Arc<dyn Store>, indexes: &[u64]) -> Result<Vec<Proof>, Problem> {
        let ledger = store.ledger()?;
        let head = head_of(ledger.as_ref())?;
        self.0.grow(ledger.as_ref(), head.size).map_err(|error| unreadable(&error))?;
        let nodes = self.0.over(ledger.as_ref());
        indexes.iter().map(|index| prove(&nodes, *index, &head)).collect()
    }
}

fn prove(nodes: &impl Nodes, index: u64, head: &Head) -> Result<Proof, Problem> {
    let path = inclusion(nodes, index, head.size).map_err(|error| unreadable(&error))?;
    let leaf = nodes.node(0, index).map_err(|error| unreadable(&error))?;
    let root = head.checkpoint.root;
    verify_inclusion(LeafHash(leaf), index, head.size, &path, &root).map_err(|error| unreadable(&error))?;
    let proof = TlogProof { index, path, checkpoint: head.note.clone() };
    Ok(Proof {
        index,
        size: head.size,
        root: STANDARD.encode(root),
        leaf: STANDARD.encode(leaf),
        path: proof.path.iter().map(|hash| STANDARD.encode(hash)).collect(),
        checkpoint: head.note.clone(),
        text: proof.to_text(),
    })
}

fn unreadable(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "the ledger could not be read");
    Problem::internal("the ledger could not be read")
}
