//! The policy crate through its doors.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests say what must hold by failing")]

mod bundles;
mod decisions;
mod mcp;
mod memory;
mod mistakes;
mod sql;
mod votes;
mod why;
mod world;
