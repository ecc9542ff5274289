//! The directory through its public door: over a store that can be made to fail, with a clock that is told the
//! time, and passkeys in software that can be made to misbehave.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that is wrong about its world should fail where it is wrong"
)]

mod agents;
mod durable;
mod links;
mod passkeys;
mod people;
mod providers;
mod rosters;
mod secrets;
mod sessions;
mod store;
mod subscriptions;
mod votes;
mod workloads;
mod world;
