//! What the engine asks of a ticket system, where requesters may name tickets in which people approved beforehand. Whoever
//! stands behind it answers out of what that system itself says, and says nothing that a ticket says of itself but its scope.

use async_trait::async_trait;
use countersign_core::{TicketCheck, TicketKey, Timestamp};
use std::time::Duration;

/// A ticket that stands approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The system's own id of it, which stays when its key changes.
    pub id: String,
    /// Who approved it, as the channel tells its users apart.
    pub approver: String,
    /// What they are called there. Shown, never compared.
    pub approver_name: Option<String>,
    /// The id of that change, in the system's own history.
    pub change: String,
    pub approved_at: Timestamp,
    /// Where its scope stands, as it was when they approved.
    pub text: String,
    /// Within what time it is to be done, where the system has that.
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Why a ticket does not count, in our own words: nothing that stands in it is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotVouched {
    pub check: TicketCheck,
    pub why: String,
}

impl NotVouched {
    pub fn new(check: TicketCheck, why: impl Into<String>) -> Self {
        Self { check, why: why.into() }
    }
}

/// One ticket system, as a channel is connected to it.
#[async_trait]
pub trait Tickets: Send + Sync + std::fmt::Debug {
    /// What is spoken there: `jira`, `servicenow`.
    fn system(&self) -> &'static str;

    /// Which one of those it is, the same for every channel there: tickets are told apart by it.
    fn origin(&self) -> String;

    /// Whether this could name a ticket there. Nothing is asked.
    fn could_be(&self, key: &TicketKey) -> bool;

    /// For how long what was approved there is good.
    fn good_for(&self) -> Duration;

    /// Looks a ticket up over the channel's own connection. Every answer of the system is bounded; how long all of it takes is
    /// whoever asks to bound.
    async fn look_up(&self, key: &TicketKey) -> Result<Found, NotVouched>;

    /// Tells the approver of a ticket alone where they say whose word theirs is.
    async fn invite(&self, found: &Found, link: &str) -> Result<(), String>;
}
