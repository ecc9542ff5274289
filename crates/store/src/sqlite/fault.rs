//! What can go wrong with a disk, so that tests can make it go wrong. A gateway runs without it.

use std::fmt::Debug;

/// Asked before each commit.
pub trait Fault: Send + Sync + Debug {
    /// How many pages the database may have; `SQLite` itself then reports a full disk.
    fn page_limit(&self) -> Option<u32> {
        None
    }

    /// What becomes of the commit about to be made.
    fn strikes(&self) -> Option<DiskFault> {
        None
    }
}

/// How a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// No room (`ENOSPC`).
    Full,
    /// The flush failed (`EIO`): what is on the disk is anybody's guess.
    Broken,
}
