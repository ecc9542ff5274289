//! Documents of others, over HTTP: a set of keys, what an issuer says of itself, a token for a code. Verified TLS, or a
//! loopback address; one answer of bounded size in bounded time; no redirect is followed.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{fmt, net::IpAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use url::{Host, Url};
use zeroize::Zeroizing;

/// The largest document that is read.
const LARGEST: usize = 512 << 10;
/// From the first packet to the last byte.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Why a document is not here. It names no address and holds nothing that was sent.
#[derive(Debug, thiserror::Error)]
pub enum OutwardError {
    #[error("its server cannot be reached: {0}")]
    Unreachable(std::io::Error),
    #[error("the address has no host")]
    NoHost,
    #[error("its server did not answer within {} s", TIME_LIMIT.as_secs())]
    Slow,
    #[error("its server's answer cannot be read")]
    Unreadable(#[source] hyper::Error),
    #[error("its server answered {0}")]
    Status(StatusCode),
    #[error("its server's answer is larger than {LARGEST} bytes, or ended early")]
    Body,
}

/// A secret that others know this gateway by, or it them; read when it is used.
#[derive(Clone)]
pub struct SecretSource(Arc<Reader>);

type Reader = dyn Fn() -> Result<Zeroizing<String>, String> + Send + Sync;

impl SecretSource {
    /// Where to read it; what goes wrong says where, never what.
    pub fn new(read: impl Fn() -> Result<Zeroizing<String>, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(crate) fn read(&self) -> Result<Zeroizing<String>, String> {
        (self.0)()
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SecretSource(…)")
    }
}

/// A way to the servers of one issuer.
#[derive(Clone)]
pub struct Outward {
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for Outward {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Outward")
    }
}

impl Outward {
    /// Believes the public authorities, or only those in a PEM file.
    pub fn new(authorities: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match authorities {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(file) => {
                let unreadable =
                    |error: rustls_pki_types::pem::Error| format!("`{}`: {error}", file.display());
                for authority in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
                    roots.add(authority.map_err(unreadable)?).map_err(|error| error.to_string())?;
                }
                if roots.is_empty() {
                    return Err(format!("`{}` holds no certificate", file.display()));
                }
            }
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(config) })
    }

    pub(crate) async fn get(&self, url: &Url) -> Result<Bytes, OutwardError> {
        match self.call(Method::GET, url, &[], Bytes::new()).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => Err(OutwardError::Status(status)),
        }
    }

    /// One request on a connection of its own; what comes back is read whole. No redirect is followed.
    pub async fn call(
        &self,
        method: Method,
        url: &Url,
        headers: &[(header::HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), OutwardError> {
        let exchange = async {
            let host = url.host().ok_or(OutwardError::NoHost)?;
            let port = url.port_or_known_default().ok_or(OutwardError::NoHost)?;
            let stream = match host {
                Host::Domain(name) => TcpStream::connect((name, port)).await,
                Host::Ipv4(address) => TcpStream::connect((IpAddr::V4(address), port)).await,
                Host::Ipv6(address) => TcpStream::connect((IpAddr::V6(address), port)).await,
            };
            let stream = stream.map_err(OutwardError::Unreachable)?;
            let request = request(method, url, headers, body).ok_or(OutwardError::NoHost)?;
            if url.scheme() == "https" {
                let name = match host {
                    Host::Domain(name) => ServerName::try_from(name.to_owned()).ok(),
                    Host::Ipv4(address) => Some(ServerName::IpAddress(IpAddr::V4(address).into())),
                    Host::Ipv6(address) => Some(ServerName::IpAddress(IpAddr::V6(address).into())),
                };
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls));
                let stream = connector.connect(name.ok_or(OutwardError::NoHost)?, stream).await;
                exchange(stream.map_err(OutwardError::Unreachable)?, request).await
            } else {
                exchange(stream, request).await
            }
        };
        tokio::time::timeout(TIME_LIMIT, exchange).await.map_err(|_| OutwardError::Slow)?
    }
}

/// Whether a secret or a key may travel there: encrypted, or on this machine alone.
pub fn is_safe(url: &Url) -> bool {
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    bare && match url.scheme() {
        "https" => true,
        "http" => url.host().is_some_and(|host| crate::settings::is_loopback(&host)),
        _ => false,
    }
}

fn request(
    method: Method,
    url: &Url,
    headers: &[(header::HeaderName, HeaderValue)],
    body: Bytes,
) -> Option<Request<Full<Bytes>>> {
    let authority = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str()?),
        None => url.host_str()?.to_owned(),
    };
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut request = Request::builder().method(method).uri(path);
    let own = [
        (header::HOST, HeaderValue::from_str(&authority).ok()?),
        (header::ACCEPT, HeaderValue::from_static("application/json")),
        (header::USER_AGENT, HeaderValue::from_static("countersign")),
    ];
    for (name, value) in own.iter().chain(headers) {
        request = request.header(name, value);
    }
    request.body(Full::new(body)).ok()
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), OutwardError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let opened = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(OutwardError::Unreadable)?;
    let driver = Abort(tokio::spawn(async move {
        // What goes wrong on it is seen by whoever waits for the answer.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(OutwardError::Unreadable)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|_| OutwardError::Body)?;
    drop(driver);
    Ok((status, body.to_bytes()))
}

/// Ends the connection with whoever waits for it.
struct Abort(tokio::task::JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}
