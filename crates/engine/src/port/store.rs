//! Where everything is kept: records guarded by version, and the ledger, committed together.
//!
//! The model is small on purpose, so that several databases fit behind it: a *record* is an opaque document under
//! a kind and an id, with a version and some lookup keys; the *ledger* is an append-only list of sealed entries
//! under a Merkle tree. One [`Commit`] changes both or neither. Every promise here has a test in the store's
//! conformance suite.

use async_trait::async_trait;
use bytes::Bytes;
use countersign_core::{ActionId, Digest, EntryId, Timestamp};
use countersign_ledger::entry::Sealed;
use tokio::sync::{mpsc, oneshot};

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An approval with what surrounds it.
    Hold,
    /// A held action with its exact payload.
    Action,
    /// The answer of a held action, until it was delivered.
    Answer,
    Person,
    /// A one-time link for enrolment or sign-in.
    Link,
    Passkey,
    /// A device on which a person is told.
    Subscription,
    Session,
    Agent,
    Token,
    /// A provisioning client's token.
    Provisioner,
    /// A policy bundle's content, by digest.
    Bundle,
    Freeze,
    /// What a target says about one of its tools, and what people made of it.
    Definition,
    /// What one channel has been told of one approval, and what not yet.
    Outgoing,
    /// For which approvals a ticket was used.
    TicketUse,
    /// An execution of which nobody knows whether it ran.
    Unresolved,
    /// Small facts about this installation.
    Meta,
}

impl Kind {
    pub const ALL: [Self; 18] = [
        Self::Hold,
        Self::Action,
        Self::Answer,
        Self::Person,
        Self::Link,
        Self::Passkey,
        Self::Subscription,
        Self::Session,
        Self::Agent,
        Self::Token,
        Self::Provisioner,
        Self::Bundle,
        Self::Freeze,
        Self::Definition,
        Self::Outgoing,
        Self::TicketUse,
        Self::Unresolved,
        Self::Meta,
    ];

    /// The word the kind is stored under; never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Action => "action",
            Self::Answer => "answer",
            Self::Person => "person",
            Self::Link => "link",
            Self::Passkey => "passkey",
            Self::Subscription => "subscription",
            Self::Session => "session",
            Self::Agent => "agent",
            Self::Token => "token",
            Self::Provisioner => "provisioner",
            Self::Bundle => "bundle",
            Self::Freeze => "freeze",
            Self::Definition => "definition",
            Self::Outgoing => "outgoing",
            Self::TicketUse => "ticket-use",
            Self::Unresolved => "unresolved",
            Self::Meta => "meta",
        }
    }
}

/// A stored document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: String,
    /// 1 when first put, one more with every put since.
    pub version: u64,
    pub doc: Bytes,
}

/// What must be true of a record for a change to it to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Version(u64),
}

/// Something a record can be found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub name: &'static str,
    pub value: String,
    /// No two records of a kind share the value of a unique key; a commit that would is refused as a conflict.
    pub unique: bool,
}

/// One change to one record.
#[derive(Clone, Debug)]
pub enum Change {
    /// Writes the document and replaces all keys.
    Put {
        kind: Kind,
        id: String,
        expect: Expect,
        doc: Bytes,
        keys: Vec<Key>,
    },
    Delete {
        kind: Kind,
        id: String,
        expect: Expect,
    },
}

/// An entry and what the store indexes of it beside its own columns.
#[derive(Clone, Debug)]
pub struct EntryRow {
    pub sealed: Sealed,
    /// The actor's id or kind, as shown in history.
    pub actor: String,
    pub target: Option<String>,
    /// What the entry says of an execution, so that the store can name those still open after a crash.
    pub execution: Execution,
}

/// What an entry says about an execution being under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    Opens,
    Closes,
    Neither,
}

/// All of this, or none of it.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// All guards are checked before anything is written.
    pub changes: Vec<Change>,
    /// Appended in order, after the entries of commits before this one.
    pub entries: Vec<EntryRow>,
}

/// Proof that a commit is durable. Only stores make it, after their own flush.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Tree index of the commit's first entry; the size of the tree when it had none.
    pub first: u64,
    /// Size of the tree with the batch this commit was part of.
    pub size: u64,
    /// Root of that tree.
    pub root: Digest,
}

/// Why a commit was not acknowledged. Nothing of it was written, except that after a failed flush (`Poisoned`) or a lost
/// answer (`Lost`) only a restart can tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("`{kind}` `{id}` changed meanwhile", kind = .kind.as_str())]
    Conflict { kind: Kind, id: String },
    #[error("the disk is full: nothing is accepted until there is room again")]
    Full,
    #[error("the store stopped after a write error; restart the gateway: {0}")]
    Poisoned(String),
    #[error("the store closed before it answered; the commit may or may not be there")]
    Lost,
}

/// Reading failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the store cannot be read: {0}")]
    Backend(String),
    #[error("a stored `{kind}` cannot be understood: {why}", kind = .kind.as_str())]
    Garbled { kind: Kind, why: String },
}

/// Which records, newest id first.
#[derive(Clone, Debug, Default)]
pub struct Find {
    /// Every one of these keys must match.
    pub keys: Vec<(&'static str, String)>,
    /// Only ids smaller than this one.
    pub before: Option<String>,
    pub limit: usize,
}

/// Which entries, newest first.
#[derive(Clone, Debug, Default)]
pub struct FindEntries {
    pub entry: Option<EntryId>,
    pub action: Option<ActionId>,
    /// The entry's `type`.
    pub kind: Option<String>,
    pub actor: Option<String>,
    pub target: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// A text that must occur in one of the entry's private values or in its public bytes.
    pub text: Option<String>,
    /// Only entries at tree indexes smaller than this one.
    pub before: Option<u64>,
    pub limit: usize,
    /// The private values are looked through for `text` and not given: they can be megabytes each.
    pub bare: bool,
}

/// An entry as stored.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    pub index: u64,
    /// The leaf's exact bytes.
    pub bytes: Bytes,
    /// Private values that were not erased, by path.
    pub private: Vec<PrivateValue>,
}

/// A private field's value with the salt that opens its commitment.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateValue {
    pub path: String,
    pub salt: [u8; 32],
    pub value: Bytes,
}

impl std::fmt::Debug for PrivateValue {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "PrivateValue({}, {} bytes)", self.path, self.value.len())
    }
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Ready,
    /// Reading works; nothing is accepted until there is room. The store probes and recovers by itself.
    Full,
    /// Only a restart helps.
    Poisoned(String),
}

/// Records and ledger behind one door.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The way in for commits.
    fn writer(&self) -> &Writer;

    fn health(&self) -> Health;

    async fn fetch(&self, kind: Kind, id: &str) -> Result<Option<Record>, ReadError>;

    async fn find(&self, kind: Kind, find: Find) -> Result<Vec<Record>, ReadError>;

    async fn entries(&self, find: FindEntries) -> Result<Vec<StoredEntry>, ReadError>;

    /// Actions whose execution was authorized and of whose end there is no entry, with the leaf hash of their
    /// last entry: what may have been running when the process before this one ended.
    async fn open_executions(&self) -> Result<Vec<OpenExecution>, ReadError>;

    /// Erases private values of an entry. Its commitments stay, so every proof holds.
    async fn erase(&self, entry: EntryId, paths: Vec<String>) -> Result<(), ReadError>;

    /// A consistent view of the whole ledger for exporting, proofs and checking.
    fn ledger(&self) -> Result<Box<dyn countersign_ledger::reader::LedgerReader + Send>, ReadError>;
}

/// An execution found without an end.
#[derive(Clone, Debug)]
pub struct OpenExecution {
    pub action: ActionId,
    /// Bytes of the `execution.authorized` entry.
    pub authorized: Bytes,
    /// Leaf hash of the action's newest entry.
    pub last: Digest,
}

/// A commit on its way, with where the answer goes.
#[derive(Debug)]
pub struct Job {
    pub commit: Commit,
    pub reply: oneshot::Sender<Result<Receipt, CommitError>>,
}

/// The bounded queue in front of a store's single writer.
#[derive(Clone, Debug)]
pub struct Writer(mpsc::Sender<Job>);

impl Writer {
    /// A writer and the end its store consumes. When the queue is full, callers wait.
    pub fn channel(capacity: usize) -> (Self, mpsc::Receiver<Job>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(sender), receiver)
    }

    /// Returns once the commit is durable, or says why it is not.
    pub async fn commit(&self, commit: Commit) -> Result<Receipt, CommitError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Job { commit, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| CommitError::Lost)?
    }

    /// A place in the queue kept for a commit that must not fail to be handed in, whatever happens in between.
    pub async fn reserve(&self) -> Result<Slot, CommitError> {
        Ok(Slot(self.0.clone().reserve_owned().await.map_err(|_| stopped())?))
    }
}

/// A reserved place in the writer's queue.
#[derive(Debug)]
pub struct Slot(mpsc::OwnedPermit<Job>);

impl Slot {
    /// Hands the commit in at once; the answer can be awaited or let go.
    pub fn submit(self, commit: Commit) -> oneshot::Receiver<Result<Receipt, CommitError>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Job { commit, reply });
        answer
    }
}

fn stopped() -> CommitError {
    CommitError::Poisoned("the writer has ended".into())
}
