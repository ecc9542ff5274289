//! The pages. Readable without a script; changes are made through the API by a small script of our own.

use crate::{console::Console, error::Problem};
use axum::Router;

/// Every page and asset.
pub(crate) fn routes() -> Router<Console> {
    Router::new()
}

pub(crate) async fn not_found() -> Problem {
    Problem::not_found("there is nothing at this address")
}
