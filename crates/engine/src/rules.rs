//! Who changed the rules by which something is decided: the policy, or who belongs to what. They do not vote on what was
//! asked under the rules before.

use crate::{
    error::Error,
    gate::Gate,
    hold::Hold,
    port::{
        identity::Regrouped,
        store::{FindEntries, ReadError, Store, StoredEntry},
    },
};
use countersign_core::{BundleDigest, Digest, GroupName, PersonId, PrincipalId, Timestamp};
use countersign_ledger::{entry::Entry, event::Event};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};

const PAGE: usize = 1_000;
const POLICY: &str = "changed the policy after this was asked, or within the cooling-off time before";
const GROUP: &str = "changed who is in a group that decides on this after it was asked";
const AGENT: &str = "changed what the agent belongs to after it asked, or within the cooling-off time before";

/// Who changed the policy, and when it came into force last.
#[derive(Debug, Default)]
pub(crate) struct Authors(RwLock<BTreeMap<PersonId, Timestamp>>);

impl Authors {
    pub(crate) fn changed(&self, by: &BTreeSet<PersonId>, at: Timestamp) {
        let mut known = self.0.write();
        for person in by {
            let last = known.entry(*person).or_insert(at);
            *last = at.max(*last);
        }
    }

    fn since(&self, moment: Timestamp) -> Vec<PersonId> {
        self.0.read().iter().filter(|(_, at)| **at >= moment).map(|(person, _)| *person).collect()
    }
}

/// Who changed the policy, or what the caller is, too short a time before it asks something.
pub(crate) fn before(
    gate: &Gate,
    principal: PrincipalId,
    asked_at: Timestamp,
) -> Vec<(PersonId, &'static str)> {
    let since = asked_at.minus(gate.limits().author_cooling_off);
    let regrouped = gate.identity().regroupings(since).into_iter();
    let of_it =
        |of: &Regrouped| matches!(of, Regrouped::Agent(agent) if principal == PrincipalId::Agent(*agent));
    let changed = regrouped.filter(|change| of_it(&change.of)).map(|change| (change.by, AGENT));
    gate.authors.since(since).into_iter().map(|person| (person, POLICY)).chain(changed).collect()
}

/// Who changed the rules by which a waiting action is decided.
pub(crate) fn changed(gate: &Gate, hold: &Hold) -> Vec<(PersonId, &'static str)> {
    let asked_at = hold.approval.requested_at;
    let gates = hold.approval.rounds.iter().flat_map(|round| &round.gates);
    let deciders = gates.flat_map(|gate| std::iter::once(&gate.approvers).chain(&gate.break_glass));
    let deciding: BTreeSet<&GroupName> = deciders.flat_map(|who| &who.groups).collect();
    let of_it = |of: &Regrouped| matches!(of, Regrouped::Group(group) if deciding.contains(group));
    let regrouped = gate.identity().regroupings(asked_at).into_iter();
    let members = regrouped.filter(|change| of_it(&change.of)).map(|change| (change.by, GROUP));
    before(gate, hold.principal, asked_at).into_iter().chain(members).collect()
}

/// Remembers from the ledger who changed the policy since a moment.
pub(crate) async fn load(gate: &Gate, since: Timestamp) -> Result<(), Error> {
    let mut before = None;
    loop {
        let kind = Some("policy.loaded".to_owned());
        let find = FindEntries {
            kind,
            since: Some(since),
            before,
            limit: PAGE,
            bare: true,
            ..FindEntries::default()
        };
        let page = gate.store().entries(find).await?;
        for stored in &page {
            let entry = read(stored)?;
            if let Event::PolicyLoaded { changed_by, .. } = &entry.event {
                gate.authors.changed(changed_by, entry.at);
            }
        }
        before = page.last().map(|stored| stored.index);
        if page.len() < PAGE {
            return Ok(());
        }
    }
}

/// What was in force last, according to the ledger.
#[derive(Clone, Copy, Debug)]
pub struct LastPolicy {
    pub bundle: BundleDigest,
    /// Of the files alone; `None` where the entry is of an earlier version.
    pub files: Option<Digest>,
}

/// The policy that was in force last, according to the ledger.
pub async fn last(store: &dyn Store) -> Result<Option<LastPolicy>, ReadError> {
    let kind = Some("policy.loaded".to_owned());
    let newest = FindEntries { kind, limit: 1, bare: true, ..FindEntries::default() };
    let Some(stored) = store.entries(newest).await?.pop() else { return Ok(None) };
    let Event::PolicyLoaded { bundle, files, .. } = read(&stored)?.event else { return Ok(None) };
    Ok(Some(LastPolicy { bundle, files }))
}

fn read(stored: &StoredEntry) -> Result<Entry, ReadError> {
    Entry::parse(&stored.bytes)
        .map_err(|error| ReadError::Backend(format!("an entry cannot be read: {error}")))
}
