//! The wire between real clients and a real server; only the people and the clock are played.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation is how a test fails"
)]

#[path = "wire/stage.rs"]
mod stage;

#[path = "wire/beforehand.rs"]
mod beforehand;
#[path = "wire/bounds.rs"]
mod bounds;
#[path = "wire/catalogs.rs"]
mod catalogs;
#[path = "wire/clients.rs"]
mod clients;
#[path = "wire/copies.rs"]
mod copies;
#[path = "wire/counters.rs"]
mod counters;
#[path = "wire/deferred.rs"]
mod deferred;
#[path = "wire/encodings.rs"]
mod encodings;
#[path = "wire/gated.rs"]
mod gated;
#[path = "wire/guarded.rs"]
mod guarded;
#[path = "wire/hostile.rs"]
mod hostile;
#[path = "wire/kept.rs"]
mod kept;
#[path = "wire/leaving.rs"]
mod leaving;
#[path = "wire/listening.rs"]
mod listening;
#[path = "wire/masked.rs"]
mod masked;
#[path = "wire/meanings.rs"]
mod meanings;
#[path = "wire/names.rs"]
mod names;
#[path = "wire/reasons.rs"]
mod reasons;
#[path = "wire/restarts.rs"]
mod restarts;
#[path = "wire/revoked.rs"]
mod revoked;
#[path = "wire/rollbacks.rs"]
mod rollbacks;
#[path = "wire/servers.rs"]
mod servers;
#[path = "wire/sessions.rs"]
mod sessions;
#[path = "wire/stopped.rs"]
mod stopped;
#[path = "wire/strict.rs"]
mod strict;
#[path = "wire/tags.rs"]
mod tags;
#[path = "wire/texts.rs"]
mod texts;
#[path = "wire/tls.rs"]
mod tls;
#[path = "wire/transactions.rs"]
mod transactions;
