//! People: invited, put into groups, disabled. Only administrators and the operator write here.

use crate::{
    body::{Id, IfMatch, Input, Tagged},
    caller::Caller,
    console::Console,
    error::Problem,
    model::{
        things::{PersonItem, TransmitterItem},
        time,
    },
};
use axum::{Json, extract::State};
use countersign_core::{GroupName, PersonId, Timestamp};
use countersign_engine::depart;
use countersign_identity::{Delegation, NewPerson, Role, Seen};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Somebody to be invited.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invite {
    name: String,
    email: String,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    groups: BTreeSet<GroupName>,
    /// `reviewer`, `auditor`, `administrator` or `operator`.
    #[serde(default)]
    #[schema(value_type = String)]
    role: Role,
}

/// A one-time link, shown once.
#[derive(Serialize, ToSchema)]
pub(crate) struct Invited {
    person: String,
    link: String,
    expires: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeGroups {
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    add: BTreeSet<GroupName>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    remove: BTreeSet<GroupName>,
}

/// Everybody.
#[utoipa::path(get, path = "/api/v1/people", tag = "people", responses(
    (status = 200, body = [PersonItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(State(console): State<Console>, _caller: Caller) -> Json<Vec<PersonItem>> {
    Json(console.directory().people_at().iter().map(|person| console.person_item(person)).collect())
}

/// The transmitters of shared signals, and how they are doing.
#[utoipa::path(get, path = "/api/v1/transmitters", tag = "people", responses(
    (status = 200, body = [TransmitterItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn transmitters(
    State(console): State<Console>,
    _caller: Caller,
) -> Json<Vec<TransmitterItem>> {
    Json(console.transmitter_items())
}

/// Somebody. The `ETag` is for a change that is meant for what was seen.
#[utoipa::path(get, path = "/api/v1/people/{id}", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, body = PersonItem, headers(("ETag" = String, description = "the version that is shown"))),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(console): State<Console>,
    _caller: Caller,
    Id(id): Id<PersonId>,
) -> Result<Tagged<Json<PersonItem>>, Problem> {
    shown(&console, id)
}

/// Invite somebody.
#[utoipa::path(post, path = "/api/v1/people", tag = "people", request_body = Invite, responses(
    (status = 201, body = Invited), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn invite(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<Invite>,
) -> Result<(StatusCode, Json<Invited>), Problem> {
    caller.may_change_deciders(&console, asked.groups.clone(), []).await?;
    caller.administrator()?;
    let who = NewPerson { name: asked.name, email: asked.email, groups: asked.groups, role: asked.role };
    let (person, link) = console.directory().invite(caller.author, who).await?;
    let link_text = link.url.reveal().to_owned();
    let invited = Invited { person: person.to_string(), link: link_text, expires: time(link.expires) };
    Ok((StatusCode::CREATED, Json(invited)))
}

/// Make a new link for somebody: it replaces the one before.
#[utoipa::path(post, path = "/api/v1/people/{id}/link", tag = "people", params(("id" = String, Path)), responses(
    (status = 201, body = Invited), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn link(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<PersonId>,
) -> Result<(StatusCode, Json<Invited>), Problem> {
    caller.may_change_deciders(&console, BTreeSet::new(), [id]).await?;
    caller.administrator()?;
    let link = console.directory().issue_link(caller.author, id).await?;
    let link_text = link.url.reveal().to_owned();
    let invited = Invited { person: id.to_string(), link: link_text, expires: time(link.expires) };
    Ok((StatusCode::CREATED, Json(invited)))
}

/// Put somebody into groups, and take them out of others.
#[utoipa::path(patch, path = "/api/v1/people/{id}", tag = "people", params(("id" = String, Path),
    ("If-Match" = Option<String>, Header, description = "the `ETag` that was seen: nothing is changed when it is another by now")),
    request_body = ChangeGroups, responses(
    (status = 200, body = PersonItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn change(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<PersonId>,
    IfMatch(version): IfMatch,
    Input(asked): Input<ChangeGroups>,
) -> Result<Tagged<Json<PersonItem>>, Problem> {
    caller.may_change_deciders(&console, asked.add.union(&asked.remove).cloned().collect(), [id]).await?;
    caller.administrator()?;
    console.directory().set_groups(caller.author, Seen { id, version }, &asked.add, &asked.remove).await?;
    shown(&console, id)
}

/// What somebody may do beside voting.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeRole {
    /// `reviewer`, `auditor`, `administrator` or `operator`.
    #[schema(value_type = String)]
    role: Role,
}

/// Say what somebody may do beside voting. Nobody changes their own role.
#[utoipa::path(put, path = "/api/v1/people/{id}/role", tag = "people", params(("id" = String, Path),
    ("If-Match" = Option<String>, Header, description = "the `ETag` that was seen: nothing is changed when it is another by now")),
    request_body = ChangeRole, responses(
    (status = 200, body = PersonItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn role(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<PersonId>,
    IfMatch(version): IfMatch,
    Input(asked): Input<ChangeRole>,
) -> Result<Tagged<Json<PersonItem>>, Problem> {
    caller.may_change_deciders(&console, BTreeSet::new(), [id]).await?;
    caller.administrator()?;
    console.directory().set_role(caller.author, Seen { id, version }, asked.role).await?;
    shown(&console, id)
}

/// From when until when somebody is away, and who votes in their place.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Away {
    /// The id of whoever votes in their place.
    #[schema(value_type = String)]
    to: PersonId,
    /// RFC 3339.
    #[schema(value_type = String)]
    from: Timestamp,
    /// RFC 3339; from here on not any more. 90 days after `from` at most.
    #[schema(value_type = String)]
    until: Timestamp,
}

/// Have somebody vote in a person's place for a time: one's own, or as an administrator anybody's. It takes the place of
/// the one before.
#[utoipa::path(put, path = "/api/v1/people/{id}/delegation", tag = "people", params(("id" = String, Path)),
    request_body = Away, responses(
    (status = 200, body = PersonItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn delegate(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<PersonId>,
    Input(asked): Input<Away>,
) -> Result<Tagged<Json<PersonItem>>, Problem> {
    caller.not_an_auditor()?;
    let Away { to, from, until } = asked;
    caller.may_change_deciders(&console, BTreeSet::new(), [id, to]).await?;
    console.directory().delegate(caller.author, id, Delegation { to, from, until }).await?;
    shown(&console, id)
}

/// End it at once, or before it began.
#[utoipa::path(delete, path = "/api/v1/people/{id}/delegation", tag = "people", params(("id" = String, Path)), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn end_delegation(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<PersonId>,
) -> Result<StatusCode, Problem> {
    caller.not_an_auditor()?;
    console.directory().end_delegation(caller.author, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sign somebody out everywhere: every session of theirs ends, those that only read too.
#[utoipa::path(delete, path = "/api/v1/people/{id}/sessions", tag = "people", params(("id" = String, Path)), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn sign_out(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<PersonId>,
) -> Result<StatusCode, Problem> {
    caller.administrator()?;
    let found = console.directory().person(id);
    found.ok_or_else(|| Problem::not_found(format!("there is no person `{id}`")))?;
    console.directory().close_all_sessions(caller.author, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End a person's part here.
#[utoipa::path(delete, path = "/api/v1/people/{id}", tag = "people", params(("id" = String, Path),
    ("If-Match" = Option<String>, Header, description = "the `ETag` that was seen: nothing is changed when it is another by now")), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn disable(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<PersonId>,
    IfMatch(version): IfMatch,
) -> Result<StatusCode, Problem> {
    caller.administrator()?;
    console.directory().disable_person(caller.author, Seen { id, version }).await?;
    depart::depart(console.gate(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(console: &Console, id: PersonId) -> Result<Tagged<Json<PersonItem>>, Problem> {
    let found = console.directory().person_at(id);
    let found = found.ok_or_else(|| Problem::not_found(format!("there is no person `{id}`")))?;
    Ok(Tagged(found.1, Json(console.person_item(&found))))
}
