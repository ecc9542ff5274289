//! How an authorized action reaches its target: the wire adapter's side of execution.

use crate::{
    definitions::Definition,
    execute::{Clearance, Ending},
    reply::Ticket,
};
use async_trait::async_trait;
use bytes::Bytes;
use countersign_core::{Action, Evidence, Payload, TargetName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Whether bytes of the action may have left. Alone decides between taking an attempt back and *unknown*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    No,
    Maybe,
}

/// An exchange with a target that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failed {
    pub sent: Sent,
    /// One plain sentence without addresses' secrets, for the record and the caller.
    pub why: String,
}

/// Why a body could not be read whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error("the body is larger than the {limit_bytes} bytes that are read before deciding")]
    TooLarge { limit_bytes: u64 },
    #[error("the body ended early: {0}")]
    Broken(String),
    #[error("there is no room for the body at the moment: {why}")]
    NoRoom { why: String },
}

/// What was found out about an action before anybody decides, and how the action reads in its light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    pub evidence: Evidence,
    /// All facts for policy, those that were found out among them.
    pub facts: Map<String, Value>,
    pub sentence: String,
}

/// Through what an action reaches its target once people have approved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// An exchange opened for it, so that it can also run when its caller has gone.
    Fresh,
    /// The very exchange it was asked through, such as a database session: it runs only while its caller is there.
    Own,
}

/// One exchange of a live request with its target.
#[async_trait]
pub trait Exchange: Send {
    /// What the wire hands its caller.
    type Reply: Send;

    /// Through what this action runs when people have to approve it.
    fn passage(&self) -> Passage {
        Passage::Fresh
    }

    /// Whether what policy wants kept of a result can be ([`EndFacts::results`](crate::execute::EndFacts)); where it cannot,
    /// nothing runs.
    fn keeps_results(&self) -> bool {
        false
    }

    /// Told at once when the action waits for people, and again when it waits for further ones: what to show the
    /// waiting client. Only an exchange that is kept, [`Passage::Own`], is told.
    async fn held(&mut self, _: &Ticket) {}

    /// Whether what runs was recognised as nothing but a read, without doubt: policy may have it recorded afterwards.
    fn only_reads(&self) -> bool {
        false
    }

    /// Finds out about the action what can be found out without running anything of it: when a rule looks at that, when
    /// people are to be asked, and once more when they have decided and it is about to run. Must end by itself, soon.
    /// What could not be found out is part of the answer; `None` where there is nothing to be found out.
    async fn gather(&mut self, _: &Action) -> Option<Gathered> {
        None
    }

    /// Reads the live body whole, so that it can be part of the digest. Called at most once, before `connect`.
    async fn bind(&mut self) -> Result<Bytes, BindError>;

    /// Connects and authenticates to the target. Nothing of the action is sent.
    async fn connect(&mut self) -> Result<(), Failed>;

    /// Takes the body out of an action whose authorization is durable, if the exchange keeps the same bytes outside
    /// memory and will send those.
    fn unload(&mut self, _: &mut Payload) {}

    /// Sends exactly the clearance's payload, and a live body only where that is unbound. The ending must be
    /// told how it went; letting it go records that nobody knows.
    async fn send(self, clearance: Clearance, ending: Ending) -> Result<Self::Reply, Failed>
    where
        Self: Sized;
}

/// A whole answer, kept for a requester who may come back for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The wire's own word for how it went, such as an HTTP status.
    pub status: String,
    /// Everything but the body, in the wire adapter's own form.
    pub head: Vec<u8>,
    /// `None` when the answer was larger than what is kept.
    pub body: Option<Vec<u8>>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

/// Runs stored actions: those that were approved.
#[async_trait]
pub trait Upstream: Send + Sync + std::fmt::Debug {
    /// Opens an exchange for a stored action, connected and authenticated; nothing of the action is sent.
    async fn connect(&self, action: &Action) -> Result<Box<dyn StoredExchange>, Failed>;

    /// Finds out about a stored action once more, as [`Exchange::gather`] does.
    async fn gather(&self, _: &Action) -> Option<Gathered> {
        None
    }

    /// Asks the target which tools it has and what they are. `None` where it has none to ask for.
    async fn definitions(&self) -> Option<Result<Vec<Definition>, Failed>> {
        None
    }
}

/// A connected exchange for a stored action.
#[async_trait]
pub trait StoredExchange: Send {
    /// Sends exactly the clearance's payload and reads the answer, whole up to `keep_bytes`. Stops at once when
    /// the clearance is cancelled, with [`Sent::Maybe`].
    async fn run(self: Box<Self>, clearance: Clearance, keep_bytes: u64) -> Result<Kept, Failed>;
}

/// A target as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: TargetName,
    pub environment: countersign_core::EnvironmentName,
    pub wire: String,
    pub credential_profile: String,
}
