//! The policy decision point and its administration: Cedar, spoken to in core's words.
//!
//! A [`Bundle`] is loaded whole or not at all, answers [`Bundle::decide`] for one action, and says who may vote with
//! [`Bundle::may_vote`]. Cedar's types never leave this crate. Nothing here waits, reads a clock or keeps state
//! beyond a bounded memo of its own answers. Any doubt refuses.
//!
//! Annotations, all of them texts: `@id` (required, on every policy) and `@reason`; on a `forbid` with `@gate("name")`
//! also `@approvers` (required: a `Group::"…"`, a `Person::"…"`, or a list of them), `@quorum` (people, 1),
//! `@expires` (how long a request waits, `1h`), `@valid_for` (how long a grant may be used, `15m`), `@step_up`
//! (`chat`, `session` or `passkey`; `session`), `@justification("required")`, `@notify` (channels, separated by
//! commas), `@ticket` (channels in whose tickets it may have been approved beforehand), `@distinct` (who lifts this gate lifts no other of the approval) and `@drift` (by how much what reviewers were
//! shown may have grown when it runs; `2x`).

mod analysis;
mod annotation;
pub mod approve;
pub mod bundle;
pub mod current;
pub mod error;
pub mod evaluate;
pub mod explain;
mod gate;
mod lint;
mod load;
pub mod mcp;
mod memo;
mod nearest;
mod permits;
mod possible;
mod rules;
mod scan;
mod schema;
mod slice;
pub mod source;
pub mod sql;
mod subject;
pub mod text;
mod validate;
pub mod vocabulary;

pub use approve::{VoteContext, VoteRefusal, Voter};
pub use bundle::{Bundle, Membership, RuleKind, RuleSummary};
pub use current::Policies;
pub use error::{PolicyError, PolicyWarning, Position};
pub use evaluate::{Evaluation, Matched, Trace};
pub use explain::Explanation;
pub use mcp::{MCP_FACTS, MCP_OPERATIONS};
pub use rules::Recording;
pub use source::{Source, sources_from_path};
pub use sql::{SQL_FACTS, SQL_OPERATIONS};
pub use text::{LANGUAGES, Language};
pub use vocabulary::{DeclaredOperation, DeclaredTarget, FactType, Vocabulary};
