//! What statements do to their session.

use super::Settings;
use std::sync::Arc;

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
    pub(in super::super) fn of(commit: pg_query::protobuf::OnCommitAction) -> Self {
        if commit == pg_query::protobuf::OnCommitAction::OncommitDrop { Self::Passing } else { Self::Table }
    }
}

/// Whether a change says what a setting is from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
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

    /// Whether kept texts would be read otherwise from here on.
    pub(crate) fn rereads(&self) -> bool {
        let names = ["search_path", "role", "session_authorization", "*"];
        names.contains(&self.name.as_str()) || super::super::setting::changes_literals(&self.name)
    }

    pub(crate) fn is_of_code(&self) -> bool {
        self.name == Self::UNSEEN
    }

    pub(super) fn apply(&self, (search_path, role, settings): &mut Settings) -> Told {
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
