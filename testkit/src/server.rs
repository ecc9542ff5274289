//! A small HTTP server on loopback that answers as a test tells it to, and remembers what it was asked.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    service::service_fn,
    upgrade::{self, Upgraded},
};
use hyper_util::rt::TokioIo;
use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// How long something may take to come: longer than any channel waits before it tries again.
const COMES_WITHIN: Duration = Duration::from_mins(3);

/// A request, read whole.
pub type Asked = Request<Bytes>;
/// What answers requests.
pub type Answer = Arc<dyn Fn(&Asked) -> Response<Bytes> + Send + Sync>;

/// Stands in the extensions of an answer `101`: takes the connection over.
#[derive(Clone)]
pub(crate) struct Takes(pub(crate) Arc<dyn Fn(Upgraded) + Send + Sync>);

/// A server. Dropping it closes its port.
pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    /// How often it has answered.
    answered: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens on a port of the system's choice.
    pub async fn start(answer: Answer) -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), answer).await
    }

    /// Listens there.
    pub async fn start_at(address: SocketAddr, answer: Answer) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answered = watch::Sender::new(0);
        let task = tokio::spawn(serve(listener, answer, Arc::clone(&asked), answered.clone()));
        Ok(Self { address, asked, answered, task })
    }

    /// Such as `http://localhost:40123`.
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// The paths that were asked for so far, in order.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }

    /// What [`Self::ring`] rings, for others to ring.
    pub(crate) fn bell(&self) -> watch::Sender<u64> {
        self.answered.clone()
    }

    /// Something has changed without a call.
    pub(crate) fn ring(&self) {
        self.answered.send_modify(|count| *count += 1);
    }

    /// Looks behind each answer and ring, until this finds something; `None`: it never came.
    pub(crate) async fn comes<T>(&self, find: impl Fn() -> Option<T>) -> Option<T> {
        let mut answered = self.answered.subscribe();
        let found = async {
            loop {
                if let Some(found) = find() {
                    return Some(found);
                }
                answered.changed().await.ok()?;
            }
        };
        tokio::time::timeout(COMES_WITHIN, found).await.ok().flatten()
    }
}

/// Calls that a server does not answer as asked.
#[derive(Debug)]
pub(crate) struct Troubles<R> {
    /// Of the next ones, one after the other.
    pub(crate) next: VecDeque<R>,
    /// Of all, while it is there.
    pub(crate) down: Option<R>,
    /// Of so many that have this in their method, path or body.
    pub(crate) on: Option<(&'static str, R, usize)>,
}

impl<R> Default for Troubles<R> {
    fn default() -> Self {
        Self { next: VecDeque::new(), down: None, on: None }
    }
}

impl<R: Copy> Troubles<R> {
    /// That of this call.
    pub(crate) fn of(&mut self, asked: &Asked) -> Option<R> {
        self.down.or_else(|| self.next.pop_front()).or_else(|| self.of_part(asked))
    }

    fn of_part(&mut self, asked: &Asked) -> Option<R> {
        let (part, refusal, times) = self.on.as_mut()?;
        let call = format!("{} {}", asked.method(), asked.uri().path());
        let fits = call.contains(*part) || String::from_utf8_lossy(asked.body()).contains(*part);
        *times = times.checked_sub(usize::from(fits))?;
        fits.then_some(*refusal)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A JSON answer.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    listener: TcpListener,
    answer: Answer,
    asked: Arc<Mutex<Vec<String>>>,
    answered: watch::Sender<u64>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (answer, asked, answered) = (Arc::clone(&answer), Arc::clone(&asked), answered.clone());
        connections.spawn(async move {
            let service = service_fn(move |mut request: Request<Incoming>| {
                let (answer, asked, answered) = (Arc::clone(&answer), Arc::clone(&asked), answered.clone());
                async move {
                    let upgraded = upgrade::on(&mut request);
                    let (parts, body) = request.into_parts();
                    lock(&asked).push(parts.uri.path().to_owned());
                    let body =
                        body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                    let mut response = answer(&Request::from_parts(parts, body));
                    if let Some(Takes(takes)) = response.extensions_mut().remove::<Takes>() {
                        tokio::spawn(async move {
                            // Whoever goes away instead is not taken over.
                            if let Ok(connection) = upgraded.await {
                                takes(connection);
                            }
                        });
                    }
                    answered.send_modify(|count| *count += 1);
                    Ok::<_, Infallible>(response.map(Full::new))
                }
            });
            // A client that goes away is no fault of the server.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}
