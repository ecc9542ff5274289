//! Towards servers: connections, the credential, and the exchange itself. Only a clearance's bytes go out, only to the
//! configured endpoint, and never twice; no redirect is followed.
//!
//! What the gateway says to a server by itself, and no agent can put words into: that a session is used from now on and
//! has ended, that a call is cancelled, the refusal of what the server asks, and the question which tools there are.

pub(crate) mod exchange;
mod sse;
pub(crate) mod talk;

use crate::config::LimitsSection;
use async_trait::async_trait;
use bytes::Bytes;
use countersign_core::Action;
use countersign_engine::port::upstream::{Failed, Sent, StoredExchange, Upstream};
use countersign_pep::{SecretError, SecretRef};
use http::{HeaderName, HeaderValue, Method, Request, header};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};
use talk::Talk;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// How many connections rest for the next message.
const MOST_IDLE: usize = 64;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What stands in `Host`.
    pub(crate) authority: String,
    /// Path and query of the endpoint.
    pub(crate) location: String,
    pub(crate) connect_to: Option<SocketAddr>,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(out, "{scheme}://{}{}", self.authority, self.location)
    }
}

/// A header with a secret in it, read when it is used and never shown.
pub(crate) struct Credential {
    header: HeaderName,
    reference: SecretRef,
    before: String,
    after: String,
}

impl Credential {
    pub(crate) fn new(header: HeaderName, reference: SecretRef, before: &str, after: &str) -> Self {
        Self { header, reference, before: before.into(), after: after.into() }
    }

    fn value(&self) -> Result<HeaderValue, SecretError> {
        let whole = Zeroizing::new([&*self.before, &*self.reference.secret()?, &*self.after].concat());
        let value = HeaderValue::from_str(&whole);
        let mut value = value.map_err(|_| self.reference.error("cannot stand in a header"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Credential({}: {})", self.header, self.reference)
    }
}

/// All there is to know for talking to a server.
#[derive(Debug)]
pub(crate) struct Way {
    origin: Origin,
    credential: Option<Credential>,
    connector: Arc<ClientConfig>,
    server_name: String,
    connect: Duration,
    pub(crate) idle: Duration,
    pub(crate) answer_limit: usize,
    resting: Mutex<Vec<Connection>>,
}

/// An open connection on which nothing is under way.
pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// A session as its server knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) session: Option<HeaderValue>,
    /// The protocol version that was agreed on; `None` before.
    pub(crate) version: Option<&'static str>,
}

impl Way {
    pub(crate) fn new(
        origin: Origin,
        credential: Option<Credential>,
        connector: Arc<ClientConfig>,
        server_name: String,
        limits: &LimitsSection,
        answer_limit: usize,
    ) -> Self {
        let (connect, idle, resting) = (limits.connect.0, limits.idle.0, Mutex::default());
        Self { origin, credential, connector, server_name, connect, idle, answer_limit, resting }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn check_credential(&self) -> Result<(), SecretError> {
        self.credential.as_ref().map_or(Ok(()), |credential| credential.value().map(drop))
    }

    /// A connection to the server. Nothing is sent.
    pub(crate) async fn take(&self) -> Result<Connection, Failed> {
        loop {
            let Some(mut resting) = self.resting.lock().pop() else { break };
            // One that the server has closed meanwhile says so here.
            if !resting.is_closed() && resting.ready().await.is_ok() {
                return Ok(resting);
            }
        }
        match timeout(self.connect, self.dial()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(why)) => Err(Failed { sent: Sent::No, why }),
            Err(_) => Err(Failed { sent: Sent::No, why: "the server did not answer in time".into() }),
        }
    }

    /// Takes a connection back whose last answer was read whole.
    pub(crate) fn put(&self, connection: Connection) {
        let mut resting = self.resting.lock();
        if !connection.is_closed() && resting.len() < MOST_IDLE {
            resting.push(connection);
        }
    }

    /// Resolves once, connects to what was resolved, and proves who is there.
    async fn dial(&self) -> Result<Connection, String> {
        let origin = &self.origin;
        let addresses: Vec<_> = match origin.connect_to {
            Some(address) => vec![address],
            None => lookup_host((origin.host.as_str(), origin.port))
                .await
                .map_err(|error| format!("`{}` does not resolve: {error}", origin.host))?
                .collect(),
        };
        let mut last = format!("`{}` resolves to no address", origin.host);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Without it a small message could wait for an acknowledgement; no reason to fail.
                    let _ = stream.set_nodelay(true);
                    return self.secured(stream).await;
                }
                Err(error) => last = format!("no connection to `{}`: {error}", origin.authority),
            }
        }
        Err(last)
    }

    async fn secured(&self, stream: TcpStream) -> Result<Connection, String> {
        if !self.origin.tls {
            return shake(stream).await;
        }
        let name = ServerName::try_from(self.server_name.clone()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(Arc::clone(&self.connector)).connect(name, stream).await;
        shake(stream.map_err(|error| format!("`{}` is not trusted: {error}", self.origin.authority))?).await
    }

    /// A request of this method on the server's endpoint, with the gateway's own headers and nobody else's.
    fn request(&self, method: Method, peer: &Peer, body: Bytes) -> Result<Request<Full<Bytes>>, Failed> {
        let unsent = |why: String| Failed { sent: Sent::No, why };
        let mut request = Request::builder()
            .method(method)
            .uri(&self.origin.location)
            .header(header::HOST, &self.origin.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::USER_AGENT, "countersign");
        if let Some(session) = &peer.session {
            request = request.header(SESSION, session);
        }
        if let Some(version) = peer.version {
            request = request.header(VERSION, version);
        }
        if let Some(credential) = &self.credential {
            let value = credential.value().map_err(|error| unsent(error.to_string()))?;
            request = request.header(&credential.header, value);
        }
        request.body(Full::new(body)).map_err(|error| unsent(error.to_string()))
    }

    /// Sends one message and waits for the head of the answer.
    pub(crate) async fn post(
        &self,
        connection: Connection,
        peer: &Peer,
        message: Bytes,
    ) -> Result<Talk, Failed> {
        self.exchange(connection, self.request(Method::POST, peer, message)?).await
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
    ) -> Result<Talk, Failed> {
        let maybe = |why: String| Failed { sent: Sent::Maybe, why };
        let answered = timeout(self.idle, connection.try_send_request(request)).await;
        let answered = answered.map_err(|_| maybe("the server did not answer in time".into()))?;
        let response = answered.map_err(|mut error| match error.take_message() {
            // It never left: the connection was closed before.
            Some(_) => Failed { sent: Sent::No, why: "the server closed the connection".into() },
            None => maybe(format!("the server was lost from sight: {}", error.into_error())),
        })?;
        Ok(Talk::new(response, connection, self.answer_limit))
    }

    /// Tells the server something of the gateway's own, which it answers with nothing.
    pub(crate) async fn tell(&self, peer: &Peer, message: String) -> Result<(), Failed> {
        let connection = self.take().await?;
        let talk = self.post(connection, peer, message.into()).await?;
        self.finish(talk).await;
        Ok(())
    }

    /// Ends a session at the server. A server that lets nobody end sessions says so, which is no failure.
    pub(crate) async fn end(&self, peer: &Peer) -> Result<(), Failed> {
        if peer.session.is_none() {
            return Ok(());
        }
        let connection = self.take().await?;
        let talk = self.exchange(connection, self.request(Method::DELETE, peer, Bytes::new())?).await?;
        self.finish(talk).await;
        Ok(())
    }

    /// Gives a connection back once nothing more comes on it.
    pub(crate) async fn finish(&self, mut talk: Talk) {
        if talk.drain(self.idle).await.is_ok() {
            self.put(talk.connection);
        }
    }
}

/// The header that names a session.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The header that names the protocol version.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

async fn shake<T>(stream: T) -> Result<Connection, String>
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

/// Messages run through their agents' own sessions alone, so nothing opens one for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct McpUpstream;

#[async_trait]
impl Upstream for McpUpstream {
    async fn connect(&self, _: &Action) -> Result<Box<dyn StoredExchange>, Failed> {
        let why = "a call runs in the session of the agent who comes for it: call `approval_wait`".into();
        Err(Failed { sent: Sent::No, why })
    }
}
