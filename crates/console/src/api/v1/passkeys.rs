//! A person's own passkeys.

use super::session::{CeremonyOptions, Nothing};
use crate::{
    body::{Id, Input},
    caller::Caller,
    console::Console,
    error::Problem,
    model::things::PasskeyItem,
};
use axum::{Json, extract::State};
use countersign_core::{CredentialId, PersonId};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// What `navigator.credentials.create()` answered, by `toJSON()`, and what to call the passkey.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    name: String,
    #[schema(value_type = Object)]
    response: Value,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Registered {
    id: String,
}

/// The caller's passkeys.
#[utoipa::path(get, path = "/api/v1/passkeys", tag = "passkeys", responses(
    (status = 200, body = [PasskeyItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(console): State<Console>,
    caller: Caller,
) -> Result<Json<Vec<PasskeyItem>>, Problem> {
    let person = caller.signed_in()?.person;
    Ok(Json(console.passkey_items(person)))
}

/// Somebody's passkeys, for removing one that is lost: one's own, or as an administrator anybody's.
#[utoipa::path(get, path = "/api/v1/people/{id}/passkeys", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, body = [PasskeyItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn of_person(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<PersonId>,
) -> Result<Json<Vec<PasskeyItem>>, Problem> {
    if caller.person() != Some(id) {
        caller.administrator()?;
    }
    let found = console.directory().person(id);
    found.ok_or_else(|| Problem::not_found(format!("there is no person `{id}`")))?;
    Ok(Json(console.passkey_items(id)))
}

/// Begin registering a passkey.
#[utoipa::path(post, path = "/api/v1/passkeys/options", tag = "passkeys", request_body = Nothing, responses(
    (status = 200, body = CeremonyOptions), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn options(
    State(console): State<Console>,
    caller: Caller,
    Input(Nothing {}): Input<Nothing>,
) -> Result<Json<CeremonyOptions>, Problem> {
    let session = caller.signed_in()?;
    Ok(Json(CeremonyOptions { public_key: console.directory().begin_registration(session)? }))
}

/// Register a passkey.
#[utoipa::path(post, path = "/api/v1/passkeys", tag = "passkeys", request_body = Register, responses(
    (status = 201, body = Registered), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn register(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<Register>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    let session = caller.signed_in()?;
    let answer = asked.response.to_string();
    let made = console.directory().finish_registration(session, &asked.name, answer.as_bytes()).await;
    // The person is signed in; it is their passkey's answer that is not.
    let id = made.map_err(|error| match Problem::from(error) {
        problem if problem.status() == StatusCode::UNAUTHORIZED => {
            problem.with_status(StatusCode::UNPROCESSABLE_ENTITY)
        }
        problem => problem,
    })?;
    Ok((StatusCode::CREATED, Json(Registered { id: id.to_string() })))
}

/// Remove a passkey: one's own, or anybody's as an administrator.
#[utoipa::path(delete, path = "/api/v1/passkeys/{id}", tag = "passkeys", params(("id" = String, Path)), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<CredentialId>,
) -> Result<StatusCode, Problem> {
    if let Some(session) = &caller.session
        && console.directory().passkeys(session.person).iter().any(|own| own.id == id)
    {
        console.directory().freshly_proven(session)?;
    } else if let Some(owner) = console.directory().passkey_owner(id) {
        caller.may_change_deciders(&console, BTreeSet::new(), [owner]).await?;
    }
    console.directory().remove_passkey(caller.author, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
