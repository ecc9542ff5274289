//! A stream of bytes between a caller and a target that have left HTTP. Nothing in it is read.

use super::{http1::Exchange, relay::Duty};
use crate::wire::Wire;
use bytes::BytesMut;
use countersign_engine::execute::Clearance;
use std::io;
use tokio::io::AsyncWriteExt as _;

/// A target that has switched, and the duty to record how that ends. Let go, the caller is named.
pub(crate) struct Tunnel {
    target: Wire,
    /// What the target said behind its head.
    held: BytesMut,
    clearance: Clearance,
    duty: Duty,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Tunnel")
    }
}

impl Tunnel {
    pub(crate) fn new(exchange: Exchange, clearance: Clearance, duty: Duty) -> Self {
        let (target, held) = exchange.switched();
        Self { target, held, clearance, duty }
    }

    /// Joins caller and target until either ends it or the work is stopped. `early` is what the caller said behind its
    /// request.
    pub(crate) async fn join(self, mut caller: Wire, early: BytesMut) {
        let Self { mut target, held, clearance, mut duty } = self;
        let stop = clearance.cancelled();
        let joined = async {
            caller.write_all(&held).await?;
            caller.flush().await?;
            target.write_all(&early).await?;
            target.flush().await?;
            let (sent, received) = tokio::io::copy_bidirectional(&mut caller, &mut target).await?;
            Ok::<_, io::Error>((sent + early.len() as u64, received + held.len() as u64))
        };
        let recorded = tokio::select! {
            biased;
            () = stop => duty.cancelled("revoked").await,
            joined = joined => match joined {
                Ok((sent, received)) => {
                    duty.passed(sent, received);
                    duty.done().await
                }
                Err(_) => duty.cancelled("client").await,
            },
        };
        if let Err(error) = recorded {
            tracing::error!(%error, "the end of a stream could not be recorded");
        }
    }
}
