//! What agents did lately: who is still there, what was refused, what nobody needs.

use super::{
    draw, escape,
    frame::{Fault, Frame, Viewer, draw_page},
};
use crate::{
    api::v1::agents::HowFar, body::Params, console::Console, model::activity::ActivityItem, reading,
};
use askama::Template;
use axum::{extract::State, response::Response};
use countersign_identity::Role;

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityPage {
    frame: Frame,
    days: u32,
    spans: [u32; 4],
    seen: ActivityItem,
    may_freeze: bool,
}

pub(super) async fn page(
    State(console): State<Console>,
    viewer: Viewer,
    Params(far): Params<HowFar>,
) -> Result<Response, Fault> {
    let days = far.days()?;
    reading::read(&console, &viewer.caller, "agents' activity".into()).await?;
    draw_page(&ActivityPage {
        frame: Frame::of(&console, &viewer, "agents").await?,
        days,
        spans: [1, 7, 30, 90],
        seen: console.activity(days).await?,
        may_freeze: viewer.session.role != Role::Auditor,
    })
}
