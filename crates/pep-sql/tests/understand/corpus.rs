//! The SQL that PostgreSQL's packages bring along: the scripts that make its own views and its extensions.

use crate::cases::{case, catalog};
use countersign_pep_sql::understand::{Access, SqlOperation, understand};
use std::{fs, path::PathBuf};

/// Every statement is told by its kind: scripts that define things are never taken for reads, and none is a mystery
/// unless it calls what it has just defined.
#[test]
fn the_scripts_of_the_server_are_understood() {
    let scripts = scripts();
    assert!(!scripts.is_empty(), "error: no scripts are there\n\nhint: install the package `postgresql`");
    let (mut statements, mut read, mut mysteries) = (0, 0, Vec::new());
    for path in scripts {
        let text = fs::read_to_string(&path).unwrap();
        // Commands to psql are no SQL.
        let plain: Vec<&str> = text.lines().filter(|line| !line.starts_with('\\')).collect();
        let text = plain.join("\n");
        let Ok(parts) = pg_query::split_with_scanner(&text) else { continue };
        for part in parts.into_iter().filter(|part| pg_query::parse(part, 0).is_ok()) {
            let understood = understand(&case(part.to_owned()).question(catalog()));
            statements += 1;
            let kind = part.trim_start();
            let defines =
                ["CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "INSERT", "UPDATE", "DELETE", "COMMENT"];
            if defines.iter().any(|word| kind.starts_with(word)) {
                assert!(!matches!(understood.access, Access::ReadOnly | Access::Control), "{part}");
            }
            read += usize::from(understood.access == Access::ReadOnly);
            if understood.operation == SqlOperation::Unknown {
                mysteries.push(part.to_owned());
            }
        }
    }
    assert!(statements > 1_000, "only {statements} statements were found");
    assert!(read * 4 < statements, "{read} of {statements} are reads");
    assert_eq!(mysteries, Vec::<String>::new());
}

fn scripts() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/share/postgresql").into_iter().flatten().flatten();
    let folders = versions.flat_map(|version| [version.path(), version.path().join("extension")]);
    let files = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let mut scripts: Vec<PathBuf> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|name| name == "sql"))
        .collect();
    scripts.sort();
    scripts
}
