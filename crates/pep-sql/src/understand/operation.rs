//! What a statement does, in the words of the SQL taxonomy, from the most harmless to what was not understood.

use countersign_core::Class;

/// One kind of effect. The order is the order of severity: of several effects the greatest names the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SqlOperation {
    /// The bounds of a transaction: `BEGIN`, `COMMIT`, `ROLLBACK`, savepoints.
    Txn,
    /// A setting that changes formats or limits of the session and nothing else.
    Setting,
    Read,
    /// A read of something that carries a label, or of a system table with secrets.
    ReadSensitive,
    /// Row or table locks, advisory locks.
    Lock,
    /// `NOTIFY`, `LISTEN`: messages between sessions.
    Notify,
    /// Rows leave without a bound: no limit, `COPY … TO STDOUT`, `FETCH ALL`.
    Export,
    Insert,
    /// Rows named by equality on a unique key.
    UpdateBounded,
    DeleteBounded,
    /// `VACUUM`, `ANALYZE`, `CHECKPOINT`: how data is stored, not what it says.
    Maintenance,
    DdlAdditive,
    DdlRewriting,
    UpdateUnbounded,
    DeleteUnbounded,
    /// Code that runs now or later: functions, triggers, rules, views, `DO`, `CALL`.
    Code,
    DdlDestructive,
    /// Two-phase commit: a transaction that outlives its session.
    TxnPrepared,
    /// Who the session is and how it resolves names.
    Session,
    /// Data or commands to another server.
    Network,
    /// How the server runs: `ALTER SYSTEM`, extensions, replication, other sessions.
    Server,
    /// Who may do what.
    Authz,
    /// Files or programs of the server.
    FileOrProgram,
    /// It runs something that its text does not show.
    Indirect,
    /// Not understood.
    Unknown,
}

/// How much an operation can do when nobody says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Risk {
    Low,
    Medium,
    High,
    Critical,
}

impl Risk {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl SqlOperation {
    pub const ALL: [Self; 25] = [
        Self::Txn,
        Self::Setting,
        Self::Read,
        Self::ReadSensitive,
        Self::Lock,
        Self::Notify,
        Self::Export,
        Self::Insert,
        Self::UpdateBounded,
        Self::DeleteBounded,
        Self::Maintenance,
        Self::DdlAdditive,
        Self::DdlRewriting,
        Self::UpdateUnbounded,
        Self::DeleteUnbounded,
        Self::Code,
        Self::DdlDestructive,
        Self::TxnPrepared,
        Self::Session,
        Self::Network,
        Self::Server,
        Self::Authz,
        Self::FileOrProgram,
        Self::Indirect,
        Self::Unknown,
    ];

    /// What policy calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Txn => "sql.txn",
            Self::Setting => "sql.setting",
            Self::Read => "sql.read",
            Self::ReadSensitive => "sql.read.sensitive",
            Self::Lock => "sql.lock",
            Self::Notify => "sql.notify",
            Self::Export => "sql.export",
            Self::Insert => "sql.insert",
            Self::UpdateBounded => "sql.update.bounded",
            Self::DeleteBounded => "sql.delete.bounded",
            Self::Maintenance => "sql.maintenance",
            Self::DdlAdditive => "sql.ddl.additive",
            Self::DdlRewriting => "sql.ddl.rewriting",
            Self::UpdateUnbounded => "sql.update.unbounded",
            Self::DeleteUnbounded => "sql.delete.unbounded",
            Self::Code => "sql.code",
            Self::DdlDestructive => "sql.ddl.destructive",
            Self::TxnPrepared => "sql.two_phase",
            Self::Session => "sql.session",
            Self::Network => "sql.network",
            Self::Server => "sql.server",
            Self::Authz => "sql.authz",
            Self::FileOrProgram => "sql.file_or_program",
            Self::Indirect => "sql.indirect",
            Self::Unknown => "sql.unknown",
        }
    }

    /// The product's word for it.
    pub const fn class(self) -> Class {
        match self {
            Self::Txn | Self::Setting | Self::Read | Self::ReadSensitive => Class::Read,
            Self::Export => Class::Export,
            Self::Lock
            | Self::Notify
            | Self::Insert
            | Self::UpdateBounded
            | Self::UpdateUnbounded
            | Self::TxnPrepared => Class::Write,
            Self::DeleteBounded | Self::DeleteUnbounded | Self::DdlDestructive => Class::Delete,
            Self::Maintenance | Self::DdlAdditive | Self::DdlRewriting | Self::Server => Class::Configure,
            Self::Code | Self::FileOrProgram => Class::Execute,
            Self::Session | Self::Authz => Class::Administer,
            Self::Network => Class::Connect,
            Self::Indirect | Self::Unknown => Class::Unknown,
        }
    }

    pub const fn risk(self) -> Risk {
        match self {
            Self::Txn | Self::Setting | Self::Read => Risk::Low,
            Self::ReadSensitive
            | Self::Lock
            | Self::Notify
            | Self::Export
            | Self::Insert
            | Self::UpdateBounded
            | Self::DeleteBounded
            | Self::Maintenance
            | Self::DdlAdditive => Risk::Medium,
            Self::DdlRewriting
            | Self::UpdateUnbounded
            | Self::DeleteUnbounded
            | Self::Code
            | Self::TxnPrepared => Risk::High,
            Self::DdlDestructive
            | Self::Session
            | Self::Network
            | Self::Server
            | Self::Authz
            | Self::FileOrProgram
            | Self::Indirect
            | Self::Unknown => Risk::Critical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_list_is_whole_in_order_and_without_doubles() {
        assert!(SqlOperation::ALL.is_sorted());
        let names: BTreeSet<&str> = SqlOperation::ALL.iter().map(|operation| operation.as_str()).collect();
        assert_eq!(names.len(), SqlOperation::ALL.len());
        assert_eq!(SqlOperation::ALL.last(), Some(&SqlOperation::Unknown));
    }
}
