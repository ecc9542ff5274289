//! Tools of a target, and one description beside the accepted one.

use super::{
    draw, escape,
    frame::{Fault, Frame, Viewer, draw_page, form_encoded},
};
use crate::{
    api::v1::tools::{digest, target},
    console::Console,
    model::tools::{DiffLine, ToolFull, ToolItem},
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

impl DiffLine {
    /// What was there, with what is not any more marked.
    fn was(&self) -> String {
        parted("del", self.before.as_deref(), self.after.as_deref())
    }

    /// What is there now, with what was not there before marked.
    fn is(&self) -> String {
        parted("ins", self.after.as_deref(), self.before.as_deref())
    }
}

/// A text with the part marked in which it differs from another.
fn parted(tag: &str, text: Option<&str>, other: Option<&str>) -> String {
    let Some(text) = text else { return String::new() };
    let Some(other) = other else { return format!("<{tag}>{}</{tag}>", escape::text(text)) };
    let common = |same: usize, (left, right): (char, char)| {
        if left == right { Ok(same + left.len_utf8()) } else { Err(same) }
    };
    let (Ok(start) | Err(start)) = text.chars().zip(other.chars()).try_fold(0, common);
    let (head, rest) = text.split_at_checked(start).unwrap_or((text, ""));
    let other = other.get(start..).unwrap_or_default();
    let (Ok(end) | Err(end)) = rest.chars().rev().zip(other.chars().rev()).try_fold(0, common);
    let (middle, tail) = rest.split_at_checked(rest.len() - end).unwrap_or((rest, ""));
    let middle =
        if middle.is_empty() { String::new() } else { format!("<{tag}>{}</{tag}>", escape::text(middle)) };
    format!("{}{middle}{}", escape::text(head), escape::text(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_marked_and_nothing_of_it_is_markup() {
        for (text, other, want) in [
            ("Counts rows.", Some("Counts all rows."), "Counts rows."),
            ("Counts all rows.", Some("Counts rows."), "Counts <ins>all </ins>rows."),
            ("<b>\u{202e}", None, "<ins>&#60;b&#62;<mark>⟨U+202E⟩</mark></ins>"),
            ("é", Some("è"), "<ins>é</ins>"),
            ("aa", Some("a"), "a<ins>a</ins>"),
        ] {
            assert_eq!(parted("ins", Some(text), other), want);
        }
    }
}
