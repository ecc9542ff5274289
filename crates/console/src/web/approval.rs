//! One approval: what will happen, why policy asks, and the decision. Nothing is cut off while it can be approved.

use super::{
    draw, escape,
    frame::{Fault, Frame, Viewer, draw_page, plain_text},
};
use crate::{
    body::Id,
    console::Console,
    error::Problem,
    model::{
        approval::{self, ApprovalFull},
        payload::laid_out,
    },
};
use askama::Template;
use axum::{extract::State, response::Response};
use countersign_core::{ApprovalId, approval::Outcome};
use countersign_engine::{
    hold::Hold,
    read,
    shown::{body_text, request_lines},
};
use countersign_ledger::{Entry, event::Event};
use serde_json::{Map, Value};

/// Larger bodies are put on the page only when somebody opens them, and until then nobody can approve.
const LARGE: usize = 256 * 1024;

/// The frame's page that shows nothing but what is decided on and the decision.
const DECIDE: &str = "decide";

/// Reasons that need no typing.
const PRESETS: [&str; 4] = ["Not expected", "Wrong target", "Too broad", "Needs a ticket"];

#[derive(Template)]
#[template(path = "approval.html")]
struct ApprovalPage {
    frame: Frame,
    full: ApprovalFull,
    facts: Vec<(String, Value)>,
    request: String,
    decoded: Option<String>,
    large: bool,
    wanted_words: &'static str,
    given_words: &'static str,
    strong_enough: bool,
    /// Where the viewer can sign in again: providers by name and label.
    providers: Vec<(String, String)>,
    /// The viewer has a passkey.
    signs: bool,
    presets: &'static [&'static str],
    ran: Option<Ran>,
    /// The page's own path.
    here: String,
}

/// What the ledger says of the last execution.
struct Ran {
    outcome: &'static str,
    /// The target's own word, such as an HTTP status.
    status: String,
    milliseconds: String,
    bytes_received: u64,
    /// Where the entry stands in the tree.
    index: u64,
}

pub(super) async fn page(
    State(console): State<Console>,
    viewer: Viewer,
    Id(id): Id<ApprovalId>,
) -> Result<Response, Fault> {
    drawn(&console, &viewer, id, ("inbox", format!("/approvals/{id}"))).await
}

/// One approval to decide on, and nothing else: a chat's button leads here, where its own word is not enough.
pub(super) async fn decide(
    State(console): State<Console>,
    viewer: Viewer,
    Id(id): Id<ApprovalId>,
) -> Result<Response, Fault> {
    drawn(&console, &viewer, id, (DECIDE, format!("/approvals/{id}/decide"))).await
}

async fn drawn(
    console: &Console,
    viewer: &Viewer,
    id: ApprovalId,
    (page, here): (&'static str, String),
) -> Result<Response, Fault> {
    let frame = Frame::of(console, viewer, page).await?;
    let read = approval::load(console, id).await?;
    let full = approval::drawn(console, &read, &viewer.caller).await?;
    let passkeys = console.directory().passkeys(viewer.session.person).len();
    let ran = ran(console, &read.hold).await?;
    let linked = console.directory().offered_to(viewer.session.person).into_iter();
    let linked = linked.filter(|(_, at)| at.is_some()).map(|(offered, _)| (offered.name, offered.label));
    let providers = linked.collect();
    draw_page(&ApprovalPage { providers, ran, here, ..ApprovalPage::new(frame, full, passkeys) })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only a result tells how an execution ended")]
async fn ran(console: &Console, hold: &Hold) -> Result<Option<Ran>, Fault> {
    let entries = read::timeline(console.gate(), hold.action()).await.map_err(Problem::from)?;
    let found = entries.iter().rev().find_map(|stored| match Entry::parse(&stored.bytes).ok()?.event {
        Event::ExecutionResult(facts) => Some((stored.index, facts)),
        _ => None,
    });
    Ok(found.map(|(index, facts)| Ran {
        outcome: match facts.outcome {
            Outcome::Done => "It ran to its end",
            Outcome::Cancelled => "It was cancelled while it ran",
            Outcome::Unknown => "Nobody knows whether it ran to its end",
        },
        status: facts.status,
        milliseconds: format!("{}.{:03}", facts.duration_us / 1000, facts.duration_us % 1000),
        bytes_received: facts.bytes_received,
        index,
    }))
}

/// The whole body as text, hidden characters and bytes that are no text written out.
pub(super) async fn body(
    State(console): State<Console>,
    viewer: Viewer,
    Id(id): Id<ApprovalId>,
) -> Result<Response, Fault> {
    let read = approval::load(&console, id).await?;
    let full = approval::drawn(&console, &read, &viewer.caller).await?;
    Ok(plain_text(body_text(&full.payload.body)))
}

impl ApprovalPage {
    fn new(frame: Frame, full: ApprovalFull, passkeys: usize) -> Self {
        let body = &full.payload.body;
        let large = body.len() > LARGE;
        let wanted = full.item.you.wanted.as_deref().unwrap_or("chat");
        let signs = passkeys > 0;
        Self {
            facts: full.facts.as_object().map(rows).unwrap_or_default(),
            request: request_lines(&full.payload.head),
            decoded: if large { None } else { laid_out(body) },
            large,
            wanted_words: match wanted {
                "passkey" => "a passkey’s signature",
                "session" => "a signed-in session",
                _ => "any vote",
            },
            given_words: if signs { "a passkey’s signature" } else { "a signed-in session" },
            signs,
            providers: Vec::new(),
            strong_enough: signs || wanted != "passkey",
            presets: &PRESETS,
            ran: None,
            here: String::new(),
            frame,
            full,
        }
    }
}

/// Facts a row each; those of a text inside an argument stand under its language.
fn rows(facts: &Map<String, Value>) -> Vec<(String, Value)> {
    let mut rows = Vec::with_capacity(facts.len());
    for (name, value) in facts {
        if let Value::Object(members) = value {
            let each = members.iter().map(|(member, value)| (format!("{name}.{member}"), value.clone()));
            rows.extend(each);
        } else {
            rows.push((name.clone(), value.clone()));
        }
    }
    rows
}

#[cfg(test)]
#[path = "approval/tests.rs"]
mod tests;
