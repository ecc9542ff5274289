//! Listeners for agents: open all or none, accept within bounds, stop in order.

use countersign_core::TargetName;
use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A listener that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundListener {
    pub target: TargetName,
    pub addr: SocketAddr,
}

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on `{addr}` for target `{target}`")]
    Bind {
        addr: SocketAddr,
        target: TargetName,
        #[source]
        source: io::Error,
    },
    #[error("cannot find out which address the listener of target `{target}` got")]
    Address {
        target: TargetName,
        #[source]
        source: io::Error,
    },
}

/// What is done with a connection.
type Handler = Box<dyn Fn(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A listener, and what is done with its connections.
struct Door {
    socket: TcpListener,
    connections: usize,
    handler: Handler,
}

/// Listeners that are bound and take no connection yet: either all of a gateway open, or none.
#[derive(Default)]
pub struct Doors {
    listeners: Vec<BoundListener>,
    bound: Vec<Door>,
    shutdown: CancellationToken,
}

impl Doors {
    /// Cancelled when the gateway stops: connections then end as their protocol allows.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Binds `addr` for these targets. At most `connections` are served at the same time; who comes then waits.
    pub async fn bind<F, Served>(
        &mut self,
        addr: SocketAddr,
        targets: impl IntoIterator<Item = TargetName>,
        connections: usize,
        handler: F,
    ) -> Result<(), ListenError>
    where
        F: Fn(TcpStream) -> Served + Send + Sync + 'static,
        Served: Future<Output = ()> + Send + 'static,
    {
        let mut targets = targets.into_iter();
        let Some(target) = targets.next() else { return Ok(()) };
        let socket = TcpListener::bind(addr).await;
        let socket = socket.map_err(|source| ListenError::Bind { addr, target: target.clone(), source })?;
        let addr = socket.local_addr();
        let addr = addr.map_err(|source| ListenError::Address { target: target.clone(), source })?;
        let all = std::iter::once(target).chain(targets);
        self.listeners.extend(all.map(|target| BoundListener { target, addr }));
        let handler: Handler = Box::new(move |stream| Box::pin(handler(stream)));
        self.bound.push(Door { socket, connections, handler });
        Ok(())
    }

    /// Takes connections from now on.
    pub fn open(self) -> Serving {
        let tasks = TaskTracker::new();
        for door in self.bound {
            tasks.spawn(accept(door, self.shutdown.clone(), tasks.clone()));
        }
        tasks.close();
        Serving { listeners: self.listeners, shutdown: self.shutdown, tasks }
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Doors").field(&self.listeners).finish()
    }
}

/// The listeners at work.
#[derive(Debug)]
pub struct Serving {
    listeners: Vec<BoundListener>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Serving {
    /// Where each target is reached, in the order they were bound.
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

/// Targets that are reached at the same address, together, in the order of their first. A port that the system
/// chooses is nobody else's.
pub fn sharing<T>(targets: Vec<T>, addr: impl Fn(&T) -> SocketAddr) -> Vec<Vec<Arc<T>>> {
    let mut groups: Vec<(SocketAddr, Vec<Arc<T>>)> = Vec::new();
    for target in targets {
        let at = addr(&target);
        match groups.iter_mut().find(|(other, _)| *other == at && at.port() != 0) {
            Some((_, group)) => group.push(Arc::new(target)),
            None => groups.push((at, vec![Arc::new(target)])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

async fn accept(door: Door, shutdown: CancellationToken, tasks: TaskTracker) {
    let room = Arc::new(Semaphore::new(door.connections));
    loop {
        let accepted = async {
            let place = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((place, door.socket.accept().await))
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Some((place, Ok((stream, _)))) => {
                let served = (door.handler)(stream);
                tasks.spawn(async move {
                    served.await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn target(name: &str) -> TargetName {
        TargetName::new(name).unwrap()
    }

    #[test]
    fn only_targets_with_the_same_port_share_it() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let groups = sharing(vec![("a", 1), ("b", 0), ("c", 1), ("d", 0)], |(_, port)| at(*port));
        let names: Vec<Vec<_>> =
            groups.iter().map(|group| group.iter().map(|target| target.0).collect()).collect();
        assert_eq!(names, [vec!["a", "c"], vec!["b"], vec!["d"]]);
    }

    #[tokio::test]
    async fn connections_are_bounded_and_a_taken_port_is_named() {
        let mut doors = Doors::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let echo = |mut stream: TcpStream| async move {
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
        };
        doors.bind(any, [target("one"), target("two")], 1, echo).await.unwrap();
        let addr = doors.listeners.first().unwrap().addr;
        let taken = doors.bind(addr, [target("three")], 1, echo).await.unwrap_err();
        assert_eq!(taken.to_string(), format!("cannot listen on `{addr}` for target `three`"));
        let serving = doors.open();
        assert_eq!(serving.listeners().len(), 2);
        let mut first = TcpStream::connect(addr).await.unwrap();
        first.write_all(b"1").await.unwrap();
        first.read_exact(&mut [0]).await.unwrap();
        let mut second = TcpStream::connect(addr).await.unwrap();
        second.write_all(b"2").await.unwrap();
        let mut byte = [0];
        let waits = timeout(Duration::from_millis(50), second.read_exact(&mut byte)).await;
        assert!(waits.is_err(), "the second was served beside the first");
        drop(first);
        second.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"2");
        drop(second);
        serving.stop(Duration::from_secs(10)).await;
        assert!(TcpStream::connect(addr).await.is_err());
    }
}
