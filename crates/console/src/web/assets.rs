//! Style, scripts and icons: a few files of our own, inside the binary. No page loads anything from elsewhere.

use super::{
    draw,
    frame::{Fault, Frame, draw_page},
};
use crate::console::Console;
use askama::Template;
use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, header};

const STYLE: &str = include_str!("../../assets/console.css");
const SCRIPT: &str = include_str!("../../assets/console.js");
const DEVICES: &str = include_str!("../../assets/devices.js");
const WORKER: &str = include_str!("../../assets/worker.js");
const ICON: &str = include_str!("../../assets/icon.svg");
const MANIFEST: &str = include_str!("../../assets/manifest.webmanifest");
/// Drawn from `icon.svg`, `icon-maskable.svg` and `badge.svg` beside them.
const PICTURES: [(&str, &[u8]); 5] = [
    ("/assets/icon-180.png", include_bytes!("../../assets/icon-180.png")),
    ("/assets/icon-192.png", include_bytes!("../../assets/icon-192.png")),
    ("/assets/icon-512.png", include_bytes!("../../assets/icon-512.png")),
    ("/assets/icon-maskable-512.png", include_bytes!("../../assets/icon-maskable-512.png")),
    ("/assets/badge-96.png", include_bytes!("../../assets/badge-96.png")),
];
const A_MINUTE: &str = "private, max-age=60";
/// A worker is looked at anew whenever a page is opened.
const ALWAYS_ANEW: &str = "no-cache";

pub(super) fn routes() -> Router<Console> {
    let script = "text/javascript; charset=utf-8";
    let router = Router::new()
        .route(
            "/assets/console.css",
            get(async || asset(STYLE.as_bytes(), "text/css; charset=utf-8", A_MINUTE)),
        )
        .route("/assets/console.js", get(async move || asset(SCRIPT.as_bytes(), script, A_MINUTE)))
        .route("/assets/devices.js", get(async move || asset(DEVICES.as_bytes(), script, A_MINUTE)))
        .route("/worker.js", get(async move || asset(worker(), script, ALWAYS_ANEW)))
        .route("/offline", get(offline))
        .route("/assets/icon.svg", get(async || asset(ICON.as_bytes(), "image/svg+xml", A_MINUTE)))
        .route("/favicon.ico", get(async || asset(ICON.as_bytes(), "image/svg+xml", A_MINUTE)))
        .route(
            "/assets/manifest.webmanifest",
            get(async || asset(MANIFEST.as_bytes(), "application/manifest+json", A_MINUTE)),
        );
    PICTURES.iter().fold(router, |router, (path, picture)| {
        router.route(path, get(async move || asset(*picture, "image/png", A_MINUTE)))
    })
}

/// The worker of this release: with another one, what was kept by the one before is kept anew.
fn worker() -> Vec<u8> {
    format!("const RELEASE = \"{}\";\n{WORKER}", env!("CARGO_PKG_VERSION")).into_bytes()
}

#[derive(Template)]
#[template(path = "offline.html")]
struct Offline {
    frame: Frame,
}

/// What an installed console shows without a connection: the same for everybody, and nothing of anybody's.
async fn offline() -> Result<Response, Fault> {
    draw_page(&Offline { frame: Frame::default() })
}

fn asset(body: impl IntoResponse, kind: &'static str, kept: &'static str) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    response
}
