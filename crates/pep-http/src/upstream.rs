//! Towards targets.

pub mod credential;
