//! What a verifier found wrong, in words a person understands and a program can branch on.

use countersign_core::{ActionId, EntryId};
use std::fmt;

/// The first fault of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where in the log, when it is about one entry or batch.
    pub index: Option<u64>,
    pub entry: Option<EntryId>,
    pub action: Option<ActionId>,
    pub rule: Rule,
    pub expected: String,
    pub found: String,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident, $word:literal, $sentence:literal;)*) => {
        /// What must hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// A stable word for programs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The rule as a sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

rules! {
    /// The file is a bundle.
    Readable, "readable", "a bundle is lines of JSON in the documented order";
    /// Its keys lead back to the one the reader trusts.
    Trusted, "trusted", "every key of the log is vouched for by the one before it, back to the given key";
    Leaf, "leaf", "an entry has the leaf hash the tree holds for it";
    Canonical, "canonical", "an entry is known and in canonical form";
    Log, "log", "an entry belongs to this log";
    Unique, "unique", "an entry id stands in the log once";
    Covered, "covered", "every leaf is covered by one batch";
    BatchSigned, "batch-signed", "every batch is signed by the gateway";
    Signed, "signed", "the checkpoint is signed by the log";
    Root, "root", "the leaves lead to the root in the checkpoint";
    Complete, "complete", "every entry of the range is in the bundle";
    Linked, "linked", "an entry names the one before it of the same action";
    Policy, "policy", "every policy bundle referred to is there and has its digest";
    Disclosure, "disclosure", "a disclosed value is the one committed to";
    Order, "order", "the steps of an action follow each other as they may";
    SameAction, "same-action", "every entry of an action speaks of the same action";
    Round, "round", "a round of votes has gates, and takes along those still shut";
    Ballot, "ballot", "a vote names the approval, round, gate, policy, evidence and view it is cast on";
    Voter, "voter", "a vote is recorded as the act of its voter, who may vote on that gate";
    Side, "side", "nobody on the requester's side votes";
    Assurance, "assurance", "a vote is worth at least what its gate asks for";
    Passkey, "passkey", "a passkey vote is signed by a passkey registered to the voter";
    Chat, "chat", "a vote that came through a channel is worth `chat`, and came from a user bound to its voter";
    Distinct, "distinct", "a gate for people of its own is not lifted by those who lift another";
    Nonce, "nonce", "a vote's nonce is used once";
    BreakGlass, "break-glass", "one person lifts gates alone only where policy allows it, others are told, and a break-glass of theirs before was reviewed by somebody else";
    StandIn, "stand-in", "whoever votes for another stands in for them at that moment, and no say counts twice";
    Ticket, "ticket", "a ticket stands for a vote only where its gate takes that, while the ticket holds, and for no more actions than it says";
    SignIn, "sign-in", "a voter has signed in as their gate asks";
    Deadline, "deadline", "votes and grants come before their deadlines";
    Quorum, "quorum", "an approval is granted when every gate has its quorum";
    Granted, "granted", "nothing runs but by permission of policy or by a grant in force";
    Once, "once", "an action runs at most once";
    Attempt, "attempt", "an outcome belongs to the attempt that is running";
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.index {
            write!(out, "at {index}")?;
            if let Some(entry) = self.entry {
                write!(out, " (entry `{entry}`)")?;
            }
            if let Some(action) = self.action {
                write!(out, " of the action `{action}`")?;
            }
            write!(out, ": ")?;
        }
        write!(out, "broken rule: {}; expected {}, found {}", self.rule.sentence(), self.expected, self.found)
    }
}

impl std::error::Error for Fault {}

/// A fault before it is known where.
#[derive(Debug)]
pub(super) struct Breach {
    pub(super) rule: Rule,
    pub(super) expected: String,
    pub(super) found: String,
}

/// A breach of `rule`.
pub(super) fn breach(rule: Rule, expected: impl fmt::Display, found: impl fmt::Display) -> Breach {
    Breach { rule, expected: expected.to_string(), found: found.to_string() }
}

/// That both are the same; named as `what` where they are not.
pub(super) fn same<T: PartialEq + fmt::Debug>(
    rule: Rule,
    what: &str,
    expected: &T,
    found: &T,
) -> Result<(), Breach> {
    if expected == found {
        return Ok(());
    }
    Err(breach(rule, format!("{what} {expected:?}"), format!("{found:?}")))
}

/// That something holds.
pub(super) fn demand(
    rule: Rule,
    holds: bool,
    expected: impl fmt::Display,
    found: impl fmt::Display,
) -> Result<(), Breach> {
    if holds { Ok(()) } else { Err(breach(rule, expected, found)) }
}

impl Breach {
    pub(super) fn at(
        self,
        index: Option<u64>,
        entry: Option<EntryId>,
        action: Option<ActionId>,
    ) -> Box<Fault> {
        let Self { rule, expected, found } = self;
        Box::new(Fault { index, entry, action, rule, expected, found })
    }
}
