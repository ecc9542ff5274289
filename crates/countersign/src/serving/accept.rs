//! Accepting people's and the operator's connections, within limits.

use super::source;
use axum::{Router, middleware::map_request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use ipnet::IpNet;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

/// Connections of people at once; more wait to be accepted.
const CONNECTIONS: usize = 2_000;
/// How long a request's head may take to arrive.
const HEAD: Duration = Duration::from_secs(15);
const DRAIN: Duration = Duration::from_secs(3);

pub(super) async fn people(
    listener: TcpListener,
    pages: Router,
    proxies: Arc<[IpNet]>,
    stopping: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let server = server();
    let open = GracefulShutdown::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // So that failing sign-ins slow down their own address and no other.
                    let proxies = Arc::clone(&proxies);
                    let told = move |request| std::future::ready(source::told(request, peer, &proxies));
                    let pages = pages.clone().layer(map_request(told));
                    serve(&server, &open, stream, pages, place);
                }
                Err(error) => pause(&error).await,
            },
            () = stopping.cancelled() => break,
        }
    }
    let _ = tokio::time::timeout(DRAIN, open.shutdown()).await;
}

pub(super) async fn operator(listener: UnixListener, routes: Router, stopping: CancellationToken) {
    let server = server();
    let open = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => serve(&server, &open, stream, routes.clone(), ()),
                Err(error) => pause(&error).await,
            },
            () = stopping.cancelled() => break,
        }
    }
    let _ = tokio::time::timeout(DRAIN, open.shutdown()).await;
}

fn server() -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    server.http2().timer(TokioTimer::new()).max_concurrent_streams(100);
    server
}

fn serve<S, P>(server: &Builder<TokioExecutor>, open: &GracefulShutdown, stream: S, routes: Router, place: P)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Send + 'static,
{
    let service = TowerToHyperService::new(routes);
    let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let watched = open.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(place);
    });
}

/// Out of descriptors, most likely: accepting again at once would only spin.
async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
