//! Answers on their way back to those who wait for them.

use countersign_engine::port::store::{CommitError, Receipt};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

type Answer = (oneshot::Sender<Result<Receipt, CommitError>>, Result<Receipt, CommitError>);

/// Hands out the answers of one batch after the other.
#[derive(Debug)]
pub(super) struct Replies(Option<mpsc::UnboundedSender<Vec<Answer>>>);

impl Replies {
    /// Within a runtime the answers of a batch are handed out by a task there: the writer wakes that one task, and
    /// not every waiting one from outside, which costs it more than writing their entries does.
    pub(super) fn start() -> Self {
        let Ok(runtime) = Handle::try_current() else { return Self(None) };
        let (sender, mut batches) = mpsc::unbounded_channel();
        runtime.spawn(async move {
            while let Some(batch) = batches.recv().await {
                hand_out(batch);
            }
        });
        Self(Some(sender))
    }

    pub(super) fn send(&self, batch: Vec<Answer>) {
        match &self.0 {
            Some(sender) if batch.len() > 1 => {
                // The task ends with its runtime, and with it everybody who waited there.
                if let Err(mpsc::error::SendError(batch)) = sender.send(batch) {
                    hand_out(batch);
                }
            }
            _ => hand_out(batch),
        }
    }
}

fn hand_out(batch: Vec<Answer>) {
    for (reply, answer) in batch {
        // Whoever asked may have let go; the commit stands all the same.
        let _ = reply.send(answer);
    }
}
