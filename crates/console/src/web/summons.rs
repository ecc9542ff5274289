//! Where a link leads that was mailed to one person about one approval: to the approval's page, once, as the person it was
//! sent to. What the link holds stands behind the `#`, which browsers never send.

use super::{
    draw,
    frame::{Fault, Frame, Viewer, draw_page},
};
use crate::{body::Id, console::Console};
use askama::Template;
use axum::{extract::State, response::Response};
use countersign_core::ApprovalId;

#[derive(Template)]
#[template(path = "summons.html")]
struct SummonsPage {
    frame: Frame,
    name: String,
    approval: ApprovalId,
}

pub(super) async fn page(
    State(console): State<Console>,
    viewer: Viewer,
    Id(approval): Id<ApprovalId>,
) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "inbox").await?;
    draw_page(&SummonsPage { frame, name: viewer.session.name.clone(), approval })
}
