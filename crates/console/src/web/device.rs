//! A command line asks to be signed in: the person sees what asks and from where, and allows it or does not.

use super::{
    draw,
    frame::{Fault, Frame, Viewer, draw_page},
};
use crate::{body::Params, console::Console, model::time};
use askama::Template;
use axum::{extract::State, response::Response};
use countersign_identity::IdentityError;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    code: String,
}

#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage {
    frame: Frame,
    /// As it was typed, where nothing has it.
    typed: String,
    asks: Option<Asks>,
}

struct Asks {
    user_code: String,
    label: String,
    source: String,
    user_agent: Option<String>,
    asked_at: String,
}

pub(super) async fn page(
    State(console): State<Console>,
    viewer: Viewer,
    Params(wanted): Params<Wanted>,
) -> Result<Response, Fault> {
    let frame = Frame::of(&console, &viewer, "device").await?;
    let typed: String = wanted.code.chars().take(32).collect();
    if typed.is_empty() {
        return draw_page(&DevicePage { frame, typed, asks: None });
    }
    let asks = match console.directory().device(&viewer.session, &typed) {
        Ok(asks) => Some(Asks {
            user_code: typed.clone(),
            label: asks.label,
            source: asks.source.to_string(),
            user_agent: asks.user_agent,
            asked_at: time(asks.asked_at),
        }),
        Err(IdentityError::UnknownDevice) => None,
        Err(error) => return Err(error.into()),
    };
    draw_page(&DevicePage { frame, typed, asks })
}
