//! The people's side through its one door: requests in, answers out, over a real engine, store and directory.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test must stop at once"
)]

#[path = "console/bindings.rs"]
mod bindings;
#[path = "console/delegation.rs"]
mod delegation;
#[path = "console/doors.rs"]
mod doors;
#[path = "console/glass.rs"]
mod glass;
#[path = "console/gone.rs"]
mod gone;
#[path = "console/hostile.rs"]
mod hostile;
#[path = "console/live.rs"]
mod live;
#[path = "console/once.rs"]
mod once;
#[path = "console/reading.rs"]
mod reading;
#[path = "console/records.rs"]
mod records;
#[path = "console/roles.rs"]
mod roles;
#[path = "console/rules.rs"]
mod rules;
#[path = "console/said.rs"]
mod said;
#[path = "console/scim.rs"]
mod scim;
#[path = "console/side.rs"]
mod side;
#[path = "console/signals.rs"]
mod signals;
#[path = "console/stage.rs"]
mod stage;
#[path = "console/subscriptions.rs"]
mod subscriptions;
#[path = "console/things.rs"]
mod things;
#[path = "console/tools.rs"]
mod tools;
#[path = "console/upkeep.rs"]
mod upkeep;
#[path = "console/votes.rs"]
mod votes;
