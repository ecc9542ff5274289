//! How people are asked and told where they already work. One message, computed once, is drawn by each channel in its
//! own way; a worker for each channel takes the news of approvals out of the outbox and delivers it, in order, at least
//! once. Nothing here decides anything, and no channel's answer is ever taken for a decision that policy did not ask for.

mod backoff;
mod channel;
mod config;
mod deliver;
mod desk;
mod door;
mod email;
mod jira;
pub mod message;
mod outward;
mod paging;
mod push;
mod servicenow;
mod slack;
mod teams;
mod ticket;
mod webhook;
mod words;

pub use channel::{
    Again, Before, Behind, Common, Decider, Failed, Gathering, Item, Letter, Over, Said, Scope, Tell, Why,
    Writes,
};
pub use config::{
    ChannelConfig, ChannelSection, Declared, OnCallSection, RouteSection, Speaks, StepSection, WhenSection,
};
pub use deliver::{AT_ONCE, run};
pub use door::{NotBelieved, Reply};
pub use email::{Mail, mail};
pub use jira::{Door as JiraDoor, Issue, issue};
pub use paging::on_call::Roster;
pub use push::{NotTried, Push, PushKey, PushKeyError};
pub use servicenow::{Record, record};
pub use slack::{Door as SlackDoor, Drawn, Socket as SlackSocket, draw};
pub use teams::{Believed, Card, Door as TeamsDoor, Vouch, Vouched, card};
pub use ticket::Watch;
pub use webhook::{Inward, SignatureError, Webhook, signed, verify};
