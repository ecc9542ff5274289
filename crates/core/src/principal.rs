//! Who asks: an agent with its owners, a service, or a person; and for whom.

use crate::{AgentId, CredentialId, GroupName, PersonId, canonical::PlainText};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What kind of caller this is. Only people ever approve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrincipalKind {
    /// Software that chooses its own actions.
    Agent,
    /// Software that repeats what it was written to do: a pipeline, a job.
    Service,
    Person,
}

impl PrincipalKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Service => "service",
            Self::Person => "person",
        }
    }
}

/// Stable identity of a caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PrincipalId {
    Agent(AgentId),
    Person(PersonId),
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => id.fmt(out),
            Self::Person(id) => id.fmt(out),
        }
    }
}

impl PlainText for PrincipalId {
    fn append(&self, out: &mut Vec<u8>) {
        match self {
            Self::Agent(id) => id.append(out),
            Self::Person(id) => id.append(out),
        }
    }
}

impl fmt::Debug for PrincipalId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// An authenticated caller, with everyone who stands behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    pub principal: PrincipalId,
    pub kind: PrincipalKind,
    /// What people call it. Shown, never compared.
    pub name: String,
    pub groups: BTreeSet<GroupName>,
    /// What the caller was cleared for, such as `fedramp`.
    pub clearances: BTreeSet<String>,
    /// What its credential says that policy may look at: claims that the configuration lists, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// Everyone who owns the caller or can obtain its credential.
    pub owners: BTreeSet<PersonId>,
    /// Who created the caller; `None` only when the local operator did.
    pub created_by: Option<PersonId>,
    /// Whom the caller acts for, the nearest first; fixed by the credential, never by a request.
    pub on_behalf_of: Vec<PersonId>,
    /// The credential that was presented.
    pub credential: CredentialId,
}

/// Whoever comes: a principal, acting for the same people, of which its credential says the same. What one caller asked or
/// opened, no other takes up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    pub principal: PrincipalId,
    pub on_behalf_of: Vec<PersonId>,
    pub claims: BTreeMap<String, String>,
}

impl Requester {
    pub fn caller(&self) -> Caller {
        Caller {
            principal: self.principal,
            on_behalf_of: self.on_behalf_of.clone(),
            claims: self.claims.clone(),
        }
    }

    /// The requester's side: nobody in it may ever approve what this caller asks.
    pub fn side(&self) -> BTreeSet<PersonId> {
        let itself = match self.principal {
            PrincipalId::Person(person) => Some(person),
            PrincipalId::Agent(_) => None,
        };
        let behind = self.owners.iter().chain(&self.created_by).chain(&self.on_behalf_of);
        behind.copied().chain(itself).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_behind_a_caller_is_on_its_side() {
        let [owner, creator, user] = [1, 2, 3].map(|n| PersonId::from_parts(0, n));
        let mut requester = Requester {
            principal: PrincipalId::Agent(AgentId::from_parts(0, 9)),
            kind: PrincipalKind::Agent,
            name: "bot".into(),
            groups: BTreeSet::new(),
            clearances: BTreeSet::new(),
            claims: BTreeMap::new(),
            owners: [owner].into(),
            created_by: Some(creator),
            on_behalf_of: vec![user],
            credential: CredentialId::from_parts(0, 1),
        };
        assert_eq!(requester.side(), [owner, creator, user].into());
        let person = PersonId::from_parts(0, 4);
        requester.principal = PrincipalId::Person(person);
        assert!(requester.side().contains(&person));
    }
}
