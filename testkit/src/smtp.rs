//! A mail server as strict as the real ones (RFC 5321): it takes nothing out of order, nothing without the TLS and the
//! credential that it demands, no line that is too long or ends otherwise than in CRLF, nothing beyond ASCII that was not
//! announced; and it refuses what a test tells it to.

pub mod mail;

mod session;

pub use mail::Mail;

use crate::server::lock;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{
    collections::{BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// Who may send.
pub const USER: &str = "countersign";
pub const PASSWORD: &str = "correct horse battery staple";
/// How long something may take to come: longer than any channel waits before it tries again.
const COMES_WITHIN: Duration = Duration::from_mins(3);

/// What keeps others from reading along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing, and no credential is asked for: a relay on the same machine.
    Plain,
    /// TLS has to be asked for, and then a credential given.
    StartTls,
    /// TLS from the first byte, and a credential.
    Implicit,
}

/// A certificate chain and its key, in PEM.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub chain: &'a str,
    pub key: &'a str,
}

/// Where the server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Connection,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// After all of a mail came.
    Content,
}

/// What somebody does who reads along before TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tampering {
    #[default]
    Nothing,
    /// Takes the offer of STARTTLS out.
    Strips,
    /// Puts a line behind the answer to STARTTLS.
    Injects,
}

/// What is wrong with the server.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Connections end as soon as they are made.
    pub down: bool,
    /// What somebody on the way does before TLS.
    pub on_the_way: Tampering,
    /// It knows nobody by these names.
    pub unknown: BTreeSet<String>,
    /// Of a sender and recipient that it has not seen yet it takes nothing the first time.
    pub greylists: bool,
    /// It takes no larger mails.
    pub largest: Option<usize>,
    /// Its answer to the next `MAIL` never ends a line.
    pub endless: bool,
    /// So many mails are taken, and the answer is lost.
    pub lost: u32,
    /// The next refusals, one by one.
    pub refusals: VecDeque<(At, u16)>,
}

/// A mail that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub from: String,
    pub to: String,
    /// It came under TLS.
    pub shielded: bool,
    pub user: Option<String>,
    /// As it came, without what was stuffed.
    pub data: String,
    pub mail: Mail,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) trouble: Trouble,
    pub(crate) seen: BTreeSet<(String, String)>,
    pub(crate) taken: Vec<Taken>,
    /// Each command's first word and what was answered; of `AUTH` nothing more.
    pub(crate) said: Vec<(String, u16)>,
}

#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) mode: Mode,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) changed: watch::Sender<u64>,
}

/// A server. Dropping it closes its port.
pub struct Smtp {
    address: SocketAddr,
    shared: Shared,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Smtp").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Smtp {
    /// Listens on a port of the system's choice. A mode with TLS needs somebody to be.
    pub async fn start(mode: Mode, identity: Option<Identity<'_>>) -> io::Result<Self> {
        let tls = identity.map(acceptor).transpose()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Shared { mode, tls, state: Arc::default(), changed: watch::Sender::new(0) };
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away is no fault of the server.
                let shared = serving.clone();
                connections.spawn(async move { drop(session::serve(stream, &shared).await) });
            }
        });
        Ok(Self { address, shared, task })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn trouble(&self, change: impl FnOnce(&mut Trouble)) {
        change(&mut lock(&self.shared.state).trouble);
    }

    /// What was taken so far, in order.
    pub fn taken(&self) -> Vec<Taken> {
        lock(&self.shared.state).taken.clone()
    }

    /// Commands and the codes they were answered with.
    pub fn said(&self) -> Vec<(String, u16)> {
        lock(&self.shared.state).said.clone()
    }

    /// Waits until what was taken is as it should be.
    pub async fn until(&self, what: &str, enough: impl Fn(&[Taken]) -> bool) -> Result<Vec<Taken>, String> {
        let mut changed = self.shared.changed.subscribe();
        let comes = async {
            loop {
                let taken = self.taken();
                if enough(&taken) {
                    return taken;
                }
                // The sender lives as long as this server.
                let _ = changed.changed().await;
            }
        };
        let come = timeout(COMES_WITHIN, comes).await;
        come.map_err(|_| {
            let taken: Vec<_> = self.taken().into_iter().map(|one| (one.to, one.mail.text)).collect();
            format!("{what} did not come; what came is {taken:?}, what was said {:?}", self.said())
        })
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(identity: Identity<'_>) -> io::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
