//! The story of one action, each entry with its proof.

use super::{
    draw, escape,
    frame::{Fault, Frame, Viewer, draw_page, plain_text},
};
use crate::{
    api::v1::actions::prove,
    body::Id,
    console::Console,
    error::Problem,
    model::entry::{self, ActionFull, EntryItem},
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use countersign_core::ActionId;
use countersign_engine::read;
use serde_json::Value;

#[derive(Template)]
#[template(path = "action.html")]
struct ActionPage {
    frame: Frame,
    full: ActionFull,
    steps: Vec<Step>,
}

/// One entry with what is said of it at a glance.
struct Step {
    entry: EntryItem,
    told: Vec<(&'static str, String)>,
    /// The public facts as JSON.
    data: String,
    /// The size of the tree it was just proven in.
    proven: Option<u64>,
}

/// Facts worth a line of their own.
const TELLING: [(&str, &str); 13] = [
    ("code", "because"),
    ("decision", "decision"),
    ("gate", "gate"),
    ("assurance", "worth"),
    ("reason", "reason"),
    ("why", "reason"),
    ("closing", "as"),
    ("outcome", "outcome"),
    ("status", "status"),
    ("bytes_received", "bytes received"),
    ("duration_us", "microseconds"),
    ("found", "found"),
    ("ended_by", "ended by"),
];

pub(super) async fn page(
    State(console): State<Console>,
    viewer: Viewer,
    Id(id): Id<ActionId>,
) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "history").await?;
    let full = entry::action(&console, &viewer.caller, id).await?;
    let indexes: Vec<u64> = full.entries.iter().map(|entry| entry.index).collect();
    // A proof that cannot be made is shown as missing, entry by entry; the story is shown all the same.
    let proofs = prove(&console, indexes).await.unwrap_or_default();
    let steps = full.entries.iter().cloned().map(|entry| {
        let proven = proofs.iter().find(|proof| proof.index == entry.index).map(|proof| proof.size);
        Step::new(entry, proven)
    });
    let steps = steps.collect();
    draw_page(&ActionPage { frame, full, steps })
}

/// The proof of one entry as a C2SP tlog-proof.
pub(super) async fn proof(
    State(console): State<Console>,
    _viewer: Viewer,
    Path((id, index)): Path<(String, u64)>,
) -> Result<Response, Fault> {
    let action: ActionId = id.parse().map_err(|_| Problem::not_found("there is no such action"))?;
    let entries = read::timeline(console.gate(), action).await.map_err(Problem::from)?;
    if !entries.iter().any(|stored| stored.index == index) {
        return Err(Problem::not_found("this action has no such entry").into());
    }
    let proofs = prove(&console, vec![index]).await?;
    let text = proofs.into_iter().next().map(|proof| proof.text);
    text.map(plain_text).ok_or_else(|| Problem::internal("the proof could not be made").into())
}

/// The private value that is a result, see ADR 0026.
const RESULTS: &str = "results";
/// What the page says in its place: nothing here can open it, and it is long.
const SEALED: &str = "sealed; `countersign log results ACTION --key-from …` opens it for whoever has the key";

impl Step {
    fn new(mut entry: EntryItem, proven: Option<u64>) -> Self {
        if let Some(sealed) = entry.private.get_mut(RESULTS) {
            *sealed = SEALED.into();
        }
        let statement = entry.data.get("statement");
        let find =
            |key: &str| entry.data.get(key).or_else(|| statement.and_then(|statement| statement.get(key)));
        let public = TELLING.iter().filter_map(|(key, label)| Some((*label, plain(find(key)?)?)));
        let mut told: Vec<(&'static str, String)> = public.collect();
        let said = ["reason", "note"].into_iter().filter_map(|path| entry.private.get(path));
        told.extend(said.map(|text| ("in their words", text.clone())));
        let data = serde_json::to_string_pretty(&entry.data).unwrap_or_default();
        Self { entry, told, data, proven }
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
