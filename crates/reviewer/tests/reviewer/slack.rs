//! Slack: how a message is drawn, and how it is delivered to a server as strict as Slack.

mod deliver;
pub(crate) mod draw;
mod manifest;
