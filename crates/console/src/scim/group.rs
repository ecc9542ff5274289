//! Groups: those the configuration lets a directory speak for. It fills and empties them; it makes no others, since a
//! group is what policies name.

use super::{Client, Sent, Shown, each, error::Fault, filter::member, list::Wanted, patch::Patch};
use crate::console::Console;
use axum::extract::{Path, State};
use countersign_core::{CredentialId, GroupName, PersonId};
use countersign_identity::{IdentityError, Person};
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub(super) const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

pub(super) async fn list(State(console): State<Console>, _: Client, wanted: Wanted) -> Result<Shown, Fault> {
    let people = console.directory().provisioned();
    let groups = &console.directory().settings().scim_groups;
    wanted.page(groups.iter().map(|(theirs, ours)| shown(&console, &people, theirs, ours)))
}

pub(super) async fn show(
    State(console): State<Console>,
    _: Client,
    Path(id): Path<String>,
    wanted: Wanted,
) -> Result<Shown, Fault> {
    Ok(Shown(StatusCode::OK, wanted.trim(find(&console, &id)?.1)))
}

/// A group that the configuration names is there already: making it fills it.
pub(super) async fn create(
    State(console): State<Console>,
    Client(client): Client,
    Sent(group): Sent<Map<String, Value>>,
) -> Result<Shown, Fault> {
    let _turn = console.provisioning().lock().await;
    let name = member(&group, "displayName").and_then(Value::as_str).unwrap_or_default();
    let groups = &console.directory().settings().scim_groups;
    let known = groups.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(name));
    let (_, ours) = known.ok_or_else(|| {
        Fault::value(
            "`displayName` is no group that the gateway's `people.scim_groups` names; add it there first",
        )
    })?;
    put(&console, client, &ours.clone(), &group, StatusCode::CREATED).await
}

pub(super) async fn replace(
    State(console): State<Console>,
    Client(client): Client,
    Path(id): Path<String>,
    Sent(group): Sent<Map<String, Value>>,
) -> Result<Shown, Fault> {
    let _turn = console.provisioning().lock().await;
    let (ours, _) = find(&console, &id)?;
    put(&console, client, &ours, &group, StatusCode::OK).await
}

pub(super) async fn patch(
    State(console): State<Console>,
    Client(client): Client,
    Path(id): Path<String>,
    Sent(patch): Sent<Patch>,
) -> Result<Shown, Fault> {
    let _turn = console.provisioning().lock().await;
    let (ours, mut group) = find(&console, &id)?;
    patch.apply(&mut group)?;
    let group = group.as_object().cloned().unwrap_or_default();
    put(&console, client, &ours, &group, StatusCode::OK).await
}

/// Empties it. The configuration goes on to name it.
pub(super) async fn delete(
    State(console): State<Console>,
    Client(client): Client,
    Path(id): Path<String>,
) -> Result<StatusCode, Fault> {
    let _turn = console.provisioning().lock().await;
    let (ours, _) = find(&console, &id)?;
    console.directory().provision_members(client, &ours, &BTreeSet::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn put(
    console: &Console,
    client: CredentialId,
    ours: &GroupName,
    group: &Map<String, Value>,
    status: StatusCode,
) -> Result<Shown, Fault> {
    let (_, known) = find(console, ours.as_str())?;
    for (name, why) in
        [("id", "an `id` never changes"), ("displayName", "a group is named in the gateway's configuration")]
    {
        let said = member(group, name).and_then(Value::as_str);
        let is = known.get(name).and_then(Value::as_str).unwrap_or_default();
        if said.is_some_and(|said| !said.eq_ignore_ascii_case(is)) {
            return Err(Fault::fixed(why));
        }
    }
    let members = members(group)?;
    let done = console.directory().provision_members(client, ours, &members).await;
    if let Err(IdentityError::UnknownPerson(person)) = done {
        return Err(Fault::value(format!("`{person}` is nobody here")));
    }
    done?;
    Ok(Shown(status, find(console, ours.as_str())?.1))
}

fn members(group: &Map<String, Value>) -> Result<BTreeSet<PersonId>, Fault> {
    let nobody = || Fault::value("`members` has to be a list of `value`s that are ids of users");
    let id = |one: &Value| {
        let text = one.as_object().and_then(|one| member(one, "value")).and_then(Value::as_str);
        text.and_then(|text| text.parse().ok()).ok_or_else(nobody)
    };
    each(member(group, "members")).into_iter().map(id).collect()
}

fn find(console: &Console, id: &str) -> Result<(GroupName, Value), Fault> {
    let groups = &console.directory().settings().scim_groups;
    let (theirs, ours) = groups.iter().find(|(_, ours)| ours.as_str() == id).ok_or_else(Fault::missing)?;
    let people = console.directory().provisioned();
    Ok((ours.clone(), shown(console, &people, theirs, ours)))
}

fn shown(console: &Console, people: &[(Person, u64)], theirs: &str, ours: &GroupName) -> Value {
    let members = people.iter().map(|(person, _)| person).filter(|person| person.groups.contains(ours));
    let members: Vec<Value> = members
        .map(|person| json!({"value": person.id.to_string(), "display": person.name, "type": "User"}))
        .collect();
    json!({
        "schemas": [SCHEMA],
        "id": ours.as_str(),
        "displayName": theirs,
        "members": members,
        "meta": {
            "resourceType": "Group",
            "location": format!("{}/scim/v2/Groups/{}", console.origin(), ours),
        },
    })
}
