//! Any text, in any session: it is never a panic, and a read holds nothing that writes.

use countersign_core::{EnvironmentName, TargetName};
use countersign_pep_sql::understand::{
    Access, Asked, Catalog, Question, SessionFacts, SqlTarget, preflight, understand,
};
use std::{collections::BTreeSet, sync::Arc};

/// One input: how strings are read, and the text.
pub(super) fn run((standard_conforming_strings, sql): (bool, &str)) {
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
    let asked = vec![Asked { sql: sql.into(), types: Vec::new(), values: None }];
    let (catalog, target) = (Arc::new(Catalog::unknown()), Arc::new(target));
    let question = Question { asked, session, catalog, target };
    let understood = understand(&question);
    if understood.access == Access::ReadOnly {
        assert!(understood.statements.iter().all(|statement| statement.access == Access::ReadOnly), "{sql}");
    }
    // What is asked beforehand is written by us, and is one statement that reads.
    for counted in preflight(&question).counts {
        let Ok(rows) = counted.rows else { continue };
        for text in [rows.count, rows.explain] {
            let asked = vec![Asked { sql: text.as_str().into(), types: Vec::new(), values: None }];
            let again = understand(&Question { asked, ..question.clone() });
            assert_eq!(again.statements.len(), 1, "{text}");
            assert_ne!(again.access, Access::Writes, "{text}");
        }
    }
}
