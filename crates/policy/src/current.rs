//! The bundle in force. Replaced whole or not at all; whoever took one keeps it to the end of its request.

use crate::{Bundle, PolicyError, Source, Vocabulary};
use countersign_core::BundleDigest;
use parking_lot::RwLock;
use std::sync::Arc;

/// Holds the current bundle.
#[derive(Debug)]
pub struct Policies(RwLock<Arc<Bundle>>);

/// What a reload changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    pub before: BundleDigest,
    pub after: BundleDigest,
}

impl Policies {
    pub fn new(bundle: Bundle) -> Self {
        Self(RwLock::new(Arc::new(bundle)))
    }

    /// The bundle in force. A request takes it once and asks only that one.
    pub fn current(&self) -> Arc<Bundle> {
        Arc::clone(&self.0.read())
    }

    /// Loads and puts in force, or leaves everything as it is and says what is wrong.
    pub fn reload(
        &self,
        sources: Vec<Source>,
        vocabulary: &Vocabulary,
    ) -> Result<Replaced, Vec<PolicyError>> {
        Bundle::load(sources, vocabulary).map(|bundle| self.replace(bundle))
    }

    /// Puts a loaded bundle in force; for callers that record it first.
    pub fn replace(&self, bundle: Bundle) -> Replaced {
        let bundle = Arc::new(bundle);
        let after = bundle.digest();
        let before = std::mem::replace(&mut *self.0.write(), bundle);
        Replaced { before: before.digest(), after }
    }
}
