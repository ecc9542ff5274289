//! The devices on which a person is told.

use crate::{
    body::{Id, Input},
    caller::Caller,
    console::Console,
    devices::{Devices, NotTold},
    error::Problem,
    model::devices::SubscriptionItem,
};
use axum::{Json, extract::State};
use countersign_core::{CredentialId, PersonId};
use countersign_identity::NewSubscription;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What `pushManager.subscribe()` answered, by `toJSON()`, and what to call the device.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscribe {
    name: String,
    endpoint: String,
    p256dh: String,
    auth: String,
    /// The gateway's key it was made with.
    key: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Subscribed {
    id: String,
}

/// The caller's devices, and what adding one needs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Subscriptions {
    /// The gateway's public key, base64url; `null`: no channel tells devices.
    key: Option<String>,
    items: Vec<SubscriptionItem>,
}

/// The caller's devices.
#[utoipa::path(get, path = "/api/v1/subscriptions", tag = "devices", responses(
    (status = 200, body = Subscriptions), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(console): State<Console>,
    caller: Caller,
) -> Result<Json<Subscriptions>, Problem> {
    let person = caller.signed_in()?.person;
    let key = console.devices().map(|devices| devices.key().to_owned());
    Ok(Json(Subscriptions { key, items: console.subscription_items(person) }))
}

/// Somebody's devices: one's own, or as an administrator anybody's.
#[utoipa::path(get, path = "/api/v1/people/{id}/subscriptions", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, body = [SubscriptionItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn of_person(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<PersonId>,
) -> Result<Json<Vec<SubscriptionItem>>, Problem> {
    if caller.person() != Some(id) {
        caller.administrator()?;
    }
    let found = console.directory().person(id);
    found.ok_or_else(|| Problem::not_found(format!("there is no person `{id}`")))?;
    Ok(Json(console.subscription_items(id)))
}

/// Have a device told.
#[utoipa::path(post, path = "/api/v1/subscriptions", tag = "devices", request_body = Subscribe, responses(
    (status = 201, body = Subscribed), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn subscribe(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<Subscribe>,
) -> Result<(StatusCode, Json<Subscribed>), Problem> {
    let session = caller.signed_in()?;
    let devices = there(&console)?;
    if asked.key != devices.key() {
        let detail = "this was made with another key than this gateway's";
        let problem = Problem::new(StatusCode::CONFLICT, "other-key", detail);
        return Err(problem.hint("load the page again, and add the device anew"));
    }
    devices.check(&asked.endpoint, &asked.p256dh, &asked.auth).map_err(|why| {
        let detail = format!("this device cannot be told: {why}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    })?;
    let new = NewSubscription {
        name: &asked.name,
        endpoint: &asked.endpoint,
        p256dh: &asked.p256dh,
        auth: &asked.auth,
        made_for: &asked.key,
    };
    let id = console.directory().subscribe(session, &new).await?;
    Ok((StatusCode::CREATED, Json(Subscribed { id: id.to_string() })))
}

/// Tell a device no more: one's own, or anybody's as an administrator.
#[utoipa::path(delete, path = "/api/v1/subscriptions/{id}", tag = "devices", params(("id" = String, Path)), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn unsubscribe(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<CredentialId>,
) -> Result<StatusCode, Problem> {
    console.directory().unsubscribe(caller.author, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send a test to a device: one's own, or anybody's as an administrator.
#[utoipa::path(post, path = "/api/v1/subscriptions/{id}/test", tag = "devices", params(("id" = String, Path)), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn test(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<CredentialId>,
) -> Result<StatusCode, Problem> {
    let found = console.directory().subscription(id);
    if found.as_ref().is_none_or(|(person, _)| caller.person() != Some(*person)) {
        caller.administrator()?;
    }
    let (_, device) = found.ok_or_else(|| Problem::not_found(format!("there is no device `{id}`")))?;
    there(&console)?.test(&device).await.map_err(|not_told| match not_told {
        NotTold::TooSoon => {
            let detail = "this device was tried a moment ago";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-soon", detail).hint("wait ten seconds")
        }
        NotTold::Failed(why) => {
            Problem::new(StatusCode::BAD_GATEWAY, "not-told", format!("the device was not told: {why}"))
        }
    })?;
    Ok(StatusCode::NO_CONTENT)
}

fn there(console: &Console) -> Result<&Arc<dyn Devices>, Problem> {
    console.devices().ok_or_else(|| {
        let problem = Problem::new(StatusCode::CONFLICT, "no-devices", "no channel tells devices here");
        problem.hint("configure a `[[channel]]` of kind `push`")
    })
}
