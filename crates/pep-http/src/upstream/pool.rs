//! A target's connections. One is taken before anything is authorized, so that a target that cannot be reached
//! costs no grant. Nothing is ever sent again by itself.

use super::{http1::Http1, send::UpBody};
use crate::{config::LimitsSection, wire::Wire};
use countersign_engine::port::upstream::{Failed, Sent};
use countersign_pep::{Credential, Origin};
use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::TlsConnector;

/// How long a connection may rest. Shorter than targets usually allow, so that one is seldom closed under us.
const RESTS: Duration = Duration::from_secs(20);
const MOST_IDLE: usize = 256;

/// The way to one target, the same for those who wait and for what people approved.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) origin: Origin,
    pub(crate) credential: Option<Credential>,
    /// The name in its certificate.
    pub(crate) server_name: String,
    pub(crate) connector: Arc<ClientConfig>,
    pub(crate) limits: LimitsSection,
    pub(crate) body_limit: usize,
    pub(crate) keep_limit: usize,
    pub(crate) pool: Pool,
}

/// A connection that can take one request now.
pub(crate) enum Connection {
    Http1(Box<Http1>),
    Http2(http2::SendRequest<UpBody>),
}

/// What became of handing a request to a connection.
pub(crate) enum Handed {
    Answered(Response<Incoming>),
    /// Given back whole: not a byte of it was written.
    Back(Box<Request<UpBody>>),
    Broken(hyper::Error),
}

/// The connections of one target.
#[derive(Default)]
pub(crate) struct Pool {
    /// The longest at rest first.
    idle: Mutex<VecDeque<(Box<Http1>, Instant)>>,
    shared: Mutex<Option<http2::SendRequest<UpBody>>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pool").field("idle", &self.idle.lock().len()).finish_non_exhaustive()
    }
}

impl Pool {
    /// A connection at rest, or a new one.
    pub(crate) async fn take(&self, target: &Way) -> Result<Connection, Failed> {
        match self.rested() {
            Some(connection) => Ok(connection),
            None => self.dial(target).await,
        }
    }

    /// A new connection.
    pub(crate) async fn dial(&self, target: &Way) -> Result<Connection, Failed> {
        let limit = target.limits.connect.0;
        // Boxed: what TLS needs room for would otherwise be part of every request's state, dialled or not.
        let dialled = tokio::time::timeout(limit, Box::pin(dial(target))).await;
        let connection = dialled.unwrap_or_else(|_| Err(format!("no connection within {limit:?}")));
        let connection = connection.map_err(|why| Failed { sent: Sent::No, why })?;
        if let Connection::Http2(sender) = &connection {
            *self.shared.lock() = Some(sender.clone());
        }
        Ok(connection)
    }

    /// Takes a connection back that can take another request.
    pub(crate) fn put(&self, connection: Connection) {
        if let Connection::Http1(line) = connection {
            let mut idle = self.idle.lock();
            if idle.len() < MOST_IDLE {
                idle.push_back((line, Instant::now()));
            }
        }
    }

    fn rested(&self) -> Option<Connection> {
        let shared = self.shared.lock().clone();
        if let Some(sender) = shared.filter(|sender| !sender.is_closed() && sender.is_ready()) {
            return Some(Connection::Http2(sender));
        }
        // The last one back is the least likely to be closed, and the others may grow old and go.
        loop {
            let (mut line, _) = {
                let mut idle = self.idle.lock();
                let now = Instant::now();
                while idle.front().is_some_and(|(_, since)| now.duration_since(*since) >= RESTS) {
                    idle.pop_front();
                }
                idle.pop_back()?
            };
            if line.is_quiet() {
                return Some(Connection::Http1(line));
            }
        }
    }
}

impl Connection {
    /// Hands a request over, where HTTP/2 is spoken.
    pub(crate) async fn send(&mut self, request: Request<UpBody>) -> Handed {
        let Self::Http2(sender) = self else { return Handed::Back(Box::new(request)) };
        match sender.try_send_request(request).await {
            Ok(response) => Handed::Answered(response),
            Err(mut error) => match error.take_message() {
                Some(request) => Handed::Back(Box::new(request)),
                None => Handed::Broken(error.into_error()),
            },
        }
    }
}

/// Connects, and proves who is there.
async fn dial(target: &Way) -> Result<Connection, String> {
    let stream = target.origin.dial().await?;
    secure(target, stream).await
}

async fn secure(target: &Way, stream: TcpStream) -> Result<Connection, String> {
    let http1 = |wire| Connection::Http1(Box::new(Http1::new(wire, target.limits.response_head.0)));
    if !target.origin.tls {
        return Ok(http1(Wire::Plain(stream)));
    }
    let name = ServerName::try_from(target.server_name.clone()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(target.connector.clone());
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| format!("`{}` is not trusted: {error}", target.origin.authority))?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return http2(stream).await;
    }
    Ok(http1(Wire::Tls(Box::new(stream.into()))))
}

async fn http2<T>(stream: T) -> Result<Connection, String>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_header_list_size(64 << 10).adaptive_window(true);
    let (sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Connection::Http2(sender))
}
