//! Agents and their tokens: who makes them, whom they stand for, and when they stop.

use crate::world::{World, agent_of, groups};
use countersign_core::{AgentId, CredentialId, PersonId, PrincipalId, PrincipalKind, Requester};
use countersign_engine::port::identity::{Identity, NotAuthenticated as N, Presented};
use countersign_identity::{AgentChange, Author, IdentityError as E, NewAgent, NewToken, Role, Secret};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

fn token_for(agent: AgentId) -> NewToken {
    NewToken { agent, label: "laptop".into(), expires: None, on_behalf_of: None }
}

impl World {
    async fn agent(&self, owner: PersonId, name: &str) -> AgentId {
        self.directory.create_agent(Author::Operator, agent_of(owner, name)).await.unwrap()
    }

    async fn token(&self, by: Author, new: NewToken) -> (CredentialId, Secret) {
        self.directory.create_token(by, new).await.unwrap()
    }

    fn caller(&self, text: &str) -> Result<Requester, N> {
        self.directory.authenticate(Presented::Bearer(text), self.now())
    }
}

#[tokio::test]
async fn a_token_stands_for_its_agent_with_everyone_behind_it() {
    let world = World::new().await;
    let [admin, owner, user] = [
        world.administrator("Admin").await.person,
        world.reviewer("Owner").await.person,
        world.reviewer("User").await.person,
    ];
    let by = Author::Person(admin);
    let agent = world.directory.create_agent(by, agent_of(owner, "Deploy bot")).await.unwrap();
    let second = world.administrator("Second").await.person;
    let new = NewToken { on_behalf_of: Some(user), ..token_for(agent) };
    let (credential, secret) = world.token(Author::Person(second), new).await;
    let caller = world.caller(secret.reveal()).unwrap();
    assert_eq!(
        caller,
        Requester {
            principal: PrincipalId::Agent(agent),
            kind: PrincipalKind::Agent,
            name: "Deploy bot".into(),
            groups: groups(&["platform-agents"]),
            clearances: ["fedramp".to_owned()].into(),
            claims: BTreeMap::new(),
            owners: [owner, second].into(),
            created_by: Some(admin),
            on_behalf_of: vec![user],
            credential,
        }
    );
    // Whoever could hold the secret is on the side that cannot approve.
    assert_eq!(caller.side(), [admin, owner, second, user].into());
    assert_eq!(world.directory.requester(credential, world.now()), Ok(caller));
    let created = world.entries().pop().unwrap();
    assert_eq!(created["type"], "token.created");
    assert_eq!(created["data"]["on_behalf_of"], user.to_string());
}

#[tokio::test]
async fn a_secret_is_recognisable_shown_once_and_listed_by_a_hint() {
    let world = World::new().await;
    let owner = world.reviewer("Owner").await.person;
    let agent = world.agent(owner, "bot").await;
    let (id, secret) = world.token(Author::Operator, token_for(agent)).await;
    let text = secret.reveal();
    assert_eq!(text.len(), 53);
    assert!(text.strip_prefix("csn_").unwrap().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let listed = world.directory.tokens(agent);
    assert_eq!((listed.len(), listed[0].id, listed[0].used_at), (1, id, None));
    assert_eq!(listed[0].hint, text.chars().take(8).collect::<String>());
    assert!(!format!("{listed:?}").contains(text));
    world.caller(text).unwrap();
    assert_eq!(world.directory.tokens(agent)[0].used_at, Some(world.now()));
}

#[tokio::test]
async fn what_is_not_a_good_token_is_refused_with_the_reason() {
    let world = World::new().await;
    let owner = world.reviewer("Owner").await.person;
    let agent = world.agent(owner, "bot").await;
    assert_eq!(world.directory.authenticate(Presented::Nothing, world.now()), Err(N::Missing));
    for text in ["", "csn_", "Bearer x", &format!("csn_{}", "0".repeat(49))] {
        assert_eq!(world.caller(text), Err(N::Unknown), "{text}");
    }
    let (revoked, secret) = world.token(Author::Operator, token_for(agent)).await;
    let mut last = secret.reveal().chars().collect::<Vec<_>>();
    last[10] = if last[10] == 'a' { 'b' } else { 'a' };
    assert_eq!(world.caller(&last.iter().collect::<String>()), Err(N::Unknown), "wrong checksum");
    world.directory.revoke_token(Author::Operator, revoked).await.unwrap();
    assert_eq!(world.caller(secret.reveal()), Err(N::Revoked));
    assert_eq!(world.directory.requester(revoked, world.now()), Err(N::Revoked));

    let expires = Some(world.now().plus(Duration::from_hours(1)));
    let (_, secret) = world.token(Author::Operator, NewToken { expires, ..token_for(agent) }).await;
    world.pass(Duration::from_hours(1).checked_sub(Duration::from_micros(1)).unwrap());
    world.caller(secret.reveal()).unwrap();
    world.pass(Duration::from_micros(1));
    assert_eq!(world.caller(secret.reveal()), Err(N::Expired));
    let past = world.directory.create_token(Author::Operator, NewToken { expires, ..token_for(agent) }).await;
    assert!(matches!(past, Err(E::ExpiresInThePast)));
    assert_eq!(world.directory.requester(CredentialId::from_parts(1, 1), world.now()), Err(N::Unknown));
}

#[tokio::test]
async fn a_token_for_a_person_who_left_or_an_agent_nobody_answers_for_stops_at_once() {
    let world = World::new().await;
    let owner = world.reviewer("Owner").await.person;
    let user = world.reviewer("User").await.person;
    let agent = world.agent(owner, "bot").await;
    let new = NewToken { on_behalf_of: Some(user), ..token_for(agent) };
    let (_, for_user) = world.token(Author::Operator, new).await;
    let (_, plain) = world.token(Author::Operator, token_for(agent)).await;
    world.directory.disable_person(Author::Operator, user).await.unwrap();
    assert_eq!(world.caller(for_user.reveal()), Err(N::Disabled));
    world.caller(plain.reveal()).unwrap();
    world.directory.disable_person(Author::Operator, owner).await.unwrap();
    assert_eq!(world.caller(plain.reveal()), Err(N::Disabled));
}

#[tokio::test]
async fn a_change_to_an_agent_shows_in_the_next_request() {
    let world = World::new().await;
    let [owner, next] = [world.reviewer("Owner").await.person, world.reviewer("Next").await.person];
    let agent = world.agent(owner, "bot").await;
    let (credential, secret) = world.token(Author::Person(owner), token_for(agent)).await;
    let change = AgentChange {
        owners: Some([next].into()),
        groups: Some(groups(&["sre"])),
        clearances: Some(BTreeSet::new()),
    };
    world.directory.change_agent(Author::Operator, agent, change.clone()).await.unwrap();
    let caller = world.caller(secret.reveal()).unwrap();
    assert_eq!((&caller.groups, caller.clearances.len()), (&groups(&["sre"]), 0));
    assert_eq!(caller.owners, [owner, next].into(), "who made the token may still have it");
    assert_eq!(world.directory.requester(credential, world.now()), Ok(caller));
    let before = world.types().len();
    world.directory.change_agent(Author::Operator, agent, change).await.unwrap();
    assert_eq!(world.types().len(), before, "no change, no entry");
}

#[tokio::test]
async fn who_owned_an_agent_stays_on_the_side_of_the_tokens_they_may_know() {
    let world = World::new().await;
    let [owner, next] = [world.reviewer("Owner").await.person, world.reviewer("Next").await.person];
    let agent = world.agent(owner, "bot").await;
    let (_, before) = world.token(Author::Operator, token_for(agent)).await;
    let change = AgentChange { owners: Some([next].into()), ..AgentChange::default() };
    world.directory.change_agent(Author::Operator, agent, change).await.unwrap();
    world.pass(Duration::from_secs(1));
    let (_, after) = world.token(Author::Operator, token_for(agent)).await;
    assert_eq!(world.caller(before.reveal()).unwrap().side(), [owner, next].into());
    assert_eq!(world.caller(after.reveal()).unwrap().side(), [next].into());
    let again = world.another().await;
    let caller = again.authenticate(Presented::Bearer(before.reveal()), world.now()).unwrap();
    assert_eq!(caller.side(), [owner, next].into(), "a restart does not forget it");
}

#[tokio::test]
async fn a_disabled_agent_loses_every_token_for_good() {
    let world = World::new().await;
    let owner = world.reviewer("Owner").await.person;
    let agent = world.agent(owner, "bot").await;
    let (_, one) = world.token(Author::Operator, token_for(agent)).await;
    let (_, two) = world.token(Author::Operator, token_for(agent)).await;
    world.directory.disable_agent(Author::Operator, agent).await.unwrap();
    for secret in [one, two] {
        assert_eq!(world.caller(secret.reveal()), Err(N::Disabled));
    }
    let kinds = world.types();
    assert_eq!(kinds[kinds.len() - 3..], ["agent.changed", "token.revoked", "token.revoked"]);
    assert!(world.directory.agent(agent).unwrap().groups.is_empty());
    world.directory.disable_agent(Author::Operator, agent).await.unwrap();
    assert_eq!(world.types(), kinds);
    let refused = world.directory.create_token(Author::Operator, token_for(agent)).await;
    assert!(matches!(refused, Err(E::AgentDisabled(_))));
    let nobody = world.directory.disable_agent(Author::Operator, AgentId::from_parts(1, 1)).await;
    assert!(matches!(nobody, Err(E::UnknownAgent(_))));
}

#[tokio::test]
async fn owners_make_and_revoke_tokens_and_strangers_do_not() {
    let world = World::new().await;
    let [owner, stranger] = [world.reviewer("Owner").await.person, world.reviewer("Stranger").await.person];
    let agent = world.agent(owner, "bot").await;
    let (credential, _) = world.token(Author::Person(owner), token_for(agent)).await;
    let directory = &world.directory;
    let made = directory.create_token(Author::Person(stranger), token_for(agent)).await;
    assert!(matches!(made, Err(E::NotAllowed { .. })));
    let revoked = directory.revoke_token(Author::Person(stranger), credential).await;
    assert!(matches!(revoked, Err(E::NotAllowed { .. })));
    // Nobody is made to stand behind an agent, and so kept from voting, by somebody else's word.
    let for_stranger = NewToken { on_behalf_of: Some(stranger), ..token_for(agent) };
    let made = directory.create_token(Author::Person(owner), for_stranger).await;
    assert!(matches!(made, Err(E::NotAllowed { .. })));
    let for_itself = NewToken { on_behalf_of: Some(owner), ..token_for(agent) };
    directory.create_token(Author::Person(owner), for_itself).await.unwrap();
    directory.revoke_token(Author::Person(owner), credential).await.unwrap();
    directory.disable_person(Author::Operator, owner).await.unwrap();
    let made = directory.create_token(Author::Person(owner), token_for(agent)).await;
    assert!(matches!(made, Err(E::NotAllowed { .. })), "a disabled owner");
}

#[tokio::test]
async fn only_administrators_make_agents_and_each_has_an_owner_and_a_name_of_its_own() {
    let world = World::new().await;
    let ana = world.reviewer("Ana").await.person;
    let make = async |by: Author, new: NewAgent| world.directory.create_agent(by, new).await;
    let good = || agent_of(ana, "Bot");
    assert!(matches!(make(Author::Person(ana), good()).await, Err(E::NotAllowed { .. })));
    let operator = Author::Operator;
    let agent = make(operator, good()).await.unwrap();
    assert!(matches!(make(operator, agent_of(ana, "bOT")).await, Err(E::NameTaken(_))));
    let new = || NewAgent { name: "other".into(), ..good() };
    let nobody = NewAgent { owners: BTreeSet::new(), ..new() };
    assert!(matches!(make(operator, nobody).await, Err(E::NoOwner)));
    let stranger = NewAgent { owners: [PersonId::from_parts(1, 1)].into(), ..new() };
    assert!(matches!(make(operator, stranger).await, Err(E::UnknownPerson(_))));
    let person = NewAgent { kind: PrincipalKind::Person, ..new() };
    assert!(matches!(make(operator, person).await, Err(E::NotAnAgentKind)));
    let unknown_group = NewAgent { groups: groups(&["nope"]), ..new() };
    assert!(matches!(make(operator, unknown_group).await, Err(E::UnknownGroup { .. })));
    assert_eq!(world.directory.agents().len(), 1);
    assert_eq!(world.directory.agent_by_name("BOT").unwrap().id, agent);
    let orphaned = AgentChange { owners: Some(BTreeSet::new()), ..AgentChange::default() };
    assert!(matches!(world.directory.change_agent(operator, agent, orphaned).await, Err(E::NoOwner)));
    let by_owner = world.directory.change_agent(Author::Person(ana), agent, AgentChange::default()).await;
    assert!(matches!(by_owner, Err(E::NotAllowed { .. })));
    assert!(matches!(
        world.directory.disable_agent(Author::Person(ana), agent).await,
        Err(E::NotAllowed { .. })
    ));
}

#[tokio::test]
async fn tokens_survive_a_restart_revoked_ones_included() {
    let world = World::new().await;
    let owner = world.enrol("Owner", &[], Role::Reviewer).await.session.person;
    let agent = world.agent(owner, "bot").await;
    let (_, good) = world.token(Author::Operator, token_for(agent)).await;
    let (revoked, bad) = world.token(Author::Operator, token_for(agent)).await;
    world.directory.revoke_token(Author::Operator, revoked).await.unwrap();
    let after = world.another().await;
    assert!(after.authenticate(Presented::Bearer(good.reveal()), world.now()).is_ok());
    assert_eq!(after.authenticate(Presented::Bearer(bad.reveal()), world.now()), Err(N::Revoked));
}
