//! What texts are taken for, through the door of the crate.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail by panicking")]

mod any;
mod beforehand;
mod cases;
mod corpus;
mod fuzzed;
mod live;
mod masks;
mod policy;
mod regress;
mod shapes;
