//! Users: people, as far as a directory may speak of them.

use super::{Client, Sent, Shown, each, error::Fault, filter::member, list::Wanted, patch::Patch};
use crate::console::Console;
use axum::extract::{Path, State};
use countersign_core::PersonId;
use countersign_engine::depart;
use countersign_identity::{Person, Since, Told};
use http::StatusCode;
use serde_json::{Map, Value, json};

pub(super) const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

pub(super) async fn list(State(console): State<Console>, _: Client, wanted: Wanted) -> Result<Shown, Fault> {
    let people = console.directory().provisioned();
    wanted.page(people.iter().map(|(person, version)| shown(&console, person, *version)))
}

pub(super) async fn show(
    State(console): State<Console>,
    _: Client,
    Path(id): Path<String>,
    wanted: Wanted,
) -> Result<Shown, Fault> {
    Ok(Shown(StatusCode::OK, wanted.trim(find(&console, &id)?.1)))
}

pub(super) async fn create(
    State(console): State<Console>,
    Client(client): Client,
    Sent(user): Sent<Map<String, Value>>,
) -> Result<Shown, Fault> {
    let _turn = console.provisioning().lock().await;
    let id = console.directory().provision(client, told(&user)?).await?;
    Ok(Shown(StatusCode::CREATED, find(&console, &id.to_string())?.1))
}

pub(super) async fn replace(
    State(console): State<Console>,
    Client(client): Client,
    Path(id): Path<String>,
    Sent(user): Sent<Map<String, Value>>,
) -> Result<Shown, Fault> {
    let _turn = console.provisioning().lock().await;
    let (id, _) = find(&console, &id)?;
    put(&console, client, id, &user).await
}

pub(super) async fn patch(
    State(console): State<Console>,
    Client(client): Client,
    Path(id): Path<String>,
    Sent(patch): Sent<Patch>,
) -> Result<Shown, Fault> {
    let _turn = console.provisioning().lock().await;
    let (id, mut user) = find(&console, &id)?;
    patch.apply(&mut user)?;
    let user = user.as_object().cloned().unwrap_or_default();
    put(&console, client, id, &user).await
}

pub(super) async fn delete(
    State(console): State<Console>,
    Client(client): Client,
    Path(id): Path<String>,
) -> Result<StatusCode, Fault> {
    let _turn = console.provisioning().lock().await;
    let (id, _) = find(&console, &id)?;
    console.directory().unprovision(client, id).await?;
    // Also when they had left before: what was not taken back then is now.
    depart::depart(console.gate(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn put(
    console: &Console,
    client: countersign_core::CredentialId,
    id: PersonId,
    user: &Map<String, Value>,
) -> Result<Shown, Fault> {
    if member(user, "id").and_then(Value::as_str).is_some_and(|said| said != id.to_string()) {
        return Err(Fault::fixed("an `id` never changes"));
    }
    let since = console.directory().reprovision(client, id, told(user)?).await?;
    // Also when they had left before: what was not taken back then is now.
    if since == Since::Left || is_gone(console, id) {
        depart::depart(console.gate(), id).await?;
    }
    Ok(Shown(StatusCode::OK, find(console, &id.to_string())?.1))
}

fn is_gone(console: &Console, id: PersonId) -> bool {
    console.directory().person(id).is_none_or(|person| person.is_disabled())
}

fn find(console: &Console, id: &str) -> Result<(PersonId, Value), Fault> {
    let people = console.directory().provisioned();
    let found = people.iter().find(|(person, _)| person.id.to_string() == id);
    let (person, version) = found.ok_or_else(Fault::missing)?;
    Ok((person.id, shown(console, person, *version)))
}

fn shown(console: &Console, person: &Person, version: u64) -> Value {
    let id = person.id.to_string();
    let spoken_for = &console.directory().settings().scim_groups;
    let groups = spoken_for.iter().filter(|(_, ours)| person.groups.contains(*ours));
    let groups: Vec<Value> =
        groups.map(|(theirs, ours)| json!({"value": ours.as_str(), "display": theirs})).collect();
    let (created, changed) = (person.invited_at, person.provisioned_at());
    let mut user = json!({
        "schemas": [SCHEMA],
        "id": id,
        "userName": person.user_name(),
        "displayName": person.name,
        "name": {"formatted": person.name},
        "emails": [{"value": person.email.as_str(), "type": "work", "primary": true}],
        "active": !person.is_disabled(),
        "groups": groups,
        "meta": {
            "resourceType": "User",
            "created": created.to_string(),
            "lastModified": changed.to_string(),
            "location": format!("{}/scim/v2/Users/{id}", console.origin()),
            "version": format!("W/\"{version}\""),
        },
    });
    if let (Some(external), Some(user)) = (person.external_id(), user.as_object_mut()) {
        user.insert("externalId".into(), external.into());
    }
    user
}

/// What a user says of somebody. What is not kept here, such as a title or a password, is not read.
fn told(user: &Map<String, Value>) -> Result<Told, Fault> {
    let text = |name: &str| match member(user, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Some(_) => Err(Fault::value(format!("`{name}` has to be a text"))),
    };
    let user_name = text("userName")?.ok_or_else(|| Fault::value("`userName` is missing"))?;
    let email = email(user).unwrap_or_else(|| user_name.clone());
    Ok(Told {
        email,
        name: name(user, text("displayName")?),
        external_id: text("externalId")?,
        user_name,
        active: active(user)?,
    })
}

/// The address that is primary, or the one for work, or the first.
fn email(user: &Map<String, Value>) -> Option<String> {
    let all: Vec<&Map<String, Value>> =
        each(member(user, "emails")).into_iter().filter_map(Value::as_object).collect();
    let primary =
        |one: &&&Map<String, Value>| member(one, "primary").is_some_and(|value| truth(value) == Some(true));
    let work = |one: &&&Map<String, Value>| {
        member(one, "type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("work"))
    };
    let address = |one: &&Map<String, Value>| {
        member(one, "value").and_then(Value::as_str).filter(|text| !text.trim().is_empty()).map(str::to_owned)
    };
    let mut chosen = all.iter().find(primary).into_iter().chain(all.iter().find(work)).chain(&all);
    chosen.find_map(address)
}

fn name(user: &Map<String, Value>, display: Option<String>) -> Option<String> {
    let name = member(user, "name").and_then(Value::as_object);
    let part = |key: &str| {
        let text = name.and_then(|name| member(name, key)).and_then(Value::as_str);
        text.map(str::trim).filter(|text| !text.is_empty())
    };
    let full = || match (part("givenName"), part("familyName")) {
        (None, None) => None,
        (given, family) => Some([given, family].into_iter().flatten().collect::<Vec<_>>().join(" ")),
    };
    full().or(display).or_else(|| part("formatted").map(str::to_owned))
}

fn active(user: &Map<String, Value>) -> Result<bool, Fault> {
    match member(user, "active") {
        None | Some(Value::Null) => Ok(true),
        Some(value) => truth(value).ok_or_else(|| Fault::value("`active` has to be `true` or `false`")),
    }
}

/// One of the large clients writes `"False"`.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        Value::Null | Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
