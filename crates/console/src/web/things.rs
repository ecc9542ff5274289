//! Targets, agents, people, freezes, and one's own account.

use super::{
    draw,
    frame::{Fault, Frame, Viewer, draw_page},
    tools,
};
use crate::{
    console::Console,
    model::{
        bindings::BindingItem,
        devices::SubscriptionItem,
        things::{
            AccountItem, AgentItem, ChainItem, DelegationItem, IssuerItem, Me, OpenSessionItem, PasskeyItem,
            PersonItem, TargetItem, TokenItem, TransmitterItem,
        },
        time,
    },
};
use askama::Template;
use axum::{extract::State, response::Response};
use countersign_identity::{PersonState, Role};
use countersign_ledger::event::FreezeScope;

#[derive(Template)]
#[template(path = "targets.html")]
struct TargetsPage {
    frame: Frame,
    targets: Vec<TargetItem>,
}

#[derive(Template)]
#[template(path = "agents.html")]
struct AgentsPage {
    frame: Frame,
    agents: Vec<Kept>,
    /// Who can own an agent or be acted for.
    people: Vec<PersonItem>,
    groups: String,
    issuers: Vec<IssuerItem>,
    administrator: bool,
    may_freeze: bool,
}

/// An agent with its tokens.
struct Kept {
    agent: AgentItem,
    tokens: Vec<TokenItem>,
    /// Who can never approve for it.
    chain: Vec<ChainItem>,
    may_manage: bool,
}

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    frame: Frame,
    people: Vec<PersonItem>,
    transmitters: Vec<TransmitterItem>,
    groups: String,
    administrator: bool,
}

#[derive(Template)]
#[template(path = "freezes.html")]
struct FreezesPage {
    frame: Frame,
    all: bool,
    agents: Vec<AgentItem>,
    targets: Vec<TargetItem>,
    administrator: bool,
    may_freeze: bool,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    me: Me,
    passkeys: Vec<PasskeyItem>,
    /// The devices on which they are told.
    devices: Vec<SubscriptionItem>,
    /// The gateway's key for adding one; `None`: no channel tells devices.
    device_key: Option<String>,
    /// Every provider, and whether an account there is linked.
    accounts: Vec<AccountItem>,
    /// Users of channels who speak for them.
    bindings: Vec<BindingItem>,
    /// Who votes in their place, and who could.
    delegation: Option<DelegationItem>,
    stand_ins: Vec<PersonItem>,
    /// In whose place they vote now.
    stands_in_for: Vec<String>,
    votes: bool,
    /// Every open session of theirs.
    sessions: Vec<OpenSessionItem>,
    /// The one this session came through.
    provider: Option<String>,
    assurance: &'static str,
    opened_at: String,
    ends_at: String,
}

pub(super) async fn targets(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "targets").await?;
    draw_page(&TargetsPage { frame, targets: console.target_items() })
}

pub(super) async fn agents(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "agents").await?;
    let administrator = viewer.caller.is_administrator();
    let directory = console.directory();
    let kept = directory.agents_at().into_iter().map(|agent| Kept {
        tokens: directory.tokens(agent.0.id).iter().map(|token| console.token_item(token)).collect(),
        chain: console.chain_items(agent.0.id).unwrap_or_default(),
        may_manage: administrator || agent.0.owners.contains(&viewer.session.person),
        agent: console.agent_item(&agent),
    });
    let people =
        directory.people_at().into_iter().filter(|(person, _)| person.state() != PersonState::Disabled);
    draw_page(&AgentsPage {
        frame,
        agents: kept.collect(),
        people: people.map(|person| console.person_item(&person)).collect(),
        groups: groups(&console),
        issuers: console.issuer_items(),
        administrator,
        may_freeze: may_freeze(&viewer),
    })
}

pub(super) async fn people(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "people").await?;
    draw_page(&PeoplePage {
        frame,
        people: console.directory().people_at().iter().map(|person| console.person_item(person)).collect(),
        transmitters: console.transmitter_items(),
        groups: groups(&console),
        administrator: viewer.caller.is_administrator(),
    })
}

pub(super) async fn freezes(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "freezes").await?;
    let agents = console.directory().agents_at().into_iter().filter(|(agent, _)| !agent.is_disabled());
    draw_page(&FreezesPage {
        frame,
        all: console.gate().freezes().contains(&FreezeScope::All),
        agents: agents.map(|agent| console.agent_item(&agent)).collect(),
        targets: console.target_items(),
        administrator: viewer.caller.operates().is_ok(),
        may_freeze: may_freeze(&viewer),
    })
}

pub(super) async fn account(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "account").await?;
    let session = &viewer.session;
    let email = console.directory().person(session.person).map(|person| person.email.to_string());
    let me = Me {
        id: session.person.to_string(),
        name: session.name.clone(),
        email: email.unwrap_or_default(),
        role: session.role.as_str().into(),
        groups: session.groups.iter().map(ToString::to_string).collect(),
    };
    let own = console.directory().person(session.person);
    let people = console.directory().people_at();
    let can_stand_in = people.iter().filter(|(person, _)| person.can_vote() && person.id != session.person);
    let stands_in = console.identity().voter(session.person).map(|voter| voter.stands_in).unwrap_or_default();
    let now = console.gate().now();
    let absent = stands_in.iter().filter(|one| one.from <= now && now < one.until);
    draw_page(&AccountPage {
        frame,
        votes: own.as_ref().is_some_and(countersign_identity::Person::can_vote),
        bindings: own.iter().flat_map(|person| &person.bindings).map(BindingItem::from).collect(),
        delegation: own.as_ref().and_then(|person| console.delegation_item(person)),
        stand_ins: can_stand_in.map(|person| console.person_item(person)).collect(),
        stands_in_for: absent.map(|one| console.person_named(one.absent).name).collect(),
        me,
        passkeys: console.directory().passkeys(session.person).iter().map(PasskeyItem::from).collect(),
        devices: console.subscription_items(session.person),
        device_key: console.devices().map(|devices| devices.key().to_owned()),
        accounts: console.account_items(session.person),
        sessions: console.open_session_items(session),
        provider: session.provider.clone(),
        assurance: session.assurance.as_str(),
        opened_at: time(session.opened_at),
        ends_at: time(session.ends_at),
    })
}

fn may_freeze(viewer: &Viewer) -> bool {
    viewer.session.role != Role::Auditor
}

/// The declared groups, as a hint for typing them.
fn groups(console: &Console) -> String {
    let names: Vec<&str> =
        console.directory().groups().iter().map(countersign_core::GroupName::as_str).collect();
    names.join(", ")
}
