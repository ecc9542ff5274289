//! Style, script and icon: a few files of our own, inside the binary. No page loads anything from elsewhere.

use crate::console::Console;
use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, header};

const STYLE: &str = include_str!("../../assets/console.css");
const SCRIPT: &str = include_str!("../../assets/console.js");
const ICON: &str = include_str!("../../assets/icon.svg");
const MANIFEST: &str = include_str!("../../assets/manifest.webmanifest");

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/assets/console.css", get(async || asset(STYLE, "text/css; charset=utf-8")))
        .route("/assets/console.js", get(async || asset(SCRIPT, "text/javascript; charset=utf-8")))
        .route("/assets/icon.svg", get(async || asset(ICON, "image/svg+xml")))
        .route("/favicon.ico", get(async || asset(ICON, "image/svg+xml")))
        .route("/assets/manifest.webmanifest", get(async || asset(MANIFEST, "application/manifest+json")))
}

fn asset(text: &'static str, kind: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=60"));
    response
}
