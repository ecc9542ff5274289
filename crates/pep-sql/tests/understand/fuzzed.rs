//! What the fuzz targets look for, over inputs drawn here: the same functions, so that they are compiled and run with every
//! test. `make fuzz` goes on where these stop.

mod classify;
mod frame;

use crate::{
    any::any_text,
    cases::{EVASIONS, STATEMENTS, case, catalog, evasions},
};
use countersign_pep_sql::understand::{Access, preflight, understand};
use proptest::prelude::*;

#[test]
fn no_text_of_the_golden_files_breaks_what_is_fuzzed() {
    for path in [EVASIONS, STATEMENTS] {
        for case in evasions(&std::fs::read_to_string(path).unwrap()) {
            classify::run((true, &case.text));
            classify::run((false, &case.text));
        }
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_reading(standard in any::<bool>(), text in any_text()) {
        classify::run((standard, &text));
    }

    #[test]
    fn no_bytes_break_the_framing(cut in any::<usize>(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        frame::run((cut, &bytes));
    }

    /// Bytes that are messages for the most part, so that bodies are looked at as well.
    #[test]
    fn no_messages_break_the_framing(cut in any::<usize>(), bodies in proptest::collection::vec(
        (any::<u8>(), proptest::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..40), -2_i32..3), 0..8)) {
        let mut bytes = Vec::new();
        for (tag, body, wrong) in bodies {
            let length = i32::try_from(body.len()).unwrap() + 4 + i32::from(wrong == 2);
            bytes.push(tag);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&body);
        }
        frame::run((cut, &bytes));
    }

    /// What is asked beforehand only reads, as far as the catalog of the golden files tells.
    #[test]
    fn what_counts_only_reads(text in any_text()) {
        let question = case(text).question(catalog());
        for counted in preflight(&question).counts {
            let Ok(rows) = counted.rows else { continue };
            let again = understand(&case(rows.count.clone()).question(catalog()));
            prop_assert_eq!(again.access, Access::ReadOnly, "{}", rows.count);
        }
    }
}
