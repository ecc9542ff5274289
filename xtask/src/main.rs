//! Tasks around the code that need Rust. `cargo run -p xtask -- tidy` holds the tree to its own rules.
//!
//! Nothing here is part of the product, and the product depends on nothing here.

mod documents;
mod tidy;
mod tree;

use anyhow::{Context, bail};
use std::{env, io::Write, process::ExitCode};

const USAGE: &str = "usage: cargo run -p xtask -- tidy";

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Does the task that was named; how many faults it found.
fn run() -> anyhow::Result<usize> {
    let mut words = env::args().skip(1);
    let (Some(task), None) = (words.next(), words.next()) else { bail!("{USAGE}") };
    if task != "tidy" {
        bail!("`{task}` is not a task\n{USAGE}");
    }
    let tree = tree::Tree::read()?;
    let faults = tidy::faults(&tree)?;
    let mut out = std::io::stdout().lock();
    for fault in &faults {
        writeln!(out, "{fault}").context("standard output cannot be written")?;
    }
    let told = match faults.len() {
        0 => format!("tidy: {} files keep the rules", tree.files.len()),
        1 => "tidy: 1 fault".to_owned(),
        more => format!("tidy: {more} faults"),
    };
    writeln!(out, "{told}").context("standard output cannot be written")?;
    Ok(faults.len())
}
