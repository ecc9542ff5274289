//! What targets say about their tools, and which of it people have accepted. A definition is known by its digest: another
//! word in it is another definition, which nobody has accepted yet.

use crate::{
    error::Error,
    gate::{Changed, Gate},
    hold::json,
    journal::Note,
    port::{
        store::{Change, Commit, Expect, Find, Key, Kind, ReadError, Record, Store},
        upstream::Failed,
    },
};
use countersign_core::{Digest, TargetName, Timestamp, approval::Taker};
use countersign_ledger::event::{Actor, Event};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};
use tokio::sync::{Mutex, watch};

/// The largest definition that can be accepted, in bytes of its canonical form.
pub const LARGEST_BYTES: usize = 64 << 10;
/// Tools of one target.
const MOST_TOOLS: usize = 1024;
/// Descriptions of one tool that wait for somebody; further ones are not kept until one is decided on.
const MOST_WAITING: usize = 4;
/// Descriptions of one tool that are kept at all; the oldest that is of no use any more goes first.
const MOST_KEPT: usize = 16;

/// A tool as its target describes it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub tool: String,
    pub digest: Digest,
    /// Its canonical form (RFC 8785).
    pub text: String,
}

/// Where a definition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// People have accepted exactly this.
    Accepted,
    /// Nobody has accepted this tool in any form.
    New,
    /// People have accepted the tool in another form.
    Changed,
    /// Somebody has refused exactly this.
    Refused,
}

impl Standing {
    /// The word policies and pages use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Refused => "refused",
        }
    }
}

/// A tool with everything its target has said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub target: TargetName,
    pub tool: String,
    /// In the order in which they were noticed.
    pub versions: Vec<Version>,
}

/// One description of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub digest: Digest,
    pub text: String,
    pub state: State,
    pub noticed_at: Timestamp,
    pub decided: Option<Decided>,
}

/// What became of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Waiting,
    Accepted,
    Refused,
    /// It was accepted, and another one was since.
    Replaced,
}

/// Who decided on a description, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    pub by: Taker,
    pub at: Timestamp,
}

impl Known {
    /// A tool as it is stored.
    pub fn read(record: &Record) -> Result<Self, ReadError> {
        serde_json::from_slice(&record.doc)
            .map_err(|error| ReadError::Garbled { kind: Kind::Definition, why: error.to_string() })
    }

    /// The descriptions that people accept or once accepted, the present one first.
    pub fn trusted(&self) -> impl Iterator<Item = &Version> {
        let replaced = self.versions.iter().rev().filter(|version| version.state == State::Replaced);
        self.accepted().into_iter().chain(replaced)
    }

    /// The description people have accepted.
    pub fn accepted(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.state == State::Accepted)
    }

    /// What waits for somebody, newest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Version> {
        self.versions.iter().rev().filter(|version| version.state == State::Waiting)
    }

    pub fn version(&self, digest: Digest) -> Option<&Version> {
        self.versions.iter().find(|version| version.digest == digest)
    }

    fn standing(&self, digest: Digest) -> Standing {
        match (self.version(digest).map(|version| version.state), self.accepted()) {
            (Some(State::Accepted), _) => Standing::Accepted,
            (Some(State::Refused), _) => Standing::Refused,
            (Some(State::Waiting | State::Replaced) | None, Some(_)) => Standing::Changed,
            (Some(State::Waiting | State::Replaced) | None, None) => Standing::New,
        }
    }

    fn id(&self) -> String {
        let parts = [self.target.as_str().as_bytes(), self.tool.as_bytes()];
        Digest::of_parts("countersign/definition/v1", &parts).hex()
    }
}

/// Who had a target asked for its tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompted {
    /// An agent's message. What is not decided on cannot fill the store.
    ByTraffic,
    /// A person, who wants to see what is there now: what waited longest gives way.
    ByPerson,
}

type Tools = BTreeMap<String, (Arc<Known>, u64)>;

/// Every tool of every target, in memory as in the store.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    known: RwLock<HashMap<TargetName, Tools>>,
    /// One change after the other.
    writing: Arc<Mutex<()>>,
    /// Grows with every decision.
    decided: watch::Sender<u64>,
}

/// Reads what was known when the gateway last ran.
pub(crate) async fn load(gate: &Gate) -> Result<(), Error> {
    for record in stored(&**gate.store()).await? {
        let version = record.version;
        remember(gate, Known::read(&record)?, version);
    }
    Ok(())
}

/// Every record of a tool that a store holds.
pub async fn stored(store: &dyn Store) -> Result<Vec<Record>, ReadError> {
    const PAGE: usize = 1_000;
    let mut found = Vec::new();
    loop {
        let before = found.last().map(|record: &Record| record.id.clone());
        let find = Find { keys: vec![("known", "yes".into())], before, limit: PAGE };
        let page = store.find(Kind::Definition, find).await?;
        let last = page.len() < PAGE;
        found.extend(page);
        if last {
            return Ok(found);
        }
    }
}

/// Changes with every decision on a description: policies may name the arguments of what is accepted.
pub fn decisions(gate: &Gate) -> watch::Receiver<u64> {
    gate.definitions.decided.subscribe()
}

/// Every tool of every target.
pub fn all(gate: &Gate) -> Vec<Arc<Known>> {
    gate.targets().flat_map(|target| of_target(gate, &target.name)).collect()
}

/// Where a tool's definition stands.
pub fn standing(gate: &Gate, target: &TargetName, tool: &str, digest: Digest) -> Standing {
    let known = gate.definitions.known.read();
    let known = known.get(target).and_then(|tools| tools.get(tool));
    known.map_or(Standing::New, |(known, _)| known.standing(digest))
}

/// Every tool of a target, by name.
pub fn of_target(gate: &Gate, target: &TargetName) -> Vec<Arc<Known>> {
    let known = gate.definitions.known.read();
    known
        .get(target)
        .into_iter()
        .flat_map(|tools| tools.values().map(|(known, _)| Arc::clone(known)))
        .collect()
}

/// One tool of a target.
pub fn of_tool(gate: &Gate, target: &TargetName, tool: &str) -> Option<Arc<Known>> {
    let known = gate.definitions.known.read();
    known.get(target)?.get(tool).map(|(known, _)| Arc::clone(known))
}

/// How many tools wait for somebody, over all targets.
pub fn waiting(gate: &Gate) -> usize {
    gate.targets().map(|target| waiting_at(gate, &target.name)).sum()
}

/// How many tools of a target wait for somebody.
pub fn waiting_at(gate: &Gate, target: &TargetName) -> usize {
    let known = gate.definitions.known.read();
    let tools = known.get(target).into_iter().flat_map(BTreeMap::values);
    tools.filter(|(known, _)| known.waiting().next().is_some()).count()
}

/// Keeps what a target says of its tools where nobody has seen it yet, each with an entry.
pub async fn notice(
    gate: &Gate,
    target: &TargetName,
    definitions: Vec<Definition>,
    prompted: Prompted,
) -> Result<(), Error> {
    let is_new = |definition: &Definition| {
        of_tool(gate, target, &definition.tool).is_none_or(|known| known.version(definition.digest).is_none())
    };
    if !definitions.iter().any(is_new) {
        return Ok(());
    }
    let one = Arc::clone(&gate.definitions.writing).lock_owned().await;
    let (mut changes, mut notes, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    let mut count = of_target(gate, target).len();
    let mut seen = HashSet::new();
    for Definition { tool, digest, text } in definitions.into_iter().filter(is_new) {
        let known = versioned(gate, target, &tool);
        let (mut known, version) = known.unwrap_or_else(|| {
            count += 1;
            (Known { target: target.clone(), tool: tool.clone(), versions: Vec::new() }, 0)
        });
        let waits = known.waiting().count() >= MOST_WAITING;
        if text.len() > LARGEST_BYTES || count > MOST_TOOLS || waits && prompted == Prompted::ByTraffic {
            tracing::warn!(%target, tool = countersign_core::visible::name(&tool), "a tool's description is not kept");
            continue;
        }
        if !seen.insert(tool.clone()) {
            continue;
        }
        if waits {
            let oldest = known.versions.iter().position(|version| version.state == State::Waiting);
            if let Some(at) = oldest {
                known.versions.remove(at);
            }
        }
        let accepted = known.accepted().map(|version| version.digest);
        let event = Event::ToolNoticed { target: target.clone(), definition: digest, accepted };
        notes.push(described(Note::new(Actor::Gateway, event), &tool, &text));
        let noticed_at = gate.now();
        known.versions.push(Version { digest, text, state: State::Waiting, noticed_at, decided: None });
        known.tidy();
        changes.push(known.put(version)?);
        kept.push((known, version + 1));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let entries = notes.into_iter().map(|note| gate.journal().row(note)).collect::<Result<Vec<_>, _>>()?;
    let noticed = gate.commit(Commit { changes, entries }, move |gate| {
        for (known, version) in kept {
            remember(gate, known, version);
        }
        gate.announce(Changed::Tools);
        drop(one);
    });
    noticed.await?;
    Ok(())
}

/// Asks a target for its tools, for a person who wants to see what is there now: how many it has. `None`: there is no
/// such target, or it has no tools to ask for.
pub async fn look(
    gate: &Gate,
    target: &TargetName,
) -> Result<Option<Result<Vec<Definition>, Failed>>, Error> {
    let Some(upstream) = gate.upstream(target) else { return Ok(None) };
    let Some(found) = upstream.definitions().await else { return Ok(None) };
    if let Ok(definitions) = &found {
        notice(gate, target, definitions.clone(), Prompted::ByPerson).await?;
    }
    Ok(Some(found))
}

/// What somebody decides on a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Refuse,
}

/// Decides on a description that was noticed. `None`: there is none of this digest.
pub async fn decide(
    gate: &Gate,
    target: &TargetName,
    digest: Digest,
    verdict: Verdict,
    by: Taker,
) -> Result<Option<Arc<Known>>, Error> {
    let one = Arc::clone(&gate.definitions.writing).lock_owned().await;
    // A description holds its tool's name: no two tools of a target share one.
    let known = of_target(gate, target).into_iter().find(|known| known.version(digest).is_some());
    let Some(tool) = known.map(|known| known.tool.clone()) else { return Ok(None) };
    let Some((mut known, version)) = versioned(gate, target, &tool) else { return Ok(None) };
    let Some(stands) = known.version(digest).map(|version| version.state) else { return Ok(None) };
    let wanted = match verdict {
        Verdict::Accept => State::Accepted,
        Verdict::Refuse => State::Refused,
    };
    if stands == wanted {
        return Ok(Some(Arc::new(known)));
    }
    let replaces = known.accepted().map(|version| version.digest);
    let now = gate.now();
    for version in &mut known.versions {
        if version.digest == digest {
            version.state = wanted;
            version.decided = Some(Decided { by: by.clone(), at: now });
        } else if verdict == Verdict::Accept && version.state == State::Accepted {
            version.state = State::Replaced;
        }
    }
    let event = match verdict {
        Verdict::Accept => Event::ToolAccepted { target: target.clone(), definition: digest, replaces },
        Verdict::Refuse => Event::ToolRefused { target: target.clone(), definition: digest },
    };
    let actor = match by {
        Taker::Person(id) => Actor::Person { id },
        Taker::Operator => Actor::Operator,
        Taker::Policy | Taker::Freeze => Actor::Gateway,
    };
    let text = known.version(digest).map_or("", |version| version.text.as_str());
    let note = described(Note::new(actor, event), &tool, text);
    let commit = Commit { changes: vec![known.put(version)?], entries: vec![gate.journal().row(note)?] };
    let decided = gate.commit(commit, move |gate| {
        let known = remember(gate, known, version + 1);
        gate.definitions.decided.send_modify(|count| *count += 1);
        gate.announce(Changed::Tools);
        drop(one);
        known
    });
    let (_, known) = decided.await?;
    Ok(Some(known))
}

impl Known {
    /// Lets go of what nobody needs any more: of what was replaced or refused, the oldest.
    fn tidy(&mut self) {
        let of_use = |version: &Version| matches!(version.state, State::Waiting | State::Accepted);
        while self.versions.len() > MOST_KEPT {
            let Some(at) = self.versions.iter().position(|version| !of_use(version)) else { return };
            self.versions.remove(at);
        }
    }

    fn put(&self, version: u64) -> Result<Change, Error> {
        let expect = if version == 0 { Expect::Absent } else { Expect::Version(version) };
        let key = Key { name: "known", value: "yes".into(), unique: false };
        Ok(Change::Put {
            kind: Kind::Definition,
            id: self.id(),
            expect,
            doc: json(self)?.into(),
            keys: vec![key],
        })
    }
}

fn described(note: Note, tool: &str, text: &str) -> Note {
    note.private("tool", tool).private("definition", text)
}

fn versioned(gate: &Gate, target: &TargetName, tool: &str) -> Option<(Known, u64)> {
    let known = gate.definitions.known.read();
    known.get(target)?.get(tool).map(|(known, version)| (Known::clone(known), *version))
}

fn remember(gate: &Gate, known: Known, version: u64) -> Arc<Known> {
    let known = Arc::new(known);
    let mut all = gate.definitions.known.write();
    let tools = all.entry(known.target.clone()).or_default();
    tools.insert(known.tool.clone(), (Arc::clone(&known), version));
    known
}
