//! Listeners for agents: accepts connections, bounds them, and reads HTTP/1.1 through the strict edge and HTTP/2 as
//! it is. Nothing here looks into a request.

use crate::{
    bodies::Bodies,
    config::{HttpTarget, LimitsSection},
    error::ServeError,
    http1::{self, Line, RequestBody},
    session::Listener,
    wire::Wire,
};
use bytes::BytesMut;
use countersign_core::TargetName;
use countersign_engine::Gate;
use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::{convert::Infallible, future::poll_fn, io::Cursor, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long running exchanges may go on once the gateway stops.
const GRACE: Duration = Duration::from_secs(20);

/// A listener that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundListener {
    pub target: TargetName,
    pub addr: SocketAddr,
}

/// The listeners at work.
#[derive(Debug)]
pub struct Serving {
    listeners: Vec<BoundListener>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Serving {
    /// Where each target is reached, in the order they were given.
    pub fn listeners(&self) -> &[BoundListener] {
        &self.listeners
    }

    /// Stops listening; what runs may go on for a while. Returns when every connection is closed.
    pub async fn stop(&self, grace: Duration) {
        self.shutdown.cancel();
        // What is still under way then is cut off with the process, and recorded as unknown.
        let _ = timeout(grace, self.tasks.wait()).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Opens every listener, or none, and serves agents until the result is stopped or let go. Targets with the same
/// address share a listener and are told apart by the hosts they name.
pub async fn serve(
    gate: Arc<Gate>,
    targets: Vec<HttpTarget>,
    bodies: Arc<Bodies>,
) -> Result<Serving, ServeError> {
    let mut groups: Vec<Vec<Arc<HttpTarget>>> = Vec::new();
    for target in targets.into_iter().map(Arc::new) {
        let shares = |group: &&mut Vec<Arc<HttpTarget>>| {
            let same = |other: &Arc<HttpTarget>| other.listen == target.listen && target.listen.port() != 0;
            group.iter().any(same)
        };
        match groups.iter_mut().find(shares) {
            Some(group) => group.push(target),
            None => groups.push(vec![target]),
        }
    }
    let (mut listeners, mut opened) = (Vec::new(), Vec::new());
    let listener = |targets| Listener { gate: Arc::clone(&gate), bodies: Arc::clone(&bodies), targets };
    for group in groups {
        let Some(first) = group.first().cloned() else { continue };
        let name = first.classifier.surroundings().target.to_string();
        if group.len() > 1 && group.iter().any(|target| target.hosts.is_empty()) {
            return Err(ServeError::Shared { addr: first.listen });
        }
        let socket = TcpListener::bind(first.listen).await;
        let socket =
            socket.map_err(|source| ServeError::Bind { addr: first.listen, target: name.clone(), source })?;
        let addr = socket.local_addr().map_err(|source| ServeError::Address { target: name, source })?;
        let bound = |target: &Arc<HttpTarget>| BoundListener {
            target: target.classifier.surroundings().target.clone(),
            addr,
        };
        listeners.extend(group.iter().map(bound));
        opened.push((socket, first, Arc::new(listener(group))));
    }
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    for (socket, first, listener) in opened {
        let (shutdown, connections) = (shutdown.clone(), tasks.clone());
        tasks.spawn(async move { accept(socket, &first, listener, shutdown, connections).await });
    }
    tasks.close();
    Ok(Serving { listeners, shutdown, tasks })
}

async fn accept(
    socket: TcpListener,
    first: &HttpTarget,
    listener: Arc<Listener>,
    shutdown: CancellationToken,
    connections: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(first.limits.connections));
    let limits = first.limits.clone();
    let tls = first.acceptor.clone();
    loop {
        let accepted = async {
            let place = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((place, socket.accept().await))
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Some((place, Ok((stream, _)))) => {
                let (listener, limits) = (Arc::clone(&listener), limits.clone());
                let (tls, shutdown) = (tls.clone(), shutdown.clone());
                connections.spawn(async move {
                    serve_stream(stream, tls, listener, &limits, shutdown).await;
                    drop(place);
                });
            }
            Some((_, Err(error))) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Usually out of file descriptors: trying again at once would only spin.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            None => return,
        }
    }
}

async fn serve_stream(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    listener: Arc<Listener>,
    limits: &LimitsSection,
    shutdown: CancellationToken,
) {
    // Without it small answers could wait for an acknowledgement; no reason to fail.
    let _ = stream.set_nodelay(true);
    let wire = match tls {
        None => Wire::Plain(stream),
        Some(config) => {
            let accepted = timeout(limits.request_head.0, TlsAcceptor::from(config).accept(stream)).await;
            let Ok(Ok(stream)) = accepted else { return };
            Wire::Tls(Box::new(stream.into()))
        }
    };
    serve_wire(wire, listener, limits, shutdown).await;
}

async fn serve_wire(
    mut wire: Wire,
    listener: Arc<Listener>,
    limits: &LimitsSection,
    shutdown: CancellationToken,
) {
    let mut first = BytesMut::new();
    let spoken = timeout(limits.request_head.0, first_bytes(&mut wire, &mut first));
    let spoken = tokio::select! {
        () = shutdown.cancelled() => return,
        spoken = spoken => spoken,
    };
    match spoken {
        Ok(Some(Spoken::Http2)) => http2(wire, first, listener, limits, shutdown).await,
        Ok(Some(Spoken::Http1)) => http1(wire, first, &listener, limits, shutdown).await,
        Ok(None) | Err(_) => {}
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
}

/// Reads until it is clear what is spoken; `None` when the caller left before that.
async fn first_bytes(wire: &mut Wire, first: &mut BytesMut) -> Option<Spoken> {
    loop {
        if first.starts_with(PREFACE) {
            return Some(Spoken::Http2);
        }
        if !first.is_empty() && !PREFACE.starts_with(first) {
            return Some(Spoken::Http1);
        }
        if poll_fn(|cx| wire.poll_fill(cx, first, http1::ROOM)).await.ok()? == 0 {
            return None;
        }
    }
}

async fn http1(
    wire: Wire,
    first: BytesMut,
    listener: &Listener,
    limits: &LimitsSection,
    shutdown: CancellationToken,
) {
    let line = Line::shared(wire, first, limits);
    let mut talk = std::pin::pin!(http1::talk(&line, listener, limits));
    tokio::select! {
        // How a connection ended is told by the exchanges on it.
        () = talk.as_mut() => return,
        () = shutdown.cancelled() => line.lock().close(),
    }
    let _ = timeout(GRACE, talk).await;
}

async fn http2(
    wire: Wire,
    first: BytesMut,
    listener: Arc<Listener>,
    limits: &LimitsSection,
    shutdown: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let listener = Arc::clone(&listener);
        async move {
            let request = request.map(|body| RequestBody::Http2(Box::new(body)));
            Ok::<_, Infallible>(listener.answer(request).await.into_response())
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let head = u32::try_from(limits.head_size.0).unwrap_or(u32::MAX);
    builder.timer(TokioTimer::new()).max_header_list_size(head).max_concurrent_streams(100);
    builder.keep_alive_interval(limits.request_head.0).keep_alive_timeout(Duration::from_secs(20));
    let (read, write) = tokio::io::split(wire);
    let whole = tokio::io::join(Cursor::new(first).chain(read), write);
    let connection = builder.serve_connection(TokioIo::new(whole), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = timeout(GRACE, connection).await;
}
