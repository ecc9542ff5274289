//! The nodes of queries and expressions, field by field: `[parts] [parts that may be missing] [plain values]`.

use super::{Found, HasParts, Parts, fields};
use pg_query::protobuf::{
    AArrayExpr, AConst, AExpr, AIndices, AIndirection, AStar, Alias, BitString, BoolExpr, Boolean,
    BooleanTest, CaseExpr, CaseWhen, CoalesceExpr, CollateClause, ColumnRef, CommonTableExpr, CteCycleClause,
    CteSearchClause, CurrentOfExpr, DefElem, DeleteStmt, Float, FuncCall, GroupingFunc, GroupingSet,
    IndexElem, InferClause, InsertStmt, Integer, IntoClause, JoinExpr, JsonAggConstructor, JsonArgument,
    JsonArrayAgg, JsonArrayConstructor, JsonArrayQueryConstructor, JsonBehavior, JsonFormat, JsonFuncExpr,
    JsonIsPredicate, JsonKeyValue, JsonObjectAgg, JsonObjectConstructor, JsonOutput, JsonParseExpr,
    JsonReturning, JsonScalarExpr, JsonSerializeExpr, JsonTable, JsonTableColumn, JsonTablePathSpec,
    JsonValueExpr, List, LockingClause, MergeStmt, MergeSupportFunc, MergeWhenClause, MinMaxExpr,
    MultiAssignRef, NamedArgExpr, NullTest, OnConflictClause, ParamRef, RangeFunction, RangeSubselect,
    RangeTableFunc, RangeTableFuncCol, RangeTableSample, RangeVar, ResTarget, ReturnStmt, ReturningClause,
    ReturningOption, RoleSpec, RowExpr, SelectStmt, SetToDefault, SortBy, SqlValueFunction, String, SubLink,
    TypeCast, TypeName, UpdateStmt, WindowDef, WithClause, XmlExpr, XmlSerialize,
};

fields! {
    AArrayExpr { [elements] [] [list_start, list_end, location] }
    AConst { [] [] [isnull, location, val] }
    AExpr { [name, lexpr, rexpr] [] [kind, rexpr_list_start, rexpr_list_end, location] }
    AIndices { [lidx, uidx] [] [is_slice] }
    AIndirection { [arg, indirection] [] [] }
    AStar { [] [] [] }
    Alias { [colnames] [] [aliasname] }
    BitString { [] [] [bsval] }
    BoolExpr { [args] [] [xpr, boolop, location] }
    Boolean { [] [] [boolval] }
    BooleanTest { [arg] [] [xpr, booltesttype, location] }
    CaseExpr { [arg, args, defresult] [] [xpr, casetype, casecollid, location] }
    CaseWhen { [expr, result] [] [xpr, location] }
    CoalesceExpr { [args] [] [xpr, coalescetype, coalescecollid, location] }
    CollateClause { [arg, collname] [] [location] }
    ColumnRef { [fields] [] [location] }
    CommonTableExpr {
        [aliascolnames, ctequery, search_clause, cycle_clause, ctecolnames, ctecoltypes,
         ctecoltypmods, ctecolcollations]
        []
        [ctename, ctematerialized, location, cterecursive, cterefcount]
    }
    CteCycleClause {
        [cycle_col_list, cycle_mark_value, cycle_mark_default]
        []
        [cycle_mark_column, cycle_path_column, location, cycle_mark_type, cycle_mark_typmod,
         cycle_mark_collation, cycle_mark_neop]
    }
    CteSearchClause { [search_col_list] [] [search_breadth_first, search_seq_column, location] }
    CurrentOfExpr { [] [] [xpr, cvarno, cursor_name, cursor_param] }
    DefElem { [arg] [] [defnamespace, defname, defaction, location, arg_location] }
    DeleteStmt { [relation, using_clause, where_clause, returning_clause, with_clause] [] [] }
    Float { [] [] [fval] }
    FuncCall {
        [funcname, args, agg_order, agg_filter, over]
        []
        [agg_within_group, agg_star, agg_distinct, func_variadic, funcformat, location]
    }
    GroupingFunc { [args, refs] [] [xpr, agglevelsup, location] }
    GroupingSet { [content] [] [kind, location] }
    IndexElem { [expr, collation, opclass, opclassopts] [] [name, indexcolname, ordering, nulls_ordering] }
    InferClause { [index_elems, where_clause] [] [conname, location] }
    InsertStmt {
        [relation, cols, select_stmt, on_conflict_clause, returning_clause, with_clause]
        []
        [r#override]
    }
    Integer { [] [] [ival] }
    IntoClause {
        [rel, col_names, options]
        []
        [access_method, on_commit, table_space_name, view_query, skip_data]
    }
    JoinExpr {
        [larg, rarg, using_clause, join_using_alias, quals, alias]
        []
        [jointype, is_natural, rtindex]
    }
    JsonAggConstructor { [output, agg_filter, agg_order, over] [] [location] }
    JsonArgument { [val] [] [name] }
    JsonArrayAgg { [constructor, arg] [] [absent_on_null] }
    JsonArrayConstructor { [exprs, output] [] [absent_on_null, location] }
    JsonArrayQueryConstructor { [query, output, format] [] [absent_on_null, location] }
    JsonBehavior { [expr] [] [btype, coerce, location] }
    JsonFormat { [] [] [format_type, encoding, location] }
    JsonFuncExpr {
        [context_item, pathspec, passing, output, on_empty, on_error]
        []
        [op, column_name, wrapper, quotes, location]
    }
    JsonIsPredicate { [expr, format] [] [item_type, unique_keys, location] }
    JsonKeyValue { [key, value] [] [] }
    JsonObjectAgg { [constructor, arg] [] [absent_on_null, unique] }
    JsonObjectConstructor { [exprs, output] [] [absent_on_null, unique, location] }
    JsonOutput { [type_name, returning] [] [] }
    JsonParseExpr { [expr, output] [] [unique_keys, location] }
    JsonReturning { [format] [] [typid, typmod] }
    JsonScalarExpr { [expr, output] [] [location] }
    JsonSerializeExpr { [expr, output] [] [location] }
    JsonTable { [context_item, pathspec, passing, columns, on_error, alias] [] [lateral, location] }
    JsonTableColumn {
        [type_name, pathspec, format, columns, on_empty, on_error]
        []
        [coltype, name, wrapper, quotes, location]
    }
    JsonTablePathSpec { [string] [] [name, name_location, location] }
    JsonValueExpr { [raw_expr, formatted_expr, format] [] [] }
    List { [] [items] [] }
    LockingClause { [locked_rels] [] [strength, wait_policy] }
    MergeStmt {
        [relation, source_relation, join_condition, merge_when_clauses, returning_clause,
         with_clause]
        []
        []
    }
    MergeSupportFunc { [] [] [xpr, msftype, msfcollid, location] }
    MergeWhenClause { [condition, target_list, values] [] [match_kind, command_type, r#override] }
    MinMaxExpr { [args] [] [xpr, minmaxtype, minmaxcollid, inputcollid, op, location] }
    MultiAssignRef { [source] [] [colno, ncolumns] }
    NamedArgExpr { [arg] [] [xpr, name, argnumber, location] }
    NullTest { [arg] [] [xpr, nulltesttype, argisrow, location] }
    OnConflictClause { [infer, target_list, where_clause] [] [action, location] }
    ParamRef { [] [] [number, location] }
    RangeFunction { [functions, alias, coldeflist] [] [lateral, ordinality, is_rowsfrom] }
    RangeSubselect { [subquery, alias] [] [lateral] }
    RangeTableFunc { [docexpr, rowexpr, namespaces, columns, alias] [] [lateral, location] }
    RangeTableFuncCol {
        [type_name, colexpr, coldefexpr]
        []
        [colname, for_ordinality, is_not_null, location]
    }
    RangeTableSample { [relation, method, args, repeatable] [] [location] }
    RangeVar { [alias] [] [catalogname, schemaname, relname, inh, relpersistence, location] }
    ResTarget { [indirection, val] [] [name, location] }
    ReturnStmt { [returnval] [] [] }
    ReturningClause { [options, exprs] [] [] }
    ReturningOption { [] [] [option, value, location] }
    RoleSpec { [] [] [roletype, rolename, location] }
    RowExpr { [args, colnames] [] [xpr, row_typeid, row_format, location] }
    SelectStmt {
        [into_clause, target_list, from_clause, where_clause, group_clause, having_clause,
         window_clause, values_lists, sort_clause, limit_offset, limit_count, locking_clause,
         with_clause, larg, rarg]
        [distinct_clause]
        [group_distinct, limit_option, op, all]
    }
    SetToDefault { [] [] [xpr, type_id, type_mod, collation, location] }
    SortBy { [node, use_op] [] [sortby_dir, sortby_nulls, location] }
    SqlValueFunction { [] [] [xpr, op, r#type, typmod, location] }
    String { [] [] [sval] }
    SubLink { [testexpr, oper_name, subselect] [] [xpr, sub_link_type, sub_link_id, location] }
    TypeCast { [arg, type_name] [] [location] }
    TypeName { [names, typmods, array_bounds] [] [type_oid, setof, pct_type, typemod, location] }
    UpdateStmt { [relation, target_list, where_clause, from_clause, returning_clause, with_clause] [] [] }
    WindowDef {
        [partition_clause, order_clause, start_offset, end_offset]
        []
        [name, refname, frame_options, location]
    }
    WithClause { [ctes] [] [recursive, location] }
    XmlExpr {
        [named_args, arg_names, args]
        []
        [xpr, op, name, xmloption, indent, r#type, typmod, location]
    }
    XmlSerialize { [expr, type_name] [] [xmloption, indent, location] }
}
