//! A server over Streamable HTTP: connections, the credential, and the gateway's own headers. No redirect is followed.

use super::{Link, Outgoing, Peer, SESSION, VERSION, oauth::ClientCredentials, talk::Talk};
use crate::{
    asks::OVER,
    era,
    frame::{self, Message},
};
use bytes::Bytes;
use countersign_engine::port::upstream::{Failed, Sent};
use countersign_pep::{Credential, Origin, SecretError};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::{fmt, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// The header that names the event behind which a stream goes on.
pub(crate) const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// How many connections rest for the next message.
const MOST_IDLE: usize = 64;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) origin: Origin,
    /// Path and query.
    pub(crate) location: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.origin, self.location)
    }
}

/// An open connection on which nothing is under way.
pub(crate) type Line = SendRequest<Full<Bytes>>;

/// What the gateway shows a server of itself.
#[derive(Debug)]
pub(crate) enum Own {
    Nothing,
    Header(Credential),
    Token(Box<ClientCredentials>),
}

/// The way to a server over HTTP.
#[derive(Debug)]
pub(crate) struct Http {
    endpoint: Endpoint,
    credential: Own,
    connector: Arc<ClientConfig>,
    server_name: String,
    connect: Duration,
    resting: Mutex<Vec<Line>>,
}

impl Http {
    /// `server_name` is the name in the server's certificate; `connect` bounds connecting, TLS included.
    pub(crate) fn new(
        endpoint: Endpoint,
        credential: Own,
        connector: Arc<ClientConfig>,
        server_name: String,
        connect: Duration,
    ) -> Self {
        Self { endpoint, credential, connector, server_name, connect, resting: Mutex::default() }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn check_credential(&self) -> Result<(), SecretError> {
        match &self.credential {
            Own::Nothing => Ok(()),
            Own::Header(credential) => credential.value().map(drop),
            Own::Token(token) => token.check_secret(),
        }
    }

    pub(super) async fn take(&self) -> Result<Line, Failed> {
        loop {
            let Some(mut resting) = self.resting.lock().pop() else { break };
            // One that the server has closed meanwhile says so here.
            if !resting.is_closed() && resting.ready().await.is_ok() {
                return Ok(resting);
            }
        }
        match timeout(self.connect, self.dial()).await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(why)) => Err(Failed { sent: Sent::No, why }),
            Err(_) => Err(Failed { sent: Sent::No, why: "the server did not answer in time".into() }),
        }
    }

    pub(super) fn put(&self, line: Line) {
        let mut resting = self.resting.lock();
        if !line.is_closed() && resting.len() < MOST_IDLE {
            resting.push(line);
        }
    }

    /// Connects, and proves who is there.
    async fn dial(&self) -> Result<Line, String> {
        let stream = self.endpoint.origin.dial().await?;
        self.secured(stream).await
    }

    async fn secured(&self, stream: TcpStream) -> Result<Line, String> {
        secured(&self.endpoint.origin, &self.connector, &self.server_name, stream).await
    }

    /// A request of this method on the server's endpoint, with the gateway's own headers and nobody else's.
    async fn request(
        &self,
        method: Method,
        peer: &Peer,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failed> {
        let unsent = |why: String| Failed { sent: Sent::No, why };
        let mut request = Request::builder()
            .method(method)
            .uri(&self.endpoint.location)
            .header(header::HOST, &self.endpoint.origin.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::USER_AGENT, "countersign");
        if let Some(Link::Named(session)) = &peer.link {
            request = request.header(SESSION, session);
        }
        if let Some(version) = peer.version {
            request = request.header(VERSION, version);
        }
        if peer.is_later()
            && let Ok(Message::Request { method, params, .. }) = frame::read(&body)
        {
            for (name, value) in era::headers(method, params) {
                request = request.header(name, value);
            }
        }
        match &self.credential {
            Own::Nothing => {}
            Own::Header(credential) => {
                let value = credential.value().map_err(|error| unsent(error.to_string()))?;
                request = request.header(credential.header(), value);
            }
            Own::Token(token) => request = request.header(header::AUTHORIZATION, token.value().await?),
        }
        request.body(Full::new(body)).map_err(|error| unsent(error.to_string()))
    }

    pub(super) async fn post(
        &self,
        line: Line,
        peer: &Peer,
        message: Outgoing,
        idle: Duration,
        limit: usize,
    ) -> Result<Talk, Failed> {
        let mut request = self.request(Method::POST, peer, message.body).await?;
        if message.unless.is_some_and(|unless| unless.is_cancelled()) {
            self.put(line);
            return Err(Failed { sent: Sent::No, why: OVER.into() });
        }
        request.headers_mut().extend(message.mirrored);
        self.credited(line, request, idle, limit).await
    }

    /// Asks for the stream of what the server says by itself (2025-11-25, basic/transports, "Listening for Messages
    /// from the Server").
    pub(super) async fn listen(
        &self,
        line: Line,
        peer: &Peer,
        after: Option<&HeaderValue>,
        idle: Duration,
        limit: usize,
    ) -> Result<Talk, Failed> {
        let mut request = self.request(Method::GET, peer, Bytes::new()).await?;
        let headers = request.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(after) = after {
            headers.insert(LAST_EVENT, after.clone());
        }
        self.credited(line, request, idle, limit).await
    }

    /// Sends a request, and lets go of a token that the server does not take.
    async fn credited(
        &self,
        line: Line,
        request: Request<Full<Bytes>>,
        idle: Duration,
        limit: usize,
    ) -> Result<Talk, Failed> {
        let sent = request.headers().get(header::AUTHORIZATION).cloned();
        let talk = exchange(line, request, idle, limit).await?;
        if let (StatusCode::UNAUTHORIZED, Own::Token(token), Some(sent)) =
            (talk.status, &self.credential, sent)
        {
            token.refused(&sent).await;
        }
        Ok(talk)
    }

    pub(super) async fn end(
        &self,
        line: Line,
        peer: &Peer,
        idle: Duration,
        limit: usize,
    ) -> Result<Talk, Failed> {
        exchange(line, self.request(Method::DELETE, peer, Bytes::new()).await?, idle, limit).await
    }
}

async fn secured(
    origin: &Origin,
    connector: &Arc<ClientConfig>,
    server_name: &str,
    stream: TcpStream,
) -> Result<Line, String> {
    if !origin.tls {
        return shake(stream).await;
    }
    let name = ServerName::try_from(server_name.to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::clone(connector)).connect(name, stream).await;
    shake(stream.map_err(|error| format!("`{}` is not trusted: {error}", origin.authority))?).await
}

/// One request on a connection of its own, answered whole within so many bytes and so much time.
pub(super) async fn send_once(
    endpoint: &Endpoint,
    connector: &Arc<ClientConfig>,
    request: Request<Full<Bytes>>,
    limit: usize,
    within: Duration,
) -> Result<(StatusCode, Bytes), String> {
    let once = async {
        let stream = endpoint.origin.dial().await?;
        let mut line = secured(&endpoint.origin, connector, &endpoint.origin.host, stream).await?;
        let response = line.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    timeout(within, once)
        .await
        .unwrap_or_else(|_| Err(format!("`{}` did not answer in time", endpoint.origin)))
}

async fn exchange(
    mut line: Line,
    request: Request<Full<Bytes>>,
    idle: Duration,
    limit: usize,
) -> Result<Talk, Failed> {
    let maybe = |why: String| Failed { sent: Sent::Maybe, why };
    let answered = timeout(idle, line.try_send_request(request)).await;
    let answered = answered.map_err(|_| maybe("the server did not answer in time".into()))?;
    let response = answered.map_err(|mut error| match error.take_message() {
        // It never left: the connection was closed before.
        Some(_) => Failed { sent: Sent::No, why: "the server closed the connection".into() },
        None => maybe(format!("the server was lost from sight: {}", error.into_error())),
    })?;
    Ok(Talk::over_http(response, line, limit))
}

async fn shake<T>(stream: T) -> Result<Line, String>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shaken = http1::Builder::new().handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // How it ended is told by the exchange on it.
        let _ = connection.await;
    });
    Ok(sender)
}
