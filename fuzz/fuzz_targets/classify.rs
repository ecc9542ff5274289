//! Any text, in any session: it is never a panic, and a read holds nothing that writes.
#![no_main]

use countersign_core::{EnvironmentName, TargetName};
use countersign_pep_sql::understand::{
    Access, Asked, Catalog, Question, SessionFacts, SqlTarget, understand,
};
use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeSet, sync::Arc};

fuzz_target!(|input: (bool, &str)| {
    let (standard_conforming_strings, sql) = input;
    let (Ok(target), Ok(environment)) = (TargetName::new("shop"), EnvironmentName::new("prod")) else {
        return;
    };
    let target = SqlTarget {
        target,
        environment,
        labels: BTreeSet::new(),
        tables: Vec::new(),
        trusted_functions: BTreeSet::new(),
        export_rows: SqlTarget::EXPORT_ROWS,
    };
    let session = SessionFacts { standard_conforming_strings, ..SessionFacts::default() };
    let asked = vec![Asked { sql: sql.to_owned(), values: None }];
    let understood = understand(&Question {
        asked,
        session,
        catalog: Arc::new(Catalog::unknown()),
        target: Arc::new(target),
    });
    if understood.access == Access::ReadOnly {
        assert!(understood.statements.iter().all(|statement| statement.access == Access::ReadOnly), "{sql}");
    }
});
