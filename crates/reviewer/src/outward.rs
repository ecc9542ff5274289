//! One HTTP request to the one address a channel is configured with: verified TLS or this machine, an answer in
//! bounded time, and no redirect is ever followed.

use crate::backoff;
use bytes::Bytes;
use countersign_pep::Origin;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// Where a channel's requests go.
#[derive(Clone)]
pub(crate) struct Outward {
    pub(crate) origin: Origin,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) time_limit: Duration,
}

/// A connection, in TLS or not.
pub(crate) trait Line: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Line for S {}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Empty where nobody asked for it.
    pub(crate) body: Bytes,
}

impl std::fmt::Debug for Outward {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Outward({})", self.origin)
    }
}

impl Outward {
    /// Posts on a connection of its own and reads at most `most` bytes of the answer's body, none where that is 0; the
    /// error is one plain sentence that names no path and nothing that was sent.
    pub(crate) async fn post(
        &self,
        path: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        most: usize,
    ) -> Result<Answer, String> {
        self.send(Method::POST, path, headers, body, most).await
    }

    /// Posts to the first of these addresses that takes a connection, whatever else the name leads to, and reads nothing of the
    /// answer's body.
    pub(crate) async fn post_to(
        &self,
        addresses: &[SocketAddr],
        path: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<Answer, String> {
        let exchange = async {
            let stream = self.dial(addresses).await?;
            self.exchange(stream, Method::POST, path, headers, body, 0).await
        };
        self.in_time(exchange).await
    }

    /// The same with another method.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        most: usize,
    ) -> Result<Answer, String> {
        let exchange = async {
            let stream = self.origin.dial().await?;
            self.exchange(stream, method, path, headers, body, most).await
        };
        self.in_time(exchange).await
    }

    async fn in_time(
        &self,
        exchange: impl Future<Output = Result<Answer, String>>,
    ) -> Result<Answer, String> {
        let sent = tokio::time::timeout(self.time_limit, exchange).await;
        sent.map_err(|_| format!("`{}` did not answer within {} s", self.origin, self.time_limit.as_secs()))?
    }

    async fn dial(&self, addresses: &[SocketAddr]) -> Result<TcpStream, String> {
        let mut last = format!("`{}` has no address", self.origin);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = format!("no connection to `{}`: {error}", self.origin),
            }
        }
        Err(last)
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        method: Method,
        path: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        most: usize,
    ) -> Result<Answer, String> {
        let line = self.secured(stream).await?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.origin.authority)
            .header(header::USER_AGENT, concat!("countersign/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request =
            request.body(Full::new(body)).map_err(|_| "the request cannot be written".to_owned())?;
        self.converse(line, request, most).await
    }

    /// A connection there, in TLS where its address says so. Not bounded in time.
    pub(crate) async fn line(&self) -> Result<Box<dyn Line>, String> {
        self.secured(self.origin.dial().await?).await
    }

    async fn secured(&self, stream: TcpStream) -> Result<Box<dyn Line>, String> {
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.origin.host.clone());
        let name = name.map_err(|_| format!("`{}` is no name a certificate can have", self.origin.host))?;
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| format!("no TLS with `{}`: {error}", self.origin))?))
    }

    async fn converse(
        &self,
        line: Box<dyn Line>,
        request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<Answer, String> {
        let broken = |_| format!("`{}` ended the connection before it answered", self.origin);
        let opened = hyper::client::conn::http1::handshake(TokioIo::new(line)).await;
        let (mut sender, connection) = opened.map_err(broken)?;
        let driver = Abort(tokio::spawn(async move {
            // What goes wrong on it is seen by whoever waits for the answer.
            let _ = connection.await;
        }));
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = if most == 0 {
            Bytes::new()
        } else {
            let read = Limited::new(body, most).collect().await;
            read.map_err(|_| format!("the answer of `{}` is cut off or too long", self.origin))?.to_bytes()
        };
        drop(driver);
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3), up to a bound. A date is not read: our clocks may differ.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(backoff::WISH))
}

/// Ends the connection with whoever waits for it.
struct Abort(tokio::task::JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}
