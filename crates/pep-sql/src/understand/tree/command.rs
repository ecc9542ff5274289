//! The nodes of commands and definitions, field by field: `[parts] [parts that may be missing] [plain values]`.

use super::{Found, HasParts, Parts, fields};
use pg_query::protobuf::{
    AccessPriv, AlterCollationStmt, AlterDatabaseRefreshCollStmt, AlterDatabaseSetStmt, AlterDatabaseStmt,
    AlterDefaultPrivilegesStmt, AlterDomainStmt, AlterEnumStmt, AlterEventTrigStmt,
    AlterExtensionContentsStmt, AlterExtensionStmt, AlterFdwStmt, AlterForeignServerStmt, AlterFunctionStmt,
    AlterObjectDependsStmt, AlterObjectSchemaStmt, AlterOpFamilyStmt, AlterOperatorStmt, AlterOwnerStmt,
    AlterPolicyStmt, AlterPublicationStmt, AlterRoleSetStmt, AlterRoleStmt, AlterSeqStmt, AlterStatsStmt,
    AlterSubscriptionStmt, AlterSystemStmt, AlterTableCmd, AlterTableMoveAllStmt, AlterTableSpaceOptionsStmt,
    AlterTableStmt, AlterTsConfigurationStmt, AlterTsDictionaryStmt, AlterTypeStmt, AlterUserMappingStmt,
    AtAlterConstraint, CallStmt, CheckPointStmt, ClosePortalStmt, ClusterStmt, ColumnDef, CommentStmt,
    CompositeTypeStmt, Constraint, ConstraintsSetStmt, CopyStmt, CreateAmStmt, CreateCastStmt,
    CreateConversionStmt, CreateDomainStmt, CreateEnumStmt, CreateEventTrigStmt, CreateExtensionStmt,
    CreateFdwStmt, CreateForeignServerStmt, CreateForeignTableStmt, CreateFunctionStmt, CreateOpClassItem,
    CreateOpClassStmt, CreateOpFamilyStmt, CreatePLangStmt, CreatePolicyStmt, CreatePublicationStmt,
    CreateRangeStmt, CreateRoleStmt, CreateSchemaStmt, CreateSeqStmt, CreateStatsStmt, CreateStmt,
    CreateSubscriptionStmt, CreateTableAsStmt, CreateTableSpaceStmt, CreateTransformStmt, CreateTrigStmt,
    CreateUserMappingStmt, CreatedbStmt, DeallocateStmt, DeclareCursorStmt, DefineStmt, DiscardStmt, DoStmt,
    DropOwnedStmt, DropRoleStmt, DropStmt, DropSubscriptionStmt, DropTableSpaceStmt, DropUserMappingStmt,
    DropdbStmt, ExecuteStmt, ExplainStmt, FetchStmt, FunctionParameter, GrantRoleStmt, GrantStmt,
    ImportForeignSchemaStmt, IndexStmt, ListenStmt, LoadStmt, LockStmt, NotifyStmt, ObjectWithArgs,
    PartitionBoundSpec, PartitionCmd, PartitionElem, PartitionRangeDatum, PartitionSpec, PrepareStmt,
    PublicationObjSpec, PublicationTable, ReassignOwnedStmt, RefreshMatViewStmt, ReindexStmt, RenameStmt,
    ReplicaIdentityStmt, RuleStmt, SecLabelStmt, StatsElem, TableLikeClause, TransactionStmt,
    TriggerTransition, TruncateStmt, UnlistenStmt, VacuumRelation, VacuumStmt, VariableSetStmt,
    VariableShowStmt, ViewStmt,
};

fields! {
    AccessPriv { [cols] [] [priv_name] }
    AlterCollationStmt { [collname] [] [] }
    AlterDatabaseRefreshCollStmt { [] [] [dbname] }
    AlterDatabaseSetStmt { [setstmt] [] [dbname] }
    AlterDatabaseStmt { [options] [] [dbname] }
    AlterDefaultPrivilegesStmt { [options, action] [] [] }
    AlterDomainStmt { [type_name, def] [] [subtype, name, behavior, missing_ok] }
    AlterEnumStmt {
        [type_name]
        []
        [old_val, new_val, new_val_neighbor, new_val_is_after, skip_if_new_val_exists]
    }
    AlterEventTrigStmt { [] [] [trigname, tgenabled] }
    AlterExtensionContentsStmt { [object] [] [extname, action, objtype] }
    AlterExtensionStmt { [options] [] [extname] }
    AlterFdwStmt { [func_options, options] [] [fdwname] }
    AlterForeignServerStmt { [options] [] [servername, version, has_version] }
    AlterFunctionStmt { [func, actions] [] [objtype] }
    AlterObjectDependsStmt { [relation, object] [] [object_type, extname, remove] }
    AlterObjectSchemaStmt { [relation, object] [] [object_type, newschema, missing_ok] }
    AlterOpFamilyStmt { [opfamilyname, items] [] [amname, is_drop] }
    AlterOperatorStmt { [opername, options] [] [] }
    AlterOwnerStmt { [relation, object, newowner] [] [object_type] }
    AlterPolicyStmt { [table, roles, qual, with_check] [] [policy_name] }
    AlterPublicationStmt { [options, pubobjects] [] [pubname, for_all_tables, action] }
    AlterRoleSetStmt { [role, setstmt] [] [database] }
    AlterRoleStmt { [role, options] [] [action] }
    AlterSeqStmt { [sequence, options] [] [for_identity, missing_ok] }
    AlterStatsStmt { [defnames, stxstattarget] [] [missing_ok] }
    AlterSubscriptionStmt { [publication, options] [] [kind, subname, conninfo, conninfo_location] }
    AlterSystemStmt { [setstmt] [] [] }
    AlterTableCmd { [newowner, def] [] [subtype, name, num, behavior, missing_ok, recurse] }
    AlterTableMoveAllStmt { [roles] [] [orig_tablespacename, objtype, new_tablespacename, nowait] }
    AlterTableSpaceOptionsStmt { [options] [] [tablespacename, is_reset] }
    AlterTableStmt { [relation, cmds] [] [objtype, missing_ok] }
    AlterTsConfigurationStmt { [cfgname, tokentype, dicts] [] [kind, r#override, replace, missing_ok] }
    AlterTsDictionaryStmt { [dictname, options] [] [] }
    AlterTypeStmt { [type_name, options] [] [] }
    AlterUserMappingStmt { [user, options] [] [servername] }
    AtAlterConstraint {
        []
        []
        [conname, alter_enforceability, is_enforced, alter_deferrability, deferrable,
         initdeferred, alter_inheritability, noinherit]
    }
    CallStmt { [funccall, outargs] [] [funcexpr] }
    CheckPointStmt { [] [] [] }
    ClosePortalStmt { [] [] [portalname] }
    ClusterStmt { [relation, params] [] [indexname] }
    ColumnDef {
        [type_name, raw_default, cooked_default, identity_sequence, coll_clause, constraints,
         fdwoptions]
        []
        [colname, compression, inhcount, is_local, is_not_null, is_from_type, storage,
         storage_name, identity, generated, coll_oid, location]
    }
    CommentStmt { [object] [] [objtype, comment] }
    CompositeTypeStmt { [typevar, coldeflist] [] [] }
    Constraint {
        [raw_expr, keys, including, exclusions, options, where_clause, pktable, fk_attrs,
         pk_attrs, fk_del_set_cols, old_conpfeqop]
        []
        [contype, conname, deferrable, initdeferred, is_enforced, skip_validation,
         initially_valid, is_no_inherit, cooked_expr, generated_when, generated_kind,
         nulls_not_distinct, without_overlaps, indexname, indexspace, reset_default_tblspc,
         access_method, fk_with_period, pk_with_period, fk_matchtype, fk_upd_action,
         fk_del_action, old_pktable_oid, location]
    }
    ConstraintsSetStmt { [constraints] [] [deferred] }
    CopyStmt { [relation, query, attlist, options, where_clause] [] [is_from, is_program, filename] }
    CreateAmStmt { [handler_name] [] [amname, amtype] }
    CreateCastStmt { [sourcetype, targettype, func] [] [context, inout] }
    CreateConversionStmt { [conversion_name, func_name] [] [for_encoding_name, to_encoding_name, def] }
    CreateDomainStmt { [domainname, type_name, coll_clause, constraints] [] [] }
    CreateEnumStmt { [type_name, vals] [] [] }
    CreateEventTrigStmt { [whenclause, funcname] [] [trigname, eventname] }
    CreateExtensionStmt { [options] [] [extname, if_not_exists] }
    CreateFdwStmt { [func_options, options] [] [fdwname] }
    CreateForeignServerStmt { [options] [] [servername, servertype, version, fdwname, if_not_exists] }
    CreateForeignTableStmt { [base_stmt, options] [] [servername] }
    CreateFunctionStmt { [funcname, parameters, return_type, options, sql_body] [] [is_procedure, replace] }
    CreateOpClassItem { [name, order_family, class_args, storedtype] [] [itemtype, number] }
    CreateOpClassStmt { [opclassname, opfamilyname, datatype, items] [] [amname, is_default] }
    CreateOpFamilyStmt { [opfamilyname] [] [amname] }
    CreatePLangStmt { [plhandler, plinline, plvalidator] [] [replace, plname, pltrusted] }
    CreatePolicyStmt { [table, roles, qual, with_check] [] [policy_name, cmd_name, permissive] }
    CreatePublicationStmt { [options, pubobjects] [] [pubname, for_all_tables] }
    CreateRangeStmt { [type_name, params] [] [] }
    CreateRoleStmt { [options] [] [stmt_type, role] }
    CreateSchemaStmt { [authrole, schema_elts] [] [schemaname, if_not_exists] }
    CreateSeqStmt { [sequence, options] [] [owner_id, for_identity, if_not_exists] }
    CreateStatsStmt { [defnames, stat_types, exprs, relations] [] [stxcomment, transformed, if_not_exists] }
    CreateStmt {
        [relation, table_elts, inh_relations, partbound, partspec, of_typename, constraints,
         nnconstraints, options]
        []
        [oncommit, tablespacename, access_method, if_not_exists]
    }
    CreateSubscriptionStmt { [publication, options] [] [subname, conninfo, conninfo_location] }
    CreateTableAsStmt { [query, into] [] [objtype, is_select_into, if_not_exists] }
    CreateTableSpaceStmt { [owner, options] [] [tablespacename, location] }
    CreateTransformStmt { [type_name, fromsql, tosql] [] [replace, lang] }
    CreateTrigStmt {
        [relation, funcname, args, columns, when_clause, transition_rels, constrrel]
        []
        [replace, isconstraint, trigname, row, timing, events, deferrable, initdeferred]
    }
    CreateUserMappingStmt { [user, options] [] [servername, if_not_exists] }
    CreatedbStmt { [options] [] [dbname] }
    DeallocateStmt { [] [] [name, isall, location] }
    DeclareCursorStmt { [query] [] [portalname, options] }
    DefineStmt { [defnames, definition] [args] [kind, oldstyle, if_not_exists, replace] }
    DiscardStmt { [] [] [target] }
    DoStmt { [args] [] [] }
    DropOwnedStmt { [roles] [] [behavior] }
    DropRoleStmt { [roles] [] [missing_ok] }
    DropStmt { [objects] [] [remove_type, behavior, missing_ok, concurrent] }
    DropSubscriptionStmt { [] [] [subname, missing_ok, behavior] }
    DropTableSpaceStmt { [] [] [tablespacename, missing_ok] }
    DropUserMappingStmt { [user] [] [servername, missing_ok] }
    DropdbStmt { [options] [] [dbname, missing_ok] }
    ExecuteStmt { [params] [] [name] }
    ExplainStmt { [query, options] [] [] }
    FetchStmt { [] [] [direction, how_many, portalname, ismove] }
    FunctionParameter { [arg_type, defexpr] [] [name, mode, location] }
    GrantRoleStmt { [granted_roles, grantee_roles, opt, grantor] [] [is_grant, behavior] }
    GrantStmt {
        [objects, privileges, grantees, grantor]
        []
        [is_grant, targtype, objtype, grant_option, behavior]
    }
    ImportForeignSchemaStmt {
        [table_list, options]
        []
        [server_name, remote_schema, local_schema, list_type]
    }
    IndexStmt {
        [relation, index_params, index_including_params, options, where_clause, exclude_op_names]
        []
        [idxname, access_method, table_space, idxcomment, index_oid, old_number,
         old_create_subid, old_first_relfilelocator_subid, unique, nulls_not_distinct, primary,
         isconstraint, iswithoutoverlaps, deferrable, initdeferred, transformed, concurrent,
         if_not_exists, reset_default_tblspc]
    }
    ListenStmt { [] [] [conditionname] }
    LoadStmt { [] [] [filename] }
    LockStmt { [relations] [] [mode, nowait] }
    NotifyStmt { [] [] [conditionname, payload, payload_location] }
    ObjectWithArgs { [objname, objfuncargs] [objargs] [args_unspecified] }
    PartitionBoundSpec {
        [listdatums, lowerdatums, upperdatums]
        []
        [strategy, is_default, modulus, remainder, location]
    }
    PartitionCmd { [name, bound] [] [concurrent] }
    PartitionElem { [expr, collation, opclass] [] [name, location] }
    PartitionRangeDatum { [value] [] [kind, location] }
    PartitionSpec { [part_params] [] [strategy, location] }
    PrepareStmt { [argtypes, query] [] [name] }
    PublicationObjSpec { [pubtable] [] [pubobjtype, name, location] }
    PublicationTable { [relation, where_clause, columns] [] [] }
    ReassignOwnedStmt { [roles, newrole] [] [] }
    RefreshMatViewStmt { [relation] [] [concurrent, skip_data] }
    ReindexStmt { [relation, params] [] [kind, name] }
    RenameStmt {
        [relation, object]
        []
        [rename_type, relation_type, subname, newname, behavior, missing_ok]
    }
    ReplicaIdentityStmt { [] [] [identity_type, name] }
    RuleStmt { [relation, where_clause, actions] [] [rulename, event, instead, replace] }
    SecLabelStmt { [object] [] [objtype, provider, label] }
    StatsElem { [expr] [] [name] }
    TableLikeClause { [relation] [] [options, relation_oid] }
    TransactionStmt { [options] [] [kind, savepoint_name, gid, chain, location] }
    TriggerTransition { [] [] [name, is_new, is_table] }
    TruncateStmt { [relations] [] [restart_seqs, behavior] }
    UnlistenStmt { [] [] [conditionname] }
    VacuumRelation { [relation, va_cols] [] [oid] }
    VacuumStmt { [options, rels] [] [is_vacuumcmd] }
    VariableSetStmt { [args] [] [kind, name, jumble_args, is_local, location] }
    VariableShowStmt { [] [] [name] }
    ViewStmt { [view, aliases, query, options] [] [replace, with_check_option] }
}
