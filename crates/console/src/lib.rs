//! The people's side: the HTTP API and the pages for reviewers, auditors and administrators.
//!
//! It asks the engine, the directory and the ledger, and shows what they answer. It decides nothing about an
//! action, reaches no target, and lets no agent credential in. Everything it draws was computed here; text that
//! somebody else wrote is made visible, escaped and marked as claimed.

mod api;
mod body;
mod caller;
mod console;
mod devices;
mod error;
mod guard;
mod inward;
mod model;
mod once;
mod proofs;
mod reading;
mod scim;
mod signals;
mod streams;
mod web;

pub use console::{Console, Keys, Ways};
pub use devices::{Devices, NotTold};
pub use error::Problem;
pub use inward::{Delivery, Doors, NotSigned, Signed, Signers, Speaks, Spoken};

use axum::Router;
use guard::Door;
use utoipa::openapi::OpenApi;

/// The people-facing origin: API, pages and their assets. Behind it stands a listener that nobody else shares.
///
/// Whoever serves it may put `axum::extract::ConnectInfo<SocketAddr>` into the requests, so that repeated failing
/// sign-ins are slowed down for each address.
pub fn router(state: Console) -> Router {
    let routes = api::routes()
        .merge(web::routes(state.clone()))
        .merge(scim::routes())
        .merge(signals::routes())
        .merge(api::health());
    guard::protect(routes, state, Door::Browser)
}

/// The same API for the gateway's own unix socket: whoever reaches it is the operator. No pages, no cookies.
pub fn operator_router(state: Console) -> Router {
    guard::protect(api::routes().merge(api::health()), state, Door::Operator)
}

/// The description of the API, `OpenAPI` 3.1.
pub fn openapi() -> OpenApi {
    api::document()
}
