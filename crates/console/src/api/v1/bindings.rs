//! Users of channels who speak for people: looked at and confirmed by the person, listed, and ended.

use crate::{
    body::Input,
    caller::{Caller, Knock},
    console::Console,
    error::Problem,
    model::bindings::{BindingItem, BoundItem, ProposedItem},
};
use axum::{
    Json,
    extract::{Path, State},
};
use countersign_core::{CredentialId, PersonId};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

/// What a binding link holds behind its `#`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Code {
    code: String,
}

/// Look who would speak for oneself. The link stays good.
#[utoipa::path(post, path = "/api/v1/bindings/look", tag = "session", request_body = Code, responses(
    (status = 200, body = ProposedItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn look(
    State(console): State<Console>,
    caller: Caller,
    knock: Knock,
    Input(asked): Input<Code>,
) -> Result<Json<ProposedItem>, Problem> {
    let source = knock.visitor().source;
    let proposed = console.directory().proposed(caller.signed_in()?, &asked.code, source)?;
    Ok(Json(ProposedItem::from(proposed)))
}

/// Have that user of the channel speak for oneself, just after signing in. The link is used up.
#[utoipa::path(post, path = "/api/v1/bindings", tag = "session", request_body = Code, responses(
    (status = 201, body = BindingItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn bind(
    State(console): State<Console>,
    caller: Caller,
    knock: Knock,
    Input(asked): Input<Code>,
) -> Result<(StatusCode, Json<BindingItem>), Problem> {
    let source = knock.visitor().source;
    let bound = console.directory().bind(caller.signed_in()?, &asked.code, source).await?;
    Ok((StatusCode::CREATED, Json(BindingItem::from(&bound))))
}

/// Every user of a channel who speaks for somebody, for administrators.
#[utoipa::path(get, path = "/api/v1/bindings", tag = "people", responses(
    (status = 200, body = [BoundItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn everybody(
    State(console): State<Console>,
    caller: Caller,
) -> Result<Json<Vec<BoundItem>>, Problem> {
    caller.administrator()?;
    let people = console.directory().people();
    Ok(Json(people.iter().flat_map(BoundItem::all_of).collect()))
}

/// Who speaks for somebody: one's own, or as an administrator anybody's.
#[utoipa::path(get, path = "/api/v1/people/{id}/bindings", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, body = [BindingItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Vec<BindingItem>>, Problem> {
    let id = person(&id)?;
    if caller.person() != Some(id) {
        caller.administrator()?;
    }
    let found = console.directory().person(id);
    let found = found.ok_or_else(|| Problem::not_found(format!("there is no person `{id}`")))?;
    Ok(Json(found.bindings.iter().map(BindingItem::from).collect()))
}

/// End it: one's own, or as an administrator anybody's.
#[utoipa::path(delete, path = "/api/v1/people/{id}/bindings/{binding}", tag = "people",
    params(("id" = String, Path), ("binding" = String, Path)), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn unbind(
    State(console): State<Console>,
    caller: Caller,
    Path((id, binding)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let binding: CredentialId =
        binding.parse().map_err(|_| Problem::not_found("there is no such binding"))?;
    console.directory().unbind(caller.author, person(&id)?, binding).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn person(text: &str) -> Result<PersonId, Problem> {
    text.parse::<PersonId>().map_err(|error| Problem::not_found(error.to_string()))
}
