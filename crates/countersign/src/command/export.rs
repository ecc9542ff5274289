//! `countersign export`: a range of the ledger as one file that can be verified offline.

use crate::{
    cli::{Disclose, ExportArgs, Output},
    failure::Failure,
    operator::Door,
    output,
};
use http::Method;
use serde_json::{Value, json};
use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt};

pub(super) async fn run(door: &Door, args: &ExportArgs, output: Output) -> Result<(), Failure> {
    let disclose = match args.disclose {
        Disclose::None => "none",
        Disclose::All => "all",
    };
    let to = args.to.map(|to| format!("&to={to}")).unwrap_or_default();
    let path = format!("/api/v1/ledger/export?from={}{to}&disclose={disclose}", args.from);
    let ledger = door.call(Method::GET, "/api/v1/ledger", &Value::Null).await?;
    let (status, bytes) = door.raw(Method::GET, &path, &Value::Null).await?;
    if !status.is_success() {
        let problem: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        return Err(Failure::new(output::text(&problem, "/detail")).hint(output::text(&problem, "/hint")));
    }
    // Disclosed values are for whoever is handed the file, not for everybody on this machine.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&args.file);
    file.and_then(|mut file| file.write_all(&bytes))
        .map_err(|error| Failure::of(&format!("`{}` could not be written", args.file.display()), &error))?;
    let key = output::text(&ledger, "/log_key");
    let file = args.file.display();
    let told = json!({"file": file.to_string(), "bytes": bytes.len(), "log_key": key});
    output::show(output, &told, |_| {
        format!(
            "Wrote {file} ({} bytes). Check it anywhere with:\n\n  countersign verify {file} --key '{key}'",
            bytes.len()
        )
    })
}
