//! Sessions that only read: a command line signed in from the console (the device flow of RFC 8628, in JSON), tokens for a
//! person's own programs, and the list of all their sessions.

use crate::{
    body::{Id, Input},
    caller::{Caller, Knock},
    console::Console,
    error::Problem,
    model::{things::OpenSessionItem, time},
};
use axum::{Json, extract::State};
use countersign_identity::Polled;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A command line wants to be signed in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeginDevice {
    /// What the person who allows it is shown, such as the machine's name.
    label: String,
}

/// What to show, and what to ask with (RFC 8628, section 3.2).
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceBegun {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    /// Seconds until it is over.
    expires_in: u64,
    /// Seconds between two questions.
    interval: u64,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskDevice {
    device_code: String,
}

/// A token for reading. It is given once.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadingToken {
    token: String,
    /// When it ends, however much it is used.
    expires: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerDevice {
    user_code: String,
    allow: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateReading {
    /// What it is for.
    label: String,
}

/// Ask for a person to allow a command line.
#[utoipa::path(post, path = "/api/v1/session/device", tag = "session", request_body = BeginDevice, responses(
    (status = 200, body = DeviceBegun), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn begin(
    State(console): State<Console>,
    knock: Knock,
    Input(asked): Input<BeginDevice>,
) -> Result<Json<DeviceBegun>, Problem> {
    let begun = console.directory().begin_device(&asked.label, &knock.visitor())?;
    let page = format!("{}/device", console.origin());
    Ok(Json(DeviceBegun {
        device_code: begun.code.reveal().to_owned(),
        verification_uri_complete: format!("{page}?code={}", begun.user_code),
        verification_uri: page,
        user_code: begun.user_code,
        expires_in: begun.waits.as_secs(),
        interval: begun.interval.as_secs(),
    }))
}

/// Ask whether somebody has allowed it (RFC 8628, section 3.5). The codes of refusals are those of the RFC, with `-`.
#[utoipa::path(post, path = "/api/v1/session/device/token", tag = "session", request_body = AskDevice, responses(
    (status = 200, body = ReadingToken), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn ask(
    State(console): State<Console>,
    _knock: Knock,
    Input(asked): Input<AskDevice>,
) -> Result<Json<ReadingToken>, Problem> {
    let problem = |code, detail| Err(Problem::new(StatusCode::BAD_REQUEST, code, detail));
    match console.directory().poll_device(&asked.device_code) {
        Polled::Allowed { token, ends_at } => {
            Ok(Json(ReadingToken { token: token.reveal().to_owned(), expires: time(ends_at) }))
        }
        Polled::Waits => problem("authorization-pending", "nobody has decided yet"),
        Polled::TooSoon => problem("slow-down", "that was sooner than agreed"),
        Polled::Denied => problem("access-denied", "the person did not allow it"),
        Polled::Over => problem("expired-token", "it took too long, or was asked for before"),
    }
}

/// Allow a command line, or do not.
#[utoipa::path(post, path = "/api/v1/sessions/device", tag = "session", request_body = AnswerDevice, responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn answer(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<AnswerDevice>,
) -> Result<StatusCode, Problem> {
    console.directory().answer_device(caller.signed_in()?, &asked.user_code, asked.allow).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a token for a program of one's own. It reads what its person reads, and changes nothing.
#[utoipa::path(post, path = "/api/v1/sessions", tag = "session", request_body = CreateReading, responses(
    (status = 201, body = ReadingToken), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<CreateReading>,
) -> Result<(StatusCode, Json<ReadingToken>), Problem> {
    let (token, session) = console.directory().create_reading(caller.signed_in()?, &asked.label).await?;
    let made = ReadingToken { token: token.reveal().to_owned(), expires: time(session.ends_at) };
    Ok((StatusCode::CREATED, Json(made)))
}

/// One's own open sessions.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "session", responses(
    (status = 200, body = [OpenSessionItem]), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(console): State<Console>,
    caller: Caller,
) -> Result<Json<Vec<OpenSessionItem>>, Problem> {
    Ok(Json(console.open_session_items(caller.signed_in()?)))
}

/// End one of them.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "session", params(("id" = String, Path)), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn end(
    State(console): State<Console>,
    caller: Caller,
    Id(id): Id<String>,
) -> Result<StatusCode, Problem> {
    console.directory().close_own_session(caller.signed_in()?, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
