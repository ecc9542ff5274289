//! What handlers read of a request: strict JSON, strict queries, typed ids. Everything else is a problem that says
//! which field is wrong.

use crate::error::Problem;
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::de::DeserializeOwned;
use std::str::FromStr;

/// A JSON body. Its type refuses unknown fields.
pub(crate) struct Input<T>(pub(crate) T);

/// A query string. Its type refuses unknown parameters.
pub(crate) struct Params<T>(pub(crate) T);

/// The `{id}` of a path.
pub(crate) struct Id<T>(pub(crate) T);

/// The version in `If-Match`: what the editor saw. `None`: whatever it is by now.
pub(crate) struct IfMatch(pub(crate) Option<u64>);

/// An answer with the version of what it shows as its entity tag.
pub(crate) struct Tagged<T>(pub(crate) u64, pub(crate) T);

impl<T: IntoResponse> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let Self(version, shown) = self;
        let mut response = shown.into_response();
        if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(header::IF_MATCH).iter();
        let tag = match (values.next(), values.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(tag), None) => tag.to_str().unwrap_or_default(),
            (Some(_), Some(_)) => "",
        };
        if tag == "*" {
            return Ok(Self(None));
        }
        let tag = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(|| {
            let detail = "`If-Match` must be `*` or the one `ETag` that was seen, with its quotes";
            Problem::new(StatusCode::BAD_REQUEST, "if-match", detail)
        })?;
        // No record has version 0: a tag that is none of ours matches nothing.
        Ok(Self(Some(tag.parse().unwrap_or(0))))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(&request) {
            let problem =
                Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "the body must be JSON");
            return Err(problem.hint("send `Content-Type: application/json`"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|error| unread(&error))?;
        read(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|error| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "query",
                format!("the query is not understood: {}", error.body_text()),
            )
        })
    }
}

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = text.map_err(|error| Problem::not_found(error.body_text()))?;
        text.parse().map(Self).map_err(|error: T::Err| Problem::not_found(error.to_string()))
    }
}

fn is_json(request: &Request) -> bool {
    let sent = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = sent.and_then(|value| value.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            Problem::invalid(format!("the body is not as it must be: {error}"))
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "malformed", format!("the body is not JSON: {error}"))
        }
    })
}

fn unread(error: &BytesRejection) -> Problem {
    let status = error.status();
    let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "too-large" } else { "malformed" };
    Problem::new(status, code, error.body_text())
}
