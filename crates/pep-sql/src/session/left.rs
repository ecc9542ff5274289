//! What is left of an approved statement that ran to its end while its client was away: how it ended, told once, when the
//! client asks again. Its rows never are.

use super::{
    Session,
    act::{Kind, Wish},
    ended::status,
    relay::Seen,
};
use crate::{
    error::Ended,
    reply::{Said, message, put_text, ready, sqlstate},
};
use bytes::BytesMut;
use countersign_engine::port::upstream::Kept;
use serde::{Deserialize, Serialize};

/// What is kept of a statement whose client was gone when it ended.
#[derive(Debug, Serialize, Deserialize)]
struct Left {
    tags: Vec<String>,
    error: Option<String>,
    rows: u64,
    simple: bool,
    in_transaction: bool,
}

impl Session {
    /// Tells what became of a statement that ran while its client was away.
    pub(super) async fn hand_over(&mut self, wish: &Wish, handover: &Kept) -> Result<(), Ended> {
        let left: Option<Left> = serde_json::from_slice(&handover.head).ok();
        if let Some(left) = &left
            && left.rows == 0
            && left.error.is_none()
            && left.simple
            && !left.in_transaction
            && !self.unsynced
            && wish.is_simple()
        {
            let mut out = BytesMut::new();
            for tag in &left.tags {
                message(&mut out, b'C', |out| put_text(out, tag));
            }
            ready(&mut out, self.state.status);
            return self.client.send(&out).await.map_err(|_| Ended::ClientGone);
        }
        let what = left.map_or_else(|| "its outcome was not kept".to_owned(), |left| left.in_words());
        let mut said = Said::new(
            sqlstate::SPENT,
            format!("it ran while its client was away: {what}"),
            "do not repeat it unless it is wanted once more: that is a new action",
        );
        said.detail = "its rows are not kept; read them with a new statement".into();
        self.refuse(said, wish.ends()).await
    }
}

impl Left {
    fn in_words(&self) -> String {
        let mut words = match &self.error {
            Some(error) => format!("it failed with {error}"),
            None => self.tags.join("; "),
        };
        if self.in_transaction {
            words.push_str(", and its transaction was rolled back when its connection ended");
        }
        words
    }
}

/// `in_transaction`: it ended in a transaction that its connection's end rolled back.
pub(super) fn kept(seen: &Seen, sent: u64, kind: Kind, in_transaction: bool) -> Kept {
    let left = Left {
        tags: seen.tags.clone(),
        error: seen.error.clone(),
        rows: seen.rows,
        simple: kind == Kind::Simple,
        in_transaction,
    };
    Kept {
        status: status(seen),
        head: serde_json::to_vec(&left).unwrap_or_default(),
        body: Some(Vec::new()),
        bytes_sent: sent,
        bytes_received: seen.received,
    }
}
