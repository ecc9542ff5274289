//! Towards servers: over HTTP, or over the pipes of a process that the gateway starts. Only a clearance's bytes go out,
//! only to what is configured, and never twice.
//!
//! What the gateway says to a server by itself, and no agent can put words into: that a session is used from now on and
//! has ended, that a call is cancelled, the refusal of what the server asks, the question which tools there are, and that it
//! listens to what the server says by itself.

pub(crate) mod answers;
pub(crate) mod exchange;
pub(crate) mod http;
pub(crate) mod oauth;
pub(crate) mod process;
pub(crate) mod served;
mod sse;
pub(crate) mod standing;
pub(crate) mod talk;

use crate::{
    call,
    config::McpTarget,
    era,
    frame::{self, Message},
    tools,
};
use ::http::{HeaderName, HeaderValue};
use async_trait::async_trait;
use bytes::Bytes;
use countersign_core::Action;
use countersign_engine::{
    definitions::Definition,
    port::upstream::{Failed, Sent, StoredExchange, Upstream},
};
use countersign_pep::SecretError;
use http::{Http, Line};
use parking_lot::Mutex;
use process::{Launch, Process};
use std::{fmt, sync::Arc, time::Duration};
use talk::Talk;
use tokio_util::sync::CancellationToken;

/// The largest message that is read of what a server says by itself.
const STREAM_LIMIT: usize = 256 << 10;

/// All there is to know for talking to a server.
#[derive(Debug)]
pub(crate) struct Way {
    reach: Reach,
    /// Between two pieces of an answer, and before the first.
    pub(crate) idle: Duration,
    pub(crate) answer_limit: usize,
    /// Whether the server speaks the later era; `None` until it was asked.
    later: Mutex<Option<bool>>,
}

/// How a server is reached.
#[derive(Debug)]
pub(crate) enum Reach {
    Http(Box<Http>),
    /// Started here, a process to a session.
    Process(Launch),
}

/// What one message goes over.
#[derive(Debug)]
pub(crate) enum Connection {
    /// Nothing is under way on it.
    Http(Line),
    Process(Arc<Process>),
}

/// A message on its way to a server.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) body: Bytes,
    /// What its head says of its arguments.
    pub(crate) mirrored: Vec<(HeaderName, HeaderValue)>,
    /// Nothing is sent once this is cancelled.
    pub(crate) unless: Option<CancellationToken>,
}

impl From<Bytes> for Outgoing {
    fn from(body: Bytes) -> Self {
        Self { body, mirrored: Vec::new(), unless: None }
    }
}

impl From<String> for Outgoing {
    fn from(body: String) -> Self {
        Bytes::from(body).into()
    }
}

/// A session as its server knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) link: Option<Link>,
    /// The protocol version that was agreed on; `None` before.
    pub(crate) version: Option<&'static str>,
}

/// What ties messages to one session.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// What the server called it.
    Named(HeaderValue),
    /// The process is the session.
    Process(Arc<Process>),
}

impl Peer {
    /// Whether the server speaks the later era, where every message says all of itself.
    pub(crate) fn is_later(&self) -> bool {
        self.version == Some(era::MODERN)
    }

    /// A server of the later era, which has no sessions.
    pub(crate) fn later() -> Self {
        Self { link: None, version: Some(era::MODERN) }
    }

    /// Whether the session has ended by itself: nothing more can be said in it.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(&self.link, Some(Link::Process(process)) if process.has_ended())
    }
}

impl Way {
    /// `later` says whether the server speaks the later era, where that need not be found out.
    pub(crate) fn new(reach: Reach, idle: Duration, answer_limit: usize, later: Option<bool>) -> Self {
        Self { reach, idle, answer_limit, later: Mutex::new(later) }
    }

    /// Whether the server speaks the later era. It is asked once; one that says anything else than that it does is taken
    /// for one of the earlier (2026-07-28, basic/versioning).
    pub(crate) async fn is_later(&self) -> Result<bool, Failed> {
        let known = *self.later.lock();
        if let Some(known) = known {
            return Ok(known);
        }
        // A process is a session already, so that asking would cost one.
        let found = match &self.reach {
            Reach::Process(_) => false,
            Reach::Http(_) => self.says_later().await?,
        };
        *self.later.lock() = Some(found);
        Ok(found)
    }

    async fn says_later(&self) -> Result<bool, Failed> {
        let peer = Peer::later();
        let ask = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{{"_meta":{{{}}}}}}}"#,
            era::envelope(None, "{}")
        );
        let mut talk = self.post(self.take(&peer).await?, &peer, ask).await?;
        let is_fine = talk.status.is_success();
        let answer = talk.next(self.idle).await?;
        self.finish(talk).await;
        let answer = answer.filter(|_| is_fine);
        Ok(answer.is_some_and(|answer| match frame::read(&answer) {
            Ok(Message::Response { answer: frame::Answer::Result(result), .. }) => {
                call::speaks_later(result.get())
            }
            _ => false,
        }))
    }

    /// Refuses a way whose secrets are not there.
    pub(crate) fn check_secrets(&self) -> Result<(), SecretError> {
        match &self.reach {
            Reach::Http(http) => http.check_credential(),
            Reach::Process(launch) => launch.check_secrets(),
        }
    }

    /// What a message of this session can go over. Nothing is sent; a process is started where the session has none yet.
    pub(crate) async fn take(&self, peer: &Peer) -> Result<Connection, Failed> {
        match (&self.reach, &peer.link) {
            (Reach::Http(http), _) => http.take().await.map(Connection::Http),
            (Reach::Process(_), Some(Link::Process(process))) => Ok(Connection::Process(Arc::clone(process))),
            (Reach::Process(launch), _) => launch.start(self.answer_limit).await.map(Connection::Process),
        }
    }

    /// Takes back what nothing was sent over, or whose last answer was read whole.
    pub(crate) fn put(&self, connection: Connection) {
        if let (Reach::Http(http), Connection::Http(line)) = (&self.reach, connection) {
            http.put(line);
        }
    }

    /// Sends one message and waits for the beginning of the answer.
    pub(crate) async fn post(
        &self,
        connection: Connection,
        peer: &Peer,
        message: impl Into<Outgoing>,
    ) -> Result<Talk, Failed> {
        let message = message.into();
        match (&self.reach, connection) {
            (Reach::Http(http), Connection::Http(line)) => {
                http.post(line, peer, message, self.idle, self.answer_limit).await
            }
            (_, Connection::Process(process)) => Process::post(process, message.body).await,
            (Reach::Process(_), Connection::Http(_)) => {
                Err(Failed { sent: Sent::No, why: "there is no such connection".into() })
            }
        }
    }

    /// Asks a server of the earlier era for the stream of what it says by itself, behind this event.
    pub(crate) async fn listen(
        &self,
        peer: &Peer,
        after: Option<&HeaderValue>,
        quiet: Duration,
    ) -> Result<Talk, Failed> {
        let Reach::Http(http) = &self.reach else {
            return Err(Failed { sent: Sent::No, why: "a process has no such stream".into() });
        };
        http.listen(http.take().await?, peer, after, quiet, self.answer_limit.min(STREAM_LIMIT)).await
    }

    /// Tells the server something of the gateway's own, which it answers with nothing.
    pub(crate) async fn tell(&self, peer: &Peer, message: String) -> Result<(), Failed> {
        match self.take(peer).await? {
            Connection::Process(process) => process.tell(message.into()).await,
            connection @ Connection::Http(_) => {
                let talk = self.post(connection, peer, message).await?;
                self.finish(talk).await;
                Ok(())
            }
        }
    }

    /// Ends a session at the server. A server that lets nobody end sessions says so, which is no failure.
    pub(crate) async fn end(&self, peer: &Peer) -> Result<(), Failed> {
        match (&self.reach, &peer.link) {
            (_, None) | (Reach::Process(_), Some(Link::Named(_))) => {}
            (_, Some(Link::Process(process))) => process.stop(),
            (Reach::Http(http), Some(Link::Named(_))) => {
                let line = http.take().await?;
                let talk = http.end(line, peer, self.idle, self.answer_limit).await?;
                self.finish(talk).await;
            }
        }
        Ok(())
    }

    /// Gives a connection back once nothing more comes on it.
    pub(crate) async fn finish(&self, talk: Talk) {
        if let Some(line) = talk.left(self.idle).await {
            self.put(Connection::Http(line));
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reach {
            Reach::Http(http) => http.endpoint().fmt(out),
            Reach::Process(launch) => launch.fmt(out),
        }
    }
}

/// The header that names a session.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The header that names the protocol version.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Messages run through their agents' own sessions alone, so nothing opens one for them.
#[derive(Clone, Debug)]
pub struct McpUpstream {
    way: Arc<Way>,
}

impl McpUpstream {
    /// The way to a target's server.
    pub fn new(target: &McpTarget) -> Self {
        Self { way: Arc::clone(&target.way) }
    }
}

#[async_trait]
impl Upstream for McpUpstream {
    async fn connect(&self, _: &Action) -> Result<Box<dyn StoredExchange>, Failed> {
        let why = "a call runs in the session of the agent who comes for it: call `approval_wait`".into();
        Err(Failed { sent: Sent::No, why })
    }

    async fn definitions(&self) -> Option<Result<Vec<Definition>, Failed>> {
        Some(tools::look(&self.way).await)
    }
}
