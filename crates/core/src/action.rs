//! One thing somebody asked to do, understood and fixed: it never changes, and its digest names it.

use crate::{
    ActionId, Digest, EnvironmentName, Evidence, Requester, TargetName, Timestamp,
    canonical::{CanonicalError, Object, append_texts},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What an operation does, in the words policy speaks. What could not be read with certainty is
/// [`Class::Unknown`] and never a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    Read,
    Write,
    Delete,
    /// Data leaves the system in bulk.
    Export,
    /// How a running system behaves is changed.
    Configure,
    /// Something is run, restarted or deployed.
    Execute,
    /// Who may do what is changed.
    Administer,
    /// A stream is opened whose content is not understood (an upgrade, a tunnel).
    Connect,
    Unknown,
}

impl Class {
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Write,
        Self::Delete,
        Self::Export,
        Self::Configure,
        Self::Execute,
        Self::Administer,
        Self::Connect,
        Self::Unknown,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Export => "export",
            Self::Configure => "configure",
            Self::Execute => "execute",
            Self::Administer => "administer",
            Self::Connect => "connect",
            Self::Unknown => "unknown",
        }
    }
}

impl std::str::FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join("`, `");
        let found = Self::ALL.into_iter().find(|class| class.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is not an operation class; use one of `{}`", names()))
    }
}

/// What is to be done, as the wire adapter understood it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The operation's name at its target (`exportCustomers`); `None` when it was not recognised.
    pub name: Option<String>,
    pub class: Class,
}

/// What it is done to. The first resource is the one named first in the sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// `customer-table`, `service`, `role`…
    pub kind: String,
    pub name: String,
    /// What policy knows about it (`pii`, `fedramp`), from the target's configuration.
    pub labels: BTreeSet<String>,
}

/// The exact bytes that will run, in two parts: what the wire adapter sends first, and what follows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Everything but the body, in the wire adapter's own exact form. Only what stands here goes upstream.
    #[serde(with = "base64_bytes")]
    pub head: Bytes,
    pub body: Body,
}

/// The body of a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// Read whole before deciding: part of the digest.
    Bound(#[serde(with = "base64_bytes")] Bytes),
    /// No rule looks at it: it streams, and its digest is recorded with the result. Never reviewed.
    Unbound,
}

/// A request understood. Built by a wire adapter, completed and fixed by intake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    pub id: ActionId,
    pub received_at: Timestamp,
    pub requester: Requester,
    pub target: TargetName,
    pub environment: EnvironmentName,
    /// The name of the credential profile used upstream; never the credential.
    pub credential_profile: String,
    /// `http`, `postgres`…
    pub wire: String,
    pub operation: Operation,
    pub resources: Vec<Resource>,
    /// What policy may look at, as `context.<wire>`.
    pub facts: Map<String, Value>,
    /// Context of the session that changes what the bytes mean (a search path, a transaction).
    pub session: BTreeMap<String, String>,
    pub payload: Payload,
    /// Tells intended repetitions of the same bytes apart.
    pub idempotency_key: Option<String>,
    /// One plain sentence, computed from the bytes, and from the evidence where there is any.
    pub sentence: String,
    /// What was found out about it before it was decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// What the requester says it is for. Claimed: shown apart, never believed.
    pub claimed_reason: Option<String>,
    /// The ticket that the requester says it was approved in beforehand. Claimed: looked up, never believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_ticket: Option<String>,
}

impl Action {
    /// SHA-256 over the canonical form of everything that will run: requester chain, target, environment,
    /// credential profile, operation, payload, session context and idempotency key. Not time, policy or evidence.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        Ok(Digest::of_parts("countersign/action/v1", &[&self.canonical()?]))
    }

    /// The canonical form the digest is taken over: JCS with the bodies as digests.
    pub fn canonical(&self) -> Result<Vec<u8>, CanonicalError> {
        let mut session = Vec::new();
        append_texts(&mut session, &self.session);
        let mut claims = Vec::new();
        append_texts(&mut claims, &self.requester.claims);
        let behalf: Vec<String> = self.requester.on_behalf_of.iter().map(ToString::to_string).collect();
        let mut out = Vec::with_capacity(768);
        let mut object = Object::begin(&mut out);
        object.string("credential_profile", &self.credential_profile);
        object.string("environment", self.environment.as_str());
        if let Some(key) = &self.idempotency_key {
            object.string("idempotency_key", key);
        }
        object.object("operation", |operation| {
            operation.string("class", self.operation.class.as_str());
            operation.string("name", self.operation.name.as_deref().unwrap_or(""));
        });
        object.object("payload", |payload| {
            match &self.payload.body {
                Body::Bound(body) => payload.plain("body", &Digest::of(body)),
                Body::Unbound => payload.string("body", "unbound"),
            };
            payload.plain("head", &Digest::of(&self.payload.head));
        });
        object.object("requester", |requester| {
            // Without any the form is the one from before there were some.
            if !self.requester.claims.is_empty() {
                requester.raw("claims", &claims);
            }
            requester.string("kind", self.requester.kind.as_str());
            requester.strings("on_behalf_of", behalf.iter().map(String::as_str));
            requester.plain("principal", &self.requester.principal);
        });
        object.raw("session", &session);
        object.string("target", self.target.as_str());
        object.string("wire", &self.wire);
        object.end();
        Ok(out)
    }
}

/// Bytes as base64 inside JSON.
mod base64_bytes {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes::from).map_err(Error::custom)
    }
}

#[cfg(test)]
mod tests;
