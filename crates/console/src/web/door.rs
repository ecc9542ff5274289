//! Signing in, the first visit by a one-time link, and coming back from a provider. The link's secret stands behind the
//! `#`, which browsers never send: only the page's script reads it, and posts it once.

use super::{
    draw,
    frame::{Fault, Frame, draw_page},
};
use crate::{
    api::v1::session::session_cookie,
    body::{Id, Params},
    caller::Knock,
    console::Console,
    error::Problem,
};
use askama::Template;
use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use countersign_identity::{Answer, Arrived, IdentityError, Offered, is_ours};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

/// The longest notice of a provider that is read.
const LONGEST_LOGOUT: usize = 16 << 10;

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
    providers: Vec<Offered>,
}

#[derive(Template)]
#[template(path = "enrol.html")]
struct Enrol {
    frame: Frame,
}

#[derive(Template)]
#[template(path = "arrived.html")]
struct ArrivedPage {
    frame: Frame,
    next: String,
    title: &'static str,
}

pub(super) async fn sign_in(
    State(console): State<Console>,
    Params(wanted): Params<Wanted>,
) -> Result<Response, Fault> {
    let next = if is_ours(&wanted.next) { wanted.next } else { "/".into() };
    let frame = Frame { page: "sign-in", ..Frame::default() };
    draw_page(&SignIn { frame, next, providers: console.directory().offered() })
}

pub(super) async fn enrol() -> Result<Response, Fault> {
    draw_page(&Enrol { frame: Frame { page: "enrol", ..Frame::default() } })
}

/// A browser comes back from a provider. The page that answers goes on from here, so that our own cookie is sent with
/// the next request: a redirect would still be the provider's doing.
pub(super) async fn back(
    State(console): State<Console>,
    knock: Knock,
    Id(provider): Id<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let cookies = console.directory().settings().cookie();
    let arrived = arrive(&console, &knock, &provider, &headers, query.as_deref()).await;
    let mut response = arrived.unwrap_or_else(IntoResponse::into_response);
    if let Ok(cleared) = HeaderValue::from_str(&cookies.clear_flow()) {
        response.headers_mut().append(header::SET_COOKIE, cleared);
    }
    response
}

async fn arrive(
    console: &Console,
    knock: &Knock,
    provider: &str,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Response, Fault> {
    let sent = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let flow = console.directory().settings().cookie().find_flow(sent);
    let said = Said::of(query.unwrap_or_default()).ok_or_else(|| {
        Problem::invalid("the provider's answer says something twice, or more than is read")
    })?;
    let answer = Answer {
        state: said.state.as_deref(),
        code: said.code.as_deref(),
        issuer: said.issuer.as_deref(),
        error: said.error.as_deref(),
        flow,
    };
    let arrived = console.directory().finish_with_provider(provider, &answer, &knock.visitor()).await?;
    let frame = Frame { page: "arrived", ..Frame::default() };
    match arrived {
        Arrived::SignedIn { signed_in, next } => {
            let mut response = draw_page(&ArrivedPage { frame, next, title: "Signed in" })?;
            response.headers_mut().append(header::SET_COOKIE, session_cookie(console, &signed_in.token)?);
            Ok(response)
        }
        Arrived::Linked { next } => draw_page(&ArrivedPage { frame, next, title: "Account linked" }),
    }
}

/// A provider says that sessions of its own have ended. It is no browser: its signature is all there is to believe.
pub(super) async fn logout(
    State(console): State<Console>,
    knock: Knock,
    Id(provider): Id<String>,
    body: Bytes,
) -> Response {
    let token = url::form_urlencoded::parse(&body).filter(|(name, _)| name == "logout_token");
    let tokens: Vec<String> = token.map(|(_, token)| token.into_owned()).take(2).collect();
    let ended = match tokens.as_slice() {
        [token] if body.len() <= LONGEST_LOGOUT => {
            console.directory().end_by_provider(&provider, token, knock.visitor().source).await
        }
        _ => {
            return Problem::new(StatusCode::BAD_REQUEST, "invalid", "one `logout_token` is expected")
                .into_response();
        }
    };
    match ended {
        Ok(_) => StatusCode::OK.into_response(),
        // Section 2.8: whatever is wrong with it is a bad request.
        Err(error @ IdentityError::NotVouched(_)) => {
            Problem::from(error).with_status(StatusCode::BAD_REQUEST).into_response()
        }
        Err(error) => Problem::from(error).into_response(),
    }
}

/// What a provider's answer says; what else stands in it is not looked at (RFC 6749, section 4.1.2).
#[derive(Default)]
struct Said {
    state: Option<String>,
    code: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
}

impl Said {
    fn of(query: &str) -> Option<Self> {
        if query.len() > 8 << 10 {
            return None;
        }
        let mut said = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut said.state,
                "code" => &mut said.code,
                "iss" => &mut said.issuer,
                "error" => &mut said.error,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        Some(said)
    }
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

    #[test]
    fn an_answer_that_says_something_twice_says_nothing() {
        let said = Said::of("code=a%20b&state=s&iss=https%3A%2F%2Fx&scope=y&session_state=z").unwrap();
        assert_eq!((said.code.as_deref(), said.issuer.as_deref()), (Some("a b"), Some("https://x")));
        for twice in ["state=a&state=a", "code=1&%63ode=2", &format!("code={}", "x".repeat(9000))] {
            assert!(Said::of(twice).is_none(), "{twice}");
        }
    }
}
