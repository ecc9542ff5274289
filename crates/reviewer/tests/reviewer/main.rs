//! What people are told, and how each channel draws and delivers it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

mod corpus;
mod email;
mod hostile;
mod jira;
mod message;
mod on_call;
mod opsgenie;
mod pagerduty;
mod push;
mod servicenow;
mod slack;
mod stage;
mod teams;
mod together;
