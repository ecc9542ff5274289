//! What the store keeps of people, passkeys, devices, sessions, links, agents and tokens: documents under a kind and an id.

pub(crate) mod agent;
pub(crate) mod link;
pub(crate) mod passkey;
pub(crate) mod person;
pub(crate) mod provisioner;
pub(crate) mod session;
pub(crate) mod subscription;

use crate::memory::Memory;
use countersign_engine::port::store::{Key, Kind};
use serde::{Serialize, de::DeserializeOwned};

/// A document with its place in the store and in memory.
pub(crate) trait Stored: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    const KIND: Kind;

    /// The record's id.
    fn key(&self) -> String;

    /// What it can be found by; unique keys keep two people from having one address, whoever writes.
    fn keys(&self) -> Vec<Key>;

    /// Puts it into memory in place of what was there before.
    fn place(held: Held<Self>, memory: &mut Memory);

    /// Takes it out of memory.
    fn displace(&self, memory: &mut Memory);
}

/// A document as last stored. A change to it happens only if the version is still this one.
#[derive(Clone, Debug)]
pub(crate) struct Held<T> {
    pub(crate) version: u64,
    pub(crate) doc: T,
}

pub(crate) fn unique(name: &'static str, value: impl Into<String>) -> Key {
    Key { name, value: value.into(), unique: true }
}

pub(crate) fn lookup(name: &'static str, value: &impl ToString) -> Key {
    Key { name, value: value.to_string(), unique: false }
}
