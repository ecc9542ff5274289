//! SCIM 2.0 (RFC 7643, RFC 7644): an organisation's own directory says which people there are and what groups they are
//! in, so that whoever leaves it has left here at once.
//!
//! A client comes with a bearer token of its own, which opens these addresses and no other; no person's session and no
//! agent's token opens them.

mod discover;
mod error;
mod filter;
mod group;
mod list;
mod patch;
mod user;

use crate::{console::Console, guard::bearer_of};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, FromRequest, FromRequestParts, Request},
    response::{IntoResponse, Response},
    routing::get,
};
use countersign_core::CredentialId;
use error::{Fault, KIND};
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where everything here is.
pub(crate) const ROOT: &str = "/scim/v2/";

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route("/scim/v2/ServiceProviderConfig", get(discover::service))
        .route("/scim/v2/ResourceTypes", get(discover::kinds))
        .route("/scim/v2/ResourceTypes/{id}", get(discover::kind))
        .route("/scim/v2/Schemas", get(discover::schemas))
        .route("/scim/v2/Schemas/{id}", get(discover::schema))
        .route("/scim/v2/Users", get(user::list).post(user::create))
        .route(
            "/scim/v2/Users/{id}",
            get(user::show).put(user::replace).patch(user::patch).delete(user::delete),
        )
        .route("/scim/v2/Groups", get(group::list).post(group::create))
        .route(
            "/scim/v2/Groups/{id}",
            get(group::show).put(group::replace).patch(group::patch).delete(group::delete),
        )
        .route("/scim/v2/{*rest}", axum::routing::any(nothing))
}

async fn nothing(_: Client) -> Fault {
    Fault::missing()
}

/// A provisioning client, known by its token.
pub(crate) struct Client(CredentialId);

impl FromRequestParts<Console> for Client {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Fault> {
        let token = bearer_of(&parts.headers).unwrap_or_default();
        let source = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|from| from.0.ip());
        let source = source.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Ok(Self(console.directory().provisioner(token, source)?))
    }
}

/// A body: JSON, whichever of its names it goes by.
struct Sent<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Sent<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let named = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let named = named.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        if ![KIND, "application/json"].iter().any(|kind| named.eq_ignore_ascii_case(kind)) {
            let why = format!("send `Content-Type: {KIND}`");
            return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, None, why));
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes =
            bytes.map_err(|error| Fault::new(error.status(), None, "the body is longer than is read"))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Fault::syntax(format!("the body is not as it must be: {error}")))
    }
}

/// A resource, or several, as an answer.
struct Shown(StatusCode, Value);

impl IntoResponse for Shown {
    fn into_response(self) -> Response {
        let location = self.1.pointer("/meta/location").and_then(Value::as_str).map(HeaderValue::from_str);
        let mut response = Response::new(Body::from(self.1.to_string()));
        *response.status_mut() = self.0;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(KIND));
        if let (StatusCode::CREATED, Some(Ok(location))) = (self.0, location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// Every value of an attribute that may be one or several.
fn each(value: Option<&Value>) -> Vec<&Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
    }
}
