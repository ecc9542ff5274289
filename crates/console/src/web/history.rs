//! Searching what happened, and what nobody knows the end of.

use super::{
    draw, escape,
    frame::{Fault, Frame, Viewer, draw_page, form_encoded},
};
use crate::{
    api::v1::actions::{self, UnresolvedItem, Which},
    body::Params,
    console::Console,
    model::entry::{self, HistoryItem},
};
use askama::Template;
use axum::{extract::State, response::Response};
use serde::Deserialize;
use std::collections::HashSet;

/// What the search form sends: every field, empty where nothing is asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    q: String,
    #[serde(rename = "type")]
    kind: String,
    actor: String,
    target: String,
    since: String,
    until: String,
    before: Option<u64>,
}

#[derive(Template)]
#[template(path = "history.html")]
struct History {
    frame: Frame,
    which: Asked,
    /// The newest matching entry of each action.
    rows: Vec<HistoryItem>,
    next: Option<String>,
    kinds: &'static [&'static str],
    targets: Vec<String>,
    actors: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "unresolved.html")]
struct Unresolved {
    frame: Frame,
    items: Vec<UnresolvedItem>,
}

const KINDS: [&str; 18] = [
    "approval.requested",
    "approval.voted",
    "approval.vote_refused",
    "approval.reminded",
    "approval.escalated",
    "approval.glass_broken",
    "approval.glass_reviewed",
    "approval.granted",
    "approval.closed",
    "approval.round_opened",
    "approval.revoked_while_running",
    "action.refused",
    "execution.authorized",
    "execution.released",
    "execution.result",
    "execution.outcome_unknown",
    "execution.resolved",
    "result.delivered",
];

pub(super) async fn page(
    State(console): State<Console>,
    viewer: Viewer,
    Params(which): Params<Asked>,
) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "history").await?;
    let filter = actions::filter(which.filter())?;
    let (mut rows, next) = entry::history(&console, &viewer.caller, filter).await?;
    let mut seen = HashSet::new();
    rows.retain(|row| seen.insert(row.action.clone()));
    let directory = console.directory();
    let people = directory.people().into_iter().map(|person| (person.id.to_string(), person.name));
    let agents = directory.agents().into_iter().map(|agent| (agent.id.to_string(), agent.name));
    let page = History {
        frame,
        next: next.map(|before| which.link(before)),
        which,
        rows,
        kinds: &KINDS,
        targets: console.gate().targets().map(|target| target.name.to_string()).collect(),
        actors: people.chain(agents).chain([("operator".into(), "the operator".into())]).collect(),
    };
    draw_page(&page)
}

pub(super) async fn unresolved(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "history").await?;
    draw_page(&Unresolved { frame, items: actions::open_ends(&console).await? })
}

impl Asked {
    fn filter(&self) -> Which {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let day =
            |text: &str, end: &str| given(text).map(|day| if day.contains('T') { day } else { day + end });
        Which {
            q: given(&self.q),
            kind: given(&self.kind),
            actor: given(&self.actor),
            target: given(&self.target),
            since: day(&self.since, "T00:00:00Z"),
            until: day(&self.until, "T23:59:59.999999Z"),
            limit: Some(200),
            before: self.before,
        }
    }

    fn link(&self, before: u64) -> String {
        let fields = [
            ("q", &self.q),
            ("type", &self.kind),
            ("actor", &self.actor),
            ("target", &self.target),
            ("since", &self.since),
            ("until", &self.until),
        ];
        let given = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<String> =
            given.map(|(name, value)| format!("{name}={}&", form_encoded(value))).collect();
        format!("/history?{}before={before}", query.concat())
    }
}
