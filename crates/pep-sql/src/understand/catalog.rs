//! What the gateway knows of a database's own catalog: which names stand for what, and what runs behind them.

/// A snapshot of a catalog at one moment. Never changed: a newer one has another version.
#[derive(Clone, Debug)]
pub struct Catalog {
    version: u64,
}

impl Catalog {
    /// A catalog that knows nothing: every name stays unresolved.
    pub fn unknown() -> Self {
        Self { version: 0 }
    }

    /// Distinct for every snapshot taken by this gateway; 0 is the catalog that knows nothing.
    pub fn version(&self) -> u64 {
        self.version
    }
}
