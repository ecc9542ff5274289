//! Listeners for agents: accepts connections and bounds them. Nothing here looks into a message.

use crate::{
    config::PostgresTarget,
    error::ServeError,
    session::{self, Door, Slots},
    understand::{Reader, ReaderLimits},
};
use countersign_core::TargetName;
use countersign_engine::Gate;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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

    /// Stops listening and ends what is idle or held; statements that run may end. Returns when all are closed.
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
/// address share a listener.
pub async fn serve(gate: Arc<Gate>, targets: Vec<PostgresTarget>) -> Result<Serving, ServeError> {
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let (mut listeners, mut opened) = (Vec::new(), Vec::new());
    if !targets.is_empty() {
        let reader = Reader::start(ReaderLimits::default()).map_err(ServeError::Threads)?;
        let slots = Slots::default();
        for group in grouped(targets) {
            let Some(first) = group.first().cloned() else { continue };
            let name = first.name().to_string();
            let socket = TcpListener::bind(first.listen).await;
            let socket = socket.map_err(|source| ServeError::Bind {
                addr: first.listen,
                target: name.clone(),
                source,
            })?;
            let addr = socket.local_addr().map_err(|source| ServeError::Address { target: name, source })?;
            listeners
                .extend(group.iter().map(|target| BoundListener { target: target.name().clone(), addr }));
            let door = Door {
                gate: Arc::clone(&gate),
                reader: reader.clone(),
                targets: group,
                slots: slots.clone(),
                stopping: shutdown.clone(),
            };
            opened.push((socket, first.limits.connections, door));
        }
    }
    for (socket, connections, door) in opened {
        tasks.spawn(accept(socket, connections, door, tasks.clone()));
    }
    tasks.close();
    Ok(Serving { listeners, shutdown, tasks })
}

fn grouped(targets: Vec<PostgresTarget>) -> Vec<Vec<Arc<PostgresTarget>>> {
    let mut groups: Vec<Vec<Arc<PostgresTarget>>> = Vec::new();
    for target in targets.into_iter().map(Arc::new) {
        let shares = |group: &&mut Vec<Arc<PostgresTarget>>| {
            group.iter().any(|other| other.listen == target.listen && target.listen.port() != 0)
        };
        match groups.iter_mut().find(shares) {
            Some(group) => group.push(target),
            None => groups.push(vec![target]),
        }
    }
    groups
}

async fn accept(socket: TcpListener, connections: usize, door: Door, tasks: TaskTracker) {
    let room = Arc::new(Semaphore::new(connections));
    loop {
        let accepted = async {
            let place = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((place, socket.accept().await))
        };
        let accepted = tokio::select! {
            biased;
            () = door.stopping.cancelled() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Some((place, Ok((stream, _)))) => {
                let door = door.clone();
                tasks.spawn(async move {
                    session::serve(door, stream).await;
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
