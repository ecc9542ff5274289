//! The pages. Readable without a script; changes are made through the API by a small script of our own. Nothing is
//! drawn that did not go through [`escape`].

mod action;
mod activity;
mod approval;
mod assets;
mod bind;
mod channels;
mod device;
mod door;
mod draw;
mod escape;
mod frame;
mod history;
mod inbox;
mod ledger;
mod things;
mod tools;

use crate::{console::Console, error::Problem};
use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
    routing::{get, post},
};

/// Every page and asset.
pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route("/", get(inbox::page))
        .route("/fragments/inbox", get(inbox::list))
        .route("/fragments/banner", get(frame::banner))
        .route("/approvals", get(inbox::approvals))
        .route("/approvals/{id}", get(approval::page))
        .route("/approvals/{id}/body", get(approval::body))
        .route("/history", get(history::page))
        .route("/actions/{id}", get(action::page))
        .route("/actions/{id}/proof/{index}", get(action::proof))
        .route("/unresolved", get(history::unresolved))
        .route("/ledger", get(ledger::ledger))
        .route("/policy", get(ledger::policy))
        .route("/targets", get(things::targets))
        .route("/targets/{id}/tools", get(tools::list))
        .route("/targets/{id}/tools/{definition}", get(tools::show))
        .route("/agents", get(things::agents))
        .route("/agents/activity", get(activity::page))
        .route("/people", get(things::people))
        .route("/channels", get(channels::page))
        .route("/freezes", get(things::freezes))
        .route("/account", get(things::account))
        .route("/bind", get(bind::page))
        .route("/device", get(device::page))
        .route("/sign-in", get(door::sign_in))
        .route("/sign-in/{provider}/back", get(door::back))
        .route("/sign-in/{provider}/logout", post(door::logout))
        .route("/enrol", get(door::enrol))
        .merge(assets::routes())
}

/// Nothing is here: a problem for programs, a page for people.
pub(crate) async fn not_found(request: Request) -> Response {
    let problem = Problem::not_found("there is nothing at this address");
    let reads_pages = frame::wants_page(request.headers());
    if reads_pages && !request.uri().path().starts_with("/api/") {
        return frame::Fault::from(problem).into_response();
    }
    problem.into_response()
}
