//! The HTTP API: JSON in, JSON out, problems for everything that is not done.

pub(crate) mod v1;

use crate::{console::Console, error::Problem};
use axum::{Json, Router, extract::State, routing};
use countersign_engine::port::store::Health;
use http::StatusCode;
use serde::Serialize;
use utoipa::{OpenApi as _, openapi::OpenApi};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Countersign",
        description = "The people's side of Countersign: reviewers, auditors and administrators. Agents have no \
            business here. A person's session cookie lets them in; every write carries `X-Countersign-CSRF` and an \
            exact `Origin`. On the gateway's own unix socket the operator needs neither.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem))
)]
struct Description;

/// The API with its own description.
pub(crate) fn routes() -> Router<Console> {
    let (routes, _) = v1::routes().split_for_parts();
    routes.route("/api/v1/openapi.json", routing::get(description))
}

pub(crate) fn document() -> OpenApi {
    let (_, found) = v1::routes().split_for_parts();
    let mut document = Description::openapi();
    document.merge(found);
    document
}

async fn description() -> Json<OpenApi> {
    Json(document())
}

/// For probes; nothing about anyone.
pub(crate) fn health() -> Router<Console> {
    Router::new().route("/healthz", routing::get(alive)).route("/readyz", routing::get(ready))
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
}

async fn alive() -> Json<Status> {
    Json(Status { status: "alive" })
}

async fn ready(State(console): State<Console>) -> Result<Json<Status>, Problem> {
    let (code, detail) = match console.gate().store().health() {
        Health::Ready => return Ok(Json(Status { status: "ready" })),
        Health::Full => ("full", "the disk is full: nothing is accepted until there is room"),
        Health::Poisoned(_) => ("poisoned", "the store stopped after a write error; restart the gateway"),
    };
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail))
}
