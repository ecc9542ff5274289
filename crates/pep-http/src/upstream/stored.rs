//! Runs stored actions: those that people approved. Sends exactly the stored bytes and keeps the answer.

use super::{
    pool::{Connection, Way},
    send::{self, STOPPED},
};
use crate::{config::HttpTarget, head};
use async_trait::async_trait;
use countersign_core::{Action, Body as PayloadBody};
use countersign_engine::{
    execute::Clearance,
    port::upstream::{Failed, Kept, Sent, StoredExchange, Upstream},
};
use countersign_pep::SecretError;
use http::StatusCode;
use std::{future::poll_fn, sync::Arc};

/// The way approved actions take to one target.
#[derive(Debug)]
pub struct HttpUpstream(Arc<Way>);

struct StoredHttp {
    way: Arc<Way>,
    connection: Connection,
}

impl HttpUpstream {
    /// Refuses a target whose credential is not there.
    pub fn new(target: &HttpTarget) -> Result<Self, SecretError> {
        if let Some(credential) = &target.way.credential {
            credential.value()?;
        }
        Ok(Self(Arc::clone(&target.way)))
    }
}

#[async_trait]
impl Upstream for HttpUpstream {
    async fn connect(&self, _: &Action) -> Result<Box<dyn StoredExchange>, Failed> {
        let connection = self.0.pool.take(&self.0).await?;
        Ok(Box::new(StoredHttp { way: Arc::clone(&self.0), connection }))
    }
}

#[async_trait]
impl StoredExchange for StoredHttp {
    async fn run(self: Box<Self>, clearance: Clearance, keep_bytes: u64) -> Result<Kept, Failed> {
        let Self { way, connection } = *self;
        let ready = send::build(&way, clearance.payload(), None, None, &connection)?;
        if ready.upgrade {
            let why = "an upgrade needs its caller: repeat the request while it is held".into();
            return Err(Failed { sent: Sent::No, why });
        }
        let body_bytes = match &clearance.payload().body {
            PayloadBody::Bound(bytes) => bytes.len() as u64,
            PayloadBody::Unbound => 0,
        };
        let bytes_sent = ready.head_bytes + body_bytes;
        let answer = send::exchange(&way, connection, ready, clearance.cancelled()).await?;
        let status = answer.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let why = "the target left HTTP without being asked to".into();
            return Err(Failed { sent: Sent::Maybe, why });
        }
        let (head, mut coming) = answer.split();
        let keep = keep_bytes.min(way.keep_limit as u64);
        let (mut kept, mut bytes_received) = (Some(Vec::new()), 0_u64);
        loop {
            let stop = clearance.cancelled();
            let maybe = |why: &str| Failed { sent: Sent::Maybe, why: why.into() };
            let frame = tokio::select! {
                biased;
                () = stop => return Err(maybe(STOPPED)),
                frame = tokio::time::timeout(way.limits.idle.0, poll_fn(|cx| coming.poll(cx))) => frame,
            };
            let frame = frame.map_err(|_| maybe("the target stopped in the middle of its answer"))?;
            let Some(frame) = frame else { break };
            let Ok(data) = frame?.into_data() else { continue };
            bytes_received += data.len() as u64;
            match &mut kept {
                Some(whole) if bytes_received <= keep => whole.extend_from_slice(&data),
                Some(_) | None => kept = None,
            }
        }
        coming.rest(&way.pool);
        let (_, headers) = head.parts();
        let head = head::encode_response(status, &headers);
        Ok(Kept { status: status.as_str().into(), head, body: kept, bytes_sent, bytes_received })
    }
}
