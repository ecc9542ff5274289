//! Where transmitters of shared signals push their events (RFC 8935). They are believed under their signature; what rests
//! on the person they speak of is taken back before they are answered, so that an event nobody acted on comes again.

use crate::{caller::Knock, console::Console, guard::bearer_of};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::post,
};
use countersign_engine::depart;
use countersign_identity::{Heard, SignalError};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

/// Where everything here is.
pub(crate) const ROOT: &str = "/signals/";
/// What is pushed.
const KIND: &str = "application/secevent+jwt";

pub(crate) fn routes() -> Router<Console> {
    Router::new().route("/signals/{transmitter}", post(pushed))
}

async fn pushed(
    State(console): State<Console>,
    Path(transmitter): Path<String>,
    knock: Knock,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let named = named.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let Ok(token) = std::str::from_utf8(&body).map(str::trim) else {
        return fault(StatusCode::BAD_REQUEST, "invalid_request", "the body is no security event token");
    };
    if !named.eq_ignore_ascii_case(KIND) {
        return fault(StatusCode::BAD_REQUEST, "invalid_request", &format!("send `Content-Type: {KIND}`"));
    }
    let presented = bearer_of(&headers);
    let source = knock.visitor().source;
    match console.directory().hear_pushed(&transmitter, presented, token, source).await {
        Ok(Heard::Nothing) => StatusCode::ACCEPTED.into_response(),
        Ok(Heard::Distrust { person, until }) => {
            match depart::distrust(console.gate(), person, until).await {
                Ok(_) => StatusCode::ACCEPTED.into_response(),
                Err(error) => {
                    tracing::error!(%error, "a signal was heard, and what rests on it could not be taken back");
                    unavailable("what rests on it could not be taken back; send it again")
                }
            }
        }
        Err(error) => answer(&error),
    }
}

fn answer(error: &SignalError) -> Response {
    let said = error.to_string();
    match error {
        SignalError::Unknown => fault(StatusCode::NOT_FOUND, "access_denied", &said),
        SignalError::Unauthenticated => fault(StatusCode::BAD_REQUEST, "authentication_failed", &said),
        SignalError::Refused { code, .. } => fault(StatusCode::BAD_REQUEST, code, &said),
        SignalError::Later(_) => unavailable(&said),
        SignalError::TooManyAttempts { retry_after } => {
            let mut response = fault(StatusCode::TOO_MANY_REQUESTS, "access_denied", &said);
            let seconds = HeaderValue::from(retry_after.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
            response
        }
    }
}

fn unavailable(why: &str) -> Response {
    fault(StatusCode::SERVICE_UNAVAILABLE, "access_denied", why)
}

/// RFC 8935, section 2.3: a code for programs, and words for whoever runs them.
fn fault(status: StatusCode, code: &str, why: &str) -> Response {
    (status, axum::Json(json!({"err": code, "description": why}))).into_response()
}
