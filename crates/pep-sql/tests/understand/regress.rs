//! The SQL of PostgreSQL's own regression tests, as `.ci/drivers` fetches it: none of it makes the reading panic, and
//! what each is taken for is counted.

use crate::cases::{case, catalog};
use countersign_pep_sql::understand::understand;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// As deep as the stacks of the threads that read for the gateway.
const STACK_BYTES: usize = 32 << 20;

/// How often something was taken for an operation and an access.
type Counts = BTreeMap<(&'static str, &'static str), usize>;

/// Statements that share a session in the tests are each looked at by themselves, in a session that knows nothing of them.
#[test]
fn the_servers_own_regression_tests_are_read_without_a_panic() {
    let scripts = scripts();
    let share = scripts.len().div_ceil(std::thread::available_parallelism().map_or(1, usize::from));
    let read = |some: &[PathBuf]| {
        let some = some.to_vec();
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || counted(&some)).unwrap()
    };
    let readers: Vec<_> = scripts.chunks(share).map(read).collect();
    let mut counts = Counts::new();
    for reader in readers {
        for (kind, count) in reader.join().unwrap() {
            *counts.entry(kind).or_default() += count;
        }
    }
    let total: usize = counts.values().sum();
    assert!(total > 40_000, "only {total} statements were found");
    let mut summary = format!("{total:>6} statements\n");
    for ((operation, access), count) in counts {
        writeln!(summary, "{count:>6} {operation} {access}").unwrap();
    }
    insta::assert_snapshot!(summary);
}

fn counted(scripts: &[PathBuf]) -> Counts {
    let mut counts = Counts::new();
    for path in scripts {
        // Some are in the encodings that they test.
        let text = fs::read(path).unwrap();
        for part in statements(&String::from_utf8_lossy(&text)) {
            let understood = understand(&case(part).question(catalog()));
            let kind = (understood.operation.as_str(), understood.access.as_str());
            *counts.entry(kind).or_default() += 1;
        }
    }
    counts
}

fn scripts() -> Vec<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let folder = target.join("drivers/regress");
    let files = fs::read_dir(&folder);
    let files = files.unwrap_or_else(|_| {
        panic!("`{}` is not there\n\nhint: run `.ci/drivers`, as `make test` does", folder.display())
    });
    let mut scripts: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    scripts.sort();
    scripts
}

/// What a client would send: the statements between `psql`'s own commands, without the rows of copies.
fn statements(script: &str) -> Vec<String> {
    let (mut parts, mut block, mut rows) = (Vec::new(), String::new(), false);
    for line in script.lines() {
        if rows {
            rows = line != "\\.";
        } else if line.starts_with('\\') {
            split(&std::mem::take(&mut block), &mut parts);
        } else {
            block.push_str(line);
            block.push('\n');
            let words = line.to_ascii_lowercase();
            if words.trim_start().starts_with("copy ") && words.contains("from stdin") {
                rows = words.trim_end().ends_with(';');
                split(&std::mem::take(&mut block), &mut parts);
            }
        }
    }
    split(&block, &mut parts);
    parts
}

fn split(block: &str, parts: &mut Vec<String>) {
    match pg_query::split_with_scanner(block) {
        Ok(found) => parts.extend(found.into_iter().map(str::to_owned)),
        // What even the scanner cannot read goes as a whole, as a client would send it.
        Err(_) if !block.trim().is_empty() => parts.push(block.to_owned()),
        Err(_) => {}
    }
}
