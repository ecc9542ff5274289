//! A write that carries an `Idempotency-Key` is done once: the same request with the same key, in the same session, gets
//! the answer of the first. Kept in memory, within bounds, for a while; a restart forgets. What failed for a reason that
//! passes is not kept, so that the key can be used again.

mod memory;

use crate::{caller::Caller, console::Console, error::Problem, guard::BODY_LIMIT};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts as _, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use countersign_core::Digest;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
pub(crate) use memory::Memory;
use memory::{Asked, Kept, Key, Turn};
use std::sync::Arc;

/// The header that names a write.
pub(crate) const KEY: &str = "idempotency-key";
/// Set on an answer that was given before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key.
const KEY_LENGTH: usize = 255;

/// Stands before every route of the API.
pub(crate) async fn once(State(console): State<Console>, request: Request, next: Next) -> Response {
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !writes || !request.headers().contains_key(KEY) || !request.uri().path().starts_with("/api/") {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    // Who is nobody yet, or shows no CSRF token, is answered by the handler; nothing is kept for them.
    let Ok(caller) = Caller::from_request_parts(&mut parts, &console).await else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    match answer(&console, &caller, parts, body, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn answer(
    console: &Console,
    caller: &Caller,
    parts: Parts,
    body: Body,
    next: Next,
) -> Result<Response, Problem> {
    let key = Key { session: caller.session.as_ref().map(|session| session.id), text: key(&parts.headers)? };
    let body = to_bytes(body, BODY_LIMIT).await.map_err(|_| {
        let detail = format!("the body is not whole, or larger than {BODY_LIMIT} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    })?;
    let asked = asked(&parts, &body);
    let memory = Arc::clone(console.once());
    let (tell, mut answered) = match memory.turn(&key, asked, console.gate().now()) {
        Turn::First(tell, answered) => (Some(tell), answered),
        Turn::Again(answered) => (None, answered),
        Turn::Another => {
            let detail = "this idempotency key was used for another request";
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail);
            return Err(problem.hint("make a new key for each thing to do"));
        }
        Turn::Full => {
            let detail = "too many idempotency keys are remembered at the moment";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many", detail);
            return Err(problem.hint("repeat the request in a few minutes; nothing was done"));
        }
    };
    let first = tell.is_some();
    if let Some(tell) = tell {
        let request = Request::from_parts(parts, Body::from(body));
        // A task of its own: a caller who leaves in the middle does not leave the answer untold.
        tokio::spawn(async move {
            let kept = Arc::new(whole(next.run(request).await).await);
            memory.answered(&key, &kept);
            tell.send_replace(Some(kept));
        });
    }
    let kept = answered.wait_for(Option::is_some).await.ok().and_then(|kept| kept.clone());
    let kept = kept.ok_or_else(|| Problem::internal("the request ended without an answer"))?;
    Ok(replay(&kept, first))
}

fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(KEY).iter();
    let single = values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok());
    let fits = |text: &&str| (1..=KEY_LENGTH).contains(&text.len());
    single.filter(fits).map(ToOwned::to_owned).ok_or_else(|| {
        let detail = format!("`Idempotency-Key` must be one text of 1 to {KEY_LENGTH} plain characters");
        Problem::new(StatusCode::BAD_REQUEST, "idempotency-key", detail).hint("send for example a UUID")
    })
}

/// Everything that makes two requests the same one.
fn asked(parts: &Parts, body: &Bytes) -> Asked {
    let path = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    let seen = parts.headers.get(header::IF_MATCH).map_or(&b""[..], HeaderValue::as_bytes);
    let said: [&[u8]; 4] = [parts.method.as_str().as_bytes(), path.as_bytes(), seen, body];
    Asked(Digest::of_parts("countersign/console/once/v1", &said))
}

async fn whole(response: Response) -> Kept {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    Kept { status: parts.status, headers: parts.headers, body: Some(body) }
}

fn replay(kept: &Kept, first: bool) -> Response {
    let Some(body) = &kept.body else {
        let detail = "this was done, and its answer was too large to be kept";
        let problem = Problem::new(StatusCode::CONFLICT, "done-already", detail);
        return problem.hint("look at what it changed").into_response();
    };
    let mut response = Response::new(Body::from(body.clone()));
    *response.status_mut() = kept.status;
    response.headers_mut().clone_from(&kept.headers);
    if !first {
        response.headers_mut().remove(header::SET_COOKIE);
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
