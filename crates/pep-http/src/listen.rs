//! Connections of agents: reads HTTP/1.1 through the strict edge and HTTP/2 as it is. Nothing here looks into a request.

use crate::{
    bodies::Bodies,
    config::{HttpTarget, LimitsSection},
    error::ServeError,
    http1::{self, Line, RequestBody},
    session::Listener,
    wire::Wire,
};
use bytes::BytesMut;
use countersign_engine::Gate;
use countersign_pep::{Doors, sharing, tls::Acceptor};
use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{convert::Infallible, future::poll_fn, io::Cursor, sync::Arc, time::Duration};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long running exchanges may go on once the gateway stops.
const GRACE: Duration = Duration::from_secs(20);

/// Opens a listener for every address. Targets with the same address share one and are told apart by the hosts they
/// name.
pub async fn listen(
    doors: &mut Doors,
    gate: Arc<Gate>,
    targets: Vec<HttpTarget>,
    bodies: Arc<Bodies>,
) -> Result<(), ServeError> {
    for group in sharing(targets, |target| target.listen) {
        let Some(first) = group.first().cloned() else { continue };
        if group.len() > 1 && group.iter().any(|target| target.hosts.is_empty()) {
            return Err(ServeError::Shared { addr: first.listen });
        }
        let names: Vec<_> =
            group.iter().map(|target| target.classifier.surroundings().target.clone()).collect();
        let (addr, connections) = (first.listen, first.limits.connections);
        let listener = Arc::new(Listener {
            gate: Arc::clone(&gate),
            bodies: Arc::clone(&bodies),
            targets: group,
            client: None,
        });
        let shutdown = doors.shutdown();
        let serve = move |stream| {
            let (first, listener, shutdown) = (Arc::clone(&first), Arc::clone(&listener), shutdown.clone());
            async move { serve_stream(stream, first.acceptor.clone(), listener, &first.limits, shutdown).await }
        };
        doors.bind(addr, names, connections, serve).await?;
    }
    Ok(())
}

async fn serve_stream(
    stream: TcpStream,
    tls: Option<Acceptor>,
    listener: Arc<Listener>,
    limits: &LimitsSection,
    shutdown: CancellationToken,
) {
    // Without it small answers could wait for an acknowledgement; no reason to fail.
    let _ = stream.set_nodelay(true);
    let (wire, peer) = match tls {
        None => (Wire::Plain(stream), None),
        Some(acceptor) => {
            let accepted = timeout(limits.request_head.0, acceptor.accept(stream)).await;
            let Ok(Ok((stream, peer))) = accepted else { return };
            (Wire::Tls(Box::new(stream.into())), peer)
        }
    };
    serve_wire(wire, listener.for_client(peer), limits, shutdown).await;
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
        biased;
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
