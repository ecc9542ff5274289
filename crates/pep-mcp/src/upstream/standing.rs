//! What a server says by itself, outside of answers: on a stream that the gateway opens for a session while its agent
//! listens, in the form of the server's era. No word of an agent's is in it. A stream that breaks is opened again, behind
//! the last event where the server gave its events ids.

use super::{Link, Peer, Way, talk::Talk};
use crate::{
    era,
    frame::{self, Message},
    method,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// A server that says nothing for so long is asked anew: it may be gone.
const QUIET: Duration = Duration::from_mins(15);
/// Between two tries; twice that the next time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A stream that held so long is opened again soon.
const SETTLED: Duration = Duration::from_mins(1);

/// The first message of a subscription.
pub(crate) const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// What is heard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard<'b> {
    /// A notification, as it came.
    Message(&'b Bytes),
    /// Something may have been said that nobody heard.
    Missed,
}

/// How a stream ended.
enum Ended {
    /// The server has none, or does not know the session.
    NotOffered,
    Broke,
}

/// A session whose server is listened to.
pub(crate) struct Standing<'s, I> {
    pub(crate) way: &'s Arc<Way>,
    pub(crate) peer: &'s Peer,
    /// The agent's client, as JSON, for a server of the later era.
    pub(crate) client: Option<&'s str>,
    pub(crate) next_id: I,
}

impl<I: Fn() -> u64> Standing<'_, I> {
    /// Listens for as long as the server says anything in this way; whoever has enough lets go.
    pub(crate) async fn follow(&self, tell: impl Fn(Heard<'_>)) {
        if let Some(Link::Process(process)) = &self.peer.link {
            let mut coming = process.listen();
            while let Some(line) = coming.recv().await {
                tell(Heard::Message(&line));
            }
            return;
        }
        let (mut pause, mut after, mut again) = (FIRST_PAUSE, None, false);
        loop {
            let begun = Instant::now();
            if let Ended::NotOffered = self.once(&mut after, again, &tell).await {
                return;
            }
            again = true;
            pause = if begun.elapsed() >= SETTLED { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            sleep(pause).await;
        }
    }

    async fn once(&self, after: &mut Option<HeaderValue>, again: bool, tell: &impl Fn(Heard<'_>)) -> Ended {
        let Ok(mut talk) = self.open(after.as_ref()).await else { return Ended::Broke };
        if !talk.status.is_success() || !talk.is_stream() {
            let status = talk.status;
            self.way.finish(talk).await;
            return if is_passing(status) { Ended::Broke } else { Ended::NotOffered };
        }
        if again {
            tell(Heard::Missed);
        }
        listen(self.way, self.peer, &mut talk, tell).await;
        *after = talk.last_event_id().or(after.take());
        Ended::Broke
    }

    async fn open(&self, after: Option<&HeaderValue>) -> Result<Talk, super::Failed> {
        if !self.peer.is_later() {
            return self.way.listen(self.peer, after, QUIET).await;
        }
        let ask = format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"subscriptions/listen","params":{{"notifications":{{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}},"_meta":{{{}}}}}}}"#,
            (self.next_id)(),
            era::envelope(self.client)
        );
        self.way.post(self.way.take(self.peer).await?, self.peer, ask.into()).await
    }
}

/// Whether a refusal can be otherwise the next time.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || [
            StatusCode::UNAUTHORIZED,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::CONFLICT,
            StatusCode::TOO_MANY_REQUESTS,
        ]
        .contains(&status)
}

/// Reads a stream to its end. What the server asks on it is answered by the gateway.
pub(crate) async fn listen(way: &Arc<Way>, peer: &Peer, talk: &mut Talk, tell: impl Fn(Heard<'_>)) {
    while let Ok(Some(message)) = talk.next(QUIET).await {
        match frame::read(&message) {
            Ok(Message::Notification { method, .. }) if method != ACKNOWLEDGED => {
                tell(Heard::Message(&message));
            }
            Ok(Message::Request { id, method, .. }) => {
                let Some(own) = method::own_answer(method, id.get()) else { continue };
                let (way, peer) = (Arc::clone(way), peer.clone());
                tokio::spawn(async move {
                    if let Err(error) = way.tell(&peer, own).await {
                        tracing::debug!(%error, "a server was not told that it is refused");
                    }
                });
            }
            // A subscription that the server ends is answered then.
            Ok(Message::Response { .. }) if peer.is_later() => return,
            Ok(Message::Notification { .. } | Message::Response { .. }) | Err(_) => {}
        }
    }
}
