//! The ledger's state and export, and the policy in force.

use super::{
    draw, escape,
    frame::{Fault, Frame, Viewer, draw_page},
};
use crate::{
    api::v1::{
        ledger::{LedgerItem, status},
        policy::{PolicyItem, in_force},
    },
    console::Console,
};
use askama::Template;
use axum::{extract::State, response::Response};
use countersign_identity::Role;

#[derive(Template)]
#[template(path = "ledger.html")]
struct LedgerPage {
    frame: Frame,
    ledger: LedgerItem,
    may_disclose: bool,
}

#[derive(Template)]
#[template(path = "policy.html")]
struct PolicyPage {
    frame: Frame,
    policy: PolicyItem,
}

pub(super) async fn ledger(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "ledger").await?;
    let may_disclose = matches!(viewer.session.role, Role::Administrator | Role::Auditor);
    draw_page(&LedgerPage { frame, ledger: status(&console).await?, may_disclose })
}

pub(super) async fn policy(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "policy").await?;
    draw_page(&PolicyPage { frame, policy: in_force(&console) })
}
