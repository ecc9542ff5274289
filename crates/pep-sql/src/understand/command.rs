//! Statements: each kind of the grammar by what a person would call it and what it does. Those whose effect depends on
//! more than their kind are read closer in the files below.

mod definition;
mod dropping;
mod indirect;

use super::{
    Chain, SessionEffect, SqlOperation as Op, TransactionControl,
    account::{Leaving, Thing},
    names::{self, Name},
    setting,
    tree::{self, Unplaced},
    walk::{Obscure, Scope, Walked, Walker},
    write::Event,
};
use pg_query::{
    Node, NodeEnum, NodeRef,
    protobuf::{
        CopyStmt, DiscardMode, LockStmt, TransactionStmt, TransactionStmtKind, TruncateStmt, VacuumStmt,
    },
};

/// Every kind of statement with its verb: those done here by their kind alone, and those read closer.
macro_rules! commands {
    (closer { $($near:ident $near_verb:literal $read:ident)* } sure { $($sure:ident $sure_verb:literal $do:ident)* } plain { $($kind:ident $verb:literal $operation:ident)* }) => {
        /// What a person would call the statement; `None` when it is none.
        pub(super) fn verb(node: NodeRef<'_>) -> Option<&'static str> {
            if let NodeRef::TransactionStmt(statement) = node {
                return Some(transaction_verb(statement.kind()));
            }
            if let NodeRef::CopyStmt(copy) = node {
                return Some(if copy.is_from { COPY_IN } else { "COPY" });
            }
            if let NodeRef::GrantStmt(grant) = node {
                return Some(if grant.is_grant { "GRANT" } else { "REVOKE" });
            }
            if let NodeRef::GrantRoleStmt(grant) = node {
                return Some(if grant.is_grant { "GRANT ROLE" } else { "REVOKE ROLE" });
            }
            if let NodeRef::VacuumStmt(vacuum) = node {
                return Some(if vacuum.is_vacuumcmd { "VACUUM" } else { "ANALYZE" });
            }
            $(if let NodeRef::$near(_) = node { return Some($near_verb); })*
            $(if let NodeRef::$sure(_) = node { return Some($sure_verb); })*
            $(if let NodeRef::$kind(_) = node { return Some($verb); })*
            None
        }

        #[cfg(test)]
        const KINDS: &[&str] = &[$(stringify!($near),)* $(stringify!($sure),)* $(stringify!($kind),)*];

        impl Walker<'_> {
            /// Does one whole statement.
            pub(super) fn command(&mut self, node: NodeRef<'_>) -> Walked {
                $(if let NodeRef::$near(statement) = node { return self.$read(statement); })*
                $(if let NodeRef::$sure(statement) = node { self.$do(statement); return Ok(()); })*
                $(if let NodeRef::$kind(_) = node { return self.plain(node, Op::$operation); })*
                Err(Obscure(format!("it is no statement ({})", tree::kind(node))))
            }
        }
    };
}

commands! {
    closer {
        SelectStmt "SELECT" query
        InsertStmt "INSERT" insert_alone
        UpdateStmt "UPDATE" update_alone
        DeleteStmt "DELETE" delete_alone
        MergeStmt "MERGE" merge_alone
        CopyStmt "COPY" copy
        CreateTableAsStmt "CREATE TABLE AS" create_table_as
        ViewStmt "CREATE VIEW" view
        ExplainStmt "EXPLAIN" explain
        PrepareStmt "PREPARE" prepare
        ExecuteStmt "EXECUTE" execute
        DeclareCursorStmt "DECLARE CURSOR" declare
        FetchStmt "FETCH" fetch
        TransactionStmt "TRANSACTION" transaction
        VariableSetStmt "SET" set
        DiscardStmt "DISCARD" discard
        TruncateStmt "TRUNCATE" truncate
        LockStmt "LOCK" lock
        VacuumStmt "VACUUM" vacuum
        CallStmt "CALL" call_procedure
        CreateSchemaStmt "CREATE SCHEMA" create_schema
        CreateStmt "CREATE TABLE" create_table
        AlterTableStmt "ALTER TABLE" alter_table
        IndexStmt "CREATE INDEX" create_index
        DropStmt "DROP" drop_objects
        DropOwnedStmt "DROP OWNED" drop_owned
        RenameStmt "RENAME" rename
        RuleStmt "CREATE RULE" rule
        GrantStmt "GRANT" grant
        CreateFunctionStmt "CREATE FUNCTION" create_function
        CreateTrigStmt "CREATE TRIGGER" create_trigger
        RefreshMatViewStmt "REFRESH MATERIALIZED VIEW" refresh
        CreateSeqStmt "CREATE SEQUENCE" create_sequence
        CreateForeignTableStmt "CREATE FOREIGN TABLE" create_foreign_table
        CompositeTypeStmt "CREATE TYPE" create_composite
    }
    sure {
        DropdbStmt "DROP DATABASE" drop_database
        GrantRoleStmt "GRANT ROLE" grant_role
        CreateRoleStmt "CREATE ROLE" create_role
        AlterRoleStmt "ALTER ROLE" alter_role
        DropRoleStmt "DROP ROLE" drop_role
        AlterSystemStmt "ALTER SYSTEM" alter_system
        AlterRoleSetStmt "ALTER ROLE SET" alter_role_set
        AlterDatabaseSetStmt "ALTER DATABASE SET" alter_database_set
        DeallocateStmt "DEALLOCATE" deallocate
        ClosePortalStmt "CLOSE" close
        DoStmt "DO" code_now
        VariableShowStmt "SHOW" show
        ListenStmt "LISTEN" listen
        UnlistenStmt "UNLISTEN" unlisten
        NotifyStmt "NOTIFY" notify
    }
    plain {
        AlterCollationStmt "ALTER COLLATION" DdlAdditive
        AlterDatabaseRefreshCollStmt "ALTER DATABASE REFRESH COLLATION" Server
        AlterDatabaseStmt "ALTER DATABASE" Server
        AlterDefaultPrivilegesStmt "ALTER DEFAULT PRIVILEGES" Authz
        AlterDomainStmt "ALTER DOMAIN" DdlRewriting
        AlterEnumStmt "ALTER TYPE" DdlAdditive
        AlterEventTrigStmt "ALTER EVENT TRIGGER" Code
        AlterExtensionContentsStmt "ALTER EXTENSION" Server
        AlterExtensionStmt "ALTER EXTENSION" Server
        AlterFdwStmt "ALTER FOREIGN DATA WRAPPER" Server
        AlterForeignServerStmt "ALTER SERVER" Server
        AlterFunctionStmt "ALTER FUNCTION" Code
        AlterObjectDependsStmt "ALTER … DEPENDS ON EXTENSION" DdlAdditive
        AlterObjectSchemaStmt "ALTER … SET SCHEMA" DdlRewriting
        AlterOpFamilyStmt "ALTER OPERATOR FAMILY" Code
        AlterOperatorStmt "ALTER OPERATOR" Code
        AlterOwnerStmt "ALTER … OWNER" Authz
        AlterPolicyStmt "ALTER POLICY" Authz
        AlterPublicationStmt "ALTER PUBLICATION" Server
        AlterSeqStmt "ALTER SEQUENCE" DdlAdditive
        AlterStatsStmt "ALTER STATISTICS" DdlAdditive
        AlterSubscriptionStmt "ALTER SUBSCRIPTION" Server
        AlterTableMoveAllStmt "ALTER … ALL IN TABLESPACE" DdlRewriting
        AlterTableSpaceOptionsStmt "ALTER TABLESPACE" Server
        AlterTsconfigurationStmt "ALTER TEXT SEARCH CONFIGURATION" DdlAdditive
        AlterTsdictionaryStmt "ALTER TEXT SEARCH DICTIONARY" DdlAdditive
        AlterTypeStmt "ALTER TYPE" Code
        AlterUserMappingStmt "ALTER USER MAPPING" Server
        CheckPointStmt "CHECKPOINT" Maintenance
        ClusterStmt "CLUSTER" DdlRewriting
        CommentStmt "COMMENT" DdlAdditive
        ConstraintsSetStmt "SET CONSTRAINTS" Setting
        CreateAmStmt "CREATE ACCESS METHOD" Server
        CreateCastStmt "CREATE CAST" Code
        CreateConversionStmt "CREATE CONVERSION" Code
        CreateDomainStmt "CREATE DOMAIN" DdlAdditive
        CreateEnumStmt "CREATE TYPE" DdlAdditive
        CreateEventTrigStmt "CREATE EVENT TRIGGER" Code
        CreateExtensionStmt "CREATE EXTENSION" Server
        CreateFdwStmt "CREATE FOREIGN DATA WRAPPER" Server
        CreateForeignServerStmt "CREATE SERVER" Server
        CreateOpClassStmt "CREATE OPERATOR CLASS" Code
        CreateOpFamilyStmt "CREATE OPERATOR FAMILY" Code
        CreatePlangStmt "CREATE LANGUAGE" Server
        CreatePolicyStmt "CREATE POLICY" Authz
        CreatePublicationStmt "CREATE PUBLICATION" Server
        CreateRangeStmt "CREATE TYPE" DdlAdditive
        CreateStatsStmt "CREATE STATISTICS" DdlAdditive
        CreateSubscriptionStmt "CREATE SUBSCRIPTION" Server
        CreateTableSpaceStmt "CREATE TABLESPACE" Server
        CreateTransformStmt "CREATE TRANSFORM" Code
        CreateUserMappingStmt "CREATE USER MAPPING" Server
        CreatedbStmt "CREATE DATABASE" Server
        DefineStmt "CREATE" Code
        DropSubscriptionStmt "DROP SUBSCRIPTION" Server
        DropTableSpaceStmt "DROP TABLESPACE" Server
        DropUserMappingStmt "DROP USER MAPPING" Server
        ImportForeignSchemaStmt "IMPORT FOREIGN SCHEMA" Network
        LoadStmt "LOAD" Server
        ReassignOwnedStmt "REASSIGN OWNED" Authz
        ReindexStmt "REINDEX" DdlRewriting
        SecLabelStmt "SECURITY LABEL" Authz
    }
}

/// The verb of a `COPY` whose rows come from the client, a file or a program.
pub(super) const COPY_IN: &str = "COPY FROM";

/// `AccessShareLock`, in PostgreSQL's `lockdefs.h`.
const ACCESS_SHARE: i32 = 1;

const fn transaction_verb(kind: TransactionStmtKind) -> &'static str {
    use TransactionStmtKind as Kind;
    match kind {
        Kind::TransStmtBegin | Kind::TransStmtStart => "BEGIN",
        Kind::TransStmtCommit => "COMMIT",
        Kind::TransStmtRollback => "ROLLBACK",
        Kind::TransStmtSavepoint => "SAVEPOINT",
        Kind::TransStmtRelease => "RELEASE",
        Kind::TransStmtRollbackTo => "ROLLBACK TO",
        Kind::TransStmtPrepare => "PREPARE TRANSACTION",
        Kind::TransStmtCommitPrepared => "COMMIT PREPARED",
        Kind::TransStmtRollbackPrepared => "ROLLBACK PREPARED",
        Kind::Undefined => "TRANSACTION",
    }
}

impl Walker<'_> {
    /// A statement that its kind says everything about; what it names is walked for functions and names.
    fn plain(&mut self, node: NodeRef<'_>, operation: Op) -> Walked {
        let mut things = self.named(node)?;
        things.extend(own_name(node));
        things.extend(own_list(node));
        self.account.does(operation, &things);
        Ok(())
    }

    fn query(&mut self, select: &pg_query::protobuf::SelectStmt) -> Walked {
        self.walk(NodeRef::SelectStmt(select), &Scope::default())?;
        if select.into_clause.is_none() {
            self.account.heavy = self.carried(select, &Scope::default()).is_none();
            self.account.leaves = Leaving::from(self.rows(select, &Scope::default()));
        }
        Ok(())
    }

    fn insert_alone(&mut self, insert: &pg_query::protobuf::InsertStmt) -> Walked {
        self.insert(insert, &Scope::default())
    }

    fn update_alone(&mut self, update: &pg_query::protobuf::UpdateStmt) -> Walked {
        self.update(update, &Scope::default())
    }

    fn delete_alone(&mut self, delete: &pg_query::protobuf::DeleteStmt) -> Walked {
        self.delete(delete, &Scope::default())
    }

    fn merge_alone(&mut self, merge: &pg_query::protobuf::MergeStmt) -> Walked {
        self.merge(merge, &Scope::default())
    }

    fn copy(&mut self, copy: &CopyStmt) -> Walked {
        self.options(&copy.options)?;
        self.account.columns.extend(copy.attlist.iter().filter_map(names::string));
        let outside = copy.is_program || !copy.filename.is_empty();
        if outside {
            let kind = if copy.is_program { "program" } else { "file" };
            self.account.does(Op::FileOrProgram, &[Thing::plain(kind, copy.filename.clone())]);
        }
        if copy.is_from {
            let relation = copy.relation.as_ref().ok_or(Unplaced::UnknownKind)?;
            let things = self.written(relation, Event::Insert)?;
            self.account.does(Op::Insert, &things);
            return self.maybe(copy.where_clause.as_deref(), &Scope::default());
        }
        let rows = match (&copy.relation, copy.query.as_deref()) {
            (Some(relation), _) => {
                self.account.star |= copy.attlist.is_empty();
                self.read(relation, &Scope::default())?;
                None
            }
            (None, Some(query)) => {
                self.walk(tree::node(query)?, &Scope::default())?;
                match &query.node {
                    Some(NodeEnum::SelectStmt(select)) => self.rows(select, &Scope::default()),
                    _ => None,
                }
            }
            (None, None) => return Err(Unplaced::UnknownKind.into()),
        };
        if !outside {
            self.account.leaves = Leaving::from(rows);
        }
        Ok(())
    }

    fn transaction(&mut self, statement: &TransactionStmt) -> Walked {
        use TransactionStmtKind as Kind;
        let chain = if statement.chain { Chain::Yes } else { Chain::No };
        let name = || statement.savepoint_name.clone();
        let id = || statement.gid.clone();
        let (operation, control) = match statement.kind() {
            Kind::TransStmtBegin | Kind::TransStmtStart => {
                (Op::Txn, TransactionControl::Begin { access: setting::access(&statement.options) })
            }
            Kind::TransStmtCommit => (Op::Txn, TransactionControl::Commit { chain }),
            Kind::TransStmtRollback => (Op::Txn, TransactionControl::Rollback { chain }),
            Kind::TransStmtSavepoint => (Op::Txn, TransactionControl::Savepoint { name: name() }),
            Kind::TransStmtRelease => (Op::Txn, TransactionControl::Release { name: name() }),
            Kind::TransStmtRollbackTo => (Op::Txn, TransactionControl::RollbackTo { name: name() }),
            Kind::TransStmtPrepare => (Op::TxnPrepared, TransactionControl::Prepare { id: id() }),
            Kind::TransStmtCommitPrepared => {
                (Op::TxnPrepared, TransactionControl::CommitPrepared { id: id() })
            }
            Kind::TransStmtRollbackPrepared => {
                (Op::TxnPrepared, TransactionControl::RollbackPrepared { id: id() })
            }
            Kind::Undefined => return Err(Unplaced::UnknownKind.into()),
        };
        let things = if statement.gid.is_empty() { vec![] } else { vec![Thing::plain("transaction", id())] };
        self.account.does(operation, &things);
        self.account.session.push(SessionEffect::Transaction(control));
        Ok(())
    }

    fn show(&mut self, show: &pg_query::protobuf::VariableShowStmt) {
        self.account.does(Op::Read, &[Thing::plain("setting", show.name.to_lowercase())]);
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "called like every other statement")]
    fn discard(&mut self, discard: &pg_query::protobuf::DiscardStmt) -> Walked {
        match discard.target() {
            DiscardMode::DiscardAll => self.account.session.push(SessionEffect::Discard),
            DiscardMode::DiscardTemp => {
                self.account.session.push(SessionEffect::DropTemporary { name: None });
            }
            DiscardMode::DiscardPlans | DiscardMode::DiscardSequences => {}
            DiscardMode::Undefined => return Err(Unplaced::UnknownKind.into()),
        }
        self.account.does(Op::Setting, &[]);
        Ok(())
    }

    fn truncate(&mut self, truncate: &TruncateStmt) -> Walked {
        let mut things = Vec::new();
        for node in &truncate.relations {
            let Some(NodeEnum::RangeVar(relation)) = &node.node else {
                return Err(Unplaced::UnknownKind.into());
            };
            things.extend(self.written(relation, Event::Truncate)?);
            if truncate.behavior() == pg_query::protobuf::DropBehavior::DropCascade {
                self.truncates(relation);
            }
        }
        self.account.does(Event::Truncate.unbounded(), &things);
        self.account.star = true;
        self.account.condition = Some(super::bounds::Condition::Missing);
        Ok(())
    }

    fn lock(&mut self, lock: &LockStmt) -> Walked {
        let mut things = Vec::new();
        for node in &lock.relations {
            let Some(NodeEnum::RangeVar(relation)) = &node.node else {
                return Err(Unplaced::UnknownKind.into());
            };
            things.push(self.thing(relation));
        }
        if lock.mode == ACCESS_SHARE {
            // Nobody waits for it but who would change the table: a read takes the same.
            for thing in things {
                self.account.reads(thing);
            }
        } else {
            self.account.does(Op::Lock, &things);
        }
        Ok(())
    }

    fn vacuum(&mut self, vacuum: &VacuumStmt) -> Walked {
        let options: Vec<_> = vacuum.options.iter().filter_map(setting::option).collect();
        let full = options.iter().any(|option| option.0 == "full" && setting::is_on(option));
        let mut things = Vec::new();
        for node in &vacuum.rels {
            let Some(NodeEnum::VacuumRelation(of)) = &node.node else {
                return Err(Unplaced::UnknownKind.into());
            };
            things.extend(of.relation.iter().map(|relation| self.thing(relation)));
        }
        self.account.does(if full { Op::DdlRewriting } else { Op::Maintenance }, &things);
        Ok(())
    }

    fn listen(&mut self, listen: &pg_query::protobuf::ListenStmt) {
        self.account.does(Op::Notify, &[Thing::plain("channel", listen.conditionname.clone())]);
        self.account.session.push(SessionEffect::Listen);
    }

    fn unlisten(&mut self, _unlisten: &pg_query::protobuf::UnlistenStmt) {
        self.account.does(Op::Setting, &[]);
    }

    fn notify(&mut self, notify: &pg_query::protobuf::NotifyStmt) {
        self.account.does(Op::Notify, &[Thing::plain("channel", notify.conditionname.clone())]);
    }

    /// The options of a command: plain words, or parts to be walked.
    fn options(&mut self, options: &[Node]) -> Walked {
        options.iter().try_for_each(|option| self.part(tree::node(option)?).map(|_| ()))
    }

    /// `name` where an object is named by a list of strings.
    fn name_of(parts: &[Node]) -> Result<Name, Obscure> {
        Name::of(parts).ok_or_else(|| Obscure("it names nothing".into()))
    }
}

/// The names of their own that statements give or use, where they are plain texts and no parts of the tree.
macro_rules! own_names {
    ($($kind:ident $what:literal $field:ident)*) => {
        fn own_name(node: NodeRef<'_>) -> Option<Thing> {
            let named = |kind, name: &str| (!name.is_empty()).then(|| Thing::plain(kind, names::identifier(name)));
            $(if let NodeRef::$kind(statement) = node { return named($what, &statement.$field); })*
            None
        }
    };
}

/// The same where the name is a list of strings.
macro_rules! own_lists {
    ($($kind:ident $what:literal $field:ident)*) => {
        fn own_list(node: NodeRef<'_>) -> Option<Thing> {
            let named = |kind, name: &[Node]| Name::of(name).map(|name| Thing::plain(kind, name.shown()));
            $(if let NodeRef::$kind(statement) = node { return named($what, &statement.$field); })*
            None
        }
    };
}

own_lists! {
    AlterCollationStmt "collation" collname
    AlterDomainStmt "type" type_name
    AlterEnumStmt "type" type_name
    AlterOpFamilyStmt "operator" opfamilyname
    AlterStatsStmt "statistics" defnames
    AlterTsconfigurationStmt "text-search" cfgname
    AlterTsdictionaryStmt "text-search" dictname
    AlterTypeStmt "type" type_name
    CreateConversionStmt "conversion" conversion_name
    CreateDomainStmt "type" domainname
    CreateEnumStmt "type" type_name
    CreateOpClassStmt "operator" opclassname
    CreateOpFamilyStmt "operator" opfamilyname
    CreateRangeStmt "type" type_name
    CreateStatsStmt "statistics" defnames
    DefineStmt "object" defnames
}

own_names! {
    AlterDatabaseRefreshCollStmt "database" dbname
    AlterDatabaseStmt "database" dbname
    CreatedbStmt "database" dbname
    AlterEventTrigStmt "event-trigger" trigname
    CreateEventTrigStmt "event-trigger" trigname
    AlterExtensionContentsStmt "extension" extname
    AlterExtensionStmt "extension" extname
    CreateExtensionStmt "extension" extname
    AlterFdwStmt "foreign-data-wrapper" fdwname
    CreateFdwStmt "foreign-data-wrapper" fdwname
    AlterForeignServerStmt "server" servername
    CreateForeignServerStmt "server" servername
    ImportForeignSchemaStmt "server" server_name
    AlterUserMappingStmt "server" servername
    CreateUserMappingStmt "server" servername
    DropUserMappingStmt "server" servername
    AlterPolicyStmt "policy" policy_name
    CreatePolicyStmt "policy" policy_name
    AlterPublicationStmt "publication" pubname
    CreatePublicationStmt "publication" pubname
    AlterSubscriptionStmt "subscription" subname
    CreateSubscriptionStmt "subscription" subname
    DropSubscriptionStmt "subscription" subname
    AlterTableSpaceOptionsStmt "tablespace" tablespacename
    CreateTableSpaceStmt "tablespace" tablespacename
    DropTableSpaceStmt "tablespace" tablespacename
    AlterTableMoveAllStmt "tablespace" orig_tablespacename
    CreateAmStmt "access-method" amname
    CreatePlangStmt "language" plname
    LoadStmt "library" filename
    ReindexStmt "object" name
    AlterDomainStmt "constraint" name
    CreateTransformStmt "language" lang
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What the grammar can make a statement of is done here, and nothing else is.
    #[test]
    fn every_statement_of_the_grammar_is_listed() {
        let listed: BTreeSet<&str> = KINDS.iter().copied().collect();
        assert_eq!(listed.len(), KINDS.len(), "listed twice");
        let queries = ["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"];
        let commands: BTreeSet<&str> = tree::COMMANDS.iter().copied().chain(queries).collect();
        assert_eq!(listed, commands);
    }
}
