//! What a provisioning client is told when something is not done (RFC 7644, section 3.12).

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use countersign_identity::IdentityError;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

pub(super) const KIND: &str = "application/scim+json";

/// Why nothing was done.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    status: StatusCode,
    /// The word for it, where the standard has one.
    kind: Option<&'static str>,
    detail: String,
}

impl Fault {
    pub(super) fn new(status: StatusCode, kind: Option<&'static str>, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into() }
    }

    pub(super) fn filter(why: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Some("invalidFilter"),
            format!("the filter is not understood: {why}"),
        )
    }

    pub(super) fn path() -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some("invalidPath"), "the path of an operation is not understood")
    }

    pub(super) fn value(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some("invalidValue"), why)
    }

    pub(super) fn syntax(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some("invalidSyntax"), why)
    }

    pub(super) fn fixed(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some("mutability"), why)
    }

    pub(super) fn no_target(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some("noTarget"), why)
    }

    pub(super) fn missing() -> Self {
        Self::new(StatusCode::NOT_FOUND, None, "there is no such resource")
    }
}

impl From<IdentityError> for Fault {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what else goes wrong is no business of a client's")]
    fn from(error: IdentityError) -> Self {
        use IdentityError as E;
        match &error {
            E::UnknownPerson(_) => Self::missing(),
            E::EmailTaken(_) | E::NameTaken(_) => {
                Self::new(StatusCode::CONFLICT, Some("uniqueness"), error.to_string())
            }
            E::BadText { .. } | E::BadEmail(_) | E::UnknownGroup { .. } => Self::value(error.to_string()),
            E::SetHere(_) => Self::fixed(error.to_string()),
            E::Protected => Self::new(StatusCode::FORBIDDEN, None, error.to_string()),
            E::UnknownCredential(_) | E::NotSignedIn => Self::new(
                StatusCode::UNAUTHORIZED,
                None,
                "a token of `countersign scim token create` is expected",
            ),
            E::TooManyAttempts { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, None, error.to_string()),
            E::Conflict => Self::new(StatusCode::CONFLICT, None, error.to_string()),
            _ => {
                tracing::error!(error = %error, "a provisioning client was not served");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, None, "it could not be done just now")
            }
        }
    }
}

impl From<countersign_engine::Error> for Fault {
    fn from(error: countersign_engine::Error) -> Self {
        tracing::error!(%error, "a provisioning client was not served");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, None, "it could not be done just now")
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": self.status.as_u16().to_string(),
            "detail": self.detail,
        });
        if let (Some(kind), Some(body)) = (self.kind, body.as_object_mut()) {
            body.insert("scimType".into(), kind.into());
        }
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(KIND));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("6"));
        }
        response
    }
}
