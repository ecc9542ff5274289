//! What a session is at the moment a text is read: whatever changes the meaning of the same bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Savepoints that are remembered.
const SAVEPOINTS: usize = 64;

/// Search path, role and other settings.
pub type BeforeLocal = (Vec<String>, Option<String>, BTreeMap<String, String>);

/// The facts of a session that the meaning of a text depends on. Equal facts, equal meaning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
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
    /// Open cursors by name, each with the text of its query.
    pub cursors: BTreeMap<String, Arc<str>>,
    /// Those of them that outlive their transaction (`WITH HOLD`).
    pub held: BTreeSet<String>,
    /// The savepoints of the open transaction, oldest first, each with the cursors that have been open since before it.
    pub savepoints: Vec<(String, BTreeSet<String>)>,
    /// Names of prepared statements, and of portals, that the protocol gives to something else before or while the text
    /// runs: what they stand for then is not known.
    pub other_statements: BTreeSet<String>,
    pub other_portals: BTreeSet<String>,
    /// Names of relations this session made temporary; they hide others of the same name.
    pub temporary: BTreeSet<String>,
    /// Those of them that are views: what runs when they are read is not known here.
    pub temporary_views: BTreeSet<String>,
    /// Other settings that change what a text means, as this session's statements set them.
    pub settings: BTreeMap<String, String>,
    /// Whether one of them was set or reset in the open transaction.
    pub sets: bool,
    /// Search path, role and settings from before the first `SET LOCAL` of the transaction.
    pub before_local: Option<BeforeLocal>,
    /// Whether something ran whose effects on the session cannot be told (`DO`, an unread statement): from then on
    /// no name without a schema is taken for what the catalog says.
    pub opaque: bool,
    /// Whether this session defined something, or went back to a search path nobody here knows, since catalog and search
    /// path were read. Cleared by whoever reads them again after the transaction has ended.
    pub uncommitted: bool,
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

impl SessionFacts {
    /// What the session is once this has succeeded. Rolling back is up to whoever keeps the facts: by keeping the ones
    /// from before.
    pub fn apply(&mut self, effect: &SessionEffect) {
        match effect {
            SessionEffect::Transaction(control) => self.control(control),
            SessionEffect::Set(change) => self.set(change),
            SessionEffect::Prepare { name, text } => {
                self.prepared.insert(name.clone(), Arc::clone(text));
            }
            SessionEffect::Deallocate { name: Some(name) } => {
                self.prepared.remove(name);
            }
            SessionEffect::Deallocate { name: None } => self.prepared.clear(),
            SessionEffect::DeclareCursor { name, text, holds } => {
                self.close(name);
                self.cursors.insert(name.clone(), Arc::clone(text));
                self.held.extend(holds.then(|| name.clone()));
            }
            SessionEffect::CloseCursor { name: Some(name) } => self.close(name),
            SessionEffect::CloseCursor { name: None } => self.close_all(),
            SessionEffect::CreateTemporary { name, view } => {
                if *view {
                    self.temporary_views.insert(name.clone());
                }
                self.temporary.insert(name.clone());
            }
            // Temporary relations stay in the facts: a name that hides nothing any more is looked at more closely, no less.
            SessionEffect::Discard => {
                self.prepared.clear();
                self.close_all();
                self.settings.clear();
                self.role = None;
            }
            SessionEffect::Listen => {}
            SessionEffect::Defines => self.uncommitted = true,
            SessionEffect::Opaque => self.opaque = true,
        }
    }

    /// The text of a prepared statement, where it is known.
    pub fn statement(&self, name: &str) -> Option<Arc<str>> {
        self.prepared.get(name).filter(|_| !self.other_statements.contains(name)).cloned()
    }

    /// The text of a cursor, where it is known.
    pub fn cursor(&self, name: &str) -> Option<Arc<str>> {
        self.cursors.get(name).filter(|_| !self.other_portals.contains(name)).cloned()
    }

    fn close(&mut self, name: &str) {
        self.cursors.remove(name);
        self.held.remove(name);
        // One that is declared under this name later is another.
        for (_, open) in &mut self.savepoints {
            open.remove(name);
        }
    }

    fn close_all(&mut self) {
        self.cursors.clear();
        self.held.clear();
        for (_, open) in &mut self.savepoints {
            open.clear();
        }
    }

    /// The place of the newest savepoint of this name.
    fn savepoint(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|(known, _)| known == name)
    }

    /// Cursors declared since then are gone, and their names free for others.
    fn back_to(&mut self, name: &str) {
        let Some(at) = self.savepoint(name) else { return self.close_all() };
        self.savepoints.truncate(at + 1);
        let Some((_, open)) = self.savepoints.last() else { return };
        self.cursors.retain(|cursor, _| open.contains(cursor));
        self.held.retain(|cursor| open.contains(cursor));
    }

    /// To be called whenever the server says that no transaction is open: what was local to it is gone.
    pub fn rest(&mut self) {
        self.savepoints.clear();
        let held = &self.held;
        self.cursors.retain(|name, _| held.contains(name));
        self.transaction = TransactionStatus::Idle;
        self.sets = false;
        if let Some((search_path, role, settings)) = self.before_local.take() {
            (self.search_path, self.role, self.settings) = (search_path, role, settings);
        }
    }

    fn control(&mut self, control: &TransactionControl) {
        let ends = matches!(
            control,
            TransactionControl::Commit { .. }
                | TransactionControl::Rollback { .. }
                | TransactionControl::Prepare { .. }
        );
        if ends {
            self.rest();
        }
        match control {
            TransactionControl::Begin { .. } => self.transaction = TransactionStatus::InTransaction,
            TransactionControl::Commit { chain } | TransactionControl::Rollback { chain } => {
                self.transaction = match chain {
                    Chain::Yes => TransactionStatus::InTransaction,
                    Chain::No => TransactionStatus::Idle,
                };
            }
            TransactionControl::Prepare { .. } => self.transaction = TransactionStatus::Idle,
            TransactionControl::RollbackTo { name } => {
                // Settings went back to what they were then, which is not kept: nothing else is the same as this.
                if self.sets {
                    self.settings.insert("rolled back to".into(), name.clone());
                }
                self.back_to(name);
            }
            TransactionControl::Savepoint { name } => {
                // Back to one that is forgotten, no cursor is known.
                if self.savepoints.len() >= SAVEPOINTS {
                    self.savepoints.remove(0);
                }
                self.savepoints.push((name.clone(), self.cursors.keys().cloned().collect()));
            }
            TransactionControl::Release { name } => {
                let at = self.savepoint(name).unwrap_or(self.savepoints.len());
                self.savepoints.truncate(at);
            }
            TransactionControl::Characteristics { .. }
            | TransactionControl::CommitPrepared { .. }
            | TransactionControl::RollbackPrepared { .. } => {}
        }
    }

    fn set(&mut self, change: &SettingChange) {
        if change.moves() {
            // A cursor keeps the meaning its text had before.
            self.close_all();
        }
        if change.scope == SettingScope::Transaction {
            self.before_local
                .get_or_insert_with(|| (self.search_path.clone(), self.role.clone(), self.settings.clone()));
        }
        match (change.name.as_str(), &change.value) {
            ("search_path", Some(value)) => self.search_path = list(value),
            ("role", Some(value)) => self.role = Some(value.clone()).filter(|role| role != "none"),
            ("session_authorization", Some(value)) => self.role = Some(value.clone()),
            ("role" | "session_authorization", None) => self.role = None,
            // Back to what the server holds as default, which is not known here: until somebody has asked.
            ("search_path", None) => self.uncommitted = true,
            ("*", None) => {
                self.uncommitted = true;
                self.settings.clear();
            }
            (name, Some(value)) if change.kind == SettingKind::Meaning => {
                self.sets = true;
                self.settings.insert(name.to_owned(), value.clone());
            }
            (name, _) => {
                self.sets |= self.settings.contains_key(name);
                self.settings.remove(name);
            }
        }
    }
}

/// A list of identifiers as a setting holds it.
fn list(value: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut quoted = false;
    let mut was_quoted = false;
    let mut characters = value.chars().peekable();
    let mut finish = |name: &mut String, was_quoted: &mut bool| {
        let found = std::mem::take(name);
        if *was_quoted {
            names.push(found);
        } else if !found.trim().is_empty() {
            names.push(found.trim().to_lowercase());
        }
        *was_quoted = false;
    };
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                name.push('"');
                characters.next();
            }
            '"' => {
                quoted = !quoted;
                was_quoted = true;
                if quoted {
                    name.clear();
                }
            }
            ',' if !quoted => finish(&mut name, &mut was_quoted),
            ' ' if !quoted && was_quoted => {}
            character => name.push(character),
        }
    }
    finish(&mut name, &mut was_quoted);
    names
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
            held: BTreeSet::new(),
            savepoints: Vec::new(),
            other_statements: BTreeSet::new(),
            other_portals: BTreeSet::new(),
            temporary: BTreeSet::new(),
            temporary_views: BTreeSet::new(),
            settings: BTreeMap::new(),
            sets: false,
            before_local: None,
            opaque: false,
            uncommitted: false,
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
        /// `WITH HOLD`: what it has not returned yet runs when the transaction commits.
        holds: bool,
    },
    /// `None`: all of them.
    CloseCursor {
        name: Option<String>,
    },
    CreateTemporary {
        name: String,
        view: bool,
    },
    /// `DISCARD`: prepared statements, cursors, temporary relations and settings, whatever it named.
    Discard,
    /// `LISTEN`: messages may arrive at any time from now on.
    Listen,
    /// Something was defined or changed that nobody else sees before the transaction ends: until the catalog was read
    /// again after that, names are not taken for what it says.
    Defines,
    /// Something ran whose effects on the session cannot be told: the session becomes opaque.
    Opaque,
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

impl SettingChange {
    /// The name of what code sets that runs unseen.
    const UNSEEN: &str = "unknown";

    /// What code may set that runs unseen, such as a trigger's.
    pub(crate) fn of_code() -> Self {
        let (name, scope, kind) = (Self::UNSEEN.into(), SettingScope::Session, SettingKind::Meaning);
        Self { name, value: None, scope, kind }
    }

    pub(crate) fn is_of_code(&self) -> bool {
        self.name == Self::UNSEEN
    }

    /// Whether texts mean something else from here on, by this statement's own words.
    pub(crate) fn moves(&self) -> bool {
        (self.kind == SettingKind::Meaning || self.name == "*") && !self.is_of_code()
    }
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
    Begin {
        access: Option<TransactionAccess>,
    },
    Commit {
        chain: Chain,
    },
    Rollback {
        chain: Chain,
    },
    Savepoint {
        name: String,
    },
    Release {
        name: String,
    },
    RollbackTo {
        name: String,
    },
    /// `SET TRANSACTION`, `SET SESSION CHARACTERISTICS`.
    Characteristics {
        access: Option<TransactionAccess>,
    },
    Prepare {
        id: String,
    },
    CommitPrepared {
        id: String,
    },
    RollbackPrepared {
        id: String,
    },
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
