//! The promises of `Store`, one test each, run against every backend.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests end where something is not as it must be"
)]

#[path = "conformance/ledger.rs"]
mod ledger;
#[path = "conformance/place.rs"]
mod place;
#[path = "conformance/records.rs"]
mod records;
#[path = "conformance/sqlite.rs"]
mod sqlite;

/// Runs the whole suite in a new place of the given kind for each test.
macro_rules! conformance {
    ($backend:ident, $place:expr) => {
        conformance!($backend, $place, records: [
            what_is_put_is_fetched, versions_count_puts, deleting_ends_a_record, a_wrong_version_is_a_conflict,
            putting_what_exists_is_a_conflict, a_conflict_writes_nothing, two_changes_to_one_record_conflict,
            a_unique_key_has_one_holder, a_unique_key_passes_on_within_a_commit, one_of_thirty_two_racers_wins,
            found_newest_first_by_every_key, a_put_replaces_all_keys, kinds_are_apart,
            jobs_of_one_batch_see_each_other,
        ]);
        conformance!($backend, $place, ledger: [
            entries_keep_their_order, entries_and_changes_come_together_or_not_at_all,
            an_entry_is_recorded_once, receipts_tell_index_size_and_root, many_writers_lose_nothing,
            proofs_from_the_reader_verify, batches_cover_every_leaf, a_reader_sees_one_moment,
            history_answers_by_each_field, history_finds_by_id_whatever_the_clock_did, history_pages_backwards, text_is_found_in_private_and_public_parts,
            erasing_keeps_every_proof, erasing_from_an_unknown_entry_is_an_error,
            open_executions_are_those_without_an_end, open_executions_survive_a_restart,
            everything_survives_a_restart, a_reserved_slot_is_served_at_the_close,
        ]);
    };
    ($backend:ident, $place:expr, $suite:ident: [$($test:ident),* $(,)?]) => {
        mod $suite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                crate::$suite::$test($place).await;
            })*
        }
    };
}

mod on_sqlite {
    use crate::place::SqlitePlace;

    conformance!(sqlite, crate::on_sqlite::SqlitePlace::new());
}
