//! Accounts at providers: beginning a sign-in, and linking one's own.

use crate::{
    body::{Id, Input},
    caller::{Caller, Knock},
    console::Console,
    error::Problem,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use countersign_core::SignInTerms;
use countersign_identity::Begun;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where to sign in, and where to go then.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begin {
    /// The provider's name in the configuration.
    provider: String,
    /// A path of the console.
    #[serde(default)]
    next: String,
    /// What the sign-in has to be, where a gate asks for it.
    #[schema(value_type = Option<Object>)]
    terms: Option<SignInTerms>,
}

/// Which account to link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    provider: String,
}

/// Where the browser goes now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Elsewhere {
    location: String,
}

/// Begin signing in through a provider: the browser goes to `location`, with the cookie this answer sets.
#[utoipa::path(post, path = "/api/v1/session/provider", tag = "session", request_body = Begin, responses(
    (status = 200, body = Elsewhere), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn begin(
    State(console): State<Console>,
    _knock: Knock,
    Input(asked): Input<Begin>,
) -> Result<Response, Problem> {
    let directory = console.directory();
    let begun = match &asked.terms {
        None => directory.begin_with_provider(&asked.provider, &asked.next).await?,
        Some(terms) => directory.begin_again(&asked.provider, &asked.next, terms).await?,
    };
    elsewhere(&console, begun)
}

/// Begin linking an account to oneself, just after signing in with a passkey.
#[utoipa::path(post, path = "/api/v1/accounts", tag = "session", request_body = Link, responses(
    (status = 200, body = Elsewhere), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn link(
    State(console): State<Console>,
    caller: Caller,
    Input(asked): Input<Link>,
) -> Result<Response, Problem> {
    let session = caller.signed_in()?;
    let begun = console.directory().begin_linking(session, &asked.provider).await?;
    elsewhere(&console, begun)
}

/// Take an account from oneself.
#[utoipa::path(delete, path = "/api/v1/accounts/{id}", tag = "session", params(("id" = String, Path, description = "the provider's name")), responses(
    (status = 204), (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn unlink(
    State(console): State<Console>,
    caller: Caller,
    Id(provider): Id<String>,
) -> Result<StatusCode, Problem> {
    console.directory().unlink_account(caller.signed_in()?, &provider).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn elsewhere(console: &Console, begun: Begun) -> Result<Response, Problem> {
    let cookie = console.directory().settings().cookie().set_flow(&begun.flow);
    let mut cookie = HeaderValue::from_str(cookie.reveal())
        .map_err(|_| Problem::internal("the cookie cannot be written"))?;
    cookie.set_sensitive(true);
    let mut response = Json(Elsewhere { location: begun.location }).into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}
