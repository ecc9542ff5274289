//! What a session is at the moment a text is read: whatever changes the meaning of the same bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Savepoints that are remembered.
const SAVEPOINTS: usize = 64;

/// Search path, role and other settings.
pub type Settings = (Vec<String>, Option<String>, BTreeMap<String, String>);

/// What a session goes back to where its transaction, or the part behind a savepoint, is rolled back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    settings: Settings,
    before_local: Option<Settings>,
    temporary: BTreeSet<String>,
    temporary_views: BTreeSet<String>,
    passing: BTreeSet<String>,
    /// The cursors that have been open since before.
    open: BTreeSet<String>,
}

impl Mark {
    /// How long everything in it is together, in bytes.
    pub(super) fn size(&self) -> usize {
        let before = self.before_local.as_ref().map_or(0, settings_size);
        let names = [&self.temporary, &self.temporary_views, &self.passing, &self.open];
        settings_size(&self.settings) + before + names.into_iter().map(names_size).sum::<usize>()
    }
}

fn settings_size((path, role, others): &Settings) -> usize {
    let others = others.iter().map(|(name, value)| name.len() + value.len());
    path.iter().chain(role).map(String::len).chain(others).sum()
}

fn names_size(names: &BTreeSet<String>) -> usize {
    names.iter().map(String::len).sum()
}

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
    /// The savepoints of the open transaction, oldest first.
    pub savepoints: Vec<(String, Arc<Mark>)>,
    /// How it was when its transaction began, once something has changed in that.
    pub began: Option<Arc<Mark>>,
    /// Names of prepared statements, and of portals, that the protocol gives to something else before or while the text
    /// runs: what they stand for then is not known.
    pub other_statements: BTreeSet<String>,
    pub other_portals: BTreeSet<String>,
    /// Names of relations this session made temporary; they hide others of the same name.
    pub temporary: BTreeSet<String>,
    /// Those of them that end with their transaction (`ON COMMIT DROP`).
    pub passing: BTreeSet<String>,
    /// Those of them that are views: what runs when they are read is not known here.
    pub temporary_views: BTreeSet<String>,
    /// Other settings that change what a text means, as this session's statements set them.
    pub settings: BTreeMap<String, String>,
    /// Search path, role and settings as they will be again where the transaction commits, behind its first `SET LOCAL`.
    pub before_local: Option<Settings>,
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
    /// What the session is once this has succeeded.
    pub fn apply(&mut self, effect: &SessionEffect) {
        if self.began.is_none() {
            self.began = Some(Arc::new(self.mark()));
        }
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
            SessionEffect::CreateTemporary { name, kind } => {
                match kind {
                    Temporary::Table => {}
                    Temporary::Passing => drop(self.passing.insert(name.clone())),
                    Temporary::View => drop(self.temporary_views.insert(name.clone())),
                }
                self.temporary.insert(name.clone());
            }
            SessionEffect::DropTemporary { name: Some(name) } => self.drop_temporary(name),
            SessionEffect::DropTemporary { name: None } => self.drop_all_temporary(),
            SessionEffect::Discard => {
                self.prepared.clear();
                self.close_all();
                self.drop_all_temporary();
                self.settings.clear();
                self.role = None;
                // Its search path is the server's default again, whatever that is.
                self.uncommitted = true;
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

    fn mark(&self) -> Mark {
        Mark {
            settings: (self.search_path.clone(), self.role.clone(), self.settings.clone()),
            before_local: self.before_local.clone(),
            temporary: self.temporary.clone(),
            temporary_views: self.temporary_views.clone(),
            passing: self.passing.clone(),
            open: self.cursors.keys().cloned().collect(),
        }
    }

    /// All is as it was then, but for what nobody knows any more, and for what no rollback takes back.
    fn return_to(&mut self, mark: &Mark) {
        let Mark { settings, before_local, temporary, temporary_views, passing, open } = mark;
        (self.search_path, self.role, self.settings) = settings.clone();
        self.before_local.clone_from(before_local);
        self.temporary.clone_from(temporary);
        self.temporary_views.clone_from(temporary_views);
        self.passing.clone_from(passing);
        self.cursors.retain(|cursor, _| open.contains(cursor));
        self.held.retain(|cursor| open.contains(cursor));
    }

    /// Everything that the transaction did to the session is taken back.
    pub fn roll_back(&mut self) {
        if let Some(began) = self.began.take() {
            self.return_to(&began);
        }
    }

    fn drop_temporary(&mut self, name: &str) {
        for names in [&mut self.temporary, &mut self.temporary_views, &mut self.passing] {
            names.remove(name);
        }
    }

    fn drop_all_temporary(&mut self) {
        for names in [&mut self.temporary, &mut self.temporary_views, &mut self.passing] {
            names.clear();
        }
    }

    /// Closing is not taken back: one that is declared under this name later is another.
    fn close(&mut self, name: &str) {
        self.cursors.remove(name);
        self.held.remove(name);
        for mark in self.savepoints.iter_mut().map(|(_, mark)| mark).chain(&mut self.began) {
            if mark.open.contains(name) {
                Arc::make_mut(mark).open.remove(name);
            }
        }
    }

    fn close_all(&mut self) {
        self.cursors.clear();
        self.held.clear();
        for mark in self.savepoints.iter_mut().map(|(_, mark)| mark).chain(&mut self.began) {
            if !mark.open.is_empty() {
                Arc::make_mut(mark).open.clear();
            }
        }
    }

    /// The place of the newest savepoint of this name.
    fn savepoint(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|(known, _)| known == name)
    }

    fn back_to(&mut self, name: &str) {
        let found = self.savepoint(name).and_then(|at| Some((at, Arc::clone(&self.savepoints.get(at)?.1))));
        if let Some((at, mark)) = found {
            self.savepoints.truncate(at + 1);
            self.return_to(&mark);
            return;
        }
        // One that was forgotten: what it goes back to is not known, and nothing else is the same as this.
        self.savepoints.clear();
        self.close_all();
        self.settings.insert("rolled back to".into(), name.to_owned());
        self.uncommitted = true;
    }

    /// To be called whenever the server says that no transaction is open: what was local to it is gone.
    pub fn rest(&mut self) {
        self.savepoints.clear();
        self.began = None;
        let held = &self.held;
        self.cursors.retain(|name, _| held.contains(name));
        self.transaction = TransactionStatus::Idle;
        for name in std::mem::take(&mut self.passing) {
            self.drop_temporary(&name);
        }
        if let Some(before) = self.before_local.take() {
            let now = (std::mem::take(&mut self.search_path), self.role.take(), std::mem::take(&mut self.settings));
            if now != before {
                // A cursor keeps the meaning its text had within the transaction.
                self.close_all();
            }
            (self.search_path, self.role, self.settings) = before;
        }
    }

    fn control(&mut self, control: &TransactionControl) {
        let failed = self.transaction == TransactionStatus::Failed;
        match control {
            TransactionControl::Begin { .. } => self.transaction = TransactionStatus::InTransaction,
            TransactionControl::Commit { chain } | TransactionControl::Rollback { chain } => {
                // What has failed is rolled back, whatever its end is called.
                if failed || matches!(control, TransactionControl::Rollback { .. }) {
                    self.roll_back();
                }
                self.rest();
                self.transaction = match chain {
                    Chain::Yes => TransactionStatus::InTransaction,
                    Chain::No => TransactionStatus::Idle,
                };
            }
            TransactionControl::Prepare { .. } => {
                if failed {
                    self.roll_back();
                }
                self.rest();
            }
            TransactionControl::RollbackTo { name } => {
                self.back_to(name);
                self.transaction = TransactionStatus::InTransaction;
            }
            TransactionControl::Savepoint { name } => {
                if self.savepoints.len() >= SAVEPOINTS {
                    self.savepoints.remove(0);
                }
                self.savepoints.push((name.clone(), Arc::new(self.mark())));
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
        let mut now =
            (std::mem::take(&mut self.search_path), self.role.take(), std::mem::take(&mut self.settings));
        match change.scope {
            SettingScope::Transaction => drop(self.before_local.get_or_insert_with(|| now.clone())),
            // It lasts, whatever is local to the transaction.
            SettingScope::Session => drop(self.before_local.as_mut().map(|before| change.apply(before))),
        }
        self.uncommitted |= change.apply(&mut now) == Told::No;
        (self.search_path, self.role, self.settings) = now;
    }

    /// How long everything in it is together, in bytes.
    pub(super) fn size(&self) -> usize {
        let texts = self.prepared.iter().chain(&self.cursors).map(|(name, text)| name.len() + text.len());
        let names = [
            &self.held,
            &self.other_statements,
            &self.other_portals,
            &self.temporary,
            &self.temporary_views,
            &self.passing,
        ];
        let marks = self.savepoints.iter().map(|(name, mark)| name.len() + mark.size());
        let settings = self.settings.iter().map(|(name, value)| name.len() + value.len());
        let path = self.search_path.iter().chain(&self.role).map(String::len);
        texts.chain(names.into_iter().map(names_size)).chain(marks).chain(settings).chain(path).sum::<usize>()
            + self.began.as_ref().map_or(0, |mark| mark.size())
            + self.before_local.as_ref().map_or(0, settings_size)
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
            began: None,
            other_statements: BTreeSet::new(),
            other_portals: BTreeSet::new(),
            temporary: BTreeSet::new(),
            passing: BTreeSet::new(),
            temporary_views: BTreeSet::new(),
            settings: BTreeMap::new(),
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
        kind: Temporary,
    },
    /// `None`: all of them (`DISCARD TEMP`).
    DropTemporary {
        name: Option<String>,
    },
    /// `DISCARD ALL`: prepared statements, cursors, temporary relations and settings.
    Discard,
    /// `LISTEN`: messages may arrive at any time from now on.
    Listen,
    /// Something was defined or changed that nobody else sees before the transaction ends: until the catalog was read
    /// again after that, names are not taken for what it says.
    Defines,
    /// Something ran whose effects on the session cannot be told: the session becomes opaque.
    Opaque,
}

/// What is temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temporary {
    Table,
    /// A table that ends with its transaction (`ON COMMIT DROP`).
    Passing,
    /// What runs when it is read is not known here.
    View,
}

impl Temporary {
    pub(super) fn of(commit: pg_query::protobuf::OnCommitAction) -> Self {
        if commit == pg_query::protobuf::OnCommitAction::OncommitDrop { Self::Passing } else { Self::Table }
    }
}

/// Whether a change says what a setting is from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Yes,
    /// It is what the server holds as default, which is not known until somebody has asked.
    No,
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

    fn apply(&self, (search_path, role, settings): &mut Settings) -> Told {
        match (self.name.as_str(), &self.value) {
            ("search_path", Some(value)) => *search_path = list(value),
            ("role", Some(value)) => *role = Some(value.clone()).filter(|role| role != "none"),
            ("session_authorization", Some(value)) => *role = Some(value.clone()),
            ("role" | "session_authorization", None) => *role = None,
            ("search_path", None) => return Told::No,
            ("*", None) => {
                settings.clear();
                return Told::No;
            }
            (name, Some(value)) if self.kind == SettingKind::Meaning => {
                settings.insert(name.to_owned(), value.clone());
            }
            (name, _) => drop(settings.remove(name)),
        }
        Told::Yes
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
