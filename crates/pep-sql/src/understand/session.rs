//! What a session is at the moment a text is read: whatever changes the meaning of the same bytes.

mod effect;

pub use effect::{
    Chain, SessionEffect, SettingChange, SettingKind, SettingScope, Temporary, TransactionAccess,
    TransactionControl,
};

use effect::Told;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Savepoints that are remembered.
const SAVEPOINTS: usize = 64;
/// Cursors, temporary relations and settings that are remembered, each; and bytes of the texts of cursors and of settings. What
/// is more is not known.
const MOST: usize = 1_000;
const CURSOR_BYTES: usize = 16 << 20;
const SETTING_BYTES: usize = 64 << 10;

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
    pub prepared: BTreeMap<String, Prepared>,
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

/// A statement that is prepared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prepared {
    pub text: Arc<str>,
    /// The types its client gave to parameters, see [`super::Asked::types`].
    pub types: Arc<[u32]>,
    /// `PREPARE` made it, and its text is that whole statement.
    pub by_sql: bool,
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
                let text = Arc::clone(text);
                self.prepared.insert(name.clone(), Prepared { text, types: Arc::default(), by_sql: true });
            }
            SessionEffect::Deallocate { name: Some(name) } => {
                self.prepared.remove(name);
            }
            SessionEffect::Deallocate { name: None } => self.prepared.clear(),
            SessionEffect::DeclareCursor { name, text, holds } => {
                self.close(name);
                let length: usize = self.cursors.values().map(|text| text.len()).sum();
                if self.cursors.len() < MOST && length <= CURSOR_BYTES {
                    self.cursors.insert(name.clone(), Arc::clone(text));
                    self.held.extend(holds.then(|| name.clone()));
                }
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
                if self.temporary.len() > MOST {
                    // Names are not looked up any more.
                    self.opaque = true;
                    self.drop_all_temporary();
                }
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
            SessionEffect::Opaque => {
                self.opaque = true;
                // Code can prepare, and close and open.
                self.doubt_prepared();
                self.close_all();
            }
        }
    }

    /// The text of a prepared statement, where it is known.
    pub fn statement(&self, name: &str) -> Option<Prepared> {
        self.prepared.get(name).filter(|_| !self.other_statements.contains(name)).cloned()
    }

    /// The text of a cursor, where it is known.
    pub fn cursor(&self, name: &str) -> Option<Arc<str>> {
        self.cursors.get(name).filter(|_| !self.other_portals.contains(name)).cloned()
    }

    /// A statement keeps the meaning that its text had when it was prepared.
    fn doubt_prepared(&mut self) {
        self.other_statements.extend(self.prepared.keys().cloned());
    }

    /// Whether texts are read otherwise once the transaction, or the part behind a savepoint, has ended.
    pub fn returns(&self) -> bool {
        let now = |(path, role, settings): &Settings| {
            (path, role, settings) == (&self.search_path, &self.role, &self.settings)
        };
        let marks = self.savepoints.iter().map(|(_, mark)| mark).chain(&self.began);
        marks.map(|mark| &mark.settings).chain(&self.before_local).any(|settings| !now(settings))
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
        if (&self.search_path, &self.role, &self.settings) != (&settings.0, &settings.1, &settings.2) {
            self.doubt_prepared();
        }
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
            let now =
                (std::mem::take(&mut self.search_path), self.role.take(), std::mem::take(&mut self.settings));
            if now != before {
                // What is kept has the meaning its text had within the transaction.
                self.close_all();
                self.doubt_prepared();
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
        if change.rereads() {
            self.doubt_prepared();
        }
        let mut now =
            (std::mem::take(&mut self.search_path), self.role.take(), std::mem::take(&mut self.settings));
        match change.scope {
            SettingScope::Transaction => drop(self.before_local.get_or_insert_with(|| now.clone())),
            // It lasts, whatever is local to the transaction.
            SettingScope::Session => drop(self.before_local.as_mut().map(|before| change.apply(before))),
        }
        self.uncommitted |= change.apply(&mut now) == Told::No;
        if now.2.len() > MOST || settings_size(&now) > SETTING_BYTES {
            // Nobody knows any more what a text means, and nothing else is the same as this.
            self.opaque = true;
            now = (Vec::new(), None, [("more than is kept".to_owned(), String::new())].into());
        }
        (self.search_path, self.role, self.settings) = now;
    }

    /// How long everything in it is together, in bytes.
    pub(super) fn size(&self) -> usize {
        let prepared = self.prepared.iter();
        let prepared = prepared.map(|(name, kept)| name.len() + kept.text.len() + kept.types.len() * 4);
        let texts = self.cursors.iter().map(|(name, text)| name.len() + text.len()).chain(prepared);
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
