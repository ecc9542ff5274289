//! A single etcd from Debian's packages (`etcd-server`), for tests that need a target nobody here wrote.

use crate::{
    peer::{Peer, PeerError, Program},
    ports,
};
use std::{
    path::Path,
    sync::atomic::{AtomicU16, Ordering},
};

const ETCD: Program = Program { name: "etcd", path: "/usr/bin/etcd", package: "etcd-server" };

/// A running etcd with an empty store.
#[derive(Debug)]
pub struct Etcd {
    _peer: Peer,
    port: u16,
}

impl Etcd {
    /// Starts one on loopback and waits until it is healthy.
    pub async fn start() -> Result<Self, PeerError> {
        let chosen = AtomicU16::new(0);
        let peer = ETCD.run(|folder| {
            let (client, peers) = (ports::free()?, ports::free()?);
            chosen.store(client, Ordering::Relaxed);
            Ok((arguments(folder, client, peers), format!("http://127.0.0.1:{client}/health")))
        });
        let peer = peer.await?;
        Ok(Self { _peer: peer, port: chosen.load(Ordering::Relaxed) })
    }

    /// The address of its HTTP/JSON API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn arguments(folder: &Path, client: u16, peers: u16) -> Vec<String> {
    let (client, peers) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peers}"));
    let data = folder.join("data").display().to_string();
    let pairs = [
        ("--name", "test"),
        ("--data-dir", &data),
        ("--listen-client-urls", &client),
        ("--advertise-client-urls", &client),
        ("--listen-peer-urls", &peers),
        ("--initial-advertise-peer-urls", &peers),
        ("--initial-cluster", &format!("test={peers}")),
        ("--heartbeat-interval", "20"),
        ("--election-timeout", "200"),
    ];
    pairs.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect()
}
