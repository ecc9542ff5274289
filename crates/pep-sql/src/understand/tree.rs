//! The parse tree, whole: every kind of node the grammar can make is placed here, and every field of it is either a
//! part to be walked or a plain value. A kind or field that is new does not compile until placed.

mod command;
mod query;

use pg_query::{Node, NodeRef, protobuf as pg};

/// Why a tree cannot be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unplaced {
    /// A node of a kind this build does not know.
    UnknownKind,
    /// A node that only a server's analysis makes; no text can hold it.
    OnlyAnalysed,
}

/// Where a kind of node belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Part of a query, an expression or their clauses.
    Query,
    /// A statement of its own that is no query.
    Command,
    /// A definition inside a statement.
    Definition,
    /// Made by analysis or planning only.
    Analysed,
}

/// The parts of one node, in the order of its fields.
#[derive(Debug, Default)]
pub(super) struct Parts<'t>(pub(super) Vec<NodeRef<'t>>);

/// Whether every part was of a known kind.
type Found = Result<(), Unplaced>;

/// A node that names its parts.
trait HasParts {
    fn parts<'t>(&'t self, out: &mut Parts<'t>) -> Found;
}

/// A field that holds parts.
trait Part<'t> {
    fn append(self, out: &mut Parts<'t>) -> Found;
}

impl<'t> Parts<'t> {
    fn add(&mut self, part: impl Part<'t>) -> Found {
        part.append(self)
    }

    /// A list in which the grammar leaves places empty.
    fn sparse(&mut self, nodes: &'t [Node]) {
        self.0.extend(nodes.iter().filter_map(|node| node.node.as_ref()).map(pg_query::NodeEnum::to_ref));
    }
}

/// One node of a list or a field.
pub(super) fn node(node: &Node) -> Result<NodeRef<'_>, Unplaced> {
    node.node.as_ref().map(pg_query::NodeEnum::to_ref).ok_or(Unplaced::UnknownKind)
}

impl<'t> Part<'t> for &'t Vec<Node> {
    fn append(self, out: &mut Parts<'t>) -> Found {
        for part in self {
            out.0.push(node(part)?);
        }
        Ok(())
    }
}

impl<'t> Part<'t> for &'t Option<Box<Node>> {
    fn append(self, out: &mut Parts<'t>) -> Found {
        if let Some(part) = self {
            out.0.push(node(part)?);
        }
        Ok(())
    }
}

/// Fields that hold one kind of node.
macro_rules! typed {
    ($($kind:ident = $of:ty),* $(,)?) => { $(
        impl<'t> Part<'t> for &'t Option<$of> {
            fn append(self, out: &mut Parts<'t>) -> Found {
                out.0.extend(self.iter().map(|part| NodeRef::$kind(part)));
                Ok(())
            }
        }
    )* };
}

typed! {
    Alias = pg::Alias, CreateStmt = pg::CreateStmt, CtesearchClause = pg::CteSearchClause,
    GrantStmt = pg::GrantStmt, JsonFormat = pg::JsonFormat, JsonOutput = pg::JsonOutput,
    JsonReturning = pg::JsonReturning, ObjectWithArgs = pg::ObjectWithArgs,
    PartitionBoundSpec = pg::PartitionBoundSpec, PartitionSpec = pg::PartitionSpec, RangeVar = pg::RangeVar,
    ReturningClause = pg::ReturningClause, RoleSpec = pg::RoleSpec, TypeName = pg::TypeName,
    VariableSetStmt = pg::VariableSetStmt, WithClause = pg::WithClause, CollateClause = Box<pg::CollateClause>,
    CtecycleClause = Box<pg::CteCycleClause>, FuncCall = Box<pg::FuncCall>, InferClause = Box<pg::InferClause>,
    IntoClause = Box<pg::IntoClause>, JsonAggConstructor = Box<pg::JsonAggConstructor>,
    JsonBehavior = Box<pg::JsonBehavior>, JsonKeyValue = Box<pg::JsonKeyValue>,
    JsonTablePathSpec = Box<pg::JsonTablePathSpec>, JsonValueExpr = Box<pg::JsonValueExpr>,
    OnConflictClause = Box<pg::OnConflictClause>, PublicationTable = Box<pg::PublicationTable>,
    SelectStmt = Box<pg::SelectStmt>, WindowDef = Box<pg::WindowDef>,
}

/// Names the fields of nodes: parts, parts that may be missing, plain values. Whole by construction.
macro_rules! fields {
    ($($kind:ident { [$($part:ident),*] [$($sparse:ident),*] [$($plain:ident),*] })*) => { $(
        impl HasParts for $kind {
            fn parts<'t>(&'t self, _out: &mut Parts<'t>) -> Found {
                let Self { $($part,)* $($sparse,)* $($plain: _,)* } = self;
                $(_out.add($part)?;)*
                $(_out.sparse($sparse);)*
                Ok(())
            }
        }
    )* };
}
use fields;

/// Every kind of node, by its place.
macro_rules! places {
    (query { $($query:ident)* } command { $($command:ident)* } definition { $($definition:ident)* } analysed { $($analysed:ident)* }) => {
        #[cfg(test)]
        pub(super) const COMMANDS: &[&str] = &[$(stringify!($command)),*];

        /// Where this kind of node belongs.
        pub(super) fn place(node: NodeRef<'_>) -> Place {
            match node {
                $(NodeRef::$query(_))|* => Place::Query,
                $(NodeRef::$command(_))|* => Place::Command,
                $(NodeRef::$definition(_))|* => Place::Definition,
                $(NodeRef::$analysed(_))|* => Place::Analysed,
            }
        }

        /// The parts of a node, in the order of its fields.
        pub(super) fn parts(node: NodeRef<'_>) -> Result<Vec<NodeRef<'_>>, Unplaced> {
            let mut out = Parts::default();
            match node {
                $(NodeRef::$query(node) => node.parts(&mut out)?,)*
                $(NodeRef::$command(node) => node.parts(&mut out)?,)*
                $(NodeRef::$definition(node) => node.parts(&mut out)?,)*
                $(NodeRef::$analysed(_))|* => return Err(Unplaced::OnlyAnalysed),
            }
            Ok(out.0)
        }

        /// What a kind of node is called, for refusals and tests.
        pub(super) fn kind(node: NodeRef<'_>) -> &'static str {
            match node {
                $(NodeRef::$query(_) => stringify!($query),)*
                $(NodeRef::$command(_) => stringify!($command),)*
                $(NodeRef::$definition(_) => stringify!($definition),)*
                $(NodeRef::$analysed(_) => stringify!($analysed),)*
            }
        }
    };
}

places! {
    query {
        AArrayExpr AConst AExpr AIndices AIndirection AStar Alias BitString BoolExpr Boolean
        BooleanTest CaseExpr CaseWhen CoalesceExpr CollateClause ColumnRef CommonTableExpr
        CtecycleClause CtesearchClause CurrentOfExpr DefElem DeleteStmt Float FuncCall GroupingFunc
        GroupingSet IndexElem InferClause InsertStmt Integer IntoClause JoinExpr JsonAggConstructor
        JsonArgument JsonArrayAgg JsonArrayConstructor JsonArrayQueryConstructor JsonBehavior
        JsonFormat JsonFuncExpr JsonIsPredicate JsonKeyValue JsonObjectAgg JsonObjectConstructor
        JsonOutput JsonParseExpr JsonReturning JsonScalarExpr JsonSerializeExpr JsonTable
        JsonTableColumn JsonTablePathSpec JsonValueExpr List LockingClause MergeStmt
        MergeSupportFunc MergeWhenClause MinMaxExpr MultiAssignRef NamedArgExpr NullTest
        OnConflictClause ParamRef RangeFunction RangeSubselect RangeTableFunc RangeTableFuncCol
        RangeTableSample RangeVar ResTarget ReturnStmt ReturningClause ReturningOption RoleSpec
        RowExpr SelectStmt SetToDefault SortBy SqlvalueFunction String SubLink TypeCast TypeName
        UpdateStmt WindowDef WithClause XmlExpr XmlSerialize
    }
    command {
        AlterCollationStmt AlterDatabaseRefreshCollStmt AlterDatabaseSetStmt AlterDatabaseStmt
        AlterDefaultPrivilegesStmt AlterDomainStmt AlterEnumStmt AlterEventTrigStmt
        AlterExtensionContentsStmt AlterExtensionStmt AlterFdwStmt AlterForeignServerStmt
        AlterFunctionStmt AlterObjectDependsStmt AlterObjectSchemaStmt AlterOpFamilyStmt
        AlterOperatorStmt AlterOwnerStmt AlterPolicyStmt AlterPublicationStmt AlterRoleSetStmt
        AlterRoleStmt AlterSeqStmt AlterStatsStmt AlterSubscriptionStmt AlterSystemStmt
        AlterTableMoveAllStmt AlterTableSpaceOptionsStmt AlterTableStmt AlterTsconfigurationStmt
        AlterTsdictionaryStmt AlterTypeStmt AlterUserMappingStmt CallStmt CheckPointStmt
        ClosePortalStmt ClusterStmt CommentStmt CompositeTypeStmt ConstraintsSetStmt CopyStmt
        CreateAmStmt CreateCastStmt CreateConversionStmt CreateDomainStmt CreateEnumStmt
        CreateEventTrigStmt CreateExtensionStmt CreateFdwStmt CreateForeignServerStmt
        CreateForeignTableStmt CreateFunctionStmt CreateOpClassStmt CreateOpFamilyStmt
        CreatePlangStmt CreatePolicyStmt CreatePublicationStmt CreateRangeStmt CreateRoleStmt
        CreateSchemaStmt CreateSeqStmt CreateStatsStmt CreateStmt CreateSubscriptionStmt
        CreateTableAsStmt CreateTableSpaceStmt CreateTransformStmt CreateTrigStmt
        CreateUserMappingStmt CreatedbStmt DeallocateStmt DeclareCursorStmt DefineStmt DiscardStmt
        DoStmt DropOwnedStmt DropRoleStmt DropStmt DropSubscriptionStmt DropTableSpaceStmt
        DropUserMappingStmt DropdbStmt ExecuteStmt ExplainStmt FetchStmt GrantRoleStmt GrantStmt
        ImportForeignSchemaStmt IndexStmt ListenStmt LoadStmt LockStmt NotifyStmt PrepareStmt
        ReassignOwnedStmt RefreshMatViewStmt ReindexStmt RenameStmt RuleStmt SecLabelStmt
        TransactionStmt TruncateStmt UnlistenStmt VacuumStmt VariableSetStmt VariableShowStmt
        ViewStmt
    }
    definition {
        AccessPriv AlterTableCmd AtalterConstraint ColumnDef Constraint CreateOpClassItem
        FunctionParameter ObjectWithArgs PartitionBoundSpec PartitionCmd PartitionElem
        PartitionRangeDatum PartitionSpec PublicationObjSpec PublicationTable ReplicaIdentityStmt
        StatsElem TableLikeClause TriggerTransition VacuumRelation
    }
    analysed {
        Aggref AlternativeSubPlan ArrayCoerceExpr ArrayExpr CallContext CaseTestExpr CoerceToDomain
        CoerceToDomainValue CoerceViaIo CollateExpr ConvertRowtypeExpr DistinctExpr FieldSelect
        FieldStore FromExpr FuncExpr InferenceElem InlineCodeBlock IntList JsonConstructorExpr
        JsonExpr JsonTablePath JsonTablePathScan JsonTableSiblingJoin MergeAction NextValueExpr
        NullIfExpr OidList OnConflictExpr OpExpr Param PlassignStmt Query RangeTblEntry
        RangeTblFunction RangeTblRef RawStmt RelabelType ReturningExpr RowCompareExpr RowMarkClause
        RtepermissionInfo ScalarArrayOpExpr SetOperationStmt SortGroupClause SubPlan SubscriptingRef
        TableFunc TableSampleClause TargetEntry Var WindowClause WindowFunc WindowFuncRunCondition
        WithCheckOption
    }
}
