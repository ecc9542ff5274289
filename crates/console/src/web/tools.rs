//! Tools of a target, and one description beside the accepted one.

use super::{
    draw, escape,
    frame::{Fault, Frame, Viewer, draw_page, form_encoded},
};
use crate::{
    api::v1::tools::{digest, target},
    console::Console,
    model::tools::{ToolFull, ToolItem},
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};

#[derive(Template)]
#[template(path = "tools.html")]
struct ToolsPage {
    frame: Frame,
    target: String,
    /// The page's own address.
    at: String,
    /// What waits for somebody comes first.
    tools: Vec<ToolItem>,
    waiting: usize,
    is_server: bool,
    may_look: bool,
}

#[derive(Template)]
#[template(path = "tool.html")]
struct ToolPage {
    frame: Frame,
    full: ToolFull,
    /// The address of the target's tools.
    at: String,
    may_decide: bool,
    differences: usize,
}

pub(super) async fn list(
    State(console): State<Console>,
    viewer: Viewer,
    Path(name): Path<String>,
) -> Result<Response, Fault> {
    let name = target(&console, &name)?;
    let mut tools = console.tool_items(&name);
    tools.sort_by_key(|tool| tool.waiting.is_empty());
    let waiting = tools.iter().filter(|tool| !tool.waiting.is_empty()).count();
    let is_server = console.gate().target(&name).is_some_and(|target| target.wire == "mcp");
    draw_page(&ToolsPage {
        frame: Frame::of(&console, &viewer, "targets").await?,
        target: name.to_string(),
        at: tools_path(name.as_str()),
        tools,
        waiting,
        is_server,
        may_look: viewer.caller.operates().is_ok(),
    })
}

pub(super) async fn show(
    State(console): State<Console>,
    viewer: Viewer,
    Path((name, definition)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let name = target(&console, &name)?;
    let full = console.tool_full(&name, digest(&definition)?)?;
    draw_page(&ToolPage {
        frame: Frame::of(&console, &viewer, "targets").await?,
        differences: full.lines.iter().filter(|line| line.mark != "same").count(),
        full,
        at: tools_path(name.as_str()),
        may_decide: viewer.caller.is_administrator(),
    })
}

/// The address of a target's tools, whatever its name.
pub(super) fn tools_path(target: &str) -> String {
    format!("/targets/{}/tools", form_encoded(target).replace('/', "%2F"))
}
