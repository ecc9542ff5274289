//! The HTTP API: JSON in, JSON out, problems for everything that is not done.

pub(crate) mod v1;

use crate::{console::Console, error::Problem};
use axum::{Json, Router, extract::State, routing};
use countersign_engine::port::store::Health;
use http::StatusCode;
use serde::Serialize;
use utoipa::{
    OpenApi as _,
    openapi::{
        Object, OpenApi, RefOr, Required, Type,
        path::{ParameterBuilder, ParameterIn},
    },
};

const KEY_DESCRIPTION: &str = "1 to 255 plain characters, such as a UUID. The same request with the same key in the same \
    session is done once, and answered as the first one was, marked `Idempotency-Replayed: true`; another request with \
    that key is refused with 422. Keys are remembered for an hour, the newest 256 of a session, and not over a restart. \
    Answers 401, 403, 408, 429 and 503 leave the key unused.";

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
    name_keys(&mut document);
    document
}

/// Every write of somebody who is signed in takes an idempotency key.
fn name_keys(document: &mut OpenApi) {
    let known = document.paths.paths.iter_mut().filter(|(path, _)| !path.starts_with("/api/v1/session/"));
    for (_, item) in known {
        for write in [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
        {
            let key = ParameterBuilder::new()
                .name("Idempotency-Key")
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some(KEY_DESCRIPTION))
                .schema(Some(Object::with_type(Type::String)));
            write.parameters.get_or_insert_default().push(RefOr::T(key.build()));
        }
    }
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
