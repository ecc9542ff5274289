//! Software peers for tests and the demo: what stands on the other side of the wire.

pub mod etcd;
pub mod issuer;
pub mod jira;
pub mod nginx;
pub mod opsgenie;
pub mod pagerduty;
pub mod passkey;
pub mod peer;
pub mod pgclient;
pub mod ports;
pub mod postgres;
pub mod provider;
pub mod push;
pub mod server;
pub mod servicenow;
pub mod slack;
pub mod smtp;
pub mod teams;
pub mod transmitter;
