//! PostgreSQL's own functions and system tables, by what they can do. What is on no list is not known to be harmless.

use super::SqlOperation;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Immutable and stable functions of PostgreSQL 14 to 18 without those that run a text, read statistics of data or
/// show what others do, and the few volatile ones that only look: one name a line, sorted. A name is here only if
/// every function of that name qualifies.
static SAFE: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| include_str!("builtin/safe.txt").lines().collect());

/// What is known of a built-in function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Safe,
    /// Safe, and folds any number of rows into one small value.
    Fold,
    /// Does this.
    Does(SqlOperation),
    /// `set_config`: what it does depends on its arguments.
    SetsSetting,
}

/// Aggregates whose result says little, however many rows go in.
const FOLDS: [&str; 33] = [
    "any_value",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "every",
    "max",
    "min",
    "mode",
    "percentile_cont",
    "percentile_disc",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
];

/// Functions that run a text, a cursor or a whole schema.
const INDIRECT: [&str; 19] = [
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "table_to_xml",
    "table_to_xmlschema",
    "table_to_xml_and_xmlschema",
    "schema_to_xml",
    "schema_to_xmlschema",
    "schema_to_xml_and_xmlschema",
    "database_to_xml",
    "database_to_xmlschema",
    "database_to_xml_and_xmlschema",
    "ts_stat",
    "ts_rewrite",
    "xpath_table",
    "crosstab",
    "connectby",
];

/// Files of the server.
const FILES: [&str; 22] = [
    "lo_export",
    "lo_import",
    "pg_current_logfile",
    "pg_file_read",
    "pg_file_rename",
    "pg_file_sync",
    "pg_file_unlink",
    "pg_file_write",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_logdir_ls",
    "pg_ls_archive_statusdir",
    "pg_ls_dir",
    "pg_ls_logdir",
    "pg_ls_tmpdir",
    "pg_ls_waldir",
    "pg_read_binary_file",
    "pg_read_file",
    "pg_read_file_old",
    "pg_show_all_file_settings",
    "pg_stat_file",
    "pg_ls_summariesdir",
];

/// What other sessions do, and samples of data kept as statistics.
const SENSITIVE: [&str; 9] = [
    "pg_cursor",
    "pg_mcv_list_items",
    "pg_prepared_statement",
    "pg_prepared_xact",
    "pg_stat_get_activity",
    "pg_stat_get_backend_activity",
    "pg_stat_get_wal_receiver",
    "pg_stat_get_wal_senders",
    "pg_stat_statements",
];

/// How the server runs, and what other sessions may go on doing.
const SERVER: [&str; 24] = [
    "pg_backup_start",
    "pg_backup_stop",
    "pg_start_backup",
    "pg_stop_backup",
    "pg_cancel_backend",
    "pg_create_restore_point",
    "pg_drop_replication_slot",
    "pg_export_snapshot",
    "pg_extension_config_dump",
    "pg_import_system_collations",
    "pg_log_backend_memory_contexts",
    "pg_logical_emit_message",
    "pg_nextoid",
    "pg_promote",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_rotate_logfile_old",
    "pg_stop_making_pinned_objects",
    "pg_switch_wal",
    "pg_sync_replication_slots",
    "pg_terminate_backend",
    "pg_stat_force_next_flush",
    "pg_replication_slot_advance",
    "gin_clean_pending_list",
];
const SERVER_PREFIXES: [&str; 12] = [
    "binary_upgrade_",
    "brin_desummarize",
    "brin_summarize",
    "pg_clear_",
    "pg_copy_",
    "pg_create_",
    "pg_logical_slot_",
    "pg_replication_origin_",
    "pg_restore_",
    "pg_stat_reset",
    "pg_wal_replay_",
    "pg_event_trigger_",
];

/// What a built-in function of this name can do; `None` when it is on no list.
pub(super) fn function(name: &str) -> Option<Known> {
    use SqlOperation as Op;
    if FOLDS.contains(&name) {
        return Some(Known::Fold);
    }
    if SAFE.contains(name) {
        return Some(Known::Safe);
    }
    let does = match name {
        "set_config" => return Some(Known::SetsSetting),
        "nextval" | "setval" | "lo_creat" | "lo_create" | "lo_from_bytea" | "lo_put" | "lo_truncate"
        | "lo_truncate64" | "lowrite" | "lo_open" => Op::UpdateBounded,
        "lo_unlink" => Op::DeleteBounded,
        "lo_get" | "loread" | "lo_lseek" | "lo_lseek64" | "lo_tell" | "lo_tell64" | "lo_close" => Op::Export,
        "pg_notify" => Op::Notify,
        "pg_sleep" | "pg_sleep_for" | "pg_sleep_until" => Op::Lock,
        _ if name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_") => Op::Lock,
        _ if INDIRECT.contains(&name) => Op::Indirect,
        _ if FILES.contains(&name) || name.starts_with("pg_ls_") => Op::FileOrProgram,
        _ if SENSITIVE.contains(&name) => Op::ReadSensitive,
        _ if name.starts_with("dblink") || name.starts_with("postgres_fdw_") || name.starts_with("http_") => {
            Op::Network
        }
        _ if SERVER.contains(&name) || SERVER_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) => {
            Op::Server
        }
        _ => return None,
    };
    Some(Known::Does(does))
}

/// System tables and views that hold secrets, samples of data or what others are doing.
const SENSITIVE_RELATIONS: [&str; 30] = [
    "pg_authid",
    "pg_shadow",
    "pg_user_mapping",
    "pg_user_mappings",
    "pg_stat_activity",
    "pg_stat_statements",
    "pg_statistic",
    "pg_statistic_ext_data",
    "pg_stats",
    "pg_stats_ext",
    "pg_stats_ext_exprs",
    "pg_largeobject",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_file_settings",
    "pg_subscription",
    "pg_prepared_statements",
    "pg_prepared_xacts",
    "pg_cursors",
    "pg_foreign_server",
    "pg_stat_replication",
    "pg_stat_wal_receiver",
    "user_mapping_options",
    "foreign_server_options",
    "_pg_user_mappings",
    "_pg_foreign_servers",
    "pg_backend_memory_contexts",
    "pg_shmem_allocations",
    "pg_seclabels",
    "pg_seclabel",
];

/// Whether reading this system relation shows more than how the database is built.
pub(super) fn is_sensitive(relation: &str) -> bool {
    SENSITIVE_RELATIONS.contains(&relation)
}

/// The schemas only a superuser can put anything into.
pub(super) fn is_system_schema(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_function_is_both_safe_and_dangerous() {
        let lists = [INDIRECT.as_slice(), &FILES, &SENSITIVE, &SERVER];
        for name in lists.iter().flat_map(|list| list.iter()) {
            assert!(!SAFE.contains(name), "{name}");
        }
        for name in SAFE.iter() {
            let dangerous = SERVER_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            assert!(!dangerous && !name.starts_with("pg_ls_") && !name.contains("advisory"), "{name}");
        }
    }

    #[test]
    fn the_list_of_safe_functions_is_sorted_and_without_doubles() {
        let lines: Vec<&str> = include_str!("builtin/safe.txt").lines().collect();
        assert!(lines.is_sorted());
        assert_eq!(lines.len(), SAFE.len());
    }
}
