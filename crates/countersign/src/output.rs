//! Printing: plain tables for people, JSON for programs. The one place that writes to standard output.

use crate::{cli::Output, failure::Failure};
use countersign_core::visible;
use serde_json::Value;
use std::io::{ErrorKind, Write};

/// Prints a value as it is for programs, or as `table` draws it for people.
pub(crate) fn show(
    output: Output,
    value: &Value,
    table: impl FnOnce(&Value) -> String,
) -> Result<(), Failure> {
    let text = match output {
        Output::Json => format!("{value:#}"),
        Output::Table => table(value),
    };
    line(&text)
}

/// Writes lines to standard output.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        // Whoever reads had enough (`| head`).
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::of("standard output cannot be written", &error)),
    }
}

/// Aligned columns, each value on one line with nothing hidden in it.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>], empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let clean: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| visible::one_line(cell)).collect()).collect();
    let title: Vec<String> = head.iter().map(|name| name.to_uppercase()).collect();
    let width = |column: usize| {
        let cells = clean.iter().chain([&title]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let draw = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    [&title].into_iter().chain(&clean).map(draw).collect::<Vec<_>>().join("\n")
}

/// A member as text; empty when it is not there.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let texts =
                items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
            texts.collect::<Vec<_>>().join(", ")
        }
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_))) => other.to_string(),
    }
}
