//! Tokens of provisioning clients (SCIM). Only whoever is on the gateway's own machine makes them: with one, anybody could
//! put themself into groups.

use crate::{
    api::v1::agents::{Created, duration},
    body::{Id, Input},
    caller::Caller,
    console::Console,
    error::Problem,
    model::time,
};
use axum::{Json, extract::State};
use countersign_core::CredentialId;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateScimToken {
    label: String,
    /// Such as `90d`; without it the token does not expire.
    #[serde(default)]
    expires_in: Option<String>,
}

/// A token of a provisioning client, without its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScimTokenItem {
    id: String,
    label: String,
    created_at: String,
    expires: Option<String>,
    /// `good`, `expired` or `revoked`.
    state: &'static str,
}

/// The tokens of provisioning clients.
#[utoipa::path(get, path = "/api/v1/scim/tokens", tag = "people", responses(
    (status = 200, body = [ScimTokenItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(console): State<Console>,
    caller: Caller,
) -> Result<Json<Vec<ScimTokenItem>>, Problem> {
    caller.operator()?;
    let now = console.gate().now();
    let tokens = console.directory().provisioners().into_iter().map(|token| ScimTokenItem {
        state: match token.revoked_at {
            Some(_) => "revoked",
            None if token.is_good(now) => "good",
            None => "expired",
        },
        id: token.id.to_string(),
        created_at: time(token.created_at),
        expires: token.expires.map(time),
        label: token.label,
    });
    Ok(Json(tokens.collect()))
}

/// Make a token for a provisioning client. It is shown this once.
#[utoipa::path(post, path = "/api/v1/scim/tokens", tag = "people", request_body = CreateScimToken, responses(
    (status = 201, body = Created), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<CreateScimToken>,
) -> Result<(StatusCode, Json<Created>), Problem> {
    caller.operator()?;
    let lasts = asked.expires_in.filter(|span| !span.is_empty()).map(|span| duration(&span)).transpose()?;
    let (id, secret) = console.directory().create_provisioner(caller.author, &asked.label, lasts).await?;
    Ok((StatusCode::CREATED, Json(Created { id: id.to_string(), token: secret.reveal().to_owned() })))
}

/// Make a provisioning client's token worthless.
#[utoipa::path(delete, path = "/api/v1/scim/tokens/{id}", tag = "people", params(("id" = String, Path)), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn revoke(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<CredentialId>,
) -> Result<StatusCode, Problem> {
    caller.operator()?;
    console.directory().revoke_provisioner(caller.author, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
