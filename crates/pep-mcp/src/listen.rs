//! Connections of agents: HTTP/1.1, by path to one of the targets behind the address. Nothing here looks into a request.

use crate::{
    classify::ANSWER,
    config::{Front, LimitsSection, McpEndpoint, McpTarget},
    edge::{Door, Entrance, Joint},
    error::ServeError,
    legs::States,
    session::Sessions,
    stream::{self, Body},
    tasks::Tasks,
    tools::Book,
};
use countersign_core::{ClientCertificate, TargetName};
use countersign_engine::{Gate, record::chain, settle};
use countersign_pep::{Doors, sharing, tls::Acceptor};
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{collections::HashMap, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long running exchanges may go on once the gateway stops.
const GRACE: Duration = Duration::from_secs(20);

/// What is behind one address, by path.
type Behind = Arc<HashMap<String, Endpoint>>;

/// What answers at a path.
#[derive(Clone)]
enum Endpoint {
    One(Arc<Door>),
    Several(Arc<Joint>),
}

/// An endpoint that is to be opened.
struct Opening {
    listen: SocketAddr,
    path: String,
    name: TargetName,
    acceptor: Option<Acceptor>,
    front: Front,
    endpoint: Endpoint,
}

/// Why an answer from before the gateway's start goes nowhere.
const GONE: &str = "the call in which it was asked ended with the gateway that took it in";

/// Opens a listener for every address. Endpoints with the same address are told apart by their paths.
pub async fn listen(
    doors: &mut Doors,
    gate: Arc<Gate>,
    targets: Vec<McpTarget>,
    endpoints: Vec<McpEndpoint>,
) -> Result<(), ServeError> {
    // Whoever would be answered went with the last gateway.
    let names = targets.iter().map(|target| target.surroundings().target.clone()).collect();
    if !targets.is_empty()
        && let Err(error) = settle::let_go_of_all(&gate, &names, ANSWER, GONE).await
    {
        tracing::error!(error = %chain(&error), "answers of before could not be closed");
    }
    let mut openings: Vec<Opening> =
        targets.into_iter().map(|target| one(&gate, target, doors.shutdown())).collect();
    let several: Vec<Opening> =
        endpoints.into_iter().map(|endpoint| several(&gate, endpoint, &openings)).collect();
    openings.extend(several);
    for group in sharing(openings, |opening| opening.listen) {
        let mut behind = HashMap::new();
        let (mut names, mut first) = (Vec::new(), None);
        for opening in group.into_iter().filter_map(Arc::into_inner) {
            let Opening { listen: addr, path, name, acceptor, front, endpoint } = opening;
            names.push(name);
            if let Some(resource) = &front.resource {
                behind.insert(resource.path.clone(), endpoint.clone());
            }
            first.get_or_insert((addr, acceptor, front.limits));
            if behind.insert(path.clone(), endpoint).is_some() {
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

fn one(gate: &Arc<Gate>, target: McpTarget, stopping: CancellationToken) -> Opening {
    let name = target.surroundings().target.clone();
    let book = Arc::new(Book::new(Arc::clone(gate), name.clone(), target.unreviewed));
    let (front, acceptor, path) = (target.front(), target.acceptor.clone(), target.path.clone());
    let entrance = Entrance { gate: Arc::clone(gate), front: front.clone(), target: Some(name.clone()) };
    let door = Door {
        gate: Arc::clone(gate),
        entrance,
        target,
        book,
        sessions: Sessions::default(),
        tasks: Tasks::default(),
        states: Arc::new(States::new(&gate.journal().random())),
        stopping,
    };
    Opening { listen: front.listen, path, name, acceptor, front, endpoint: Endpoint::One(Arc::new(door)) }
}

fn several(gate: &Arc<Gate>, endpoint: McpEndpoint, openings: &[Opening]) -> Opening {
    let front = endpoint.front();
    let door = |name: &TargetName| {
        openings.iter().find_map(|opening| match &opening.endpoint {
            Endpoint::One(door) if opening.name == *name => Some(Arc::clone(door)),
            Endpoint::One(_) | Endpoint::Several(_) => None,
        })
    };
    let joint = Joint {
        entrance: Entrance { gate: Arc::clone(gate), front: front.clone(), target: None },
        name: endpoint.name.clone(),
        doors: endpoint.targets.iter().filter_map(door).collect(),
        sessions: Sessions::default(),
    };
    let (listen, path, name, acceptor) = (front.listen, endpoint.path, endpoint.name, endpoint.acceptor);
    Opening { listen, path, name, acceptor, front, endpoint: Endpoint::Several(Arc::new(joint)) }
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
    match behind.get(request.uri().path()) {
        Some(Endpoint::One(door)) => return Arc::clone(door).answer(request).await,
        Some(Endpoint::Several(joint)) => return Arc::clone(joint).answer(request).await,
        None => {}
    }
    let mut response = Response::new(stream::whole("there is no MCP server at this path\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
