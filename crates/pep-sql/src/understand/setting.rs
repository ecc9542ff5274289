//! `SET`, `RESET`, `set_config`: which settings change formats, which change meaning, and which may not be changed.

use super::{
    BoundValue, SessionEffect, SettingChange, SettingKind, SettingScope, SqlOperation, SqlRefusal,
    TransactionAccess, TransactionControl,
    account::Thing,
    bounds, names,
    tree::{self, Unplaced},
    walk::{Obscure, Scope, Walked, Walker},
};
use pg_query::{
    Node, NodeEnum,
    protobuf::{AExprKind, FuncCall, SelectStmt, VariableSetKind, VariableSetStmt, a_const::Val},
};

/// What changing a setting can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    /// Formats of what comes back, limits, plans: nothing is read or done differently.
    Harmless,
    /// What literals mean, or where new things go. Harmless by itself; later statements are read with it in mind.
    Meaning,
    /// Who acts, what is visible, what is enforced.
    Session,
    /// The reading of every later text depends on it: never changed.
    Pinned,
}

const HARMLESS: [&str; 93] = [
    "application_name",
    "backend_flush_after",
    "bytea_output",
    "client_connection_check_interval",
    "client_min_messages",
    "commit_siblings",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "debug_logical_replication_streaming",
    "debug_parallel_query",
    "debug_pretty_print",
    "default_statistics_target",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "effective_cache_size",
    "effective_io_concurrency",
    "escape_string_warning",
    "exit_on_error",
    "extra_float_digits",
    "file_copy_method",
    "force_parallel_mode",
    "from_collapse_limit",
    "geqo",
    "geqo_effort",
    "geqo_generations",
    "geqo_pool_size",
    "geqo_seed",
    "geqo_selection_bias",
    "geqo_threshold",
    "gin_fuzzy_search_limit",
    "gin_pending_list_limit",
    "hash_mem_multiplier",
    "icu_validation_level",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "io_combine_limit",
    "jit",
    "jit_above_cost",
    "jit_expressions",
    "jit_inline_above_cost",
    "jit_optimize_above_cost",
    "jit_tuple_deforming",
    "join_collapse_limit",
    "lc_messages",
    "lock_timeout",
    "logical_decoding_work_mem",
    "maintenance_io_concurrency",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "min_parallel_index_scan_size",
    "min_parallel_table_scan_size",
    "parallel_leader_participation",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "recursive_worktable_factor",
    "restrict_nonsystem_relation_kind",
    "seq_page_cost",
    "statement_timeout",
    "stats_fetch_consistency",
    "synchronize_seqscans",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "temp_buffers",
    "trace_notify",
    "trace_sort",
    "transaction_timeout",
    "vacuum_buffer_usage_limit",
    "vacuum_cost_delay",
    "vacuum_cost_limit",
    "vacuum_cost_page_dirty",
    "vacuum_cost_page_hit",
    "vacuum_cost_page_miss",
    "vacuum_failsafe_age",
    "vacuum_freeze_min_age",
    "vacuum_freeze_table_age",
    "vacuum_max_eager_freeze_failure_rate",
    "vacuum_multixact_failsafe_age",
    "vacuum_multixact_freeze_min_age",
    "vacuum_multixact_freeze_table_age",
    "vacuum_truncate",
    "wal_sender_timeout",
    "wal_skip_threshold",
    "work_mem",
];

/// Kept with the session, and part of what is asked for from then on.
const MEANING: [&str; 17] = [
    "check_function_bodies",
    "datestyle",
    "default_table_access_method",
    "default_tablespace",
    "default_text_search_config",
    "default_toast_compression",
    "default_with_oids",
    "intervalstyle",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "temp_tablespaces",
    "timezone",
    "transaction_deferrable",
    "transaction_isolation",
    "xmlbinary",
    "xmloption",
];

/// Who may do what, what is kept and logged, how safely: asked about by name. So is every setting that is on no list.
const SESSION: [&str; 58] = [
    "allow_in_place_tablespaces",
    "allow_system_table_mods",
    "backtrace_functions",
    "commit_delay",
    "compute_query_id",
    "createrole_self_grant",
    "deadlock_timeout",
    "debug_discard_caches",
    "debug_print_parse",
    "debug_print_plan",
    "debug_print_rewritten",
    "dynamic_library_path",
    "event_triggers",
    "extension_control_path",
    "extension_destdir",
    "ignore_checksum_failure",
    "jit_dump_bitcode",
    "lo_compat_privileges",
    "local_preload_libraries",
    "log_duration",
    "log_error_verbosity",
    "log_executor_stats",
    "log_lock_failures",
    "log_lock_waits",
    "log_min_duration_sample",
    "log_min_duration_statement",
    "log_min_error_statement",
    "log_min_messages",
    "log_parameter_max_length",
    "log_parameter_max_length_on_error",
    "log_parser_stats",
    "log_planner_stats",
    "log_replication_commands",
    "log_statement",
    "log_statement_sample_rate",
    "log_statement_stats",
    "log_temp_files",
    "log_transaction_sample_rate",
    "max_stack_depth",
    "md5_password_warnings",
    "password_encryption",
    "scram_iterations",
    "session_preload_libraries",
    "session_replication_role",
    "synchronous_commit",
    "temp_file_limit",
    "track_activities",
    "track_cost_delay_timing",
    "track_counts",
    "track_functions",
    "track_io_timing",
    "track_wal_io_timing",
    "update_process_title",
    "wal_compression",
    "wal_consistency_checking",
    "wal_init_zero",
    "wal_recycle",
    "zero_damaged_pages",
];

/// Decided on by the value they are given.
const BY_VALUE: [&str; 4] =
    ["default_transaction_read_only", "row_security", "search_path", "transaction_read_only"];

const PINNED: [&str; 6] = [
    "array_nulls",
    "backslash_quote",
    "client_encoding",
    "standard_conforming_strings",
    "timezone_abbreviations",
    "transform_null_equals",
];

/// Whether somebody has said what changing a setting does. One that nobody has thought of is asked about like the worst.
pub fn knows_setting(name: &str) -> bool {
    let lists: [&[&str]; 5] = [&HARMLESS, &MEANING, &SESSION, &BY_VALUE, &PINNED];
    name.starts_with("enable_") || lists.iter().any(|list| list.contains(&name))
}

/// Whether a setting changes how the literals of a text are read, or nobody knows which it is.
pub fn changes_literals(name: &str) -> bool {
    MEANING.contains(&name) || matches!(name, "rolled back to" | "more than is kept")
}

fn nature(name: &str, value: Option<&str>) -> Nature {
    let value = value.map(str::to_lowercase);
    let is = |wanted: &[&str]| value.as_deref().is_some_and(|value| wanted.contains(&value));
    match name {
        _ if PINNED.contains(&name) => {
            let same = match name {
                "client_encoding" => is(&["utf8", "utf-8", "unicode"]),
                "standard_conforming_strings" | "array_nulls" => is(&["on", "true", "yes", "1"]),
                "transform_null_equals" => is(&["off", "false", "no", "0"]),
                "timezone_abbreviations" => is(&["default"]),
                _ => is(&["safe_encoding"]),
            };
            if same { Nature::Harmless } else { Nature::Pinned }
        }
        _ if HARMLESS.contains(&name) || name.starts_with("enable_") => Nature::Harmless,
        _ if MEANING.contains(&name) => Nature::Meaning,
        // Stricter than before, whatever it was.
        "search_path" if is(&["", "\"\"", "pg_catalog"]) => Nature::Meaning,
        // Either the rows are filtered or the statement fails: neither shows more.
        "row_security" => Nature::Meaning,
        "default_transaction_read_only" | "transaction_read_only" if is(&["on", "true", "yes", "1"]) => {
            Nature::Meaning
        }
        // `SESSION`, and what is on no list.
        _ => Nature::Session,
    }
}

impl Walker<'_> {
    pub(super) fn set(&mut self, set: &VariableSetStmt) -> Walked {
        let name = set.name.to_lowercase();
        let scope = if set.is_local { SettingScope::Transaction } else { SettingScope::Session };
        self.all(&set.args, &Scope::default())?;
        match set.kind() {
            VariableSetKind::VarSetValue => {
                let value = values(&name, &set.args)
                    .ok_or_else(|| Obscure("a setting's value cannot be read".into()))?;
                self.sets(&name, Some(value), scope);
            }
            // Back to what the session began with, which the gateway chose.
            VariableSetKind::VarSetDefault | VariableSetKind::VarReset => self.resets(&name, scope),
            VariableSetKind::VarResetAll => self.resets("*", scope),
            // To what it already is.
            VariableSetKind::VarSetCurrent => {
                self.account.does(SqlOperation::Setting, &[Thing::plain("setting", name)]);
            }
            VariableSetKind::VarSetMulti => self.set_transaction(set),
            VariableSetKind::Undefined => return Err(Unplaced::UnknownKind.into()),
        }
        Ok(())
    }

    fn sets(&mut self, name: &str, value: Option<String>, scope: SettingScope) {
        let nature = nature(name, value.as_deref());
        let kind = match nature {
            Nature::Harmless => SettingKind::Harmless,
            Nature::Meaning | Nature::Session | Nature::Pinned => SettingKind::Meaning,
        };
        if nature == Nature::Pinned {
            self.account.refused = Some(SqlRefusal::Pinned { name: name.into() });
        }
        let operation = match nature {
            Nature::Harmless | Nature::Meaning => SqlOperation::Setting,
            Nature::Session | Nature::Pinned => SqlOperation::Session,
        };
        self.account.does(operation, &[Thing::plain("setting", name)]);
        self.account.settings.push((name.into(), value.clone()));
        self.account.session.push(SessionEffect::Set(SettingChange {
            name: name.into(),
            value,
            scope,
            kind,
        }));
    }

    fn resets(&mut self, name: &str, scope: SettingScope) {
        let shown = if name == "*" { "all settings" } else { name };
        self.account.does(SqlOperation::Setting, &[Thing::plain("setting", shown)]);
        self.account.settings.push((shown.into(), None));
        let change = SettingChange { name: name.into(), value: None, scope, kind: SettingKind::Meaning };
        self.account.session.push(SessionEffect::Set(change));
    }

    fn set_transaction(&mut self, set: &VariableSetStmt) {
        if set.name.eq_ignore_ascii_case("TRANSACTION SNAPSHOT") {
            self.account.does(SqlOperation::Txn, &[]);
            return;
        }
        let control = TransactionControl::Characteristics { access: access(&set.args) };
        self.account.does(SqlOperation::Txn, &[]);
        self.account.session.push(SessionEffect::Transaction(control));
    }

    /// `set_config(name, value, is_local)`.
    pub(super) fn set_config(&mut self, call: Option<&FuncCall>) {
        let arguments = call.map_or(&[][..], |call| &call.args);
        let [name, value, local] = arguments else {
            self.account.is_indirect(&[], "it changes a setting that its text does not name".into());
            return;
        };
        let from_list = || self.setting_name.clone().filter(|_| is_column(name, "name"));
        let name = bounds::text(name).map(str::to_owned).or_else(from_list);
        let name = name.map(|name| name.to_lowercase());
        // A value that is bound, now or later, is as good as one that is written, where none could matter.
        let harmless = name.as_deref().is_some_and(|name| nature(name, None) == Nature::Harmless);
        let bound = || bounds::parameter(value, self.values).and_then(said).or_else(|| unsaid(value));
        let value = bounds::text(value).map(str::to_owned).or_else(|| bound().filter(|_| harmless));
        let (Some(name), Some(value), Some(local)) = (name, value, flag(local)) else {
            let why = "it changes a setting to something its text does not say".into();
            self.account.is_indirect(&[Thing::plain("setting", "unknown")], why);
            return;
        };
        let scope = if local { SettingScope::Transaction } else { SettingScope::Session };
        self.sets(&name, Some(value), scope);
    }
}

/// The one setting that `SELECT set_config(name, …) FROM pg_settings WHERE name = '…'` speaks of: how `pg_dump` sets
/// what a server may not have.
pub(super) fn only_setting(select: &SelectStmt) -> Option<String> {
    let [Node { node: Some(NodeEnum::RangeVar(from)) }] = &select.from_clause[..] else { return None };
    if from.relname != "pg_settings"
        || from.alias.is_some()
        || !matches!(from.schemaname.as_str(), "" | "pg_catalog")
    {
        return None;
    }
    let Some(NodeEnum::AExpr(clause)) = &select.where_clause.as_deref()?.node else { return None };
    let equals =
        clause.kind() == AExprKind::AexprOp && names::strings(&clause.name).is_some_and(|name| name == ["="]);
    let named = is_column(clause.lexpr.as_deref()?, "name");
    (equals && named).then(|| bounds::text(clause.rexpr.as_deref()?)).flatten().map(str::to_owned)
}

/// A bound text: it is the same in either format.
fn said(value: &BoundValue) -> Option<String> {
    match value {
        BoundValue::Null => None,
        BoundValue::Text(bytes) | BoundValue::Binary(bytes) => String::from_utf8(bytes.to_vec()).ok(),
    }
}

/// The name of a parameter, where its value is not known.
fn unsaid(node: &Node) -> Option<String> {
    let Some(NodeEnum::ParamRef(parameter)) = &node.node else { return None };
    Some(format!("${}", parameter.number))
}

fn is_column(node: &Node, name: &str) -> bool {
    let Some(NodeEnum::ColumnRef(column)) = &node.node else { return false };
    names::strings(&column.fields).is_some_and(|fields| fields == [name])
}

fn flag(node: &Node) -> Option<bool> {
    match &bounds::literal(node)?.val {
        Some(Val::Boolval(value)) => Some(value.boolval),
        Some(Val::Sval(value)) => Some(!matches!(value.sval.as_str(), "f" | "false")),
        Some(Val::Ival(_) | Val::Fval(_) | Val::Bsval(_)) | None => None,
    }
}

/// The value of a `SET`, as the server would join it.
fn values(name: &str, arguments: &[Node]) -> Option<String> {
    // Each word of a list of names is one name, whatever characters it holds.
    let listed = |word: String| if name == "search_path" { names::identifier(&word) } else { word };
    let words: Option<Vec<String>> = arguments.iter().map(|word| value(word).map(listed)).collect();
    words.map(|words| words.join(", "))
}

fn value(node: &Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(Val::Sval(value)) => Some(value.sval.clone()),
            Some(Val::Ival(value)) => Some(value.ival.to_string()),
            Some(Val::Fval(value)) => Some(value.fval.clone()),
            Some(Val::Boolval(value)) => Some(value.boolval.to_string()),
            Some(Val::Bsval(value)) => Some(value.bsval.clone()),
            None => None,
        },
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().and_then(value),
        _ => None,
    }
}

/// The access mode in the options of a transaction; the last one counts.
pub(super) fn access(options: &[Node]) -> Option<TransactionAccess> {
    let mut modes = options.iter().filter_map(|option| {
        let Some(NodeEnum::DefElem(option)) = &option.node else { return None };
        if option.defname != "transaction_read_only" {
            return None;
        }
        let on = option.arg.as_deref().and_then(|arg| match &bounds::literal(arg)?.val {
            Some(Val::Ival(value)) => Some(value.ival != 0),
            Some(Val::Boolval(value)) => Some(value.boolval),
            Some(Val::Sval(_) | Val::Fval(_) | Val::Bsval(_)) => None,
            None => Some(false),
        });
        Some(if on == Some(true) { TransactionAccess::ReadOnly } else { TransactionAccess::ReadWrite })
    });
    modes.next_back()
}

/// The text of an option's argument, in lower case.
pub(super) fn option(node: &Node) -> Option<(String, Option<String>)> {
    let Some(NodeEnum::DefElem(option)) = &node.node else { return None };
    let text = option.arg.as_deref().and_then(|arg| match &arg.node {
        Some(NodeEnum::String(text)) => Some(text.sval.to_lowercase()),
        Some(NodeEnum::Integer(number)) => Some(number.ival.to_string()),
        Some(NodeEnum::Boolean(flag)) => Some(flag.boolval.to_string()),
        Some(NodeEnum::TypeName(kind)) => names::Name::of(&kind.names).map(|name| name.name.to_lowercase()),
        _ => value(arg).map(|value| value.to_lowercase()),
    });
    tree::node(node).ok().map(|_| (option.defname.to_lowercase(), text))
}

/// Whether an option is switched on; one without an argument is.
pub(super) fn is_on((_, value): &(String, Option<String>)) -> bool {
    !matches!(value.as_deref(), Some("off" | "false" | "0" | "no" | "f" | "n"))
}
