//! One approval: what will happen, why policy asks, and the decision. Nothing is cut off while it can be approved.

use super::{
    draw, escape,
    frame::{Fault, Frame, Viewer, draw_page, plain_text},
};
use crate::{
    body::Id,
    console::Console,
    model::{
        approval::{self, ApprovalFull},
        payload::{body_text, laid_out, request_lines},
    },
};
use askama::Template;
use axum::{extract::State, response::Response};
use countersign_core::ApprovalId;
use serde_json::Value;

/// Larger bodies are put on the page only when somebody opens them, and until then nobody can approve.
const LARGE: usize = 256 * 1024;

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
    presets: &'static [&'static str],
}

pub(super) async fn page(
    State(console): State<Console>,
    viewer: Viewer,
    Id(id): Id<ApprovalId>,
) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "inbox").await?;
    let hold = approval::load(&console, id).await?;
    let full = approval::drawn(&console, &hold, &viewer.caller).await?;
    let passkeys = console.directory().passkeys(viewer.session.person).len();
    draw_page(&ApprovalPage::new(frame, full, passkeys))
}

/// The whole body as text, hidden characters and bytes that are no text written out.
pub(super) async fn body(
    State(console): State<Console>,
    viewer: Viewer,
    Id(id): Id<ApprovalId>,
) -> Result<Response, Fault> {
    let hold = approval::load(&console, id).await?;
    let full = approval::drawn(&console, &hold, &viewer.caller).await?;
    Ok(plain_text(body_text(&full.payload.body)))
}

impl ApprovalPage {
    fn new(frame: Frame, full: ApprovalFull, passkeys: usize) -> Self {
        let body = &full.payload.body;
        let large = body.len() > LARGE;
        let wanted = full.item.you.wanted.as_deref().unwrap_or("chat");
        let signs = passkeys > 0;
        Self {
            facts: full
                .facts
                .as_object()
                .map(|facts| facts.clone().into_iter().collect())
                .unwrap_or_default(),
            request: request_lines(&full.payload.head),
            decoded: if large { None } else { laid_out(body) },
            large,
            wanted_words: match wanted {
                "passkey" => "a passkey’s signature",
                "session" => "a signed-in session",
                _ => "any vote",
            },
            given_words: if signs { "a passkey’s signature" } else { "a signed-in session" },
            strong_enough: signs || wanted != "passkey",
            presets: &PRESETS,
            frame,
            full,
        }
    }
}

#[cfg(test)]
#[path = "approval/tests.rs"]
mod tests;
