//! Opening a binding link: who would speak for the person who looks, and their word that it is so. What the link holds
//! stands behind the `#`, which browsers never send.

use super::{
    draw,
    frame::{Fault, Frame, Viewer, draw_page},
};
use crate::console::Console;
use askama::Template;
use axum::{extract::State, response::Response};

#[derive(Template)]
#[template(path = "bind.html")]
struct BindPage {
    frame: Frame,
    name: String,
}

pub(super) async fn page(State(console): State<Console>, viewer: Viewer) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "account").await?;
    draw_page(&BindPage { frame, name: viewer.session.name.clone() })
}
