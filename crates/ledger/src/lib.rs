//! The audit log and its offline verifier.
pub mod event;
