//! Signing in and out.

use crate::{
    body::Input,
    caller::{Caller, Knock},
    console::Console,
    error::Problem,
    model::things::SessionItem,
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use countersign_identity::{Secret, SignedIn};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A one-time link's secret: what stands behind the `#`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenByLink {
    token: String,
}

/// An empty object.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// What a page hands to `navigator.credentials`.
#[derive(Serialize, ToSchema)]
pub(crate) struct CeremonyOptions {
    /// `WebAuthn` Level 3: the JSON form of creation or request options.
    #[serde(rename = "publicKey")]
    #[schema(rename = "publicKey", value_type = Object)]
    pub(crate) public_key: Value,
}

/// What `navigator.credentials.get()` answered, by `toJSON()`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenByPasskey {
    #[schema(value_type = Object)]
    response: Value,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Close {
    /// End every session of this person.
    #[serde(default)]
    everywhere: bool,
}

/// Signed out here.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignedOut {
    /// Where to end the provider's own session, too.
    location: Option<String>,
}

/// Sign in by a one-time link.
#[utoipa::path(post, path = "/api/v1/session/link", tag = "session", request_body = OpenByLink, responses(
    (status = 200, body = SessionItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn open_by_link(
    State(console): State<Console>,
    knock: Knock,
    Input(asked): Input<OpenByLink>,
) -> Result<Response, Problem> {
    let opened = console.directory().redeem_link(&asked.token, &knock.visitor()).await?;
    signed_in(&console, &opened)
}

/// Begin signing in by a passkey.
#[utoipa::path(post, path = "/api/v1/session/passkey/options", tag = "session", request_body = Nothing, responses(
    (status = 200, body = CeremonyOptions), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn passkey_options(
    State(console): State<Console>,
    _knock: Knock,
    Input(Nothing {}): Input<Nothing>,
) -> Result<Json<CeremonyOptions>, Problem> {
    Ok(Json(CeremonyOptions { public_key: console.directory().begin_sign_in()? }))
}

/// Sign in by a passkey.
#[utoipa::path(post, path = "/api/v1/session/passkey", tag = "session", request_body = OpenByPasskey, responses(
    (status = 200, body = SessionItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn open_by_passkey(
    State(console): State<Console>,
    knock: Knock,
    Input(asked): Input<OpenByPasskey>,
) -> Result<Response, Problem> {
    let answer = asked.response.to_string();
    let opened = console.directory().finish_sign_in(answer.as_bytes(), &knock.visitor()).await?;
    signed_in(&console, &opened)
}

/// The caller's session.
#[utoipa::path(get, path = "/api/v1/session", tag = "session", responses(
    (status = 200, body = SessionItem), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(State(console): State<Console>, caller: Caller) -> Json<SessionItem> {
    let operator = SessionItem { person: None, assurance: None, csrf: None, passkeys: 0, ends_at: None };
    Json(caller.session.as_ref().map_or(operator, |session| console.session_item(session)))
}

/// Sign out, here or everywhere.
#[utoipa::path(delete, path = "/api/v1/session", tag = "session", request_body = inline(Option<Close>), responses(
    (status = 200, body = SignedOut), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn close(
    State(console): State<Console>,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Problem> {
    let session = caller.signed_in()?;
    let asked = match body.as_ref() {
        b"" => Close { everywhere: false },
        json => serde_json::from_slice(json).map_err(|error| Problem::invalid(error.to_string()))?,
    };
    let location = console.directory().provider_sign_out(session).await;
    if asked.everywhere {
        console.directory().close_all_sessions(caller.author, session.person).await?;
    } else {
        console.directory().close_session(session.id).await?;
    }
    let cleared = console.directory().settings().cookie().clear();
    let cleared =
        HeaderValue::from_str(&cleared).map_err(|_| Problem::internal("the cookie cannot be cleared"))?;
    let mut response = Json(SignedOut { location }).into_response();
    response.headers_mut().insert(header::SET_COOKIE, cleared);
    Ok(response)
}

pub(crate) fn session_cookie(console: &Console, token: &Secret) -> Result<HeaderValue, Problem> {
    let cookie = console.directory().settings().cookie().set(token);
    let mut cookie = HeaderValue::from_str(cookie.reveal())
        .map_err(|_| Problem::internal("the cookie cannot be written"))?;
    cookie.set_sensitive(true);
    Ok(cookie)
}

fn signed_in(console: &Console, opened: &SignedIn) -> Result<Response, Problem> {
    let mut response = Json(console.session_item(&opened.session)).into_response();
    response.headers_mut().insert(header::SET_COOKIE, session_cookie(console, &opened.token)?);
    Ok(response)
}
