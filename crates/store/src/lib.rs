//! Where records and the ledger are kept: one door, [`countersign_engine::port::store::Store`], and `SQLite` behind it.
//!
//! Nothing here decides anything or reads a clock; it keeps what it is given, all of a commit or none of it.

mod error;
mod sqlite;

pub use error::{AuditError, OpenError};
pub use sqlite::{AcceptedRollback, Audited, DiskFault, Fault, OnRollback, SqliteOptions, SqliteStore, peek};
