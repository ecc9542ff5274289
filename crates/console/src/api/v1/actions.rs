//! The history of actions, their proofs, and outcomes that a person has to find out.

#![expect(unused_qualifications, reason = "written by the macro that describes query parameters")]

use super::approvals::reason;
use crate::{
    body::{Id, Input, Params},
    caller::Caller,
    console::Console,
    error::{Problem, refused},
    model::{
        Named, Page,
        entry::{self, ActionFull, HistoryFilter, HistoryItem},
        time,
    },
    proofs::Proof,
};
use axum::{Json, extract::State};
use countersign_core::{ActionId, PersonId, Timestamp, approval::Taker};
use countersign_engine::{read, settle, vote};
use countersign_ledger::{
    entry::Entry,
    event::{Actor, Event, Found},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::{IntoParams, ToSchema};

/// Which entries. Every filter given must match.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// A text that occurs in the entry.
    pub(crate) q: Option<String>,
    /// An entry type, such as `approval.voted`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    pub(crate) kind: Option<String>,
    /// The id of whoever caused it, or `operator` or `gateway`.
    pub(crate) actor: Option<String>,
    pub(crate) target: Option<String>,
    /// RFC 3339, UTC.
    pub(crate) since: Option<String>,
    /// RFC 3339, UTC.
    pub(crate) until: Option<String>,
    /// 1 to 200; 50 unless said.
    pub(crate) limit: Option<usize>,
    /// The `next` of the page before.
    pub(crate) before: Option<u64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichEntry {
    /// The entry's place in the tree.
    entry: u64,
}

/// What a person found out about an outcome nobody knew.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolve {
    /// `ran`, `did-not-run` or `cannot-tell`.
    #[schema(value_type = String)]
    found: Found,
    note: String,
}

/// An action of which nobody knows whether it ran.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct UnresolvedItem {
    pub(crate) action: String,
    pub(crate) approval: Option<String>,
    pub(crate) sentence: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) requester: Option<Named>,
    pub(crate) since: String,
}

/// Entries of actions, newest first.
#[utoipa::path(get, path = "/api/v1/actions", tag = "actions", params(Which), responses(
    (status = 200, body = Page<HistoryItem>), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(console): State<Console>,
    caller: Caller,
    Params(which): Params<Which>,
) -> Result<Json<Page<HistoryItem>>, Problem> {
    let (items, next) = entry::history(&console, &caller, filter(which)?).await?;
    Ok(Json(Page { items, next: next.map(|index| index.to_string()) }))
}

/// One action with all its entries.
#[utoipa::path(get, path = "/api/v1/actions/{id}", tag = "actions", params(("id" = String, Path)), responses(
    (status = 200, body = ActionFull), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<ActionId>,
) -> Result<Json<ActionFull>, Problem> {
    entry::action(&console, &caller, id).await.map(Json)
}

/// The proof that one of an action's entries is in the log.
#[utoipa::path(get, path = "/api/v1/actions/{id}/proof", tag = "actions", params(("id" = String, Path), WhichEntry), responses(
    (status = 200, body = Proof), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn proof(
    State(console): State<Console>,
    _caller: Caller,
    Id(id): Id<ActionId>,
    Params(which): Params<WhichEntry>,
) -> Result<Json<Proof>, Problem> {
    let entries = read::timeline(console.gate(), id).await?;
    if !entries.iter().any(|stored| stored.index == which.entry) {
        return Err(Problem::not_found(format!("action `{id}` has no entry {}", which.entry)));
    }
    let mut found = prove(&console, vec![which.entry]).await?;
    found.pop().map(Json).ok_or_else(|| Problem::internal("the proof could not be made"))
}

/// Say what became of an action whose outcome nobody knew.
#[utoipa::path(post, path = "/api/v1/actions/{id}/resolve", tag = "actions", params(("id" = String, Path)),
    request_body = Resolve, responses(
    (status = 200, body = ActionFull), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn resolve(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<ActionId>,
    Input(asked): Input<Resolve>,
) -> Result<Json<ActionFull>, Problem> {
    caller.not_an_auditor()?;
    let note = reason(&asked.note).map_err(|_| Problem::invalid("`note` must say how that was found out"))?;
    let taker = match caller.person() {
        None => Taker::Operator,
        Some(person) if side(&console, id).await?.contains(&person) => {
            const WHY: &str = "people on the requester's side cannot say what became of its action";
            if let Some(hold) = read::hold_of(console.gate(), id).await? {
                vote::attempted(console.gate(), hold.approval.id, Actor::Person { id: person }, WHY).await?;
            }
            return Err(Problem::forbidden(WHY));
        }
        Some(person) => Taker::Person(person),
    };
    settle::resolve(console.gate(), id, taker, asked.found, note).await?.map_err(|rule| refused(&rule))?;
    entry::action(&console, &caller, id).await.map(Json)
}

/// Actions of which nobody knows whether they ran.
#[utoipa::path(get, path = "/api/v1/unresolved", tag = "actions", responses(
    (status = 200, body = [UnresolvedItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn unresolved(
    State(console): State<Console>,
    _caller: Caller,
) -> Result<Json<Vec<UnresolvedItem>>, Problem> {
    open_ends(&console).await.map(Json)
}

pub(crate) fn filter(which: Which) -> Result<HistoryFilter, Problem> {
    let limit = which.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(Problem::invalid("`limit` must be 1 to 200"));
    }
    let moment = |name: &str, text: Option<String>| {
        let parsed = text.map(|text| Timestamp::parse(&text)).transpose();
        parsed.map_err(|error| Problem::invalid(format!("`{name}`: {error}")))
    };
    Ok(HistoryFilter {
        text: which.q.filter(|text| !text.trim().is_empty()),
        kind: which.kind,
        actor: which.actor,
        target: which.target,
        since: moment("since", which.since)?,
        until: moment("until", which.until)?,
        before: which.before,
        limit,
    })
}

/// Proofs for these entries under the newest checkpoint, each checked.
pub(crate) async fn prove(console: &Console, indexes: Vec<u64>) -> Result<Vec<Proof>, Problem> {
    let console = console.clone();
    let work = move || console.proofs().lock().prove(console.gate().store(), &indexes);
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::internal("the proof could not be made"))?
}

pub(crate) async fn open_ends(console: &Console) -> Result<Vec<UnresolvedItem>, Problem> {
    let mut found = Vec::new();
    for hold in read::unresolved_holds(console.gate()).await? {
        let called = Some(hold.view.claimed.requester_name.as_str());
        found.push(UnresolvedItem {
            action: hold.action().to_string(),
            approval: Some(hold.approval.id.to_string()),
            sentence: Some(hold.view.computed.sentence.clone()),
            target: Some(hold.asked.target.to_string()),
            requester: Some(console.principal_named(hold.principal, called)),
            since: time(hold.closed_at.unwrap_or(hold.approval.requested_at)),
        });
    }
    for open in read::unresolved(console.gate()).await? {
        let about = entry::about(console, open.action).await?;
        found.push(UnresolvedItem {
            action: open.action.to_string(),
            approval: None,
            sentence: about.sentence,
            target: about.target,
            requester: about.requester,
            since: time(open.since),
        });
    }
    Ok(found)
}

/// The requester's side of an action, held or not; of a held one with everybody else who may not decide it.
async fn side(console: &Console, id: ActionId) -> Result<BTreeSet<PersonId>, Problem> {
    if let Some(hold) = read::hold_of(console.gate(), id).await? {
        return Ok(vote::exclusions(console.gate(), &hold).into_keys().collect());
    }
    let mut side = BTreeSet::new();
    for stored in read::timeline(console.gate(), id).await? {
        let unreadable = |_| Problem::internal("an entry of this action cannot be read");
        let entry = Entry::parse(&stored.bytes).map_err(unreadable)?;
        let Event::ExecutionAuthorized(facts) = entry.event else { continue };
        side.extend(facts.asked.on_behalf_of);
        match entry.actor {
            Actor::Person { id } => side.extend([id]),
            Actor::Agent { id, .. } | Actor::Service { id, .. } => side.extend(console.behind(id)),
            Actor::Operator | Actor::Gateway | Actor::Unknown => {}
        }
    }
    Ok(side)
}
