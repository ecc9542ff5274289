//! What every handler shares.

use crate::{
    devices::Devices,
    inward::{Deliveries, Doors, Signers},
    once::Memory,
    proofs::Proofs,
    reading::Readings,
    streams::Streams,
};
use countersign_engine::{Gate, port::identity::Identity};
use countersign_identity::{Author, Directory};
use parking_lot::Mutex;
use std::{fmt, sync::Arc};

/// The people-facing room: the doors to the rooms below, and the ledger's public keys.
#[derive(Clone)]
pub struct Console(Arc<Shared>);

struct Shared {
    gate: Arc<Gate>,
    directory: Arc<Directory>,
    keys: Keys,
    proofs: Mutex<Proofs>,
    readings: Readings,
    streams: Streams,
    once: Arc<Memory>,
    signers: Signers,
    doors: Doors,
    devices: Option<Arc<dyn Devices>>,
    deliveries: Deliveries,
    /// Held while a provisioning client's change is made of what there is: changes see each other's results.
    provisioning: tokio::sync::Mutex<()>,
}

/// The ledger's public side, as pages and the API show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The origin line of the log's checkpoints.
    pub origin: String,
    /// The log's key in C2SP vkey form: all an auditor needs.
    pub log_key: String,
    /// The gateway's key in C2SP vkey form.
    pub gateway_key: String,
}

/// What leads to channels and from them.
#[derive(Debug, Default)]
pub struct Ways {
    /// Who checks each channel that may speak.
    pub signers: Signers,
    /// The doors at which channels speak in ways of their own.
    pub doors: Doors,
    /// The way to people's devices.
    pub devices: Option<Arc<dyn Devices>>,
}

impl Console {
    pub fn new(gate: Arc<Gate>, directory: Arc<Directory>, keys: Keys) -> Self {
        Self::with_channels(gate, directory, keys, Signers::default())
    }

    /// The same, where channels may speak: `signers` tells whether it is them.
    pub fn with_channels(gate: Arc<Gate>, directory: Arc<Directory>, keys: Keys, signers: Signers) -> Self {
        Self::with_ways(gate, directory, keys, Ways { signers, ..Ways::default() })
    }

    /// The same, with everything that leads to channels and from them.
    pub fn with_ways(gate: Arc<Gate>, directory: Arc<Directory>, keys: Keys, ways: Ways) -> Self {
        let Ways { signers, doors, devices } = ways;
        Self(Arc::new(Shared {
            gate,
            directory,
            keys,
            proofs: Mutex::new(Proofs::default()),
            readings: Readings::default(),
            streams: Streams::default(),
            once: Arc::default(),
            signers,
            doors,
            devices,
            deliveries: Deliveries::default(),
            provisioning: tokio::sync::Mutex::new(()),
        }))
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.0.gate
    }

    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.0.directory
    }

    pub(crate) fn identity(&self) -> &dyn Identity {
        self.0.directory.as_ref()
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// `https://host[:port]`, as browsers write it.
    pub(crate) fn origin(&self) -> &str {
        self.0.directory.settings().origin()
    }

    /// The `Host` that requests must carry.
    pub(crate) fn host(&self) -> &str {
        self.origin().split_once("://").map_or("", |(_, host)| host)
    }

    pub(crate) fn proofs(&self) -> &Mutex<Proofs> {
        &self.0.proofs
    }

    pub(crate) fn readings(&self) -> &Readings {
        &self.0.readings
    }

    /// Which idempotency keys were used.
    pub(crate) fn once(&self) -> &Arc<Memory> {
        &self.0.once
    }

    /// Who checks each channel that may speak.
    pub(crate) fn signers(&self) -> &Signers {
        &self.0.signers
    }

    /// The doors at which channels speak in ways of their own.
    pub(crate) fn doors(&self) -> &Doors {
        &self.0.doors
    }

    /// The way to people's devices, where a channel tells them.
    pub(crate) fn devices(&self) -> Option<&Arc<dyn Devices>> {
        self.0.devices.as_ref()
    }

    /// What came from channels lately.
    pub(crate) fn deliveries(&self) -> &Deliveries {
        &self.0.deliveries
    }

    /// One change of a provisioning client at a time.
    pub(crate) fn provisioning(&self) -> &tokio::sync::Mutex<()> {
        &self.0.provisioning
    }

    /// The event streams that are open.
    pub(crate) fn streams(&self) -> &Streams {
        &self.0.streams
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Console").field("origin", &self.origin()).finish_non_exhaustive()
    }
}

/// Who an author is in the ledger.
pub(crate) fn actor(author: Author) -> countersign_ledger::event::Actor {
    use countersign_ledger::event::Actor;
    author.person().map_or(Actor::Operator, |id| Actor::Person { id })
}
