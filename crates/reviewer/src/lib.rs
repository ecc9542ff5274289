//! How people are asked and told where they already work. One message, computed once, is drawn by each channel in its
//! own way; a worker for each channel takes the news of approvals out of the outbox and delivers it, in order, at least
//! once. Nothing here decides anything, and no channel's answer is ever taken for a decision that policy did not ask for.

mod backoff;
mod channel;
mod config;
mod deliver;
pub mod message;
mod outward;
mod slack;
mod webhook;

pub use channel::{Again, Before, Behind, Failed, Letter, Scope, Tell};
pub use config::{ChannelConfig, ChannelSection, Declared, RouteSection, Speaks, StepSection, WhenSection};
pub use deliver::{AT_ONCE, run};
pub use slack::{Door, Drawn, NotSlack, Reply, draw};
pub use webhook::{Inward, SignatureError, Webhook, signed, verify};
