//! What goes wrong, as RFC 9457 problems: a stable code for programs, a sentence and a hint for people. No problem
//! holds a secret.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use countersign_core::{approval::Refused, visible};
use countersign_engine::{
    Error as EngineError,
    glass::ReviewRefused,
    port::store::ReadError,
    record,
    vote::{VoteRefused, rule_code},
};
use countersign_identity::IdentityError;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Why a request was not done (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem(Box<ProblemDetails>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ProblemDetails {
    /// `urn:countersign:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    status: u16,
    /// One plain sentence about this occurrence.
    detail: String,
    /// A stable word for programs.
    code: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemDetails {
            kind: format!("urn:countersign:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Problem").into(),
            status: status.as_u16(),
            detail: visible::told(&detail.into()),
            code: code.into(),
            hint: None,
            retry_after: None,
        }))
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(visible::told(&hint.into()));
        self
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", what)
    }

    /// Something in the body, the query or the path is not as it must be.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not-allowed", detail)
    }

    pub(crate) fn not_signed_in() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "not-signed-in",
            "you are not signed in, or the session has ended",
        )
        .hint("sign in again")
    }

    /// The store, the ledger or we ourselves failed.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).hint("see the gateway's log")
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    pub(crate) fn title(&self) -> &str {
        &self.0.title
    }

    pub(crate) fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    #[must_use]
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.title = status.canonical_reason().unwrap_or("Problem").into();
        self.0.status = status.as_u16();
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Missing { .. } => Self::not_found(error.to_string()),
            EngineError::Contended { .. } => Self::new(StatusCode::CONFLICT, "conflict", error.to_string()),
            EngineError::NotRecordable(_) => {
                tracing::error!(error = %record::chain(&error), "a change could not be recorded");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-recordable", error.to_string())
                    .hint("nothing was changed; try again, and see the gateway's log")
            }
            EngineError::Read(_) | EngineError::NotCanonical(_) => {
                tracing::error!(error = %record::chain(&error), "a request could not be answered");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-readable", error.to_string())
                    .hint("see the gateway's log")
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        EngineError::from(error).into()
    }
}

impl From<countersign_engine::journal::JournalError> for Problem {
    fn from(error: countersign_engine::journal::JournalError) -> Self {
        EngineError::from(error).into()
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        use IdentityError as E;
        let (status, code) = match &error {
            E::NotSignedIn => return Self::not_signed_in(),
            E::NotFresh | E::SignedInLongAgo => (StatusCode::FORBIDDEN, "not-fresh"),
            E::NotAllowed { .. }
            | E::OwnGroups
            | E::OwnRole
            | E::OwnStandIn
            | E::Protected
            | E::SetHere(_) => (StatusCode::FORBIDDEN, "not-allowed"),
            E::UnknownPerson(_)
            | E::UnknownAgent(_)
            | E::UnknownCredential(_)
            | E::UnknownSession
            | E::UnknownDevice
            | E::UnknownProvider => (StatusCode::NOT_FOUND, "not-found"),
            E::UnknownGroup { .. }
            | E::BadText { .. }
            | E::BadEmail(_)
            | E::NoOwner
            | E::NotAnAgentKind
            | E::BadAbsence
            | E::ExpiresInThePast
            | E::UnreadableAnswer(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            E::BindingSpent => (StatusCode::GONE, "binding-spent"),
            E::UserBound | E::ChannelBound(_) => (StatusCode::CONFLICT, "bound-already"),
            E::EmailTaken(_) | E::NameTaken(_) | E::PasskeyTaken | E::AccountTaken | E::SubscriptionTaken => {
                (StatusCode::CONFLICT, "taken")
            }
            E::PersonDisabled(_) | E::AgentDisabled(_) => (StatusCode::CONFLICT, "disabled"),
            E::Described(_) => (StatusCode::CONFLICT, "described"),
            E::TooManyPasskeys(_)
            | E::TooManyWorkloads(_)
            | E::TooManyReading(_)
            | E::TooManySubscriptions(_) => (StatusCode::CONFLICT, "too-many"),
            E::CannotStandIn(_) => (StatusCode::CONFLICT, "cannot-stand-in"),
            E::Conflict => (StatusCode::CONFLICT, "conflict"),
            E::ChangedSince => (StatusCode::PRECONDITION_FAILED, "changed-since"),
            E::ProviderAway => (StatusCode::SERVICE_UNAVAILABLE, "provider-away"),
            E::SignInOver => (StatusCode::CONFLICT, "sign-in-over"),
            E::NotVouched(_) => (StatusCode::UNAUTHORIZED, "not-vouched"),
            E::NotInvited => (StatusCode::FORBIDDEN, "not-invited"),
            E::LinkFirst => (StatusCode::CONFLICT, "link-first"),
            E::ProviderFirst => (StatusCode::UNAUTHORIZED, "provider-first"),
            E::LinkSpent => (StatusCode::GONE, "link-spent"),
            E::TooManyAttempts { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-many-attempts"),
            E::NoRelyingParty => (StatusCode::CONFLICT, "no-relying-party"),
            E::CeremonyOver => (StatusCode::CONFLICT, "ceremony-over"),
            E::Passkey(_) | E::UnknownPasskey | E::ClonedPasskey => {
                (StatusCode::UNAUTHORIZED, "passkey-refused")
            }
            E::Write(source) => {
                tracing::error!(error = %error, source = %source, "the directory could not be changed");
                (StatusCode::SERVICE_UNAVAILABLE, "not-recordable")
            }
            E::Read(source) => {
                tracing::error!(error = %error, source = %source, "the directory could not be read");
                (StatusCode::SERVICE_UNAVAILABLE, "not-readable")
            }
        };
        let mut problem = Self::new(status, code, error.to_string());
        problem.0.hint = error.hint();
        if let E::TooManyAttempts { retry_after } = error {
            problem.0.retry_after = Some(retry_after);
        }
        problem
    }
}

impl From<VoteRefused> for Problem {
    fn from(refused: VoteRefused) -> Self {
        let hint = match &refused {
            VoteRefused::Rule(Refused::TooWeak { .. }) => Some("register a passkey, and vote with it"),
            VoteRefused::Ballot | VoteRefused::Rule(Refused::OldRound { .. }) => {
                Some("open the approval again and look at what changed")
            }
            VoteRefused::StepUp(_) => Some("sign in again at your provider, from the approval's page"),
            VoteRefused::ReviewOpen(_) => Some("ask somebody else who decides to review it"),
            VoteRefused::Rule(_)
            | VoteRefused::NotEligible(_)
            | VoteRefused::NotAPerson
            | VoteRefused::ReasonMissing
            | VoteRefused::GlassReasonMissing
            | VoteRefused::NobodyTold => None,
        };
        let problem = Self::new(StatusCode::CONFLICT, refused.code(), refused.to_string());
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

impl From<ReviewRefused> for Problem {
    fn from(refused: ReviewRefused) -> Self {
        let (status, code) = match &refused {
            ReviewRefused::NotOpen => (StatusCode::CONFLICT, "out-of-order"),
            ReviewRefused::Own | ReviewRefused::NotEligible(_) => (StatusCode::FORBIDDEN, "not-eligible"),
        };
        Self::new(status, code, refused.to_string())
    }
}

/// A step that the approval's state does not allow.
pub(crate) fn refused(rule: &Refused) -> Problem {
    Problem::new(StatusCode::CONFLICT, rule_code(rule), rule.to_string())
}
