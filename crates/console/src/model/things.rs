//! People, agents, tokens, targets and freezes as they are listed.

use super::{Named, bindings::BindingItem, devices::SubscriptionItem, time};
use crate::console::Console;
use countersign_core::{AgentId, PersonId, PrincipalId};
use countersign_engine::{definitions, vote};
use countersign_identity::{Agent, Delegation, Passkey, Person, SessionInfo, Token};
use countersign_ledger::event::FreezeScope;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// A provider, and whether an account there is linked.
#[derive(Clone, Debug)]
pub(crate) struct AccountItem {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) linked_at: Option<String>,
}

/// An issuer whose signed tokens are believed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct IssuerItem {
    pub(crate) name: String,
    /// What its tokens say in `iss`.
    pub(crate) issuer: String,
    /// The agents it can name, as the configuration writes them.
    pub(crate) agents: Vec<String>,
    /// Where its keys come from.
    pub(crate) source: String,
    /// How many keys can be used now.
    pub(crate) keys: usize,
    pub(crate) fetched_at: Option<String>,
    /// Why the last fetch failed.
    pub(crate) failure: Option<String>,
}

/// An open session, for its owner.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct OpenSessionItem {
    pub(crate) id: String,
    /// The one that asks.
    pub(crate) this: bool,
    /// It only reads: what its owner calls it.
    pub(crate) reading: Option<String>,
    pub(crate) user_agent: Option<String>,
    /// The provider it came through.
    pub(crate) provider: Option<String>,
    pub(crate) opened_at: String,
    pub(crate) seen_at: String,
}

/// Who says at once that somebody's sessions, credentials or account are not good any more, and how it is doing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TransmitterItem {
    pub(crate) name: String,
    /// What its tokens say in `iss`.
    pub(crate) issuer: String,
    /// The provider whose people it speaks of.
    pub(crate) provider: String,
    /// `push` or `poll`.
    pub(crate) delivery: String,
    /// How many of its keys can be used now; they are fetched with its first event.
    pub(crate) keys: usize,
    /// When its last sound event came.
    pub(crate) heard_at: Option<String>,
    /// When it last answered, where it is polled.
    pub(crate) answered_at: Option<String>,
    /// Why the last fetch of events or of keys failed.
    pub(crate) failure: Option<String>,
}

/// Somebody who cannot approve what an agent asks.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChainItem {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) why: Vec<String>,
}

/// A person as listed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PersonItem {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
    /// `reviewer`, `auditor`, `administrator` or `operator`.
    pub(crate) role: String,
    pub(crate) groups: Vec<String>,
    /// What a provider says of them, by name; policy may ask for it.
    pub(crate) attributes: BTreeMap<String, BTreeSet<String>>,
    /// `invited`, `enrolled` or `disabled`.
    pub(crate) state: String,
    pub(crate) passkeys: usize,
    /// For pages that administrators see.
    #[serde(skip)]
    pub(crate) keys: Vec<PasskeyItem>,
    /// The devices on which they are told: for pages that administrators see.
    #[serde(skip)]
    pub(crate) devices: Vec<SubscriptionItem>,
    /// Who votes in their place, now or soon.
    pub(crate) delegation: Option<DelegationItem>,
    /// Users of channels who speak for them: for pages that administrators see.
    #[serde(skip)]
    pub(crate) bindings: Vec<BindingItem>,
    pub(crate) invited_at: String,
    /// Grows with every change; in quotes it is the `ETag`.
    pub(crate) version: u64,
}

/// Who votes in somebody's place, and when.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DelegationItem {
    pub(crate) to: Named,
    pub(crate) from: String,
    pub(crate) until: String,
    /// It has begun.
    pub(crate) now: bool,
}

/// Who is signed in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) role: String,
    pub(crate) groups: Vec<String>,
}

/// The caller's session.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SessionItem {
    /// `None`: the operator.
    pub(crate) person: Option<Me>,
    /// How they signed in: `session` (by a link) or `passkey`.
    pub(crate) assurance: Option<String>,
    /// To be sent with every write as `X-Countersign-CSRF`.
    pub(crate) csrf: Option<String>,
    pub(crate) passkeys: usize,
    pub(crate) ends_at: Option<String>,
}

/// A passkey as its owner sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PasskeyItem {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: String,
    pub(crate) used_at: Option<String>,
}

/// An agent or a service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AgentItem {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) owners: Vec<Named>,
    pub(crate) groups: Vec<String>,
    pub(crate) clearances: Vec<String>,
    pub(crate) created_by: Named,
    pub(crate) created_at: String,
    pub(crate) disabled: bool,
    pub(crate) frozen: bool,
    /// Tokens that are neither revoked nor expired.
    pub(crate) tokens: usize,
    /// Grows with every change; in quotes it is the `ETag`.
    pub(crate) version: u64,
}

/// A token without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TokenItem {
    pub(crate) id: String,
    pub(crate) label: String,
    /// Its first characters.
    pub(crate) hint: String,
    pub(crate) on_behalf_of: Option<Named>,
    pub(crate) created_by: Named,
    pub(crate) created_at: String,
    pub(crate) expires: Option<String>,
    pub(crate) revoked_at: Option<String>,
    /// Since the gateway started.
    pub(crate) used_at: Option<String>,
    /// `active`, `expired` or `revoked`.
    pub(crate) state: String,
    /// Who signs it; `None`: this gateway.
    pub(crate) issuer: Option<String>,
}

/// A place actions go to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TargetItem {
    pub(crate) name: String,
    pub(crate) environment: String,
    pub(crate) wire: String,
    /// The credential profile's name, never the credential.
    pub(crate) credential_profile: String,
    pub(crate) frozen: bool,
    /// How many tools it has described so far, and how many of them wait for an administrator.
    pub(crate) tools: usize,
    pub(crate) tools_waiting: usize,
}

/// What a freeze reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "scope", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum FreezeItem {
    All {},
    Agent { id: String },
    Target { name: String },
}

impl Console {
    pub(crate) fn person_item(&self, (person, version): &(Person, u64)) -> PersonItem {
        let keys = self.passkey_items(person.id);
        PersonItem {
            id: person.id.to_string(),
            name: person.name.clone(),
            email: person.email.to_string(),
            role: person.role.as_str().into(),
            groups: person.groups.iter().map(ToString::to_string).collect(),
            attributes: person.attributes.clone(),
            state: super::approval::word(&person.state()),
            passkeys: keys.len(),
            keys,
            devices: self.subscription_items(person.id),
            delegation: self.delegation_item(person),
            bindings: person.bindings.iter().map(BindingItem::from).collect(),
            invited_at: time(person.invited_at),
            version: *version,
        }
    }

    pub(crate) fn passkey_items(&self, person: PersonId) -> Vec<PasskeyItem> {
        self.directory().passkeys(person).iter().map(PasskeyItem::from).collect()
    }

    pub(crate) fn delegation_item(&self, person: &Person) -> Option<DelegationItem> {
        let now = self.gate().now();
        let Delegation { to, from, until } = person.delegation(now)?;
        let to = self.person_named(to);
        Some(DelegationItem { to, from: time(from), until: time(until), now: from <= now })
    }

    pub(crate) fn session_item(&self, session: &SessionInfo) -> SessionItem {
        let email = self.directory().person(session.person).map(|person| person.email.to_string());
        SessionItem {
            person: Some(Me {
                id: session.person.to_string(),
                name: session.name.clone(),
                email: email.unwrap_or_default(),
                role: session.role.as_str().into(),
                groups: session.groups.iter().map(ToString::to_string).collect(),
            }),
            assurance: Some(session.assurance.as_str().into()),
            csrf: Some(session.csrf.reveal().to_owned()),
            passkeys: self.directory().passkeys(session.person).len(),
            ends_at: Some(time(session.ends_at)),
        }
    }

    pub(crate) fn agent_item(&self, (agent, version): &(Agent, u64)) -> AgentItem {
        let now = self.gate().now();
        let active = |token: &&Token| token.revoked_at.is_none() && token.expires.is_none_or(|end| now < end);
        AgentItem {
            id: agent.id.to_string(),
            name: agent.name.clone(),
            kind: agent.kind.as_str().into(),
            owners: self.people_named(&agent.owners),
            groups: agent.groups.iter().map(ToString::to_string).collect(),
            clearances: agent.clearances.iter().cloned().collect(),
            created_by: self.author_named(agent.created_by),
            created_at: time(agent.created_at),
            disabled: agent.is_disabled(),
            frozen: self.gate().freezes().contains(&FreezeScope::Agent { id: agent.id }),
            tokens: self.directory().tokens(agent.id).iter().filter(active).count(),
            version: *version,
        }
    }

    pub(crate) fn token_item(&self, token: &Token) -> TokenItem {
        let expired = token.expires.is_some_and(|end| end <= self.gate().now());
        let state = match (token.revoked_at, expired) {
            (Some(_), _) => "revoked",
            (None, true) => "expired",
            (None, false) => "active",
        };
        TokenItem {
            id: token.id.to_string(),
            label: token.label.clone(),
            hint: token.hint.clone(),
            on_behalf_of: token.on_behalf_of.map(|person| self.person_named(person)),
            created_by: self.author_named(token.created_by),
            created_at: time(token.created_at),
            expires: token.expires.map(time),
            revoked_at: token.revoked_at.map(time),
            used_at: token.used_at.map(time),
            state: state.into(),
            issuer: token.workload.as_ref().map(|workload| workload.issuer.clone()),
        }
    }

    pub(crate) fn account_items(&self, person: PersonId) -> Vec<AccountItem> {
        let offered = self.directory().offered_to(person);
        let item = |(offered, at): (countersign_identity::Offered, Option<countersign_core::Timestamp>)| {
            AccountItem { name: offered.name, label: offered.label, linked_at: at.map(time) }
        };
        offered.into_iter().map(item).collect()
    }

    pub(crate) fn issuer_items(&self) -> Vec<IssuerItem> {
        let item = |seen: countersign_identity::IssuerSeen| IssuerItem {
            name: seen.name,
            issuer: seen.issuer,
            agents: seen.agents,
            source: seen.source,
            keys: seen.keys.keys,
            fetched_at: seen.keys.fetched_at.map(time),
            failure: seen.keys.failure,
        };
        self.directory().issuers().into_iter().map(item).collect()
    }

    pub(crate) fn open_session_items(&self, session: &SessionInfo) -> Vec<OpenSessionItem> {
        let item = |open: countersign_identity::OpenSession| OpenSessionItem {
            this: open.id == session.id,
            id: open.id.to_string(),
            reading: open.reading,
            user_agent: open.user_agent,
            provider: open.provider,
            opened_at: time(open.opened_at),
            seen_at: time(open.seen_at),
        };
        self.directory().sessions(session.person).into_iter().map(item).collect()
    }

    pub(crate) fn transmitter_items(&self) -> Vec<TransmitterItem> {
        let item = |seen: countersign_identity::TransmitterSeen| TransmitterItem {
            name: seen.name,
            issuer: seen.issuer,
            provider: seen.provider,
            delivery: if seen.polled { "poll" } else { "push" }.into(),
            keys: seen.keys.keys,
            heard_at: seen.heard_at.map(time),
            answered_at: seen.answered_at.map(time),
            failure: seen.failure.or(seen.keys.failure),
        };
        self.directory().transmitters().into_iter().map(item).collect()
    }

    /// Everyone who cannot approve for an agent: its side, and for the cooling-off time those around it.
    pub(crate) fn chain_items(&self, agent: AgentId) -> Option<Vec<ChainItem>> {
        let behind = self.chain(agent)?;
        let item = |(person, why): (PersonId, BTreeSet<String>)| ChainItem {
            id: person.to_string(),
            name: self.person_named(person).name,
            why: why.into_iter().collect(),
        };
        Some(behind.into_iter().map(item).collect())
    }

    /// Everyone who may not decide for an agent, and why.
    fn chain(&self, agent: AgentId) -> Option<BTreeMap<PersonId, BTreeSet<String>>> {
        let (mut behind, callers) = self.directory().behind_agent(agent)?;
        for caller in &callers {
            let side = caller.side();
            let near = vote::excluded(self.gate(), caller).into_iter().filter(|(who, _)| !side.contains(who));
            for (person, why) in near {
                behind.entry(person).or_default().insert(why);
            }
        }
        Some(behind)
    }

    /// Everyone who may not decide for an agent.
    pub(crate) fn behind(&self, agent: AgentId) -> BTreeSet<PersonId> {
        self.chain(agent).unwrap_or_default().into_keys().collect()
    }

    pub(crate) fn target_items(&self) -> Vec<TargetItem> {
        let freezes = self.gate().freezes();
        let item = |target: &countersign_engine::port::upstream::Target| TargetItem {
            name: target.name.to_string(),
            environment: target.environment.to_string(),
            wire: target.wire.clone(),
            credential_profile: target.credential_profile.clone(),
            frozen: freezes.contains(&FreezeScope::Target { name: target.name.clone() }),
            tools: definitions::of_target(self.gate(), &target.name).len(),
            tools_waiting: definitions::waiting_at(self.gate(), &target.name),
        };
        self.gate().targets().map(item).collect()
    }

    /// What is frozen, in words.
    pub(crate) fn freeze_words(&self, scope: &FreezeScope) -> String {
        match scope {
            FreezeScope::All => "Everything is frozen".into(),
            FreezeScope::Agent { id } => {
                let name = self.principal_named(PrincipalId::Agent(*id), None).name;
                format!("Agent {name} is frozen")
            }
            FreezeScope::Target { name } => format!("Target {name} is frozen"),
        }
    }
}

impl From<&FreezeScope> for FreezeItem {
    fn from(scope: &FreezeScope) -> Self {
        match scope {
            FreezeScope::All => Self::All {},
            FreezeScope::Agent { id } => Self::Agent { id: id.to_string() },
            FreezeScope::Target { name } => Self::Target { name: name.to_string() },
        }
    }
}

impl From<&Passkey> for PasskeyItem {
    fn from(passkey: &Passkey) -> Self {
        Self {
            id: passkey.id.to_string(),
            name: passkey.name.clone(),
            created_at: time(passkey.created_at),
            used_at: passkey.used_at.map(time),
        }
    }
}
