//! What every endpoint demands before it knows what it is asked: the right host and origin, a known agent, one readable
//! message whose head and body agree. What does not fit is refused here and counted.

use super::{Ended, audience, cannot_go_on, head, one, refused};
use crate::{
    config::{Front, Resource},
    era::{self, Declared, Mismatch},
    frame::{self, Answer, Message},
    method::VERSIONS,
    reply::{self, code},
    session::{Session, Sessions},
    stream::{self, Body},
    upstream::{SESSION, VERSION},
};
use bytes::Bytes;
use countersign_core::{ClientCertificate, RefusalCode, Requester, TargetName};
use countersign_engine::{Gate, port::identity::Presented, record};
use countersign_pep::bearer;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, value::RawValue};
use std::sync::Arc;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Why an answer is not taken.
pub(crate) const UNASKED: &str = "nothing was asked that this could answer";

/// One endpoint's way in.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(crate) gate: Arc<Gate>,
    pub(crate) front: Front,
    /// Whose refusals are counted; `None` where several servers are behind it.
    pub(crate) target: Option<TargetName>,
}

/// A request whose sender is known.
pub(crate) struct Letter {
    pub(crate) requester: Requester,
    /// The protocol version that its head names, if it does.
    pub(crate) version: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) shown: Shown,
    pub(crate) wish: Wish,
}

/// What a request is for.
pub(crate) enum Wish {
    Says(Bytes),
    /// Its session is to end.
    Ends,
    /// It wants to hear what the server says by itself (2025-11-25, basic/transports).
    Listens,
}

/// By what its sender was known, to be looked at again while it is served for long.
pub(crate) enum Shown {
    Token(Zeroizing<String>),
    Certificate(Arc<ClientCertificate>),
    Nothing,
}

/// A message, once head and body agree.
pub(crate) enum Told<'b> {
    Request {
        id: &'b RawValue,
        method: &'b str,
        params: Option<&'b RawValue>,
        /// What it declares, where it is of the later era.
        declared: Option<Declared>,
        version: Option<&'static str>,
    },
    Notification {
        method: &'b str,
        params: Option<&'b RawValue>,
        version: Option<&'static str>,
    },
    /// An answer to something that the server asked.
    Answer {
        id: &'b RawValue,
        answer: Answer<'b>,
        version: Option<&'static str>,
    },
    /// A notification of the later era, in which nothing is noted.
    Nothing,
}

impl Entrance {
    /// Reads a request up to its body; what cannot go on has its answer.
    pub(crate) async fn read(&self, request: Request<Incoming>) -> Result<Letter, Ended> {
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        if let Err((status, why)) = head::here(&self.front, request.headers(), authority) {
            return Err(self.malformed(status, why).await);
        }
        if request.uri().query().is_some() {
            return Err(self.malformed(StatusCode::BAD_REQUEST, "the endpoint takes no query").await);
        }
        if let Some(resource) = &self.front.resource
            && request.uri().path() == resource.path
        {
            return Err(metadata(request.method(), resource));
        }
        let client = request.extensions().get::<Arc<ClientCertificate>>().cloned();
        let requester = self.authenticate(request.headers(), client.as_deref()).await?;
        let version = match one(request.headers(), &VERSION) {
            Ok(version) => version.map(str::to_owned),
            Err(why) => return Err(self.malformed(StatusCode::BAD_REQUEST, why).await),
        };
        let session = match one(request.headers(), &SESSION) {
            Ok(session) => session.map(str::to_owned),
            Err(why) => return Err(self.malformed(StatusCode::BAD_REQUEST, why).await),
        };
        let is_earlier = !era::is_modern(version.as_deref());
        let (parts, body) = request.into_parts();
        let headers = parts.headers;
        let shown = shown(&headers, client);
        let fits = match parts.method {
            Method::POST => head::speaks(&headers),
            Method::GET if is_earlier => head::listens(&headers),
            Method::DELETE if is_earlier => Ok(()),
            _ => return Err(not_allowed()),
        };
        if let Err((status, why)) = fits {
            return Err(self.malformed(status, why).await);
        }
        let wish = match parts.method {
            Method::POST => Wish::Says(self.body(body).await?),
            Method::GET => Wish::Listens,
            _ => Wish::Ends,
        };
        Ok(Letter { requester, version, session, headers, shown, wish })
    }

    /// Whether a sender that was let in would be let in again as the same, by what it showed then.
    pub(crate) async fn knows(&self, requester: &Requester, shown: &Shown) -> bool {
        let presented = match shown {
            Shown::Token(token) => Presented::Bearer(token),
            Shown::Certificate(client) => Presented::Certificate(client),
            Shown::Nothing => Presented::Nothing,
        };
        self.gate.authenticate(presented).await.is_ok_and(|now| now.caller() == requester.caller())
    }

    /// Reads a body as one message that an agent may send.
    pub(crate) async fn message<'b>(
        &self,
        headers: &HeaderMap,
        version: Option<&str>,
        body: &'b [u8],
    ) -> Result<Told<'b>, Ended> {
        let message = match frame::read(body) {
            Ok(message) => message,
            Err(why) => return Err(self.malformed(StatusCode::BAD_REQUEST, &why.to_string()).await),
        };
        let known = version.and_then(|said| VERSIONS.into_iter().find(|known| *known == said));
        match message {
            Message::Request { id, method, params } => match era::read(headers, version, method, params) {
                Ok(declared) => Ok(Told::Request { id, method, params, declared, version: known }),
                Err(mismatch) => Err(self.mismatch(id.get(), &mismatch).await),
            },
            Message::Notification { .. } if version == Some(era::MODERN) => Ok(Told::Nothing),
            Message::Notification { .. } if version.is_some() && known.is_none() => {
                Err(self.mismatch("null", &Mismatch::unsupported(version)).await)
            }
            Message::Notification { method, params } => {
                Ok(Told::Notification { method, params, version: known })
            }
            // In the later era nothing is asked in this way.
            Message::Response { .. } if version.is_some() && known.is_none() => {
                Err(self.malformed(StatusCode::BAD_REQUEST, UNASKED).await)
            }
            Message::Response { id, answer } => Ok(Told::Answer { id, answer, version: known }),
        }
    }

    async fn authenticate(
        &self,
        headers: &HeaderMap,
        client: Option<&ClientCertificate>,
    ) -> Result<Requester, Ended> {
        let bearer = one(headers, &header::AUTHORIZATION).ok().flatten().and_then(bearer);
        let presented = match (bearer, client) {
            (Some(token), _) => Presented::Bearer(token),
            // A token says more than the machine it comes from, and one that cannot be read is none.
            (None, Some(client)) if !headers.contains_key(header::AUTHORIZATION) => {
                Presented::Certificate(client)
            }
            (None, _) => Presented::Nothing,
        };
        let resource = self.front.resource.as_ref();
        let (code, why) = match self.gate.authenticate(presented).await {
            Ok(requester) => match (bearer, resource) {
                (Some(token), Some(resource)) if !audience::admits(token, &resource.uri) => {
                    let why =
                        format!("the token is not for `{}`; ask its issuer for one that is", resource.uri);
                    (RefusalCode::Unauthenticated, why)
                }
                _ => return Ok(requester),
            },
            Err(refusal) => (refusal.code, format!("{}; {}", refusal.reason, refusal.remedy)),
        };
        self.count(code).await?;
        let mut response = refused(StatusCode::UNAUTHORIZED, &why);
        let challenge = audience::challenge(resource, bearer.is_some());
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        Err(response)
    }

    async fn body(&self, body: Incoming) -> Result<Bytes, Ended> {
        let whole = Limited::new(body, self.front.message_limit).collect();
        match timeout(self.front.limits.request_head.0, whole).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                self.count(RefusalCode::TooLarge).await?;
                let why = format!("the message is larger than {} bytes", self.front.message_limit);
                Err(refused(StatusCode::PAYLOAD_TOO_LARGE, &why))
            }
            Ok(Err(_)) => Err(self.malformed(StatusCode::BAD_REQUEST, "the body ended early").await),
            Err(_) => Err(self.malformed(StatusCode::REQUEST_TIMEOUT, "the body took too long").await),
        }
    }

    pub(crate) async fn mismatch(&self, id: &str, mismatch: &Mismatch) -> Ended {
        match self.count(RefusalCode::Malformed).await {
            Ok(()) => {
                let told = reply::error(id, mismatch.code, &mismatch.why, &mismatch.data);
                stream::json(StatusCode::BAD_REQUEST, told)
            }
            Err(ended) => ended,
        }
    }

    /// A method that is not answered here.
    pub(crate) async fn no_method(
        &self,
        id: &RawValue,
        method: &str,
        why: &str,
        later: bool,
    ) -> Result<Response<Body>, Ended> {
        self.count(RefusalCode::Malformed).await?;
        let why = format!("`{method}` is refused: {why}");
        let told = reply::error(id.get(), code::NO_METHOD, &why, &Value::Null);
        let status = if later { StatusCode::NOT_FOUND } else { StatusCode::OK };
        Ok(stream::json(status, told))
    }

    /// The agent's own session of this id. Somebody else's is as unknown as one that never was.
    pub(crate) async fn session(
        &self,
        sessions: &Sessions,
        requester: &Requester,
        id: Option<String>,
        version: Option<&'static str>,
    ) -> Result<(Arc<Session>, String), Ended> {
        let Some(id) = id else {
            return Err(self
                .malformed(StatusCode::BAD_REQUEST, "the message names no session: send `initialize`")
                .await);
        };
        let found = sessions.find(&id, requester);
        if found.as_ref().is_some_and(|session| session.peer.is_gone()) {
            sessions.remove(&id);
        }
        let Some(session) = found.filter(|session| !session.peer.is_gone()) else {
            self.count(RefusalCode::Malformed).await?;
            return Err(refused(StatusCode::NOT_FOUND, "there is no such session: send `initialize`"));
        };
        if version.is_some_and(|version| version != session.version) {
            let why = "the protocol version is not the one this session agreed on";
            return Err(self.malformed(StatusCode::BAD_REQUEST, why).await);
        }
        Ok((session, id))
    }

    /// A request that is a message, and cannot be what it says it is.
    pub(crate) async fn invalid(&self, id: &RawValue, why: &str) -> Result<Response<Body>, Ended> {
        self.count(RefusalCode::Malformed).await?;
        Ok(stream::json(StatusCode::OK, reply::error(id.get(), code::INVALID_PARAMS, why, &Value::Null)))
    }

    pub(crate) async fn malformed(&self, status: StatusCode, why: &str) -> Ended {
        match self.count(RefusalCode::Malformed).await {
            Ok(()) => refused(status, why),
            Err(ended) => ended,
        }
    }

    pub(crate) async fn count(&self, code: RefusalCode) -> Result<(), Ended> {
        let target = self.target.clone();
        record::count(&self.gate, code, target).await.map_err(|error| cannot_go_on(&error))
    }
}

/// By what [`Entrance::authenticate`] knows a sender.
fn shown(headers: &HeaderMap, client: Option<Arc<ClientCertificate>>) -> Shown {
    let bearer = one(headers, &header::AUTHORIZATION).ok().flatten().and_then(bearer);
    match (bearer, client) {
        (Some(token), _) => Shown::Token(token.to_owned().into()),
        (None, Some(client)) => Shown::Certificate(client),
        (None, None) => Shown::Nothing,
    }
}

/// A method of HTTP that nothing here answers to.
pub(crate) fn not_allowed() -> Response<Body> {
    let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "use `POST`");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST, DELETE"));
    response
}

/// Where clients get tokens for this target (RFC 9728). Nobody has to be known to be told.
fn metadata(method: &Method, resource: &Resource) -> Response<Body> {
    if method != Method::GET {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "use `GET`");
    }
    stream::json(StatusCode::OK, resource.metadata.to_string())
}
