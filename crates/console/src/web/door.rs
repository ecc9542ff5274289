//! Signing in, and the first visit by a one-time link. The link's secret stands behind the `#`, which browsers never
//! send: only the page's script reads it, and posts it once.

use super::{
    draw,
    frame::{Fault, Frame, draw_page},
};
use crate::body::Params;
use askama::Template;
use axum::response::Response;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    next: String,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    frame: Frame,
    /// Where to go then: a path of ours.
    next: String,
}

#[derive(Template)]
#[template(path = "enrol.html")]
struct Enrol {
    frame: Frame,
}

pub(super) async fn sign_in(Params(wanted): Params<Wanted>) -> Result<Response, Fault> {
    let next = if is_ours(&wanted.next) { wanted.next } else { "/".into() };
    draw_page(&SignIn { frame: Frame { page: "sign-in", ..Frame::default() }, next })
}

pub(super) async fn enrol() -> Result<Response, Fault> {
    draw_page(&Enrol { frame: Frame { page: "enrol", ..Frame::default() } })
}

/// Whether this is a path on this origin: nothing a browser would take for another host.
fn is_ours(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    plain && path.starts_with('/') && !path.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_nowhere_else() {
        for good in ["/", "/approvals/apr_1", "/history?q=a%20b"] {
            assert!(is_ours(good), "{good}");
        }
        for bad in
            ["", "//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/\t/x"]
        {
            assert!(!is_ours(bad), "{bad}");
        }
    }
}
