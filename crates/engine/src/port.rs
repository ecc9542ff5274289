//! What the engine needs from the rooms above it, as traits and plain values.

pub mod clock;
pub mod identity;
pub mod push;
pub mod store;
pub mod text;
pub mod ticket;
pub mod upstream;
