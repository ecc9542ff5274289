//! All benches' newest figures as one Markdown table. Runs last, and measures nothing.

use countersign_benches::{Result, report};
use std::io::Write as _;

fn main() -> Result<()> {
    let table =
        report::table(&["decide", "append", "proxy", "held", "channels", "chat", "sql", "mcp", "start"])?;
    Ok(std::io::stdout().write_all(table.as_bytes())?)
}
