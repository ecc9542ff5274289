//! What stands before every route: the exact host, the exact origin, no agent credentials, limits on size and time,
//! and the headers that keep a browser from doing anything the pages do not need.

use crate::{caller::reading_token, console::Console, error::Problem, once::once, scim, signals};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use countersign_core::{ApprovalId, RefusalCode};
use countersign_engine::{port::identity::Presented, record, vote};
use countersign_identity::has_personal_shape;
use countersign_ledger::event::Actor;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use std::time::Duration;

/// Which way a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The people-facing origin.
    Browser,
    /// The gateway's own unix socket.
    Operator,
}

/// The largest body a request may have. The largest we need is an action sent to `policy/why`.
pub(crate) const BODY_LIMIT: usize = 2 << 20;
/// How long a handler may take until its response begins.
const TIME_LIMIT: Duration = Duration::from_secs(30);

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Puts everything before the routes.
pub(crate) fn protect(routes: Router<Console>, console: Console, door: Door) -> Router {
    let guarded = routes
        .fallback(crate::web::not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(console.clone(), once))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(console.clone(), no_agents));
    let guarded = match door {
        Door::Browser => guarded.layer(from_fn_with_state(console.clone(), exact_origin)),
        Door::Operator => guarded,
    };
    let whole = guarded.layer(axum::Extension(door)).layer(from_fn(to_its_end));
    whole.layer(from_fn(in_time)).layer(from_fn(headers)).with_state(console)
}

/// What was begun goes on when the caller leaves or its time is over: a change that is in the store is in memory too, and
/// whoever was to be told is told.
async fn to_its_end(request: Request, next: Next) -> Response {
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "this gateway is stopping")
                .into_response(),
        },
    }
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "this address does not know that method",
    )
}

/// Host and origin must be ours, exactly: a rebound name or another page gets nothing.
async fn exact_origin(State(console): State<Console>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let probe = matches!(path, "/healthz" | "/readyz");
    if !probe && !host_is(&request, console.host()) {
        let detail = "this console is not known under that host name";
        let problem = Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", detail);
        return problem.hint(format!("open {}", console.origin())).into_response();
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    // A provider's own server comes without one. No cookie is looked at there: only the signature of what it brings.
    let from_provider = path.starts_with("/sign-in/") && path.ends_with("/logout");
    // Nor do those with a credential of their own: it is no cookie that a browser would send along. Nor does a channel: what
    // it sends is signed.
    let from_channel = is_door_of_channel(path);
    let no_browser = from_provider || from_channel || has_own_credential(path);
    if !reads && !no_browser && single(request.headers(), &header::ORIGIN) != Some(console.origin()) {
        let detail = "a change must come from the console's own pages";
        let problem = Problem::new(StatusCode::FORBIDDEN, "origin", detail);
        return problem.hint(format!("send `Origin: {}`", console.origin())).into_response();
    }
    next.run(request).await
}

/// Addresses at which channels speak, under signatures of their own.
fn is_door_of_channel(path: &str) -> bool {
    let rest = path.strip_prefix("/api/v1/channels/").and_then(|rest| rest.split_once('/'));
    rest.is_some_and(|(_, door)| matches!(door, "events" | "slack" | "teams" | "jira"))
}

/// Addresses of systems that come with a credential of their own and no other: it is looked at there.
fn has_own_credential(path: &str) -> bool {
    path.starts_with(scim::ROOT) || path.starts_with(signals::ROOT)
}

/// Whether a bearer token may be the Bot Framework's, at a door where that speaks for Teams: signed by its issuer, as no
/// agent's own token is.
fn may_speak_for_teams(path: &str, token: &str) -> bool {
    is_door_of_channel(path) && path.ends_with("/teams") && token.split('.').count() == 3
}

fn host_is(request: &Request, expected: &str) -> bool {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let named = single(request.headers(), &header::HOST);
    let seen = [authority, named];
    // HTTP/2 names the host in the request line; where both are there, both must be ours.
    seen.iter().flatten().count() > 0 && seen.iter().flatten().all(|host| host.eq_ignore_ascii_case(expected))
}

/// The value of a header that is there exactly once. Sent twice, it is worth something no check accepts.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        (None, _) => None,
        (Some(_), Some(_)) => Some("\u{0}"),
    }
}

/// Agents have no business here. Where one tried to decide something, that is recorded.
async fn no_agents(State(console): State<Console>, request: Request, next: Next) -> Response {
    if has_own_credential(request.uri().path()) {
        return next.run(request).await;
    }
    let sent = request.headers().get_all(header::AUTHORIZATION).into_iter();
    let bearer = sent.filter_map(|value| value.to_str().ok()).find_map(bearer);
    let Some(token) = bearer.map(ToOwned::to_owned) else { return next.run(request).await };
    if may_speak_for_teams(request.uri().path(), &token) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    if reading_token(&parts).is_some() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    if has_personal_shape(&token) {
        return only_reads(&console, &parts, &token).await.into_response();
    }
    if let Err(problem) = record_attempt(&console, &parts, &token).await {
        return problem.into_response();
    }
    let detail = "agents and services do not use this API: it is for people";
    let problem = Problem::new(StatusCode::FORBIDDEN, "agent-credential", detail);
    problem.hint("agents wait: a person decides in the console").into_response()
}

/// A person's reading token where something would change: the attempt to decide with it is recorded.
async fn only_reads(console: &Console, request: &Parts, token: &str) -> Problem {
    let session = match console.directory().reading(token).await {
        Ok(session) => session,
        Err(error) => return error.into(),
    };
    let what = format!("{} {} {}", session.person, request.method, request.uri.path());
    if let Some(approval) = decided(request)
        && console.readings().begin(&what, console.gate().now())
    {
        let why = "a token for reading was presented; a vote is cast on the page";
        let actor = Actor::Person { id: session.person };
        match vote::attempted(console.gate(), approval, actor, why).await {
            Ok(()) | Err(countersign_engine::Error::Missing { .. }) => {}
            Err(error) => return error.into(),
        }
    }
    let detail = "this token reads, and changes nothing";
    let problem = Problem::new(StatusCode::FORBIDDEN, "reading-only", detail);
    problem.hint(format!("open {} and do it there", console.origin()))
}

/// The one bearer token of a request; `None` where there is none, or several.
pub(crate) fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    bearer(single(headers, &header::AUTHORIZATION)?).filter(|token| !token.is_empty())
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn record_attempt(console: &Console, request: &Parts, token: &str) -> Result<(), Problem> {
    use countersign_core::{PrincipalId, PrincipalKind};
    let gate = console.gate();
    let approval = decided(request);
    if approval.is_none() && matches!(request.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let Ok(requester) = gate.authenticate(Presented::Bearer(token)).await else {
        // A stranger could fill the ledger: counted instead.
        return Ok(record::count(gate, RefusalCode::Unauthenticated, None).await?);
    };
    // What is no approval's has no entry of its own: it is counted, too.
    let Some(approval) = approval else {
        return Ok(record::count(gate, RefusalCode::NotPermitted, None).await?);
    };
    let credential = requester.credential;
    let actor = match (requester.principal, requester.kind) {
        (PrincipalId::Person(id), _) => Actor::Person { id },
        (PrincipalId::Agent(id), PrincipalKind::Service) => Actor::Service { id, credential },
        (PrincipalId::Agent(id), PrincipalKind::Agent | PrincipalKind::Person) => {
            Actor::Agent { id, credential }
        }
    };
    let what = format!("{credential} {} {}", request.method, request.uri.path());
    if !console.readings().begin(&what, gate.now()) {
        return Ok(());
    }
    let why = "a machine's credential was presented; only people decide";
    match vote::attempted(gate, approval, actor, why).await {
        Ok(()) | Err(countersign_engine::Error::Missing { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The approval a request would decide about.
fn decided(request: &Parts) -> Option<ApprovalId> {
    let rest = request.uri.path().strip_prefix("/api/v1/approvals/")?;
    let (id, verb) = rest.split_once('/')?;
    let decides = request.method == Method::POST && matches!(verb, "ballot" | "votes" | "revoke" | "review");
    id.parse().ok().filter(|_| decides)
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIME_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "the answer took too long").into_response()
        }
    }
}

async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
