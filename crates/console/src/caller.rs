//! Who asks: a signed-in person, or the operator at the gateway's own socket. Nobody else reaches a handler that
//! asks for a [`Caller`], and nobody writes without proof that the page sent the request.

use crate::{
    console::{Console, actor},
    error::Problem,
    guard::{Door, bearer_of},
};
use axum::extract::{ConnectInfo, FromRequestParts};
use countersign_core::{GroupName, PersonId, decision::Approvers};
use countersign_engine::{
    rules::{self, OwnCause},
    vote,
};
use countersign_identity::{Author, Role, SessionInfo, Visitor, has_personal_shape};
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// The header a page's writes carry their CSRF token in.
pub(crate) const CSRF: &str = "x-countersign-csrf";

/// Somebody who may read everything. What else they may do depends on their role.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) author: Author,
    /// `None`: the operator.
    pub(crate) session: Option<SessionInfo>,
}

impl FromRequestParts<Console> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Problem> {
        if parts.extensions.get::<Door>() == Some(&Door::Operator) {
            return Ok(Self { author: Author::Operator, session: None });
        }
        if let Some(token) = reading_token(parts) {
            let session = console.directory().reading(token).await?;
            return Ok(Self { author: Author::Person(session.person), session: Some(session) });
        }
        let cookie = cookie(console, &parts.headers).ok_or_else(Problem::not_signed_in)?;
        let session = console.directory().session(cookie).await?;
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            let token = parts.headers.get(CSRF).and_then(|value| value.to_str().ok());
            if !token.is_some_and(|token| session.csrf_matches(token)) {
                let detail = "the request does not carry this session's CSRF token";
                return Err(Problem::new(StatusCode::FORBIDDEN, "csrf", detail).hint("load the page again"));
            }
        }
        Ok(Self { author: Author::Person(session.person), session: Some(session) })
    }
}

impl Caller {
    pub(crate) fn person(&self) -> Option<PersonId> {
        self.author.person()
    }

    /// `None`: the operator.
    pub(crate) fn role(&self) -> Option<Role> {
        self.session.as_ref().map(|session| session.role)
    }

    pub(crate) fn is_administrator(&self) -> bool {
        matches!(self.role(), None | Some(Role::Administrator))
    }

    /// Auditors only read.
    pub(crate) fn not_an_auditor(&self) -> Result<(), Problem> {
        match self.role() {
            Some(Role::Auditor) => Err(Problem::forbidden("auditors read, and change nothing")),
            None | Some(Role::Administrator | Role::Reviewer | Role::Operator) => Ok(()),
        }
    }

    pub(crate) fn administrator(&self) -> Result<(), Problem> {
        if self.is_administrator() {
            Ok(())
        } else {
            Err(Problem::forbidden("only administrators and the operator may do this"))
        }
    }

    /// Whoever may let things run again that somebody stopped.
    pub(crate) fn operates(&self) -> Result<(), Problem> {
        if self.is_administrator() || self.role() == Some(Role::Operator) {
            Ok(())
        } else {
            Err(Problem::forbidden("only administrators and those who operate the gateway may do this"))
        }
    }

    /// Only whoever is on the gateway's own machine.
    pub(crate) fn operator(&self) -> Result<(), Problem> {
        match self.session {
            None => Ok(()),
            Some(_) => Err(Problem::forbidden("only the operator may do this, at the gateway's own socket")),
        }
    }

    /// The session, for what only a browser does.
    pub(crate) fn signed_in(&self) -> Result<&SessionInfo, Problem> {
        let detail = "this needs a person's own session; the operator has none";
        self.session.as_ref().ok_or_else(|| Problem::forbidden(detail))
    }

    /// Refuses whoever would change who decides on what waits for their own side: who is in these groups, or what these
    /// people belong to and can do. The attempt is recorded.
    pub(crate) async fn may_change_deciders<const N: usize>(
        &self,
        console: &Console,
        mut groups: BTreeSet<GroupName>,
        people: [PersonId; N],
    ) -> Result<(), Problem> {
        let Some(by) = self.person() else { return Ok(()) };
        // Of oneself nothing changes in what others decide.
        let people: BTreeSet<PersonId> = people.into_iter().filter(|person| *person != by).collect();
        groups.extend(
            people.iter().filter_map(|person| console.directory().person(*person)).flat_map(|one| one.groups),
        );
        let own = rules::may_change_deciders(console.gate(), by, &Approvers { groups, people }).await?;
        own.map_err(own_cause)
    }

    /// The person who votes. Attempts by those who never do are recorded.
    pub(crate) async fn voter(
        &self,
        console: &Console,
        approval: countersign_core::ApprovalId,
    ) -> Result<PersonId, Problem> {
        let why = match (self.person(), self.role()) {
            (Some(person), Some(Role::Reviewer | Role::Administrator)) => return Ok(person),
            (_, Some(Role::Auditor)) => "auditors do not vote",
            (Some(_), Some(Role::Operator)) => "whoever operates the gateway does not vote",
            (None, _) | (_, None) => "the operator does not vote",
        };
        vote::attempted(console.gate(), approval, actor(self.author), why).await?;
        Err(Problem::forbidden(why))
    }
}

/// Why whoever has an interest in it does not change what decides.
pub(crate) fn own_cause(own: OwnCause) -> Problem {
    let problem = Problem::new(StatusCode::FORBIDDEN, "requester-side", own.to_string());
    problem.hint("ask an administrator who has no part in it, or wait until it is decided")
}

/// The token of a person's own program, where it may be presented: to read from the API, and to sign itself out.
pub(crate) fn reading_token(parts: &Parts) -> Option<&str> {
    let path = parts.uri.path();
    let reads = matches!(parts.method, Method::GET | Method::HEAD) && path.starts_with("/api/v1/");
    let leaves = parts.method == Method::DELETE && path == "/api/v1/session";
    bearer_of(&parts.headers).filter(|token| has_personal_shape(token) && (reads || leaves))
}

/// The session cookie of a request.
pub(crate) fn cookie<'h>(console: &Console, headers: &'h HeaderMap) -> Option<&'h str> {
    let sent = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    console.directory().settings().cookie().find(sent)
}

/// Whoever tries to sign in.
pub(crate) struct Knock {
    source: IpAddr,
    user_agent: Option<String>,
    cookie: Option<String>,
}

impl Knock {
    pub(crate) fn visitor(&self) -> Visitor<'_> {
        Visitor {
            source: self.source,
            user_agent: self.user_agent.as_deref(),
            cookie: self.cookie.as_deref(),
        }
    }
}

impl FromRequestParts<Console> for Knock {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Problem> {
        if parts.extensions.get::<Door>() == Some(&Door::Operator) {
            return Err(Problem::forbidden("nobody signs in at the operator's socket"));
        }
        let source = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|from| from.0.ip());
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self {
            source: source.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            user_agent: agent.map(ToOwned::to_owned),
            cookie: cookie(console, &parts.headers).map(ToOwned::to_owned),
        })
    }
}
