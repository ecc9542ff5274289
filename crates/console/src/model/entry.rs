//! Entries of the ledger as people read them, one by one and as the story of an action.

use super::{Named, time};
use crate::{caller::Caller, console::Console, error::Problem, reading};
use countersign_core::{ActionId, Timestamp, visible};
use countersign_engine::{
    hold::Hold,
    port::store::{FindEntries, StoredEntry},
    read,
};
use countersign_ledger::{
    LeafHash,
    entry::Entry,
    event::{Event, FreezeScope},
    tree::leaf_hash,
};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};
use utoipa::ToSchema;

/// One entry.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EntryItem {
    /// Its place in the tree.
    pub(crate) index: u64,
    pub(crate) id: String,
    #[serde(rename = "type")]
    #[schema(rename = "type")]
    pub(crate) kind: String,
    pub(crate) ts: String,
    pub(crate) actor: Named,
    pub(crate) action: Option<String>,
    /// The public facts.
    #[schema(value_type = Object)]
    pub(crate) data: Value,
    /// Its leaf hash, as other entries name it.
    pub(crate) leaf: String,
    /// Values kept beside the ledger, by path; what was erased is missing.
    pub(crate) private: BTreeMap<String, String>,
}

/// An entry in the history.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct HistoryItem {
    pub(crate) index: u64,
    pub(crate) id: String,
    #[serde(rename = "type")]
    #[schema(rename = "type")]
    pub(crate) kind: String,
    pub(crate) ts: String,
    pub(crate) actor: Named,
    pub(crate) action: String,
    pub(crate) sentence: Option<String>,
    pub(crate) target: Option<String>,
    /// Who asked for the action.
    pub(crate) requester: Option<Named>,
}

/// An action with all its entries, oldest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ActionFull {
    pub(crate) action: String,
    pub(crate) approval: Option<String>,
    pub(crate) sentence: Option<String>,
    /// The approval's state, or what the newest entry says.
    pub(crate) state: String,
    pub(crate) target: Option<String>,
    pub(crate) requester: Option<Named>,
    pub(crate) entries: Vec<EntryItem>,
    /// Nobody knows whether it ran, and no person has found out yet.
    pub(crate) unresolved: bool,
}

/// Which entries, newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistoryFilter {
    pub(crate) text: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) before: Option<u64>,
    pub(crate) limit: usize,
}

/// How many entries are looked through for one page at most.
const LOOKED_THROUGH: usize = 5_000;
/// How many are read at once.
const BATCH: usize = 500;

fn parse(stored: &StoredEntry) -> Result<Entry, Problem> {
    Entry::parse(&stored.bytes).map_err(|error| {
        tracing::error!(index = stored.index, %error, "an entry cannot be read");
        Problem::internal(format!("entry {} cannot be read", stored.index))
    })
}

pub(crate) fn entry_item(console: &Console, stored: &StoredEntry) -> Result<EntryItem, Problem> {
    let entry = parse(stored)?;
    let kind = entry.event.kind();
    let data =
        serde_json::to_value(&entry.event).ok().and_then(|mut event| Some(event.get_mut("data")?.take()));
    let LeafHash(leaf) = leaf_hash(&stored.bytes);
    Ok(EntryItem {
        index: stored.index,
        id: entry.id.to_string(),
        kind: kind.into(),
        ts: time(entry.at),
        actor: console.actor_named(&entry.actor),
        action: entry.action.map(|action| action.to_string()),
        data: data.unwrap_or(Value::Null),
        leaf: countersign_core::Digest(leaf).to_string(),
        private: stored
            .private
            .iter()
            .map(|field| (field.path.clone(), private_text(&field.path, &field.value)))
            .collect(),
    })
}

fn private_text(path: &str, value: &[u8]) -> String {
    match (path, std::str::from_utf8(value)) {
        ("action_digest_opening", _) => value.iter().fold(String::new(), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        }),
        ("request_head", _) => countersign_engine::shown::request_lines(value),
        (_, Ok(text)) => text.to_owned(),
        (_, Err(_)) => visible::bytes(value),
    }
}

/// The story of an action, and a trace that it was read.
pub(crate) async fn action(console: &Console, caller: &Caller, id: ActionId) -> Result<ActionFull, Problem> {
    let stored = read::timeline(console.gate(), id).await?;
    let hold = read::hold_of(console.gate(), id).await?;
    if stored.is_empty() && hold.is_none() {
        return Err(Problem::not_found(format!("there is no action `{id}`")));
    }
    reading::read(console, caller, format!("action {id}")).await?;
    let entries = stored.iter().map(|entry| entry_item(console, entry)).collect::<Result<Vec<_>, _>>()?;
    let about = About::of(console, &stored, hold.as_ref())?;
    let unresolved = match &hold {
        Some(hold) => hold.is_unresolved(),
        None => entries.last().is_some_and(|entry| entry.kind == "execution.outcome_unknown"),
    };
    Ok(ActionFull {
        action: id.to_string(),
        approval: hold.as_ref().map(|hold| hold.approval.id.to_string()),
        sentence: about.sentence,
        state: about.state,
        target: about.target,
        requester: about.requester,
        entries,
        unresolved,
    })
}

/// What is known of an action beside its entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) sentence: Option<String>,
    pub(crate) state: String,
    pub(crate) target: Option<String>,
    pub(crate) requester: Option<Named>,
}

impl About {
    fn of(console: &Console, stored: &[StoredEntry], hold: Option<&Hold>) -> Result<Self, Problem> {
        if let Some(hold) = hold {
            let called = Some(hold.view.claimed.requester_name.as_str());
            return Ok(Self {
                sentence: Some(hold.view.computed.sentence.clone()),
                state: hold.approval.state.as_str().into(),
                target: Some(hold.asked.target.to_string()),
                requester: Some(console.principal_named(hold.principal, called)),
            });
        }
        let (Some(first), Some(last)) = (stored.first(), stored.last()) else { return Ok(Self::default()) };
        let sentence = first.private.iter().find(|field| field.path == "sentence");
        let entry = parse(first)?;
        Ok(Self {
            sentence: sentence.map(|field| String::from_utf8_lossy(&field.value).into_owned()),
            state: state_after(&parse(last)?.event).into(),
            target: target_of(&entry.event),
            requester: Some(console.actor_named(&entry.actor)),
        })
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these events say where an action without approval stands"
)]
fn state_after(event: &Event) -> &'static str {
    match event {
        Event::ActionRefused { .. } => "refused",
        Event::ExecutionAuthorized(_) => "executing",
        Event::ExecutionReleased { .. } => "not-run",
        Event::ExecutionResult(facts) => facts.outcome.as_str(),
        Event::ExecutionUnknown { .. } => "unknown",
        Event::ExecutionResolved { .. } => "resolved",
        _ => "recorded",
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only these events name a target")]
fn target_of(event: &Event) -> Option<String> {
    match event {
        Event::ActionRefused { asked, .. } | Event::ApprovalRequested { asked, .. } => {
            Some(asked.target.to_string())
        }
        Event::ExecutionAuthorized(facts) => Some(facts.asked.target.to_string()),
        Event::ToolNoticed { target, .. }
        | Event::ToolAccepted { target, .. }
        | Event::ToolRefused { target, .. } => Some(target.to_string()),
        Event::FreezeSet { scope: FreezeScope::Target { name }, .. }
        | Event::FreezeLifted { scope: FreezeScope::Target { name } } => Some(name.to_string()),
        _ => None,
    }
}

/// Entries of actions, newest first, and where the next page begins.
pub(crate) async fn history(
    console: &Console,
    caller: &Caller,
    filter: HistoryFilter,
) -> Result<(Vec<HistoryItem>, Option<u64>), Problem> {
    reading::read(console, caller, "history".into()).await?;
    let (mut found, mut before, mut looked) = (Vec::new(), filter.before, 0);
    let mut known: HashMap<ActionId, About> = HashMap::new();
    while looked < LOOKED_THROUGH {
        let find = FindEntries {
            entry: None,
            action: None,
            kind: filter.kind.clone(),
            actor: filter.actor.clone(),
            target: filter.target.clone(),
            since: filter.since,
            until: filter.until,
            text: filter.text.clone(),
            before,
            limit: BATCH,
            bare: true,
        };
        let batch = console.gate().store().entries(find).await?;
        let last = batch.len() < BATCH;
        looked += batch.len();
        for stored in batch {
            before = Some(stored.index);
            let entry = parse(&stored)?;
            let Some(action) = entry.action else { continue };
            let about = match known.get(&action) {
                Some(about) => about.clone(),
                None => known.entry(action).or_insert(about(console, action).await?).clone(),
            };
            found.push(HistoryItem {
                index: stored.index,
                id: entry.id.to_string(),
                kind: entry.event.kind().into(),
                ts: time(entry.at),
                actor: console.actor_named(&entry.actor),
                action: action.to_string(),
                sentence: about.sentence,
                target: about.target,
                requester: about.requester,
            });
            if found.len() >= filter.limit {
                return Ok((found, before));
            }
        }
        if last {
            return Ok((found, None));
        }
    }
    Ok((found, before))
}

pub(crate) async fn about(console: &Console, action: ActionId) -> Result<About, Problem> {
    let hold = read::hold_of(console.gate(), action).await?;
    let stored = match &hold {
        Some(_) => Vec::new(),
        None => read::timeline(console.gate(), action).await?,
    };
    About::of(console, &stored, hold.as_ref())
}
