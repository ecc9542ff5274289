//! What a session is at the moment a text is read: whatever changes the meaning of the same bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The facts of a session that the meaning of a text depends on. Equal facts, equal meaning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionFacts {
    pub database: String,
    /// Who logged in (`session_user`).
    pub user: String,
    pub standard_conforming_strings: bool,
    pub backslash_quote: BackslashQuote,
    /// `current_user`, where `SET ROLE` made it another than [`Self::user`].
    pub role: Option<String>,
    /// As `SHOW search_path` lists it, `"$user"` included.
    pub search_path: Vec<String>,
    pub transaction: TransactionStatus,
    /// Statements prepared in this session, by SQL or by the protocol: they share their names.
    pub prepared: BTreeMap<String, Arc<str>>,
    /// Open cursors and portals by name, each with the text of its query.
    pub cursors: BTreeMap<String, Arc<str>>,
    /// Names of relations this session made temporary; they hide others of the same name.
    pub temporary: BTreeSet<String>,
}

/// What `\'` means in a plain string that allows escapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackslashQuote {
    On,
    Off,
    #[default]
    SafeEncoding,
}

/// Where the session stands, as `ReadyForQuery` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionStatus {
    #[default]
    Idle,
    InTransaction,
    Failed,
}

impl Default for SessionFacts {
    fn default() -> Self {
        Self {
            database: String::new(),
            user: String::new(),
            standard_conforming_strings: true,
            backslash_quote: BackslashQuote::default(),
            role: None,
            search_path: vec!["$user".into(), "public".into()],
            transaction: TransactionStatus::default(),
            prepared: BTreeMap::new(),
            cursors: BTreeMap::new(),
            temporary: BTreeSet::new(),
        }
    }
}

/// What a statement does to its session once it has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEffect {
    Transaction(TransactionControl),
    Set(SettingChange),
    Prepare {
        name: String,
        text: Arc<str>,
    },
    /// `None`: all of them.
    Deallocate {
        name: Option<String>,
    },
    DeclareCursor {
        name: String,
        text: Arc<str>,
    },
    /// `None`: all of them.
    CloseCursor {
        name: Option<String>,
    },
    CreateTemporary {
        name: String,
    },
    /// `DISCARD`: prepared statements, cursors, temporary relations and settings, whatever it named.
    Discard,
    /// `LISTEN`, `UNLISTEN`: messages may arrive at any time.
    Listen,
}

/// One setting changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// In lower case; `*` for all of them (`RESET ALL`).
    pub name: String,
    /// `None`: back to its default.
    pub value: Option<String>,
    pub scope: SettingScope,
    pub kind: SettingKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingScope {
    Session,
    /// Until the transaction ends.
    Transaction,
}

/// What changing a setting can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingKind {
    /// Formats, limits and names that change no meaning.
    Harmless,
    /// Names, rights or plans: the session's facts must follow it.
    Meaning,
}

/// What a statement does to its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionControl {
    Begin { access: Option<TransactionAccess> },
    Commit { chain: Chain },
    Rollback { chain: Chain },
    Savepoint { name: String },
    Release { name: String },
    RollbackTo { name: String },
    /// `SET TRANSACTION`, `SET SESSION CHARACTERISTICS`.
    Characteristics { access: Option<TransactionAccess> },
    Prepare { id: String },
    CommitPrepared { id: String },
    RollbackPrepared { id: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionAccess {
    ReadOnly,
    ReadWrite,
}

/// Whether the next transaction begins at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    Yes,
    No,
}
