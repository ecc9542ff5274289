//! The present and randomness: the only two things the engine cannot compute.

use countersign_core::Timestamp;

/// The present moment, UTC.
pub trait Clock: Send + Sync + std::fmt::Debug {
    fn now(&self) -> Timestamp;
}

/// Unpredictable bytes for identifiers, salts and nonces.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// Fills the whole buffer. An implementation that cannot must end the process: nothing safe is left to do.
    fn fill(&self, buffer: &mut [u8]);
}
