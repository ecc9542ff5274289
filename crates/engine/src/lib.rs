//! The flow from request to recorded outcome: intake, decide, hold, execute, record.
//!
//! Wire adapters come in through [`flow::handle`], people through [`vote`] and [`settle`]. Nothing reaches a target
//! without a [`execute::Clearance`], and only this crate makes one.

pub mod activity;
mod call;
pub mod definitions;
pub mod depart;
pub mod error;
pub mod execute;
pub mod flow;
pub mod gate;
pub mod glass;
pub mod hold;
pub mod intake;
pub mod inward;
pub mod journal;
mod late;
pub mod outbox;
pub mod port;
pub mod preapproval;
pub mod read;
pub mod record;
pub mod redact;
pub mod reply;
pub mod rules;
mod running;
pub mod settle;
pub mod shown;
pub mod start;
pub mod summons;
pub mod timers;
pub mod view;
pub mod vote;

pub use error::Error;
pub use gate::{Changed, Gate, Limits, Parts, Who, actor_of};
pub use intake::Request;
pub use reply::{Refused, Reply, Ticket};
