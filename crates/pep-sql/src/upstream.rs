//! The way to a database: where it is, how it proves itself, and how the gateway logs in to it. Clients never see any of
//! it but the answers of their own statements.

pub mod credential;
pub(crate) mod login;

use crate::{error::LoginError, message::Opening};
use async_trait::async_trait;
use bytes::{BufMut as _, BytesMut};
use countersign_core::Action;
use countersign_engine::port::upstream::{Failed, Sent, StoredExchange, Upstream};
use countersign_pep::keep_alive;
use credential::Credential;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::{fmt, io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// A connection to a database or a client, whatever carries it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("`{text}` names no port"))?;
        let port = port.parse().map_err(|_| format!("`{port}` is not a port"))?;
        let host = host.trim_matches(['[', ']']);
        if host.is_empty() {
            Err(format!("`{text}` names no host"))
        } else {
            Ok(Self::Tcp { host: host.into(), port })
        }
    }

    /// Whether nobody but this machine can listen in.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(out, "{host}:{port}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// All there is to know for logging in.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) address: Address,
    pub(crate) credential: Credential,
    /// `None`: without TLS.
    pub(crate) connector: Option<Arc<ClientConfig>>,
    pub(crate) server_name: Option<String>,
    pub(crate) connect: Duration,
    /// After how long without a sign of life the database is asked for one.
    pub(crate) keepalive: Duration,
}

impl Way {
    /// A connection on which nothing was said but what TLS needs.
    async fn open(&self) -> Result<Box<dyn Stream>, LoginError> {
        match &self.address {
            Address::Unix(path) => {
                Ok(Box::new(UnixStream::connect(path).await.map_err(LoginError::Connect)?))
            }
            Address::Tcp { host, port } => {
                let mut stream =
                    TcpStream::connect((host.as_str(), *port)).await.map_err(LoginError::Connect)?;
                // Without these small messages could wait for an acknowledgement, or a machine that is gone be waited
                // for; no reason to fail.
                let _ = stream.set_nodelay(true);
                let _ = keep_alive(&stream, self.keepalive);
                let Some(connector) = &self.connector else { return Ok(Box::new(stream)) };
                let mut ask = BytesMut::new();
                ask.put_u32(8);
                ask.put_u32(Opening::TLS);
                stream.write_all(&ask).await.map_err(LoginError::Connect)?;
                // Exactly one byte: what follows in clear text would not be the server's.
                if stream.read_u8().await.map_err(LoginError::Connect)? != b'S' {
                    return Err(LoginError::NoTls);
                }
                let name = ServerName::try_from(self.server_name.clone().unwrap_or_else(|| host.clone()));
                let name = name.map_err(|error| LoginError::Tls(io::Error::other(error)))?;
                let stream = TlsConnector::from(Arc::clone(connector)).connect(name, stream).await;
                Ok(Box::new(stream.map_err(LoginError::Tls)?))
            }
        }
    }

    /// Asks the database to cancel what a session runs; returns once it has taken note.
    pub(crate) async fn cancel(&self, process: i32, secret: &[u8]) -> Result<(), LoginError> {
        let asked = async {
            let mut stream = self.open().await?;
            let mut ask = BytesMut::new();
            ask.put_i32(i32::try_from(12 + secret.len()).unwrap_or(i32::MAX));
            ask.put_u32(Opening::CANCEL);
            ask.put_i32(process);
            ask.extend_from_slice(secret);
            stream.write_all(&ask).await.map_err(LoginError::Connect)?;
            stream.flush().await.map_err(LoginError::Connect)?;
            // It closes when the signal is sent, so that no later statement is hit.
            let mut rest = [0; 8];
            while matches!(stream.read(&mut rest).await, Ok(1..)) {}
            Ok(())
        };
        timeout(self.connect, asked).await.map_err(|_| LoginError::TooLate)?
    }
}

/// Statements run through their own sessions alone, so nothing opens one for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct PostgresUpstream;

#[async_trait]
impl Upstream for PostgresUpstream {
    async fn connect(&self, _: &Action) -> Result<Box<dyn StoredExchange>, Failed> {
        let why = "a statement runs in the session it was sent in: send it again to run it".into();
        Err(Failed { sent: Sent::No, why })
    }
}
