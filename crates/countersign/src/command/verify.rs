//! `countersign verify`: checks an exported file with nothing but a public key. Needs no gateway and no network.

use crate::{cli::Output, failure::Failure, output};
use countersign_ledger::{VerifierKey, verify::verify};
use serde_json::{Value, json};
use std::{fs::File, io::BufReader, path::Path};

pub(super) fn run(bundle: &Path, key: &str, output: Output) -> Result<(), Failure> {
    let (verdict, ok) = check(bundle, key)?;
    let shown = output::show(output, &verdict, |verdict| output::text(verdict, "/report"));
    match ok {
        Verdict::Holds => shown,
        Verdict::Fault(fault) => {
            if output == Output::Json {
                shown?;
            }
            Err(Failure::not_as_promised(fault)
                .hint("the file was changed, is incomplete, or belongs to another key"))
        }
    }
}

/// What the check came to.
pub(crate) enum Verdict {
    Holds,
    /// The first fault, precisely.
    Fault(String),
}

/// Verifies a file; the value says the same for programs.
pub(crate) fn check(bundle: &Path, key: &str) -> Result<(Value, Verdict), Failure> {
    let key: VerifierKey = key.parse().map_err(|error| {
        Failure::usage(format!("`{key}` is not a public key: {error}"))
            .hint("print it with `countersign log key`; it looks like `name+1234abcd+AbCd…`")
    })?;
    let file = File::open(bundle)
        .map_err(|error| Failure::usage(format!("`{}` cannot be opened: {error}", bundle.display())))?;
    Ok(match verify(BufReader::new(file), &key) {
        Ok(report) => {
            let value = json!({
                "verified": true, "entries": report.entries, "actions": report.actions,
                "executed": report.executed, "approvals": report.approvals, "votes": report.votes,
                "erased": report.erased,
                "report": report.to_string(),
            });
            (value, Verdict::Holds)
        }
        Err(fault) => {
            (json!({"verified": false, "fault": fault.to_string()}), Verdict::Fault(fault.to_string()))
        }
    })
}
