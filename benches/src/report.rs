//! Figures against goals: one JSON object for each bench, and all of them in one table.

use crate::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

/// One figure that has a goal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, as the table says it.
    pub what: String,
    pub measured: f64,
    /// `µs`, `/s`; empty for a ratio.
    pub unit: String,
    pub goal: Goal,
    pub met: bool,
}

/// The goal of a figure, in its unit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    pub fn new(what: impl Into<String>, measured: f64, unit: &str, goal: Goal) -> Self {
        let met = match goal {
            Goal::AtMost(most) => measured <= most,
            Goal::AtLeast(least) => measured >= least,
        };
        Self { what: what.into(), measured, unit: unit.into(), goal, met }
    }

    /// Its row of the table.
    pub fn row(&self) -> String {
        let (sign, goal) = match self.goal {
            Goal::AtMost(most) => ('≤', most),
            Goal::AtLeast(least) => ('≥', least),
        };
        let met = if self.met { "yes" } else { "**no**" };
        let (goal, measured) = (in_words(goal, &self.unit), in_words(self.measured, &self.unit));
        format!("| {} | {sign} {goal} | {measured} | {met} |", self.what)
    }
}

/// Three figures that matter, and thousands apart.
fn in_words(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    let sign = if value < 0.0 { "-" } else { "" };
    let plain = format!("{:.digits$}", value.abs());
    let (whole, rest) = plain
        .split_once('.')
        .map_or((plain.as_str(), String::new()), |(whole, rest)| (whole, format!(".{rest}")));
    let count = whole.chars().count();
    let grouped: String = whole
        .chars()
        .enumerate()
        .flat_map(|(at, digit)| {
            let gap = at > 0 && (count - at) % 3 == 0;
            gap.then_some(',').into_iter().chain([digit])
        })
        .collect();
    let space = if unit.is_empty() || unit.starts_with('/') { "" } else { " " };
    format!("{sign}{grouped}{rest}{space}{unit}")
}

/// Prints the bench's object, and leaves it where [`table`] finds it.
pub fn publish(bench: &str, mut measured: Value, figures: &[Figure]) -> Result<()> {
    if let Some(members) = measured.as_object_mut() {
        members.insert("bench".into(), bench.into());
        members.insert("goals".into(), json!(figures));
    }
    let text = format!("{measured:#}\n");
    let folder = results()?;
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(bench).with_extension("json"), &text)?;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// The newest figures of each of these benches as a Markdown table.
pub fn table(benches: &[&str]) -> Result<String> {
    let mut out = String::from("| Measured | Goal | Result | Met |\n|---|---|---|---|\n");
    let folder = results()?;
    for bench in benches {
        let Ok(text) = fs::read(folder.join(bench).with_extension("json")) else { continue };
        let mut found: Value = serde_json::from_slice(&text)?;
        let figures: Vec<Figure> =
            serde_json::from_value(found.get_mut("goals").map(Value::take).unwrap_or_default())?;
        for figure in figures {
            out.push_str(&figure.row());
            out.push('\n');
        }
    }
    Ok(out)
}

/// The folder this very program was built into: `target/release`.
pub fn built() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().ok_or("this program is in no folder")?.to_owned())
}

fn results() -> Result<PathBuf> {
    Ok(built()?.parent().unwrap_or(Path::new(".")).join("bench"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (value, unit, said) in [
            (0.4123, "", "0.41"),
            (22.04, "µs", "22.0 µs"),
            (20000.0, "/s", "20,000/s"),
            (1_234_567.0, "", "1,234,567"),
            (-120.0, "µs", "-120 µs"),
        ] {
            assert_eq!(in_words(value, unit), said);
        }
    }
}
