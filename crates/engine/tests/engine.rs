//! The engine over a real store and real policies, through its public doors; only the target, the people and the
//! clock are played.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a failed expectation is how a test fails"
)]

#[path = "engine/stage.rs"]
mod stage;

#[path = "engine/calls.rs"]
mod calls;
#[path = "engine/deferred.rs"]
mod deferred;
#[path = "engine/gone.rs"]
mod gone;
#[path = "engine/holding.rs"]
mod holding;
#[path = "engine/inward.rs"]
mod inward;
#[path = "engine/once.rs"]
mod once;
#[path = "engine/own.rs"]
mod own;
#[path = "engine/preapproved.rs"]
mod preapproved;
#[path = "engine/recovery.rs"]
mod recovery;
#[path = "engine/sim.rs"]
mod sim;
#[path = "engine/voting.rs"]
mod voting;
