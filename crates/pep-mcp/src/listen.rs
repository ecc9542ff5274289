//! Connections of agents: HTTP/1.1, by path to one of the targets behind the address. Nothing here looks into a request.

use crate::{
    config::{LimitsSection, McpTarget},
    edge::Door,
    error::ServeError,
    legs::States,
    session::Sessions,
    stream::{self, Body},
    tools::Book,
};
use countersign_core::ClientCertificate;
use countersign_engine::Gate;
use countersign_pep::{Doors, sharing, tls::Acceptor};
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long running exchanges may go on once the gateway stops.
const GRACE: Duration = Duration::from_secs(20);

/// The targets behind one address, by path.
type Behind = Arc<HashMap<String, Arc<Door>>>;

/// Opens a listener for every address. Targets with the same address are told apart by their paths.
pub async fn listen(doors: &mut Doors, gate: Arc<Gate>, targets: Vec<McpTarget>) -> Result<(), ServeError> {
    for group in sharing(targets, |target| target.listen) {
        let mut behind = HashMap::new();
        let (mut names, mut first) = (Vec::new(), None);
        for target in group.into_iter().filter_map(Arc::into_inner) {
            let (addr, path) = (target.listen, target.path.clone());
            names.push(target.surroundings().target.clone());
            first.get_or_insert_with(|| (addr, target.acceptor.clone(), target.limits.clone()));
            let states = Arc::new(States::new(&gate.journal().random()));
            let name = target.surroundings().target.clone();
            let book = Arc::new(Book::new(Arc::clone(&gate), name, target.unreviewed));
            let door = Door {
                gate: Arc::clone(&gate),
                target,
                book,
                sessions: Sessions::default(),
                states,
                stopping: doors.shutdown(),
            };
            let door = Arc::new(door);
            if let Some(resource) = &door.target.resource {
                behind.insert(resource.path.clone(), Arc::clone(&door));
            }
            if behind.insert(path.clone(), door).is_some() {
                return Err(ServeError::Shared { addr, path });
            }
        }
        let Some((addr, acceptor, limits)) = first else { continue };
        let (behind, shutdown, connections) = (Arc::new(behind), doors.shutdown(), limits.connections);
        let serve = move |stream| {
            serve_stream(stream, acceptor.clone(), Arc::clone(&behind), limits.clone(), shutdown.clone())
        };
        doors.bind(addr, names, connections, serve).await?;
    }
    Ok(())
}

async fn serve_stream(
    stream: TcpStream,
    tls: Option<Acceptor>,
    behind: Behind,
    limits: LimitsSection,
    shutdown: CancellationToken,
) {
    // Without it small answers could wait for an acknowledgement; no reason to fail.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve(stream, behind, None, &limits, shutdown).await,
        Some(acceptor) => {
            let accepted = timeout(limits.request_head.0, acceptor.accept(stream)).await;
            let Ok(Ok((stream, client))) = accepted else { return };
            serve(stream, behind, client, &limits, shutdown).await;
        }
    }
}

async fn serve<T>(
    stream: T,
    behind: Behind,
    client: Option<Arc<ClientCertificate>>,
    limits: &LimitsSection,
    shutdown: CancellationToken,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        let behind = Arc::clone(&behind);
        if let Some(client) = &client {
            request.extensions_mut().insert(Arc::clone(client));
        }
        async move { Ok::<_, Infallible>(answer(&behind, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.request_head.0).max_buf_size(64 << 10);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // How a connection ended is told by the exchanges on it.
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = timeout(GRACE, connection).await;
}

async fn answer(behind: &Behind, request: Request<Incoming>) -> Response<Body> {
    if let Some(door) = behind.get(request.uri().path()) {
        return Arc::clone(door).answer(request).await;
    }
    let mut response = Response::new(stream::whole("there is no MCP server at this path\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
