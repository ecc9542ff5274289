//! `countersign inbox`: what waits for the person who is signed in here. It shows; deciding opens the page.

use crate::{
    cli::Output,
    failure::Failure,
    output::{self, text},
    remote::{Login, Remote},
};
use countersign_core::visible;
use serde_json::{Value, json};
use std::{
    io::IsTerminal as _,
    process::{Command, Stdio},
    time::Duration,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// How often the list is looked at.
const EVERY: Duration = Duration::from_secs(2);
/// How many are read, and shown.
const MOST: usize = 200;

pub(super) async fn run(once: bool, output: Output) -> Result<(), Failure> {
    let remote = Remote::signed_in(&Login::read()?)?;
    let mut waiting = fetch(&remote).await?;
    if once || matches!(output, Output::Json) || !std::io::stdout().is_terminal() {
        return output::show(output, &json!(waiting), |_| draw(&waiting));
    }
    let mut typed = BufReader::new(tokio::io::stdin()).lines();
    let mut said = String::new();
    let mut drawn = String::new();
    loop {
        let page =
            format!("{}\n\n{said}Type a number and Enter to open its page, q to leave.", draw(&waiting));
        if page != drawn {
            // Clears the screen, from its top.
            output::line(&format!("\u{1b}[2J\u{1b}[H{page}"))?;
            drawn = page;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => match fetch(&remote).await {
                Ok(fresh) => (waiting, said) = (fresh, String::new()),
                // What is shown may be old; it says so, and goes on.
                Err(failure) => said = format!("{failure}\n\n"),
            },
            line = typed.next_line() => match line {
                Ok(Some(line)) if line.trim() == "q" => return Ok(()),
                Ok(Some(line)) => said = open(&remote, &waiting, line.trim()),
                Ok(None) | Err(_) => return Ok(()),
            },
        }
    }
}

/// What waits for this person's vote.
async fn fetch(remote: &Remote) -> Result<Vec<Value>, Failure> {
    let found = remote.read(&format!("/api/v1/approvals?status=pending&limit={MOST}")).await?;
    let items = found.pointer("/items").and_then(Value::as_array);
    let mine = |item: &&Value| {
        item.pointer("/you/can_vote") == Some(&Value::Bool(true))
            && item.pointer("/you/voted") != Some(&Value::Bool(true))
    };
    Ok(items.into_iter().flatten().filter(mine).cloned().collect())
}

fn draw(waiting: &[Value]) -> String {
    let row = |(at, item): (usize, &Value)| {
        let of = |pointer: &str| text(item, pointer);
        vec![
            (at + 1).to_string(),
            of("/code"),
            of("/requester/name"),
            format!("{} ({})", of("/target"), of("/environment")),
            minute(&of("/deadline")),
            of("/sentence"),
        ]
    };
    let rows: Vec<Vec<String>> = waiting.iter().enumerate().map(row).collect();
    output::table(&["no", "code", "asks", "at", "until", "what"], &rows, "Nothing waits for you.")
}

/// A moment to the minute, as people read it: `2026-11-27 05:27Z`.
fn minute(moment: &str) -> String {
    moment.get(..16).map_or_else(|| moment.to_owned(), |minute| format!("{}Z", minute.replace('T', " ")))
}

/// Opens an approval's page in the browser; its address, in any case.
fn open(remote: &Remote, waiting: &[Value], typed: &str) -> String {
    let chosen = typed.parse::<usize>().ok().and_then(|at| waiting.get(at.checked_sub(1)?));
    let Some(item) = chosen else {
        return format!("There is no number {}.\n\n", visible::one_line(typed));
    };
    let id: String =
        text(item, "/id").chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
    let page = format!("{}/approvals/{id}", remote.origin());
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    // Without one, the address is what there is.
    let _ = Command::new(opener)
        .arg(&page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    format!("{page}\n\n")
}
