//! What is shown, once for the API and the pages: plain values with names in place of ids. Texts are as they were
//! written; each surface makes them safe in its own way.

pub(crate) mod activity;
pub(crate) mod approval;
pub(crate) mod bindings;
pub(crate) mod channels;
pub(crate) mod devices;
pub(crate) mod entry;
pub(crate) mod glass;
pub(crate) mod payload;
pub(crate) mod things;
pub(crate) mod told;
pub(crate) mod tools;

use crate::console::Console;
use countersign_core::{PersonId, PrincipalId, PrincipalKind, Timestamp, approval::Taker};
use countersign_ledger::event::Actor;
use serde::Serialize;
use utoipa::ToSchema;

/// Somebody or something, by id and by what people call it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `person`, `agent`, `service`, `operator`, `gateway`…
    pub(crate) kind: String,
}

/// One page of a list, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Hand it back as `before` for the next page.
    pub(crate) next: Option<String>,
}

impl Console {
    pub(crate) fn person_named(&self, id: PersonId) -> Named {
        let name =
            self.directory().person(id).map_or_else(|| "somebody erased".to_owned(), |person| person.name);
        Named { id: id.to_string(), name, kind: PrincipalKind::Person.as_str().into() }
    }

    pub(crate) fn people_named<'i>(&self, ids: impl IntoIterator<Item = &'i PersonId>) -> Vec<Named> {
        ids.into_iter().map(|id| self.person_named(*id)).collect()
    }

    /// `None`: the local operator.
    pub(crate) fn author_named(&self, id: Option<PersonId>) -> Named {
        id.map_or_else(|| plain("operator"), |id| self.person_named(id))
    }

    /// A caller as our own records name it; only where they do not, by what it called itself then.
    pub(crate) fn principal_named(&self, id: PrincipalId, called: Option<&str>) -> Named {
        let agent = match id {
            PrincipalId::Person(person) => return self.person_named(person),
            PrincipalId::Agent(agent) => agent,
        };
        let known = self.directory().agent(agent);
        let kind = known.as_ref().map_or(PrincipalKind::Agent, |agent| agent.kind);
        let name = known.map(|agent| agent.name).or_else(|| called.map(ToOwned::to_owned));
        Named { id: id.to_string(), name: name.unwrap_or_else(|| id.to_string()), kind: kind.as_str().into() }
    }

    pub(crate) fn actor_named(&self, actor: &Actor) -> Named {
        match actor {
            Actor::Agent { id, .. } | Actor::Service { id, .. } => {
                self.principal_named(PrincipalId::Agent(*id), None)
            }
            Actor::Person { id } => self.person_named(*id),
            Actor::Operator => plain("operator"),
            Actor::Gateway => plain("gateway"),
            Actor::Unknown => plain("unknown"),
        }
    }

    pub(crate) fn taker_named(&self, taker: &Taker) -> Named {
        match taker {
            Taker::Person(id) => self.person_named(*id),
            Taker::Operator => plain("operator"),
            Taker::Policy => plain("policy"),
            Taker::Freeze => plain("freeze"),
        }
    }
}

fn plain(word: &str) -> Named {
    let name = match word {
        "operator" => "the operator",
        "gateway" => "the gateway",
        "policy" => "a change of policy",
        "freeze" => "a freeze",
        _ => "somebody unknown",
    };
    Named { id: word.into(), name: name.into(), kind: word.into() }
}

/// RFC 3339, UTC.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_string()
}
