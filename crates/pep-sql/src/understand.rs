//! What a text of SQL does, read by PostgreSQL's own grammar and walked over whole: operation, resources, facts for
//! policy, and one plain sentence. Pure: it asks no server. What it cannot read with certainty is never a read.

mod account;
mod assemble;
mod bounds;
mod builtin;
mod catalog;
mod command;
mod facts;
mod mask;
mod names;
mod operation;
mod parse;
mod preflight;
mod reader;
mod rows;
mod sentence;
mod session;
mod setting;
mod shape;
mod target;
mod tree;
mod walk;
mod write;

pub use assemble::understand;
pub use catalog::{Catalog, CatalogError};
pub use mask::{Hidden, Mask, MaskError, Masking, ResultColumn};
pub use operation::{Risk, SqlOperation};
pub use preflight::{Counted, Preflight, Rows, preflight};
pub use reader::{Reader, ReaderLimits, names_kept};
pub use sentence::RowEvidence;
pub use session::{
    BackslashQuote, Chain, Mark, Prepared, SessionEffect, SessionFacts, SettingChange, SettingKind,
    SettingScope, Settings, Temporary, TransactionAccess, TransactionControl, TransactionStatus,
};
pub use setting::{changes_literals, knows_setting};
pub use target::{SqlTarget, TableLabels};

use bytes::Bytes;
use catalog::Stands;
use countersign_core::{Class, Digest, Resource};
use sentence::Sentence;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One action to be understood: what will run, in order, and in which surroundings.
#[derive(Clone, Debug)]
pub struct Question {
    /// One for a simple query; one for every `Execute` of a pipeline.
    pub asked: Vec<Asked>,
    pub session: SessionFacts,
    pub catalog: Arc<Catalog>,
    pub target: Arc<SqlTarget>,
}

/// One text, with the values bound to its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    pub sql: Arc<str>,
    /// The types the client gives to its parameters, by their numbers at the server; 0, or none, where it leaves that to
    /// the server.
    pub types: Vec<u32>,
    /// `None`: not bound by the protocol (a simple query).
    pub values: Option<Vec<BoundValue>>,
}

/// The value of a parameter, in the format it was sent in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BoundValue {
    Null,
    Text(Bytes),
    Binary(Bytes),
}

/// An action understood, whatever the number of its statements.
#[derive(Clone, Debug, PartialEq)]
pub struct Understood {
    /// The class of [`Self::operation`].
    pub class: Class,
    /// The greatest of all effects.
    pub operation: SqlOperation,
    pub resources: Vec<Resource>,
    /// For `context.sql`.
    pub facts: Map<String, Value>,
    pub sentence: String,
    /// Over all statements.
    pub access: Access,
    /// Must not run, whatever policy says.
    pub refused: Option<SqlRefusal>,
    /// Names that the catalog's snapshot does not know: a reason to read it again and ask once more.
    pub unresolved: BTreeSet<String>,
    /// In the order in which they run. Empty for an empty text. A text that cannot be read is one statement.
    pub statements: Vec<Statement>,
    /// What its names stand for.
    stands: BTreeSet<Stands>,
    telling: Sentence,
}

/// One statement of an action.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// `SELECT`, `DROP TABLE`…, as a person would call it.
    pub verb: &'static str,
    /// Which of the action's texts it stands in.
    pub asked: usize,
    pub operation: SqlOperation,
    pub access: Access,
    /// It runs code of the database that only the configuration says is harmless (`trusted_functions`).
    pub believed: bool,
    pub effects: Vec<Effect>,
    /// What it does to its session once it has succeeded, in order.
    pub session: Vec<SessionEffect>,
    /// Texts kept from earlier that run in it, by the names of their prepared statements and cursors: the text alone does
    /// not say what it does.
    pub kept: BTreeMap<String, Arc<str>>,
}

/// One thing a statement does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    pub operation: SqlOperation,
    pub resources: Vec<Resource>,
}

impl Statement {
    /// Whether it is a `COPY` into the database, wherever its rows come from.
    pub fn copies_in(&self) -> bool {
        self.verb == command::COPY_IN
    }
}

impl Understood {
    /// What all statements do to the session, in order, if they succeed.
    pub fn session_effects(&self) -> impl Iterator<Item = &SessionEffect> {
        self.statements.iter().flat_map(|statement| &statement.session)
    }

    /// What its names stand for in a catalog: the definitions behind them in one digest, and the names in words. `None`
    /// where it names nothing that somebody could define.
    pub fn meaning(&self, catalog: &Catalog) -> Option<(Digest, String)> {
        const SHOWN: usize = 8;
        if self.stands.is_empty() {
            return None;
        }
        let mut names: Vec<String> = self.stands.iter().filter_map(Stands::shown).collect();
        if names.len() > SHOWN {
            let more = names.len() - SHOWN;
            names.truncate(SHOWN);
            names.push(format!("{more} more"));
        }
        Some((catalog.meaning(&self.stands), names.join(", ")))
    }

    /// What its names stand for, whatever the definitions behind them.
    pub fn names(&self) -> Digest {
        catalog::named(&self.stands)
    }

    /// Whether all of it was understood.
    pub fn is_certain(&self) -> bool {
        let effects = self.statements.iter().flat_map(|statement| &statement.effects);
        let mut effects = effects.map(|effect| effect.operation);
        !effects.any(|operation| matches!(operation, SqlOperation::Indirect | SqlOperation::Unknown))
    }

    /// The sentence once somebody has counted, where it speaks of a number of rows.
    pub fn sentence_with(&self, evidence: RowEvidence) -> String {
        self.telling.with(evidence)
    }
}

/// What a statement may do to data, and so how it may be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Nothing but reads: may, and should, run where the server refuses every write.
    ReadOnly,
    /// Only transaction control and harmless settings: nothing to guard, and nothing a guard should hold.
    Control,
    Writes,
    /// Not known, or reads mixed with control; not to be taken for a read.
    Unknown,
}

impl Access {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Control => "control",
            Self::Writes => "writes",
            Self::Unknown => "unknown",
        }
    }

    /// Of two things done together.
    fn beside(self, other: Self) -> Self {
        match (self, other) {
            // Guarded together, control could lift the guard.
            (Self::ReadOnly, Self::Control) | (Self::Control, Self::ReadOnly) => Self::Unknown,
            (one, two) => one.max(two),
        }
    }
}

/// Why a text is refused without asking policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlRefusal {
    #[error("the statement holds a NUL byte")]
    Nul,
    #[error("`{name}` may not be changed here: the meaning of later statements depends on it")]
    Pinned { name: String },
}
