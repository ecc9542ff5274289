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
mod summons;
mod things;
mod tools;

use crate::{api::v1::session::session_cookie, caller, console::Console, error::Problem};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{Method, header};
use std::sync::Arc;

/// Every page and asset.
pub(crate) fn routes(console: Console) -> Router<Console> {
    Router::new()
        .route("/", get(inbox::page))
        .route("/fragments/inbox", get(inbox::list))
        .route("/fragments/banner", get(frame::banner))
        .route("/approvals", get(inbox::approvals))
        .route("/approvals/{id}", get(approval::page))
        .route("/approvals/{id}/body", get(approval::body))
        .route("/approvals/{id}/decide", get(approval::decide))
        .route("/approvals/{id}/summons", get(summons::page))
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
        .layer(from_fn_with_state(console, renewed))
        .merge(assets::routes())
}

/// A page brings a session another token now and then, so that a copied cookie is soon worth nothing; and whoever uses the old
/// one later ends the session.
async fn renewed(State(console): State<Console>, request: Request, next: Next) -> Response {
    let read = request.method() == Method::GET;
    let cookie = caller::cookie(&console, request.headers()).filter(|_| read).map(ToOwned::to_owned);
    let mut response = next.run(request).await;
    let Some(cookie) = cookie.filter(|_| response.status().is_success()) else { return response };
    if response.headers().contains_key(header::SET_COOKIE) {
        return response;
    }
    let directory = Arc::clone(console.directory());
    // To its end, whether the browser waits for it or not: what is written is known here.
    let renewed = tokio::spawn(async move { directory.renew_session(&cookie).await });
    let Ok(renewed) = renewed.await else { return response };
    match renewed {
        Ok(None) => {}
        Ok(Some(token)) => match session_cookie(&console, &token) {
            Ok(cookie) => drop(response.headers_mut().append(header::SET_COOKIE, cookie)),
            // The session is nobody's then, and its person signs in again.
            Err(problem) => return problem.into_response(),
        },
        // The old token stays good: a full disk must not lock people out of the console.
        Err(error) => tracing::warn!(%error, "a session's token could not be renewed"),
    }
    response
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
